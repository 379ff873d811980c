//! Directives as stores keep them: one value.

use std::net::IpAddr;

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::link::rules::network;
use prost::Message;

use super::Error;
use super::codec;
use crate::directives::{AddedDomain, Ban, Directives, Target};

/// The version of the value, which is not that of the document.
const VERSION: u8 = 1;

#[derive(Clone, PartialEq, Eq, Message)]
struct Document {
    #[prost(uint64, tag = "1")]
    version: u64,
    #[prost(message, repeated, tag = "2")]
    bans: Vec<StoredBan>,
    #[prost(message, repeated, tag = "3")]
    domains: Vec<StoredDomain>,
}

/// Of an account, or of a network.
#[derive(Clone, PartialEq, Eq, Message)]
struct StoredBan {
    #[prost(string, optional, tag = "1")]
    account: Option<String>,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint32, tag = "3")]
    prefix: u32,
    #[prost(string, tag = "4")]
    reason: String,
    #[prost(string, tag = "5")]
    by: String,
    #[prost(uint64, tag = "6")]
    since: u64,
    #[prost(uint64, optional, tag = "7")]
    until: Option<u64>,
    /// As it was before there were others, it is the server's.
    #[prost(bool, tag = "8")]
    is_confined: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct StoredDomain {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(string, tag = "2")]
    by: String,
    #[prost(uint64, tag = "3")]
    since: u64,
}

/// A document as it is stored.
pub(super) fn encode(directives: &Directives) -> Bytes {
    let document = Document {
        version: directives.version,
        bans: directives.bans.iter().map(stored_ban).collect(),
        domains: directives
            .domains
            .iter()
            .map(|added| StoredDomain {
                domain: added.domain.to_string(),
                by: added.by.to_string(),
                since: added.since,
            })
            .collect(),
    };
    codec::encode(VERSION, &document)
}

/// The document in a value.
pub(super) fn decode(value: &Bytes) -> Result<Directives, Error> {
    let document: Document = codec::decode(VERSION, value)?;
    let mut directives = Directives {
        version: document.version,
        ..Directives::default()
    };
    for stored in document.bans {
        directives.ban(ban(stored)?);
    }
    for stored in document.domains {
        directives.add(AddedDomain {
            domain: jid(&stored.domain)?,
            by: stored.by.into(),
            since: stored.since,
        });
    }
    Ok(directives)
}

fn stored_ban(ban: &Ban) -> StoredBan {
    let (account, address, prefix) = match &ban.target {
        Target::Account(jid) => (Some(jid.to_string()), String::new(), 0),
        Target::Network(network) => {
            let prefix = network.prefix_len().into();
            (None, network.addr().to_string(), prefix)
        }
    };
    StoredBan {
        account,
        address,
        prefix,
        reason: ban.reason.to_string(),
        by: ban.by.to_string(),
        since: ban.since,
        until: ban.until,
        is_confined: ban.is_confined,
    }
}

fn ban(stored: StoredBan) -> Result<Ban, Error> {
    let target = match &stored.account {
        Some(account) => Target::Account(jid(account)?),
        None => {
            let prefix = u8::try_from(stored.prefix).ok();
            let address: Option<IpAddr> = stored.address.parse().ok();
            let network = address
                .zip(prefix)
                .and_then(|(address, prefix)| network(address, prefix));
            let wrong = || Error::Corrupt(format!("a ban is of the network `{}`", stored.address));
            Target::Network(network.ok_or_else(wrong)?)
        }
    };
    Ok(Ban {
        target,
        reason: stored.reason.into(),
        by: stored.by.into(),
        since: stored.since,
        until: stored.until,
        is_confined: stored.is_confined,
    })
}

fn jid(text: &str) -> Result<Jid, Error> {
    let jid = Jid::parse(text).ok();
    jid.ok_or_else(|| Error::Corrupt(format!("a directive names `{}`", text.escape_debug())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives() -> Directives {
        let mut directives = Directives {
            version: 7,
            ..Directives::default()
        };
        for (target, until) in [("romeo@a", Some(9)), ("192.0.2.0/24", None), ("::1", None)] {
            directives.ban(Ban {
                target: Target::parse(target).expect("a target"),
                reason: "spam".into(),
                by: "ops".into(),
                is_confined: until.is_some(),
                since: 5,
                until,
            });
        }
        directives.add(AddedDomain {
            domain: Jid::parse("b.example").expect("a domain"),
            by: "ops".into(),
            since: 6,
        });
        directives
    }

    /// Golden bytes: a change here loses what operators have ordered.
    #[test]
    fn the_form_never_changes() {
        let value = encode(&directives());
        let expected = "\x01\x08\x07\
            \x12\x1a\x12\x09192.0.2.0\x18\x18\x22\x04spam\x2a\x03ops\x30\x05\
            \x12\x15\x12\x03::1\x18\u{80}\x01\x22\x04spam\x2a\x03ops\x30\x05\
            \x12\x1a\x0a\x07romeo@a\x22\x04spam\x2a\x03ops\x30\x05\x38\x09\x40\x01\
            \x1a\x12\x0a\x09b.example\x12\x03ops\x18\x06";
        let expected: Vec<u8> = expected.chars().map(|c| c as u8).collect();
        assert_eq!(
            value.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
        assert_eq!(decode(&value).expect("readable"), directives());
    }

    #[test]
    fn damage_is_told() {
        let ban = StoredBan {
            address: "192.0.2".to_owned(),
            ..StoredBan::default()
        };
        let account = StoredBan {
            account: Some("@".to_owned()),
            ..StoredBan::default()
        };
        for bans in [vec![ban], vec![account]] {
            let document = Document {
                bans,
                ..Document::default()
            };
            let read = decode(&codec::encode(VERSION, &document));
            assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
        }
        let read = decode(&Bytes::from_static(b"\x09"));
        assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
    }
}
