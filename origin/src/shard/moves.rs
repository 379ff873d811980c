//! Moves: slots come to this node and go to others; stanzas find their way behind them.

use std::collections::VecDeque;

use couplet_proto::Jid;
use couplet_proto::link::id::{PeerId, SessionId};
use couplet_proto::link::peer::Forward;
use couplet_proto::slot::Slot;

use super::event::{Change, Event, Receipt, Routed, Work, concerns_sessions_only};
use super::output::Output;
use super::residents::Place;
use super::routes::Resent;
use super::state::{Local, Shard};
use super::tenure::{Gathering, Leaving, Tenure};
use crate::metrics;
use crate::store;

impl Shard {
    /// This node begins or ends to own a slot.
    pub(super) fn change(&mut self, slot: Slot, change: Change) {
        if !self.runs(slot) {
            return;
        }
        match change {
            Change::Take(epoch, edges) => {
                self.lose(slot);
                let gathering = Gathering::new(epoch, edges, self.now.mono);
                self.tenures
                    .set(slot, Tenure::Gathering(Box::new(gathering)));
                self.list_sleepers(slot);
                self.activate(slot);
                // Before anything new is sent there from here.
                self.rerouted(&[slot]);
            }
            Change::Leave(done) => {
                let Some(epoch) = self.tenures.of(slot).open_epoch() else {
                    // Not ours: there is nothing to wait for.
                    return self.outputs.push(Output::Left(done));
                };
                let leaving = Leaving {
                    done,
                    has_stored: false,
                };
                self.tenures.set(slot, Tenure::Leaving(epoch, leaving));
                self.leave_if_done();
            }
            Change::Lose => self.lose(slot),
            Change::Superseded(epoch) => {
                if self
                    .tenures
                    .of(slot)
                    .epoch()
                    .is_some_and(|own| own <= epoch)
                {
                    self.lose(slot);
                    // Whoever keeps the map may not have heard of the other.
                    self.outputs.push(Output::Fenced(slot));
                }
            }
        }
    }

    /// Slots that are left are another's as soon as all that was written in them is stored.
    pub(super) fn leave_if_done(&mut self) {
        for slot in self.tenures.leaving().to_vec() {
            if self.commits.concerns(slot) || self.is_reading(slot) {
                continue;
            }
            let Tenure::Leaving(_, leaving) = self.tenures.of_mut(slot) else {
                continue;
            };
            if !std::mem::replace(&mut leaving.has_stored, true) {
                self.store_sessions(slot);
            }
            if self.commits.concerns(slot) {
                continue;
            }
            let left = self.tenures.set(slot, Tenure::Absent);
            self.lose(slot);
            if let Tenure::Leaving(_, leaving) = left {
                self.outputs.push(Output::Left(leaving.done));
            }
        }
    }

    /// Whether accounts of a slot that have sessions are being read.
    fn is_reading(&mut self, slot: Slot) -> bool {
        let mut places = self.residents.of_slot(slot).into_iter();
        places.any(|place| {
            let resident = self.residents.get_mut(place);
            resident.is_some_and(|known| known.is_loading && !known.account.sessions.is_empty())
        })
    }

    /// The sessions of a slot that is left could not be stored: that is tried again.
    pub(super) fn leave_later(&mut self, slot: Slot) {
        if let Tenure::Leaving(_, leaving) = self.tenures.of_mut(slot) {
            leaving.has_stored = false;
        }
    }

    /// Stores the sessions of a slot that is left.
    fn store_sessions(&mut self, slot: Slot) {
        let mut sessions: Vec<(SessionId, Place)> = Vec::new();
        for place in self.residents.of_slot(slot) {
            let resident = self.residents.get_mut(place);
            let resident = resident.filter(|resident| !resident.is_loading);
            let known = resident
                .iter()
                .flat_map(|resident| &resident.account.sessions);
            sessions.extend(known.map(|session| (session.id, place)));
        }
        sessions.sort_unstable();
        for (session, place) in sessions {
            self.run_at(place, Work::Store(session), self.now);
        }
    }

