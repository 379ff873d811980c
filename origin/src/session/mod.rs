//! Session: what is kept in memory for whom.
//!
//! An [`Account`] is in memory while it has sessions or something happens to it. A [`Session`] is
//! a bound resource; the connection it points at is the edge's.
//!
//! ```text
//! bind ──▶ At::Edge ── connection lost ──▶ At::Nowhere ── not back in time ──▶ gone
//!              ▲                               │ what it is sent is stored
//!              └────── resumed, attached ──────┘
//! ```
//!
//! - [`outbox`]: what a session was delivered and its client has not acknowledged.
//! - `sleeping`: those without a connection, from the store.
//! - `record`: a session as its edge or the store keeps it.
//! - `former`: what it showed before what may be handled again.
//! - [`marks`]: what an account has had last of whom, so that a replay applies once.
//! - [`resource`]: names, conflicts, limits.
//!
//! **Invariant:** a session belongs to exactly one account, an account to exactly one shard.

pub mod resource;

pub(crate) mod sleeping;

pub(crate) mod record;

pub mod outbox;

pub mod marks;

pub(crate) mod former;

use std::collections::VecDeque;
use std::sync::Arc;

use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId};
use couplet_proto::{Jid, Stanza};
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use smallvec::SmallVec;

pub use self::record::{Keepers, OnKeep, OnRestore};
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
    /// What it has had last of whom; nothing where nothing is ever sent again.
    pub(crate) marks: marks::Marks,
    /// Which rows are stored for its sessions without a connection: the session's own, and those
    /// of the stanzas that wait, by number.
    pub(crate) asleep: Vec<(SessionId, Option<u64>)>,
    /// The sessions that ended of late and could have been resumed.
    pub(crate) epitaphs: Epitaphs,
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
    /// Where its connection is, for what is released now.
    pub at: At,
    /// Where it will be once all that comes before has been released.
    pub due: Option<(EdgeId, ConnectionId)>,
    /// The presence it last broadcast; `None` while it is unavailable.
    pub presence: Option<Available>,
    /// What it showed before stanzas that have not taken effect, oldest first.
    pub former: Vec<former::Former>,
    /// How fast it may change its presence.
    pub pace: Pace,
    /// To whom it has sent available presence directly, beyond its broadcast (RFC 6121 §4.6).
    pub directed: HashSet<Jid, FixedState>,
    /// When it was bound, in milliseconds since 1970: of two sessions with one resource the newer
    /// stays.
    pub bound: u64,
    /// Which of its stanzas have taken effect.
    pub progress: Progress,
    /// What it was delivered and its client has not acknowledged.
    pub outbox: outbox::Outbox,
    /// Stream management (XEP-0198), while it is on.
    pub managed: Option<Box<Managed>>,
    /// Whether its contacts have heard, of an older session, that its address is gone.
    pub is_hidden: bool,
    /// Whether what its edge keeps of it is out of date.
    pub is_changed: bool,
    /// What the features keep for the session.
    pub slots: SessionSlots,
}

/// Where a session's connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// On this edge.
    Edge(EdgeId, ConnectionId),
    /// Nowhere: the client, or the edge, has so long to come back; in monotonic milliseconds.
    Nowhere(u64),
}

/// Stream management of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Managed {
    /// What the client resumes by. A secret.
    pub id: Box<str>,
    /// How many seconds the session is kept without a connection; 0 when it cannot be resumed.
    pub resume_secs: u32,
    /// How many stanzas the client had sent when it enabled it.
    pub enabled: u64,
    /// How many stanzas it had been delivered then.
    pub delivered: u64,
    /// When it was resumed last, in milliseconds since 1970, or a little later; 0 before. An older
    /// connection has no claim any more.
    pub generation: u64,
}

/// How much had arrived of sessions that are over: their clients may still ask (XEP-0198 §5).
#[derive(Debug, Clone, Default)]
pub struct Epitaphs(VecDeque<(Box<str>, u32)>);

