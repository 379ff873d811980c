//! Followed: what is told of the few stanzas of a connection that are followed.
//!
//! **Invariant:** while nothing is traced a connection holds none of this.

use std::sync::Arc;

use couplet_proto::link::frame::ToOrigin;
use couplet_proto::trace::{Act, Span, SpanId, Trace, TraceId, Tracer};
use couplet_proto::{Jid, Stanza};

use super::{Connection, Edgewide};

/// Stanzas written whose end is awaited; of more nothing is told.
const WRITTEN_MAX: usize = 64;

/// What a connection keeps while stanzas are followed.
#[derive(Debug)]
pub(super) struct Followed {
    tracer: Arc<dyn Tracer>,
    /// Stanzas of the client until the next one that is followed.
    gap: u32,
    /// When the socket was read last.
    read_at: u64,
    /// Written, and not yet taken by the socket.
    written: Vec<Span>,
}

// === impl Followed ===

impl Followed {
    /// What a new connection begins with; `None` while nothing is followed.
    pub(super) fn begin(edge: &Edgewide) -> Option<Box<Self>> {
        let sampling = edge.link.sampling.get()?;
        Some(Box::new(Self {
            tracer: Arc::clone(&sampling.tracer),
            gap: sampling.gap(edge.draw_fraction()),
            read_at: 0,
            written: Vec::new(),
        }))
    }

    /// The socket has given something.
    pub(super) fn read(&mut self) {
        self.read_at = self.tracer.now();
    }

    /// A stanza has been written to the output, for this address.
    pub(super) fn write(&mut self, edge: &Edgewide, stanza: &Stanza, to: &Jid) {
        let Some(trace) = &stanza.trace else {
            return;
        };
        if self.written.len() < WRITTEN_MAX {
            let start = if trace.at == 0 {
                self.tracer.now()
            } else {
                trace.at
            };
            let mut span = Span::begin(Act::Deliver, trace, draw_span(edge), stanza, start);
            span.to = Some(to.clone());
            span.outcome = "written";
            self.written.push(span);
        }
    }

    /// The socket has taken everything.
    pub(super) fn flushed(&mut self) {
        if self.written.is_empty() {
            return;
        }
        let end = self.tracer.now();
        for span in std::mem::take(&mut self.written) {
            self.tracer.done(Span { end, ..span });
        }
    }
}

impl Drop for Followed {
    /// What the socket has not taken it will not take any more.
    fn drop(&mut self) {
        for span in &mut self.written {
            span.outcome = "lost";
        }
        self.flushed();
    }
}

// === impl Connection ===

impl Connection {
    /// Chooses some of the client's stanzas to be followed. What is to be told of this one once it
    /// is handed to the link.
    pub(super) fn follow_stanza(&mut self, frame: &mut ToOrigin) -> Option<Box<Span>> {
        let followed = self.followed.as_mut()?;
        let ToOrigin::Stanza { stanza, .. } = frame else {
            return None;
        };
        if let Some(left) = followed.gap.checked_sub(1) {
            followed.gap = left;
            return None;
        }
        let edge = &self.edge;
        followed.gap = edge.link.sampling.get()?.gap(edge.draw_fraction());
        let trace = Trace {
            id: TraceId(edge.draw().max(1)),
            span: draw_span(edge),
            at: 0,
        };
        let mut span = Span::begin(Act::Receive, &trace, trace.span, stanza, followed.read_at);
        span.parent = None;
        span.slot = self.slot;
        span.from = self.attachment.as_ref().map(|held| held.jid().clone());
        Arc::make_mut(stanza).trace = Some(Box::new(trace));
        Some(Box::new(span))
    }

    /// A stanza that is followed has been handed to the link, or waits for that.
    pub(super) fn handed_on(&self, mut span: Span) {
        let Some(followed) = &self.followed else {
            return;
        };
        span.end = followed.tracer.now();
        span.outcome = match (self.route, self.ups.is_empty()) {
            (None, _) => "parked",
            (Some(_), true) => "sent",
            (Some(_), false) => "waits",
        };
        followed.tracer.done(span);
    }
}

fn draw_span(edge: &Edgewide) -> SpanId {
    let half = edge.draw() & u128::from(u64::MAX);
    SpanId(u64::try_from(half).unwrap_or(1).max(1))
}
