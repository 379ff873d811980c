//! Throttle: how often one may guess passwords (XEP-0205) and ask for accounts.
//!
//! One per origin, shared by its shards, because one address reaches accounts of all of them; the
//! lock inside is held for a look-up.
//!
//! What counts is a *wrong* answer, and it counts against two things:
//!
//! - the account **as seen from the client's address**: `failures_per_minute`. So guessing is
//!   slow, and the owner, who comes from elsewhere, is never locked out by someone who guesses.
//! - the client's address, whatever the account: ten times as many, against trying one password
//!   on all accounts. Loopback is exempt: behind a proxy everyone comes from there.
//!
//! Nothing counts against an account as such: that would let anyone lock its owner out. Who guesses
//! from many addresses is held by the count of each, and by the edge's pace for new connections.
//!
//! Who is over the limit gets `temporary-auth-failure` whether the password was right or wrong,
//! and one more try each time a share of the minute has passed. The answer is refused, not
//! delayed: a delay keeps a socket and a timer busy at our cost. Right answers never count, so any
//! number of clients may come back at once.
//!
//! An address is an IPv4 address or an IPv6 /64, which is what one customer gets.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use couplet_proto::Jid;
use couplet_proto::xmpp::error::SaslCondition;
use hashbrown::HashMap;

use super::Step;

const MINUTE_MILLIS: u64 = 60_000;
const HOUR_MILLIS: u64 = 3_600_000;

/// How many accounts may be tried from one address, in terms of one account's limit.
const ACCOUNTS_PER_ADDRESS: u32 = 10;

/// Marks kept per generation and count, 16 bytes each. A flood of more addresses than this
/// makes the table forget the oldest, it neither grows nor refuses strangers.
const MARKS_MAX: usize = 32_768;

/// Who failed how often of late. Time is any monotonic count of milliseconds.
#[derive(Debug)]
pub struct Throttle {
    /// Keyed by chance per process, so that nobody can aim at another's mark.
    hasher: RandomState,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    by_account: Count,
    by_address: Count,
    registrations: Count,
}

/// Events of each key against a rate (the generic cell rate algorithm): per key one mark, the
/// time at which all its events will have been worked off.
#[derive(Debug)]
struct Count {
    /// How far a mark may be ahead of now.
    period_millis: u64,
    /// How far one event moves it.
    share_millis: u64,
    /// Whether there is a limit at all.
    is_limited: bool,
    young: HashMap<u64, u64>,
    /// What was `young` before it was full.
    old: HashMap<u64, u64>,
}

/// An address as far as it tells customers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    V4([u8; 4]),
    V6([u8; 8]),
    Unknown,
}

// === impl Throttle ===

impl Throttle {
    /// With the operator's limits. `failures_per_minute` 0 sets no limit, `registrations_per_hour`
    /// 0 admits none.
    pub fn new(failures_per_minute: u32, registrations_per_hour: u32) -> Self {
        let by_address = failures_per_minute.saturating_mul(ACCOUNTS_PER_ADDRESS);
        Self {
            hasher: RandomState::new(),
            counts: Mutex::new(Counts {
                by_account: Count::new(failures_per_minute, MINUTE_MILLIS),
                by_address: Count::new(by_address, MINUTE_MILLIS),
                registrations: Count::new(registrations_per_hour, HOUR_MILLIS),
            }),
        }
    }

    /// Whether an exchange may start; otherwise the refusal to send. Asked before any work.
    ///
    /// # Errors
    /// The failure for the client.
    pub fn admit(&self, account: &Jid, peer: Option<IpAddr>, now: u64) -> Result<(), Step> {
        if self.is_over(account, peer, now) {
            return Err(refusal());
        }
        Ok(())
    }

