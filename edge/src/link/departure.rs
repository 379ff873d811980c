//! Departures: sessions whose connection is gone, until it is certain that their owner knows.
//!
//! An owner that has just been told may die before it has acted on it: for a while the edge keeps
//! what the next owner would need, and tells that one as well.

use std::collections::{HashMap, VecDeque};
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
    /// A stanza of the client's.
    Stanza(Arc<Stanza>),
    /// The answer to one that the edge has refused.
    Answer(Arc<Stanza>),
}

/// All departures.
#[derive(Debug, Default)]
pub(crate) struct Departures(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Sessions that have another connection now, until the next look at the entries.
    cancelled: HashMap<SessionId, ConnectionId>,
    /// Connections whose owners have done all, likewise.
    settled: Vec<ConnectionId>,
}

#[derive(Debug)]
struct Entry {
    departure: Departure,
    /// How much of it has been said on which way.
    said: Option<(Route, usize)>,
    /// Nothing of an earlier epoch is added: a later owner has been told what there is.
    floor: Epoch,
    /// When it is forgotten; set with the first look at it.
    until: Option<u64>,
    bytes: usize,
}

// === impl Kept ===

impl Kept {
    /// The frame to send, again or for the first time.
    pub(crate) fn frame(&self, session: SessionId, number: u64) -> ToOrigin {
        match self {
            Self::Stanza(stanza) => ToOrigin::Stanza {
                session,
                number,
                stanza: Arc::clone(stanza),
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
            Self::Stanza(stanza) | Self::Answer(stanza) => stanza.wire_bytes(),
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

    fn bytes(&self) -> usize {
        let inbox = self.inbox.iter().map(|(_, kept)| kept.bytes());
        let outbox = self.attach.iter().flat_map(|attach| &attach.unacked);
        inbox.sum::<usize>() + outbox.map(|entry| entry.stanza.wire_bytes()).sum::<usize>()
    }
}

// === impl Entry ===

impl Entry {
    fn is_of(&self, connection: ConnectionId) -> bool {
        let attach = self.departure.attach.as_ref();
        attach.is_some_and(|attach| attach.connection == connection)
    }

    fn is_cancelled(&self, cancelled: &HashMap<SessionId, ConnectionId>) -> bool {
        let by = cancelled.get(&self.departure.session);
        let own = self
            .departure
            .attach
            .as_ref()
            .map(|attach| attach.connection);
        by.is_some_and(|by| own != Some(*by))
    }
}

// === impl Departures ===

impl Departures {
    /// Whether every owner has been told.
    pub(crate) fn are_told(&self) -> bool {
        let inner = self.lock();
        let mut entries = inner.entries.iter();
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
        let inner = &mut *inner;
        let Some(entry) = inner.entries.iter_mut().find(|entry| entry.is_of(of)) else {
            // Its owner has done all there was to do.
            return true;
        };
        if epoch < entry.floor {
            return false;
        }
        if let Some(attach) = &mut entry.departure.attach {
            change(attach);
            attach.epoch = attach.epoch.max(epoch);
        }
        let bytes = entry.departure.bytes();
        inner.bytes += bytes;
        inner.bytes -= std::mem::replace(&mut entry.bytes, bytes);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let departure = departure();
        let (slot, session, bytes) = (departure.slot, departure.session, departure.bytes());
        while inner.entries.len() >= COUNT_MAX || inner.bytes + bytes > BYTES_MAX {
            let is_told = |entry: &Entry| entry.departure.told.is_some();
            match inner.entries.pop_front_if(|entry| is_told(entry)) {
                Some(entry) => {
                    inner.bytes -= entry.bytes;
                    forgotten.push(entry);
                }
                None => break,
            }
        }
        let has_room = inner.entries.len() < COUNT_MAX && inner.bytes + bytes <= BYTES_MAX;
        if has_room {
            // Before anyone can look at it, so that it is forgotten once and after this.
            self.routes.depart(slot, session);
            inner.bytes += bytes;
            inner.entries.push_back(Entry {
                departure,
                said: None,
                floor: Epoch::default(),
                until: None,
                bytes,
            });
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
        if !inner.entries.is_empty() {
            inner.settled.push(connection);
        }
    }

    /// Tells the owners of sessions without a connection, as far as they have room.
    pub(crate) fn tell_departures(&self, now_ms: u64) {
        if self.uplink.get().is_none() {
            return;
        }
        let mut inner = self.departures.lock();
        let inner = &mut *inner;
        let cancelled = std::mem::take(&mut inner.cancelled);
        let settled = std::mem::take(&mut inner.settled);
        let is_settled = |entry: &Entry| settled.iter().any(|settled| entry.is_of(*settled));
        let mut freed = 0;
        // All the while nothing is added to them: what is told of one is all there is.
        inner.entries.retain_mut(|entry| {
            let is_over =
                entry.is_cancelled(&cancelled) || is_settled(entry) || self.tell(entry, now_ms);
            if is_over {
                freed += entry.bytes;
                self.routes
                    .forget(entry.departure.slot, entry.departure.session);
            }
            !is_over
        });
        inner.bytes -= freed;
    }

    /// Tells the owner of a slot at the end of this way of its sessions without a connection; false
    /// when it has no room for that, or the way has changed.
    pub(super) fn tell_departures_of(&self, slot: Slot, route: Route) -> bool {
        if !self.uplink().may_lose_owners() || !self.routes.have_departed(slot) {
            return true;
        }
        let mut inner = self.departures.lock();
        let inner = &mut *inner;
        let (cancelled, settled) = (&inner.cancelled, &inner.settled);
        let is_settled = |entry: &Entry| settled.iter().any(|settled| entry.is_of(*settled));
        let mut untold = inner.entries.iter_mut().filter(|entry| {
            let is_untold = entry.departure.slot == slot && entry.departure.told != Some(route);
            is_untold && !entry.is_cancelled(cancelled) && !is_settled(entry)
        });
        untold.all(|entry| {
            let is_said = self.say(entry, route);
            if is_said {
                entry.departure.told = Some(route);
            }
            is_said
        })
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
