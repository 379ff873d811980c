//! Keys of what ties edges and origins together.

use serde_json::json;

use super::{Key, key};
use crate::config::value::Wrong;

/// In an edge and in an origin.
pub(super) const LINK: &[Key] = &[
    key("link.ca", |s, g| {
        g.path().map(|value| s.link.ca = Some(value))
    })
    .shown(|s| json!(s.link.ca)),
    key("link.certificate", |s, g| {
        g.path()
            .map(|value| s.link.identity.certificate = Some(value))
    })
    .shown(|s| json!(s.link.identity.certificate)),
    key("link.key", |s, g| {
        g.path().map(|value| s.link.identity.key = Some(value))
    })
    .shown(|s| json!(s.link.identity.key)),
    key("link.insecure", |s, g| {
        g.truth().map(|value| s.link.insecure = value)
    })
    .shown(|s| json!(s.link.insecure)),
    key("link.lanes", |s, g| {
        g.number(1..=64).map(|value| s.link.lanes = value)
    })
    .shown(|s| json!(s.link.lanes)),
];

/// In an edge.
pub(super) const DIALED: &[Key] = &[key("link.origins", |s, g| {
    let origins = g.texts()?;
    origins.iter().try_for_each(|origin| dialable(origin))?;
    s.link.origins = origins;
    Ok(())
})
.shown(|s| json!(s.link.origins))];

/// In an edge: how its clients find another one.
pub(super) const LEAVING: &[Key] = &[
    key("c2s.location", |s, g| {
        let address = g.text()?;
        host_and_port(&address)?;
        s.edge.location = Some(address);
        Ok(())
    })
    .shown(|s| json!(s.edge.location)),
    key("drain.wait_secs", |s, g| {
        g.number(0..=3600)
            .map(|value| s.edge.drain.wait_secs = value)
    })
    .shown(|s| json!(s.edge.drain.wait_secs)),
    key("drain.per_second", |s, g| {
        g.number(0..=1_000_000)
            .map(|value| s.edge.drain.per_second = value)
    })
    .shown(|s| json!(s.edge.drain.per_second)),
    key("drain.see_other_host", |s, g| {
        let others = g.texts()?;
        others.iter().try_for_each(|other| host_and_port(other))?;
        s.edge.drain.see_other_host = others;
        Ok(())
    })
    .shown(|s| json!(s.edge.drain.see_other_host)),
];

/// In an origin.
pub(super) const LISTENING: &[Key] = &[
    key("link.listen", |s, g| {
        g.address().map(|value| s.link.listen = value)
    })
    .shown(|s| json!(s.link.listen)),
    key("link.advertise", |s, g| {
        let address = g.text()?;
        host_and_port(&address)?;
        s.link.advertise = Some(address);
        Ok(())
    })
    .shown(|s| json!(s.link.advertise)),
];

/// In an origin.
pub(super) const CLUSTER: &[Key] = &[
    key("cluster.weight", |s, g| {
        g.number(1..=10_000).map(|value| s.cluster.weight = value)
    })
    .shown(|s| json!(s.cluster.weight)),
    key("cluster.group", |s, g| {
        g.text().map(|value| s.cluster.group = value)
    })
    .shown(|s| json!(s.cluster.group)),
    key("cluster.moves", |s, g| {
        g.number(1..=4096).map(|value| s.cluster.moves = value)
    })
    .shown(|s| json!(s.cluster.moves)),
    key("cluster.join_wait_secs", |s, g| {
        g.number(0..=3600)
            .map(|value| s.cluster.join_wait_secs = value)
    })
    .shown(|s| json!(s.cluster.join_wait_secs)),
];

/// Whether an edge can be told to dial this: `host:port` or `dns:name:port`.
fn dialable(origin: &str) -> Result<(), Wrong> {
    host_and_port(origin.strip_prefix("dns:").unwrap_or(origin))
}

fn host_and_port(text: &str) -> Result<(), Wrong> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
        Some((host, port))
    });
    let is_host = |host: &str| match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !host.is_empty() && host.chars().all(is_plain)
        }
    };
    match parts {
        Some((host, _)) if is_host(host) => Ok(()),
        _ => Err(format!(
            "{text:?} is not a host with a port such as \"10.0.0.7:5291\" or \"origin-1:5291\""
        )),
    }
}
