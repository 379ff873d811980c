//! Fan-out: frames from origins to the queues of connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use couplet_proto::link::Downlink;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Detached, Frame, ToEdge};
use couplet_proto::link::id::ConnectionId;
use couplet_proto::slot::{SLOTS, Slot};
use smallvec::SmallVec;

use super::Link;
use super::queue::{Item, Pushed};

/// The tasks to wake once a whole batch is queued: woken earlier they would find only a part of
/// it and write more often.
type Wakers = SmallVec<[Waker; 32]>;

/// The highest epoch seen of each slot.
///
/// **Invariant:** a frame of an epoch lower than one already seen changes nothing: its sender no
/// longer owns the slot.
#[derive(Debug)]
pub(super) struct Epochs(Box<[AtomicU64]>);

// === impl Epochs ===

impl Epochs {
    pub(super) fn new() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
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
    fn send(&self, frames: &mut Vec<Frame<ToEdge>>) {
        let mut wakers = Wakers::new();
        for frame in frames.drain(..) {
            if self.epochs.admit(frame.slot, frame.epoch) {
                self.hand_out(frame.slot, frame.body, &mut wakers);
            } else {
                self.metrics.frames_stale.increment(1);
            }
        }
        for waker in wakers {
            waker.wake();
        }
    }
}

impl Link {
    fn hand_out(&self, slot: Slot, frame: ToEdge, wakers: &mut Wakers) {
        let connection = match &frame {
            ToEdge::Deliver {
                connections,
                stanza,
                entered,
            } => {
                for connection in connections {
                    let item = Item::Stanza(stanza.clone(), *entered);
                    self.push(*connection, item, wakers);
                }
                return;
            }
            ToEdge::Taken { connection, number } => {
                let waker = self.table.with(*connection, |queue| queue.taken(*number));
                wakers.extend(waker.flatten());
                return;
            }
            ToEdge::Challenge { connection, .. }
            | ToEdge::Authenticated { connection, .. }
            | ToEdge::Refused { connection, .. }
            | ToEdge::Registered { connection, .. }
            | ToEdge::Bound { connection, .. }
            | ToEdge::BindRefused { connection, .. }
            | ToEdge::Close { connection, .. } => *connection,
        };
        let bound = match &frame {
            ToEdge::Bound { session, .. } => Some(*session),
            _ => None,
        };
        let queued = self.push(connection, Item::Frame(slot, Box::new(frame)), wakers);
        if let Some(session) = bound
            && !queued
        {
            // The client left while its resource was being bound.
            self.orphan(slot, session, Detached::Closed);
        }
    }

    /// Queues an item; false when the connection is gone.
    fn push(&self, connection: ConnectionId, item: Item, wakers: &mut Wakers) -> bool {
        match self.table.with(connection, |queue| queue.push(item)) {
            Some(Pushed::Queued(waker)) => {
                wakers.extend(waker);
                true
            }
            Some(Pushed::Closed) | None => {
                self.metrics.frames_unknown.increment(1);
                false
            }
        }
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