/// Sessions of one account that are remembered after their end.
const EPITAPHS_MAX: usize = 8;

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
    /// The highest number handled.
    handled: u64,
    /// Up to this number a former owner may have handled them, and what they wrote may be stored.
    doubtful: u64,
    /// What waits after `taken`: number, whether it has taken effect.
    waiting: VecDeque<(u64, bool)>,
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
            marks: marks::Marks::default(),
            asleep: Vec::new(),
            epitaphs: Epitaphs::default(),
            touched: 0,
            last_log_id: LogId::default(),
        }
    }

    /// Whether there is such an account.
    pub fn exists(&self) -> bool {
        self.credentials.is_some()
    }

    /// Whether it is an account, a room or a list of rooms: what is nothing need not stay in
    /// memory.
    pub fn is_somebody(&self) -> bool {
        self.exists() || self.slots.muc.is_anything()
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

    /// The session bound to this full address. An older one may be left whose end could not be
    /// stored.
    pub fn session_of(&self, jid: &Jid) -> Option<SessionId> {
        if jid.is_bare() {
            return None;
        }
        let of_address = self.sessions.iter().filter(|session| session.jid == *jid);
        let newest = of_address.max_by_key(|session| (session.at != At::Nowhere(0), session.bound));
        newest.map(|session| session.id)
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

    /// A place in a log that an owner before has given.
    pub(crate) fn has_log_id(&mut self, id: LogId) {
        self.last_log_id = self.last_log_id.max(id);
    }
}

// === impl Session ===

impl Session {
    /// A session without a connection whose client has said nothing.
    pub fn new(id: SessionId, jid: Jid, bound: u64) -> Self {
        Self {
            id,
            jid,
            at: At::Nowhere(0),
            due: None,
            presence: None,
            former: Vec::new(),
            pace: Pace::default(),
            directed: Default::default(),
            bound,
            progress: Progress::default(),
            outbox: outbox::Outbox::default(),
            managed: None,
            is_hidden: false,
            is_changed: false,
            slots: SessionSlots::default(),
        }
    }

    /// Where its connection is, for who speaks of it now.
    pub fn whereabouts(&self) -> At {
        match self.due {
            Some((edge, connection)) => At::Edge(edge, connection),
            None => self.at,
        }
    }

    /// Whether it has no connection.
    pub fn is_away(&self) -> bool {
        matches!(self.at, At::Nowhere(_))
    }

    /// When it was resumed last: tells which of its connections is the newest.
    pub fn generation(&self) -> u64 {
        self.managed
            .as_ref()
            .map_or(0, |managed| managed.generation)
    }

    /// Whether it is available.
    pub fn is_available(&self) -> bool {
        self.presence.is_some()
    }
}

// === impl Epitaphs ===

impl Epitaphs {
    /// A session of this id has ended with so many stanzas taken.
    pub fn add(&mut self, id: Box<str>, h: u32) {
        if self.0.len() >= EPITAPHS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((id, h));
    }

    /// How many stanzas of a session that is over were taken.
    pub fn get(&self, id: &str) -> Option<u32> {
        let mut known = self.0.iter();
        known.find(|(known, _)| **known == *id).map(|(_, h)| *h)
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
    /// Whether a stanza of this number has been here before.
    pub fn has(&self, number: u64) -> bool {
        number <= self.handled
    }

    /// A stanza has been handled, and may have taken effect with that. Says whether
    /// [`Progress::taken`] has changed.
    pub fn handled(&mut self, number: u64, is_done: bool) -> bool {
        self.handled = self.handled.max(number);
        if is_done && self.waiting.is_empty() {
            let before = self.taken;
            self.taken = before.max(number);
            return self.taken > before;
        }
        self.waiting.push_back((number, is_done));
        self.advance()
    }

    /// This stanza has taken effect, or has failed. Says whether [`Progress::taken`] has changed.
    pub fn finished(&mut self, number: u64) -> bool {
        match self.waiting.iter_mut().find(|(known, _)| *known == number) {
            Some((_, is_done)) => *is_done = true,
            // It failed before it was handled.
            None if number > self.handled => return self.handled(number, true),
            None => {}
        }
        self.advance()
    }

    /// Whether none of a number above this has been handled.
    pub fn ends_by(&self, number: u64) -> bool {
        self.handled <= number
    }

    /// Up to and including this number everything has taken effect.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Goes on after this number: what came after it is sent again.
    pub fn restore(&mut self, taken: u64) {
        *self = Self {
            taken,
            handled: taken,
            doubtful: taken + marks::WINDOW,
            waiting: VecDeque::new(),
        };
    }

    /// Whether a former owner may have stored what a stanza of this number writes, and died before
    /// it had sent what follows.
    pub fn is_doubtful(&self, number: u64) -> bool {
        number <= self.doubtful
    }

    fn advance(&mut self) -> bool {
        let before = self.taken;
        while let Some((number, true)) = self.waiting.front() {
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
        assert!(progress.handled(1, true));
        assert!(!progress.handled(2, false));
        assert!(!progress.handled(3, true));
        assert!(!progress.handled(4, false));
        assert!(progress.has(4) && !progress.has(5));
        assert!(progress.finished(2));
        assert_eq!(progress.taken(), 3);
        assert!(!progress.finished(2));
        assert!(progress.finished(4));
        // One that failed unhandled.
        assert!(progress.finished(5) && progress.has(5));
        assert_eq!(progress.taken(), 5);
        progress.restore(3);
        assert!(progress.has(3) && !progress.has(4));
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
        assert!(size_of::<Session>() <= 424, "{}", size_of::<Session>());
    }
}
