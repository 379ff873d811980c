//! Directives: what operators have ordered while the cluster runs: bans, and domains added.
//!
//! They are one small document in the store, changed as a whole by compare-and-swap on its version.
//! Every origin reads it when it has changed, and tells its edges their part.
//!
//! - [`board`]: the document as this process knows it, for those who look at it all the time.

pub mod board;

use std::fmt;

use couplet_proto::Jid;
use couplet_proto::link::rules::{NetworkBan, Rules, is_loopback, parse_network};
use couplet_proto::xmpp::time::UnixMillis;
use ipnet::IpNet;

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// Grows with every change; 0 where nothing was ever ordered.
    pub version: u64,
    /// In order of their targets, each once.
    pub bans: Vec<Ban>,
    /// In order, each once.
    pub domains: Vec<AddedDomain>,
}

/// Somebody is kept out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Who.
    pub target: Target,
    /// Why, in the words of whoever ordered it; may be empty.
    pub reason: Box<str>,
    /// Who ordered it.
    pub by: Box<str>,
    /// Whether he may do so in some domains only: others of those may change it.
    pub is_confined: bool,
    /// When.
    pub since: UnixMillis,
    /// When it ends by itself.
    pub until: Option<UnixMillis>,
}

/// Who is kept out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Clients that connect from there.
    Network(IpNet),
    /// Whoever has the password of this account, by its bare address.
    Account(Jid),
}

/// A domain that is served besides those of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedDomain {
    /// Which.
    pub domain: Jid,
    /// Who ordered it.
    pub by: Box<str>,
    /// When.
    pub since: UnixMillis,
}

/// A text that can be no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// Neither form.
    #[error(
        "is neither an address such as 192.0.2.7, a network such as 2001:db8::/32, nor an account \
         such as romeo@localhost"
    )]
    Unknown,
    /// A full address, or one of a domain.
    #[error("is not the address of an account: bans are for accounts, without a resource")]
    NoAccount,
    /// Nobody would be left.
    #[error("would keep everybody out")]
    Everybody,
}

// === impl Directives ===

impl Directives {
    /// Orders a ban, in the place of one of the same target.
    pub fn ban(&mut self, ban: Ban) {
        match self.place(&ban.target) {
            Ok(place) => self.bans[place] = ban,
            Err(place) => self.bans.insert(place, ban),
        }
    }

    /// Lifts a ban; false if there is none of this target.
    pub fn lift(&mut self, target: &Target) -> bool {
        let place = self.place(target);
        place.is_ok_and(|place| self.bans.remove(place).target == *target)
    }

    /// The ban of this target.
    pub fn find(&self, target: &Target) -> Option<&Ban> {
        self.place(target).ok().map(|place| &self.bans[place])
    }

    /// Adds a domain; false if it is there.
    pub fn add(&mut self, added: AddedDomain) -> bool {
        let key = |known: &AddedDomain| known.domain.cmp(&added.domain);
        match self.domains.binary_search_by(key) {
            Ok(_) => false,
            Err(place) => {
                self.domains.insert(place, added);
                true
            }
        }
    }

    /// Removes a domain; false if it was not added.
    pub fn remove(&mut self, domain: &Jid) -> bool {
        let before = self.domains.len();
        self.domains.retain(|known| known.domain != *domain);
        self.domains.len() < before
    }

    /// Forgets bans that have ended; whether there were some.
    pub fn prune(&mut self, now: UnixMillis) -> bool {
        let before = self.bans.len();
        self.bans.retain(|ban| ban.is_in_force(now));
        self.bans.len() < before
    }

    /// What edges are told at this time.
    pub fn rules(&self, now: UnixMillis) -> Rules {
        let bans = self.bans.iter().filter(|ban| ban.is_in_force(now));
        let bans = bans.filter_map(|ban| match ban.target {
            Target::Network(network) => Some(NetworkBan {
                network,
                left_ms: ban.until.map(|until| until - now),
            }),
            Target::Account(_) => None,
        });
        Rules {
            version: self.version,
            bans: bans.collect(),
            domains: self.domains.iter().map(|it| it.domain.clone()).collect(),
        }
    }

    fn place(&self, target: &Target) -> Result<usize, usize> {
        self.bans.binary_search_by(|ban| ban.target.cmp(target))
    }
}

