//! Stanzas: the envelope, the children's bytes, and where each child stands.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::field::{self, required};
use super::{Undecodable, v1};
use crate::xmpp::byte_str::ByteStr;
use crate::xmpp::payload::{Entry, Payload};
use crate::xmpp::stanza::{Kind, Stanza, Type};
use crate::xmpp::trace::{SpanId, Trace, TraceId};

/// A stanza of fewer bytes is copied out of the buffer it came in. Many share that buffer, and one
/// that is kept, as a presence is, would keep all of it; copying so little costs less than the
/// counting of references it saves.
const COPIED_BYTES: usize = 4096;

/// How many numbers describe a child.
const NUMBERS: usize = 6;

/// A stanza as messages hold it; its texts are shared.
pub(super) fn encode(stanza: &Stanza) -> v1::Stanza {
    let text = |text: &Option<ByteStr>| text.as_ref().map(|text| text.bytes().clone());
    v1::Stanza {
        kind: kind_number(stanza.kind).into(),
        r#type: type_number(stanza.type_).into(),
        id: text(&stanza.id),
        from: stanza.from.as_ref().map(field::jid_bytes),
        to: stanza.to.as_ref().map(field::jid_bytes),
        lang: text(&stanza.lang),
        extra: text(&stanza.extra),
        payload: stanza.payload.xml().bytes().clone(),
        children: stanza.payload.index().iter().flat_map(numbers).collect(),
        trace: stanza.trace.as_deref().map(trace_message),
    }
}

