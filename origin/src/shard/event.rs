//! Everything that can happen to a shard.

use std::sync::Arc;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{
    Attach, Authenticate, Bind, Detached, Frame, Register, Resume, ToOrigin,
};
use couplet_proto::link::id::{ConnectionId, EdgeId, PeerId, SessionId, Source};
use couplet_proto::link::peer::{Addressee, Forward};
use couplet_proto::slot::Slot;
use couplet_proto::{Jid, Kind, Stanza, Type};
use tokio::sync::oneshot;

use crate::admin::{Listed, Listing, Request};
use crate::auth::Step;
use crate::hooks::{Answer, Asked, OnAnswer};
use crate::onlook::{Watch, Watched};
use crate::route::attach::Comes;
use crate::session::outbox::Entry;
use crate::store::{self, Snapshot};

/// Everything that can happen to a shard.
#[derive(Debug)]
pub enum Event {
    /// An edge says something.
    FromEdge(EdgeId, Frame<ToOrigin>),
    /// An edge's link is gone, and with it every connection it held. What the edge was owed and
    /// has not accepted comes back: see [`Event::Accepted`].
    EdgeGone(EdgeId, Vec<u64>),
    /// Edges have what these debts waited for.
    Accepted(Vec<u64>),
    /// Another shard of this process routes a stanza here, to the owner at this epoch.
    Routed(Slot, Epoch, Routed),
    /// Another shard of this process, or of another, sends stanzas to many sessions.
    Fanned(Fanned),
    /// Another origin routes a stanza here.
    FromPeer(PeerId, Forward),
    /// Routes of this shard have taken effect, wherever they led.
    Settled(Vec<u64>),
    /// The ways to the owners of these slots have changed: what was routed there and has not
    /// taken effect is routed again.
    Rerouted(Arc<[Slot]>),
    /// This node owns a slot, or does no longer.
    Tenure(Slot, Change),
    /// The accounts of a slot that have sessions without a connection.
    Sleepers(Slot, Result<Vec<Jid>, store::Error>),
    /// An account has been read.
    Loaded(Jid, Result<Snapshot, store::Error>),
    /// What a handler asked for is there.
    Answered(Jid, Box<Answered>),
    /// A password has been checked.
    Verified(Jid, Box<Verified>),
    /// The commit in flight has ended: these slots' batches have failed, the others are stored.
    Committed(Vec<(Slot, store::Error)>),
    /// An operator asks.
    Admin(Jid, Box<Request>),
    /// An operator asks for sessions.
    List(Box<Listing>, oneshot::Sender<Listed>),
    /// An operator looks on at an account.
    Watch(Box<WatchRequest>),
    /// A second has passed.
    Tick,
}

/// What becomes of a slot on this node.
#[derive(Debug)]
pub enum Change {
    /// It is owned from now on. These lanes may hold sessions of it and are waited for.
    Take(Epoch, Vec<EdgeId>),
    /// It is to be another's: take nothing more, finish what is being written, then answer.
    Leave(oneshot::Sender<()>),
    /// It is another's already.
    Lose,
    /// Somebody has refused what this node said as its owner at this epoch.
    Superseded(Epoch),
}

// === impl Event ===

impl Event {
    /// Whether it comes through the inner queue of a shard.
    pub(super) fn is_inner(&self) -> bool {
        match self {
            Self::FromEdge(..)
            | Self::EdgeGone(..)
            | Self::Admin(..)
            | Self::List(..)
            | Self::Watch(_)
            | Self::Tick => false,
            Self::Accepted(_)
            | Self::Routed(..)
            | Self::Fanned(_)
            | Self::FromPeer(..)
            | Self::Settled(_)
            | Self::Rerouted(_)
            | Self::Tenure(..)
            | Self::Sleepers(..)
            | Self::Loaded(..)
            | Self::Answered(..)
            | Self::Verified(..)
            | Self::Committed(_) => true,
        }
    }
}

/// What an operator who looks on asks.
#[derive(Debug)]
pub struct WatchRequest {
    /// What.
    pub watch: Watch,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Watched, crate::admin::Error>>,
}

/// A stanza on its way to an account.
#[derive(Debug, Clone)]
pub struct Routed {
    /// The stanza; `from` and `to` are set.
    pub stanza: Arc<Stanza>,
    /// When it entered, in monotonic milliseconds; 0 when it did not come from a client of this
    /// process.
    pub entered: u64,
    /// Which stanza of which session it is, when a client sent it.
    pub source: Option<Source>,
    /// Who waits to hear that it has taken effect.
    pub receipt: Receipt,
}

/// Stanzas on their way to many sessions.
#[derive(Debug, Clone)]
pub struct Fanned {
    /// What they get.
    pub stanzas: Arc<FannedStanzas>,
    /// The origin they came from; `None` is this one.
    pub peer: Option<PeerId>,
    /// The shard there, which waits to hear of each route that it has taken effect.
    pub shard: u16,
    /// Who gets them.
    pub to: Vec<Addressee>,
}

/// The stanzas, shared by all that are on their way.
#[derive(Debug)]
pub struct FannedStanzas {
    /// In order; `to` is each receiver's own address.
    pub stanzas: Arc<[Arc<Stanza>]>,
    /// What the first comes from; the number of each further one is one more.
    pub source: Source,
    /// Names the list of receivers; 0: it has no name.
    pub list: u64,
    /// When they entered, in monotonic milliseconds; 0 when they did not come from a client.
    pub entered: u64,
}

