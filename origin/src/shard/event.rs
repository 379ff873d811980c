//! Everything that can happen to a shard.

use std::sync::Arc;

use couplet_proto::link::frame::{Authenticate, Bind, Detached, Frame, Register, ToOrigin};
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId};
use couplet_proto::{Jid, Stanza};

use crate::admin::Request;
use crate::auth::Step;
use crate::hooks::{Answer, Asked, OnAnswer};
use crate::store::{self, Snapshot};

/// Everything that can happen to a shard.
#[derive(Debug)]
pub enum Event {
    /// An edge says something.
    FromEdge(EdgeId, Frame<ToOrigin>),
    /// An edge's link is gone, and with it every connection it held.
    EdgeGone(EdgeId),
    /// Another shard routes a stanza here.
    Routed(Routed),
    /// Another shard has done what stanzas of these sessions asked for.
    Settled(Vec<(SessionId, u64)>),
    /// An account has been read.
    Loaded(Jid, Result<Snapshot, store::Error>),
    /// What a handler asked for is there.
    Answered(Jid, Box<Answered>),
    /// A password has been checked.
    Verified(Jid, Box<Verified>),
    /// The commit in flight has ended.
    Committed(Result<(), store::Error>),
    /// An operator asks.
    Admin(Jid, Box<Request>),
    /// A second has passed.
    Tick,
}

// === impl Event ===

impl Event {
    /// Whether it comes through the inner queue of a shard.
    pub(super) fn is_inner(&self) -> bool {
        match self {
            Self::FromEdge(..) | Self::EdgeGone(_) | Self::Admin(..) | Self::Tick => false,
            Self::Routed(_)
            | Self::Settled(_)
            | Self::Loaded(..)
            | Self::Answered(..)
            | Self::Verified(..)
            | Self::Committed(_) => true,
        }
    }
}

/// A stanza on its way to an account.
#[derive(Debug, Clone)]
pub struct Routed {
    /// The stanza; `from` and `to` are set.
    pub stanza: Arc<Stanza>,
    /// When it entered, in monotonic milliseconds; 0 when it did not come from a client.
    pub entered: u64,
    /// Who waits to hear that it has taken effect.
    pub receipt: Option<Receipt>,
}

/// A client's stanza that waits for its effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The shard of the sender.
    pub shard: u16,
    /// The sender's session.
    pub session: SessionId,
    /// The stanza's number in that session.
    pub number: u64,
}

/// The end of an [`crate::hooks::Ask`].
#[derive(Debug)]
pub struct Answered {
    /// What came back.
    pub answer: Result<Answer, store::Error>,
    /// On whose behalf it was asked.
    pub asked: Asked,
    /// What goes on with it.
    pub then: OnAnswer,
    /// Who waits to hear that the request has been answered.
    pub receipt: Option<Receipt>,
}

/// The end of a password check.
#[derive(Debug)]
pub struct Verified {
    /// The edge of the connection.
    pub edge: EdgeId,
    /// The connection that authenticates.
    pub connection: ConnectionId,
    /// The verdict.
    pub step: Step,
}

/// What an account is to do: an event, addressed.
#[derive(Debug)]
pub(super) enum Work {
    Stanza {
        session: SessionId,
        number: u64,
        stanza: Arc<Stanza>,
    },
    Routed(Routed),
    Detach(SessionId, Detached),
    /// A second has passed since its presence changed too fast.
    CatchUp(SessionId),
    Authenticate(EdgeId, ConnectionId, Box<Authenticate>),
    Respond(EdgeId, ConnectionId, bytes::Bytes),
    Abort(EdgeId, ConnectionId),
    Register(EdgeId, ConnectionId, Box<Register>),
    Bind(EdgeId, ConnectionId, Box<Bind>),
    Answered(Box<Answered>),
    Verified(Box<Verified>),
    Admin(Box<Request>),
}

// === impl Work ===

impl Work {
    /// Whether it comes from a session of the account itself.
    pub(super) fn is_of_session(&self) -> bool {
        matches!(
            self,
            Self::Stanza { .. } | Self::Detach(..) | Self::CatchUp(_)
        )
    }

    /// The stanza whose sender must hear when this fails.
    pub(super) fn stanza(&self) -> Option<&Arc<Stanza>> {
        match self {
            Self::Stanza { stanza, .. } => Some(stanza),
            Self::Routed(routed) => Some(&routed.stanza),
            Self::Answered(answered) => answered.asked.request.as_ref(),
            _ => None,
        }
    }
}
