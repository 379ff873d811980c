//! Board: the directives as this process knows them, for those who look at them all the time.
//!
//! What is looked at for every stanza is prepared here once for each version. Readers take no lock
//! and never wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use couplet_proto::Jid;
use couplet_proto::xmpp::error::StreamCondition;
use couplet_proto::xmpp::time::UnixMillis;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::{Directives, Target};

/// What is served by the configuration: it cannot be changed while the process runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configured {
    /// The domains of accounts, prepared.
    pub domains: Vec<Jid>,
    /// The domains of rooms, prepared.
    pub services: Vec<Jid>,
    /// Whether each domain that is added has a service of rooms of its own.
    pub adds_services: bool,
}

/// The directives as this process knows them. See the module.
#[derive(Debug)]
pub struct Board {
    configured: Configured,
    served: ArcSwap<Served>,
    /// Whether they have been read at all.
    is_known: AtomicBool,
    /// Held while others are put up, so that newer ones are never replaced by older.
    posting: Mutex<()>,
}

/// The directives of one version, and what follows from them.
#[derive(Debug)]
pub struct Served {
    directives: Arc<Directives>,
    domains: Vec<Jid>,
    services: Vec<Jid>,
    domain_names: Names,
    service_names: Names,
    /// Until when each account is banned.
    banned: HashMap<Box<str>, Option<UnixMillis>, RandomState>,
}

type Names = HashSet<Box<str>, RandomState>;

/// Why an account may have no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bar {
    /// It is banned.
    Banned,
    /// Its domain is not served here, or not any more.
    Gone,
}

// === impl Board ===

impl Board {
    /// Nothing is known but the configuration.
    pub fn new(configured: Configured) -> Self {
        let served = Served::new(&configured, Arc::default());
        Self {
            configured,
            served: ArcSwap::from_pointee(served),
            is_known: AtomicBool::new(false),
            posting: Mutex::default(),
        }
    }

    /// What is so now. Not to be held for long.
    pub fn served(&self) -> Guard<Arc<Served>> {
        self.served.load()
    }

    /// The document.
    pub fn directives(&self) -> Arc<Directives> {
        Arc::clone(&self.served.load().directives)
    }

    /// What cannot be changed.
    pub fn configured(&self) -> &Configured {
        &self.configured
    }

    /// Whether the document has been read.
    pub fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    /// Puts up a document, unless a newer one is up; what there was before it if it was put up.
    pub fn post(&self, directives: Directives) -> Option<Arc<Served>> {
        let _posting = self.posting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = !self.is_known();
        if directives.version <= self.served.load().directives.version && !is_first {
            return None;
        }
        let served = Served::new(&self.configured, Arc::new(directives));
        let former = self.served.swap(Arc::new(served));
        self.is_known.store(true, Ordering::Release);
        Some(former)
    }
}

// === impl Served ===

impl Served {
    fn new(configured: &Configured, directives: Arc<Directives>) -> Self {
        let mut domains = configured.domains.clone();
        for added in &directives.domains {
            if !domains.contains(&added.domain) && !configured.services.contains(&added.domain) {
                domains.push(added.domain.clone());
            }
        }
        let mut services = configured.services.clone();
        let added = domains.iter().skip(configured.domains.len());
        for domain in added.filter(|_| configured.adds_services) {
            let service = Jid::parse(&format!("conference.{domain}")).ok();
            services.extend(service.filter(|it| !domains.contains(it) && !services.contains(it)));
        }
        let banned = directives.bans.iter().filter_map(|ban| match &ban.target {
            Target::Account(jid) => Some((jid.as_str().into(), ban.until)),
            Target::Network(_) => None,
        });
        Self {
            domain_names: names(&domains),
            service_names: names(&services),
            banned: banned.collect(),
            domains,
            services,
            directives,
        }
    }

    /// The document.
    pub fn directives(&self) -> &Directives {
        &self.directives
    }

    /// The domains of accounts; those of the configuration come first.
    pub fn domains(&self) -> &[Jid] {
        &self.domains
    }

    /// The domains of rooms.
    pub fn services(&self) -> &[Jid] {
        &self.services
    }

    /// Whether accounts of this domain are here.
    pub fn is_local(&self, domain: &str) -> bool {
        self.domain_names.contains(domain)
    }

    /// Whether rooms of this domain are here.
    pub fn is_service(&self, domain: &str) -> bool {
        self.service_names.contains(domain)
    }

    /// Why this account may have no session, if so.
    pub fn bar(&self, account: &Jid, now: UnixMillis) -> Option<Bar> {
        if !self.is_local(account.domain()) {
            return Some(Bar::Gone);
        }
        let until = self.banned.get(account.bare())?;
        until.is_none_or(|until| now < until).then_some(Bar::Banned)
    }

