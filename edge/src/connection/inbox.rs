//! Inbox: the stanzas a client has sent that have not yet taken effect, as far as credit goes.

use std::collections::VecDeque;

/// Up to this many slots are kept when everything has taken effect.
const KEPT_SLOTS: usize = 8;

/// What a session has in flight towards its origin.
#[derive(Debug)]
pub(crate) struct Inbox {
    stanzas_max: usize,
    bytes_max: usize,
    /// Number and size of each stanza, oldest first.
    entries: VecDeque<(u64, usize)>,
    bytes: usize,
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
        }
    }

    /// A stanza is on its way.
    pub(crate) fn sent(&mut self, number: u64, bytes: usize) {
        self.entries.push_back((number, bytes));
        self.bytes += bytes;
    }

    /// Everything up to `number` has taken effect.
    pub(crate) fn taken(&mut self, number: u64) {
        while let Some((first, bytes)) = self.entries.front().copied() {
            if first > number {
                break;
            }
            self.bytes -= bytes;
            self.entries.pop_front();
        }
        if self.entries.is_empty() && self.entries.capacity() > KEPT_SLOTS {
            self.entries = VecDeque::new();
        }
    }

    /// Whether one more stanza may be read. The one that passes the bound in bytes may.
    pub(crate) fn has_credit(&self) -> bool {
        self.entries.len() < self.stanzas_max && self.bytes < self.bytes_max.max(1)
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
            inbox.sent(number, 10);
        }
        assert!(!inbox.has_credit());
        inbox.taken(1);
        assert!(inbox.has_credit());
        // Numbers the edge answered itself are missing here.
        inbox.sent(7, 90);
        assert!(!inbox.has_credit());
        inbox.taken(6);
        assert!(inbox.has_credit());
        inbox.taken(7);
        assert_eq!(inbox.bytes, 0);
    }
}