/// A route that waits for its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The origin it came from; `None` is this one.
    pub peer: Option<PeerId>,
    /// The shard there.
    pub shard: u16,
    /// The shard's name for the route.
    pub route: u64,
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
    /// What waits for the request to be answered.
    pub debt: Option<u64>,
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
        entered: u64,
    },
    Answer {
        session: SessionId,
        number: u64,
        answer: Arc<Stanza>,
    },
    Routed(Routed),
    /// Of a room, for the session of this address.
    Fanned(Jid, Arc<FannedStanzas>, Receipt),
    Acked(SessionId, u64),
    Enable {
        session: SessionId,
        number: u64,
        resume_secs: Option<u32>,
    },
    Attach(EdgeId, Box<Attach>, Comes),
    /// And whether the session may still be brought, should it not be known.
    Resume(EdgeId, ConnectionId, Box<Resume>, bool),
    /// Of this connection.
    Detach(SessionId, (EdgeId, ConnectionId), Detached),
    /// The lane it was on is gone. It may be on another by the time this is seen to.
    EdgeLost(SessionId, EdgeId),
    /// Its client has not come back in time, or has too much waiting for it.
    Expire(SessionId),
    /// What it has waiting could not be stored: tried again.
    Sleep(SessionId),
    /// The slot is left: it is stored, wherever its connection is.
    Store(SessionId),
    /// Its edge has what a new owner would need: the store need not have it any more.
    Kept(SessionId, (EdgeId, ConnectionId)),
    /// What came before it has been done: somebody waits for that.
    Pay(u64),
    /// Nothing but that the account is read: it has sessions that wait.
    Wake,
    /// A second has passed since its presence changed too fast, or what waits could not be read.
    CatchUp(SessionId),
    /// A stanza for a session that had ended when it was to be given it, and what waits for it.
    Astray(Box<Entry>, Option<u64>),
    Authenticate(EdgeId, ConnectionId, Box<Authenticate>),
    Respond(EdgeId, ConnectionId, bytes::Bytes),
    Abort(EdgeId, ConnectionId),
    Register(EdgeId, ConnectionId, Box<Register>),
    Bind(EdgeId, ConnectionId, Box<Bind>),
    Answered(Box<Answered>),
    /// A time that the address asked for has come.
    Alarm,
    Verified(Box<Verified>),
    Admin(Box<Request>),
}

// === impl Work ===

impl Work {
    /// Whether it is about a session of the account itself: never refused, or what comes after it
    /// would overtake it.
    pub(super) fn is_of_session(&self) -> bool {
        matches!(
            self,
            Self::Stanza { .. }
                | Self::Fanned(..)
                | Self::Answer { .. }
                | Self::Acked(..)
                | Self::Enable { .. }
                | Self::Attach(..)
                | Self::Detach(..)
                | Self::EdgeLost(..)
                | Self::Expire(_)
                | Self::Sleep(_)
                | Self::Store(_)
                | Self::Kept(..)
                | Self::Pay(_)
                | Self::Wake
                | Self::Alarm
                | Self::CatchUp(_)
                | Self::Astray(..)
        )
    }

    /// Whether it waits for the account to be readable, however long that takes: nobody could be
    /// told that it failed.
    pub(super) fn is_patient(&self) -> bool {
        match self {
            // No client sends a presence again that was refused.
            Self::Stanza { stanza, .. } => stanza.kind == Kind::Presence,
            // A feature waits for it.
            Self::Answered(answered) => answered.asked.request.is_none(),
            // Nobody asks again for a presence that was refused.
            Self::Routed(routed) => {
                routed.stanza.kind == Kind::Presence || concerns_sessions_only(&routed.stanza)
            }
            other => other.is_of_session(),
        }
    }

    /// The session of this account that sent it as one of its numbered stanzas, or that must be
    /// there before what it sent can be refused.
    pub(super) fn sender(&self) -> Option<SessionId> {
        match self {
            Self::Stanza { session, .. } | Self::Answer { session, .. } => Some(*session),
            Self::Attach(_, attach, _) => Some(attach.session),
            _ => None,
        }
    }

    /// As [`Work::stanza`].
    pub(super) fn stanza_mut(&mut self) -> Option<&mut Arc<Stanza>> {
        match self {
            Self::Stanza { stanza, .. } => Some(stanza),
            Self::Routed(routed) => Some(&mut routed.stanza),
            Self::Answered(answered) => answered.asked.request.as_mut(),
            Self::Astray(entry, _) => Some(&mut entry.stanza),
            _ => None,
        }
    }

    /// The stanza whose sender must hear when this fails.
    pub(super) fn stanza(&self) -> Option<&Arc<Stanza>> {
        match self {
            Self::Stanza { stanza, .. } => Some(stanza),
            Self::Routed(routed) => Some(&routed.stanza),
            Self::Answered(answered) => answered.asked.request.as_ref(),
            Self::Astray(entry, _) => Some(&entry.stanza),
            _ => None,
        }
    }
}

/// Whether what a stanza does depends only on which sessions are there: one that comes again is
/// for those that have come since, and the others know that they have had it.
pub(super) fn is_for_whoever_is_there(stanza: &Stanza) -> bool {
    stanza.kind == Kind::Presence
        && matches!(
            stanza.type_,
            Type::Available | Type::Unavailable | Type::Probe
        )
}

/// Whether a stanza matters only to sessions: an account without any need not be read for it.
pub(super) fn concerns_sessions_only(stanza: &Stanza) -> bool {
    matches!(
        (stanza.kind, stanza.type_),
        (Kind::Presence, Type::Available | Type::Unavailable)
            | (Kind::Iq, Type::Result)
            | (_, Type::Error)
    )
}