    /// A slot is another's: all there is of it is forgotten. Nobody hears of an end.
    pub(super) fn lose(&mut self, slot: Slot) {
        self.tenures.set(slot, Tenure::Absent);
        self.debts.forget(slot);
        self.routes.forget(slot);
        self.commits.forget(slot);
        self.listing.remove(&slot);
        self.watches.forget(slot);
        self.doubtful.retain(|fanned| fanned.to[0].slot != slot);
        let places: Vec<Place> = self.residents.of_slot(slot);
        if places.is_empty() {
            return;
        }
        let is_gone = |place: &Place| places.contains(place);
        self.sessions.retain(|_, place| !is_gone(place));
        self.arriving.retain(|_, place| !is_gone(place));
        self.asleep
            .retain(|(_, session)| self.sessions.contains_key(session));
        self.idle.retain(|(_, place)| !is_gone(place));
        self.unread.retain(|place| !is_gone(place));
        self.alarms.retain(|(_, place)| !is_gone(place));
        for place in places {
            self.leave_memory(place);
        }
    }

    /// Goes on with a slot whose sessions are all there.
    pub(super) fn activate(&mut self, slot: Slot) {
        let Some(waiting) = self.tenures.activate(slot, self.now.mono) else {
            return;
        };
        self.resume(waiting);
    }

    /// What waited for a slot happens, in order.
    fn resume(&mut self, waiting: VecDeque<Event>) {
        for event in waiting {
            match event {
                Event::Routed(slot, _, routed) => self.routed(slot, routed),
                Event::Fanned(fanned) => self.fanned(fanned),
                other => self.take(other),
            }
            self.settle();
        }
    }

    /// The accounts of a slot that have sessions without a connection: they are read, so that the
    /// sessions end when their time is up.
    pub(super) fn sleepers(&mut self, slot: Slot, owners: Result<Vec<Jid>, store::Error>) {
        if self.tenures.of(slot).open_epoch().is_none() {
            return;
        }
        match owners {
            Ok(owners) => {
                self.listing.remove(&slot);
                for owner in owners {
                    self.run(&owner, Work::Wake, self.now);
                }
            }
            Err(error) => {
                tracing::warn!(%slot, %error, "sleeping sessions cannot be listed, trying again");
                self.unlisted.push(slot);
            }
        }
    }

    /// A stanza from another origin.
    pub(super) fn take_from_peer(&mut self, peer: PeerId, stanza: Forward) {
        let slot = stanza.slot;
        let is_current =
            self.runs(slot) && self.tenures.of(slot).open_epoch() == Some(stanza.epoch);
        if !is_current {
            // Its sender keeps it and learns of the owner.
            return metrics::stale_frame();
        }
        let routed = Routed {
            stanza: stanza.stanza,
            entered: stanza.entered,
            source: stanza.source,
            receipt: Receipt {
                peer: Some(peer),
                shard: stanza.shard,
                route: stanza.route,
            },
        };
        self.local.push_back(Local::One(slot, routed));
    }

    /// A stanza for an account of a slot that this shard runs.
    pub(super) fn routed(&mut self, slot: Slot, routed: super::event::Routed) {
        match self.tenures.of_mut(slot) {
            Tenure::Active(..) => {}
            Tenure::Gathering(gathering) => {
                let epoch = gathering.epoch;
                return gathering.push(Event::Routed(slot, epoch, routed));
            }
            // Sent again when there is an owner.
            Tenure::Leaving(..) => return,
            Tenure::Absent => return self.outputs.push(Output::Route(slot, routed)),
        }
        let Some(to) = routed.stanza.to.clone() else {
            return self.emit(Output::Settle(routed.receipt));
        };
        let is_known_absent = concerns_sessions_only(&routed.stanza)
            && !self.shared.is_service(to.domain())
            && !self.listing.contains(&slot)
            && self.residents.find(to.bare()).is_none();
        if is_known_absent {
            // Nobody is there, and nothing would be kept: no need to read the account.
            return self.emit(Output::Settle(routed.receipt));
        }
        self.run(&to, Work::Routed(routed), self.now);
    }

    /// The ways to slots have changed: what was sent there is sent again, in order.
    pub(super) fn rerouted(&mut self, slots: &[Slot]) {
        let pending = self.routes.to(slots, self.id);
        metrics::rerouted(pending.len() as u64);
        for (route, pending) in pending {
            let pending = match pending {
                Resent::One(pending) => pending,
                Resent::Many(fanned) => {
                    self.spread(fanned);
                    continue;
                }
            };
            let routed = Routed {
                stanza: pending.stanza,
                entered: pending.entered,
                source: pending.source,
                receipt: Receipt {
                    peer: None,
                    shard: self.id,
                    route,
                },
            };
            self.emit(Output::Route(pending.to, routed));
        }
    }
}
