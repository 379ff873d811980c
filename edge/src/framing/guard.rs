//! Budgets counted before anything is kept, and the rules of XML that the tokenizer does not check.

use couplet_proto::xmpp::error::StreamCondition;
use memchr::memchr_iter;

use super::{Budget, FramingError};

/// Longer headers are refused even after authentication: what they declare lives as long as the
/// stream, and is written again wherever an element uses it.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// How often the canonical form may exceed the budget for the received form: references and
/// repeated namespace declarations make it longer.
const CANONICAL_FACTOR: usize = 2;

pub(super) const NOT_WELL_FORMED: FramingError =
    FramingError::new(StreamCondition::NotWellFormed, "the XML is not well-formed");
pub(super) const BAD_ENCODING: FramingError =
    FramingError::new(StreamCondition::NotWellFormed, "the text is not UTF-8");
pub(super) const BAD_CHARACTER: FramingError = FramingError::new(
    StreamCondition::NotWellFormed,
    "a character that XML does not allow",
);
pub(super) const BAD_NAME: FramingError =
    FramingError::new(StreamCondition::NotWellFormed, "not a name");
pub(super) const BAD_REFERENCE: FramingError =
    FramingError::new(StreamCondition::NotWellFormed, "not a reference");
pub(super) const BAD_ATTRIBUTE: FramingError =
    FramingError::new(StreamCondition::NotWellFormed, "not an attribute");
pub(super) const DUPLICATE_ATTRIBUTE: FramingError =
    FramingError::new(StreamCondition::NotWellFormed, "an attribute appears twice");
pub(super) const BAD_DECLARATION: FramingError = FramingError::new(
    StreamCondition::NotWellFormed,
    "a namespace declaration that is not allowed",
);
pub(super) const RESERVED_PREFIX: FramingError =
    FramingError::new(StreamCondition::NotWellFormed, "a prefix is reserved");
pub(super) const UNBOUND_PREFIX: FramingError =
    FramingError::new(StreamCondition::NotWellFormed, "a prefix is not declared");
pub(super) const TEXT_OUTSIDE: FramingError =
    FramingError::new(StreamCondition::NotWellFormed, "text outside of an element");
pub(super) const MISMATCHED_END: FramingError = FramingError::new(
    StreamCondition::NotWellFormed,
    "an end tag without its start tag",
);
pub(super) const RESTRICTED: FramingError = FramingError::new(
    StreamCondition::RestrictedXml,
    "comments, processing instructions and DTDs are not allowed",
);
pub(super) const RESTRICTED_ENTITY: FramingError = FramingError::new(
    StreamCondition::RestrictedXml,
    "only the five predefined entities are allowed",
);
pub(super) const SECOND_HEADER: FramingError = FramingError::new(
    StreamCondition::BadFormat,
    "a stream header inside the stream",
);
pub(super) const TOO_LARGE: FramingError =
    FramingError::new(StreamCondition::PolicyViolation, "too many bytes");
pub(super) const TOO_MANY_ELEMENTS: FramingError =
    FramingError::new(StreamCondition::PolicyViolation, "too many elements");
pub(super) const TOO_DEEP: FramingError = FramingError::new(
    StreamCondition::PolicyViolation,
    "elements are nested too deep",
);
pub(super) const TOO_MANY_ATTRIBUTES: FramingError =
    FramingError::new(StreamCondition::PolicyViolation, "too many attributes");
pub(super) const TOO_MANY_NAMESPACES: FramingError = FramingError::new(
    StreamCondition::PolicyViolation,
    "too many namespace declarations",
);

/// Counts what has been received against the budget.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) budget: Budget,
    counts_total: bool,
    /// Bytes received since total counting began; kept across restarts.
    total: usize,
    /// Bytes of the element that is being received.
    element_bytes: usize,
    elements: u32,
    depth: u32,
}

// === impl Meter ===

