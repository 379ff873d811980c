//! Spans: what is done with the stanzas that are followed, sent to a collector of OpenTelemetry.
//!
//! ```text
//! edge, origin ─ done ─▶ a bounded queue ─▶ export: batches over OTLP/gRPC
//! ```
//!
//! - `otlp`: a span as the collector reads it.
//! - `export`: the queue, and the task that empties it.
//!
//! A build without the feature `otel` has neither, and refuses `trace.endpoint`.
//!
//! **Invariant:** nobody waits for a collector. What there is no room for is dropped and counted.

#[cfg(feature = "otel")]
mod export;
#[cfg(feature = "otel")]
mod otlp;

use couplet_edge::Sampling;

use crate::config::{Role, Trace};

/// Spans, by what became of them.
pub(super) const SPANS: &str = "couplet_trace_spans_total";

/// Whether this build can send spans.
pub(crate) const IS_BUILT_IN: bool = cfg!(feature = "otel");

/// What follows stanzas in this process.
pub(crate) struct Spans {
    sampling: Option<Sampling>,
    #[cfg(feature = "otel")]
    exporter: Option<export::Exporter>,
}

// === impl Spans ===

impl Spans {
    /// Begins to send spans, if that is asked for. Must be called within the runtime.
    #[cfg(feature = "otel")]
    pub(crate) fn start(trace: &Trace, node: &str, role: Role) -> anyhow::Result<Self> {
        let Some(endpoint) = &trace.endpoint else {
            return Ok(Self {
                sampling: None,
                exporter: None,
            });
        };
        let origin = otlp::Origin {
            service: trace.service_name.clone(),
            node: node.to_owned(),
            role: role.to_string(),
            has_addresses: trace.addresses,
        };
        let (exporter, tracer) = export::Exporter::start(endpoint, origin)?;
        tracing::info!(endpoint, sample = trace.sample, "stanzas are traced");
        Ok(Self {
            sampling: Some(Sampling {
                tracer,
                fraction: trace.sample,
            }),
            exporter: Some(exporter),
        })
    }

    /// Nothing is sent by this build: what asks for it has been refused with the configuration.
    #[cfg(not(feature = "otel"))]
    #[expect(clippy::unnecessary_wraps, reason = "as where it can fail")]
    pub(crate) fn start(_: &Trace, _: &str, _: Role) -> anyhow::Result<Self> {
        Ok(Self { sampling: None })
    }

    /// Which stanzas are followed, and who hears of them; `None` while nothing is sent.
    pub(crate) fn sampling(&self) -> Option<Sampling> {
        self.sampling.clone()
    }

    /// Sends what is left, as far as the collector takes it soon.
    #[cfg(feature = "otel")]
    pub(crate) async fn finish(self) {
        if let Some(exporter) = self.exporter {
            exporter.finish().await;
        }
    }

    /// There is nothing to send.
    #[cfg(not(feature = "otel"))]
    #[expect(clippy::unused_async, reason = "as where it waits")]
    pub(crate) async fn finish(self) {}
}