    /// What to send of a step: every step of an exchange goes through here before it is sent. It
    /// counts what was wrong, and keeps a verdict to itself that came too late: exchanges that
    /// were all admitted together get no more answers than those that came one by one.
    #[must_use]
    pub fn judge(&self, account: &Jid, peer: Option<IpAddr>, step: Step, now: u64) -> Step {
        let is_wrong = match &step {
            Step::Challenge(_) | Step::Verify(_) => return step,
            Step::Failure { condition, .. } if *condition != SaslCondition::NotAuthorized => {
                return step;
            }
            Step::Failure { .. } => true,
            Step::Success { .. } => false,
        };
        if self.is_over(account, peer, now) {
            return refusal();
        }
        if is_wrong {
            let (by_account, by_address) = self.keys(account, peer);
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.by_account.add(by_account, now);
            if let Some(key) = by_address {
                counts.by_address.add(key, now);
            }
        }
        step
    }

    /// Whether one more registration may be tried from this address; counts it if so.
    pub fn admit_registration(&self, peer: Option<IpAddr>, now: u64) -> bool {
        let key = self.hasher.hash_one(Network::of(peer));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let registrations = &mut counts.registrations;
        if !registrations.is_limited || registrations.is_over(key, now) {
            return false;
        }
        registrations.add(key, now);
        true
    }

    fn is_over(&self, account: &Jid, peer: Option<IpAddr>, now: u64) -> bool {
        let (by_account, by_address) = self.keys(account, peer);
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.by_account.is_over(by_account, now)
            || by_address.is_some_and(|key| counts.by_address.is_over(key, now))
    }

    fn keys(&self, account: &Jid, peer: Option<IpAddr>) -> (u64, Option<u64>) {
        let network = Network::of(peer);
        let by_account = self.hasher.hash_one((account.bare(), network));
        let is_shared = peer.is_none_or(|peer| peer.to_canonical().is_loopback());
        let by_address = (!is_shared).then(|| self.hasher.hash_one(network));
        (by_account, by_address)
    }
}

// === impl Count ===

impl Count {
    fn new(events: u32, period_millis: u64) -> Self {
        Self {
            period_millis,
            share_millis: period_millis / u64::from(events.max(1)),
            is_limited: events > 0,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// Whether one event more would be too many.
    fn is_over(&self, key: u64, now: u64) -> bool {
        let ahead = self.mark(key).saturating_sub(now);
        self.is_limited && ahead + self.share_millis > self.period_millis
    }

    fn add(&mut self, key: u64, now: u64) {
        if !self.is_limited {
            return;
        }
        let mark = self.mark(key).max(now) + self.share_millis;
        if self.young.len() >= MARKS_MAX && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, mark);
    }

    fn mark(&self, key: u64) -> u64 {
        let known = self.young.get(&key).or_else(|| self.old.get(&key));
        known.copied().unwrap_or_default()
    }
}

// === impl Network ===

impl Network {
    fn of(peer: Option<IpAddr>) -> Self {
        match peer.map(|peer| peer.to_canonical()) {
            None => Self::Unknown,
            Some(IpAddr::V4(peer)) => Self::V4(peer.octets()),
            Some(IpAddr::V6(peer)) => Self::of_v6(peer),
        }
    }

    fn of_v6(peer: Ipv6Addr) -> Self {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&peer.octets()[..8]);
        Self::V6(prefix)
    }
}

