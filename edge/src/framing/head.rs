//! The head of a stanza: what its start tag says, and whether that can be accepted.

use std::borrow::Cow;
use std::ops::Range;

use couplet_proto::xmpp::byte_str::ByteStr;
use couplet_proto::xmpp::error::Condition;
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::{Jid, Kind, Stanza, Type};

use super::attribute::{self, Attributes};
use super::{FramingError, Item, MalformedStanza};

/// Longer ids are refused: whoever answers a stanza repeats its id.
const ID_BYTES_MAX: usize = 1023;

/// The attributes of a stanza. Those that outlive it stand in the buffer of the stanza.
pub(super) struct Head<'a> {
    kind: Kind,
    type_: Option<Cow<'a, str>>,
    to: Option<Cow<'a, str>>,
    from: Option<Cow<'a, str>>,
    id: Option<Range<usize>>,
    lang: Option<Range<usize>>,
    /// Attributes in foreign namespaces, as they are written.
    pub(super) extra: Range<usize>,
}

// === impl Head ===

impl<'a> Head<'a> {
    /// Reads the attributes of a stanza; the strings to keep go to `out`.
    ///
    /// Those in no namespace that no specification knows are dropped.
    pub(super) fn read(
        kind: Kind,
        tag: &Attributes<'a>,
        out: &mut String,
    ) -> Result<Self, FramingError> {
        let mut head = Self {
            kind,
            type_: None,
            to: None,
            from: None,
            id: None,
            lang: None,
            extra: 0..0,
        };
        for attribute in &tag.plain {
            let value = attribute::value(attribute.raw)?;
            match (attribute.prefix, attribute.local) {
                ("", "type") => head.type_ = Some(value),
                ("", "to") => head.to = Some(value),
                ("", "from") => head.from = Some(value),
                ("", "id") => head.id = Some(keep(out, &value)),
                ("xml", "lang") => head.lang = Some(keep(out, &value)),
                _ => {}
            }
        }
        Ok(head)
    }

    /// The stanza over `shared`, or what is known of it when it cannot be accepted.
    pub(super) fn into_item(self, shared: &ByteStr, payload: Payload, is_sound: bool) -> Item {
        let text = shared.as_str();
        let type_ = Type::from_attribute(self.kind, self.type_.as_deref());
        let children = payload.children().len();
        let type_ = type_.filter(|type_| is_sound && self.is_sound(*type_, children));
        let parse = |jid: &Option<Cow<'_, str>>| jid.as_deref().map(Jid::parse).transpose();
        let (type_, to, from) = match (type_, parse(&self.to), parse(&self.from)) {
            (Some(type_), Ok(to), Ok(from)) => (type_, to, from),
            (_, to, from) => {
                let id = self.id.filter(|range| range.len() <= ID_BYTES_MAX);
                return Item::Malformed(Box::new(MalformedStanza {
                    kind: self.kind,
                    type_attribute: self.type_.map(Cow::into_owned),
                    id: id.map(|range| text[range].to_owned()),
                    condition: match to.is_ok() && from.is_ok() {
                        true => Condition::BadRequest,
                        false => Condition::JidMalformed,
                    },
                    is_from_forged_or_bad: from.is_err(),
                    from: from.ok().flatten(),
                    to: to.ok().flatten(),
                }));
            }
        };
        let part = |range: Range<usize>| shared.slice_ref(&text[range]);
        Item::Stanza(Stanza {
            kind: self.kind,
            type_,
            id: self.id.map(part),
            from,
            to,
            lang: self.lang.map(part),
            extra: (!self.extra.is_empty()).then(|| part(self.extra)),
            payload,
            trace: None,
        })
    }

    /// RFC 6120 §8.2.3: an IQ has an id, a request exactly one child, a result at most one.
    fn is_sound(&self, type_: Type, children: usize) -> bool {
        if self.id.as_ref().is_some_and(|id| id.len() > ID_BYTES_MAX) {
            return false;
        }
        match (self.kind, type_) {
            (Kind::Iq, Type::Get | Type::Set) => self.id.is_some() && children == 1,
            (Kind::Iq, Type::Result) => self.id.is_some() && children <= 1,
            (Kind::Iq, _) => self.id.is_some(),
            _ => true,
        }
    }
}

/// Appends a string of the head; returns where it stands.
fn keep(out: &mut String, value: &str) -> Range<usize> {
    let start = out.len();
    out.push_str(value);
    start..out.len()
}
