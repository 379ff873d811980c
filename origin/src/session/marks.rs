//! Marks: which stanzas of which sessions an account has had, so that a replay applies once.
//!
//! A stanza is sent again when an edge, an origin or a link between them was lost before its
//! sender heard that it took effect. The marks of those that wrote something are stored in the same
//! batch; what was only passed on to an edge is known to the edge.
//!
//! Each stanza has its own mark: of two that come from one session the first may be lost with the
//! edge it was for while the second is stored.

use bytes::Bytes;
use couplet_proto::link::id::{SessionId, Source};
use smallvec::SmallVec;

use crate::store::{Table, codec};

/// One row for each account.
pub(crate) const MARKS: Table = Table {
    id: 8,
    name: "marks",
    is_resident: true,
};

/// The first version of the stored record.
const RECORD: u8 = 1;

/// Senders remembered; of more, the one heard of longest ago is forgotten.
const SENDERS_MAX: usize = 128;

/// Senders stored with a write: those heard of last.
const STORED_MAX: usize = 32;

/// A sender not heard of for so many milliseconds has nothing to send again.
const KEPT_MS: u64 = 600_000;

/// A client has fewer stanzas than this under way: what is older than that is no repetition.
pub(crate) const WINDOW: u64 = 128;

/// Marks of a shard that makes stanzas itself.
const OF_SHARD_MAX: usize = 128;

/// What an account has had of each session that wrote to it of late.
#[derive(Debug, Clone, Default)]
pub struct Marks(Vec<Sender>);

/// What it has had of one session.
#[derive(Debug, Clone)]
struct Sender {
    session: SessionId,
    /// By the wall clock, in milliseconds: it must mean the same to the next owner.
    at: u64,
    seen: SmallVec<[Mark; 1]>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    number: u64,
    part: u32,
    /// Whether what the stanza did is in the store.
    is_stored: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(message, repeated, tag = "1")]
    marks: Vec<MarkRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MarkRecord {
    #[prost(fixed64, tag = "1")]
    session: u64,
    #[prost(uint64, tag = "2")]
    number: u64,
    #[prost(uint32, tag = "3")]
    part: u32,
    #[prost(uint64, tag = "4")]
    at: u64,
}

// === impl Marks ===

impl Marks {
    /// Whether this has been here.
    pub fn has(&self, source: Source) -> bool {
        let mut senders = self.0.iter().rev();
        let known = senders.find(|known| known.session == source.session);
        known.is_some_and(|known| known.has(source))
    }

    /// Notes that this has been here, and whether it wrote something.
    pub fn note(&mut self, source: Source, now_unix: u64, is_stored: bool) {
        let is_last = self
            .0
            .last()
            .is_some_and(|last| last.session == source.session);
        if !is_last {
            let known = self
                .0
                .iter()
                .position(|known| known.session == source.session);
            let sender = match known {
                Some(place) => self.0.remove(place),
                None => Sender {
                    session: source.session,
                    at: now_unix,
                    seen: SmallVec::new(),
                },
            };
            if self.0.len() >= SENDERS_MAX {
                self.0.remove(0);
            }
            self.0.push(sender);
        }
        if let Some(sender) = self.0.last_mut() {
            sender.at = now_unix;
            sender.note(source, is_stored);
        }
    }

    /// What this did is not stored after all.
    pub fn forget(&mut self, source: Source) {
        let mut senders = self.0.iter_mut();
        if let Some(sender) = senders.find(|known| known.session == source.session) {
            let is_other =
                |mark: &mut Mark| (mark.number, mark.part) != (source.number, source.part);
            sender.seen.retain(is_other);
        }
    }

    /// What is stored has been read again: what was stored only in memory's opinion is forgotten.
    pub fn renew(&mut self, stored: Self) {
        for sender in &mut self.0 {
            sender.seen.retain(|mark| !mark.is_stored);
        }
        for sender in stored.0 {
            for mark in sender.seen {
                let source = Source {
                    session: sender.session,
                    number: mark.number,
                    part: mark.part,
                };
                self.note(source, sender.at, true);
            }
        }
    }

