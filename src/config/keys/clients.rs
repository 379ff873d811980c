//! Keys of whoever serves clients: where they connect, how they leave, what each may take.

use serde_json::json;

use super::{BYTES, Key, key};

/// Bounds of how deep elements are nested: with more, and what a stanza is wrapped in, it could no
/// longer be read as a tree.
const DEPTH: std::ops::RangeInclusive<i64> = 4..=100;

/// In an edge and in `couplet serve`.
pub(super) const KEYS: &[Key] = &[
    key("data", |s, g| g.path().map(|value| s.data = value)).shown(|s| json!(s.data)),
    key("c2s.listen", |s, g| {
        g.addresses().map(|value| s.edge.listen = value)
    })
    .shown(|s| json!(s.edge.listen)),
    key("c2s.tls_listen", |s, g| {
        g.addresses().map(|value| s.edge.tls_listen = value)
    })
    .shown(|s| json!(s.edge.tls_listen)),
    key("c2s.proxy_protocol_from", |s, g| {
        g.networks().map(|value| s.edge.proxy_protocol_from = value)
    })
    .shown(|s| {
        let networks = s.edge.proxy_protocol_from.iter();
        json!(networks.map(ToString::to_string).collect::<Vec<_>>())
    }),
    key("c2s.require_tls", |s, g| {
        g.truth().map(|value| s.edge.require_tls = value)
    })
    .shown(|s| json!(s.edge.require_tls)),
    key("trace.sample", |s, g| {
        g.fraction().map(|value| s.trace.sample = value)
    })
    .shown(|s| json!(s.trace.sample)),
    key("tls.certificate", |s, g| {
        g.path()
            .map(|value| s.tls.default.certificate = Some(value))
    })
    .shown(|s| json!(s.tls.default.certificate)),
    key("tls.key", |s, g| {
        g.path().map(|value| s.tls.default.key = Some(value))
    })
    .shown(|s| json!(s.tls.default.key)),
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
    key("limits.before_auth.bytes", |s, g| {
        g.number(BYTES)
            .map(|value| s.edge.limits.before_auth.bytes = value)
    })
    .shown(|s| json!(s.edge.limits.before_auth.bytes)),
    key("limits.before_auth.elements", |s, g| {
        g.number(8..=100_000)
            .map(|value| s.edge.limits.before_auth.elements = value)
    })
    .shown(|s| json!(s.edge.limits.before_auth.elements)),
    key("limits.before_auth.depth", |s, g| {
        g.number(DEPTH)
            .map(|value| s.edge.limits.before_auth.depth = value)
    })
    .shown(|s| json!(s.edge.limits.before_auth.depth)),
    key("limits.before_auth.attributes", |s, g| {
        g.number(8..=1000)
            .map(|value| s.edge.limits.before_auth.attributes = value)
    })
    .shown(|s| json!(s.edge.limits.before_auth.attributes)),
    key("limits.before_auth.namespaces", |s, g| {
        g.number(4..=1000)
            .map(|value| s.edge.limits.before_auth.namespaces = value)
    })
    .shown(|s| json!(s.edge.limits.before_auth.namespaces)),
    key("limits.after_auth.bytes", |s, g| {
        // RFC 6120 §13.12: a server must accept stanzas of 10000 bytes.
        g.number(10_000..=(1 << 30))
            .map(|value| s.edge.limits.after_auth.bytes = value)
    })
    .shown(|s| json!(s.edge.limits.after_auth.bytes)),
    key("limits.after_auth.elements", |s, g| {
        g.number(8..=100_000)
            .map(|value| s.edge.limits.after_auth.elements = value)
    })
    .shown(|s| json!(s.edge.limits.after_auth.elements)),
    key("limits.after_auth.depth", |s, g| {
        g.number(DEPTH)
            .map(|value| s.edge.limits.after_auth.depth = value)
    })
    .shown(|s| json!(s.edge.limits.after_auth.depth)),
    key("limits.after_auth.attributes", |s, g| {
        g.number(8..=1000)
            .map(|value| s.edge.limits.after_auth.attributes = value)
    })
    .shown(|s| json!(s.edge.limits.after_auth.attributes)),
    key("limits.after_auth.namespaces", |s, g| {
        g.number(4..=1000)
            .map(|value| s.edge.limits.after_auth.namespaces = value)
    })
    .shown(|s| json!(s.edge.limits.after_auth.namespaces)),
    key("limits.before_auth_secs", |s, g| {
        g.number(1..=3600)
            .map(|value| s.edge.limits.before_auth_secs = value)
    })
    .shown(|s| json!(s.edge.limits.before_auth_secs)),
    key("limits.auth_failures", |s, g| {
        g.number(1..=100)
            .map(|value| s.edge.limits.auth_failures = value)
    })
    .shown(|s| json!(s.edge.limits.auth_failures)),
    key("limits.credit_stanzas", |s, g| {
        g.number(1..=100_000)
            .map(|value| s.edge.limits.credit_stanzas = value)
    })
    .shown(|s| json!(s.edge.limits.credit_stanzas)),
    key("limits.credit_bytes", |s, g| {
        g.number(BYTES)
            .map(|value| s.edge.limits.credit_bytes = value)
    })
    .shown(|s| json!(s.edge.limits.credit_bytes)),
    key("limits.outbound_bytes", |s, g| {
        g.number(BYTES)
            .map(|value| s.edge.limits.outbound_bytes = value)
    })
    .shown(|s| json!(s.edge.limits.outbound_bytes)),
    key("limits.outbound_stanzas", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.edge.limits.outbound_stanzas = value)
    })
    .shown(|s| json!(s.edge.limits.outbound_stanzas)),
    key("limits.outbound_stall_secs", |s, g| {
        g.number(1..=3600)
            .map(|value| s.edge.limits.outbound_stall_secs = value)
    })
    .shown(|s| json!(s.edge.limits.outbound_stall_secs)),
    key("limits.ping_after_secs", |s, g| {
        g.number(0..=86_400)
            .map(|value| s.edge.limits.ping_after_secs = value)
    })
    .shown(|s| json!(s.edge.limits.ping_after_secs)),
    key("limits.ping_timeout_secs", |s, g| {
        g.number(1..=3600)
            .map(|value| s.edge.limits.ping_timeout_secs = value)
    })
    .shown(|s| json!(s.edge.limits.ping_timeout_secs)),
    key("limits.connections", |s, g| {
        g.number(1..=10_000_000)
            .map(|value| s.edge.limits.connections = value)
    })
    .shown(|s| json!(s.edge.limits.connections)),
    key("limits.new_connections_per_second", |s, g| {
        g.number(1..=1_000_000)
            .map(|value| s.edge.limits.new_connections_per_second = value)
    })
    .shown(|s| json!(s.edge.limits.new_connections_per_second)),
    key("limits.tls_handshakes", |s, g| {
        g.number(0..=100_000)
            .map(|value| s.edge.limits.tls_handshakes = value)
    })
    .shown(|s| json!(s.edge.limits.tls_handshakes)),
    key("limits.logins", |s, g| {
        g.number(0..=1_000_000)
            .map(|value| s.edge.limits.logins = value)
    })
    .shown(|s| json!(s.edge.limits.logins)),
];
