//! What is measured: every metric is documented, none is dead, and no client can make up series.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::client::{Client, PATIENCE, header};
use crate::harness::page;
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

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `UPDATE=1 cargo test --test suite metrics` writes the page instead of checking it.
#[test]
fn the_page_of_metrics_is_what_the_program_says() {
    let path = top().join(PAGE);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, page::text()).expect("written");
        return;
    }
    assert!(
        fs::read_to_string(path).expect("it is there") == page::text(),
        "{PAGE} is stale: UPDATE=1 cargo test --test suite metrics"
    );
}

#[test]
fn every_metric_in_the_code_is_in_a_table_and_every_one_in_a_table_in_the_code() {
    let rows = page::rows();
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

/// What a server says of itself, once it has looked at its certificates too.
fn measured(server: &Server) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, text) = server.http("/metrics").expect("an answer");
        assert_eq!(code, 200);
        if text.contains("couplet_certificate_expires_timestamp_seconds{") {
            return text;
        }
        assert!(Instant::now() < deadline, "{text}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn a_server_has_every_metric_from_the_start_as_the_page_says_and_no_other() {
    let server = Server::start(&[]);
    page::check(&measured(&server), "serve");
}

/// Attack H05: a label value for everything a client can choose.
#[test]
fn h05_whatever_clients_say_the_series_stay_the_same() {
    let server = Server::start(&["registration.open=true"]);
    let before = page::series(&measured(&server));
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
    let after = page::series(&measured(&server));
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:#?}");
    assert_eq!(before, after);
}
