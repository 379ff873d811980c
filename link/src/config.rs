//! The section `link` of the configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// What an operator may choose about the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// `link.listen`: where an origin waits for edges and other origins.
    pub listen: Vec<SocketAddr>,
    /// `link.origins`: where an edge finds origins: `host:port`, or `dns:name:port` for a name
    /// that stands for all of them.
    pub origins: Vec<String>,
    /// `link.ca`: the certificates that sign those of all nodes, in PEM.
    pub ca: Option<PathBuf>,
    /// `link.certificate`: this node's, with what leads to the CA. Valid for the DNS name
    /// `edge.couplet` or `origin.couplet`, which is what it lets the node be.
    pub certificate: Option<PathBuf>,
    /// `link.key`: the key of the certificate.
    pub key: Option<PathBuf>,
    /// `link.insecure`: without TLS. Only between loopback addresses.
    pub insecure: bool,
    /// `link.lanes`: connections to each origin. Slots are spread over them, so that one long
    /// stanza does not hold up everybody's.
    pub lanes: u16,
}

/// More lanes than this help nobody.
pub const LANES_MAX: u16 = 64;

/// An entry of `link.origins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// One origin: `host:port`.
    Node(String),
    /// Every address of a name is an origin: `name:port`.
    Name(String),
}

// === impl LinkConfig ===

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            origins: Vec::new(),
            ca: None,
            certificate: None,
            key: None,
            insecure: false,
            lanes: 4,
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Reads an entry; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, is_name) = match text.strip_prefix("dns:") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (host, port) = address.rsplit_once(':')?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_host = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                !host.is_empty() && host.chars().all(is_known)
            }
        };
        let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
        if !is_host || !is_port {
            return None;
        }
        Some(match is_name {
            true => Self::Name(address.to_owned()),
            false => Self::Node(address.to_owned()),
        })
    }

    /// Whether it can only lead to this machine.
    fn is_loopback(&self) -> bool {
        let (Self::Node(address) | Self::Name(address)) = self;
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

/// Every mistake in the section, each with the key to change.
pub fn check(link: &LinkConfig) -> Vec<String> {
    let mut mistakes = Vec::new();
    if link.lanes == 0 || link.lanes > LANES_MAX {
        mistakes.push(format!("link.lanes: must be from 1 to {LANES_MAX}"));
    }
    for entry in &link.origins {
        if Entry::parse(entry).is_none() {
            mistakes.push(format!(
                "link.origins: `{entry}` is neither `host:port` nor `dns:name:port`"
            ));
        }
    }
    let files = [
        ("link.ca", &link.ca),
        ("link.certificate", &link.certificate),
        ("link.key", &link.key),
    ];
    let given = files.iter().filter(|(_, path)| path.is_some()).count();
    if given == 0 {
        mistakes.extend(check_plaintext(link));
        return mistakes;
    }
    for (key, path) in files {
        if path.is_none() {
            mistakes.push(format!(
                "{key}: missing; mutual TLS needs all of ca, certificate, key"
            ));
        }
    }
    if link.insecure {
        mistakes.push("link.insecure: is true, but there are certificates".to_owned());
    }
    mistakes
}

fn check_plaintext(link: &LinkConfig) -> Option<String> {
    let listen = link.listen.iter();
    let outside = listen.filter(|address| !address.ip().is_loopback());
    let outside = outside.map(|address| format!("link.listen: {address}"));
    let origins = link.origins.iter();
    let beyond = origins.filter(|entry| Entry::parse(entry).is_some_and(|it| !it.is_loopback()));
    let mut all = outside.chain(beyond.map(|entry| format!("link.origins: `{entry}`")));
    match (all.next(), link.insecure) {
        (Some(place), true) => Some(format!(
            "{place} is not a loopback address: link.insecure may not be true"
        )),
        (Some(place), false) => Some(format!(
            "{place} is not a loopback address: link.ca, link.certificate and link.key are needed"
        )),
        (None, false) => Some(
            "link.ca: missing, and so are link.certificate and link.key; between loopback \
             addresses link.insecure = true does without"
                .to_owned(),
        ),
        (None, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_of(change: impl FnOnce(&mut LinkConfig)) -> Vec<String> {
        let mut link = LinkConfig::default();
        change(&mut link);
        check(&link)
    }

    #[test]
    fn plaintext_is_for_loopback_addresses() {
        let near = |link: &mut LinkConfig| {
            link.listen = vec!["127.0.0.1:5300".parse().expect("an address")];
            link.origins = ["127.0.0.1:1", "localhost:1", "[::1]:1", "dns:localhost:1"]
                .map(str::to_owned)
                .to_vec();
        };
        assert_eq!(check_of(near).len(), 1);
        let said = check_of(|link| {
            near(link);
            link.insecure = true;
        });
        assert_eq!(said, [""; 0]);
        for (far, key) in [
            ("o1.example:5300", "link.ca"),
            ("dns:origins:5300", "link.ca"),
            ("192.0.2.1:1", "link.ca"),
        ] {
            let mistakes = check_of(|link| link.origins = vec![far.to_owned()]);
            assert!(
                mistakes[0].contains(far) && mistakes[0].contains(key),
                "{mistakes:?}"
            );
            let mistakes = check_of(|link| {
                link.origins = vec![far.to_owned()];
                link.insecure = true;
            });
            assert!(mistakes[0].contains("link.insecure"), "{mistakes:?}");
        }
        let mistakes = check_of(|link| link.listen = vec!["0.0.0.0:1".parse().expect("valid")]);
        assert_eq!(mistakes.len(), 1);
    }

    #[test]
    fn certificates_come_together() {
        let mistakes = check_of(|link| link.key = Some("k.pem".into()));
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        let all = |link: &mut LinkConfig| {
            link.listen = vec!["0.0.0.0:1".parse().expect("valid")];
            link.ca = Some("a".into());
            link.certificate = Some("b".into());
            link.key = Some("c".into());
        };
        assert_eq!(check_of(all), [""; 0]);
        let mistakes = check_of(|link| {
            all(link);
            link.insecure = true;
        });
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }

    #[test]
    fn entries_are_read() {
        let node = |text: &str| Some(Entry::Node(text.to_owned()));
        assert_eq!(Entry::parse("a.b:1"), node("a.b:1"));
        assert_eq!(Entry::parse("[::1]:1"), node("[::1]:1"));
        assert_eq!(
            Entry::parse("dns:a-b:1"),
            Some(Entry::Name("a-b:1".to_owned()))
        );
        for wrong in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "http://a:1",
            "::1:1",
            "dns:a",
            "[a]:1",
        ] {
            assert_eq!(Entry::parse(wrong), None, "{wrong}");
        }
        let mistakes = check_of(|link| link.origins = vec!["nowhere".to_owned()]);
        assert!(mistakes[0].starts_with("link.origins"), "{mistakes:?}");
    }
}
