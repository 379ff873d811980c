//! Fan-out: frames from origins to the queues of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use couplet_proto::Stanza;
use couplet_proto::link::Downlink;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Detached, Fan, Frame, Receiver, ToEdge};
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::slot::{SLOTS, Slot};
use smallvec::SmallVec;

use super::Link;
use super::queue::{Delivered, Item, Pushed, Queue};

/// The tasks to wake once a whole batch is queued: woken earlier they would find only a part of
/// it and write more often.
type Wakers = SmallVec<[Waker; 32]>;

/// The highest epoch seen of each slot.
///
/// **Invariant:** a frame of an epoch lower than one already seen changes nothing: its sender no
/// longer owns the slot.
#[derive(Debug)]
pub(crate) struct Epochs(Box<[AtomicU64]>);

// === impl Epochs ===

impl Epochs {
    pub(super) fn new() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether a frame of this epoch would pass.
    #[cfg(feature = "simulation")]
    pub(crate) fn would_admit(&self, slot: Slot, epoch: Epoch) -> bool {
        epoch.0 >= self.0[slot.index()].load(Ordering::Acquire)
    }

    /// A slot's owner at this epoch is known: no frame of an older one passes any more.
    pub(super) fn raise(&self, slot: Slot, epoch: Epoch) {
        self.0[slot.index()].fetch_max(epoch.0, Ordering::AcqRel);
    }

    /// Whether a frame of this epoch may pass.
    fn admit(&self, slot: Slot, epoch: Epoch) -> bool {
        let seen = &self.0[slot.index()];
        // The usual case costs one load.
        match seen.load(Ordering::Acquire) {
            known if epoch.0 == known => true,
            known if epoch.0 < known => false,
            _ => seen.fetch_max(epoch.0, Ordering::AcqRel) <= epoch.0,
        }
    }
}

// === impl Link ===

impl Downlink for Link {
    fn send(&self, frames: &mut Vec<Frame<ToEdge>>) -> Vec<(Slot, Epoch)> {
        let mut wakers = Wakers::new();
        let mut refused = Vec::new();
        for mut frame in frames.drain(..) {
            if let ToEdge::Fan(fan) = &mut frame.body {
                self.fan_out(fan, &mut wakers, &mut refused);
                continue;
            }
            // An exchange stays with the origin that began it, whoever owns the slot now.
            let is_fenced = !matches!(
                frame.body,
                ToEdge::Challenge { .. } | ToEdge::Authenticated { .. } | ToEdge::Refused { .. }
            );
            let (slot, epoch) = (frame.slot, frame.epoch);
            let is_admitted = !is_fenced || self.epochs.admit(slot, epoch);
            if !is_admitted || !self.hand_out(frame, &mut wakers) {
                self.metrics.frames_stale.increment(1);
                refused.push((slot, epoch));
            }
        }
        for waker in wakers {
            waker.wake();
        }
        refused
    }

    fn rerouted(&self, slots: &[Slot]) {
        self.routes.changed(slots);
    }
}

impl Link {
    /// Gives stanzas to connections. Those that are followed are so to one of them: what is told of
    /// many would say the same, and crowd out the rest.
    fn fan_out(&self, fan: &mut Fan, wakers: &mut Wakers, refused: &mut Vec<(Slot, Epoch)>) {
        if fan.stanzas.iter().any(|stanza| stanza.trace.is_some()) {
            let others = fan.receivers.split_off(fan.receivers.len().min(1));
            fan.stanzas = changed(&fan.stanzas, |stanza| self.arrived(stanza));
            self.fan_to_each(fan, wakers, refused);
            fan.receivers = others;
            fan.stanzas = changed(&fan.stanzas, |stanza| Arc::make_mut(stanza).trace = None);
        }
        self.fan_to_each(fan, wakers, refused);
    }

    /// Notes when a stanza that is followed has come to this edge.
    fn arrived(&self, stanza: &mut Arc<Stanza>) {
        if stanza.trace.is_some()
            && let Some(sampling) = self.sampling.get()
            && let Some(trace) = &mut Arc::make_mut(stanza).trace
        {
            trace.at = sampling.tracer.now();
        }
    }