fn refusal() -> Step {
    Step::Failure {
        condition: SaslCondition::TemporaryAuthFailure,
        text: Some("too many failures, try again later"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn failure() -> Step {
        Step::Failure {
            condition: SaslCondition::NotAuthorized,
            text: None,
        }
    }

    fn success() -> Step {
        Step::Success { data: None }
    }

    fn is_kept_back(step: &Step) -> bool {
        matches!(step, Step::Failure { condition, .. }
            if *condition == SaslCondition::TemporaryAuthFailure)
    }

    fn account(number: u32) -> Jid {
        Jid::parse(&format!("user{number}@localhost")).expect("an address")
    }

    fn peer(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an IP address"))
    }

    #[test]
    fn the_sixth_guess_is_refused_and_the_owner_is_not() {
        let throttle = Throttle::new(5, 0);
        let (guesser, owner) = (peer("192.0.2.1"), peer("192.0.2.2"));
        let account = account(1);
        for _ in 0..5 {
            assert!(throttle.admit(&account, guesser, NOW).is_ok());
            assert!(!is_kept_back(&throttle.judge(
                &account,
                guesser,
                failure(),
                NOW
            )));
        }
        assert!(throttle.admit(&account, guesser, NOW).is_err());
        // Exchanges that had been admitted learn nothing any more.
        assert!(is_kept_back(&throttle.judge(
            &account,
            guesser,
            success(),
            NOW
        )));
        assert!(throttle.admit(&account, owner, NOW).is_ok());
        assert!(!is_kept_back(&throttle.judge(
            &account,
            owner,
            success(),
            NOW
        )));
        // A fifth of a minute for one more guess, a minute for all.
        assert!(throttle.admit(&account, guesser, NOW + 11_999).is_err());
        assert!(throttle.admit(&account, guesser, NOW + 12_000).is_ok());
        let _ = throttle.judge(&account, guesser, failure(), NOW + 12_000);
        assert!(throttle.admit(&account, guesser, NOW + 12_000).is_err());
        assert!(throttle.admit(&account, guesser, NOW + 80_000).is_ok());
    }

    #[test]
    fn only_wrong_answers_count() {
        let throttle = Throttle::new(1, 0);
        let malformed = || Step::Failure {
            condition: SaslCondition::MalformedRequest,
            text: None,
        };
        for step in [success, malformed, || Step::Challenge("x".into())] {
            let step = throttle.judge(&account(1), None, step(), NOW);
            assert!(!is_kept_back(&step));
        }
        assert!(throttle.admit(&account(1), None, NOW).is_ok());
        let _ = throttle.judge(&account(1), None, failure(), NOW);
        assert!(throttle.admit(&account(1), None, NOW).is_err());
    }

    #[test]
    fn one_address_cannot_try_every_account() {
        let throttle = Throttle::new(5, 0);
        let tries = |peer| {
            (0..200)
                .filter(|number| {
                    let step = throttle.judge(&account(*number), peer, failure(), NOW);
                    !is_kept_back(&step)
                })
                .count()
        };
        assert_eq!(tries(peer("192.0.2.1")), 50);
        assert_eq!(tries(peer("::ffff:192.0.2.1")), 0);
        assert_eq!(tries(peer("2001:db8::1")), 50);
        assert_eq!(tries(peer("2001:db8::ffff:1")), 0);
        assert_eq!(tries(peer("127.0.0.1")), 200);
    }

    #[test]
    fn registrations_are_counted_by_address() {
        let throttle = Throttle::new(5, 2);
        let (one, two) = (peer("192.0.2.1"), peer("192.0.2.2"));
        assert!(throttle.admit_registration(one, NOW));
        assert!(throttle.admit_registration(one, NOW));
        assert!(!throttle.admit_registration(one, NOW));
        assert!(throttle.admit_registration(two, NOW));
        assert!(throttle.admit_registration(one, NOW + HOUR_MILLIS / 2));
        assert!(!Throttle::new(5, 0).admit_registration(one, NOW));
    }

    #[test]
    fn memory_is_bounded() {
        let mut count = Count::new(1, MINUTE_MILLIS);
        for key in 0..200_000 {
            count.add(key, NOW);
        }
        assert!(count.young.len() <= MARKS_MAX && count.old.len() <= MARKS_MAX);
        assert!(count.is_over(199_999, NOW));
    }

    #[test]
    fn zero_failures_sets_no_limit() {
        let throttle = Throttle::new(0, 0);
        for _ in 0..100 {
            let _ = throttle.judge(&account(1), peer("192.0.2.1"), failure(), NOW);
        }
        assert!(throttle.admit(&account(1), peer("192.0.2.1"), NOW).is_ok());
    }
}
