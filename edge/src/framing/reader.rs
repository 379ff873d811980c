//! The resumable push framer: where does a top-level element end?
//!
//! ```text
//!             ws         '<'            "</" … '>' at depth 0
//!           ┌────┐     ┌─────→ Less ───────────→ EndTag ──→ Close
//! Prolog ─→ Outside ←──┘        │ name           ↑ "</"
//!   "<?xml"   ↑                 ↓                │
//!   header    └─ depth 0 ── StartTag ──→ Text ←→ Cdata
//! ```
//!
//! It only looks for the bytes that can end something, and refuses at once what can never become
//! acceptable. **Invariant:** every `<` received is the first byte of a tag or a CDATA section.

use memchr::{memchr, memchr2};

use super::guard::{self, Class, Meter, is_space};
use super::scope::{STANDARD, StreamScope};
use super::tag::Tag;
use super::{Budget, FramingError, Item, canonical, header};

const CDATA: &[u8] = b"[CDATA[";
const DECLARATION: &[u8] = b"xml";
const STREAM: &[u8] = b"stream";

/// Turns the bytes of one connection into items. Holds no buffer unless an element is incomplete.
#[derive(Debug)]
pub struct Framer {
    meter: Meter,
    phase: Phase,
    place: Place,
    /// The element that is being received, as far as it has been; no allocation between elements.
    buffer: Vec<u8>,
    /// How much of `buffer` is known to be text that XML allows.
    checked: usize,
    /// What the header declared, where it is not the usual.
    scope: Option<Box<StreamScope>>,
}

/// How far the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing but white space has been received.
    Start,
    /// The XML declaration has been received.
    Declared,
    /// The header has been received.
    Open,
    /// The stream has ended or failed; what follows is ignored.
    Ended,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between top-level elements.
    Outside,
    /// Character data inside an element.
    Text,
    /// Behind a `<`.
    Less,
    /// In the name of a top-level element. How many bytes of `stream` its local name has matched;
    /// one more than there are when it is another name.
    TopName(usize),
    /// In a start tag.
    StartTag(Tag),
    /// In an end tag.
    EndTag,
    /// Behind `<!` and this many bytes of `[CDATA[`.
    Bang(usize),
    /// In a CDATA section, behind this many `]`, two at most.
    Cdata(u8),
    /// Behind `<?` and this many bytes of `xml`.
    Question(usize),
    /// In the XML declaration; whether the byte before is a `?`.
    Declaration(bool),
}

/// What has become complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Declaration,
    Header,
    Element,
    Close,
}

// === impl Framer ===

impl Framer {
    /// A framer at the start of a stream; it counts bytes per element.
    pub fn new(budget: Budget) -> Self {
        Self {
            meter: Meter::new(budget),
            phase: Phase::Start,
            place: Place::Outside,
            buffer: Vec::new(),
            checked: 0,
            scope: None,
        }
    }

    /// Sets what one element may ask from now on.
    pub fn set_budget(&mut self, budget: Budget) {
        self.meter.budget = budget;
    }

    /// Whether [`Budget::bytes`] covers every byte received, across restarts, or one element.
    ///
    /// Turning it on starts a new count.
    pub fn count_total(&mut self, on: bool) {
        self.meter.count_total(on);
    }

    /// Forgets everything: a new stream begins, after STARTTLS or SASL.
    pub fn restart(&mut self) {
        self.phase = Phase::Start;
        self.scope = None;
        self.forget();
    }

    /// Whether an element is incomplete.
    pub fn is_midway(&self) -> bool {
        self.place != Place::Outside
    }

