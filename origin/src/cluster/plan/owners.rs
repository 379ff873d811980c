//! Who owns what, as far as this node knows, and what of it this node runs.
//!
//! A list of owners that was asked for before something happened to a slot says nothing about the
//! slot: things have numbers in the order they happened.

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::NodeId;
use couplet_proto::link::peer::Owned;
use couplet_proto::slot::{SLOTS, Slot};
use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::each;
use crate::store::Owner;

/// The owners are read again after so many milliseconds, whatever the version of the view says.
const READ_EVERY_MS: u64 = 30_000;

/// The owners of all slots.
#[derive(Debug)]
pub(super) struct Owners {
    known: Option<Vec<Option<Owner>>>,
    /// What this node runs.
    held: Vec<Option<Held>>,
    /// The highest epoch known of each slot. This node begins only above.
    floor: Vec<Epoch>,
    /// When something last happened to each slot.
    touched: Vec<u64>,
    /// The number of what happened last.
    number: u64,
    /// The version of the view that was read, and when.
    read: Option<(u64, u64)>,
    /// What is being read: the number of the question, and the version.
    reading: Option<(u64, u64)>,
    is_read_due: bool,
}

/// A slot this node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) epoch: Epoch,
    /// It is being left.
    pub(super) is_leaving: bool,
}

// === impl Owners ===

impl Owners {
    pub(super) fn new() -> Self {
        Self {
            known: None,
            held: each(None),
            floor: each(Epoch(0)),
            touched: each(0),
            number: 0,
            read: None,
            reading: None,
            is_read_due: false,
        }
    }

    /// Whether they have been read at all.
    pub(super) fn are_known(&self) -> bool {
        self.known.is_some()
    }

    /// The stored owner of a slot.
    pub(super) fn of(&self, slot: Slot) -> Option<&Owner> {
        self.known.as_ref()?[slot.index()].as_ref()
    }

    /// Every slot and its stored owner.
    pub(super) fn all(&self) -> impl Iterator<Item = (Slot, Option<&Owner>)> {
        let known = self.known.iter().flatten();
        Slot::all()
            .zip(known)
            .map(|(slot, owner)| (slot, owner.as_ref()))
    }

    /// Those who own anything.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        let owners = self.known.iter().flatten().flatten();
        let nodes: HashSet<&NodeId, FixedState> = owners.map(|owner| &owner.node).collect();
        nodes.into_iter().cloned().collect()
    }

    /// What this node runs of a slot.
    pub(super) fn held(&self, slot: Slot) -> Option<Held> {
        self.held[slot.index()]
    }

    /// How many slots this node runs.
    pub(super) fn held_count(&self) -> usize {
        self.held.iter().flatten().count()
    }

    /// How many slots a node is the stored owner of.
    pub(super) fn count(&self, node: &NodeId) -> usize {
        let owners = self.known.iter().flatten().flatten();
        owners.filter(|owner| owner.node == *node).count()
    }

    /// They are read with the next beat.
    pub(super) fn read_soon(&mut self) {
        self.is_read_due = true;
    }

    /// The number of the question, if it is time to read them.
    pub(super) fn read_if_due(&mut self, version: u64, now: u64) -> Option<u64> {
        let is_current = self
            .read
            .is_some_and(|(known, at)| known == version && now.saturating_sub(at) < READ_EVERY_MS);
        if self.reading.is_some() || (is_current && !self.is_read_due) {
            return None;
        }
        self.is_read_due = false;
        self.number += 1;
        self.reading = Some((self.number, version));
        Some(self.number)
    }

    /// They have been read. The slots this node runs and does not own.
    pub(super) fn read(
        &mut self,
        number: u64,
        owners: Option<Vec<Option<Owner>>>,
        me: &NodeId,
        now: u64,
    ) -> Vec<Slot> {
        let Some((asked, version)) = self.reading.take_if(|(asked, _)| *asked == number) else {
            return Vec::new();
        };
        let Some(mut owners) = owners.filter(|owners| owners.len() == usize::from(SLOTS)) else {
            self.is_read_due = true;
            return Vec::new();
        };
        let mut lost = Vec::new();
        for slot in Slot::all() {
            let at = slot.index();
            if self.touched[at] > asked {
                if let Some(known) = &self.known {
                    owners[at] = known[at].clone();
                }
                continue;
            }
            let stored = owners[at].as_ref();
            if let Some(stored) = stored {
                self.floor[at] = self.floor[at].max(stored.epoch);
            }
            let is_mine = |held: &Held| {
                stored.is_some_and(|stored| stored.node == *me && stored.epoch == held.epoch)
            };
            if self.held[at].is_some_and(|held| !is_mine(&held)) {
                lost.push(slot);
            }
        }
        self.known = Some(owners);
        self.read = Some((version, now));
        lost
    }

    /// A claim was answered: the slot's owner now. The epoch, if this node may begin at it.
    pub(super) fn taken(&mut self, slot: Slot, owner: Owner, me: &NodeId) -> Option<Epoch> {
        let epoch = owner.epoch;
        let is_gained = owner.node == *me && epoch > self.floor[slot.index()];
        self.touch(slot);
        self.floor[slot.index()] = self.floor[slot.index()].max(epoch);
        if let Some(known) = &mut self.known {
            known[slot.index()] = Some(owner);
        }
        if !is_gained {
            return None;
        }
        self.held[slot.index()] = Some(Held {
            epoch,
            is_leaving: false,
        });
        Some(epoch)
    }

    /// Others have told what they own. The slots this node runs by an older claim.
    pub(super) fn heard(&mut self, owned: &[Owned]) -> Vec<Slot> {
        let mut lost = Vec::new();
        for Owned {
            slot,
            epoch,
            is_owner,
        } in owned
        {
            let floor = &mut self.floor[slot.index()];
            *floor = (*floor).max(*epoch);
            let is_older = |held: Held| held.epoch < *epoch;
            if *is_owner && self.held[slot.index()].is_some_and(is_older) {
                lost.push(*slot);
            }
        }
        lost
    }

    /// A slot is being left.
    pub(super) fn leave(&mut self, slot: Slot) {
        if let Some(held) = &mut self.held[slot.index()] {
            held.is_leaving = true;
        }
    }

    /// Slots are run here no longer. Those that were, and at which epoch.
    pub(super) fn drop(&mut self, slots: &[Slot]) -> Vec<(Slot, Epoch)> {
        let mut dropped = Vec::new();
        for slot in slots {
            if let Some(held) = self.held[slot.index()].take() {
                dropped.push((*slot, held.epoch));
            }
        }
        dropped
    }

    fn touch(&mut self, slot: Slot) {
        self.number += 1;
        self.touched[slot.index()] = self.number;
    }
}
