//! Stanza: a parsed head over canonical bytes. Routing never parses the payload again.

use std::fmt;

use bytes::BytesMut;

use super::byte_str::ByteStr;
use super::element::Element;
use super::error::StanzaError;
use super::escape::{self, Sink};
use super::jid::Jid;
use super::ns;
use super::payload::{Child, Payload};
use super::trace::Trace;

/// RFC 6120 §8.2: the three kinds of stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `<message/>`
    Message,
    /// `<presence/>`
    Presence,
    /// `<iq/>`
    Iq,
}

/// The `type` attribute, with the defaults of RFC 6121 applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// Any kind: an error.
    Error,
    /// Message: standalone; the default.
    Normal,
    /// Message: one-to-one chat.
    Chat,
    /// Message: to or from a room.
    Groupchat,
    /// Message: an alert that expects no reply.
    Headline,
    /// Presence: available; no `type` attribute.
    Available,
    /// Presence: no longer available.
    Unavailable,
    /// Presence: asks to see the receiver's presence.
    Subscribe,
    /// Presence: lets the receiver see the sender's presence.
    Subscribed,
    /// Presence: no longer wants to see.
    Unsubscribe,
    /// Presence: no longer lets see.
    Unsubscribed,
    /// Presence: a server asks for the current presence.
    Probe,
    /// IQ: asks.
    Get,
    /// IQ: changes.
    Set,
    /// IQ: the answer.
    Result,
}

/// One stanza: the envelope, and its children over one shared buffer.
///
/// Cloning shares the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stanza {
    /// Message, presence or IQ.
    pub kind: Kind,
    /// The `type` attribute.
    pub type_: Type,
    /// The `id` attribute.
    pub id: Option<ByteStr>,
    /// The sender. Set by the sender's slot; what a client wrote is checked, then overwritten.
    pub from: Option<Jid>,
    /// The receiver; absent means the sender's own account.
    pub to: Option<Jid>,
    /// `xml:lang`.
    pub lang: Option<ByteStr>,
    /// Attributes in foreign namespaces as they go onto the wire, each preceded by a space and
    /// with the declarations it needs. Rare; kept so that nothing is lost.
    pub extra: Option<ByteStr>,
    /// The children.
    pub payload: Payload,
    /// Where it is followed, if it is: hardly any is. Not part of what is written.
    pub trace: Option<Box<Trace>>,
}

// === impl Kind ===

impl Kind {
    /// The element's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Presence => "presence",
            Self::Iq => "iq",
        }
    }

    /// The kind of this element name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "message" => Some(Self::Message),
            "presence" => Some(Self::Presence),
            "iq" => Some(Self::Iq),
            _ => None,
        }
    }
}

// === impl Type ===

impl Type {
    /// Reads the `type` attribute of a `kind`; `None` when it has no such type.
    ///
    /// RFC 6121 §5.2.2: a message of an unknown type is a normal one.
    pub fn from_attribute(kind: Kind, value: Option<&str>) -> Option<Self> {
        let type_ = match (kind, value) {
            (_, Some("error")) => Self::Error,
            (Kind::Message, Some("chat")) => Self::Chat,
            (Kind::Message, Some("groupchat")) => Self::Groupchat,
            (Kind::Message, Some("headline")) => Self::Headline,
            (Kind::Message, _) => Self::Normal,
            (Kind::Presence, None) => Self::Available,
            (Kind::Presence, Some("unavailable")) => Self::Unavailable,
            (Kind::Presence, Some("subscribe")) => Self::Subscribe,
            (Kind::Presence, Some("subscribed")) => Self::Subscribed,
            (Kind::Presence, Some("unsubscribe")) => Self::Unsubscribe,
            (Kind::Presence, Some("unsubscribed")) => Self::Unsubscribed,
            (Kind::Presence, Some("probe")) => Self::Probe,
            (Kind::Iq, Some("get")) => Self::Get,
            (Kind::Iq, Some("set")) => Self::Set,
            (Kind::Iq, Some("result")) => Self::Result,
            _ => return None,
        };
        Some(type_)
    }

    /// The type as people call it: the `type` attribute, or what the default is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Available => "available",
            other => other.attribute().unwrap_or_default(),
        }
    }

    /// The `type` attribute to write; `None` where the default says it.
    pub fn attribute(self) -> Option<&'static str> {
        match self {
            Self::Error => Some("error"),
            Self::Normal | Self::Available => None,
            Self::Chat => Some("chat"),
            Self::Groupchat => Some("groupchat"),
            Self::Headline => Some("headline"),
            Self::Unavailable => Some("unavailable"),
            Self::Subscribe => Some("subscribe"),
            Self::Subscribed => Some("subscribed"),
            Self::Unsubscribe => Some("unsubscribe"),
            Self::Unsubscribed => Some("unsubscribed"),
            Self::Probe => Some("probe"),
            Self::Get => Some("get"),
            Self::Set => Some("set"),
            Self::Result => Some("result"),
        }
    }
}

// === impl Stanza ===

impl Stanza {
    /// A stanza with nothing but kind and type.
    pub fn new(kind: Kind, type_: Type) -> Self {
        Self {
            kind,
            type_,
            id: None,
            from: None,
            to: None,
            lang: None,
            extra: None,
            payload: Payload::default(),
            trace: None,
        }
    }

    /// With this sender.
    #[must_use]
    pub fn from(mut self, from: Jid) -> Self {
        self.from = Some(from);
        self
    }

    /// With this receiver.
    #[must_use]
    pub fn to(mut self, to: Jid) -> Self {
        self.to = Some(to);
        self
    }

