//! Pace: how fast a room lets things happen. In memory only: a new owner starts afresh.

use std::collections::{BTreeMap, BTreeSet};

use couplet_proto::Jid;
use couplet_proto::xmpp::payload::Payload;

/// Presences of one occupant that go through at once, and in a second from then on.
const PRESENCES_PER_SECOND: u32 = 5;

/// Users of whom it is known how fast they write and enter; more, and those who do nothing are
/// forgotten.
const USERS_MAX: usize = 1024;

/// How often one user may enter at once, and in a second from then on: each time costs as much as
/// there are others.
const ENTRIES_PER_SECOND: u32 = 10;

/// How long a user waits before it asks for voice again, in milliseconds: every moderator is told.
const ASKS_EVERY_MS: u64 = 10_000;

/// The longest wait between two messages there is (XEP-0500), in milliseconds.
const WAIT_MAX_MS: u64 = 86_400_000;

/// What a room knows of how fast things happen in it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Who enters.
    pub(super) joins: Meter,
    /// Messages to everybody.
    pub(super) messages: Meter,
    /// By bare address: a user acts as one, with however many sessions.
    users: BTreeMap<Jid, User>,
    /// With so many of them those who do nothing are looked for.
    look_at: usize,
    /// How fast occupants change their presence.
    presences: BTreeMap<Jid, Meter>,
    /// The latest presence of those who change it too fast; shown in a moment.
    waiting: BTreeMap<Jid, Payload>,
    /// Nicks that are still to be shown as other settings have it.
    unshown: BTreeSet<Box<str>>,
    /// How often some of them are.
    parts: Meter,
}

/// Lets so many pass in a second, and as many at once.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Meter {
    /// When it will have forgotten all that passed, in monotonic microseconds.
    free_at: u64,
}

#[derive(Debug, Default)]
struct User {
    messages: Meter,
    entries: Meter,
    /// Requests for voice.
    asks: Meter,
    /// When its last message to everybody came, in monotonic milliseconds; 0 is never.
    spoke: u64,
}

// === impl Meter ===

impl Meter {
    /// Whether one more may pass now, in monotonic milliseconds: then it has passed.
    pub(super) fn admit(&mut self, now: u64, per_second: u32) -> bool {
        let now = now * 1000;
        let takes = 1_000_000 / u64::from(per_second.max(1));
        let free_at = self.free_at.max(now) + takes;
        let is_admitted = free_at - now <= 1_000_000;
        if is_admitted {
            self.free_at = free_at;
        }
        is_admitted
    }

    /// Whether one may pass now, as so many milliseconds have passed since the last one.
    fn admit_every(&mut self, now: u64, millis: u64) -> bool {
        let is_admitted = self.free_at <= now * 1000;
        if is_admitted {
            self.free_at = (now + millis) * 1000;
        }
        is_admitted
    }
}

// === impl Pace ===

impl Pace {
    /// Whether a user may write once more now.
    pub(super) fn may_write(&mut self, user: &Jid, now: u64, per_second: u32) -> bool {
        self.user(user, now).messages.admit(now, per_second)
    }

    /// XEP-0500: whether so many seconds have passed since a user last spoke: then it speaks now.
    pub(super) fn may_speak(&mut self, user: &Jid, now: u64, wait_secs: u32) -> bool {
        let user = self.user(user, now);
        let again_at = user.spoke + u64::from(wait_secs) * 1000;
        let may = user.spoke == 0 || now >= again_at;
        if may {
            user.spoke = now;
        }
        may
    }

    /// Whether a user may enter, or be told everything again, once more now.
    pub(super) fn may_enter(&mut self, user: &Jid, now: u64) -> bool {
        self.user(user, now).entries.admit(now, ENTRIES_PER_SECOND)
    }

    /// Whether a user may ask for voice once more now.
    pub(super) fn may_ask(&mut self, user: &Jid, now: u64) -> bool {
        self.user(user, now).asks.admit_every(now, ASKS_EVERY_MS)
    }

