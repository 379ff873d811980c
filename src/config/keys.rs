//! Keys: every setting there is, one line each: its name, its bounds and where it goes.

use super::layer::Given;
use super::value::Wrong;
use super::{Format, Settings};

/// One setting. A segment `*` of the name stands for anything.
pub(super) struct Key {
    /// Dotted.
    pub(super) name: &'static str,
    /// Checks a value and puts it where it belongs.
    pub(super) set: fn(&mut Settings, &Given) -> Result<(), Wrong>,
}

/// Bounds of a size in bytes: one that is too small stops everything, one too large protects
/// nothing.
const BYTES: std::ops::RangeInclusive<i64> = 1024..=(1 << 30);

/// Bounds of how deep elements are nested: with more, and what a stanza is wrapped in, it could no
/// longer be read as a tree.
const DEPTH: std::ops::RangeInclusive<i64> = 4..=100;

/// Bounds of memory for one purpose.
const MEMORY: std::ops::RangeInclusive<i64> = (1 << 20)..=(1 << 40);

/// Every setting there is, in the order of the sample file.
pub(super) const KEYS: &[Key] = &[
    key("domains", |s, g| {
        s.edge.domains = g.texts()?;
        Ok(())
    }),
    key("data", |s, g| g.path().map(|value| s.data = value)),
    key("node", |s, g| g.text().map(|value| s.origin.node = value)),
    key("shards", |s, g| {
        g.number(0..=1024).map(|value| s.origin.shards = value)
    }),
    key("drain_secs", |s, g| {
        g.number(0..=3600).map(|value| s.drain_secs = value)
    }),
    key("store.cache_bytes", |s, g| {
        g.number(MEMORY).map(|value| s.store.cache_bytes = value)
    }),
    key("store.memtable_bytes", |s, g| {
        g.number(MEMORY).map(|value| s.store.memtable_bytes = value)
    }),
    key("c2s.listen", |s, g| {
        g.addresses().map(|value| s.edge.listen = value)
    }),
    key("c2s.tls_listen", |s, g| {
        g.addresses().map(|value| s.edge.tls_listen = value)
    }),
    key("c2s.require_tls", |s, g| {
        g.truth().map(|value| s.edge.require_tls = value)
    }),
    key("tls.certificate", |s, g| {
        g.path()
            .map(|value| s.tls.default.certificate = Some(value))
    }),
    key("tls.key", |s, g| {
        g.path().map(|value| s.tls.default.key = Some(value))
    }),
    key("tls.domains.*.certificate", |s, g| {
        let path = g.path()?;
        s.tls.domain(&g.path[2]).certificate = Some(path);
        Ok(())
    }),
    key("tls.domains.*.key", |s, g| {
        let path = g.path()?;
        s.tls.domain(&g.path[2]).key = Some(path);
        Ok(())
    }),
    key("auth.scram_iterations", |s, g| {
        g.number(4096..=1_000_000)
            .map(|value| s.origin.scram_iterations = value)
    }),
    key("registration.open", |s, g| {
        g.truth().map(|value| s.origin.registration.open = value)
    }),
    key("registration.per_hour_per_address", |s, g| {
        g.number(1..=100_000)
            .map(|value| s.origin.registration.per_hour_per_address = value)
    }),
    contact("contact.abuse-addresses"),
    contact("contact.admin-addresses"),
    contact("contact.feedback-addresses"),
    contact("contact.sales-addresses"),
    contact("contact.security-addresses"),
    contact("contact.status-addresses"),
    contact("contact.support-addresses"),
    key("admin.listen", |s, g| {
        g.address().map(|value| s.admin.listen = value)
    }),
    key("admin.allow_remote", |s, g| {
        g.truth().map(|value| s.admin.allow_remote = value)
    }),
    key("admin.hosts", |s, g| {
        g.texts().map(|value| s.admin.hosts = value)
    }),
    key("log.level", |s, g| {
        let level = g.text()?;
        crate::telemetry::filter(&level).map_err(|error| {
            format!(
                "{level:?} is neither a level (error, warn, info, debug, trace) nor a list \
                such as \"info,couplet_origin=debug\": {error}"
            )
        })?;
        s.log.level = level;
        Ok(())
    }),
    key("log.format", |s, g| {
        s.log.format = match g.text()?.as_str() {
            "text" => Format::Text,
            "json" => Format::Json,
            other => return Err(format!("must be \"text\" or \"json\", but is {other:?}")),
        };
        Ok(())
    }),
    key("limits.before_auth.bytes", |s, g| {
        g.number(BYTES)
            .map(|value| s.edge.limits.before_auth.bytes = value)
    }),
    key("limits.before_auth.elements", |s, g| {
        g.number(8..=100_000)
            .map(|value| s.edge.limits.before_auth.elements = value)
    }),
    key("limits.before_auth.depth", |s, g| {
        g.number(DEPTH)
            .map(|value| s.edge.limits.before_auth.depth = value)
    }),
    key("limits.before_auth.attributes", |s, g| {
        g.number(8..=1000)
            .map(|value| s.edge.limits.before_auth.attributes = value)
    }),
    key("limits.before_auth.namespaces", |s, g| {
        g.number(4..=1000)
            .map(|value| s.edge.limits.before_auth.namespaces = value)
    }),
    key("limits.after_auth.bytes", |s, g| {
        // RFC 6120 §13.12: a server must accept stanzas of 10000 bytes.
        g.number(10_000..=(1 << 30))
            .map(|value| s.edge.limits.after_auth.bytes = value)
    }),
    key("limits.after_auth.elements", |s, g| {
        g.number(8..=100_000)
            .map(|value| s.edge.limits.after_auth.elements = value)
    }),
    key("limits.after_auth.depth", |s, g| {
        g.number(DEPTH)
            .map(|value| s.edge.limits.after_auth.depth = value)
    }),
    key("limits.after_auth.attributes", |s, g| {
        g.number(8..=1000)
            .map(|value| s.edge.limits.after_auth.attributes = value)
    }),
    key("limits.after_auth.namespaces", |s, g| {
        g.number(4..=1000)
            .map(|value| s.edge.limits.after_auth.namespaces = value)
    }),
    key("limits.before_auth_secs", |s, g| {
        g.number(1..=3600)
            .map(|value| s.edge.limits.before_auth_secs = value)
    }),
    key("limits.auth_failures", |s, g| {
        g.number(1..=100)
            .map(|value| s.edge.limits.auth_failures = value)
    }),
    key("limits.credit_stanzas", |s, g| {
        g.number(1..=100_000)
            .map(|value| s.edge.limits.credit_stanzas = value)
    }),
    key("limits.credit_bytes", |s, g| {
        g.number(BYTES)
            .map(|value| s.edge.limits.credit_bytes = value)
    }),
    key("limits.outbound_bytes", |s, g| {
        g.number(BYTES)
            .map(|value| s.edge.limits.outbound_bytes = value)
    }),
    key("limits.outbound_stanzas", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.edge.limits.outbound_stanzas = value)
    }),
    key("limits.outbound_stall_secs", |s, g| {
        g.number(1..=3600)
            .map(|value| s.edge.limits.outbound_stall_secs = value)
    }),
    key("limits.ping_after_secs", |s, g| {
        g.number(0..=86_400)
            .map(|value| s.edge.limits.ping_after_secs = value)
    }),
    key("limits.ping_timeout_secs", |s, g| {
        g.number(1..=3600)
            .map(|value| s.edge.limits.ping_timeout_secs = value)
    }),
    key("limits.connections", |s, g| {
        g.number(1..=10_000_000)
            .map(|value| s.edge.limits.connections = value)
    }),
    key("limits.new_connections_per_second", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.edge.limits.new_connections_per_second = value)
    }),
    key("limits.resources_per_account", |s, g| {
        g.number(1..=10_000)
            .map(|value| s.origin.limits.resources_per_account = value)
    }),
    key("limits.roster_items", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.origin.limits.roster_items = value)
    }),
    key("limits.offline_messages", |s, g| {
        g.number(0..=1_000_000)
            .map(|value| s.origin.limits.offline_messages = value)
    }),
    key("limits.private_bytes", |s, g| {
        g.number(BYTES)
            .map(|value| s.origin.limits.private_bytes = value)
    }),
    key("limits.vcard_bytes", |s, g| {
        g.number(BYTES)
            .map(|value| s.origin.limits.vcard_bytes = value)
    }),
    key("limits.recipients_per_minute", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.origin.limits.recipients_per_minute = value)
    }),
    key("limits.auth_failures_per_minute", |s, g| {
        g.number(1..=10_000)
            .map(|value| s.origin.limits.auth_failures_per_minute = value)
    }),
    key("limits.account_idle_secs", |s, g| {
        g.number(1..=86_400)
            .map(|value| s.origin.limits.account_idle_secs = value)
    }),
    key("limits.commit_timeout_secs", |s, g| {
        g.number(1..=300)
            .map(|value| s.origin.limits.commit_timeout_secs = value)
    }),
];

