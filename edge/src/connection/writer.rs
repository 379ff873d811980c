//! Writer: queue and stream → socket; many stanzas in one write; what happens to a slow client.
//!
//! Stanzas wait in the queue, where they share their bytes with other receivers, and are written
//! out in portions only as the socket takes them.

use std::task::{Context, Poll};

use bytes::Buf;
use couplet_proto::Stanza;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Detached, ToEdge, Unacked};
use tracing::debug;

use super::scratch::Scratch;
use super::{Connection, Phase};
use crate::link::late;
use crate::link::queue::{Delivered, Item, Pace};

/// About how many bytes leave the queue at a time, counted as the queue counts.
const PORTION_BYTES: usize = 128 * 1024;

/// With this much unwritten output a client is not read.
pub(super) const OUTPUT_MAX: usize = 192 * 1024;

// === impl Connection ===

impl Connection {
    /// How much may be taken out of the queue: nothing while the socket is full, or while the
    /// client has not said what it has of what it was sent.
    pub(super) fn output_room(&self) -> usize {
        match self.phase {
            Phase::Open if self.is_ending => usize::MAX,
            Phase::Open if self.is_flushed() && !self.is_window_full => PORTION_BYTES,
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
        let mut read = None;
        for item in batch.drain(..) {
            match item {
                Item::Stanza(delivered) if self.phase == Phase::Open => {
                    let entered = delivered.entered;
                    self.deliver(delivered);
                    if entered != 0 {
                        let now = *read.get_or_insert_with(|| self.edge.clock.now_ms());
                        let seconds = now.saturating_sub(entered) as f64 / 1000.0;
                        self.edge.metrics.delivery_seconds.record(seconds);
                    }
                }
                Item::Frame(_, epoch, frame) if self.phase == Phase::Open => {
                    self.take(*frame, epoch);
                }
                Item::Stanza(delivered) => self.undelivered(&delivered),
                Item::Frame(_, _, frame) => self.last_frame(*frame),
            }
        }
        self.ask();
    }

    /// A frame that is no stanza.
    fn take(&mut self, frame: ToEdge, epoch: Epoch) {
        if let ToEdge::Keep { state, .. } = frame {
            match &mut self.attachment {
                _ if !self.keeps => {}
                Some(attachment) => attachment.state = state,
                // It comes before the session.
                None => self.early = Some(Box::new(state)),
            }
            return;
        }
        // What the client counts begins or goes on with what is written before this.
        if let Some(attachment) = &self.attachment {
            self.stream.delivered(attachment.written);
        }
        let is_enabled = matches!(frame, ToEdge::Enabled { .. });
        let is_new = self.attachment.is_none();
        self.answer(frame);
        if is_new && self.attachment.is_some() {
            self.check_binder(epoch);
        }
        if is_enabled && let Some(attachment) = &mut self.attachment {
            attachment.enabling = None;
            if self.stream.is_managed() && !attachment.is_managed() {
                attachment.is_managed_now();
            }
        }
    }

    /// A frame after the end of the stream: only what must have an answer counts.
    pub(super) fn last_frame(&mut self, frame: ToEdge) {
        if late(&frame).is_some() || matches!(frame, ToEdge::Close { .. }) {
            self.answer(frame);
        }
    }

    /// A stanza that is delivered when it cannot be written any more: a new owner must know it.
    pub(super) fn undelivered(&mut self, delivered: &Delivered) {
        if let Some(attachment) = &mut self.attachment {
            attachment.deliver(delivered.into(), self.keeps);
        }
    }

    /// Writes a stanza, unless the client has had it.
    fn deliver(&mut self, delivered: Delivered) {
        let keeps = self.keeps;
        let Some(attachment) = &mut self.attachment else {
            return self.put(&delivered.stanza);
        };
        if keeps && !attachment.is_new(&delivered) {
            self.edge.metrics.duplicates.increment(1);
            let filler = attachment.filler();
            if attachment.is_managed() {
                filler.write(&mut self.output);
            }
            let log = delivered.log;
            let entry = Unacked {
                stanza: filler,
                source: None,
                log,
            };
            return attachment.deliver(entry, keeps);
        }
        self.deadlines
            .marked(attachment.marks.is_some(), self.edge.clock);
        // What is for many does not name each.
        let to = attachment.jid();
        delivered.stanza.write_to(to, &mut self.output);
        if let Some(followed) = &mut self.followed {
            followed.write(&self.edge, &delivered.stanza, to);
        }
        let out = self.edge.metrics.stanzas_out(delivered.stanza.kind);
        out.increment(1);
        self.record.stanza_out();
        let entry = Unacked {
            stanza: delivered.stanza,
            source: delivered.source,
            log: delivered.log,
        };
        attachment.deliver(entry, keeps);
    }

    fn put(&mut self, stanza: &Stanza) {
        stanza.write(&mut self.output);
        self.edge.metrics.stanzas_out(stanza.kind).increment(1);
        self.record.stanza_out();
    }

    /// Asks a client that counts what it has, after something was written.
    fn ask(&mut self) {
        let Some(attachment) = &self.attachment else {
            return;
        };
        self.stream.delivered(attachment.written);
        if attachment.is_managed() && self.stream.ask(&mut self.output) {
            let now = self.edge.clock.now_ms();
            self.deadlines.asked(now, true, true);
        }
        self.check_window();
    }

    /// Whether more may be written: a client that reads but never says what it has is stopped
    /// here, and then by the bound of its queue.
    pub(super) fn check_window(&mut self) {
        let Some(attachment) = self.attachment.as_ref().filter(|held| held.is_managed()) else {
            return;
        };
        let limits = &self.edge.limits;
        let stanzas = usize::try_from(attachment.unacked()).unwrap_or(usize::MAX);
        let is_full = stanzas >= limits.outbound_stanzas.max(1)
            || attachment.outbox.bytes() >= limits.outbound_bytes.max(1);
        if is_full != self.is_window_full {
            self.is_window_full = is_full;
            let pace = if is_full { Pace::Slow } else { Pace::Flowing };
            self.place.queue.set_pace(pace);
        }
    }

    /// Writes as much of the output as the socket takes, in one go where it can.
    pub(super) fn write(&mut self, cx: &mut Context<'_>, now: u64) {
        if self.phase == Phase::Gone {
            return;
        }
        if self.is_flushed() {
            // A stanza the client is not to see has its number too.
            return self.flushed();
        }
        match self.poll_write(cx) {
            Poll::Ready(Ok(())) => {
                if self.deadlines.flushed() && !self.is_window_full {
                    self.place.queue.set_pace(Pace::Flowing);
                }
                self.flushed();
            }
            Poll::Ready(Err(error)) => {
                debug!(peer = %self.peer, %error, "client's socket broke");
                self.record.ends("reset");
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

    fn flushed(&mut self) {
        if let Some(followed) = &mut self.followed {
            followed.flushed();
        }
        if let Some(attachment) = &mut self.attachment
            && matches!(self.phase, Phase::Open)
        {
            attachment.flushed();
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
