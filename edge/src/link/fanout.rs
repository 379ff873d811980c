//! Fan-out: frames from origins to the queues of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use couplet_proto::link::Downlink;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Delivery, Detached, Frame, ToEdge};
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
        for frame in frames.drain(..) {
            // An exchange stays with the origin that began it, whoever owns the slot now.
            let is_fenced = !matches!(
                frame.body,
                ToEdge::Challenge { .. } | ToEdge::Authenticated { .. } | ToEdge::Refused { .. }
            );
            if !is_fenced || self.epochs.admit(frame.slot, frame.epoch) {
                self.hand_out(frame, &mut wakers);
            } else {
                self.metrics.frames_stale.increment(1);
                refused.push((frame.slot, frame.epoch));
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
    fn hand_out(&self, frame: Frame<ToEdge>, wakers: &mut Wakers) {
        let Frame { slot, epoch, body } = frame;
        match &body {
            ToEdge::Deliver(delivery) => {
                let Delivery {
                    stanza,
                    source,
                    log,
                    entered,
                    ..
                } = delivery;
                for connection in &delivery.connections {
                    let item = Item::Stanza(Delivered {
                        stanza: Arc::clone(stanza),
                        source: *source,
                        log: *log,
                        entered: *entered,
                    });
                    self.push(*connection, item, epoch, wakers);
                }
                return;
            }
            ToEdge::Taken { connection, number } => {
                let taken = |queue: &Queue| queue.taken(*number, epoch);
                match self.table.with(*connection, taken) {
                    Some(waker) => wakers.extend(waker),
                    None if *number == ToEdge::ALL => self.settle_departure(*connection),
                    None => {}
                }
                return;
            }
            _ => {}
        }
        let Some(connection) = body.connection() else {
            return;
        };
        // A session its client has left before it had it.
        let late = late(&body);
        let queued = self.push(
            connection,
            Item::Frame(slot, epoch, Box::new(body)),
            epoch,
            wakers,
        );
        if let Some((session, reason)) = late
            && !queued
        {
            self.orphan(slot, session, connection, reason);
        }
    }

    /// Queues an item; false when the connection is gone.
    fn push(
        &self,
        connection: ConnectionId,
        item: Item,
        epoch: Epoch,
        wakers: &mut Wakers,
    ) -> bool {
        let pushed = self.table.with(connection, |queue| queue.push(item, epoch));
        match pushed {
            Some(Pushed::Queued(waker)) => {
                wakers.extend(waker);
                true
            }
            Some(Pushed::Stale) => {
                self.metrics.frames_stale.increment(1);
                false
            }
            Some(Pushed::Closed) | None => {
                self.metrics.frames_unknown.increment(1);
                false
            }
        }
    }
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
