//! Writer: queue and stream → socket; many stanzas in one write; what happens to a slow client.
//!
//! Stanzas wait in the queue, where they share their bytes with other receivers, and are written
//! out in portions only as the socket takes them.

use std::task::{Context, Poll};

use bytes::Buf;
use couplet_proto::Stanza;
use couplet_proto::link::frame::{Detached, ToEdge};
use tracing::debug;

use super::scratch::Scratch;
use super::{Connection, Phase};
use crate::link::queue::{Item, Pace};

/// About how many bytes leave the queue at a time, counted as the queue counts.
const PORTION_BYTES: usize = 128 * 1024;

/// With this much unwritten output a client is not read.
pub(super) const OUTPUT_MAX: usize = 192 * 1024;

// === impl Connection ===

impl Connection {
    /// How much may be taken out of the queue: nothing while the socket is full.
    pub(super) fn output_room(&self) -> usize {
        match self.phase {
            Phase::Open if self.is_flushed() => PORTION_BYTES,
            Phase::Open | Phase::Securing => 0,
            // Nothing more is written, but a resource bound too late must be detached.
            Phase::Closing { .. } | Phase::Gone => usize::MAX,
        }
    }

    /// Whether the socket has taken everything.
    pub(super) fn is_flushed(&self) -> bool {
        self.output.is_empty() && !self.needs_flush
    }

    /// Writes a batch into the output and the frames to the stream, in order.
    pub(super) fn fill(&mut self, batch: &mut Vec<Item>) {
        self.edge.metrics.outbound_depth.record(batch.len() as f64);
        // Read only when there is something to measure.
        let mut origin_now = None;
        for item in batch.drain(..) {
            if self.phase != Phase::Open {
                self.take_last(item);
                continue;
            }
            match item {
                Item::Stanza(stanza, entered) => {
                    self.put(&stanza);
                    if entered != 0 {
                        let uplink = self.edge.link.uplink();
                        if let Some(now) = *origin_now.get_or_insert_with(|| uplink.now_ms()) {
                            let seconds = now.saturating_sub(entered) as f64 / 1000.0;
                            self.edge.metrics.delivery_seconds.record(seconds);
                        }
                    }
                }
                Item::Frame(_, frame) => self.answer(*frame),
            }
        }
    }

    /// An item after the end of the stream: only what must have an answer counts.
    pub(super) fn take_last(&mut self, item: Item) {
        if let Item::Frame(_, frame) = item
            && matches!(*frame, ToEdge::Bound { .. })
        {
            self.answer(*frame);
        }
    }

    fn put(&mut self, stanza: &Stanza) {
        stanza.write(&mut self.output);
        self.edge.metrics.stanzas_out(stanza.kind).increment(1);
    }

    /// Writes as much of the output as the socket takes, in one go where it can.
    pub(super) fn write(&mut self, cx: &mut Context<'_>, now: u64) {
        if self.phase == Phase::Gone || self.is_flushed() {
            return;
        }
        match self.poll_write(cx) {
            Poll::Ready(Ok(())) => {
                if self.deadlines.flushed() {
                    self.place.queue.set_pace(Pace::Flowing);
                }
            }
            Poll::Ready(Err(error)) => {
                debug!(peer = %self.peer, %error, "client's socket broke");
                self.lose(Detached::Lost);
            }
            Poll::Pending => {
                let (_, written) = self.transport.counts();
                if self.deadlines.blocked(now, written) {
                    self.place.queue.set_pace(Pace::Slow);
                }
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.output.is_empty() {
            match self.transport.poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(written)) => {
                    self.needs_flush = true;
                    if written == self.output.len() {
                        self.output.clear();
                    } else {
                        self.output.advance(written);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        let flushed = self.transport.poll_flush(cx);
        self.needs_flush = flushed.is_pending();
        flushed
    }

    /// Ends the transport in good order: our side when everything is written, then the client's.
    ///
    /// A socket closed with bytes unread is reset, and the client might lose the stream error;
    /// so what it still sends is read and thrown away.
    pub(super) fn close(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) {
        let Phase::Closing { is_shut } = self.phase else {
            return;
        };
        if !is_shut && self.is_flushed() {
            match self.transport.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.phase = Phase::Closing { is_shut: true },
                Poll::Ready(Err(_)) => self.phase = Phase::Gone,
                Poll::Pending => {}
            }
        }
        if self.phase == Phase::Gone {
            return;
        }
        // A client that has ended its side may still read what it is told.
        let is_told = self.phase == Phase::Closing { is_shut: true };
        match self.discard(cx, scratch) {
            Poll::Ready(Ok(())) if !is_told => {}
            Poll::Ready(_) => self.phase = Phase::Gone,
            Poll::Pending => {}
        }
    }
}
