//! What opens and closes a stream: XML declaration, stream header, end tag (RFC 6120 §4.7, §4.8).

use std::borrow::Cow;

use couplet_proto::xmpp::error::StreamCondition;
use couplet_proto::xmpp::ns;

use super::attribute::{self, Attributes};
use super::scope::{STANDARD, Scope, StreamScope};
use super::{Budget, FramingError, canonical, guard};

const BAD_ROOT: FramingError = FramingError::new(
    StreamCondition::BadFormat,
    "the first element is not a stream header",
);
const BAD_VERSION: FramingError =
    FramingError::new(StreamCondition::NotWellFormed, "XML other than 1.0");
const NOT_UTF_8: FramingError = FramingError::new(
    StreamCondition::UnsupportedEncoding,
    "only UTF-8 is supported",
);
const NOT_STANDALONE: FramingError = FramingError::new(
    StreamCondition::RestrictedXml,
    "external declarations are not allowed",
);

/// What a stream header says. Whether it is acceptable is for the stream to decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The domain the client wants.
    pub to: Option<String>,
    /// Who the client says it is.
    pub from: Option<String>,
    /// The XMPP version.
    pub version: Option<String>,
    /// The default language of the stream.
    pub lang: Option<String>,
    /// A stream id, which a client should not send.
    pub id: Option<String>,
    /// The default namespace declared on the header; empty if there is none.
    pub content_ns: String,
    /// Whether the header is in the stream namespace.
    pub stream_ns_ok: bool,
}

/// Reads a stream header; `None` for the scope is the one nearly every client uses.
pub(super) fn parse(
    bytes: &[u8],
    budget: &Budget,
) -> Result<(Header, Option<Box<StreamScope>>), FramingError> {
    let tag = guard::text(bytes)?;
    let content = tag
        .strip_prefix('<')
        .and_then(|tag| tag.strip_suffix('>'))
        .ok_or(guard::NOT_WELL_FORMED)?;
    let (content, is_empty) = match content.strip_suffix('/') {
        Some(content) => (content, true),
        None => (content, false),
    };
    let (name, rest) = canonical::split_name(content);
    let (prefix, local) = guard::qname(name)?;
    let mut attributes = Attributes::default();
    attributes.read(rest, budget)?;
    let mut scope = Scope::new(&[], budget);
    scope.enter(&attributes)?;
    canonical::check_duplicates(&attributes.plain, &scope)?;
    let ns = scope.element(prefix)?;
    if local != "stream" || is_empty {
        return Err(BAD_ROOT);
    }
    let mut header = Header {
        content_ns: scope.name(scope.element("")?).to_owned(),
        stream_ns_ok: scope.name(ns) == ns::STREAM,
        ..Header::default()
    };
    for attribute in &attributes.plain {
        let value = attribute::value(attribute.raw)?.into_owned();
        match (attribute.prefix, attribute.local) {
            ("", "to") => header.to = Some(value),
            ("", "from") => header.from = Some(value),
            ("", "version") => header.version = Some(value),
            ("", "id") => header.id = Some(value),
            ("xml", "lang") => header.lang = Some(value),
            _ => {}
        }
    }
    let mut bindings = scope.to_bindings();
    bindings.sort_by(|one, other| one.prefix.cmp(&other.prefix));
    let stream = StreamScope {
        qname: Cow::Owned(name.to_owned()),
        bindings: Cow::Owned(bindings),
    };
    let stream = (stream != STANDARD).then(|| Box::new(stream));
    Ok((header, stream))
}

/// Checks an XML declaration, `<?xml …?>` (XML 1.0 §2.8; RFC 6120 §11.5, §11.6).
pub(super) fn check_declaration(bytes: &[u8]) -> Result<(), FramingError> {
    let declaration = guard::text(bytes)?;
    let mut rest = declaration
        .strip_prefix("<?xml")
        .and_then(|declaration| declaration.strip_suffix("?>"))
        .ok_or(guard::NOT_WELL_FORMED)?;
    let mut allowed = ["version", "encoding", "standalone"].as_slice();
    let mut is_first = true;
    while let Some((name, value)) = attribute::pair(&mut rest)? {
        let position = allowed.iter().position(|known| *known == name);
        let position = position.ok_or(guard::NOT_WELL_FORMED)?;
        if is_first && position > 0 {
            return Err(guard::NOT_WELL_FORMED);
        }
        is_first = false;
        allowed = &allowed[position + 1..];
        match (name, value) {
            ("version", "1.0") | ("standalone", "yes") => {}
            ("version", _) => return Err(BAD_VERSION),
            ("encoding", encoding) if encoding.eq_ignore_ascii_case("utf-8") => {}
            ("encoding", _) => return Err(NOT_UTF_8),
            ("standalone", "no") => return Err(NOT_STANDALONE),
            _ => return Err(guard::NOT_WELL_FORMED),
        }
    }
    match is_first {
        true => Err(guard::NOT_WELL_FORMED),
        false => Ok(()),
    }
}

/// Checks that an end tag between elements ends the stream.
pub(super) fn check_close(bytes: &[u8], stream: &StreamScope) -> Result<(), FramingError> {
    let name = guard::text(bytes)?
        .strip_prefix("</")
        .and_then(|tag| tag.strip_suffix('>'))
        .map(|name| name.trim_end_matches([' ', '\t', '\r', '\n']));
    match name == Some(&*stream.qname) {
        true => Ok(()),
        false => Err(guard::MISMATCHED_END),
    }
}

/// What a first byte that cannot begin a stream says about the peer.
pub(super) fn bad_first_byte(byte: u8) -> FramingError {
    match byte {
        // A byte order mark of UTF-16 or half a character of it.
        0x00 | 0xFE | 0xFF => NOT_UTF_8,
        _ => guard::TEXT_OUTSIDE,
    }
}
