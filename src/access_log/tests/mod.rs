//! Tests of the access log: what is read from its lines is what was written, whatever that was;
//! files begin, end and go as they should; and nothing the disk does stops anybody.

mod files;
mod flow;
mod lines;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use couplet_proto::journal::{Entry, Event};
use couplet_proto::xmpp::time::UnixMillis;

use super::Field;
use super::line::Shape;
use crate::config::LineFormat;

/// Noon of a day.
const NOON: UnixMillis = 1_795_867_200_000;

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A line's fields by name; absent ones are not in it.
type Fields = BTreeMap<String, String>;

fn shape(format: LineFormat, fields: &[&str]) -> Shape {
    let fields = fields.iter().map(|name| Field::from_name(name));
    Shape {
        format,
        fields: fields.collect::<Option<_>>().expect("fields"),
        node: "node".to_owned(),
    }
}

fn entry(event: Event) -> Entry<'static> {
    Entry::new(event)
}

/// A clock that stands still until it is told.
#[derive(Clone)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn at(now: UnixMillis) -> Self {
        Self(Arc::new(AtomicU64::new(now)))
    }

    fn set(&self, now: UnixMillis) {
        self.0.store(now, Ordering::SeqCst);
    }

    fn clock(&self) -> super::writer::Clock {
        let hand = self.clone();
        Arc::new(move || hand.0.load(Ordering::SeqCst))
    }
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The files of a folder with what is in them, in order of their names.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let pairs = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        let text = std::fs::read_to_string(&path).expect("text");
        (name.into_owned(), text)
    });
    pairs.collect()
}

/// Reads a file in the W3C Extended Log Format, as somebody would who has only read the draft: the
/// directives, and the lines by the names in `#Fields`.
fn read_w3c(text: &str) -> (Vec<String>, Vec<Fields>) {
    let (mut directives, mut names, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    for line in text.split_terminator('\n') {
        if let Some(directive) = line.strip_prefix('#') {
            directives.push(directive.to_owned());
            if let Some(rest) = directive.strip_prefix("Fields: ") {
                names = rest.split(' ').map(str::to_owned).collect();
            }
            continue;
        }
        // Whatever anybody might take for the end of a field.
        let values: Vec<_> = line.split(char::is_whitespace).collect();
        assert_eq!(values.len(), names.len(), "{line:?}");
        let values = values.into_iter().map(|value| match value {
            "-" => None,
            "\"\"" => Some(String::new()),
            value => Some(unpercent(value)),
        });
        let pairs = names.iter().cloned().zip(values);
        lines.push(
            pairs
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        );
    }
    (directives, lines)
}

fn unpercent(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
        let digits = std::str::from_utf8(&digits).expect("digits");
        bytes.push(u8::from_str_radix(digits, 16).expect("digits"));
    }
    String::from_utf8(bytes).expect("UTF-8")
}
