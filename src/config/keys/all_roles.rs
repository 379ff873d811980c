//! Keys that every role takes.

use serde_json::json;

use super::{Key, key};
use crate::access_log::Field;
use crate::config::value::Wrong;
use crate::config::{Format, LineFormat, Scope};

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
    key("admin.tokens.*.bodies", |s, g| {
        let bodies = g.truth()?;
        s.admin.token(&g.path[2])?.bodies = bodies;
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
    key("access_log.folder", |s, g| {
        g.path().map(|value| s.access_log.folder = Some(value))
    })
    .shown(|s| json!(s.access_log.folder)),
    key("access_log.format", |s, g| {
        s.access_log.format = match g.text()?.as_str() {
            "w3c" => LineFormat::W3c,
            "json" => LineFormat::Json,
            other => return Err(format!("must be \"w3c\" or \"json\", but is {other:?}")),
        };
        Ok(())
    })
    .shown(|s| match s.access_log.format {
        LineFormat::W3c => json!("w3c"),
        LineFormat::Json => json!("json"),
    }),
    key("access_log.fields", |s, g| {
        s.access_log.fields = fields(&g.texts()?)?;
        Ok(())
    })
    .shown(|s| {
        let fields = s.access_log.fields.iter();
        json!(fields.map(|field| field.name()).collect::<Vec<_>>())
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
    })
    .shown(|s| json!(s.access_log.rotate_bytes)),
    key("access_log.rotate_secs", |s, g| {
        let secs = g.number(0..=ROTATE_SECS_MAX)?;
        if (1..ROTATE_SECS_MIN).contains(&secs) {
            return Err(format!(
                "must be 0, for never, or at least {ROTATE_SECS_MIN}, but is {secs}"
            ));
        }
        s.access_log.rotate_secs = secs;
        Ok(())
    })
    .shown(|s| json!(s.access_log.rotate_secs)),
    key("access_log.keep", |s, g| {
        g.number(0..=100_000).map(|value| s.access_log.keep = value)
    })
    .shown(|s| json!(s.access_log.keep)),
    key("trace.endpoint", |s, g| {
        g.text().map(|value| s.trace.endpoint = Some(value))
    })
    .shown(|s| json!(s.trace.endpoint)),
    key("trace.addresses", |s, g| {
        g.truth().map(|value| s.trace.addresses = value)
    })
    .shown(|s| json!(s.trace.addresses)),
    key("trace.service_name", |s, g| {
        g.text().map(|value| s.trace.service_name = value)
    })
    .shown(|s| json!(s.trace.service_name)),
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
