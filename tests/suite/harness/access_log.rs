//! The access log as its reader has it: every line of every file, by the names of its fields.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::client::PATIENCE;

/// The fields of a line that are there.
pub(crate) type Line = BTreeMap<String, String>;

/// A folder with an access log.
#[derive(Debug)]
pub(crate) struct AccessLog(pub(crate) PathBuf);

// === impl AccessLog ===

impl AccessLog {
    /// Every line there is, the oldest first, whatever the format.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            names.push((path.ends_with("access.log"), path));
        }
        names.sort();
        let texts = names.iter().map(|(_, path)| fs::read_to_string(path));
        let lines = texts.map(|text| read(&text.expect("text")));
        lines.flatten().collect()
    }

    /// Waits until the lines are as they should be.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&[Line]) -> bool) -> Vec<Line> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.lines();
            if is_so(&lines) {
                return lines;
            }
            assert!(Instant::now() < deadline, "not so: {what}: {lines:#?}");
            thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Waits until so many connections have ended, and none is left.
    pub(crate) fn until_gone(&self, connections: usize) -> Vec<Line> {
        self.until(&format!("{connections} connections are over"), |lines| {
            count(lines, "connect") == connections && count(lines, "disconnect") == connections
        })
    }
}

/// Whole lines only: the last may be on its way.
fn read(text: &str) -> Vec<Line> {
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let (mut names, mut lines) = (Vec::new(), Vec::new());
    for line in whole.split_terminator('\n') {
        if let Some(fields) = line.strip_prefix("#Fields: ") {
            names = fields.split(' ').map(str::to_owned).collect();
        } else if line.starts_with('{') {
            let fields: BTreeMap<String, serde_json::Value> =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let fields = fields.into_iter().map(|(name, value)| {
                let text = value.as_str().map(str::to_owned);
                (name, text.unwrap_or_else(|| value.to_string()))
            });
            lines.push(fields.collect());
        } else if !line.starts_with('#') {
            let values: Vec<_> = line.split(' ').collect();
            assert_eq!(values.len(), names.len(), "{line:?}");
            let pairs = names.iter().cloned().zip(values);
            let pairs = pairs.filter(|(_, value)| *value != "-");
            lines.push(
                pairs
                    .map(|(name, value)| (name, value.to_owned()))
                    .collect(),
            );
        }
    }
    lines
}

/// How many lines are about this event.
pub(crate) fn count(lines: &[Line], event: &str) -> usize {
    of(lines, event).count()
}

/// The lines about this event.
pub(crate) fn of<'a>(lines: &'a [Line], event: &'a str) -> impl Iterator<Item = &'a Line> {
    lines.iter().filter(move |line| line["x-event"] == event)
}

/// A field of a line; `-` where it is absent.
pub(crate) fn get<'a>(line: &'a Line, field: &str) -> &'a str {
    line.get(field).map_or("-", String::as_str)
}

/// A field of all lines about an event, added up.
pub(crate) fn sum(lines: &[Line], event: &str, field: &str) -> u64 {
    let values = of(lines, event).map(|line| line.get(field).map_or("0", String::as_str));
    values
        .map(|value| value.parse::<u64>().expect("a number"))
        .sum()
}
