//! Rules: what operators have ordered while the cluster runs, as far as edges have a part in it.
//!
//! Edges read no store: origins tell them all rules of one version at once, so a rule that is gone
//! need not be taken back.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::xmpp::jid::Jid;

/// All rules of one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Grows with every change.
    pub version: u64,
    /// Where no client is let in from.
    pub bans: Vec<NetworkBan>,
    /// Domains served besides those of the configuration.
    pub domains: Vec<Jid>,
}

/// No client is let in from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkBan {
    /// A network, or an address as one with all its bits; see [`parse_network`].
    pub network: IpNet,
    /// How long it lasts from when it is told, in milliseconds; `None` until it is lifted.
    pub left_ms: Option<u64>,
}

/// An address such as `192.0.2.7` or a network such as `2001:db8::/32`, in the one form each has:
/// no bits beyond the prefix, and IPv4 never as IPv6. `None` when it is neither.
pub fn parse_network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().ok()?,
    };
    Some(canonical(network))
}

/// A network from the bytes of an address and how many of its bits count; `None` when there is
/// none.
pub fn network(address: IpAddr, prefix: u8) -> Option<IpNet> {
    IpNet::new(address, prefix).ok().map(canonical)
}

/// Whether a network lies in the addresses that lead back to the same machine.
pub fn is_loopback(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.network().is_loopback() && network.prefix_len() >= 8,
        IpNet::V6(network) => network.network().is_loopback() && network.prefix_len() == 128,
    }
}

fn canonical(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(network) => mapped(network).map_or(IpNet::V6(network.trunc()), IpNet::V4),
        network @ IpNet::V4(_) => network.trunc(),
    }
}

/// The IPv4 network that an IPv6 one stands for.
fn mapped(network: Ipv6Net) -> Option<Ipv4Net> {
    let address = network.addr().to_ipv4_mapped()?;
    let prefix = network.prefix_len().checked_sub(96)?;
    Some(Ipv4Net::new(address, prefix).ok()?.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_has_one_form() {
        let forms = [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("2001:DB8:0::1", "2001:db8::1/128"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ];
        for (text, expected) in forms {
            let network = parse_network(text).map(|network| network.to_string());
            assert_eq!(network.as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "192.0.2",
            "192.0.2.7/33",
            "::1/129",
            "a.example",
            "1.2.3.4/",
        ] {
            assert_eq!(parse_network(text), None, "{text}");
        }
    }

    #[test]
    fn loopback_is_only_what_lies_within_it() {
        let all = [
            ("127.0.0.1", true),
            ("127.0.0.0/8", true),
            ("::1", true),
            ("126.0.0.0/7", false),
            ("0.0.0.0/0", false),
            ("::/0", false),
            ("::/127", false),
        ];
        for (text, expected) in all {
            let network = parse_network(text).expect("a network");
            assert_eq!(is_loopback(&network), expected, "{text}");
        }
    }
}
