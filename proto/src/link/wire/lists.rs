//! Lists: the receivers of a fan that both ends of a lane remember, so that a room's message costs
//! the same on the way to an edge whether ten or ten thousand of its occupants are there.
//!
//! **Invariant:** both ends see the same frames in the same order, and so remember the same; what
//! is forgotten depends on nothing else.

use std::collections::HashMap;

use super::Undecodable;
use super::v1;
use crate::link::epoch::Epoch;
use crate::link::frame::Receiver;
use crate::link::id::ConnectionId;
use crate::slot::Slot;

/// Lists one end remembers; with one more, the half used longest ago is forgotten.
const LISTS_MAX: usize = 4096;

/// A list not used for so many frames is forgotten: nobody of it is on this edge any more.
const IDLE_MAX: u64 = 16_384;

/// How many numbers describe a receiver.
const NUMBERS: usize = 3;

/// What one end of a lane remembers.
#[derive(Debug, Default)]
pub struct Lists {
    known: HashMap<u64, Known>,
    /// How many frames have named a list.
    uses: u64,
}

#[derive(Debug)]
struct Known {
    receivers: Vec<Receiver>,
    used: u64,
}

// === impl Lists ===

impl Lists {
    /// Writes who the receivers of a list are now into a message.
    pub(super) fn encode(&mut self, list: u64, receivers: Vec<Receiver>, message: &mut v1::Fan) {
        message.list = list;
        if list == 0 {
            message.receivers = numbers(&receivers);
            return;
        }
        let known = self.used(list);
        match changes(known, &receivers) {
            Some((left, came)) => {
                take_out(known, &left);
                known.extend(&came);
                message.left = left;
                message.receivers = numbers(&came);
            }
            None => {
                message.is_new = true;
                message.receivers = numbers(&receivers);
                *known = receivers;
            }
        }
    }

    /// Reads who they are.
    pub(super) fn decode(&mut self, message: &v1::Fan) -> Result<Vec<Receiver>, Undecodable> {
        let came = message.receivers.chunks_exact(NUMBERS).map(receiver);
        let came: Vec<Receiver> = came.collect::<Result<_, _>>()?;
        if message.list == 0 {
            return Ok(came);
        }
        let known = self.used(message.list);
        match message.is_new {
            true => *known = came,
            false => {
                take_out(known, &message.left);
                known.extend(came);
            }
        }
        Ok(known.clone())
    }

    /// A list that is used now.
    fn used(&mut self, list: u64) -> &mut Vec<Receiver> {
        self.uses += 1;
        let now = self.uses;
        if now.is_multiple_of(IDLE_MAX) {
            self.known.retain(|_, known| known.used + IDLE_MAX > now);
        }
        if self.known.len() >= LISTS_MAX && !self.known.contains_key(&list) {
            let mut uses: Vec<u64> = self.known.values().map(|known| known.used).collect();
            uses.sort_unstable();
            let median = uses[uses.len() / 2];
            self.known.retain(|_, known| known.used >= median);
        }
        let known = self.known.entry(list).or_insert_with(|| Known {
            receivers: Vec::new(),
            used: now,
        });
        known.used = now;
        &mut known.receivers
    }
}

/// Whose places in `known` are not among the receivers, and who is not in `known`; `None` when it
/// costs less to tell all.
fn changes(known: &[Receiver], receivers: &[Receiver]) -> Option<(Vec<u32>, Vec<Receiver>)> {
    if known == receivers {
        return Some((Vec::new(), Vec::new()));
    }
    let mut sorted: Vec<Receiver> = receivers.to_vec();
    sorted.sort_unstable_by_key(|receiver| receiver.connection);
    let mut before: Vec<Receiver> = known.to_vec();
    before.sort_unstable_by_key(|receiver| receiver.connection);
    let is_in = |all: &[Receiver], one: &Receiver| {
        let found = all.binary_search_by_key(&one.connection, |known| known.connection);
        found.is_ok_and(|place| all[place] == *one)
    };
    let places = known.iter().zip(0u32..);
    let left: Vec<u32> = places
        .filter(|(one, _)| !is_in(&sorted, one))
        .map(|(_, place)| place)
        .collect();
    let came = receivers.iter().filter(|one| !is_in(&before, one));
    let came: Vec<Receiver> = came.copied().collect();
    (left.len() + came.len() * NUMBERS < receivers.len() * NUMBERS).then_some((left, came))
}

/// Takes those at these places, which rise, out of a list.
fn take_out(known: &mut Vec<Receiver>, left: &[u32]) {
    if left.is_empty() {
        return;
    }
    let mut left = left.iter().copied().peekable();
    let mut place = 0u32;
    known.retain(|_| {
        let goes = left.next_if_eq(&place).is_some();
        place += 1;
        !goes
    });
}

fn numbers(receivers: &[Receiver]) -> Vec<u64> {
    let numbers = |receiver: &Receiver| {
        let slot = u64::from(receiver.slot.number());
        [receiver.connection.0, slot, receiver.epoch.0]
    };
    receivers.iter().flat_map(numbers).collect()
}

fn receiver(numbers: &[u64]) -> Result<Receiver, Undecodable> {
    let slot = u16::try_from(numbers[1]).ok().and_then(Slot::new);
    Ok(Receiver {
        connection: ConnectionId(numbers[0]),
        slot: slot.ok_or(Undecodable::Invalid("slot"))?,
        epoch: Epoch(numbers[2]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(connection: u64) -> Receiver {
        Receiver {
            connection: ConnectionId(connection),
            slot: Slot::new(7).expect("below SLOTS"),
            epoch: Epoch(1),
        }
    }

    fn sorted(mut receivers: Vec<Receiver>) -> Vec<Receiver> {
        receivers.sort_unstable_by_key(|receiver| receiver.connection);
        receivers
    }

    #[test]
    fn only_changes_of_a_list_are_told_and_both_ends_agree() {
        let (mut here, mut there) = (Lists::default(), Lists::default());
        let mut say = |list, receivers: Vec<Receiver>| {
            let mut message = v1::Fan::default();
            here.encode(list, receivers.clone(), &mut message);
            let told = message.receivers.len() + message.left.len();
            let read = there.decode(&message).expect("readable");
            assert_eq!(sorted(read), sorted(receivers));
            told
        };
        let all = |range: std::ops::Range<u64>| range.map(receiver).collect::<Vec<_>>();
        assert_eq!(say(1, all(0..1000)), 3000);
        assert_eq!(say(1, all(0..1000)), 0);
        assert_eq!(say(1, all(2..1001)), 2 + 3);
        assert_eq!(say(2, all(0..10)), 30);
        assert_eq!(say(0, all(5..9)), 12);
        assert_eq!(say(1, all(2..1001)), 0);
        // Mostly others: told whole.
        assert_eq!(say(1, all(990..1100)), 330);
        let mut changed = all(990..1100);
        changed[0].epoch = Epoch(2);
        assert_eq!(say(1, changed), 1 + 3);
    }

    #[test]
    fn what_is_not_used_is_forgotten_at_both_ends() {
        let (mut here, mut there) = (Lists::default(), Lists::default());
        let mut random = 1u64;
        for round in 0..40_000u64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let list = 1 + (random >> 33) % 6000;
            let receivers = vec![receiver(list), receiver(1_000_000 + round)];
            let mut message = v1::Fan::default();
            here.encode(list, receivers.clone(), &mut message);
            let read = there.decode(&message).expect("readable");
            assert_eq!(sorted(read), sorted(receivers));
        }
        assert!(here.known.len() <= LISTS_MAX && there.known.len() == here.known.len());
    }
}