impl Meter {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            budget,
            counts_total: false,
            total: 0,
            element_bytes: 0,
            elements: 0,
            depth: 0,
        }
    }

    pub(super) fn count_total(&mut self, on: bool) {
        if on && !self.counts_total {
            self.total = 0;
        }
        self.counts_total = on;
    }

    /// How many more bytes may be taken; `in_header` while no stream is open.
    pub(super) fn room(&self, in_header: bool) -> usize {
        let used = match self.counts_total {
            true => self.total,
            false => self.element_bytes,
        };
        let room = self.budget.bytes.saturating_sub(used);
        match in_header {
            true => room.min(HEADER_BYTES_MAX.saturating_sub(self.element_bytes)),
            false => room,
        }
    }

    /// Bytes of an element were taken.
    pub(super) fn took(&mut self, bytes: usize) {
        self.element_bytes += bytes;
        self.total = self.total.saturating_add(bytes);
    }

    /// White space between elements was taken; it costs only where everything counts.
    pub(super) fn took_space(&mut self, bytes: usize) -> Result<(), FramingError> {
        self.total = self.total.saturating_add(bytes);
        match self.counts_total && self.total > self.budget.bytes {
            true => Err(TOO_LARGE),
            false => Ok(()),
        }
    }

    /// A start tag begins.
    pub(super) fn open(&mut self) -> Result<(), FramingError> {
        self.elements += 1;
        self.depth += 1;
        if self.depth > self.budget.depth {
            return Err(TOO_DEEP);
        }
        if self.elements > self.budget.elements {
            return Err(TOO_MANY_ELEMENTS);
        }
        Ok(())
    }

    /// An element ended; whether it was the top-level one.
    pub(super) fn close(&mut self) -> bool {
        self.depth -= 1;
        self.depth == 0
    }

    /// How deep the bytes received so far are: 0 is between elements.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// The next element begins with nothing used.
    pub(super) fn reset(&mut self) {
        self.element_bytes = 0;
        self.elements = 0;
        self.depth = 0;
    }
}

/// How long the canonical form of one element may become.
pub(super) fn canonical_bytes_max(budget: &Budget) -> usize {
    budget.bytes.saturating_mul(CANONICAL_FACTOR)
}

/// The bytes as text: UTF-8 (RFC 6120 §11.6) of characters that XML allows (XML 1.0 §2.2).
pub(super) fn text(bytes: &[u8]) -> Result<&str, FramingError> {
    let text = std::str::from_utf8(bytes).map_err(|_| BAD_ENCODING)?;
    check_characters(text.as_bytes())?;
    Ok(text)
}

/// Checks the part of `bytes` from `checked` on that is already complete characters.
///
/// Returns how far the check came.
pub(super) fn check_partial(bytes: &[u8], checked: usize) -> Result<usize, FramingError> {
    let valid = match std::str::from_utf8(&bytes[checked..]) {
        Ok(text) => text.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return Err(BAD_ENCODING),
    };
    check_characters(&bytes[checked..checked + valid])?;
    Ok(checked + valid)
}

/// Refuses what is no XML character in `utf8`, which is known to be UTF-8.
fn check_characters(utf8: &[u8]) -> Result<(), FramingError> {
    // Chunks without an early exit, so that the compiler can use vector instructions.
    let has_control = utf8.chunks(64).any(|chunk| {
        chunk
            .iter()
            .fold(false, |found, byte| found | is_control(*byte))
    });
    // U+FFFE and U+FFFF; surrogates are no UTF-8 in the first place.
    let has_noncharacter =
        || memchr_iter(0xEF, utf8).any(|at| matches!(utf8[at..], [_, 0xBF, 0xBE | 0xBF, ..]));
    match has_control || has_noncharacter() {
        true => Err(BAD_CHARACTER),
        false => Ok(()),
    }
}

const fn is_control(byte: u8) -> bool {
    byte < 0x20 && byte != b'\t' && byte != b'\n' && byte != b'\r'
}

