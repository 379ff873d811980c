//! Stream errors (RFC 6120 §4.9): the only place that writes them.

use std::sync::Arc;

use couplet_proto::link::frame::Detached;
use couplet_proto::xmpp::error::StreamCondition;
use couplet_proto::xmpp::escape::{self, Sink};
use couplet_proto::xmpp::ns;

use super::Reply;
use crate::framing::FramingError;

/// Why a stream ends with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) condition: StreamCondition,
    /// A sentence for people, in English.
    pub(super) text: Option<&'static str>,
    pub(super) detail: Detail,
}

/// What a condition says beyond its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Detail {
    None,
    /// Where to go instead (RFC 6120 §4.9.3.19).
    Host(Arc<str>),
    /// XEP-0198 §6: the client claims to have more than it was sent.
    HandledTooHigh {
        h: u32,
        sent: u32,
    },
}

// === impl Failure ===

impl Failure {
    pub(super) fn new(condition: StreamCondition) -> Self {
        Self {
            condition,
            text: None,
            detail: Detail::None,
        }
    }

    /// The client acknowledged `h` stanzas where `sent` were sent.
    pub(super) fn handled_too_high(h: u32, sent: u32) -> Self {
        Self {
            detail: Detail::HandledTooHigh { h, sent },
            ..Self::new(StreamCondition::UndefinedCondition)
        }
    }

    /// The edge drains: the client is told where to go, if that is known.
    pub(super) fn moved_away(reply: &Reply<'_>) -> Self {
        match reply.setup.other_host(reply.connection) {
            None => Self::new(StreamCondition::SystemShutdown),
            Some(host) => Self {
                detail: Detail::Host(Arc::clone(host)),
                ..Self::new(StreamCondition::SeeOtherHost)
            },
        }
    }

    /// No client is let in any more from where this one is.
    pub(super) fn banned() -> Self {
        Self::new(StreamCondition::PolicyViolation).with_text("no client is let in from there")
    }

    pub(super) fn with_text(mut self, text: &'static str) -> Self {
        self.text = Some(text);
        self
    }

    /// Writes the error and closes the stream, which is open (RFC 6120 §4.9.1.1).
    ///
    /// Nothing the client sent is repeated, so the error's size is ours to decide.
    pub(super) fn write(&self, out: &mut impl Sink) {
        out.put("<stream:error><");
        out.put(self.condition.name());
        escape::named_attribute(out, "xmlns", ns::STREAM_ERRORS);
        match &self.detail {
            Detail::Host(host) => {
                out.put(">");
                escape::text(out, host);
                out.put("</");
                out.put(self.condition.name());
                out.put(">");
            }
            Detail::None | Detail::HandledTooHigh { .. } => out.put("/>"),
        }
        if let Detail::HandledTooHigh { h, sent } = &self.detail {
            out.put("<handled-count-too-high");
            escape::named_attribute(out, "xmlns", ns::STREAM_MANAGEMENT);
            escape::named_attribute(out, "h", &h.to_string());
            escape::named_attribute(out, "send-count", &sent.to_string());
            out.put("/>");
        }
        if let Some(text) = self.text.filter(|text| !text.is_empty()) {
            out.put("<text");
            escape::named_attribute(out, "xmlns", ns::STREAM_ERRORS);
            escape::named_attribute(out, "xml:lang", "en");
            out.put(">");
            escape::text(out, text);
            out.put("</text>");
        }
        out.put("</stream:error></stream:stream>");
    }

    /// Whether the client may come back for its session: only where it did nothing wrong.
    pub(super) fn detached(&self) -> Detached {
        match self.condition {
            StreamCondition::SystemShutdown
            | StreamCondition::SeeOtherHost
            | StreamCondition::ConnectionTimeout => Detached::Lost,
            // Only the owner of a session says so, of the connection that held it before. It may
            // die before what it did is certain: this connection has not ended the session.
            StreamCondition::Conflict => Detached::Lost,
            _ => Detached::Closed,
        }
    }
}

impl From<FramingError> for Failure {
    fn from(error: FramingError) -> Self {
        Self::new(error.condition).with_text(error.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_is_written_as_one_element_in_its_namespace() {
        for condition in StreamCondition::ALL {
            let mut out = String::new();
            Failure::new(*condition).with_text("a < b").write(&mut out);
            let ns = "xmlns='urn:ietf:params:xml:ns:xmpp-streams'";
            let name = condition.name();
            assert_eq!(
                out,
                format!(
                    "<stream:error><{name} {ns}/><text {ns} xml:lang='en'>a &lt; b</text>\
                     </stream:error></stream:stream>"
                )
            );
        }
    }
}
