//! Keys of whoever owns accounts: logins, registration, contacts, what each account may take.

use serde_json::json;

use super::{BYTES, Key, key};

/// In an origin and in `couplet serve`.
pub(super) const KEYS: &[Key] = &[
    key("shards", |s, g| {
        g.number(0..=1024).map(|value| s.origin.shards = value)
    })
    .shown(|s| json!(s.origin.shards)),
    key("auth.scram_iterations", |s, g| {
        g.number(4096..=1_000_000)
            .map(|value| s.origin.scram_iterations = value)
    })
    .shown(|s| json!(s.origin.scram_iterations)),
    key("registration.per_hour_per_address", |s, g| {
        g.number(1..=100_000)
            .map(|value| s.origin.registration.per_hour_per_address = value)
    })
    .shown(|s| json!(s.origin.registration.per_hour_per_address)),
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
    })
    .shown(|s| json!(s.origin.limits.resources_per_account)),
    key("limits.roster_items", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.origin.limits.roster_items = value)
    })
    .shown(|s| json!(s.origin.limits.roster_items)),
    key("limits.offline_messages", |s, g| {
        g.number(0..=1_000_000)
            .map(|value| s.origin.limits.offline_messages = value)
    })
    .shown(|s| json!(s.origin.limits.offline_messages)),
    key("limits.private_bytes", |s, g| {
        g.number(BYTES)
            .map(|value| s.origin.limits.private_bytes = value)
    })
    .shown(|s| json!(s.origin.limits.private_bytes)),
    key("limits.vcard_bytes", |s, g| {
        g.number(BYTES)
            .map(|value| s.origin.limits.vcard_bytes = value)
    })
    .shown(|s| json!(s.origin.limits.vcard_bytes)),
    key("limits.recipients_per_minute", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.origin.limits.recipients_per_minute = value)
    })
    .shown(|s| json!(s.origin.limits.recipients_per_minute)),
    key("limits.auth_failures_per_minute", |s, g| {
        g.number(1..=10_000)
            .map(|value| s.origin.limits.auth_failures_per_minute = value)
    })
    .shown(|s| json!(s.origin.limits.auth_failures_per_minute)),
    key("limits.account_idle_secs", |s, g| {
        g.number(1..=86_400)
            .map(|value| s.origin.limits.account_idle_secs = value)
    })
    .shown(|s| json!(s.origin.limits.account_idle_secs)),
    key("limits.bans", |s, g| {
        g.number(0..=100_000)
            .map(|value| s.origin.limits.bans = value)
    })
    .shown(|s| json!(s.origin.limits.bans)),
    key("limits.added_domains", |s, g| {
        g.number(0..=10_000)
            .map(|value| s.origin.limits.added_domains = value)
    })
    .shown(|s| json!(s.origin.limits.added_domains)),
    key("limits.commit_timeout_secs", |s, g| {
        g.number(1..=300)
            .map(|value| s.origin.limits.commit_timeout_secs = value)
    })
    .shown(|s| json!(s.origin.limits.commit_timeout_secs)),
    key("limits.resume_secs", |s, g| {
        g.number(0..=86_400)
            .map(|value| s.origin.limits.resume_secs = value)
    })
    .shown(|s| json!(s.origin.limits.resume_secs)),
    key("limits.asleep_stanzas", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.origin.limits.asleep_stanzas = value)
    })
    .shown(|s| json!(s.origin.limits.asleep_stanzas)),
    key("limits.asleep_bytes", |s, g| {
        g.number(BYTES)
            .map(|value| s.origin.limits.asleep_bytes = value)
    })
    .shown(|s| json!(s.origin.limits.asleep_bytes)),
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
    .shown_by_name(|s, name| {
        let field = name.rsplit('.').next().unwrap_or_default();
        json!(s.origin.contact.get(field))
    })
}
