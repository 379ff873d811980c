//! Where Redis is, as an operator writes it.
//!
//! ```text
//! redis://[user[:password]@]host[:port][/database]             one server
//! redis-sentinel://[user[:password]@]host[:port],…/name[/database]   the primary Sentinel names
//! redis-cluster://[user[:password]@]host[:port],…              a cluster; some of its nodes
//! ```
//!
//! `rediss`, `rediss-sentinel` and `rediss-cluster` are the same through TLS. User and password
//! are for Redis, not for the Sentinels; `:password@` alone is the password of the default user.
//! What is special in a URL is written as `%` and two digits there.

use std::fmt;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// A URL that was understood.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) kind: Kind,
    pub(super) is_tls: bool,
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// One server.
    Server,
    /// Sentinels, which know the primary of this name.
    Sentinel(String),
    /// Nodes of a cluster.
    Cluster,
}

/// Why a URL was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The part before `://`.
    #[error(
        "a Redis URL begins with redis://, rediss://, redis-sentinel://, rediss-sentinel://, \
         redis-cluster:// or rediss-cluster://"
    )]
    Scheme,
    /// A host is empty or a port is no number.
    #[error("`{0}` is not a host and a port")]
    Host(String),
    /// A `%` without two hexadecimal digits, or what they say is not UTF-8.
    #[error("the user or the password has a `%` that is not followed by two digits")]
    Escape,
    /// What follows the hosts.
    #[error("after the hosts there can be {0}")]
    Path(&'static str),
}

// === impl Address ===

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(UrlError::Scheme)?;
        let (is_tls, kind) = match scheme.strip_prefix("redis").ok_or(UrlError::Scheme)? {
            "" | "-sentinel" | "-cluster" => (false, &scheme["redis".len()..]),
            "s" | "s-sentinel" | "s-cluster" => (true, &scheme["rediss".len()..]),
            _ => return Err(UrlError::Scheme),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (user, password) = credentials.map_or(Ok((None, None)), read_credentials)?;
        let (kind, database) = match kind {
            "" => (Kind::Server, path),
            "-cluster" => (Kind::Cluster, path),
            _ => {
                let (name, database) = path.split_once('/').unwrap_or((path, ""));
                (Kind::Sentinel(name.into()), database)
            }
        };
        let port = match kind {
            Kind::Sentinel(_) => SENTINEL_PORT,
            Kind::Server | Kind::Cluster => PORT,
        };
        let hosts = hosts.split(',').map(|host| read_host(host, port));
        let address = Self {
            database: read_database(&kind, database)?,
            hosts: hosts.collect::<Result<_, _>>()?,
            kind,
            is_tls,
            user,
            password,
        };
        match address.kind {
            Kind::Server if address.hosts.len() > 1 => Err(UrlError::Host(authority.into())),
            _ => Ok(address),
        }
    }
}

impl fmt::Display for Address {
    /// The hosts alone: this goes to logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Kind::Sentinel(name) = &self.kind {
            write!(f, "{name} by ")?;
        }
        for (place, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{host}:{port}")?;
        }
        Ok(())
    }
}

fn read_credentials(text: &str) -> Result<(Option<String>, Option<String>), UrlError> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(unescape(password)?)),
        None => (text, None),
    };
    let user = Some(unescape(user)?).filter(|user| !user.is_empty());
    Ok((user, password.filter(|password| !password.is_empty())))
}

fn unescape(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        let digits = part.get(..2).ok_or(UrlError::Escape)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| UrlError::Escape)?);
        bytes.extend(part[2..].bytes());
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Escape)
}

fn read_host(text: &str, default_port: u16) -> Result<(String, u16), UrlError> {
    let refused = || UrlError::Host(text.into());
    let (host, port) = match text.strip_prefix('[') {
        // An address of IPv6 has colons itself.
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(refused)?;
            match port {
                "" => (host, None),
                port => (host, Some(port.strip_prefix(':').ok_or_else(refused)?)),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| refused())?,
        None => default_port,
    };
    match host.is_empty() {
        true => Err(refused()),
        false => Ok((host.into(), port)),
    }
}

fn read_database(kind: &Kind, text: &str) -> Result<i64, UrlError> {
    let (allowed, is_allowed) = match kind {
        Kind::Server => ("the number of a database", true),
        Kind::Sentinel(name) => (
            "the name of the primary, and the number of a database",
            !name.is_empty(),
        ),
        Kind::Cluster => ("nothing, for a cluster", text.is_empty()),
    };
    match (is_allowed, text) {
        (false, _) => Err(UrlError::Path(allowed)),
        (true, "") => Ok(0),
        (true, number) => {
            let number: u16 = number.parse().map_err(|_| UrlError::Path(allowed))?;
            Ok(number.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Address {
        Address::parse(url).expect("understood")
    }

    #[test]
    fn one_server() {
        let address = parse("redis://localhost");
        assert_eq!(address.hosts, [("localhost".into(), 6379)]);
        assert_eq!((address.kind, address.is_tls), (Kind::Server, false));
        let address = parse("rediss://couplet:p%40ss%3Aword@[::1]:7000/3");
        assert_eq!(address.hosts, [("::1".into(), 7000)]);
        assert!(address.is_tls);
        assert_eq!(address.user.as_deref(), Some("couplet"));
        assert_eq!(address.password.as_deref(), Some("p@ss:word"));
        assert_eq!(address.database, 3);
        let address = parse("redis://:word@h:1");
        assert_eq!(
            (address.user, address.password),
            (None, Some("word".into()))
        );
    }

    #[test]
    fn several_servers() {
        let address = parse("redis-sentinel://u:p@a,b:5/main/2");
        assert_eq!(address.kind, Kind::Sentinel("main".into()));
        assert_eq!(address.hosts, [("a".into(), 26379), ("b".into(), 5)]);
        assert_eq!(address.database, 2);
        assert_eq!(address.to_string(), "main by a:26379,b:5");
        let address = parse("rediss-cluster://a:1,b");
        assert_eq!((address.kind, address.is_tls), (Kind::Cluster, true));
        assert_eq!(address.hosts, [("a".into(), 1), ("b".into(), 6379)]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = |url| Address::parse(url).err().expect("refused");
        assert_eq!(refused("localhost:6379"), UrlError::Scheme);
        assert_eq!(refused("http://a"), UrlError::Scheme);
        assert_eq!(refused("redisx://a"), UrlError::Scheme);
        assert_eq!(refused("redis://"), UrlError::Host(String::new()));
        assert_eq!(refused("redis://a:x"), UrlError::Host("a:x".into()));
        assert_eq!(refused("redis://a,b"), UrlError::Host("a,b".into()));
        assert_eq!(refused("redis://u:%4@a"), UrlError::Escape);
        assert_eq!(refused("redis://u:%€@a"), UrlError::Escape);
        assert!(matches!(refused("redis://a/x"), UrlError::Path(_)));
        assert!(matches!(refused("redis-cluster://a/1"), UrlError::Path(_)));
        assert!(matches!(refused("redis-sentinel://a"), UrlError::Path(_)));
    }
}
