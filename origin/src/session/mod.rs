//! Session: what is kept in memory for whom.
//!
//! An [`Account`] is in memory while it has sessions or something happens to it. A [`Session`] is
//! a bound resource; the connection it points at is the edge's.
//!
//! **Invariant:** a session belongs to exactly one account, an account to exactly one shard.

pub mod resource;

use std::sync::Arc;

use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId};
use couplet_proto::{Jid, Stanza};
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use smallvec::SmallVec;

use crate::auth::Credentials;
use crate::clock::Now;
pub use crate::features::{AccountSlots, SessionSlots};
use crate::store::LogId;

/// A bare address in memory. One without credentials does not exist as an account; it is in
/// memory because somebody asked for it.
#[derive(Debug)]
pub struct Account {
    /// The bare address.
    pub jid: Jid,
    /// What a login is checked against; `None` when there is no such account.
    pub credentials: Option<Box<Credentials>>,
    /// What the features keep for the account.
    pub slots: AccountSlots,
    /// The bound resources, in the order they were bound.
    pub sessions: SmallVec<[Box<Session>; 1]>,
    /// When something last happened to it, in monotonic milliseconds: an idle one is dropped.
    pub touched: u64,
    last_log_id: LogId,
}

/// A bound resource.
#[derive(Debug)]
pub struct Session {
    /// Names it on the link.
    pub id: SessionId,
    /// The full address.
    pub jid: Jid,
    /// The edge that holds its socket.
    pub edge: EdgeId,
    /// The socket there.
    pub connection: ConnectionId,
    /// The presence it last broadcast; `None` while it is unavailable.
    pub presence: Option<Available>,
    /// How fast it may change its presence.
    pub pace: Pace,
    /// To whom it has sent available presence directly, beyond its broadcast (RFC 6121 §4.6).
    pub directed: HashSet<Jid, FixedState>,
    /// When it was bound, in monotonic milliseconds.
    pub bound: u64,
    /// The number of its last stanza that has taken effect.
    pub progress: Progress,
    /// What the features keep for the session.
    pub slots: SessionSlots,
}

/// The presence of an available session.
#[derive(Debug, Clone)]
pub struct Available {
    /// As it was broadcast, without `to`.
    pub stanza: Arc<Stanza>,
    /// RFC 6121 §4.7.2.3: below zero, no message to the bare address comes here.
    pub priority: i8,
    /// When it became available, in monotonic milliseconds: ties of priority go to the newest.
    pub since: u64,
}

/// How fast a session may change its presence: each change goes to every contact.
#[derive(Debug, Default)]
pub struct Pace {
    /// Changes of late; one is forgotten every second.
    recent: u32,
    /// Up to when they have been forgotten, in monotonic milliseconds.
    since: u64,
    /// The latest presence, while it comes too soon.
    pub waiting: Option<Arc<Stanza>>,
}

/// Changes of presence that a session may make at once; after that one a second.
const PRESENCE_BURST: u32 = 20;

/// Which of a session's stanzas have taken effect: they do so out of order, the edge is told in
/// order.
#[derive(Debug, Default)]
pub struct Progress {
    /// Everything up to this number has taken effect.
    taken: u64,
    /// What waits after it: number, effects still to come.
    waiting: std::collections::VecDeque<(u64, u32)>,
}

// === impl Account ===

impl Account {
    /// An account nobody has used since it was activated.
    pub fn new(jid: Jid) -> Self {
        Self {
            jid,
            credentials: None,
            slots: AccountSlots::default(),
            sessions: SmallVec::new(),
            touched: 0,
            last_log_id: LogId::default(),
        }
    }

    /// Whether there is such an account.
    pub fn exists(&self) -> bool {
        self.credentials.is_some()
    }