/// Reads a stanza.
pub(super) fn decode(message: Option<v1::Stanza>) -> Result<Arc<Stanza>, Undecodable> {
    let mut message = required(message, "stanza")?;
    own(&mut message);
    let text = |bytes: Option<Bytes>| bytes.map(field::text).transpose();
    let jid = |bytes: Option<Bytes>| bytes.as_ref().map(field::jid).transpose();
    Ok(Arc::new(Stanza {
        kind: kind(message.kind())?,
        type_: type_(message.r#type())?,
        id: text(message.id)?,
        from: jid(message.from)?,
        to: jid(message.to)?,
        lang: text(message.lang)?,
        extra: text(message.extra)?,
        payload: payload(message.payload, &message.children)?,
        trace: message.trace.and_then(trace).map(Box::new),
    }))
}

/// Reads stanzas.
pub(super) fn decode_all(messages: Vec<v1::Stanza>) -> Result<Arc<[Arc<Stanza>]>, Undecodable> {
    let stanzas = messages.into_iter().map(|message| decode(Some(message)));
    stanzas.collect()
}

/// [`Trace::at`] stays behind: each process measures its own part.
fn trace_message(trace: &Trace) -> v1::Trace {
    let (high, low) = field::halves(trace.id.0);
    let span = trace.span.0;
    v1::Trace { high, low, span }
}

/// One without a name is none.
fn trace(message: v1::Trace) -> Option<Trace> {
    let id = field::whole(message.high, message.low);
    (id != 0 && message.span != 0).then_some(Trace {
        id: TraceId(id),
        span: SpanId(message.span),
        at: 0,
    })
}

/// Copies the texts of a small stanza into one buffer of their own.
fn own(message: &mut v1::Stanza) {
    let v1::Stanza {
        id,
        lang,
        extra,
        payload,
        ..
    } = message;
    let texts = || [Some(&*payload), id.as_ref(), lang.as_ref(), extra.as_ref()];
    let bytes: usize = texts().iter().flatten().map(|text| text.len()).sum();
    if bytes >= COPIED_BYTES {
        return;
    }
    let mut buffer = BytesMut::with_capacity(bytes);
    for text in texts().into_iter().flatten() {
        buffer.extend_from_slice(text);
    }
    let mut buffer = buffer.freeze();
    let texts = [Some(payload), id.as_mut(), lang.as_mut(), extra.as_mut()];
    for text in texts.into_iter().flatten() {
        *text = buffer.split_to(text.len());
    }
}

fn numbers(entry: &Entry) -> [u32; NUMBERS] {
    let ns = entry.ns.clone().unwrap_or_default();
    let Entry { span, name, .. } = entry;
    [span.start, span.end, name.start, name.end, ns.start, ns.end]
}

/// A payload whose index leads to places in it, and nowhere else.
fn payload(xml: Bytes, numbers: &[u32]) -> Result<Payload, Undecodable> {
    let xml = field::text(xml)?;
    let (children, []) = numbers.as_chunks::<NUMBERS>() else {
        return Err(Undecodable::Invalid("index"));
    };
    let all = 0..u32::try_from(xml.len()).map_err(|_| Undecodable::Invalid("payload"))?;
    let mut entries = SmallVec::with_capacity(children.len());
    let text = xml.as_str();
    for &[start, end, name_start, name_end, ns_start, ns_end] in children {
        let span = within(text, &all, start..end)?;
        let name = within(text, &span, name_start..name_end)?;
        let ns = match (ns_start, ns_end) {
            (0, 0) => None,
            _ => Some(within(text, &span, ns_start..ns_end)?),
        };
        entries.push(Entry { span, name, ns });
    }
    Ok(Payload::from_canonical(xml, entries))
}

/// A range that lies in `outer` and does not cut a character.
fn within(text: &str, outer: &Range<u32>, range: Range<u32>) -> Result<Range<u32>, Undecodable> {
    let is_inside =
        outer.start <= range.start && range.start <= range.end && range.end <= outer.end;
    let is_whole = |at: u32| text.is_char_boundary(at as usize);
    match is_inside && is_whole(range.start) && is_whole(range.end) {
        true => Ok(range),
        false => Err(Undecodable::Invalid("index")),
    }
}

fn kind_number(kind: Kind) -> v1::Kind {
    match kind {
        Kind::Message => v1::Kind::Message,
        Kind::Presence => v1::Kind::Presence,
        Kind::Iq => v1::Kind::Iq,
    }
}

fn kind(number: v1::Kind) -> Result<Kind, Undecodable> {
    match number {
        v1::Kind::Message => Ok(Kind::Message),
        v1::Kind::Presence => Ok(Kind::Presence),
        v1::Kind::Iq => Ok(Kind::Iq),
        v1::Kind::Unspecified => Err(Undecodable::Unknown),
    }
}

fn type_number(type_: Type) -> v1::Type {
    match type_ {
        Type::Error => v1::Type::Error,
        Type::Normal => v1::Type::Normal,
        Type::Chat => v1::Type::Chat,
        Type::Groupchat => v1::Type::Groupchat,
        Type::Headline => v1::Type::Headline,
        Type::Available => v1::Type::Available,
        Type::Unavailable => v1::Type::Unavailable,
        Type::Subscribe => v1::Type::Subscribe,
        Type::Subscribed => v1::Type::Subscribed,
        Type::Unsubscribe => v1::Type::Unsubscribe,
        Type::Unsubscribed => v1::Type::Unsubscribed,
        Type::Probe => v1::Type::Probe,
        Type::Get => v1::Type::Get,
        Type::Set => v1::Type::Set,
        Type::Result => v1::Type::Result,
    }
}

fn type_(number: v1::Type) -> Result<Type, Undecodable> {
    Ok(match number {
        v1::Type::Unspecified => return Err(Undecodable::Unknown),
        v1::Type::Error => Type::Error,
        v1::Type::Normal => Type::Normal,
        v1::Type::Chat => Type::Chat,
        v1::Type::Groupchat => Type::Groupchat,
        v1::Type::Headline => Type::Headline,
        v1::Type::Available => Type::Available,
        v1::Type::Unavailable => Type::Unavailable,
        v1::Type::Subscribe => Type::Subscribe,
        v1::Type::Subscribed => Type::Subscribed,
        v1::Type::Unsubscribe => Type::Unsubscribe,
        v1::Type::Unsubscribed => Type::Unsubscribed,
        v1::Type::Probe => Type::Probe,
        v1::Type::Get => Type::Get,
        v1::Type::Set => Type::Set,
        v1::Type::Result => Type::Result,
    })
}
