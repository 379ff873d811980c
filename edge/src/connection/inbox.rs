//! Inbox: the stanzas a client has sent that have not yet taken effect, as far as credit goes.
//!
//! Where the owner of a slot may die while the edge lives, the frames themselves are kept: a new
//! owner is sent everything in flight again.

use std::collections::VecDeque;

use couplet_proto::link::frame::ToOrigin;
use couplet_proto::link::id::SessionId;

use crate::link::departure::Kept;

/// Up to this many slots are kept when everything has taken effect.
const KEPT_SLOTS: usize = 8;

/// What a session has in flight towards its origin.
#[derive(Debug)]
pub(crate) struct Inbox {
    stanzas_max: usize,
    bytes_max: usize,
    /// Oldest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Everything up to this number has taken effect.
    taken: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    bytes: usize,
    kept: Option<Kept>,
}

// === impl Inbox ===

impl Inbox {
    /// An inbox with nothing in flight.
    pub(crate) fn new(stanzas_max: u32, bytes_max: usize) -> Self {
        Self {
            stanzas_max: usize::try_from(stanzas_max).unwrap_or(usize::MAX).max(1),
            bytes_max,
            entries: VecDeque::new(),
            bytes: 0,
            taken: 0,
        }
    }

    /// A stanza is on its way.
    pub(crate) fn sent(&mut self, number: u64, bytes: usize, kept: Option<Kept>) {
        self.entries.push_back(Entry {
            number,
            bytes,
            kept,
        });
        self.bytes += bytes;
    }

    /// Everything up to `number` has taken effect.
    pub(crate) fn taken(&mut self, number: u64) {
        self.taken = self.taken.max(number);
        while let Some(first) = self.entries.front() {
            if first.number > number {
                break;
            }
            self.bytes -= first.bytes;
            self.entries.pop_front();
        }
        if self.entries.is_empty() && self.entries.capacity() > KEPT_SLOTS {
            self.entries = VecDeque::new();
        }
    }

    /// The highest number known to have taken effect.
    pub(crate) fn last_taken(&self) -> u64 {
        self.taken
    }

    /// The number up to which nothing is in flight.
    pub(crate) fn settled(&self) -> u64 {
        self.entries
            .front()
            .map_or(u64::MAX, |first| first.number - 1)
    }

    /// Whether one more stanza may be read. The one that passes the bound in bytes may.
    pub(crate) fn has_credit(&self) -> bool {
        self.entries.len() < self.stanzas_max && self.bytes < self.bytes_max.max(1)
    }

    /// The frames in flight, to be sent once more.
    pub(crate) fn frames(&self, session: SessionId) -> impl Iterator<Item = ToOrigin> {
        self.entries.iter().filter_map(move |entry| {
            let kept = entry.kept.as_ref()?;
            Some(kept.frame(session, entry.number))
        })
    }

    /// Gives away what is kept.
    pub(crate) fn take(&mut self) -> Vec<(u64, Kept)> {
        self.bytes = 0;
        let entries = std::mem::take(&mut self.entries).into_iter();
        entries
            .filter_map(|entry| Some((entry.number, entry.kept?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_ends_and_returns_with_what_has_taken_effect() {
        let mut inbox = Inbox::new(3, 100);
        for number in 1..=3 {
            assert!(inbox.has_credit());
            inbox.sent(number, 10, None);
        }
        assert!(!inbox.has_credit());
        inbox.taken(1);
        assert!(inbox.has_credit());
        // Numbers the edge dropped itself are missing here.
        inbox.sent(7, 90, None);
        assert!(!inbox.has_credit());
        inbox.taken(6);
        assert_eq!(inbox.settled(), 6);
        assert!(inbox.has_credit());
        inbox.taken(7);
        assert_eq!(inbox.bytes, 0);
        assert_eq!(inbox.settled(), u64::MAX);
        assert_eq!(inbox.last_taken(), 7);
    }
}
