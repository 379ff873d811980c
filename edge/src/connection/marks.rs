//! Marks: which stanzas of which sender a connection has had, so that one sent again after a crash
//! is not written twice.
//!
//! Two generations: what was not marked again within one or two spans is forgotten.

use couplet_proto::link::id::{SessionId, Source};
use hashbrown::HashMap;
use smallvec::SmallVec;

/// How long a mark lives at least.
pub(super) const SPAN_MS: u64 = 30_000;

/// At most so many marks in a generation; one more begins the next early.
const COUNT_MAX: usize = 4096;

/// A client has no more stanzas under way than this: what is older than that is no repetition.
const WINDOW: u64 = 256;

type Generation = HashMap<SessionId, Seen, foldhash::fast::RandomState>;

/// What was seen of each sender.
#[derive(Debug, Default)]
pub(super) struct Marks {
    recent: Generation,
    older: Generation,
}

/// What was seen of one sender: its highest stanza, and others within the window. Not everything
/// comes in the order it was sent: a message that waited is overtaken by what never waits.
#[derive(Debug, Clone, Default)]
struct Seen {
    highest: u64,
    stanzas: SmallVec<[(u64, u32); 1]>,
    /// Whether it is a room.
    is_room: bool,
}

// === impl Marks ===

impl Marks {
    /// Marks a stanza; false when it has been marked before.
    pub(super) fn is_new(&mut self, source: Source) -> bool {
        let session = source.session;
        if !self.recent.contains_key(&session) {
            let older = self.older.get(&session);
            if older.is_some_and(|older| older.has(source)) {
                return false;
            }
            if self.recent.len() >= COUNT_MAX {
                self.age();
            }
            let known = self.older.remove(&session).unwrap_or_default();
            self.recent.insert(session, known);
        }
        let known = self.recent.get_mut(&session);
        known.is_none_or(|known| known.is_new(source))
    }

    /// What was seen of late, in order.
    pub(super) fn sources(&self) -> Vec<Source> {
        let all = self.older.iter().chain(&self.recent);
        let mut sources: Vec<Source> = all
            .flat_map(|(session, seen)| seen.sources(*session))
            .collect();
        sources.sort_unstable();
        sources
    }

    /// A span is over. True when no mark is left.
    pub(super) fn age(&mut self) -> bool {
        self.older = std::mem::take(&mut self.recent);
        self.older.is_empty()
    }
}

// === impl Seen ===

impl Seen {
    fn sources(&self, session: SessionId) -> impl Iterator<Item = Source> {
        let of_shard = self
            .stanzas
            .is_empty()
            .then_some((self.highest, self.part()));
        let stanzas = self.stanzas.iter().copied().chain(of_shard);
        stanzas.map(move |(number, part)| Source {
            session,
            number,
            part,
        })
    }

    /// The part of what no client sent.
    fn part(&self) -> u32 {
        match self.is_room {
            true => Source::OF_ROOM,
            false => Source::OF_SHARD,
        }
    }

    fn has(&self, source: Source) -> bool {
        match source.is_of_client() {
            true => self.stanzas.contains(&(source.number, source.part)),
            // What a shard or a room makes comes in order, with gaps of any size.
            false => source.number <= self.highest,
        }
    }

    fn is_new(&mut self, source: Source) -> bool {
        if self.has(source) {
            return false;
        }
        if source.number != Source::END {
            self.highest = self.highest.max(source.number);
        }
        self.is_room = source.part == Source::OF_ROOM;
        if source.is_of_client() {
            let oldest = self.highest.saturating_sub(WINDOW);
            self.stanzas.retain(|(number, _)| *number >= oldest);
            self.stanzas.push((source.number, source.part));
        }
        true
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
    fn what_was_seen_is_not_new() {
        let mut marks = Marks::default();
        assert!(marks.is_new(source(1, 5, 0)));
        assert!(!marks.is_new(source(1, 5, 0)));
        assert!(marks.is_new(source(1, 5, 1)));
        assert!(marks.is_new(source(1, 4, 9)));
        assert!(!marks.is_new(source(1, 4, 9)));
        assert!(!marks.is_new(source(1, 5, 1)));
        assert!(marks.is_new(source(2, 1, 0)));
        assert!(marks.is_new(source(1, 6, 0)));
        let of_shard = |number| source(3, number, Source::OF_SHARD);
        assert!(marks.is_new(of_shard(9)) && !marks.is_new(of_shard(8)));
    }

    #[test]
    fn a_mark_lives_one_span_and_no_more_than_two() {
        let mut marks = Marks::default();
        assert!(marks.is_new(source(1, 5, 0)));
        assert!(!marks.age());
        assert!(!marks.is_new(source(1, 5, 0)));
        assert!(marks.age());
        assert!(marks.is_new(source(1, 5, 0)));
    }

    #[test]
    fn there_are_never_more_than_two_generations_of_marks() {
        let mut marks = Marks::default();
        for session in 0..COUNT_MAX as u64 * 5 {
            assert!(marks.is_new(source(session, 1, 0)));
        }
        assert!(marks.recent.len() + marks.older.len() <= 2 * COUNT_MAX);
    }
}
