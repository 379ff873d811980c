//! The page of metrics as a table, and whether a node keeps to it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use couplet_proto::xmpp::error::{Condition, StreamCondition};

/// One row of the page.
#[derive(Debug)]
pub(crate) struct Row {
    kind: String,
    /// The roles whose section it stands in.
    roles: String,
    /// By name, what may stand there; `None` for what is told in words.
    labels: BTreeMap<String, Option<BTreeSet<String>>>,
}

/// What the program says of its metrics.
pub(crate) fn text() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_couplet"))
        .args(["list-metrics", "--markdown"])
        .output()
        .expect("the program runs");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The rows of the page by name.
pub(crate) fn rows() -> BTreeMap<String, Row> {
    let page = text();
    let mut rows = BTreeMap::new();
    let mut roles = "";
    for line in page.lines() {
        if let Some(on) = line.strip_prefix("On: ") {
            roles = on;
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        let name = line.strip_prefix("| `");
        let Some(name) = name.and_then(|rest| rest.split('`').next()) else {
            continue;
        };
        let labels = cells[3].split("; ").filter(|label| !label.is_empty());
        let row = Row {
            kind: cells[1].to_owned(),
            roles: roles.to_owned(),
            labels: labels.map(allowed).collect(),
        };
        rows.insert(name.to_owned(), row);
    }
    assert!(rows.len() > 60, "{page}");
    rows
}

/// A label and the values it may have, from its cell.
fn allowed(label: &str) -> (String, Option<BTreeSet<String>>) {
    let (name, values) = label.split_once(": ").expect("a name and its values");
    let named = |all: Vec<&str>| Some(all.into_iter().map(str::to_owned).collect());
    let is_word = |word: &str| word.starts_with('`') && word.ends_with('`');
    let values = if values.starts_with("a stanza error") {
        named(Condition::ALL.iter().map(|it| it.name()).collect())
    } else if values.starts_with("a stream error") {
        named(StreamCondition::ALL.iter().map(|it| it.name()).collect())
    } else if values.split(", ").all(is_word) {
        named(
            values
                .split(", ")
                .map(|word| word.trim_matches('`'))
                .collect(),
        )
    } else {
        None
    };
    (name.trim_matches('`').to_owned(), values)
}

/// The series of a node: name and labels, without values.
pub(crate) fn series(text: &str) -> BTreeSet<String> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let series = lines.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned());
    series.collect()
}

/// The labels of a series.
fn labels(series: &str) -> Vec<(&str, &str)> {
    let Some((_, list)) = series.split_once('{') else {
        return Vec::new();
    };
    let list = list.trim_end_matches("\"}").split("\",");
    let labels = list.map(|label| label.split_once("=\"").expect("a label"));
    labels.collect()
}

/// Name and type of everything that has one.
fn types(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.filter_map(|line| line.split_once(' ')).collect()
}

/// Asserts that a node of this role has every metric of the page, as the page says, and no other.
pub(crate) fn check(text: &str, role: &str) {
    let rows = rows();
    let types = types(text);
    for (name, kind) in &types {
        let row = rows.get(*name);
        let row = row.unwrap_or_else(|| panic!("{name} is on no page"));
        assert_eq!(*kind, row.kind, "{name}");
        let has_help = text.contains(&format!("# HELP {name} "));
        assert!(has_help, "{name} says nothing");
    }
    let role = format!("`{role}`");
    for (name, row) in &rows {
        // In tests links go without certificates.
        let is_bare = role == "`origin`" && name == "couplet_certificate_expires_timestamp_seconds";
        let is_expected = row.roles.contains(&role) && !is_bare;
        assert_eq!(types.contains_key(name.as_str()), is_expected, "{name}");
    }
    for series in series(text) {
        let full = series.split('{').next().expect("a name");
        let parts = ["_bucket", "_sum", "_count"];
        let histogram = parts.iter().find_map(|part| full.strip_suffix(part));
        let histogram = histogram.filter(|name| rows.contains_key(*name));
        let allowed = &rows[histogram.unwrap_or(full)].labels;
        for (label, value) in labels(&series) {
            if label == "le" && histogram.is_some() {
                continue;
            }
            let values = allowed.get(label);
            let values = values.unwrap_or_else(|| panic!("{series}: {label} is not documented"));
            let is_allowed = values.as_ref().is_none_or(|all| all.contains(value));
            assert!(is_allowed, "{series}: {value} is not documented");
        }
    }
}