    /// The stored form: of senders who may still send something again.
    pub fn encode(&self, now_unix: u64) -> Bytes {
        let fresh = |sender: &&Sender| {
            let is_fresh = now_unix.saturating_sub(sender.at) < KEPT_MS;
            is_fresh && sender.seen.iter().any(|mark| mark.is_stored)
        };
        let senders = self.0.iter().rev().filter(fresh).take(STORED_MAX);
        let mut marks: Vec<MarkRecord> = senders
            .flat_map(|sender| {
                let stored = sender.seen.iter().rev().filter(|mark| mark.is_stored);
                stored.map(|mark| MarkRecord {
                    session: sender.session.0,
                    number: mark.number,
                    part: mark.part,
                    at: sender.at,
                })
            })
            .collect();
        marks.reverse();
        codec::encode(RECORD, &Record { marks })
    }

    /// Reads what [`Marks::encode`] gave.
    ///
    /// # Errors
    /// In words, when it is damaged.
    pub fn decode(value: &Bytes) -> Result<Self, String> {
        let record: Record =
            codec::decode(RECORD, value).map_err(|error| format!("marks: {error}"))?;
        let mut marks = Self::default();
        for mark in record.marks {
            let source = Source {
                session: SessionId(mark.session),
                number: mark.number,
                part: mark.part,
            };
            marks.note(source, mark.at, true);
        }
        Ok(marks)
    }
}

// === impl Sender ===

impl Sender {
    fn has(&self, source: Source) -> bool {
        let mut seen = self.seen.iter().rev();
        seen.any(|mark| (mark.number, mark.part) == (source.number, source.part))
    }

    fn note(&mut self, source: Source, is_stored: bool) {
        let Source { number, part, .. } = source;
        if source.is_of_client() && number != Source::END {
            self.seen
                .retain(|mark| mark.number == Source::END || mark.number + WINDOW > number);
        } else if self.seen.len() >= OF_SHARD_MAX {
            self.seen.remove(0);
        }
        self.seen.push(Mark {
            number,
            part,
            is_stored,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(session: u64, number: u64, part: u32) -> Source {
        Source {
            session: SessionId(session),
            number,
            part,
        }
    }

    #[test]
    fn what_has_been_here_is_known_and_what_wrote_is_stored() {
        let mut marks = Marks::default();
        assert!(!marks.has(source(1, 1, 0)));
        marks.note(source(1, 5, 1), 10, true);
        marks.note(source(1, 6, 0), 10, false);
        marks.note(source(2, 1, 0), 11, true);
        assert!(marks.has(source(1, 5, 1)) && marks.has(source(1, 6, 0)));
        assert!(!marks.has(source(1, 4, 9)) && !marks.has(source(1, 5, 2)));
        let stored = Marks::decode(&marks.encode(12)).expect("readable");
        assert!(stored.has(source(1, 5, 1)) && stored.has(source(2, 1, 0)));
        assert!(!stored.has(source(1, 6, 0)));
        let mut lost = marks.clone();
        lost.forget(source(1, 5, 1));
        assert!(!lost.has(source(1, 5, 1)) && lost.has(source(1, 6, 0)));
        let later = Marks::decode(&marks.encode(10 + KEPT_MS)).expect("readable");
        assert!(!later.has(source(1, 5, 1)) && later.has(source(2, 1, 0)));
    }

    #[test]
    fn of_a_sender_the_latest_are_remembered() {
        let mut marks = Marks::default();
        for number in 1..=2 * WINDOW {
            marks.note(source(1, number, 0), 1, false);
        }
        assert!(marks.has(source(1, WINDOW + 1, 0)) && !marks.has(source(1, WINDOW, 0)));
        for number in 0..1000 {
            marks.note(source(2, number, Source::OF_SHARD), 1, false);
        }
        assert_eq!(marks.0[1].seen.len(), OF_SHARD_MAX);
    }

    #[test]
    fn the_sender_heard_of_longest_ago_is_forgotten() {
        let mut marks = Marks::default();
        for session in 0..=SENDERS_MAX as u64 {
            marks.note(source(session, 1, 0), 1, false);
            marks.note(source(1, session + 1, 0), 1, false);
        }
        assert!(!marks.has(source(0, 1, 0)));
        assert!(marks.has(source(1, SENDERS_MAX as u64, 0)));
    }
}