    /// Consumes `input` until one item is complete or the input is used up.
    ///
    /// `Ok(None)` means that more bytes are needed; `input` is empty then.
    ///
    /// # Errors
    /// [`FramingError`] when the stream cannot go on; what follows is ignored then.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Item>, FramingError> {
        let result = self.advance(input);
        if result.is_err() {
            self.phase = Phase::Ended;
            self.forget();
        }
        result
    }

    #[inline]
    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Item>, FramingError> {
        loop {
            if self.phase == Phase::Ended {
                *input = &[];
            }
            if self.place == Place::Outside && self.skip_space(input)? {
                return Ok(Some(Item::Whitespace));
            }
            if input.is_empty() {
                return Ok(None);
            }
            let bytes = *input;
            let room = self.meter.room(self.phase != Phase::Open);
            let window = &bytes[..bytes.len().min(room)];
            let Some((token, end)) = self.scan(window)? else {
                if window.len() < bytes.len() {
                    return Err(guard::TOO_LARGE);
                }
                self.meter.took(bytes.len());
                self.buffer.extend_from_slice(bytes);
                self.checked = guard::check_partial(&self.buffer, self.checked)?;
                *input = &[];
                return Ok(None);
            };
            self.meter.took(end);
            *input = &bytes[end..];
            let result = if self.buffer.is_empty() {
                self.forget();
                self.complete(token, &bytes[..end])
            } else {
                let mut whole = std::mem::take(&mut self.buffer);
                whole.extend_from_slice(&bytes[..end]);
                self.forget();
                self.complete(token, &whole)
            };
            // An item is large: it is handed on as it came, not taken apart.
            if !matches!(result, Ok(None)) {
                return result;
            }
        }
    }

    /// Gives up what has been received of the current element.
    #[inline]
    fn forget(&mut self) {
        self.place = Place::Outside;
        if self.buffer.capacity() > 0 {
            self.buffer = Vec::new();
        }
        self.checked = 0;
        self.meter.reset();
    }

    /// Skips white space between elements; whether there was some that means "still alive".
    fn skip_space(&mut self, input: &mut &[u8]) -> Result<bool, FramingError> {
        let spaces = input.iter().take_while(|byte| is_space(**byte)).count();
        *input = &input[spaces..];
        self.meter.took_space(spaces)?;
        Ok(spaces > 0 && self.phase == Phase::Open)
    }

    /// A token is complete; `bytes` is all of it.
    #[inline]
    fn complete(&mut self, token: Token, bytes: &[u8]) -> Result<Option<Item>, FramingError> {
        let budget = &self.meter.budget;
        match token {
            Token::Declaration => {
                header::check_declaration(bytes)?;
                self.phase = Phase::Declared;
                Ok(None)
            }
            Token::Header => {
                let (header, scope) = header::parse(bytes, budget)?;
                self.scope = scope;
                self.phase = Phase::Open;
                Ok(Some(Item::Open(Box::new(header))))
            }
            Token::Element => canonical::read(bytes, self.scope(), budget).map(Some),
            Token::Close => {
                header::check_close(bytes, self.scope())?;
                self.phase = Phase::Ended;
                Ok(Some(Item::Close))
            }
        }
    }

    fn scope(&self) -> &StreamScope {
        self.scope.as_deref().unwrap_or(&STANDARD)
    }

    /// Looks for the end of a token. Returns it with the number of bytes up to its end.
    fn scan(&mut self, bytes: &[u8]) -> Result<Option<(Token, usize)>, FramingError> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let byte = rest[0];
            match self.place {
                Place::Text => {
                    let Some(found) = memchr(b'<', rest) else {
                        return Ok(None);
                    };
                    at += found + 1;
                    self.place = Place::Less;
                    continue;
                }
                Place::StartTag(_) => {
                    let Some(used) = self.scan_tag(rest)? else {
                        return Ok(None);
                    };
                    at += used;
                    if let Some(token) = self.start_tag_ended(&bytes[..at])? {
                        return Ok(Some((token, at)));
                    }
                    continue;
                }
                Place::EndTag => {
                    let Some(found) = memchr2(b'>', b'<', rest) else {
                        return Ok(None);
                    };
                    at += found + 1;
                    if let Some(token) = self.end_tag_ended(rest[found])? {
                        return Ok(Some((token, at)));
                    }
                    continue;
                }
                Place::Cdata(brackets) => self.place = after_cdata_byte(brackets, byte),
                Place::Outside => {
                    if byte != b'<' {
                        return Err(match self.phase {
                            Phase::Start => header::bad_first_byte(byte),
                            _ => guard::TEXT_OUTSIDE,
                        });
                    }
                    self.place = Place::Less;
                }
                Place::Less => self.after_less(byte)?,
                Place::TopName(matched) => match after_name_byte(matched, byte) {
                    Some(place) => self.place = place,
                    None => {
                        let is_suspect = matched == STREAM.len();
                        self.place = in_start_tag(is_suspect);
                        continue;
                    }
                },
                Place::Bang(matched) => self.place = self.after_bang_byte(matched, byte)?,
                Place::Question(matched) => self.place = self.after_question_byte(matched, byte)?,
                Place::Declaration(is_ending) => {
                    if is_ending && byte == b'>' {
                        return Ok(Some((Token::Declaration, at + 1)));
                    }
                    self.place = Place::Declaration(byte == b'?');
                }
            }
            at += 1;
        }
        Ok(None)
    }

    /// Looks for the `>` of a start tag; returns the number of bytes up to it.
    fn scan_tag(&mut self, bytes: &[u8]) -> Result<Option<usize>, FramingError> {
        let Place::StartTag(mut tag) = self.place else {
            return Ok(None);
        };
        let mut at = 0;
        // Where the bytes since the last value begin.
        let mut since = 0;
        while at < bytes.len() {
            if tag.quote != 0 {
                let Some(found) = memchr2(tag.quote, b'<', &bytes[at..]) else {
                    self.place = Place::StartTag(tag);
                    return Ok(None);
                };
                at += found;
                if bytes[at] == b'<' {
                    return Err(guard::BAD_ATTRIBUTE);
                }
                tag.last = tag.quote;
                tag.quote = 0;
                since = at + 1;
            } else {
                let Some(found) = Class::ENDS_TAG.find(&bytes[at..]) else {
                    tag.last = bytes[bytes.len() - 1];
                    break;
                };
                at += found;
                if found > 0 {
                    tag.last = bytes[at - 1];
                }
                match bytes[at] {
                    b'>' => {
                        self.place = Place::StartTag(tag);
                        return Ok(Some(at + 1));
                    }
                    b'<' => return Err(guard::NOT_WELL_FORMED),
                    byte => {
                        tag.count_value(&self.meter.budget, &self.buffer, &bytes[since..at])?;
                        tag.quote = byte;
                    }
                }
            }
            at += 1;
        }
        tag.carried += u32::try_from(bytes.len() - since).map_err(|_| guard::TOO_LARGE)?;
        self.place = Place::StartTag(tag);
        Ok(None)
    }

    /// A start tag is complete; `bytes` is what this call has of the element.
    fn start_tag_ended(&mut self, bytes: &[u8]) -> Result<Option<Token>, FramingError> {
        let Place::StartTag(Tag {
            last, is_suspect, ..
        }) = self.place
        else {
            return Ok(None);
        };
        if self.phase != Phase::Open {
            return Ok(Some(Token::Header));
        }
        if is_suspect {
            let mut tag = self.buffer.clone();
            tag.extend_from_slice(bytes);
            if canonical::is_header(&tag, self.scope(), &self.meter.budget)? {
                return Err(guard::SECOND_HEADER);
            }
        }
        self.place = Place::Text;
        let is_complete = last == b'/' && self.meter.close();
        Ok(is_complete.then_some(Token::Element))
    }

    fn end_tag_ended(&mut self, byte: u8) -> Result<Option<Token>, FramingError> {
        if byte == b'<' {
            return Err(guard::NOT_WELL_FORMED);
        }
        if self.meter.depth() == 0 {
            return Ok(Some(Token::Close));
        }
        self.place = Place::Text;
        Ok(self.meter.close().then_some(Token::Element))
    }

    /// The byte after a `<` says what begins.
    fn after_less(&mut self, byte: u8) -> Result<(), FramingError> {
        let is_top = self.meter.depth() == 0;
        self.place = match byte {
            b'/' if is_top && self.phase != Phase::Open => return Err(guard::MISMATCHED_END),
            b'/' => Place::EndTag,
            b'!' => Place::Bang(0),
            b'?' if is_top => Place::Question(0),
            b'?' => return Err(guard::RESTRICTED),
            // UTF-16 without a byte order mark.
            0 if self.phase == Phase::Start => return Err(header::bad_first_byte(byte)),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => {
                self.meter.open()?;
                match is_top {
                    true => after_name_byte(0, byte).unwrap_or(in_start_tag(false)),
                    false => in_start_tag(false),
                }
            }
            _ => return Err(guard::BAD_NAME),
        };
        Ok(())
    }

    fn after_bang_byte(&self, matched: usize, byte: u8) -> Result<Place, FramingError> {
        match byte {
            _ if byte == CDATA[matched] => {}
            b'-' | b'A'..=b'Z' | b'a'..=b'z' if matched == 0 => return Err(guard::RESTRICTED),
            _ => return Err(guard::NOT_WELL_FORMED),
        }
        if self.meter.depth() == 0 {
            return Err(guard::TEXT_OUTSIDE);
        }
        Ok(match matched + 1 == CDATA.len() {
            true => Place::Cdata(0),
            false => Place::Bang(matched + 1),
        })
    }

    fn after_question_byte(&self, matched: usize, byte: u8) -> Result<Place, FramingError> {
        if DECLARATION.get(matched) == Some(&byte) {
            return Ok(Place::Question(matched + 1));
        }
        match (matched == DECLARATION.len() && is_space(byte), self.phase) {
            (true, Phase::Start) => Ok(Place::Declaration(false)),
            (true, Phase::Open) => Err(guard::SECOND_HEADER),
            (true, _) => Err(guard::NOT_WELL_FORMED),
            (false, _) => Err(guard::RESTRICTED),
        }
    }
}

/// In a start tag, behind its name or in it.
const fn in_start_tag(is_suspect: bool) -> Place {
    Place::StartTag(Tag::new(is_suspect))
}

/// Where another byte of a top-level name leads; `None` when it ends the name.
fn after_name_byte(matched: usize, byte: u8) -> Option<Place> {
    match byte {
        b'>' | b'/' | b'"' | b'\'' | b'<' => None,
        _ if is_space(byte) => None,
        b':' => Some(Place::TopName(0)),
        _ if STREAM.get(matched) == Some(&byte) => Some(Place::TopName(matched + 1)),
        _ => Some(Place::TopName(STREAM.len() + 1)),
    }
}

fn after_cdata_byte(brackets: u8, byte: u8) -> Place {
    match byte {
        b']' => Place::Cdata((brackets + 1).min(2)),
        b'>' if brackets == 2 => Place::Text,
        _ => Place::Cdata(0),
    }
}
