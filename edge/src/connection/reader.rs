//! Reader: socket → framer → stream → uplink, as fast as the client has credit.

use std::io;
use std::task::{Context, Poll};

use bytes::Buf;
use couplet_proto::link::frame::Detached;
use tracing::debug;

use super::scratch::Scratch;
use super::writer::OUTPUT_MAX;
use super::{Connection, Phase};
use crate::stream::Event;

/// How often a client is read in one turn before the others get theirs.
const READS_PER_TURN: usize = 4;

// === impl Connection ===

impl Connection {
    /// Reads and handles what the client sent, as far as it may.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: u64) {
        self.go_on();
        for _ in 0..READS_PER_TURN {
            if !self.input.is_empty() || !self.may_read() {
                return;
            }
            match self.transport.poll_read(cx, &mut scratch.read) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => {
                    debug!(peer = %self.peer, "client closed its socket");
                    // What it sent before may have an answer, and it may still be reading.
                    self.write(cx, now);
                    self.record.ends("eof");
                    self.lose(Detached::Lost);
                    return;
                }
                Poll::Ready(Ok(length)) => {
                    self.deadlines.heard(now);
                    if let Some(followed) = &mut self.followed {
                        followed.read();
                    }
                    let rest = self.consume(&scratch.read[..length]);
                    self.input.extend_from_slice(rest);
                }
                Poll::Ready(Err(error)) => {
                    debug!(peer = %self.peer, %error, "client's socket broke");
                    self.record.ends("reset");
                    self.lose(Detached::Lost);
                    return;
                }
            }
        }
        // There is more, after the others had their turn.
        cx.waker().wake_by_ref();
    }

    /// Goes on with what was left when the client had to wait.
    fn go_on(&mut self) {
        if self.input.is_empty() || !self.may_go_on() {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        let rest = self.consume(&input).len();
        if rest > 0 {
            input.advance(input.len() - rest);
            self.input = input;
        }
    }

    /// Handles items until the input is used up or the client has to wait. Returns what is left.
    fn consume<'a>(&mut self, mut input: &'a [u8]) -> &'a [u8] {
        while self.may_go_on() {
            match self.framer.next(&mut input) {
                Ok(Some(item)) => self.step(Event::Item(item)),
                Ok(None) => return &[],
                Err(error) => self.step(Event::Broken(error)),
            }
        }
        match self.phase {
            Phase::Open => input,
            // Nothing after `<starttls/>` or after the end of the stream is looked at.
            Phase::Securing | Phase::Closing { .. } | Phase::Gone => &[],
        }
    }

    /// Whether the next item may be handled.
    fn may_go_on(&mut self) -> bool {
        self.phase == Phase::Open
            && self.ups.is_empty()
            && !self.stream.is_waiting()
            && self.has_credit()
    }

    /// Whether the socket may be read. A client that does not read its answers is not heard
    /// either: what the edge itself answers is bounded by this alone.
    fn may_read(&mut self) -> bool {
        self.output.len() < OUTPUT_MAX && self.may_go_on()
    }

    /// Whether the session may send one more stanza; if not, credit will wake the task.
    fn has_credit(&mut self) -> bool {
        if self.inbox.has_credit() {
            if self.is_out_of_credit {
                self.is_out_of_credit = false;
                self.place.queue.set_wants_credit(self.is_owing);
            }
            return true;
        }
        if !self.is_out_of_credit {
            self.is_out_of_credit = true;
            self.edge.metrics.credit_stalls.increment(1);
        }
        let taken = self.place.queue.set_wants_credit(true);
        self.settle(taken);
        self.inbox.has_credit()
    }

    /// Whether the client is not read because of what it has sent: that has not taken effect yet,
    /// or cannot be sent on.
    pub(super) fn is_held_up(&self) -> bool {
        self.is_out_of_credit || !self.ups.is_empty()
    }

    /// Has the queue wake the task for what takes effect while the client is owed word of it.
    pub(super) fn watch_owed(&mut self) {
        let is_owing = self.stream.owes_ack();
        if is_owing != self.is_owing {
            self.is_owing = is_owing;
            let wants = is_owing || self.is_out_of_credit;
            let taken = self.place.queue.set_wants_credit(wants);
            self.settle(taken);
        }
    }

    /// Throws away what the client still sends, while its end of the stream is awaited. Ready at
    /// the end.
    pub(super) fn discard(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Poll<io::Result<()>> {
        for _ in 0..READS_PER_TURN {
            match self.transport.poll_read(cx, &mut scratch.read) {
                Poll::Ready(Ok(length)) if length > 0 => {}
                ended => return ended.map_ok(|_| ()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