    /// Whether a session may change its presence once more now.
    pub(super) fn may_change(&mut self, jid: &Jid, now: u64) -> bool {
        let meter = self.presences.entry(jid.clone()).or_default();
        meter.admit(now, PRESENCES_PER_SECOND)
    }

    /// Keeps a presence for later; only the latest counts.
    pub(super) fn keep(&mut self, jid: &Jid, presence: Payload) {
        self.waiting.insert(jid.clone(), presence);
    }

    /// Whether a presence of this session is kept for later.
    pub(super) fn is_waiting(&self, jid: &Jid) -> bool {
        self.waiting.contains_key(jid)
    }

    /// What was kept, in the order of addresses.
    pub(super) fn take_waiting(&mut self) -> BTreeMap<Jid, Payload> {
        std::mem::take(&mut self.waiting)
    }

    /// What was kept of this session is out of date.
    pub(super) fn drop_waiting(&mut self, jid: &Jid) {
        self.waiting.remove(jid);
    }

    /// These nicks are to be shown as other settings have it.
    pub(super) fn show_anew(&mut self, nicks: Vec<Box<str>>) {
        self.unshown.extend(nicks);
    }

    /// So many of them whose turn it is now: some once in a second, however often the settings are
    /// others.
    pub(super) fn next_to_show(&mut self, now: u64, most: usize) -> Vec<Box<str>> {
        if self.unshown.is_empty() || !self.parts.admit(now, 1) {
            return Vec::new();
        }
        let next = std::iter::from_fn(|| self.unshown.pop_first());
        next.take(most).collect()
    }

    /// Whether there are any.
    pub(super) fn has_to_show(&self) -> bool {
        !self.unshown.is_empty()
    }

    /// A session has left.
    pub(super) fn forget(&mut self, jid: &Jid) {
        self.presences.remove(jid);
        self.waiting.remove(jid);
    }

    fn user(&mut self, user: &Jid, now: u64) -> &mut User {
        let user = user.to_bare();
        if self.users.len() >= self.look_at.max(USERS_MAX) && !self.users.contains_key(&user) {
            self.users.retain(|_, known| known.is_busy(now));
            // Looked for again when there are twice as many, so that it costs each of them little.
            self.look_at = self.users.len() * 2;
        }
        self.users.entry(user).or_default()
    }
}

// === impl User ===

impl User {
    /// Whether something that may come now depends on what came before.
    fn is_busy(&self, now: u64) -> bool {
        let waits = self.spoke > 0 && self.spoke + WAIT_MAX_MS > now;
        waits
            || [self.messages, self.entries, self.asks]
                .iter()
                .any(|it| it.free_at > now * 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_lets_a_second_s_worth_pass_at_once_and_then_one_by_one() {
        let mut meter = Meter::default();
        let passed = (0..20).filter(|_| meter.admit(5000, 10)).count();
        assert_eq!(passed, 10);
        assert!(!meter.admit(5099, 10));
        assert!(meter.admit(5100, 10));
        assert!(!meter.admit(5101, 10));
    }
    #[test]
    fn users_who_do_nothing_are_forgotten() {
        let mut pace = Pace::default();
        let user = |number: usize| Jid::parse(&format!("u{number}@x/r")).expect("an address");
        assert!(pace.may_speak(&user(0), 1000, 60));
        for number in 1..10_000 {
            assert!(pace.may_write(&user(number), 1000 * number as u64, 1));
        }
        assert!(pace.users.len() <= USERS_MAX, "{}", pace.users.len());
        // Whoever may have to wait is not.
        assert!(pace.users.contains_key(&user(0).to_bare()));
    }

    #[test]
    fn a_user_enters_so_often() {
        let mut pace = Pace::default();
        let user = Jid::parse("a@x/r").expect("an address");
        let entered = (0..20).filter(|_| pace.may_enter(&user, 5000)).count();
        assert_eq!(entered, 10);
        assert!(pace.may_enter(&user, 5100));
    }
}