    /// Whether sessions may have to end that need not have ended before.
    pub fn bars_more_than(&self, former: &Self) -> bool {
        let mut banned = self.banned.iter();
        let mut served = former.domain_names.iter();
        banned.any(|(account, until)| former.banned.get(account) != Some(until))
            || served.any(|domain| !self.domain_names.contains(domain))
    }

    /// How many bans there are of networks, and of accounts.
    pub fn counts(&self) -> (usize, usize) {
        let accounts = self.banned.len();
        (self.directives.bans.len() - accounts, accounts)
    }
}

// === impl Bar ===

impl Bar {
    /// How the stream of such a session ends (RFC 6120 §4.9.3).
    pub fn words(self) -> (StreamCondition, &'static str) {
        match self {
            Self::Banned => (StreamCondition::PolicyViolation, "the account is disabled"),
            Self::Gone => (
                StreamCondition::HostGone,
                "this domain is not served here any more",
            ),
        }
    }
}

fn names(jids: &[Jid]) -> Names {
    jids.iter().map(|jid| jid.as_str().into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::{AddedDomain, Ban};

    fn jid(text: &str) -> Jid {
        Jid::parse(text).expect("valid")
    }

    fn directives(version: u64, banned: &[(&str, Option<u64>)], domains: &[&str]) -> Directives {
        let mut directives = Directives {
            version,
            ..Directives::default()
        };
        for (target, until) in banned {
            directives.ban(Ban {
                target: Target::parse(target).expect("a target"),
                reason: "".into(),
                by: "".into(),
                is_confined: false,
                since: 0,
                until: *until,
            });
        }
        for domain in domains {
            directives.add(AddedDomain {
                domain: jid(domain),
                by: "".into(),
                since: 0,
            });
        }
        directives
    }

    fn board(adds_services: bool) -> Board {
        Board::new(Configured {
            domains: vec![jid("a.example")],
            services: vec![jid("conference.a.example")],
            adds_services,
        })
    }

    #[test]
    fn an_added_domain_is_served_with_its_rooms() {
        let board = board(true);
        assert!(board.post(directives(1, &[], &["b.example"])).is_some());
        let served = board.served();
        assert_eq!(served.domains(), [jid("a.example"), jid("b.example")]);
        assert!(served.is_local("b.example") && served.is_service("conference.b.example"));
        assert!(!served.is_local("conference.b.example"));
        let alone = super::tests::board(false);
        alone.post(directives(1, &[], &["b.example"]));
        assert!(!alone.served().is_service("conference.b.example"));
    }

    #[test]
    fn who_is_barred_follows_from_bans_and_domains() {
        let board = board(true);
        let banned = [("romeo@a.example", None), ("juliet@a.example", Some(5000))];
        board.post(directives(1, &banned, &[]));
        let served = board.served();
        let all = [
            ("romeo@a.example", 9000, Some(Bar::Banned)),
            ("romeo@a.example/orchard", 9000, Some(Bar::Banned)),
            ("juliet@a.example", 4999, Some(Bar::Banned)),
            ("juliet@a.example", 5000, None),
            ("nurse@a.example", 1, None),
            ("nurse@b.example", 1, Some(Bar::Gone)),
        ];
        for (account, now, bar) in all {
            assert_eq!(served.bar(&jid(account), now), bar, "{account} at {now}");
        }
    }

    #[test]
    fn only_a_newer_document_is_put_up() {
        let board = board(true);
        assert!(!board.is_known());
        assert!(board.post(directives(0, &[], &[])).is_some());
        assert!(board.is_known());
        assert!(board.post(directives(0, &[], &[])).is_none());
        assert!(board.post(directives(2, &[], &["b.example"])).is_some());
        assert!(board.post(directives(1, &[], &[])).is_none());
        assert_eq!(board.directives().version, 2);
    }

    #[test]
    fn sessions_are_looked_through_where_that_can_end_some() {
        let bars_more = |before: Directives, after: Directives| {
            let board = board(true);
            board.post(before);
            let former = board.post(after).expect("newer");
            board.served().bars_more_than(&former)
        };
        let none = || directives(1, &[], &[]);
        let romeo = [("romeo@a.example", None)];
        assert!(bars_more(none(), directives(2, &romeo, &[])));
        assert!(!bars_more(
            directives(1, &romeo, &[]),
            directives(2, &[], &[])
        ));
        assert!(!bars_more(
            none(),
            directives(2, &[("192.0.2.7", None)], &[])
        ));
        assert!(!bars_more(none(), directives(2, &[], &["b.example"])));
        assert!(bars_more(
            directives(1, &[], &["b.example"]),
            directives(2, &[], &[])
        ));
    }

    #[test]
    fn bans_are_counted_by_kind() {
        let board = board(true);
        let banned = [
            ("romeo@a.example", None),
            ("192.0.2.7", None),
            ("192.0.2.8", None),
        ];
        board.post(directives(1, &banned, &[]));
        assert_eq!(board.served().counts(), (2, 1));
    }
}