    /// Each under the fence of its own slot.
    fn fan_to_each(&self, fan: &Fan, wakers: &mut Wakers, refused: &mut Vec<(Slot, Epoch)>) {
        for receiver in &fan.receivers {
            let Receiver {
                connection,
                slot,
                epoch,
            } = *receiver;
            let is_taken = self.epochs.admit(slot, epoch)
                && fan.each().fold(true, |is_taken, (stanza, source)| {
                    let item = Item::Stanza(Delivered {
                        stanza: Arc::clone(stanza),
                        source: Some(source),
                        log: None,
                        entered: fan.entered,
                    });
                    self.push(slot, connection, item, epoch, wakers) && is_taken
                });
            if !is_taken {
                self.metrics.frames_stale.increment(1);
                refused.push((slot, epoch));
            }
        }
    }

    /// Gives a frame to its connections, or to what is kept of them; false when it is refused as of
    /// a former owner.
    fn hand_out(&self, frame: Frame<ToEdge>, wakers: &mut Wakers) -> bool {
        let Frame { slot, epoch, body } = frame;
        if let ToEdge::Deliver(mut delivery) = body {
            self.arrived(&mut delivery.stanza);
            let each = delivery.connections.iter();
            // All of them, whatever becomes of one.
            return each.fold(true, |is_taken, connection| {
                let item = Item::Stanza(Delivered {
                    stanza: Arc::clone(&delivery.stanza),
                    source: delivery.source,
                    log: delivery.log,
                    entered: delivery.entered,
                });
                self.push(slot, *connection, item, epoch, wakers) && is_taken
            });
        }
        let Some(connection) = body.connection() else {
            return true;
        };
        if let ToEdge::Taken { number, .. } = body {
            let taken = |queue: &Queue| queue.taken(number, epoch);
            match self.table.with(connection, taken) {
                Some(waker) => wakers.extend(waker),
                None if number == ToEdge::ALL => self.settle_departure(connection),
                None => return self.departures.taken(connection, number, epoch),
            }
            return true;
        }
        let item = Item::Frame(slot, epoch, Box::new(body));
        self.push(slot, connection, item, epoch, wakers)
    }

    /// Queues an item, or adds it to what is kept of a connection that is gone; false when it is
    /// refused.
    fn push(
        &self,
        slot: Slot,
        connection: ConnectionId,
        item: Item,
        epoch: Epoch,
        wakers: &mut Wakers,
    ) -> bool {
        let mut item = Some(item);
        let push = |queue: &Queue| item.take().map(|item| queue.push(item, epoch));
        let gone = match self.table.with(connection, push).flatten() {
            Some(Pushed::Queued(waker)) => {
                wakers.extend(waker);
                return true;
            }
            Some(Pushed::Stale) => return false,
            Some(Pushed::Closed(item)) => Some(item),
            None => item,
        };
        self.metrics.frames_unknown.increment(1);
        match gone {
            Some(Item::Stanza(delivered)) => {
                let (departures, delivered) = (&self.departures, &delivered);
                departures.delivered(connection, delivered.into(), epoch)
            }
            Some(Item::Frame(_, _, frame)) => {
                if let ToEdge::Keep { state, .. } = *frame {
                    return self.departures.keep(connection, state, epoch);
                }
                // A session its client has left before it had it.
                if let Some((session, reason)) = late(&frame) {
                    self.orphan(slot, session, connection, reason);
                }
                true
            }
            None => true,
        }
    }
}

fn changed(stanzas: &[Arc<Stanza>], change: impl Fn(&mut Arc<Stanza>)) -> Arc<[Arc<Stanza>]> {
    let mut stanzas = stanzas.to_vec();
    stanzas.iter_mut().for_each(change);
    stanzas.into()
}

/// The session a frame gives to a connection, and how it is to be given back should that be gone.
pub(crate) fn late(frame: &ToEdge) -> Option<(SessionId, Detached)> {
    match frame {
        ToEdge::Bound { session, .. } => Some((*session, Detached::Closed)),
        // Its client may come again.
        ToEdge::Resumed { session, .. } => Some((*session, Detached::Lost)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_an_older_epoch_are_refused() {
        let epochs = Epochs::new();
        let slot = Slot::new(7).expect("below SLOTS");
        let other = Slot::new(8).expect("below SLOTS");
        assert!(epochs.admit(slot, Epoch(3)));
        assert!(epochs.admit(slot, Epoch(3)));
        assert!(epochs.admit(slot, Epoch(4)));
        assert!(!epochs.admit(slot, Epoch(3)));
        assert!(epochs.admit(other, Epoch(1)));
    }
}
