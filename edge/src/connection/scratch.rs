//! Scratch: the buffers a connection borrows from its thread while it runs, and never keeps.

use std::cell::Cell;
use std::collections::VecDeque;

use bytes::BytesMut;
use couplet_proto::link::frame::Unacked;

use crate::link::queue::Item;

/// Read at most this much at once.
const READ_BYTES: usize = 16 * 1024;

/// A write buffer that grew beyond this is not kept for the next connection.
const KEPT_BYTES: usize = 256 * 1024;

/// A batch that grew beyond this is not kept for the next connection.
const KEPT_ITEMS: usize = 1024;

thread_local! {
    static SPARE: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// One thread's buffers.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) read: Box<[u8]>,
    pub(super) batch: Vec<Item>,
    pub(super) outbox: VecDeque<Unacked>,
    write: BytesMut,
}

// === impl Scratch ===

impl Scratch {
    /// Takes this thread's buffers. The turn of one connection never awaits, so they are there
    /// unless the turn before panicked.
    pub(super) fn borrow() -> Box<Self> {
        SPARE.take().unwrap_or_else(|| {
            Box::new(Self {
                read: vec![0; READ_BYTES].into_boxed_slice(),
                batch: Vec::new(),
                outbox: VecDeque::new(),
                write: BytesMut::new(),
            })
        })
    }

    /// Gives `output` the thread's buffer to write into, if it has none of its own.
    pub(super) fn lend_output(&mut self, output: &mut BytesMut) {
        if output.is_empty() {
            *output = std::mem::take(&mut self.write);
        }
    }

    /// Takes the buffer back; what is still in it stays with the connection as a copy.
    pub(super) fn reclaim_output(&mut self, output: &mut BytesMut) {
        if output.is_empty() {
            self.write = std::mem::take(output);
        } else if self.write.capacity() == 0 {
            let rest = BytesMut::from(&output[..]);
            self.write = std::mem::replace(output, rest);
        }
        self.write.clear();
        if self.write.capacity() > KEPT_BYTES {
            self.write = BytesMut::new();
        }
    }

    /// Leaves the buffers for the next connection on this thread.
    pub(super) fn give_back(mut self: Box<Self>) {
        self.batch.clear();
        if self.batch.capacity() > KEPT_ITEMS {
            self.batch = Vec::new();
        }
        SPARE.set(Some(self));
    }
}