    /// The session of this id.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        let found = self.sessions.iter().find(|session| session.id == id);
        found.map(|session| &**session)
    }

    /// The session of this id, to change.
    pub fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        let found = self.sessions.iter_mut().find(|session| session.id == id);
        found.map(|session| &mut **session)
    }

    /// The session bound to this full address.
    pub fn session_of(&self, jid: &Jid) -> Option<SessionId> {
        if jid.is_bare() {
            return None;
        }
        let found = self.sessions.iter().find(|session| session.jid == *jid);
        found.map(|session| session.id)
    }

    /// The sessions that are available: "available resources" (RFC 6121 §4.2).
    pub fn available(&self) -> impl Iterator<Item = (&Session, &Available)> {
        let all = self.sessions.iter();
        all.filter_map(|session| {
            session
                .presence
                .as_ref()
                .map(|presence| (&**session, presence))
        })
    }

    /// The place of the next entry of any of this account's logs.
    ///
    /// `base` is random: after a restart a clock that went back cannot give out an id twice.
    pub(crate) fn next_log_id(&mut self, now: Now, base: u32) -> LogId {
        let last = self.last_log_id;
        self.last_log_id = match now.unix > last.millis {
            true => LogId {
                millis: now.unix,
                count: base,
            },
            false => LogId {
                millis: last.millis,
                count: last.count.saturating_add(1),
            },
        };
        self.last_log_id
    }
}

// === impl Session ===

impl Session {
    /// Whether it is available.
    pub fn is_available(&self) -> bool {
        self.presence.is_some()
    }
}

// === impl Pace ===

impl Pace {
    /// Whether a change may be made now; it counts if so.
    pub fn admit(&mut self, now: u64) -> bool {
        let forgotten = now.saturating_sub(self.since) / 1000;
        self.since += forgotten * 1000;
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        self.recent = self.recent.saturating_sub(forgotten);
        let is_admitted = self.recent < PRESENCE_BURST;
        self.recent += u32::from(is_admitted);
        is_admitted
    }
}

// === impl Progress ===

impl Progress {
    /// A stanza has been handled; `effects` of it are still to be confirmed by other shards.
    /// Says whether [`Progress::taken`] has changed.
    pub fn handled(&mut self, number: u64, effects: u32) -> bool {
        self.waiting.push_back((number, effects));
        self.advance()
    }

    /// One effect of this stanza is confirmed. Says whether [`Progress::taken`] has changed.
    pub fn settled(&mut self, number: u64) -> bool {
        let found = self.waiting.iter_mut().find(|(known, _)| *known == number);
        if let Some((_, effects)) = found {
            *effects = effects.saturating_sub(1);
        }
        self.advance()
    }

    /// This stanza has failed: none of its effects will be confirmed any more.
    pub fn finished(&mut self, number: u64) -> bool {
        let found = self.waiting.iter_mut().find(|(known, _)| *known == number);
        match found {
            Some((_, effects)) => *effects = 0,
            // It failed before it was handled.
            None => self.waiting.push_back((number, 0)),
        }
        self.advance()
    }

    /// Up to and including this number everything has taken effect.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    fn advance(&mut self) -> bool {
        let before = self.taken;
        while let Some((number, 0)) = self.waiting.front() {
            self.taken = self.taken.max(*number);
            self.waiting.pop_front();
        }
        self.taken > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_order() {
        let mut progress = Progress::default();
        assert!(!progress.handled(1, 1));
        assert!(!progress.handled(2, 0));
        assert!(progress.settled(1));
        assert_eq!(progress.taken(), 2);
        assert!(!progress.handled(3, 2));
        assert!(!progress.settled(3));
        assert!(!progress.settled(9));
        assert!(progress.settled(3));
        assert_eq!(progress.taken(), 3);
    }

    #[test]
    fn presence_may_change_in_a_burst_then_once_a_second() {
        let mut pace = Pace::default();
        let at_once = (0..100).filter(|_| pace.admit(5_500)).count();
        assert_eq!(at_once, 20);
        let later = (5_500..15_500).step_by(100).filter(|now| pace.admit(*now));
        assert_eq!(later.count(), 10);
    }

    #[test]
    fn log_ids_grow_even_when_the_clock_goes_back() {
        let mut account = Account::new(Jid::parse("a@b").expect("valid"));
        let now = |unix| Now { mono: 0, unix };
        let first = account.next_log_id(now(5), 7);
        let second = account.next_log_id(now(5), 7);
        let third = account.next_log_id(now(4), 7);
        assert!(
            first < second && second < third,
            "{first:?} {second:?} {third:?}"
        );
    }

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<Session>() <= 320, "{}", size_of::<Session>());
    }
}
