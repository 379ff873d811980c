//! Layers: a file, the environment and the command line, each taken apart into single values.
//!
//! A later layer overrides an earlier one key by key, so `--set limits.before_auth.depth=4` leaves
//! the rest of `limits` as the file has it.

use std::ffi::OsString;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::place::{Mistake, Place};

/// One value that somebody gave for one key.
#[derive(Debug, Clone)]
pub(super) struct Given {
    /// The key, one segment each.
    pub(super) path: Vec<String>,
    /// The value as TOML reads it.
    pub(super) value: toml::Value,
    /// The value as it was written, where it did not have to be TOML.
    pub(super) raw: Option<String>,
    /// Who gave it.
    pub(super) place: Place,
}

/// What all variables of ours start with.
const PREFIX: &str = "COUPLET_";

/// Variables with our prefix that are not settings: Kubernetes makes them for a service of our
/// name, `couplet ctl` has its own, and tests keep their switches there.
const FOREIGN: &[&str] = &["SERVICE_", "PORT_", "CTL_", "TEST_"];

// === impl Given ===

impl Given {
    /// The key as an operator would write it.
    pub(super) fn key(&self) -> String {
        let quoted = |segment: &String| {
            let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if !segment.is_empty() && segment.chars().all(is_bare) {
                segment.clone()
            } else {
                format!("{segment:?}")
            }
        };
        let segments: Vec<_> = self.path.iter().map(quoted).collect();
        segments.join(".")
    }
}

/// The values of a TOML file.
pub(super) fn file(path: &str, text: &str, mistakes: &mut Vec<Mistake>) -> Vec<Given> {
    let name: Arc<str> = path.into();
    let place = |offset: usize| Place::File {
        path: Arc::clone(&name),
        line: 1 + text
            .bytes()
            .take(offset)
            .filter(|byte| *byte == b'\n')
            .count(),
    };
    let (table, mut errors) = DeTable::parse_recoverable(text);
    let offset = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    errors.sort_by_key(offset);
    for error in &errors {
        let offset = offset(error);
        mistakes.push(Mistake::new("", place(offset), error.message()));
    }
    // What a broken file seems to say would only add noise to what is wrong with it.
    if !errors.is_empty() {
        return Vec::new();
    }
    let mut given = Vec::new();
    flatten(&mut Vec::new(), table.into_inner(), &place, &mut given);
    given
}

/// The values in the environment: `COUPLET_C2S__LISTEN` is `c2s.listen`.
pub(super) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Given> {
    let mut given = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if rest == "PORT" || FOREIGN.iter().any(|prefix| rest.starts_with(prefix)) {
            continue;
        }
        let place = Place::Environment(name.to_owned());
        let path: Vec<_> = rest.split("__").map(str::to_lowercase).collect();
        match value.into_string() {
            Ok(raw) => loose(path, raw, &place, &mut given),
            Err(_) => mistakes.push(Mistake::new(&path.join("."), place, "is not UTF-8")),
        }
    }
    // The environment has no order of its own; reports should not change from run to run.
    given.sort_by(|a, b| a.path.cmp(&b.path));
    given
}

/// The value of one `--set key=value`.
pub(super) fn argument(text: &str, mistakes: &mut Vec<Mistake>) -> Vec<Given> {
    let mut given = Vec::new();
    let Some((key, raw)) = split_at_equals(text) else {
        let message = format!("{text:?} is not key=value");
        mistakes.push(Mistake::new("", Place::Argument, message));
        return given;
    };
    // TOML itself reads the key, so that quoted segments work as in the file.
    let probe = format!("{key} = 0");
    let path = match DeTable::parse(&probe) {
        Ok(table) if !key.contains('\n') => only_path(table.into_inner()),
        _ => {
            let message = format!("{key:?} is not a dotted key");
            mistakes.push(Mistake::new("", Place::Argument, message));
            return given;
        }
    };
    loose(path, raw.to_owned(), &Place::Argument, &mut given);
    given
}

/// Takes a value apart that may be TOML, and is plain text if it is not.
fn loose(path: Vec<String>, raw: String, place: &Place, into: &mut Vec<Given>) {
    let Ok(value) = DeValue::parse(raw.trim()) else {
        into.push(Given {
            path,
            value: toml::Value::String(raw.clone()),
            raw: Some(raw),
            place: place.clone(),
        });
        return;
    };
    let before = into.len();
    let mut path = path;
    flatten_value(&mut path, value, &|_| place.clone(), into);
    if let [only] = &mut into[before..] {
        only.raw = Some(raw);
    }
}

fn flatten(
    path: &mut Vec<String>,
    table: DeTable<'_>,
    place: &impl Fn(usize) -> Place,
    into: &mut Vec<Given>,
) {
    // In the order of the text, not of the alphabet: reports follow the file.
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        path.push(key.into_inner().into_owned());
        flatten_value(path, value, place, into);
        path.pop();
    }
}

fn flatten_value(
    path: &mut Vec<String>,
    value: Spanned<DeValue<'_>>,
    place: &impl Fn(usize) -> Place,
    into: &mut Vec<Given>,
) {
    let start = value.span().start;
    if value
        .get_ref()
        .as_table()
        .is_some_and(|table| !table.is_empty())
    {
        let DeValue::Table(table) = value.into_inner() else {
            unreachable!("it was a table a moment ago");
        };
        return flatten(path, table, place, into);
    }
    let value = match toml::Value::deserialize(ValueDeserializer::from(value)) {
        Ok(value) => value,
        // A number beyond 64 bits: kept as text, so that the key's own check refuses it.
        Err(error) => toml::Value::String(error.message().to_owned()),
    };
    into.push(Given {
        path: path.clone(),
        value,
        raw: None,
        place: place(start),
    });
}

/// The path to the only leaf of a table.
fn only_path(table: DeTable<'_>) -> Vec<String> {
    let mut path = Vec::new();
    let mut next = Some(table);
    while let Some((key, value)) = next.take().and_then(|table| table.into_iter().next()) {
        path.push(key.into_inner().into_owned());
        if let DeValue::Table(table) = value.into_inner() {
            next = Some(table);
        }
    }
    path
}

/// Splits at the first `=` that is not inside quotes: a quoted segment of a key may hold one.
fn split_at_equals(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if open == c => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '=' => return Some((text[..at].trim(), &text[at + 1..])),
            None => {}
        }
    }
    None
}
