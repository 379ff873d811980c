//! Metrics: the Prometheus recorder, and what keeps it small.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use couplet_proto::metric::{Kind, Metric};
use metrics::Label;
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::process;
use super::table::PARTS;
use crate::config::Role;

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
    pub(crate) fn install(role: Role) -> Result<Self> {
        let recorder = recorder()?;
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)?;
        for part in PARTS.iter().filter(|part| part.roles.contains(&role)) {
            part.metrics.iter().for_each(describe);
            if part.starts_at_zero {
                part.metrics.iter().for_each(register);
            }
        }
        let version = env!("CARGO_PKG_VERSION");
        let role = role.to_string();
        metrics::gauge!("couplet_build_info", "version" => version, "role" => role).set(1.0);
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
        let mut text = self.handle.render();
        // Written by hand, because the recorder's counters are whole numbers.
        for (metric, value) in process::figures() {
            let (name, kind) = (metric.name, metric.kind.name());
            let _ = write!(
                text,
                "# HELP {name} {}\n# TYPE {name} {kind}\n{name} {value}\n\n",
                metric.meaning
            );
        }
        text
    }
}

fn recorder() -> Result<PrometheusRecorder> {
    // With buckets given, a histogram is one: summaries of two nodes cannot be added up.
    Ok(PrometheusBuilder::new()
        .set_buckets(COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)?
        .build_recorder())
}

/// Tells the recorder what a metric means.
fn describe(metric: &Metric) {
    let (name, meaning) = (metric.name, metric.meaning);
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(name, meaning),
        Kind::Gauge => metrics::describe_gauge!(name, meaning),
        Kind::Histogram => metrics::describe_histogram!(name, meaning),
    }
}

/// Makes every series of a metric that can be known: an event that is the first of its kind would
/// else be no increase.
fn register(metric: &Metric) {
    let name = metric.name;
    for series in metric.series().into_iter().flatten() {
        let labels: Vec<_> = series.iter().map(Label::from).collect();
        // Who has the handle does not matter: the recorder keeps the series.
        match metric.kind {
            Kind::Counter => drop(metrics::counter!(name, labels)),
            Kind::Gauge => drop(metrics::gauge!(name, labels)),
            Kind::Histogram => drop(metrics::histogram!(name, labels)),
        }
    }
}
