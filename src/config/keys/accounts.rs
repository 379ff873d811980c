//! Keys of whoever owns accounts: logins, registration, contacts, what each account may take.

use super::{BYTES, Key, key};

/// In an origin and in `couplet serve`.
pub(super) const KEYS: &[Key] = &[
    key("shards", |s, g| {
        g.number(0..=1024).map(|value| s.origin.shards = value)
    }),
    key("auth.scram_iterations", |s, g| {
        g.number(4096..=1_000_000)
            .map(|value| s.origin.scram_iterations = value)
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
    key("limits.bans", |s, g| {
        g.number(0..=100_000)
            .map(|value| s.origin.limits.bans = value)
    }),
    key("limits.added_domains", |s, g| {
        g.number(0..=10_000)
            .map(|value| s.origin.limits.added_domains = value)
    }),
    key("limits.commit_timeout_secs", |s, g| {
        g.number(1..=300)
            .map(|value| s.origin.limits.commit_timeout_secs = value)
    }),
    key("limits.resume_secs", |s, g| {
        g.number(0..=86_400)
            .map(|value| s.origin.limits.resume_secs = value)
    }),
    key("limits.asleep_stanzas", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.origin.limits.asleep_stanzas = value)
    }),
    key("limits.asleep_bytes", |s, g| {
        g.number(BYTES)
            .map(|value| s.origin.limits.asleep_bytes = value)
    }),
];

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
