//! OTLP: a span as the collector reads it.
//!
//! **Invariant:** no body of a message is ever in one, and no address but its domain unless the
//! operator has asked for that.

use couplet_proto::Jid;
use couplet_proto::trace::{Act, Span};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as Sent, Status, span::SpanKind, status::StatusCode,
};

/// Where all spans of this process come from.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The name of the service, the same for all nodes.
    pub(super) service: String,
    /// The name of this node.
    pub(super) node: String,
    /// What it is.
    pub(super) role: String,
    /// Whether spans show whole addresses, not only their domains.
    pub(super) has_addresses: bool,
}

// === impl Origin ===

impl Origin {
    /// Spans as one request.
    pub(super) fn request(&self, spans: &[Span]) -> ExportTraceServiceRequest {
        let resource = Resource {
            attributes: vec![
                text("service.name", &self.service),
                text("service.version", env!("CARGO_PKG_VERSION")),
                text("service.instance.id", &self.node),
                text("couplet.role", &self.role),
            ],
            ..Resource::default()
        };
        let scope = InstrumentationScope {
            name: "couplet".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let spans = ScopeSpans {
            scope: Some(scope),
            spans: spans.iter().map(|span| self.sent(span)).collect(),
            ..ScopeSpans::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![spans],
                ..ResourceSpans::default()
            }],
        }
    }

    fn sent(&self, span: &Span) -> Sent {
        let kind = match span.act {
            Act::Receive => SpanKind::Server,
            Act::Deliver => SpanKind::Producer,
            Act::HandleSent | Act::HandleReceived | Act::HandleAnswered | Act::Commit => {
                SpanKind::Internal
            }
        };
        let parent = span.parent.map(|parent| parent.0.to_be_bytes().to_vec());
        Sent {
            trace_id: span.trace.0.to_be_bytes().to_vec(),
            span_id: span.id.0.to_be_bytes().to_vec(),
            parent_span_id: parent.unwrap_or_default(),
            name: span.act.name().to_owned(),
            kind: kind.into(),
            start_time_unix_nano: span.start,
            end_time_unix_nano: span.end.max(span.start),
            attributes: self.attributes(span),
            status: is_bad(span.outcome).then(|| Status {
                message: span.outcome.to_owned(),
                code: StatusCode::Error.into(),
            }),
            ..Sent::default()
        }
    }

    fn attributes(&self, span: &Span) -> Vec<KeyValue> {
        let mut attributes = vec![
            text("couplet.stanza.kind", span.kind.name()),
            text("couplet.stanza.type", span.type_.name()),
            number("couplet.stanza.bytes", span.bytes),
            text("couplet.outcome", span.outcome),
        ];
        if let Some(slot) = span.slot {
            attributes.push(number("couplet.slot", slot.index()));
        }
        if let Some(side) = span.act.side() {
            attributes.push(text("couplet.side", side));
        }
        let ends = [
            (&span.from, "couplet.from", "couplet.from.domain"),
            (&span.to, "couplet.to", "couplet.to.domain"),
        ];
        for (jid, whole, domain) in ends {
            let Some(jid) = jid else { continue };
            attributes.push(match self.has_addresses {
                true => text(whole, jid.as_str()),
                false => text(domain, Jid::domain(jid)),
            });
        }
        attributes
    }
}

/// Whether an outcome is a failure of ours.
fn is_bad(outcome: &str) -> bool {
    matches!(outcome, "refused" | "panicked" | "failed" | "lost")
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: usize) -> KeyValue {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use couplet_proto::trace::{SpanId, Trace, TraceId};
    use couplet_proto::{Kind, Stanza, Type};

    use super::*;

    fn span() -> Span {
        let trace = Trace {
            id: TraceId(0x0102 << 112),
            span: SpanId(3),
            at: 0,
        };
        let stanza = Stanza::new(Kind::Message, Type::Chat)
            .from(Jid::parse("romeo@montague.lit/orchard").expect("valid"))
            .to(Jid::parse("juliet@capulet.lit").expect("valid"));
        Span {
            end: 9,
            ..Span::begin(Act::HandleReceived, &trace, SpanId(4), &stanza, 7)
        }
    }

    fn shown(has_addresses: bool) -> String {
        let origin = Origin {
            service: "couplet".to_owned(),
            node: "o1".to_owned(),
            role: "origin".to_owned(),
            has_addresses,
        };
        format!("{:?}", origin.request(&[span()]))
    }

    #[test]
    fn addresses_are_shown_only_when_asked_for() {
        let (bare, whole) = (shown(false), shown(true));
        for name in ["romeo", "orchard", "juliet"] {
            assert!(!bare.contains(name), "{bare}");
            assert!(whole.contains(name), "{whole}");
        }
        assert!(
            bare.contains("montague.lit") && bare.contains("capulet.lit"),
            "{bare}"
        );
    }

    #[test]
    fn a_span_names_its_trace_and_its_parent() {
        let origin = Origin {
            service: String::new(),
            node: String::new(),
            role: String::new(),
            has_addresses: false,
        };
        let sent = origin.sent(&span());
        assert_eq!(sent.trace_id[..3], [1, 2, 0]);
        assert_eq!(sent.trace_id.len(), 16);
        assert_eq!(sent.span_id, [0, 0, 0, 0, 0, 0, 0, 4]);
        assert_eq!(sent.parent_span_id, [0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!((sent.start_time_unix_nano, sent.end_time_unix_nano), (7, 9));
        assert_eq!(sent.status, None);
        let failed = Span {
            outcome: "failed",
            parent: None,
            ..span()
        };
        let sent = origin.sent(&failed);
        assert!(sent.parent_span_id.is_empty());
        assert_eq!(sent.status.map(|status| status.code), Some(2));
    }
}
