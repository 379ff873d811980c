//! Owned: announcements in runs of neighbouring slots.

use super::v1;
use crate::link::epoch::Epoch;
use crate::link::peer::Owned;
use crate::slot::{SLOTS, Slot};

/// Announcements as messages hold them: one for each run of the same epoch, their order kept.
pub fn encode(announced: &[Owned]) -> Vec<v1::Owned> {
    let runs = announced
        .chunk_by(|one, next| one.epoch == next.epoch && one.is_owner == next.is_owner)
        .filter_map(|run| Some((run.first()?, run)));
    let messages = runs.map(|(first, run)| v1::Owned {
        epoch: first.epoch.0,
        is_owner: first.is_owner,
        ranges: ranges(run.iter().map(|owned| owned.slot)),
    });
    messages.collect()
}

/// The announcements in a message. Slots that do not exist are left out.
pub fn decode(message: &v1::Owned) -> impl Iterator<Item = Owned> {
    slots(&message.ranges).map(|slot| Owned {
        slot,
        epoch: Epoch(message.epoch),
        is_owner: message.is_owner,
    })
}

/// Slots as pairs: one, and how many there are from it on.
pub(super) fn ranges(slots: impl Iterator<Item = Slot>) -> Vec<u32> {
    let mut ranges: Vec<u32> = Vec::new();
    for slot in slots {
        let slot = u32::from(slot.number());
        match &mut ranges[..] {
            [.., first, count] if *first + *count == slot => *count += 1,
            _ => ranges.extend([slot, 1]),
        }
    }
    ranges
}

/// The slots of such pairs.
pub(super) fn slots(ranges: &[u32]) -> impl Iterator<Item = Slot> {
    let (pairs, _) = ranges.as_chunks::<2>();
    pairs.iter().flat_map(|&[first, count]| {
        let end = first.saturating_add(count).min(u32::from(SLOTS));
        (first..end).filter_map(|slot| Slot::new(u16::try_from(slot).ok()?))
    })
}
