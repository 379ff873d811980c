//! Bulk: what rooms send to many waits here for its turn, so that a hot room slows nobody else.
//!
//! In each round a shard takes what is in its mailbox and then some of this: a slice of the oldest
//! of each room in turn. What is for few is not worth the wait, unless it would overtake.
//!
//! **Invariant:** of one room everything leaves in the order it came.

use std::collections::VecDeque;

use couplet_proto::Jid;

use super::event::Fanned;
use super::state::Shard;

/// Receivers that are few.
const FEW: usize = 64;

/// Receivers of one slice.
const SLICE: usize = 256;

/// Receivers of one round.
const ROUND: usize = 1024;

/// Receivers that may wait; with more nothing waits, and the mailbox pushes back.
const WAITING_MAX: usize = 1 << 20;

/// What waits, by the room it comes from.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    /// The room whose turn is next comes first.
    rooms: VecDeque<(Jid, VecDeque<Fanned>)>,
    receivers: usize,
}

// === impl Bulk ===

impl Bulk {
    /// Whether something waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.rooms.is_empty()
    }

    /// Takes what has to wait; gives back what need not.
    fn admit(&mut self, fanned: Fanned) -> Option<Fanned> {
        let is_of_room = fanned.to.first().is_some_and(|to| to.jid.is_full());
        let room = fanned
            .stanzas
            .stanzas
            .first()
            .and_then(|it| it.from.as_ref());
        let Some(room) = room.filter(|_| is_of_room) else {
            return Some(fanned);
        };
        let known = self
            .rooms
            .iter_mut()
            .find(|(known, _)| known.is_same_bare(room));
        match known {
            Some((_, waiting)) => {
                self.receivers += fanned.to.len();
                waiting.push_back(fanned);
            }
            None if fanned.to.len() > FEW && self.receivers < WAITING_MAX => {
                self.receivers += fanned.to.len();
                self.rooms.push_back((room.to_bare(), [fanned].into()));
            }
            None => return Some(fanned),
        }
        None
    }

    /// The next slice.
    fn next(&mut self) -> Option<Fanned> {
        let (room, mut waiting) = self.rooms.pop_front()?;
        let mut first = waiting.pop_front()?;
        if first.to.len() > SLICE {
            let rest = first.to.split_off(SLICE);
            waiting.push_front(first.for_these(rest));
        }
        self.receivers -= first.to.len();
        if !waiting.is_empty() {
            self.rooms.push_back((room, waiting));
        }
        Some(first)
    }
}

// === impl Shard ===

impl Shard {
    /// Gives stanzas to their receivers, now or in turn.
    pub(super) fn fanned_in_turn(&mut self, fanned: Fanned) {
        if let Some(fanned) = self.bulk.admit(fanned) {
            self.fanned(fanned);
        }
    }

    /// Gives some of what waits to its receivers.
    pub(super) fn work_off(&mut self) {
        let mut left = ROUND;
        while left > 0
            && let Some(fanned) = self.bulk.next()
        {
            left = left.saturating_sub(fanned.to.len());
            self.fanned(fanned);
            self.settle();
        }
    }

    /// Whether something waits for its turn: the next round need not wait for an event.
    pub fn has_bulk(&self) -> bool {
        self.bulk.is_waiting()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use couplet_proto::link::epoch::Epoch;
    use couplet_proto::link::id::{SessionId, Source};
    use couplet_proto::link::peer::Addressee;
    use couplet_proto::slot::Slot;
    use couplet_proto::{Kind, Stanza, Type};

    use super::*;
    use crate::shard::event::FannedStanzas;
    use crate::shard::rig::jid;

    /// What a room sends to so many, under a number.
    fn fanned(room: &str, number: u64, receivers: usize) -> Fanned {
        let message = Stanza::new(Kind::Message, Type::Groupchat);
        let message = message.from(jid(&format!("{room}@rooms.x/nick")));
        let stanzas = FannedStanzas {
            stanzas: [Arc::new(message)].into(),
            source: Source {
                session: SessionId(1),
                number,
                part: Source::OF_ROOM,
            },
            list: 0,
            entered: 0,
        };
        let receiver = |route| Addressee {
            route: route as u64,
            slot: Slot::new(1).expect("below SLOTS"),
            epoch: Epoch(1),
            jid: jid("a@x/r"),
        };
        Fanned {
            stanzas: Arc::new(stanzas),
            peer: None,
            shard: 0,
            to: (0..receivers).map(receiver).collect(),
        }
    }

    /// The slices that come out: room, number, receivers.
    fn slices(bulk: &mut Bulk) -> Vec<(String, u64, usize)> {
        let next = || {
            let slice = bulk.next()?;
            let from = slice.stanzas.stanzas[0].sender().local()?.to_owned();
            Some((from, slice.stanzas.source.number, slice.to.len()))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn rooms_have_their_turns_and_each_keeps_its_order() {
        let mut bulk = Bulk::default();
        for number in 1..=2 {
            assert!(bulk.admit(fanned("hot", number, 600)).is_none());
        }
        assert!(bulk.admit(fanned("calm", 7, 100)).is_none());
        // Few go at once, but not before what their room has sent.
        assert!(bulk.admit(fanned("small", 1, 3)).is_some());
        assert!(bulk.admit(fanned("hot", 3, 1)).is_none());
        let expected = [
            ("hot", 1, 256),
            ("calm", 7, 100),
            ("hot", 1, 256),
            ("hot", 1, 88),
            ("hot", 2, 256),
            ("hot", 2, 256),
            ("hot", 2, 88),
            ("hot", 3, 1),
        ];
        let expected = expected.map(|(room, number, count)| (room.to_owned(), number, count));
        assert_eq!(slices(&mut bulk), expected);
        assert_eq!((bulk.is_waiting(), bulk.receivers), (false, 0));
    }
}
