//! Routes: which connections depend on the owner of which slot, and what follows when the way to
//! it changes.
//!
//! ```text
//! uplink ─changed→ Expect to the new owner ─→ its connections follow: Attach, and all in flight
//! ```
//!
//! **Invariant:** the first thing the edge says about a slot on a new way is `Expect`, also when a
//! connection finds the new way before the uplink has reported it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use couplet_proto::link::Route;
use couplet_proto::link::frame::ToOrigin;
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::slot::{SLOTS, Slot};
use tokio::sync::Notify;

use super::Link;

/// Who depends on the owners of the slots.
#[derive(Debug)]
pub(crate) struct Routes {
    slots: Box<[Mutex<Members>]>,
    /// The slots whose way has changed and whose connections have not been told.
    changed: Mutex<BTreeSet<Slot>>,
    woken: Notify,
}

/// Who depends on the owner of one slot.
#[derive(Debug, Default)]
struct Members {
    /// Each connection with a session or a request there, and the session.
    connections: Vec<(ConnectionId, Option<SessionId>)>,
    /// Sessions without a connection that a new owner would still be told of.
    departed: Vec<SessionId>,
    /// The way on which the owner knows what to expect.
    expected: Option<Route>,
}

// === impl Routes ===

impl Routes {
    /// Nobody depends on anything.
    pub(super) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Mutex::default()).collect(),
            changed: Mutex::default(),
            woken: Notify::new(),
        }
    }

    /// The ways to these slots have changed. Not followed at once, because this may be called
    /// from within the uplink.
    pub(super) fn changed(&self, slots: &[Slot]) {
        lock(&self.changed).extend(slots);
        self.woken.notify_one();
    }

    /// Waits for a change.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// A connection depends on a slot, and is told of changes from now on.
    pub(crate) fn join(&self, slot: Slot, connection: ConnectionId) {
        self.members(slot).connections.push((connection, None));
    }

    /// The session of a connection that has joined.
    pub(crate) fn hold(&self, slot: Slot, connection: ConnectionId, session: SessionId) {
        let mut members = self.members(slot);
        let mut known = members.connections.iter_mut();
        if let Some(known) = known.find(|known| known.0 == connection) {
            known.1 = Some(session);
        }
    }

    /// A connection depends on a slot no longer.
    pub(crate) fn leave(&self, slot: Slot, connection: ConnectionId) {
        let mut members = self.members(slot);
        let known = |known: &(ConnectionId, _)| known.0 == connection;
        if let Some(at) = members.connections.iter().position(known) {
            members.connections.swap_remove(at);
        }
        members.give_room_back();
    }

    /// A session of a slot has lost its connection.
    pub(super) fn depart(&self, slot: Slot, session: SessionId) {
        self.members(slot).departed.push(session);
    }

    /// Whether some session of a slot has lost its connection not long ago.
    pub(super) fn have_departed(&self, slot: Slot) -> bool {
        !self.members(slot).departed.is_empty()
    }

    /// Whether a session of a slot has lost a connection not long ago.
    pub(super) fn has_departed(&self, slot: Slot, session: SessionId) -> bool {
        self.members(slot).departed.contains(&session)
    }

    /// No new owner need be told of that session any more.
    pub(super) fn forget(&self, slot: Slot, session: SessionId) {
        let mut members = self.members(slot);
        let known = members.departed.iter();
        if let Some(at) = known.copied().position(|known| known == session) {
            members.departed.swap_remove(at);
        }
        members.give_room_back();
    }

    fn members(&self, slot: Slot) -> MutexGuard<'_, Members> {
        lock(&self.slots[slot.index()])
    }
}

// === impl Members ===

impl Members {
    fn sessions(&self) -> Vec<SessionId> {
        let held = self.connections.iter().filter_map(|(_, session)| *session);
        held.chain(self.departed.iter().copied()).collect()
    }

    /// A slot that was crowded once does not stay large.
    fn give_room_back(&mut self) {
        if self.connections.is_empty() && self.departed.is_empty() {
            self.connections = Vec::new();
            self.departed = Vec::new();
        }
    }
}

// === impl Link ===

impl Link {
    /// Makes sure that the owner at the end of this way knows which sessions to expect, and of
    /// those whose connection is gone: their clients may be about to resume. False when it has no
    /// room or the way has changed again: the connections of the slot are told once it is done.
    pub(crate) fn expect(&self, slot: Slot, route: Route) -> bool {
        let is_ready = self.announce(slot, route) && self.tell_departures_of(slot, route);
        if !is_ready {
            lock(&self.routes.changed).insert(slot);
        }
        is_ready
    }

    /// Makes sure that the owner at the end of this way knows which sessions to expect.
    pub(super) fn announce(&self, slot: Slot, route: Route) -> bool {
        let uplink = self.uplink();
        if !uplink.may_lose_owners() {
            return true;
        }
        let mut members = self.routes.members(slot);
        if members.expected == Some(route) {
            return true;
        }
        // Before any session goes there: what a former owner still says would not count.
        self.epochs.raise(slot, route.epoch);
        let expected = ToOrigin::Expect(members.sessions());
        let is_sent = uplink.try_send(slot, route, expected).is_ok();
        if is_sent {
            members.expected = Some(route);
        }
        is_sent
    }

    /// Tells owners what to expect and connections to follow them, where a way has changed.
    pub(crate) fn follow_routes(&self) {
        if self.uplink.get().is_none() {
            return;
        }
        let changed = std::mem::take(&mut *lock(&self.routes.changed));
        for slot in changed {
            let route = self.uplink().route(slot);
            // Without a way they stop sending.
            let is_ready = route.is_none_or(|route| self.expect(slot, route));
            if is_ready {
                let members = self.routes.members(slot);
                let each: Vec<_> = members.connections.iter().map(|known| known.0).collect();
                drop(members);
                for connection in each {
                    if let Some(queue) = self.table.get(connection) {
                        queue.signal(|signals| signals.rerouted = true);
                    }
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
