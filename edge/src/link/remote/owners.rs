//! Owners: which lane leads to which slot's owner.
//!
//! **Invariant:** a slot's epoch never goes back: a claim older than one already seen is no way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arc_swap::ArcSwapOption;
use couplet_proto::link::Route;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::peer::Owned;
use couplet_proto::slot::{SLOTS, Slot};
use tokio::sync::Notify;

use super::lane::Lane;

/// The owners of all slots, as far as they can be reached.
#[derive(Debug)]
pub(super) struct Owners {
    lanes: u16,
    slots: Box<[ArcSwapOption<Owner>]>,
    /// The highest epoch seen of each slot. Whoever holds it may change `slots`.
    newest: Mutex<Box<[Epoch]>>,
    /// Every lane that stands, by id.
    standing: RwLock<HashMap<u64, Arc<Lane>>>,
    /// A slot that had no owner may have one.
    found: Notify,
}

/// The owner of a slot.
#[derive(Debug)]
struct Owner {
    epoch: Epoch,
    lane: Arc<Lane>,
}

// === impl Owners ===

impl Owners {
    /// Nobody is known. Slot `s` goes by lane `s % lanes` of its owner.
    pub(super) fn new(lanes: u16) -> Self {
        Self {
            lanes,
            slots: (0..SLOTS).map(|_| ArcSwapOption::empty()).collect(),
            newest: Mutex::new(vec![Epoch(0); usize::from(SLOTS)].into()),
            standing: RwLock::default(),
            found: Notify::new(),
        }
    }

    /// The way to a slot's owner.
    pub(super) fn route(&self, slot: Slot) -> Option<Route> {
        let owner = self.slots[slot.index()].load();
        owner.as_ref().map(|owner| owner.route())
    }

    /// The lane of a way to a slot, if it is still the way.
    pub(super) fn lane_by(&self, slot: Slot, route: Route) -> Option<Arc<Lane>> {
        let owner = self.slots[slot.index()].load();
        let owner = owner.as_ref().filter(|owner| owner.route() == route)?;
        Some(Arc::clone(&owner.lane))
    }

    /// The lane of this id, if it stands.
    pub(super) fn lane(&self, id: u64) -> Option<Arc<Lane>> {
        let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
        standing.get(&id).cloned()
    }

    /// Waits until there may be room on the way to a slot's owner, or the way is another.
    pub(super) async fn room(&self, slot: Slot) {
        let owner = self.slots[slot.index()].load_full();
        match owner {
            Some(owner) => owner.lane.room().await,
            None => {
                let found = self.found.notified();
                if self.route(slot).is_none() {
                    found.await;
                }
            }
        }
        // What is tried in vain may be something that goes by a former way; let others run.
        tokio::task::yield_now().await;
    }

    /// A lane stands.
    pub(super) fn enter(&self, lane: &Arc<Lane>) {
        let mut standing = self
            .standing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        standing.insert(lane.id, Arc::clone(lane));
    }

    /// The origin at the end of lane `number` says what it owns. Returns the slots that go
    /// another way now, and those it owns no longer without knowing, or that a store which has lost
    /// its last writes gave it at an epoch that was given before.
    pub(super) fn learn(
        &self,
        lane: &Arc<Lane>,
        number: u16,
        announced: impl Iterator<Item = Owned>,
    ) -> (Vec<Slot>, Vec<(Slot, Epoch)>) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut changed, mut stale) = (Vec::new(), Vec::new());
        for owned in announced {
            let slot = owned.slot;
            if slot.number() % self.lanes != number {
                continue;
            }
            if owned.epoch < newest[slot.index()] {
                stale.extend(owned.is_owner.then_some((slot, owned.epoch)));
                continue;
            }
            newest[slot.index()] = owned.epoch;
            let place = &self.slots[slot.index()];
            let known = place.load();
            let known = known.as_ref();
            let is_known =
                known.is_some_and(|owner| owner.lane.id == lane.id && owner.epoch == owned.epoch);
            // Somebody who is no owner at this epoch says nothing against another who is.
            let is_other =
                known.is_some_and(|owner| owner.lane.id != lane.id && owner.epoch == owned.epoch);
            match owned.is_owner {
                true if is_known => continue,
                false if known.is_none() || is_other => continue,
                _ => {}
            }
            if let Some(former) = known {
                former.lane.wake_all();
            }
            place.store(owned.is_owner.then(|| {
                Arc::new(Owner {
                    epoch: owned.epoch,
                    lane: Arc::clone(lane),
                })
            }));
            changed.push(slot);
        }
        drop(newest);
        self.found.notify_waiters();
        (changed, stale)
    }

    /// A lane has ended. Returns the slots that have no way now.
    pub(super) fn forget(&self, lane: &Lane) -> Vec<Slot> {
        let mut standing = self
            .standing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        standing.remove(&lane.id);
        drop(standing);
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_by = |slot: &Slot| {
            let owner = self.slots[slot.index()].load();
            owner.as_ref().is_some_and(|owner| owner.lane.id == lane.id)
        };
        let lost: Vec<Slot> = Slot::all().filter(is_by).collect();
        for slot in &lost {
            self.slots[slot.index()].store(None);
        }
        drop(newest);
        lane.wake_all();
        lost
    }
}

