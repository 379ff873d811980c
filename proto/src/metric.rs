//! Metric: what is measured, under which name, and what that tells whoever watches.
//!
//! Every crate has one table of its metrics. From it come the help texts of the recorder, the
//! series that stand at zero from the start, and the page `deploy/monitoring/METRICS.md`.

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// As Prometheus knows it.
    pub name: &'static str,
    /// How it changes.
    pub kind: Kind,
    /// What one of it is: `seconds`, `bytes`, `stanzas`.
    pub unit: &'static str,
    /// What tells its series apart.
    pub labels: &'static [Label],
    /// What it counts or shows, in one sentence.
    pub meaning: &'static str,
    /// When to worry, and what to do then.
    pub advice: &'static str,
}

/// How a metric changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, and begins at 0 with the process.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How many observations were at most how large.
    Histogram,
}

/// What tells series of a metric apart. Nothing a client chose is ever a value.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What may stand there.
    pub values: Values,
}

/// What may stand at a label.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// One of these, and nothing else.
    Of(&'static [&'static str]),
    /// One of the names of another table.
    Named(&'static str, fn() -> Vec<&'static str>),
    /// What the configuration or the build says; in words, what that is.
    Given(&'static str),
}

// === impl Metric ===

impl Metric {
    /// A counter; its name ends with `_total`.
    pub const fn counter(name: &'static str, unit: &'static str) -> Self {
        Self::new(name, Kind::Counter, unit)
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, unit: &'static str) -> Self {
        Self::new(name, Kind::Gauge, unit)
    }

    /// A histogram.
    pub const fn histogram(name: &'static str, unit: &'static str) -> Self {
        Self::new(name, Kind::Histogram, unit)
    }

    const fn new(name: &'static str, kind: Kind, unit: &'static str) -> Self {
        Self {
            name,
            kind,
            unit,
            labels: &[],
            meaning: "",
            advice: "",
        }
    }

    /// With series told apart by these.
    pub const fn by(self, labels: &'static [Label]) -> Self {
        Self { labels, ..self }
    }

    /// With what it means, and when to worry.
    pub const fn says(self, meaning: &'static str, advice: &'static str) -> Self {
        Self {
            meaning,
            advice,
            ..self
        }
    }

    /// The labels of every series it can have; `None` when only the configuration knows.
    pub fn series(&self) -> Option<Vec<Vec<(&'static str, &'static str)>>> {
        let mut all = vec![Vec::new()];
        for label in self.labels {
            let values = label.values.known()?;
            let grown = all.iter().flat_map(|series: &Vec<_>| {
                values.iter().map(|value| {
                    let mut series = series.clone();
                    series.push((label.name, *value));
                    series
                })
            });
            all = grown.collect();
        }
        Some(all)
    }
}

// === impl Kind ===

impl Kind {
    /// As Prometheus says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

// === impl Label ===

impl Label {
    /// A label that has one of these values.
    pub const fn of(name: &'static str, values: &'static [&'static str]) -> Self {
        Self {
            name,
            values: Values::Of(values),
        }
    }

    /// A label whose value the configuration or the build gives.
    pub const fn given(name: &'static str, what: &'static str) -> Self {
        Self {
            name,
            values: Values::Given(what),
        }
    }
}

// === impl Values ===

impl Values {
    /// All of them, if that can be said.
    pub fn known(&self) -> Option<Vec<&'static str>> {
        match self {
            Self::Of(values) => Some(values.to_vec()),
            Self::Named(_, values) => Some(values()),
            Self::Given(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_a_series_for_each_pair_of_values() {
        let labels = const { &[Label::of("a", &["1", "2"]), Label::of("b", &["x", "y"])] };
        let metric = Metric::counter("c_total", "things").by(labels);
        let series = metric.series().expect("all are known");
        assert_eq!(series.len(), 4);
        assert_eq!(series[1], [("a", "1"), ("b", "y")]);
        assert_eq!(Metric::gauge("g", "things").series(), Some(vec![vec![]]));
        let given = const { &[Label::given("domain", "a domain")] };
        assert_eq!(Metric::gauge("g", "things").by(given).series(), None);
    }
}
