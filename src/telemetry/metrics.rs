//! Metrics: the Prometheus recorder, and what keeps it small.

use std::time::Duration;

use anyhow::Result;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::process;

/// How often samples are folded into their buckets. Until then each one is kept.
const UPKEEP: Duration = Duration::from_secs(5);

/// Seconds: from a stanza within one process to a client on a train.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Bytes: powers of four.
const BYTES: &[f64] = &[
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
];

/// Counts of things done together.
const COUNTS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];

/// The installed recorder.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    handle: PrometheusHandle,
}

// === impl Metrics ===

impl Metrics {
    /// Starts recording. Must come before anything takes a handle of a metric.
    ///
    /// # Errors
    /// When a recorder is installed already.
    pub(crate) fn install() -> Result<Self> {
        // With buckets given, a histogram is one: summaries of two nodes cannot be added up.
        let recorder = PrometheusBuilder::new()
            .set_buckets(COUNTS)?
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
            .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)?;
        process::describe();
        describe();
        Ok(Self { handle })
    }

    /// A recorder nothing is recorded by.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        let handle = PrometheusBuilder::new().build_recorder().handle();
        Self { handle }
    }

    /// Keeps the recorder small, for ever.
    pub(crate) async fn keep(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }

    /// Everything measured so far, in the text format of Prometheus.
    pub(crate) fn render(&self) -> String {
        process::measure();
        self.handle.render()
    }
}

fn describe() {
    metrics::describe_counter!(
        "couplet_log_lines_dropped_total",
        "Lines of the log lost because they came faster than they could be written"
    );
    metrics::describe_counter!(
        "couplet_admin_requests_total",
        "Requests to the API of the port for operators, by what became of them"
    );
    metrics::describe_counter!(
        "couplet_admin_audit_lines_dropped_total",
        "Lines of the audit log lost because the disk was full or too slow"
    );
    metrics::describe_gauge!(
        "couplet_certificate_expires_timestamp_seconds",
        "When a certificate ends, in seconds since 1970"
    );
    metrics::describe_gauge!("couplet_build_info", "1, with the version as its label");
    metrics::gauge!("couplet_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