// === impl Owner ===

impl Owner {
    fn route(&self) -> Route {
        Route {
            epoch: self.epoch,
            link: self.lane.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use couplet_link::metrics::Metrics;

    use super::*;
    use crate::clock::Clock;

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("below SLOTS")
    }

    fn lane(id: u64) -> Arc<Lane> {
        let clock = Clock::since(std::time::Instant::now());
        Arc::new(Lane::new(id, Arc::new(Metrics::new("origin")), clock))
    }

    fn owned(number: u16, epoch: u64, is_owner: bool) -> std::iter::Once<Owned> {
        std::iter::once(Owned {
            slot: slot(number),
            epoch: Epoch(epoch),
            is_owner,
        })
    }

    fn route(epoch: u64, link: u64) -> Option<Route> {
        Some(Route {
            epoch: Epoch(epoch),
            link,
        })
    }

    #[test]
    fn the_newest_claim_is_the_way() {
        let owners = Owners::new(1);
        let (first, second) = (lane(1), lane(2));
        let seven = [slot(7)];
        assert_eq!(owners.learn(&first, 0, owned(7, 3, true)).0, seven);
        assert_eq!(owners.learn(&first, 0, owned(7, 3, true)).0, []);
        assert_eq!(owners.route(slot(7)), route(3, 1));
        assert_eq!(owners.learn(&second, 0, owned(7, 4, true)).0, seven);
        // The former owner may say late that it is none.
        assert_eq!(owners.learn(&first, 0, owned(7, 3, false)).0, []);
        assert_eq!(owners.route(slot(7)), route(4, 2));
        assert_eq!(owners.learn(&second, 0, owned(7, 4, false)).0, seven);
        assert_eq!(owners.route(slot(7)), None);
        // And late that it was one: it is told that it is none.
        let (changed, stale) = owners.learn(&first, 0, owned(7, 3, true));
        assert_eq!((changed, stale), (vec![], vec![(slot(7), Epoch(3))]));
        assert_eq!(owners.route(slot(7)), None);
    }

    #[test]
    fn a_lost_lane_takes_its_ways_along() {
        let owners = Owners::new(1);
        let (first, again) = (lane(1), lane(2));
        owners.enter(&first);
        owners.learn(&first, 0, owned(7, 3, true));
        owners.learn(&first, 0, owned(9, 3, true));
        assert_eq!(owners.forget(&first), [slot(7), slot(9)]);
        assert!(owners.lane(1).is_none());
        assert_eq!(owners.learn(&again, 0, owned(7, 3, true)).0, [slot(7)]);
        assert_eq!(owners.route(slot(7)), route(3, 2));
        assert_eq!(owners.forget(&first), []);
    }

    #[test]
    fn a_lane_leads_to_its_own_slots_only() {
        let owners = Owners::new(4);
        let lane = lane(1);
        assert_eq!(owners.learn(&lane, 3, owned(6, 1, true)).0, []);
        assert_eq!(owners.learn(&lane, 3, owned(7, 1, true)).0, [slot(7)]);
    }
}
