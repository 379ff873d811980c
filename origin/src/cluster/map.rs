//! Map: where each slot's owner is, as this process knows it.
//!
//! Fed by this node's own claims and by what other origins announce. The highest epoch wins: it is
//! the newer claim. One word for each slot, so that whoever routes a stanza pays one load.

use std::sync::atomic::{AtomicU64, Ordering};

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::PeerId;
use couplet_proto::slot::{SLOTS, Slot};

/// Where a slot's owner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In this process, at this epoch.
    Here(Epoch),
    /// Behind this link.
    Peer(PeerId, Epoch),
    /// Nobody is known, or nobody that can be reached. The epoch is the last one known.
    Nowhere(Epoch),
}

/// The owners of all slots.
#[derive(Debug)]
pub struct OwnerMap(Box<[AtomicU64]>);

/// The owners as one shard has heard of them. Until it has heard of a new one it goes on sending to
/// the former, who does not take it any more: so nothing overtakes what is sent to the new one
/// again.
#[derive(Debug)]
pub struct Heard(Box<[u64]>);

/// Low bits of a word: 0 is nowhere, 1 is here, more are links.
const PLACE_BITS: u32 = 24;
const HERE: u64 = 1;
const FIRST_PEER: u64 = 2;

// === impl Way ===

impl Way {
    /// The epoch of the owner, or the last one known.
    pub fn epoch(self) -> Epoch {
        match self {
            Self::Here(epoch) | Self::Peer(_, epoch) | Self::Nowhere(epoch) => epoch,
        }
    }

    fn word(self) -> u64 {
        let place = match self {
            Self::Nowhere(_) => 0,
            Self::Here(_) => HERE,
            Self::Peer(peer, _) => FIRST_PEER + u64::from(peer.0),
        };
        self.epoch().0 << PLACE_BITS | place
    }

    fn of_word(word: u64) -> Self {
        let epoch = Epoch(word >> PLACE_BITS);
        match word & ((1 << PLACE_BITS) - 1) {
            0 => Self::Nowhere(epoch),
            HERE => Self::Here(epoch),
            peer => Self::Peer(
                PeerId(u32::try_from(peer - FIRST_PEER).unwrap_or(u32::MAX)),
                epoch,
            ),
        }
    }
}

// === impl OwnerMap ===

impl Default for OwnerMap {
    /// Nobody owns anything.
    fn default() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl OwnerMap {
    /// Nobody owns anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// The way to a slot's owner.
    pub fn way(&self, slot: Slot) -> Way {
        Way::of_word(self.0[slot.index()].load(Ordering::Acquire))
    }

    /// Notes a claim; false, and no change, when a newer one is known or it says nothing new.
    pub fn learn(&self, slot: Slot, way: Way) -> bool {
        let newer = |word| {
            let known = Way::of_word(word);
            (way.epoch() >= known.epoch() && way != known).then(|| way.word())
        };
        let word = &self.0[slot.index()];
        word.fetch_update(Ordering::AcqRel, Ordering::Acquire, newer)
            .is_ok()
    }

    /// A link is gone: its slots, in order, have no owner that can be reached.
    pub fn forget(&self, peer: PeerId) -> Vec<Slot> {
        let mut lost = Vec::new();
        for slot in Slot::all() {
            let here = |word| match Way::of_word(word) {
                Way::Peer(known, epoch) if known == peer => Some(Way::Nowhere(epoch).word()),
                _ => None,
            };
            let word = &self.0[slot.index()];
            if word
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, here)
                .is_ok()
            {
                lost.push(slot);
            }
        }
        lost
    }
}

// === impl Heard ===

impl Heard {
    /// The owners there are.
    pub fn new(owners: &OwnerMap) -> Self {
        let words = owners.0.iter();
        Self(words.map(|word| word.load(Ordering::Acquire)).collect())
    }

    /// The way to a slot's owner, as far as has been heard.
    pub fn way(&self, slot: Slot) -> Way {
        Way::of_word(self.0[slot.index()])
    }

    /// The shard hears of the owners of these slots.
    pub fn hear(&mut self, slots: &[Slot], owners: &OwnerMap) {
        for slot in slots {
            self.0[slot.index()] = owners.0[slot.index()].load(Ordering::Acquire);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_claim_wins() {
        let map = OwnerMap::new();
        let slot = Slot::new(7).expect("below SLOTS");
        let (first, second) = (PeerId(0), PeerId(1));
        assert_eq!(map.way(slot), Way::Nowhere(Epoch(0)));
        assert!(map.learn(slot, Way::Peer(first, Epoch(3))));
        assert!(!map.learn(slot, Way::Peer(first, Epoch(3))));
        assert!(!map.learn(slot, Way::Peer(second, Epoch(2))));
        assert!(map.learn(slot, Way::Here(Epoch(4))));
        assert!(!map.learn(slot, Way::Nowhere(Epoch(3))));
        assert_eq!(map.way(slot), Way::Here(Epoch(4)));
        assert!(map.forget(first).is_empty());
        assert!(map.learn(slot, Way::Peer(second, Epoch(5))));
        assert_eq!(map.forget(second), [slot]);
        assert_eq!(map.way(slot), Way::Nowhere(Epoch(5)));
    }
}
