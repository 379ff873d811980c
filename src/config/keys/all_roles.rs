//! Keys that every role takes.

use super::{Key, key};
use crate::access_log::Field;
use crate::config::value::Wrong;
use crate::config::{Format, LineFormat};

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
    key("access_log.folder", |s, g| {
        g.path().map(|value| s.access_log.folder = Some(value))
    }),
    key("access_log.format", |s, g| {
        s.access_log.format = match g.text()?.as_str() {
            "w3c" => LineFormat::W3c,
            "json" => LineFormat::Json,
            other => return Err(format!("must be \"w3c\" or \"json\", but is {other:?}")),
        };
        Ok(())
    }),
    key("access_log.fields", |s, g| {
        s.access_log.fields = fields(&g.texts()?)?;
        Ok(())
    }),
    key("access_log.rotate_bytes", |s, g| {
        let bytes = g.number(0..=ROTATE_BYTES_MAX)?;
        if (1..ROTATE_BYTES_MIN).contains(&bytes) {
            return Err(format!(
                "must be 0, for files of any size, or at least {ROTATE_BYTES_MIN}, but is {bytes}"
            ));
        }
        s.access_log.rotate_bytes = bytes;
        Ok(())
    }),
    key("access_log.rotate_secs", |s, g| {
        let secs = g.number(0..=ROTATE_SECS_MAX)?;
        if (1..ROTATE_SECS_MIN).contains(&secs) {
            return Err(format!(
                "must be 0, for never, or at least {ROTATE_SECS_MIN}, but is {secs}"
            ));
        }
        s.access_log.rotate_secs = secs;
        Ok(())
    }),
    key("access_log.keep", |s, g| {
        g.number(0..=100_000).map(|value| s.access_log.keep = value)
    }),
];

/// Bounds of when a file of the access log is full: smaller ones would be hardly more than their
/// heads.
const ROTATE_BYTES_MIN: u64 = 4096;
const ROTATE_BYTES_MAX: i64 = 1 << 40;
const ROTATE_SECS_MIN: u64 = 60;
const ROTATE_SECS_MAX: i64 = 366 * 86_400;

/// What a line of the access log says.
fn fields(names: &[String]) -> Result<Vec<Field>, Wrong> {
    let mut fields = Vec::new();
    for name in names {
        let Some(field) = Field::from_name(name) else {
            return Err(format!(
                "there is no field {name:?}; there are {}",
                Field::names()
            ));
        };
        if fields.contains(&field) {
            return Err(format!("the field {name:?} is named twice"));
        }
        fields.push(field);
    }
    match fields.is_empty() {
        true => Err("must name at least one field".to_owned()),
        false => Ok(fields),
    }
}
