//! Departures: sessions whose connection is gone, until it is certain that their owner knows.
//!
//! An owner that has just been told may die before it has acted on it: for a while the edge keeps
//! what the next owner would need, and tells that one as well.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use couplet_proto::Stanza;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Attach, Detached, ToOrigin, Unacked};
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::link::{Refused, Route};
use couplet_proto::slot::Slot;
use tracing::error;

use super::Link;
use super::departed::{Departed, Entry};

/// How long a new owner would still be told: longer than a lease lasts and a slot is taken over.
const LINGER_MS: u64 = 15_000;

/// At most so many departures are kept. Beyond, those whose owner knows are forgotten, and if
/// there are none, the newest is: its owner finds out when it delivers to it.
const COUNT_MAX: usize = 65_536;

/// At most about so many bytes of stanzas are kept with them, in the same way.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// A session whose connection is gone.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) slot: Slot,
    pub(crate) session: SessionId,
    pub(crate) connection: ConnectionId,
    pub(crate) reason: Detached,
    /// What a new owner must know first; `None` where it can know nothing of the session.
    pub(crate) attach: Option<Box<Attach>>,
    /// What the client had sent that has not taken effect.
    pub(crate) inbox: Vec<(u64, Kept)>,
    /// The way on which an owner has been told.
    pub(crate) told: Option<Route>,
}

/// A frame of the inbox that is kept until it has taken effect.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    /// A stanza of the client's, and when it was read.
    Stanza(Arc<Stanza>, u64),
    /// The answer to one that the edge has refused.
    Answer(Arc<Stanza>),
}

/// All departures.
#[derive(Debug, Default)]
pub(crate) struct Departures(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    departed: Departed,
    /// Sessions that have another connection now, until the next look at the entries.
    cancelled: HashMap<SessionId, ConnectionId>,
    /// Connections whose owners have done all, likewise.
    settled: HashSet<ConnectionId>,
}

// === impl Kept ===

impl Kept {
    /// The frame to send, again or for the first time.
    pub(crate) fn frame(&self, session: SessionId, number: u64) -> ToOrigin {
        match self {
            Self::Stanza(stanza, entered) => ToOrigin::Stanza {
                session,
                number,
                stanza: Arc::clone(stanza),
                entered: *entered,
            },
            Self::Answer(answer) => ToOrigin::Answer {
                session,
                number,
                answer: Arc::clone(answer),
            },
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Stanza(stanza, _) | Self::Answer(stanza) => stanza.wire_bytes(),
        }
    }
}

// === impl Departure ===

impl Departure {
    /// The frame of this index, if there is one.
    fn frame(&self, index: usize) -> Option<ToOrigin> {
        let attach = self.attach.as_ref();
        let Some(index) = index.checked_sub(usize::from(attach.is_some())) else {
            return attach.map(|attach| ToOrigin::Attach(attach.clone()));
        };
        match self.inbox.get(index) {
            Some((number, kept)) => Some(kept.frame(self.session, *number)),
            None if index == self.inbox.len() => Some(ToOrigin::Detach {
                session: self.session,
                connection: self.connection,
                reason: self.reason,
            }),
            None => None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let inbox = self.inbox.iter().map(|(_, kept)| kept.bytes());
        let outbox = self.attach.iter().flat_map(|attach| &attach.unacked);
        inbox.sum::<usize>() + outbox.map(|entry| entry.stanza.wire_bytes()).sum::<usize>()
    }
}

// === impl Departures ===

impl Departures {
    /// Whether every owner has been told.
    pub(crate) fn are_told(&self) -> bool {
        let inner = self.lock();
        let mut entries = inner.departed.iter();
        entries.all(|entry| entry.departure.told.is_some())
    }

    /// A stanza for a session whose connection is gone: a new owner must know of it. False when it
    /// comes of a former owner, too late.
    pub(super) fn delivered(&self, of: ConnectionId, stanza: Unacked, epoch: Epoch) -> bool {
        self.change(of, epoch, |attach| {
            attach.received += 1;
            attach.unacked.push(stanza);
        })
    }

    /// What a new owner is to be given of such a session; likewise.
    pub(super) fn keep(&self, of: ConnectionId, state: Bytes, epoch: Epoch) -> bool {
        self.change(of, epoch, |attach| attach.state = state)
    }

    /// What it sent up to this number has taken effect; likewise.
    pub(super) fn taken(&self, of: ConnectionId, number: u64, epoch: Epoch) -> bool {
        self.change(of, epoch, |attach| attach.taken = attach.taken.max(number))
    }

    fn change(&self, of: ConnectionId, epoch: Epoch, change: impl FnOnce(&mut Attach)) -> bool {
        let mut inner = self.lock();
        let changed = inner.departed.change(of, |entry| {
            let is_current = epoch >= entry.floor;
            if let Some(attach) = entry.departure.attach.as_mut().filter(|_| is_current) {
                change(attach);
                attach.epoch = attach.epoch.max(epoch);
            }
            is_current
        });
        // With none, its owner has done all there was to do.
        changed.unwrap_or(true)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    /// Whether its owner need not be told of it any more.
    fn is_past(&self, entry: &Entry) -> bool {
        let connection = entry.connection();
        let by = self.cancelled.get(&entry.departure.session);
        by.is_some_and(|by| connection != Some(*by))
            || connection.is_some_and(|connection| self.settled.contains(&connection))
    }
}

// === impl Link ===

impl Link {
    /// A session has lost its connection before that had it: its owner is told with the next
    /// [`Link::tell_departures`]. Not at once, because this may be called from within the owner.
    pub(crate) fn orphan(
        &self,
        slot: Slot,
        session: SessionId,
        connection: ConnectionId,
        reason: Detached,
    ) {
        self.depart(|| Departure {
            slot,
            session,
            connection,
            reason,
            attach: None,
            inbox: Vec::new(),
            told: None,
        });
    }

