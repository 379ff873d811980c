//! Shown: every setting of a role, the value in force, and where it came from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::keys;
use super::layer::Given;
use super::place::Place;
use super::{Role, Settings};

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Setting)]
pub(crate) struct Shown {
    /// Its key, dotted.
    pub(crate) key: String,
    /// Its value. Passwords in it are not shown; `null` is no value at all.
    pub(crate) value: Value,
    /// Where it came from: `default`, `file:line`, `environment NAME` or `--set`.
    pub(crate) source: String,
}

/// Every setting, in the order of their keys.
pub(super) fn all(settings: &Settings, role: Role, given: &[Given]) -> Vec<Shown> {
    let mut shown = BTreeMap::new();
    for key in keys::of(role) {
        if let Some(value) = key.value(settings) {
            shown.insert(key.name.to_owned(), (value, Place::Default));
        }
    }
    for given in given {
        let Some(key) = keys::find(&given.path) else {
            continue;
        };
        let value = key.value(settings).unwrap_or_else(|| json(&given.value));
        shown.insert(key.name_of(given), (value, given.place.clone()));
    }
    let shown = shown.into_iter().map(|(key, (value, place))| Shown {
        key,
        value,
        source: place.to_string(),
    });
    shown.collect()
}

fn json(value: &toml::Value) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A URL without the password that may be in it.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // The last @: a password may hold one.
    let Some(at) = rest[..end].rfind('@').or_else(|| rest.rfind('@')) else {
        return url.to_owned();
    };
    let user = rest[..at].split(':').next().unwrap_or_default();
    let password = if rest[..at].contains(':') { ":…" } else { "" };
    format!("{scheme}://{user}{password}{}", &rest[at..])
}

// === impl Shown ===

impl Shown {
    /// Whether the key is this one, or below it, or begins so.
    pub(crate) fn is_within(&self, prefix: &str) -> bool {
        self.key.starts_with(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, expected) in [
            ("redis://10.0.0.9:6379", "redis://10.0.0.9:6379"),
            ("redis://:secret@h:1/2", "redis://:…@h:1/2"),
            ("rediss://u:se@cr:et@h:1?x=@", "rediss://u:…@h:1?x=@"),
            ("redis://u:se/cret@h:1", "redis://u:…@h:1"),
            ("redis://u@h", "redis://u@h"),
            ("h:1", "h:1"),
        ] {
            assert_eq!(without_password(url), expected);
        }
    }
}
