//! Keys that every role takes.

use serde_json::json;

use super::{Key, key};
use crate::config::{Format, Scope};

/// In every role.
pub(super) const KEYS: &[Key] = &[
    key("domains", |s, g| {
        s.edge.domains = g.texts()?;
        Ok(())
    })
    .shown(|s| json!(s.edge.domains)),
    key("node", |s, g| {
        let name = g.text()?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.len() > 64 || !name.chars().all(is_plain) {
            return Err(format!(
                "must be at most 64 letters, digits, dots, dashes or underscores, but is {name:?}"
            ));
        }
        s.node = name;
        Ok(())
    })
    .shown(|s| json!(s.node)),
    key("drain.deadline_secs", |s, g| {
        g.number(0..=3600).map(|value| s.drain_secs = value)
    })
    .shown(|s| json!(s.drain_secs)),
    key("registration.open", |s, g| {
        g.truth().map(|value| s.origin.registration.open = value)
    })
    .shown(|s| json!(s.origin.registration.open)),
    key("admin.listen", |s, g| {
        g.address().map(|value| s.admin.listen = value)
    })
    .shown(|s| json!(s.admin.listen)),
    key("admin.hosts", |s, g| {
        g.texts().map(|value| s.admin.hosts = value)
    })
    .shown(|s| json!(s.admin.hosts)),
    key("admin.token_file", |s, g| {
        g.path().map(|value| s.admin.token_file = Some(value))
    })
    .shown(|s| json!(s.admin.token_file)),
    key("admin.tokens.*.file", |s, g| {
        let path = g.path()?;
        s.admin.token(&g.path[2])?.file = Some(path);
        Ok(())
    }),
    key("admin.tokens.*.scope", |s, g| {
        let scope = match g.text()?.as_str() {
            "server" => Scope::Server,
            "domain" => Scope::Domains(Vec::new()),
            "read-only" => Scope::ReadOnly,
            other => {
                return Err(format!(
                    "must be \"server\", \"domain\" or \"read-only\", but is {other:?}"
                ));
            }
        };
        s.admin.token(&g.path[2])?.scope = Some(scope);
        Ok(())
    }),
    key("admin.tokens.*.domains", |s, g| {
        let domains = g.texts()?;
        s.admin.token(&g.path[2])?.domains = Some(domains);
        Ok(())
    }),
    key("admin.audit_file", |s, g| {
        g.path().map(|value| s.admin.audit_file = Some(value))
    })
    .shown(|s| json!(s.admin.audit_file)),
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
    })
    .shown(|s| json!(s.log.level)),
    key("log.format", |s, g| {
        s.log.format = match g.text()?.as_str() {
            "text" => Format::Text,
            "json" => Format::Json,
            other => return Err(format!("must be \"text\" or \"json\", but is {other:?}")),
        };
        Ok(())
    })
    .shown(|s| match s.log.format {
        Format::Text => json!("text"),
        Format::Json => json!("json"),
    }),
];