/// The key of a path. The environment writes `_` for `-`.
pub(super) fn find(path: &[String]) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.matches(path))
}

/// The known name most like one that is not known, if any is close.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let names = KEYS.iter().map(|key| key.name);
    let (distance, nearest) = names.map(|known| (distance(known, name), known)).min()?;
    (distance <= 1 + name.len() / 6).then_some(nearest)
}

/// Whether a path is the beginning of a known one: an empty section, or one given a value.
pub(super) fn is_section(path: &[String]) -> bool {
    KEYS.iter().any(|key| {
        let segments = key.name.split('.');
        segments.clone().count() > path.len()
            && segments
                .zip(path)
                .all(|(known, given)| is_same(known, given))
    })
}

// === impl Key ===

impl Key {
    /// Its name as this one was given: with the domain in place of the `*`.
    pub(super) fn name_of(&self, given: &Given) -> String {
        match given.path.get(2) {
            Some(domain) if self.name.contains('*') => {
                self.name.replace('*', &format!("{domain:?}"))
            }
            _ => self.name.to_owned(),
        }
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
    Key { name, set }
}

/// XEP-0157 §4: each field of the form is a list of URIs.
const fn contact(name: &'static str) -> Key {
    key(name, |s, g| {
        let uris = g.texts()?;
        // RFC 3986 §3.1: a scheme, then a colon.
        let has_scheme = |uri: &String| {
            uri.split_once(':').is_some_and(|(scheme, rest)| {
                !rest.is_empty()
                    && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                    && scheme
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            })
        };
        if let Some(uri) = uris.iter().find(|uri| !has_scheme(uri)) {
            return Err(format!(
                "{uri:?} is not a URI such as \"mailto:admin@example.org\""
            ));
        }
        let field = g.path[1].replace('_', "-");
        s.origin.contact.insert(field, uris);
        Ok(())
    })
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
