//! Defaults: what holds where nobody says anything else.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::{
    AccessLog, Admin, Cluster, Format, LineFormat, Link, Log, Pair, Redis, Settings, Tls, Trace,
};
use crate::access_log::Field;

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        let everywhere = |port| vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))];
        let edge = couplet_edge::Config {
            listen: everywhere(5222),
            tls_listen: everywhere(5223),
            drain: couplet_edge::config::Drain {
                per_second: 1000,
                ..couplet_edge::config::Drain::default()
            },
            ..couplet_edge::Config::default()
        };
        let node = super::node::host_name();
        Self {
            data: PathBuf::from("couplet-data"),
            drain_secs: 20,
            edge,
            embedded: couplet_origin::store::embedded::Options::default(),
            redis: Redis::default(),
            origin: couplet_origin::Config {
                node: node.clone(),
                muc: rooms(),
                ..couplet_origin::Config::default()
            },
            link: Link {
                listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5291)),
                advertise: None,
                origins: Vec::new(),
                ca: None,
                identity: Pair::default(),
                insecure: false,
                lanes: 4,
            },
            cluster: Cluster {
                weight: 100,
                group: String::new(),
                moves: couplet_origin::config::Cluster::default().moves_max,
                join_wait_secs: 0,
            },
            node,
            tls: Tls::default(),
            admin: Admin {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5290)),
                hosts: Vec::new(),
                token_file: None,
                tokens: BTreeMap::new(),
                grants: Vec::new(),
                audit_file: None,
            },
            log: Log {
                level: "info".to_owned(),
                format: Format::Text,
            },
            access_log: AccessLog {
                folder: None,
                format: LineFormat::W3c,
                fields: Field::all(),
                rotate_bytes: 100 << 20,
                rotate_secs: 86_400,
                keep: 14,
            },
            trace: Trace {
                endpoint: None,
                sample: 0.001,
                addresses: false,
                service_name: "couplet".to_owned(),
            },
        }
    }
}

/// Multi-user chat, with what a new room is like spelt out.
fn rooms() -> couplet_origin::config::Muc {
    let mut muc = couplet_origin::config::Muc::default();
    let fields = muc.defaults.entry(String::new()).or_default();
    for field in couplet_origin::config::ROOM_FIELDS {
        let values = field.default.iter().map(|value| (*value).to_owned());
        fields.insert(field.name.to_owned(), values.collect());
    }
    muc
}

// === impl Redis ===

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            ca: None,
            key_prefix: "couplet:".to_owned(),
            in_flight: 1024,
            response_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(2),
        }
    }
}
