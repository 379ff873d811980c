//! Stream errors (RFC 6120 §4.9): the only place that writes them.

use couplet_proto::link::frame::Detached;
use couplet_proto::xmpp::error::StreamCondition;
use couplet_proto::xmpp::escape::{self, Sink};
use couplet_proto::xmpp::ns;

use crate::framing::FramingError;

/// Why a stream ends with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) condition: StreamCondition,
    /// A sentence for people, in English.
    pub(super) text: Option<&'static str>,
}

// === impl Failure ===

impl Failure {
    pub(super) fn new(condition: StreamCondition) -> Self {
        Self {
            condition,
            text: None,
        }
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
        out.put("/>");
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
            StreamCondition::SystemShutdown | StreamCondition::ConnectionTimeout => Detached::Lost,
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
