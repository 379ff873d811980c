//! Announcer: tells every link which slots this node owns.
//!
//! Each link first gets all of them, then every change. What a link has not been told yet is
//! looked up when it asks, so a slow one misses nothing that still counts and holds nothing up.

use std::sync::{Arc, Mutex, PoisonError};

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::peer::Owned;
use couplet_proto::slot::{SLOTS, Slot};
use tokio::sync::watch;

/// What this node owns, for those who are linked to it.
#[derive(Debug)]
pub(crate) struct Announcer {
    told: Mutex<Told>,
    /// The number of the last change.
    last: watch::Sender<u64>,
}

#[derive(Debug)]
struct Told {
    number: u64,
    /// What was said last of each slot, and the number of that change.
    slots: Vec<Option<(u64, Owned)>>,
}

/// One link's place in what is announced.
#[derive(Debug)]
pub(crate) struct Subscription {
    announcer: Arc<Announcer>,
    changed: watch::Receiver<u64>,
    seen: Option<u64>,
}

// === impl Announcer ===

impl Announcer {
    /// Nothing is owned.
    pub(crate) fn new() -> Self {
        Self {
            told: Mutex::new(Told {
                number: 0,
                slots: vec![None; usize::from(SLOTS)],
            }),
            last: watch::Sender::new(0),
        }
    }

    /// Begins or ends to own slots.
    pub(crate) fn announce(&self, slots: impl IntoIterator<Item = (Slot, Epoch)>, is_owner: bool) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.number += 1;
        let number = told.number;
        for (slot, epoch) in slots {
            let owned = Owned {
                slot,
                epoch,
                is_owner,
            };
            told.slots[slot.index()] = Some((number, owned));
        }
        drop(told);
        self.last.send_replace(number);
    }

    /// For one link.
    pub(crate) fn subscribe(self: &Arc<Self>) -> Subscription {
        Subscription {
            announcer: Arc::clone(self),
            changed: self.last.subscribe(),
            seen: None,
        }
    }
}

// === impl Subscription ===

impl Subscription {
    /// At first, at once, everything this node owns, which may be nothing; then what has changed,
    /// oldest first, as soon as there is something. Of a slot that changes faster than it is asked
    /// only the last is told. `None` when there will be no more. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Option<Vec<Owned>> {
        loop {
            if self.seen.is_some() {
                self.changed.changed().await.ok()?;
            }
            let is_first = self.seen.is_none();
            let owned = self.look();
            if is_first || !owned.is_empty() {
                return Some(owned);
            }
        }
    }

    fn look(&mut self) -> Vec<Owned> {
        self.changed.borrow_and_update();
        let announcer = &self.announcer;
        let told = announcer
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let seen = self.seen.replace(told.number);
        let all = told.slots.iter().flatten();
        let mut new: Vec<&(u64, Owned)> = all
            .filter(|(number, owned)| match seen {
                None => owned.is_owner,
                Some(seen) => *number > seen,
            })
            .collect();
        new.sort_by_key(|(number, owned)| (*number, owned.slot));
        new.into_iter().map(|(_, owned)| *owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("below SLOTS")
    }

    fn owned(number: u16, epoch: u64, is_owner: bool) -> Owned {
        Owned {
            slot: slot(number),
            epoch: Epoch(epoch),
            is_owner,
        }
    }

    #[tokio::test]
    async fn a_link_hears_of_everything_and_then_of_every_change() {
        let announcer = Arc::new(Announcer::new());
        let mut early = announcer.subscribe();
        assert_eq!(early.next().await, Some(vec![]));
        announcer.announce([(slot(2), Epoch(1)), (slot(1), Epoch(1))], true);
        announcer.announce([(slot(1), Epoch(1))], false);
        let mut late = announcer.subscribe();
        assert_eq!(late.next().await, Some(vec![owned(2, 1, true)]));
        let changes = vec![owned(2, 1, true), owned(1, 1, false)];
        assert_eq!(early.next().await, Some(changes));
        announcer.announce([(slot(1), Epoch(3))], true);
        assert_eq!(late.next().await, Some(vec![owned(1, 3, true)]));
        assert_eq!(early.next().await, Some(vec![owned(1, 3, true)]));
    }
}
