//! Trace: how a sampled stanza is followed from node to node.
//!
//! ```text
//! edge.receive ─▶ origin.handle (sender) ─┬▶ origin.commit
//!                                         └▶ origin.handle (receiver) ─┬▶ origin.commit
//!                                                                      └▶ edge.deliver
//! ```
//!
//! A stanza that is followed carries a [`Trace`]; all others carry nothing, and cost a look at
//! that. Whoever does something with one tells the process's [`Tracer`] when it is done, and gives
//! its own name along as the parent of what comes next.
//!
//! **Invariant:** no client sets a trace, and none sees one: it is no part of what is written to
//! sockets and to the store.

use crate::slot::Slot;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::{Kind, Stanza, Type};
pub use crate::xmpp::trace::{SpanId, Trace, TraceId};

/// Something that was done with a sampled stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What it belongs to.
    pub trace: TraceId,
    /// Its own name.
    pub id: SpanId,
    /// What it comes of; `None` for the first.
    pub parent: Option<SpanId>,
    /// What was done.
    pub act: Act,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// What came of it, in a word.
    pub outcome: &'static str,
    /// For the receiver's or the sender's account.
    pub slot: Option<Slot>,
    /// The kind of the stanza,
    pub kind: Kind,
    /// its type,
    pub type_: Type,
    /// and about how large it is.
    pub bytes: usize,
    /// Who sent it, as far as that is known here. May hold what operators must not see unasked.
    pub from: Option<Jid>,
    /// Whom it is for.
    pub to: Option<Jid>,
}

/// What is done with a stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// An edge reads it and gives it to the link.
    Receive,
    /// The owner of the sender's slot applies what belongs to the sender.
    HandleSent,
    /// The owner of the receiver's slot applies what belongs to the receiver.
    HandleReceived,
    /// The owner of an account goes on with what it had to look up.
    HandleAnswered,
    /// What came of it waits until it is stored.
    Commit,
    /// An edge writes it to the client's socket.
    Deliver,
}

/// Takes what was done. Never waits; what there is no room for is lost.
pub trait Tracer: Send + Sync + 'static {
    /// The present time in nanoseconds since 1970, of a clock that does not jump.
    fn now(&self) -> u64;

    /// Something is done.
    fn done(&self, span: Span);
}

// === impl Act ===

impl Act {
    /// What operators read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "edge.receive",
            Self::HandleSent | Self::HandleReceived | Self::HandleAnswered => "origin.handle",
            Self::Commit => "origin.commit",
            Self::Deliver => "edge.deliver",
        }
    }

    /// Whose account it was done for, where that is not plain.
    pub const fn side(self) -> Option<&'static str> {
        match self {
            Self::HandleSent => Some("sender"),
            Self::HandleReceived => Some("receiver"),
            Self::HandleAnswered => Some("answer"),
            Self::Receive | Self::Commit | Self::Deliver => None,
        }
    }
}

// === impl Span ===

impl Span {
    /// Something that begins now with a stanza that carries `trace`.
    pub fn begin(act: Act, trace: &Trace, id: SpanId, stanza: &Stanza, start: u64) -> Self {
        Self {
            trace: trace.id,
            id,
            parent: Some(trace.span),
            act,
            start,
            end: start,
            outcome: "done",
            slot: None,
            kind: stanza.kind,
            type_: stanza.type_,
            bytes: stanza.wire_bytes(),
            from: stanza.from.clone(),
            to: stanza.to.clone(),
        }
    }

    /// What a stanza that comes of this carries.
    pub const fn child(&self) -> Trace {
        Trace {
            id: self.trace,
            span: self.id,
            at: 0,
        }
    }
}

impl std::fmt::Debug for dyn Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tracer")
    }
}
