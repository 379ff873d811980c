//! Address → slot: fixed, keyed, the same on every node.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::xmpp::jid::Jid;

/// How many slots there are. Fixed for the life of a cluster: it is part of every stored key.
pub const SLOTS: u16 = 4096;

/// A fixed portion of all bare addresses; owned by exactly one origin at a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u16);

/// The cluster's seed: chosen once, kept in the store, so that nobody can aim at one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 16]);

// === impl Slot ===

impl Slot {
    /// The slot of an account or service, whatever the resource.
    pub fn of(seed: Seed, jid: &Jid) -> Self {
        let mut hasher = SipHasher24::new_with_key(&seed.0);
        hasher.write(jid.bare().as_bytes());
        let slot = hasher.finish() % u64::from(SLOTS);
        Self(u16::try_from(slot).expect("below SLOTS"))
    }

    /// The slot of this number, if there is one.
    pub fn new(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    /// Its number, below [`SLOTS`].
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Its number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Every slot.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS).map(Self)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:04}", self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values: a change here would scatter every stored account.
    #[test]
    fn the_slot_of_an_address_never_changes() {
        let seed = Seed(*b"0123456789abcdef");
        let slot = |jid| Slot::of(seed, &Jid::parse(jid).expect("valid")).number();
        assert_eq!(
            slot("juliet@capulet.lit"),
            slot("juliet@capulet.lit/balcony")
        );
        assert_eq!(
            [
                slot("juliet@capulet.lit"),
                slot("romeo@montague.lit"),
                slot("capulet.lit")
            ],
            [1334, 3130, 390]
        );
    }

    #[test]
    fn addresses_spread_evenly() {
        let seed = Seed([7; 16]);
        let mut counts = vec![0u32; usize::from(SLOTS)];
        for user in 0..40_960 {
            let jid = Jid::parse(&format!("user{user}@localhost")).expect("valid");
            counts[Slot::of(seed, &jid).index()] += 1;
        }
        assert!(
            counts.iter().all(|count| *count < 40),
            "{:?}",
            counts.iter().max()
        );
    }
}
