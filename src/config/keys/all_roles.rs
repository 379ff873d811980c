//! Keys that every role takes.

use super::{Key, key};
use crate::config::Format;

/// In every role.
pub(super) const KEYS: &[Key] = &[
    key("domains", |s, g| {
        s.edge.domains = g.texts()?;
        Ok(())
    }),
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
    }),
    key("drain.deadline_secs", |s, g| {
        g.number(0..=3600).map(|value| s.drain_secs = value)
    }),
    key("registration.open", |s, g| {
        g.truth().map(|value| s.origin.registration.open = value)
    }),
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
    key("trace.endpoint", |s, g| {
        g.text().map(|value| s.trace.endpoint = Some(value))
    }),
    key("trace.addresses", |s, g| {
        g.truth().map(|value| s.trace.addresses = value)
    }),
    key("trace.service_name", |s, g| {
        g.text().map(|value| s.trace.service_name = value)
    }),
];
