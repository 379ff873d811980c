//! Rules as messages hold them.

use super::field;
use super::v1;
use crate::link::rules::{self, NetworkBan, Rules};
use crate::xmpp::jid::Jid;

/// Rules as a message.
pub fn encode(rules: &Rules) -> v1::Rules {
    let ban = |ban: &NetworkBan| v1::NetworkBan {
        address: field::ip_bytes(ban.network.addr()),
        prefix: ban.network.prefix_len().into(),
        left_ms: ban.left_ms,
    };
    v1::Rules {
        version: rules.version,
        bans: rules.bans.iter().map(ban).collect(),
        domains: rules.domains.iter().map(ToString::to_string).collect(),
    }
}

/// The rules in a message. A ban or a domain that cannot be one is left out, and counted in the
/// second part: the others are still to be followed.
pub fn decode(message: &v1::Rules) -> (Rules, usize) {
    let told = message.bans.len() + message.domains.len();
    let ban = |ban: &v1::NetworkBan| {
        let prefix = u8::try_from(ban.prefix).ok()?;
        Some(NetworkBan {
            network: rules::network(field::ip(Some(&ban.address))?, prefix)?,
            left_ms: ban.left_ms,
        })
    };
    let domain = |name: &String| {
        let jid = Jid::from_prepared(name);
        jid.filter(|jid| jid.is_bare() && jid.local().is_none())
    };
    let rules = Rules {
        version: message.version,
        bans: message.bans.iter().filter_map(ban).collect(),
        domains: message.domains.iter().filter_map(domain).collect(),
    };
    let unreadable = told - rules.bans.len() - rules.domains.len();
    (rules, unreadable)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::*;

    fn rules() -> Rules {
        let ban = |text, left_ms| NetworkBan {
            network: rules::parse_network(text).expect("a network"),
            left_ms,
        };
        Rules {
            version: 7,
            bans: vec![
                ban("192.0.2.7", None),
                ban("198.51.100.0/24", Some(60_000)),
                ban("2001:db8::/32", Some(1)),
            ],
            domains: vec![Jid::parse("bücher.example").expect("a domain")],
        }
    }

    #[test]
    fn rules_come_back_as_they_were() {
        let message = v1::OriginBatch {
            rules: Some(encode(&rules())),
            ..v1::OriginBatch::default()
        };
        let carried = message.encode_to_vec();
        let carried = v1::OriginBatch::decode(carried.as_slice()).expect("what was encoded");
        assert_eq!(decode(&carried.rules.expect("told")), (rules(), 0));
    }

    #[test]
    fn what_cannot_be_a_rule_costs_only_itself() {
        let mut message = encode(&rules());
        let strange = |address: &'static [u8], prefix| v1::NetworkBan {
            address: Bytes::from_static(address),
            prefix,
            left_ms: None,
        };
        message.bans.insert(1, strange(b"12345", 8));
        message.bans.insert(1, strange(b"1234", 33));
        message.bans.push(strange(b"1234", 100_000));
        message.domains.push("romeo@a.example".to_owned());
        message.domains.push(String::new());
        assert_eq!(decode(&message), (rules(), 5));
    }

    /// A node of the version before has no field for them.
    #[test]
    fn whoever_does_not_know_rules_reads_the_rest() {
        #[derive(Clone, PartialEq, Message)]
        struct Former {
            #[prost(message, repeated, tag = "2")]
            owned: Vec<v1::Owned>,
        }
        let owned = v1::Owned {
            epoch: 3,
            is_owner: true,
            ranges: vec![1, 2],
        };
        let message = v1::OriginBatch {
            owned: vec![owned.clone()],
            rules: Some(encode(&rules())),
            ..v1::OriginBatch::default()
        };
        let read = Former::decode(message.encode_to_vec().as_slice());
        assert_eq!(read, Ok(Former { owned: vec![owned] }));
    }
}
