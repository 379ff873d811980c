//! Everything a shard can ask for.

use std::sync::Arc;

use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId, Source};
use couplet_proto::slot::Slot;
use couplet_proto::{Jid, Stanza};
use tokio::sync::oneshot;

use super::event::{Fanned, Receipt, Routed};
use crate::admin::Answering;
use crate::auth::PlainCheck;
use crate::hooks::context::Fan;
use crate::hooks::{Ask, Asked, OnAnswer};
use crate::session::Session;
use crate::session::outbox::Entry;
use crate::store::Batch;

/// Everything a shard can ask for.
#[derive(Debug)]
pub enum Output {
    /// Say this to an edge; when the edge has it, the debt is paid.
    ToEdge(EdgeId, Frame<ToEdge>, Option<u64>),
    /// Bring a stanza to the owner of this slot, wherever that is; nowhere if there is none.
    Route(Slot, Routed),
    /// Bring stanzas to the owners of the slots of their receivers, wherever those are.
    Fan(Fanned),
    /// Tell whoever routed a stanza here that it has taken effect.
    Settle(Receipt),
    /// List the accounts of a slot with sessions that wait; answered by `Sleepers`.
    Sleepers(Slot),
    /// Read an account; answered by `Loaded`.
    Load(Slot, Jid),
    /// Answered by `Answered`, which takes the debt along.
    Ask(Slot, Jid, Ask, Asked, OnAnswer, Option<u64>),
    /// Check a password; answered by `Verified`.
    Verify(Jid, EdgeId, ConnectionId, PlainCheck),
    /// Make these durable; answered by one `Committed`. Never two at a time.
    Commit(Vec<Batch>),
    /// Answer an operator.
    Reply(Answering),
    /// Tell an edge that this node does not own the slot at the epoch it thinks.
    Moved(EdgeId, Slot),
    /// Nothing of a slot is under way any more: it may be another's.
    Left(oneshot::Sender<()>),
    /// The store refused a write: a slot belongs to another node now.
    Fenced(Slot),
    /// Not yet released: a stanza for another account. Never leaves the shard, like those below.
    Send(Arc<Stanza>, u64, Option<Source>, Option<u64>),
    /// Stanzas for sessions of other accounts, and what is paid when they have taken effect.
    Fanning(Fan, Option<u64>),
    /// A stanza for a session, and what is paid when its edge, or the store, has it.
    Deliver(SessionId, Box<Entry>, u64, Option<u64>),
    /// A session has its connection here now, and has had so many stanzas.
    Reached(SessionId, EdgeId, ConnectionId, u64),
    /// Stream management of a session is on.
    Enabled(SessionId),
    /// What is paid when the edge of a session, or the store, has all it was sent so far.
    Follow(SessionId, Option<u64>),
    /// This session has ended, and that is stored.
    Ended(Box<Session>),
    /// One thing less has to happen.
    Pay(u64),
}

// === impl Output ===

impl Output {
    /// Whether this goes out although what its handler wrote is not stored: the end of a client's
    /// stream, and a question that a feature waits for.
    pub(super) fn outlives_failure(&self) -> bool {
        match self {
            Self::ToEdge(_, frame, _) => matches!(frame.body, ToEdge::Close { .. }),
            Self::Ask(_, _, _, asked, ..) => asked.request.is_none(),
            _ => false,
        }
    }
}