/// Whether XML allows the character (XML 1.0 §2.2, `Char`).
fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// XML 1.0 §2.3, `S`.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// What a byte means in one place or another; one look-up per byte is all the hot loops do.
#[derive(Clone, Copy)]
pub(super) struct Class(u8);

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        let class = &mut classes[byte as usize];
        if is_ascii_name_start(byte) {
            *class |= Class::NAME_START.0;
        }
        if is_ascii_name_byte(byte) {
            *class |= Class::NAME.0;
        }
        if matches!(byte, b'>' | b'<' | b'"' | b'\'') {
            *class |= Class::ENDS_TAG.0;
        }
        if matches!(byte, b'&' | b'<' | b'\t' | b'\n' | b'\r') {
            *class |= Class::NORMALISED.0;
        }
        if matches!(
            byte,
            b'&' | b'<' | b'>' | b'\'' | b'"' | b'\t' | b'\n' | b'\r'
        ) {
            *class |= Class::ESCAPED.0;
        }
        if !is_uri_byte(byte) {
            *class |= Class::NOT_URI.0;
        }
        if byte == b'=' || is_space(byte) {
            *class |= Class::ENDS_NAME.0;
        }
        if matches!(byte, b'%' | b'#' | b'@') {
            *class |= Class::RARE_IN_URI.0;
        }
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

// === impl Class ===

impl Class {
    /// Begins an ASCII name.
    pub(super) const NAME_START: Self = Self(1);
    /// Stands in an ASCII name.
    pub(super) const NAME: Self = Self(2);
    /// Matters while the end of a start tag is looked for.
    pub(super) const ENDS_TAG: Self = Self(4);
    /// Must not stand in the value of an attribute as it is, or means something else there.
    pub(super) const NORMALISED: Self = Self(8);
    /// Is a reference in the canonical form of a value.
    pub(super) const ESCAPED: Self = Self(16);
    /// Never stands in a URI.
    pub(super) const NOT_URI: Self = Self(32);
    /// Ends the name of an attribute.
    pub(super) const ENDS_NAME: Self = Self(64);
    /// Stands in few URIs, and not anywhere in them.
    pub(super) const RARE_IN_URI: Self = Self(128);

    /// Every class that one of `bytes` is of.
    #[inline]
    pub(super) fn union(bytes: &[u8]) -> Self {
        let add = |classes, byte: &u8| classes | CLASSES[usize::from(*byte)];
        Self(bytes.iter().fold(0, add))
    }

    /// Whether both have a class in common.
    #[inline]
    pub(super) const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether `byte` is of this class.
    #[inline]
    pub(super) const fn has(self, byte: u8) -> bool {
        CLASSES[byte as usize] & self.0 != 0
    }

    /// Whether `bytes` hold none of this class.
    #[inline]
    pub(super) fn has_none(self, bytes: &[u8]) -> bool {
        !bytes.iter().any(|byte| self.has(*byte))
    }

    /// Where the first of this class stands.
    #[inline]
    pub(super) fn find(self, bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|byte| self.has(*byte))
    }
}

/// The character that a reference means; `name` stands between `&` and `;`.
pub(super) fn reference(name: &str) -> Result<char, FramingError> {
    match name {
        "amp" => return Ok('&'),
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => {}
    }
    let Some(number) = name.strip_prefix('#') else {
        check_ncname(name).map_err(|_| BAD_REFERENCE)?;
        return Err(RESTRICTED_ENTITY);
    };
    let (digits, radix) = match number.strip_prefix('x') {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    // `from_str_radix` alone would allow a sign.
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(BAD_REFERENCE);
    }
    u32::from_str_radix(digits, radix)
        .ok()
        .and_then(char::from_u32)
        .filter(|c| is_character(*c))
        .ok_or(BAD_REFERENCE)
}

/// Splits a qualified name into prefix, empty if there is none, and local name.
#[inline]
pub(super) fn qname(name: &str) -> Result<(&str, &str), FramingError> {
    let (prefix, local) = match memchr::memchr(b':', name.as_bytes()) {
        Some(colon) => {
            check_ncname(&name[..colon])?;
            (&name[..colon], &name[colon + 1..])
        }
        None => ("", name),
    };
    check_ncname(local)?;
    Ok((prefix, local))
}

/// Namespaces in XML 1.0 §3, `NCName`.
#[inline]
fn check_ncname(name: &str) -> Result<(), FramingError> {
    let Some((&first, rest)) = name.as_bytes().split_first() else {
        return Err(BAD_NAME);
    };
    let plain = Class::NAME_START.has(first) && rest.iter().all(|byte| Class::NAME.has(*byte));
    let valid = plain || {
        let mut characters = name.chars();
        characters.next().is_some_and(is_name_start)
            && characters.all(|c| is_name_start(c) || is_name_rest(c))
    };
    match valid {
        true => Ok(()),
        false => Err(BAD_NAME),
    }
}