// === impl Ban ===

impl Ban {
    /// Whether it has not ended by itself.
    pub fn is_in_force(&self, now: UnixMillis) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

// === impl Target ===

impl Target {
    /// Reads what an operator writes.
    ///
    /// # Errors
    /// [`NoTarget`], to be said behind the text.
    pub fn parse(text: &str) -> Result<Self, NoTarget> {
        if let Some(network) = parse_network(text) {
            return match network.prefix_len() {
                0 => Err(NoTarget::Everybody),
                _ => Ok(Self::Network(network)),
            };
        }
        let jid = Jid::parse(text).ok().filter(|_| text.contains('@'));
        match jid {
            Some(jid) if jid.is_bare() && jid.local().is_some() => Ok(Self::Account(jid)),
            Some(_) => Err(NoTarget::NoAccount),
            None => Err(NoTarget::Unknown),
        }
    }

    /// Whether it is a part of this machine itself.
    pub fn is_loopback(&self) -> bool {
        matches!(self, Self::Network(network) if is_loopback(network))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(jid) => jid.fmt(f),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().fmt(f)
            }
            Self::Network(network) => network.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(target: &str, until: Option<UnixMillis>) -> Ban {
        Ban {
            target: Target::parse(target).expect("a target"),
            reason: "spam".into(),
            by: "admin".into(),
            is_confined: false,
            since: 1000,
            until,
        }
    }

    #[test]
    fn targets_are_read_and_written_alike() {
        let all = [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1"),
            ("Romeo@Montague.example", "romeo@montague.example"),
        ];
        for (text, expected) in all {
            let target = Target::parse(text).expect(text);
            assert_eq!(target.to_string(), expected);
            assert_eq!(Target::parse(expected), Ok(target));
        }
        let wrong = [
            ("romeo@montague.example/orchard", NoTarget::NoAccount),
            ("montague.example", NoTarget::Unknown),
            ("", NoTarget::Unknown),
            ("192.0.2.7/33", NoTarget::Unknown),
            ("@", NoTarget::Unknown),
            ("0.0.0.0/0", NoTarget::Everybody),
            ("::/0", NoTarget::Everybody),
        ];
        for (text, expected) in wrong {
            assert_eq!(Target::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_target_is_banned_once_and_until_it_is_lifted() {
        let mut directives = Directives::default();
        directives.ban(ban("romeo@a", None));
        directives.ban(ban("192.0.2.7", None));
        directives.ban(ban("192.0.2.7", Some(5000)));
        let targets: Vec<_> = directives.bans.iter().map(|ban| &ban.target).collect();
        assert_eq!(targets.len(), 2);
        assert!(targets.is_sorted());
        let target = Target::parse("192.0.2.7").expect("a target");
        let found = directives.find(&target).expect("there");
        assert_eq!(found.until, Some(5000));
        assert!(directives.lift(&target));
        assert!(!directives.lift(&target));
        assert_eq!(directives.bans.len(), 1);
    }

    #[test]
    fn edges_are_told_what_concerns_them() {
        let mut directives = Directives {
            version: 9,
            ..Directives::default()
        };
        directives.ban(ban("romeo@a", None));
        directives.ban(ban("192.0.2.7", None));
        directives.ban(ban("192.0.2.8", Some(5000)));
        directives.ban(ban("192.0.2.9", Some(2000)));
        let domain = Jid::parse("b.example").expect("a domain");
        let added = AddedDomain {
            domain: domain.clone(),
            by: "admin".into(),
            since: 1,
        };
        assert!(directives.add(added.clone()));
        assert!(!directives.add(added));
        let told = |text, left_ms| NetworkBan {
            network: parse_network(text).expect("a network"),
            left_ms,
        };
        let rules = Rules {
            version: 9,
            bans: vec![told("192.0.2.7", None), told("192.0.2.8", Some(3000))],
            domains: vec![domain.clone()],
        };
        assert_eq!(directives.rules(2000), rules);
        assert!(directives.prune(2000));
        assert!(!directives.prune(2000));
        assert_eq!(directives.bans.len(), 3);
        assert!(directives.remove(&domain));
        assert!(!directives.remove(&domain));
    }
}