    /// A session has lost its connection. `departure` is made while nothing can be added to it, and
    /// what is delivered from then on is.
    pub(crate) fn depart(&self, departure: impl FnOnce() -> Departure) {
        let mut forgotten = Vec::new();
        let mut inner = self.departures.lock();
        let departed = &mut inner.departed;
        let departure = departure();
        let (slot, session, bytes) = (departure.slot, departure.session, departure.bytes());
        while departed.len() >= COUNT_MAX || departed.bytes() + bytes > BYTES_MAX {
            match departed.pop_first_if(|entry| entry.departure.told.is_some()) {
                Some(entry) => forgotten.push(entry),
                None => break,
            }
        }
        let has_room = departed.len() < COUNT_MAX && departed.bytes() + bytes <= BYTES_MAX;
        if has_room {
            // Before anyone can look at it, so that it is forgotten once and after this.
            self.routes.depart(slot, session);
            departed.push(Entry::new(departure));
        }
        drop(inner);
        for entry in forgotten {
            self.routes
                .forget(entry.departure.slot, entry.departure.session);
        }
        if !has_room {
            self.metrics.frames_orphaned.increment(1);
            error!(%session, "too many sessions without a connection: one may not be detached");
        }
    }

    /// The session has a connection here again, so the former one is not worth a word: it would be
    /// taken for the end of this one.
    pub(crate) fn cancel_departure(
        &self,
        slot: Slot,
        session: SessionId,
        connection: ConnectionId,
    ) {
        if self.routes.has_departed(slot, session) {
            let mut inner = self.departures.lock();
            inner.cancelled.insert(session, connection);
        }
    }

    /// The owner has done all there was to do for the session of a connection that is gone.
    pub(super) fn settle_departure(&self, connection: ConnectionId) {
        let mut inner = self.departures.lock();
        if !inner.departed.is_empty() {
            inner.settled.insert(connection);
        }
    }

    /// Tells the owners of sessions without a connection, as far as they have room.
    pub(crate) fn tell_departures(&self, now_ms: u64) {
        if self.uplink.get().is_none() {
            return;
        }
        let mut inner = self.departures.lock();
        let mut departed = std::mem::take(&mut inner.departed);
        // All the while nothing is added to them: what is told of one is all there is.
        let over = departed.extract(|entry| inner.is_past(entry) || self.tell(entry, now_ms));
        for entry in over {
            let Departure { slot, session, .. } = entry.departure;
            self.routes.forget(slot, session);
        }
        inner.departed = departed;
        inner.cancelled.clear();
        inner.settled.clear();
    }

    /// Tells the owner of a slot at the end of this way of its sessions without a connection; false
    /// when it has no room for that, or the way has changed.
    pub(super) fn tell_departures_of(&self, slot: Slot, route: Route) -> bool {
        if !self.uplink().may_lose_owners() || !self.routes.have_departed(slot) {
            return true;
        }
        let mut inner = self.departures.lock();
        let mut departed = std::mem::take(&mut inner.departed);
        let are_told = departed.all_of(slot, |entry| {
            if entry.departure.told == Some(route) || inner.is_past(entry) {
                return true;
            }
            let is_said = self.say(entry, route);
            if is_said {
                entry.departure.told = Some(route);
            }
            is_said
        });
        inner.departed = departed;
        are_told
    }

    /// Tells one of them; true when it can be forgotten.
    fn tell(&self, entry: &mut Entry, now_ms: u64) -> bool {
        let until = *entry.until.get_or_insert(now_ms + LINGER_MS);
        let Some(route) = self.uplink().route(entry.departure.slot) else {
            return false;
        };
        if entry.departure.told != Some(route) {
            if !self.say(entry, route) {
                return false;
            }
            entry.departure.told = Some(route);
        }
        let lingers = entry.departure.attach.is_some() && self.uplink().may_lose_owners();
        !lingers || now_ms >= until
    }

    /// Says all there is to say on this way; false when that is not yet done.
    fn say(&self, entry: &mut Entry, route: Route) -> bool {
        let slot = entry.departure.slot;
        if !self.announce(slot, route) {
            return false;
        }
        entry.floor = route.epoch;
        let mut said = match entry.said {
            Some((on, said)) if on == route => said,
            _ => 0,
        };
        while let Some(frame) = entry.departure.frame(said) {
            match self.uplink().try_send(slot, route, frame) {
                Ok(()) => said += 1,
                // The process is stopping: there is nobody to tell.
                Err(Refused::Gone(_)) => return true,
                Err(Refused::Full(_) | Refused::Moved(_)) => {
                    entry.said = Some((route, said));
                    return false;
                }
            }
        }
        true
    }
}