const fn is_ascii_name_start(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'_')
}

const fn is_ascii_name_byte(byte: u8) -> bool {
    is_ascii_name_start(byte) || matches!(byte, b'0'..=b'9' | b'-' | b'.')
}

/// Characters that may begin a name in the fourth and in the fifth edition of XML 1.0.
///
/// Expat reads the fourth edition, libxml2 the fifth: a name that only one of them allows would
/// end the stream of everyone who uses the other. The scripts people write are covered.
fn is_name_start(c: char) -> bool {
    if c.is_ascii() {
        return is_ascii_name_start(c as u8);
    }
    matches!(c,
        '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{131}' | '\u{134}'..='\u{13E}'
        | '\u{141}'..='\u{148}' | '\u{14A}'..='\u{17E}' | '\u{180}'..='\u{1C3}'
        | '\u{38E}'..='\u{3A1}' | '\u{3A3}'..='\u{3CE}' | '\u{401}'..='\u{40C}'
        | '\u{40E}'..='\u{44F}' | '\u{451}'..='\u{45C}' | '\u{45E}'..='\u{481}'
        | '\u{531}'..='\u{556}' | '\u{561}'..='\u{586}' | '\u{5D0}'..='\u{5EA}'
        | '\u{621}'..='\u{63A}' | '\u{641}'..='\u{64A}' | '\u{905}'..='\u{939}'
        | '\u{E01}'..='\u{E2E}' | '\u{10A0}'..='\u{10C5}' | '\u{10D0}'..='\u{10F6}'
        | '\u{1E00}'..='\u{1E9B}' | '\u{1EA0}'..='\u{1EF9}' | '\u{3041}'..='\u{3094}'
        | '\u{30A1}'..='\u{30FA}' | '\u{3105}'..='\u{312C}' | '\u{4E00}'..='\u{9FA5}'
        | '\u{AC00}'..='\u{D7A3}')
}

/// Characters that both editions allow in a name, but not at its beginning.
fn is_name_rest(c: char) -> bool {
    match c.is_ascii() {
        true => is_ascii_name_byte(c as u8),
        false => c == '\u{B7}',
    }
}

/// Whether the name of a namespace is a URI (RFC 3986 §3), the empty one included.
///
/// XML does not demand it, but others do: libxml2 calls a stanza with another name broken, and
/// Expat ends the stream when the name holds the separator that a client asked it to put between
/// namespace and name, unless URIs have that character too.
#[inline]
pub(super) fn is_uri(ns: &str) -> bool {
    let class = Class::union(ns.as_bytes());
    if class.overlaps(Class::NOT_URI) {
        return false;
    }
    (!class.overlaps(Class::RARE_IN_URI) || has_sound_escapes(ns)) && has_uri_structure(ns)
}

/// Whether each `%` begins an escape, and there is at most one fragment; no user is named.
fn has_sound_escapes(uri: &str) -> bool {
    let bytes = uri.as_bytes();
    let is_escape = |at: usize| {
        let digits = bytes.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    memchr_iter(b'%', bytes).all(is_escape)
        && memchr_iter(b'#', bytes).count() <= 1
        && !(uri.contains("//") && uri.contains('@'))
}

fn has_uri_structure(uri: &str) -> bool {
    let head = |part: &str| -> usize {
        let end = part
            .bytes()
            .position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        end.unwrap_or(part.len())
    };
    let rest = match memchr::memchr(b':', &uri.as_bytes()[..head(uri)]) {
        Some(colon) => {
            let (scheme, rest) = (&uri.as_bytes()[..colon], &uri[colon + 1..]);
            let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
                && scheme
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
            if !is_scheme {
                return false;
            }
            rest
        }
        None => uri,
    };
    let Some(authority) = rest.strip_prefix("//") else {
        return true;
    };
    match authority[..head(authority)].split_once(':') {
        Some((_, port)) => {
            (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
        }
        None => true,
    }
}

/// RFC 3986 §2; brackets, which only IP addresses have, are left out.
const fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'[' | b']'
        )
}
