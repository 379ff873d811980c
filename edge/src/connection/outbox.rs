//! Outbox: what a client has been sent and has not acknowledged, for a new owner of its session.

use std::collections::VecDeque;

use couplet_proto::link::frame::Unacked;

/// A buffer that grew beyond this is not kept for the next connection.
const KEPT_SLOTS: usize = 1024;

/// The stanzas between those the client has and those delivered, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    entries: VecDeque<Unacked>,
    bytes: usize,
}

// === impl Outbox ===

impl Outbox {
    /// A stanza is on its way.
    pub(super) fn push(&mut self, entry: Unacked) {
        self.bytes += bytes(&entry);
        self.entries.push_back(entry);
    }

    /// The client has the first `count`.
    pub(super) fn ack(&mut self, count: u64) {
        for _ in 0..count {
            let Some(entry) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= bytes(&entry);
        }
    }

    /// About how much memory they hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Unacked> {
        self.entries.iter()
    }

    /// Borrows a buffer to write into, if it has none of its own.
    pub(super) fn lend(&mut self, spare: &mut VecDeque<Unacked>) {
        if self.entries.capacity() == 0 {
            self.entries = std::mem::take(spare);
        }
    }

    /// Gives the buffer back when nothing is in it; otherwise keeps no more than is needed.
    pub(super) fn reclaim(&mut self, spare: &mut VecDeque<Unacked>) {
        if !self.entries.is_empty() {
            if self.entries.capacity() / 4 > self.entries.len() {
                self.entries.shrink_to_fit();
            }
        } else if self.entries.capacity() > KEPT_SLOTS {
            self.entries = VecDeque::new();
        } else if self.entries.capacity() > 0 {
            *spare = std::mem::take(&mut self.entries);
        }
    }
}

fn bytes(entry: &Unacked) -> usize {
    size_of::<Unacked>() + entry.stanza.wire_bytes()
}
