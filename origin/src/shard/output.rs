//! Everything a shard can ask for.

use couplet_proto::Jid;
use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::id::{ConnectionId, EdgeId};
use couplet_proto::slot::Slot;

use super::event::{Receipt, Routed};
use crate::admin::Answering;
use crate::auth::PlainCheck;
use crate::hooks::{Ask, Asked, OnAnswer};
use crate::store::Batch;

/// Everything a shard can ask for.
#[derive(Debug)]
pub enum Output {
    /// Say this to an edge.
    ToEdge(EdgeId, Frame<ToEdge>),
    /// Bring a stanza to the shard of this slot, which is another.
    Route(Slot, Routed),
    /// Tell the sender's shard that its stanza has taken effect here.
    Settle(Receipt),
    /// A stanza of a session of this shard has failed: nothing more will come of it. Never leaves
    /// the shard.
    Finish(Receipt),
    /// Read an account; answered by `Loaded`.
    Load(Slot, Jid),
    /// Answered by `Answered`, which takes the receipt along.
    Ask(Slot, Jid, Ask, Asked, OnAnswer, Option<Receipt>),
    /// Check a password; answered by `Verified`.
    Verify(Jid, EdgeId, ConnectionId, PlainCheck),
    /// Make these durable; answered by one `Committed`. Never two at a time.
    Commit(Vec<Batch>),
    /// Answer an operator.
    Reply(Answering),
    /// The slots belong to another node now: this one must stop.
    Fenced(Slot),
}

// === impl Output ===

impl Output {
    /// Whether this ends a client's stream.
    pub(super) fn ends_stream(&self) -> bool {
        matches!(self, Self::ToEdge(_, frame) if matches!(frame.body, ToEdge::Close { .. }))
    }
}