    /// With this id.
    #[must_use]
    pub fn id(mut self, id: impl Into<ByteStr>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// With this child at the end.
    #[must_use]
    pub fn child(mut self, element: &Element) -> Self {
        self.payload = self.payload.with(element);
        self
    }

    /// The answer to this IQ, with `payload` if there is one.
    #[must_use]
    pub fn result(&self, payload: Option<&Element>) -> Self {
        let mut result = self.reply(Type::Result);
        result.payload = Payload::from_elements(payload);
        result
    }

    /// The error that answers this stanza (RFC 6120 §8.3.1).
    ///
    /// The offending payload is left out: RFC 6120 makes it optional, and an echo amplifies.
    #[must_use]
    pub fn error(&self, error: &StanzaError) -> Self {
        let mut reply = self.reply(Type::Error);
        reply.payload = Payload::from_elements([&error.to_element()]);
        reply
    }

    /// Whether this asks for an answer: an IQ of type get or set.
    pub fn is_request(&self) -> bool {
        matches!(self.type_, Type::Get | Type::Set)
    }

    /// The first child of an IQ: what it asks for or answers.
    pub fn first(&self) -> Option<Child<'_>> {
        self.payload.children().next()
    }

    /// The sender, where the slot has set it.
    ///
    /// # Panics
    /// If it is not set: stanzas are stamped where they enter.
    pub fn sender(&self) -> &Jid {
        self.from.as_ref().expect("stamped by the sender's slot")
    }

    /// How many bytes it takes on the wire, about: for budgets, not for buffers.
    pub fn wire_bytes(&self) -> usize {
        const ENVELOPE: usize = 48;
        let jid = |jid: &Option<Jid>| jid.as_ref().map_or(0, |jid| jid.as_str().len());
        ENVELOPE
            + jid(&self.from)
            + jid(&self.to)
            + self.id.as_ref().map_or(0, |id| id.len())
            + self.payload.len()
    }

    /// Writes the stanza as it stands in a client stream.
    pub fn write(&self, out: &mut impl Sink) {
        self.write_in(out, ns::CLIENT);
    }

    /// Writes the stanza as it stands in a client stream; without a receiver of its own it is for
    /// `to`.
    pub fn write_to(&self, to: &Jid, out: &mut impl Sink) {
        self.write_head(out, ns::CLIENT, self.to.as_ref().or(Some(to)));
        self.write_rest(out);
    }

    /// Writes the stanza; `xmlns` only when `stream_ns`, the default namespace around it, is not
    /// `jabber:client` (WebSocket framing, RFC 7395 §3.3.3; storage).
    pub fn write_in(&self, out: &mut impl Sink, stream_ns: &str) {
        self.write_head(out, stream_ns, self.to.as_ref());
        self.write_rest(out);
    }

    fn write_head(&self, out: &mut impl Sink, stream_ns: &str, to: Option<&Jid>) {
        out.put("<");
        out.put(self.kind.name());
        if stream_ns != ns::CLIENT {
            escape::named_attribute(out, "xmlns", ns::CLIENT);
        }
        if let Some(type_) = self.type_.attribute() {
            escape::named_attribute(out, "type", type_);
        }
        if let Some(id) = &self.id {
            escape::named_attribute(out, "id", id);
        }
        if let Some(from) = &self.from {
            escape::named_attribute(out, "from", from.as_str());
        }
        if let Some(to) = to {
            escape::named_attribute(out, "to", to.as_str());
        }
    }

    fn write_rest(&self, out: &mut impl Sink) {
        if let Some(lang) = &self.lang {
            escape::named_attribute(out, "xml:lang", lang);
        }
        if let Some(extra) = &self.extra {
            out.put(extra);
        }
        if self.payload.is_empty() {
            out.put("/>");
            return;
        }
        out.put(">");
        out.put(self.payload.xml());
        out.put("</");
        out.put(self.kind.name());
        out.put(">");
    }

    /// Sender and receiver exchanged, id kept, nothing inside.
    fn reply(&self, type_: Type) -> Self {
        Self {
            kind: self.kind,
            type_,
            id: self.id.clone(),
            from: self.to.clone(),
            to: self.from.clone(),
            lang: None,
            extra: None,
            payload: Payload::default(),
            trace: self.trace.clone(),
        }
    }
}

impl fmt::Display for Stanza {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = BytesMut::with_capacity(self.wire_bytes());
        self.write(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::error::Condition;

    #[test]
    fn a_stanza_is_written_with_its_envelope_escaped() {
        let stanza = Stanza::new(Kind::Message, Type::Chat)
            .to(Jid::parse("a@b/it's").expect("valid"))
            .id("1<2")
            .child(&Element::new("body", ns::CLIENT).text("x < y"));
        assert_eq!(
            stanza.to_string(),
            "<message type='chat' id='1&lt;2' to='a@b/it&apos;s'><body>x &lt; y</body></message>"
        );
    }

    #[test]
    fn an_error_goes_back_without_the_payload() {
        let stanza = Stanza::new(Kind::Iq, Type::Get)
            .id("1")
            .from(Jid::parse("a@b/r").expect("valid"))
            .to(Jid::parse("b").expect("valid"))
            .child(&Element::new("query", "urn:q"));
        let error = stanza.error(&StanzaError::from(Condition::ServiceUnavailable));
        assert_eq!(
            error.to_string(),
            "<iq type='error' id='1' from='b' to='a@b/r'><error type='cancel'>\
             <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        );
    }

    #[test]
    fn hot_types_stay_small() {
        assert!(size_of::<Stanza>() <= 304, "{}", size_of::<Stanza>());
    }
}
