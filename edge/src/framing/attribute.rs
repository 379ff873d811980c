//! The inside of a start tag: attributes, namespace declarations and their values.

use std::borrow::Cow;

use couplet_proto::xmpp::escape::{self, Sink};
use memchr::{memchr, memchr2};
use smallvec::SmallVec;

use super::guard::{self, Class, is_space};
use super::{Budget, FramingError};

/// An attribute that declares no namespace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    /// Empty if there is none.
    pub(super) prefix: &'a str,
    pub(super) local: &'a str,
    /// The value as received.
    pub(super) raw: &'a str,
}

/// A namespace declaration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Declaration<'a> {
    /// Empty for the default namespace.
    pub(super) prefix: &'a str,
    /// The value as received.
    pub(super) raw: &'a str,
}

/// What a start tag says besides its name.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    pub(super) plain: SmallVec<[Attribute<'a>; 8]>,
    pub(super) declarations: SmallVec<[Declaration<'a>; 4]>,
}

// === impl Attributes ===

impl<'a> Attributes<'a> {
    /// Reads what stands in `raw`, which follows the name in a start tag.
    pub(super) fn read(&mut self, raw: &'a str, budget: &Budget) -> Result<(), FramingError> {
        self.plain.clear();
        self.declarations.clear();
        let mut rest = raw;
        while let Some((name, value)) = pair(&mut rest)? {
            let (prefix, local) = guard::qname(name)?;
            if prefix == "xmlns" || name == "xmlns" {
                if self.declarations.len() >= budget.namespaces as usize {
                    return Err(guard::TOO_MANY_NAMESPACES);
                }
                let prefix = if prefix.is_empty() { "" } else { local };
                let raw = value;
                self.declarations.push(Declaration { prefix, raw });
            } else {
                if self.plain.len() >= budget.attributes as usize {
                    return Err(guard::TOO_MANY_ATTRIBUTES);
                }
                let raw = value;
                self.plain.push(Attribute { prefix, local, raw });
            }
        }
        Ok(())
    }
}

/// The next `name='value'` of a tag, which white space must precede.
#[inline]
pub(super) fn pair<'a>(rest: &mut &'a str) -> Result<Option<(&'a str, &'a str)>, FramingError> {
    let bytes = rest.as_bytes();
    let start = skip_space(bytes, 0);
    if start == bytes.len() {
        return Ok(None);
    }
    let name_bytes = Class::ENDS_NAME
        .find(&bytes[start..])
        .ok_or(guard::BAD_ATTRIBUTE)?;
    let name_end = start + name_bytes;
    let equals = skip_space(bytes, name_end);
    if start == 0 || bytes.get(equals) != Some(&b'=') {
        return Err(guard::BAD_ATTRIBUTE);
    }
    let open = skip_space(bytes, equals + 1);
    let quote = match bytes.get(open) {
        Some(quote @ (b'"' | b'\'')) => *quote,
        _ => return Err(guard::BAD_ATTRIBUTE),
    };
    let value_bytes = memchr(quote, &bytes[open + 1..]).ok_or(guard::BAD_ATTRIBUTE)?;
    let value_end = open + 1 + value_bytes;
    let found = (&rest[start..name_end], &rest[open + 1..value_end]);
    *rest = &rest[value_end + 1..];
    Ok(Some(found))
}

/// The value that an attribute has, normalised (XML 1.0 §3.3.3).
#[inline]
pub(super) fn value(raw: &str) -> Result<Cow<'_, str>, FramingError> {
    if Class::NORMALISED.has_none(raw.as_bytes()) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut value = String::with_capacity(raw.len());
    decode(raw, |part| value.push_str(part))?;
    Ok(Cow::Owned(value))
}

/// Writes the value of an attribute in canonical form.
#[inline]
pub(super) fn write_value(out: &mut String, raw: &str) -> Result<(), FramingError> {
    if Class::ESCAPED.has_none(raw.as_bytes()) {
        out.put(raw);
        return Ok(());
    }
    decode(raw, |part| escape::attribute(out, part))
}

/// Hands over the parts of a normalised value, in order.
fn decode(raw: &str, mut part: impl FnMut(&str)) -> Result<(), FramingError> {
    let bytes = raw.as_bytes();
    let mut done = 0;
    let mut at = 0;
    while at < bytes.len() {
        let Some(found) = Class::NORMALISED.find(&bytes[at..]) else {
            break;
        };
        at += found;
        let special = bytes[at];
        part(&raw[done..at]);
        at += 1;
        match special {
            b'&' => {
                let end = at + memchr(b';', &bytes[at..]).ok_or(guard::BAD_REFERENCE)?;
                let character = guard::reference(&raw[at..end])?;
                part(character.encode_utf8(&mut [0; 4]));
                at = end + 1;
            }
            b'<' => return Err(guard::BAD_ATTRIBUTE),
            _ => {
                // A CR and the LF after it are one line end.
                if special == b'\r' && bytes.get(at) == Some(&b'\n') {
                    at += 1;
                }
                part(" ");
            }
        }
        done = at;
    }
    part(&raw[done..]);
    Ok(())
}

/// Writes character data without references in canonical form; line ends become LF.
#[inline]
pub(super) fn write_text(out: &mut String, raw: &str) -> Result<(), FramingError> {
    let bytes = raw.as_bytes();
    let mut done = 0;
    while let Some(found) = memchr2(b'>', b'\r', &bytes[done..]) {
        let at = done + found;
        out.put(&raw[done..at]);
        done = at + 1;
        if bytes[at] == b'>' {
            // XML 1.0 §2.4: this sequence ends a CDATA section and nothing else.
            if bytes[..at].ends_with(b"]]") {
                return Err(guard::NOT_WELL_FORMED);
            }
            out.put("&gt;");
        } else if bytes.get(done) != Some(&b'\n') {
            out.put("\n");
        }
    }
    out.put(&raw[done..]);
    Ok(())
}

/// Writes the inside of a CDATA section as text; line ends become LF.
pub(super) fn write_cdata(out: &mut String, raw: &str) {
    for (index, part) in raw.split("\r\n").enumerate() {
        if index > 0 {
            out.put("\n");
        }
        for (index, part) in part.split('\r').enumerate() {
            if index > 0 {
                out.put("\n");
            }
            escape::text(out, part);
        }
    }
}

#[inline]
fn skip_space(bytes: &[u8], from: usize) -> usize {
    let spaces = bytes[from..]
        .iter()
        .take_while(|byte| is_space(**byte))
        .count();
    from + spaces
}
