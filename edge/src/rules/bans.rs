//! Bans: networks from which no client is let in.

use std::net::{IpAddr, Ipv4Addr};

use couplet_proto::link::rules::NetworkBan;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ipnet::IpNet;

/// An address of this machine is banned only by networks that have at least so many bits in common
/// with it: those that lie among the addresses of this machine.
const LOOPBACK_V4_BITS: u8 = 8;
const LOOPBACK_V6_BITS: u8 = 128;

/// The banned networks, by how long their prefixes are: one look for each length there is.
#[derive(Debug, Default)]
pub(super) struct Bans {
    v4: Vec<(u8, Networks)>,
    v6: Vec<(u8, Networks)>,
}

/// The bits of each network, and until when it is banned, in milliseconds on the edge's clock.
type Networks = HashMap<u128, u64, RandomState>;

// === impl Bans ===

impl Bans {
    /// What is told now.
    pub(super) fn new(told: &[NetworkBan], now_ms: u64) -> Self {
        let mut bans = Self::default();
        for ban in told {
            let until = ban
                .left_ms
                .map_or(u64::MAX, |left| now_ms.saturating_add(left));
            let (lengths, bits) = match ban.network {
                IpNet::V4(network) => (&mut bans.v4, v4_bits(network.network())),
                IpNet::V6(network) => (&mut bans.v6, network.network().to_bits()),
            };
            let length = ban.network.prefix_len();
            let known = lengths.iter().position(|(known, _)| *known == length);
            let networks = match known {
                Some(known) => &mut lengths[known].1,
                None => &mut lengths.push_mut((length, Networks::default())).1,
            };
            networks.insert(bits, until);
        }
        bans
    }

    /// Whether an address is banned at this time.
    pub(super) fn hold(&self, address: IpAddr, now_ms: u64) -> bool {
        let (lengths, bits, width, least) = match address.to_canonical() {
            IpAddr::V4(address) => (&self.v4, v4_bits(address), 32, LOOPBACK_V4_BITS),
            IpAddr::V6(address) => (&self.v6, address.to_bits(), 128, LOOPBACK_V6_BITS),
        };
        let least = if address.to_canonical().is_loopback() {
            least
        } else {
            0
        };
        let counted = lengths.iter().filter(|(length, _)| *length >= least);
        counted.into_iter().any(|(length, networks)| {
            let until = networks.get(&first_bits(bits, *length, width));
            until.is_some_and(|until| now_ms < *until)
        })
    }
}

fn v4_bits(address: Ipv4Addr) -> u128 {
    address.to_bits().into()
}

/// The first `length` of `width` bits; the others are 0.
fn first_bits(bits: u128, length: u8, width: u32) -> u128 {
    let rest = width - u32::from(length).min(width);
    let cut = |bits: u128| bits.checked_shr(rest).unwrap_or(0);
    cut(bits).checked_shl(rest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use couplet_proto::link::rules::parse_network;

    use super::*;

    fn bans(told: &[(&str, Option<u64>)]) -> Bans {
        let told: Vec<_> = told
            .iter()
            .map(|(network, left_ms)| NetworkBan {
                network: parse_network(network).expect("a network"),
                left_ms: *left_ms,
            })
            .collect();
        Bans::new(&told, 1000)
    }

    fn held(bans: &Bans, address: &str, now: u64) -> bool {
        bans.hold(address.parse().expect("an address"), now)
    }

    #[test]
    fn addresses_are_held_by_their_networks() {
        let bans = bans(&[
            ("192.0.2.7", None),
            ("198.51.100.0/24", None),
            ("203.0.113.64/26", None),
            ("2001:db8::/32", None),
            ("2001:db9::1", None),
        ]);
        let all = [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.2.8", false),
            ("198.51.100.255", true),
            ("198.51.101.0", false),
            ("203.0.113.127", true),
            ("203.0.113.128", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", true),
            ("2001:db9::2", false),
            ("::1", false),
        ];
        for (address, expected) in all {
            assert_eq!(held(&bans, address, 1000), expected, "{address}");
        }
    }

    #[test]
    fn a_ban_ends_in_time() {
        let bans = bans(&[("192.0.2.7", Some(500)), ("192.0.2.8", Some(u64::MAX))]);
        assert!(held(&bans, "192.0.2.7", 1499));
        assert!(!held(&bans, "192.0.2.7", 1500));
        assert!(held(&bans, "192.0.2.8", u64::MAX - 1));
    }

    #[test]
    fn this_machine_is_banned_only_by_name() {
        let wide = bans(&[("0.0.0.0/0", None), ("64.0.0.0/2", None), ("::/0", None)]);
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(!held(&wide, address, 1000), "{address}");
        }
        assert!(held(&wide, "192.0.2.7", 1000));
        assert!(held(&wide, "2001:db8::1", 1000));
        let narrow = bans(&[("127.0.0.2", None), ("127.1.0.0/16", None), ("::1", None)]);
        let all = [
            ("127.0.0.1", false),
            ("127.0.0.2", true),
            ("127.1.2.3", true),
            ("::1", true),
        ];
        for (address, expected) in all {
            assert_eq!(held(&narrow, address, 1000), expected, "{address}");
        }
    }
}
