//! Keys: every setting there is, one line each: its name, its bounds and where it goes.
//!
//! - [`all_roles`]: in every role.
//! - [`clients`]: of whoever serves clients.
//! - [`accounts`]: of whoever owns accounts.
//! - [`rooms`]: multi-user chat.
//! - [`stores`]: where what must last is kept.
//! - [`nodes`]: what ties edges and origins together.

mod all_roles;

mod clients;

mod accounts;

mod rooms;

mod stores;

mod nodes;

use serde_json::Value;

use super::layer::Given;
use super::value::Wrong;
use super::{Role, Settings};

/// One setting. A segment `*` of the name stands for anything.
pub(super) struct Key {
    /// Dotted.
    pub(super) name: &'static str,
    /// Checks a value and puts it where it belongs.
    pub(super) set: fn(&mut Settings, &Given) -> Result<(), Wrong>,
    show: Show,
}

/// How an operator is told the value in force.
#[derive(Clone, Copy)]
enum Show {
    /// As it was given: the name has a `*`.
    Given,
    Value(fn(&Settings) -> Value),
    /// By the name of the key, which several share.
    Named(fn(&Settings, &str) -> Value),
}

/// Keys that the same roles take.
struct Group {
    roles: &'static [Role],
    /// Why the other roles do not.
    why: &'static str,
    keys: &'static [Key],
}

/// Every setting there is.
const GROUPS: &[Group] = &[
    Group {
        roles: &[Role::Serve, Role::Edge, Role::Origin],
        why: "",
        keys: all_roles::KEYS,
    },
    Group {
        roles: &[Role::Serve, Role::Edge],
        why: "an origin serves no clients itself and keeps nothing in a folder",
        keys: clients::KEYS,
    },
    Group {
        roles: &[Role::Serve, Role::Origin],
        why: "accounts are the business of the origins, so it belongs into their configuration",
        keys: accounts::KEYS,
    },
    Group {
        roles: &[Role::Serve, Role::Origin],
        why: "rooms are the business of the origins, so it belongs into their configuration",
        keys: rooms::KEYS,
    },
    Group {
        roles: &[Role::Serve],
        why: "only `couplet serve` keeps its data in a folder",
        keys: stores::EMBEDDED,
    },
    Group {
        roles: &[Role::Origin],
        why: "only origins use Redis: an edge has no store, and `couplet serve` has a folder",
        keys: stores::REDIS,
    },
    Group {
        roles: &[Role::Edge, Role::Origin],
        why: "in `couplet serve` edge and origin are one process",
        keys: nodes::LINK,
    },
    Group {
        roles: &[Role::Edge],
        why: "only edges are told where the origins are; origins find each other by the store",
        keys: nodes::DIALED,
    },
    Group {
        roles: &[Role::Edge],
        why: "only an edge has others its clients can go to",
        keys: nodes::LEAVING,
    },
    Group {
        roles: &[Role::Origin],
        why: "only origins are connected to by other nodes",
        keys: nodes::LISTENING,
    },
    Group {
        roles: &[Role::Origin],
        why: "only the origins of a cluster share the accounts among them",
        keys: nodes::CLUSTER,
    },
];

/// Names that keys had once, and their names now.
const RENAMED: &[(&str, &str)] = &[
    ("admin.allow_remote", "admin.token_file"),
    ("drain_secs", "drain.deadline_secs"),
];

/// Bounds of a size in bytes: one that is too small stops everything, one too large protects
/// nothing.
const BYTES: std::ops::RangeInclusive<i64> = 1024..=(1 << 30);

/// The key of a path. The environment writes `_` for `-`.
pub(super) fn find(path: &[String]) -> Option<&'static Key> {
    every().find(|key| key.matches(path))
}

/// Why a role does not take a key; `None` when it does.
pub(super) fn refusal(key: &Key, role: Role) -> Option<String> {
    let mut groups = GROUPS.iter();
    let group = groups.find(|group| group.keys.iter().any(|other| other.name == key.name))?;
    (!group.roles.contains(&role)).then(|| {
        let why = group.why;
        format!("is not for `couplet {role}`: {why}; take it out")
    })
}

/// The name that is meant instead of one that is not known, if any is close.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    if let Some((_, now)) = RENAMED.iter().find(|(old, _)| *old == name) {
        return Some(now);
    }
    let names = every().map(|key| key.name);
    let (distance, nearest) = names.map(|known| (distance(known, name), known)).min()?;
    (distance <= 1 + name.len() / 6).then_some(nearest)
}

/// Whether a path is the beginning of a known one: an empty section, or one given a value.
pub(super) fn is_section(path: &[String]) -> bool {
    every().any(|key| {
        let segments = key.name.split('.');
        segments.clone().count() > path.len()
            && segments
                .zip(path)
                .all(|(known, given)| is_same(known, given))
    })
}

/// The keys a role takes.
pub(super) fn of(role: Role) -> impl Iterator<Item = &'static Key> {
    every().filter(move |key| refusal(key, role).is_none())
}

fn every() -> impl Iterator<Item = &'static Key> {
    GROUPS.iter().flat_map(|group| group.keys)
}

// === impl Key ===

impl Key {
    /// With what tells the value in force. Every key without a `*` has that.
    const fn shown(self, show: fn(&Settings) -> Value) -> Self {
        Self {
            show: Show::Value(show),
            ..self
        }
    }

    /// As [`Key::shown`], where the name of the key says which one.
    const fn shown_by_name(self, show: fn(&Settings, &str) -> Value) -> Self {
        Self {
            show: Show::Named(show),
            ..self
        }
    }

    /// The value in force; `None` of a key that stands for many.
    pub(super) fn value(&self, settings: &Settings) -> Option<Value> {
        match self.show {
            Show::Given => None,
            Show::Value(show) => Some(show(settings)),
            Show::Named(show) => Some(show(settings, self.name)),
        }
    }

    /// Its name as this one was given: with the domain, and what follows it, in place of a `*`.
    pub(super) fn name_of(&self, given: &Given) -> String {
        let last = given.path.len().saturating_sub(1);
        let segments = self.name.split('.').zip(&given.path).enumerate();
        let segments = segments.map(|(place, (known, given))| match known {
            "*" if place < last => format!("{given:?}"),
            "*" => given.clone(),
            known => known.to_owned(),
        });
        segments.collect::<Vec<_>>().join(".")
    }

    fn matches(&self, path: &[String]) -> bool {
        let segments: Vec<_> = self.name.split('.').collect();
        segments.len() == path.len()
            && segments
                .iter()
                .zip(path)
                .all(|(known, given)| is_same(known, given))
    }
}

fn is_same(known: &str, given: &str) -> bool {
    known == "*" || known == given || known.replace('-', "_") == given
}

const fn key(name: &'static str, set: fn(&mut Settings, &Given) -> Result<(), Wrong>) -> Key {
    Key {
        name,
        set,
        show: Show::Given,
    }
}

/// How many letters must change between two names (Levenshtein), one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(100).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
