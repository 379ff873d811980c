//! Page: what every metric means, for operators: `couplet list-metrics`, and the document
//! `deploy/monitoring/METRICS.md`.

use std::fmt::Write;

use couplet_proto::metric::{Label, Metric, Values};

use super::table::{PARTS, Part};

const INTRODUCTION: &str = "# Metrics

What a node says at `GET /metrics` of `admin.listen`, in the text format of Prometheus. This page is
made by `couplet list-metrics --markdown` from the same tables the program measures by.

- Every counter, and every gauge whose labels can have only the values given here, stands at 0 from
  the start: `rate()` sees the first event.
- No label ever holds an address, a JID or a room: the number of series does not grow with users.
- Histograms have fixed buckets, so those of several nodes can be added up.
- `couplet serve` is edge and origin in one process and has the metrics of both.
";

/// One line for each metric.
pub(crate) fn text() -> String {
    let mut text = String::new();
    for metric in PARTS.iter().flat_map(|part| part.metrics) {
        let Metric {
            name,
            unit,
            meaning,
            ..
        } = metric;
        let kind = metric.kind.name();
        let _ = writeln!(text, "{name:<46}  {kind:<9}  {unit:<18}  {meaning}");
    }
    text
}

/// The document.
pub(crate) fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    for part in PARTS {
        section(&mut text, part);
    }
    text
}

fn section(text: &mut String, part: &Part) {
    let roles: Vec<String> = part.roles.iter().map(|role| format!("`{role}`")).collect();
    let roles = roles.join(", ");
    let _ = write!(
        text,
        "\n## {}\n\nOn: {roles}.\n\n\
         | metric | type | unit | labels | meaning | when to worry, what to do |\n\
         |---|---|---|---|---|---|\n",
        part.title
    );
    for metric in part.metrics {
        let labels: Vec<String> = metric.labels.iter().map(label).collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} |",
            metric.name,
            metric.kind.name(),
            metric.unit,
            labels.join("; "),
            metric.meaning,
            metric.advice
        );
    }
}

/// A label and what may stand there.
fn label(label: &Label) -> String {
    let name = label.name;
    match label.values {
        Values::Of(values) => {
            let values: Vec<String> = values.iter().map(|it| format!("`{it}`")).collect();
            format!("`{name}`: {}", values.join(", "))
        }
        Values::Named(what, _) | Values::Given(what) => format!("`{name}`: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use couplet_proto::metric::Kind;

    use super::*;

    #[test]
    fn every_metric_is_named_as_prometheus_wants_it_and_says_what_it_is() {
        let mut names = BTreeSet::new();
        for metric in PARTS.iter().flat_map(|part| part.metrics) {
            let name = metric.name;
            assert!(names.insert(name), "{name} stands there twice");
            let is_counter = metric.kind == Kind::Counter;
            assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            let has_prefix = name.starts_with("couplet_") || name.starts_with("process_");
            assert!(has_prefix, "{name}");
            for text in [metric.meaning, metric.advice] {
                assert!(text.ends_with('.') && !text.contains('|'), "{name}: {text}");
                assert!(!text.contains("  "), "{name}: {text}");
            }
            assert!(!metric.unit.is_empty(), "{name}");
            for label in metric.labels {
                let known = label.values.known();
                assert!(known.is_none_or(|values| values.len() < 50), "{name}");
            }
        }
    }
}
