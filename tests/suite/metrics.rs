//! What is measured: every metric is documented, none is dead, and no client can make up series.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use couplet_proto::xmpp::error::{Condition, StreamCondition};

use crate::harness::client::{Client, header};
use crate::harness::server::Server;

const PAGE: &str = "deploy/monitoring/METRICS.md";

/// Where code that measures is.
const SOURCES: &[&str] = &["src", "edge/src", "link/src", "origin/src", "proto/src"];

/// Words that look like a metric and are none.
const CRATES: &[&str] = &[
    "couplet_edge",
    "couplet_link",
    "couplet_origin",
    "couplet_proto",
];

/// One row of the page.
struct Row {
    kind: String,
    /// The roles whose section it stands in.
    roles: String,
    /// By name, what may stand there; `None` for what is told in words.
    labels: BTreeMap<String, Option<BTreeSet<String>>>,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the program says of its metrics.
fn page() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_couplet"))
        .args(["list-metrics", "--markdown"])
        .output()
        .expect("the program runs");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of the page by name.
fn rows() -> BTreeMap<String, Row> {
    let page = page();
    let mut rows = BTreeMap::new();
    let mut roles = "";
    for line in page.lines() {
        if let Some(on) = line.strip_prefix("On: ") {
            roles = on;
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        let Some(name) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split('`').next())
        else {
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
    let values = match values {
        words if words.starts_with("a stanza error") => Some(
            Condition::ALL
                .iter()
                .map(|it| it.name().to_owned())
                .collect(),
        ),
        words if words.starts_with("a stream error") => {
            let all = StreamCondition::ALL.iter();
            Some(all.map(|it| it.name().to_owned()).collect())
        }
        list if list
            .split(", ")
            .all(|it| it.starts_with('`') && it.ends_with('`')) =>
        {
            Some(quoted(list).map(str::to_owned).collect())
        }
        _ => None,
    };
    (name.trim_matches('`').to_owned(), values)
}

/// `UPDATE=1 cargo test --test suite metrics` writes the page instead of checking it.
#[test]
fn the_page_of_metrics_is_what_the_program_says() {
    let path = top().join(PAGE);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, page()).expect("written");
        return;
    }
    assert!(
        fs::read_to_string(path).expect("it is there") == page(),
        "{PAGE} is stale: UPDATE=1 cargo test --test suite metrics"
    );
}

#[test]
fn every_metric_in_the_code_is_in_a_table_and_every_one_in_a_table_in_the_code() {
    let rows = rows();
    let mut used = BTreeSet::new();
    let mut complaints = Vec::new();
    for file in SOURCES
        .iter()
        .flat_map(|folder| rust_files(&top().join(folder)))
    {
        let text = fs::read_to_string(&file).expect("a file");
        let is_table = file.ends_with("table.rs");
        for literal in text.split('"').skip(1) {
            let is_name = literal.starts_with("couplet_")
                && literal
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !is_name || literal == "couplet_" || CRATES.contains(&literal) {
                continue;
            }
            if !rows.contains_key(literal) {
                complaints.push(format!("{}: {literal} is in no table", file.display()));
            }
            if !is_table {
                used.insert(literal.to_owned());
            }
        }
    }
    let ours = rows.keys().filter(|name| name.starts_with("couplet_"));
    let dead = ours.filter(|name| !used.contains(*name));
    complaints.extend(dead.map(|name| format!("{name} is in a table and never measured")));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

/// The series of a node: name and labels, without values.
fn series(server: &Server) -> BTreeSet<String> {
    let (code, text) = server.http("/metrics").expect("an answer");
    assert_eq!(code, 200);
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let series = lines.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned());
    series.collect()
}

/// The labels of a series.
fn labels(series: &str) -> Vec<(String, String)> {
    let Some((_, list)) = series.split_once('{') else {
        return Vec::new();
    };
    let list = list.trim_end_matches("\"}").split("\",");
    list.map(|label| {
        let (name, value) = label.split_once("=\"").expect("a label");
        (name.to_owned(), value.to_owned())
    })
    .collect()
}

/// Name and type of everything that has one.
fn types(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let types = lines.filter_map(|line| line.split_once(' '));
    types
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

#[test]
fn a_server_has_every_metric_from_the_start_as_the_page_says_and_no_other() {
    let rows = rows();
    let server = Server::start(&[]);
    let (_, text) = server.http("/metrics").expect("an answer");
    let types = types(&text);
    for (name, kind) in &types {
        let row = rows
            .get(name)
            .unwrap_or_else(|| panic!("{name} is on no page"));
        assert_eq!(*kind, row.kind, "{name}");
        let has_help = text.contains(&format!("# HELP {name} "));
        assert!(has_help, "{name} says nothing");
    }
    for (name, row) in &rows {
        let is_expected = row.roles.contains("`serve`");
        assert_eq!(types.contains_key(name), is_expected, "{name}");
    }
    for series in series(&server) {
        let full = series.split('{').next().expect("a name");
        let parts = ["_bucket", "_sum", "_count"];
        let of_histogram = parts.iter().find_map(|part| full.strip_suffix(part));
        let name = of_histogram
            .filter(|name| rows.contains_key(*name))
            .unwrap_or(full);
        let allowed = &rows[name].labels;
        for (label, value) in labels(&series) {
            if label == "le" && of_histogram.is_some() {
                continue;
            }
            let values = allowed.get(&label);
            let values = values.unwrap_or_else(|| panic!("{series}: {label} is not documented"));
            let is_allowed = values.as_ref().is_none_or(|values| values.contains(&value));
            assert!(is_allowed, "{series}: {value} is not documented");
        }
    }
}

/// Attack H05: a label value for everything a client can choose.
#[test]
fn h05_whatever_clients_say_the_series_stay_the_same() {
    let server = Server::start(&["registration.open=true"]);
    let before = series(&server);
    for round in 0..30 {
        let mut client = server.new_client(&format!("h05n{round}"));
        let room = format!("h05-{round}@conference.montague.lit");
        let enter = "<x xmlns='http://jabber.org/protocol/muc'/>";
        client.send(&format!(
            "<presence to='{room}/nick{round}'>{enter}</presence>"
        ));
        client.wait_for(|it| it.name == "presence" && it.get("from").is_some());
        client.send(&format!(
            "<message to='nobody{round}@montague.lit/r{round}' type='chat' id='m{round}'>\
             <body>hi</body></message>\
             <iq type='get' id='q{round}' to='montague.lit'><q xmlns='urn:made:up:{round}'/></iq>"
        ));
        client.answer_to(&format!("q{round}"));
        client.close();

        let mut stranger = Client::connect(server.c2s);
        stranger.open("montague.lit");
        stranger.auth(&format!("X-MADE-UP-{round}"), b"n,,");
        let mut stranger = Client::connect(server.c2s);
        stranger.send(&header(&format!("made-up-{round}.lit")));
        stranger.read_to_end();
        let mut stranger = Client::connect(server.c2s);
        stranger.send(&format!("GET /{round} HTTP/1.1\r\n\r\n"));
        stranger.read_to_end();
    }
    let after = series(&server);
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:#?}");
    assert_eq!(before, after);
}
