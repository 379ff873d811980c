//! Every frame there is.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::epoch::Epoch;
use super::id::{ConnectionId, LogId, SessionId, Source};
use crate::slot::Slot;
use crate::xmpp::error::{SaslCondition, StanzaError, StreamCondition};
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::{Kind, Stanza, Type};

/// A frame under its slot's fence: refused when the epoch is older than one already seen.
#[derive(Debug, Clone)]
pub struct Frame<T> {
    /// The slot it speaks for or to.
    pub slot: Slot,
    /// The slot's epoch as the sender knows it.
    pub epoch: Epoch,
    /// What it says.
    pub body: T,
}

/// From an edge to the owner of an account's slot. Each names the connection it speaks for.
#[derive(Debug)]
pub enum ToOrigin {
    /// A client starts to authenticate; answered by `Challenge`, `Authenticated` or `Refused`.
    Authenticate(ConnectionId, Box<Authenticate>),
    /// The client's next SASL message in that exchange.
    Respond {
        /// Whose exchange.
        connection: ConnectionId,
        /// The account being authenticated: finds the exchange's slot state.
        account: Jid,
        /// The decoded SASL message.
        data: Bytes,
    },
    /// The client gave up the exchange, or its connection closed within it.
    Abort {
        /// Whose exchange.
        connection: ConnectionId,
        /// The account being authenticated.
        account: Jid,
    },
    /// A client without an account asks for one (XEP-0077 §3.1); answered by `Registered`.
    Register(ConnectionId, Box<Register>),
    /// An authenticated client binds a resource (RFC 6120 §7); answered by `Bound` or
    /// `BindRefused`.
    Bind(ConnectionId, Box<Bind>),
    /// An authenticated client wants a former session back (XEP-0198 §5); answered by `Resumed`
    /// or `ResumeRefused`.
    Resume(ConnectionId, Box<Resume>),
    /// The client of a session enables stream management (XEP-0198 §3); answered by `Enabled`.
    Enable {
        /// Which session.
        session: SessionId,
        /// How many stanzas the session had sent before: `h` counts from here.
        number: u64,
        /// The longest time in seconds the client wants the session kept after its connection is
        /// lost; `None` when it does not want to resume, 0 when it leaves the time to us.
        resume_secs: Option<u32>,
    },
    /// A stanza from a bound session.
    Stanza {
        /// Which session.
        session: SessionId,
        /// How many stanzas the session had sent when this one was done: 1 for the first. One
        /// already seen changes nothing.
        number: u64,
        /// The stanza; `from` is not set.
        stanza: Arc<Stanza>,
        /// When it was read off the client's socket, as [`Delivery::entered`].
        entered: u64,
    },
    /// A stanza of a bound session that the edge has refused: the owner delivers the answer, so
    /// that all a client gets is in one order and counted by both.
    Answer {
        /// Which session.
        session: SessionId,
        /// The number of the stanza that was refused.
        number: u64,
        /// What its sender is told; `to` is the session.
        answer: Arc<Stanza>,
    },
    /// The client has so many of the stanzas delivered to the session, counted from when it was
    /// bound: it said so (XEP-0198), or, without stream management, its socket took them.
    Acked {
        /// Which session.
        session: SessionId,
        /// How many.
        count: u64,
    },
    /// The sessions of this slot that this edge holds: the first thing a new owner hears from an
    /// edge about the slot. It waits a little for each of them to attach or detach.
    Expect(Vec<SessionId>),
    /// The connection of a session is here: said to a new owner, or to the old one through a new
    /// link. Everything of the session not yet taken follows again.
    Attach(Box<Attach>),
    /// The connection of a session is gone.
    Detach {
        /// Which session.
        session: SessionId,
        /// Which connection: a session that has another one stays as it is.
        connection: ConnectionId,
        /// How it went.
        reason: Detached,
    },
}

/// How a session lost its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detached {
    /// The client closed its stream: the session ends.
    Closed,
    /// The socket broke, or the client was too slow: the session may be resumed if it can.
    Lost,
}

/// The start of a SASL exchange. Prints without its message, which may hold a password.
#[derive(Clone)]
pub struct Authenticate {
    /// The account the client names; decides the slot.
    pub account: Jid,
    /// The mechanism's registered name, one the edge has offered.
    pub mechanism: Box<str>,
    /// The decoded initial response.
    pub initial: Bytes,
    /// What the edge knows about the connection that a mechanism must check.
    pub channel: Channel,
}

/// The security of a connection, as far as authentication depends on it.
#[derive(Debug, Clone, Default)]
pub struct Channel {
    /// Whether TLS protects it.
    pub is_encrypted: bool,
    /// Channel-binding data by type name: `tls-exporter` (RFC 9266), `tls-server-end-point`
    /// (RFC 5929); what the connection can offer and nothing else.
    pub bindings: Vec<(&'static str, Bytes)>,
    /// The client's address, for throttling.
    pub peer: Option<IpAddr>,
    /// The mechanisms offered on this stream: a client that says it saw no `-PLUS` when there
    /// was one has been tampered with (RFC 5802 §6).
    pub offered: Vec<&'static str>,
}

/// A request for a new account.
#[derive(Debug, Clone)]
pub struct Register {
    /// The address asked for.
    pub account: Jid,
    /// Its password. Never logged.
    pub password: Password,
    /// The client's address, for the rate limit.
    pub peer: Option<IpAddr>,
    /// Email, name and the like are not kept; the id of the request is, to answer it.
    pub request: Arc<Stanza>,
}

/// A password on its way to becoming a key. Prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Box<str>);

/// A request to bind a resource.
#[derive(Debug, Clone)]
pub struct Bind {
    /// The authenticated account.
    pub account: Jid,
    /// The resource asked for; `None` lets the origin choose. Not yet prepared.
    pub resource: Option<Box<str>>,
    /// The proof that the owner of the slot authenticated this connection.
    pub token: AuthToken,
    /// The client's address, for logs and operators.
    pub peer: Option<IpAddr>,
}

/// A request for a former session.
#[derive(Debug, Clone)]
pub struct Resume {
    /// The authenticated account.
    pub account: Jid,
    /// The proof that an owner of the slot authenticated this connection.
    pub token: AuthToken,
    /// The id of stream management that `Enabled` gave.
    pub previous: Box<str>,
    /// How many stanzas the client has had since it enabled stream management, modulo 2^32.
    pub h: u32,
    /// The client's address, for logs and operators.
    pub peer: Option<IpAddr>,
}

/// A session as its edge knows it: enough for a new owner to go on with it.
#[derive(Debug, Clone)]
pub struct Attach {
    /// Which session.
    pub session: SessionId,
    /// Its connection on this edge.
    pub connection: ConnectionId,
    /// Its full address.
    pub jid: Jid,
    /// The epoch at which the edge last heard of the session from an owner: one that owns the slot
    /// at that very epoch must know the session.
    pub epoch: Epoch,
    /// What the owner last gave with `Keep`.
    pub state: Bytes,
    /// Everything the client has sent up to this number has taken effect.
    pub taken: u64,
    /// How many stanzas the edge has accepted for the session since it was bound.
    pub received: u64,
    /// How many of them the client has.
    pub acked: u64,
    /// Those in between, while stream management is on: the last `received - acked`, in order.
    pub unacked: Vec<Unacked>,
    /// Which stanzas of others the connection has had of late, whether its client has them or not.
    pub seen: Vec<Source>,
    /// The client's address.
    pub peer: Option<IpAddr>,
}

/// A stanza delivered to a session whose client has not acknowledged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unacked {
    /// The stanza.
    pub stanza: Arc<Stanza>,
    /// See [`Delivery::source`].
    pub source: Option<Source>,
    /// See [`Delivery::log`].
    pub log: Option<LogId>,
}

/// One stanza for many sockets.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Who gets it.
    pub connections: SmallVec<[ConnectionId; 2]>,
    /// The stanza; `to` and `from` are set.
    pub stanza: Arc<Stanza>,
    /// Which stanza of which session it is, when a client sent it: a connection that has had it
    /// does not get it again.
    pub source: Option<Source>,
    /// Where it stands in its receiver's log of messages that waited, if it does.
    pub log: Option<LogId>,
    /// When the stanza was read off its sender's socket, in the monotonic milliseconds of this
    /// process: on links stands how long ago that was, as [`super::age`] says. 0 when it did not
    /// come from a client. For the latency histogram.
    pub entered: u64,
}

/// The same stanzas for many sockets: a frame does not grow with their number, as far as the
/// receivers are those of the frame before.
#[derive(Debug, Clone)]
pub struct Fan {
    /// The stanzas, in order; `from` is set, `to` is each receiver's own address.
    pub stanzas: Arc<[Arc<Stanza>]>,
    /// What the first stanza comes from; the number of each further one is one more.
    pub source: Source,
    /// Who gets them.
    pub receivers: Vec<Receiver>,
    /// Names the list of receivers, so that between processes only its changes are told; 0: it is
    /// told whole.
    pub list: u64,
    /// See [`Delivery::entered`].
    pub entered: u64,
}

/// A connection, and the fence under which it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receiver {
    /// Who.
    pub connection: ConnectionId,
    /// The slot of its session.
    pub slot: Slot,
    /// The epoch at which the sender owns that.
    pub epoch: Epoch,
}

/// Stands for a stanza that a session has had before, where it would come a second time: what is
/// counted must be written, or client, edge and owner would count differently from here on. An
/// answer to no question, which RFC 6120 §8.2.3 has the client ignore.
pub fn repeated(to: &Jid) -> Stanza {
    Stanza::new(Kind::Iq, Type::Result)
        .id("repeated")
        .from(to.to_domain())
        .to(to.clone())
}

/// Given with `Authenticated`, shown with `Bind` and `Resume`: says that an origin of this cluster
/// has authenticated the account, and until when that counts. Origins alone can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuthToken(pub u128);

/// From the owner of a slot to an edge.
#[derive(Debug, Clone)]
pub enum ToEdge {
    /// The next SASL message for the client.
    Challenge {
        /// Whose exchange.
        connection: ConnectionId,
        /// Not yet base64.
        data: Bytes,
    },
    /// The exchange succeeded.
    Authenticated {
        /// Whose exchange.
        connection: ConnectionId,
        /// The bare address the client now is.
        account: Jid,
        /// Additional data with success (RFC 6120 §6.3.10).
        data: Option<Bytes>,
        /// To be shown when binding.
        token: AuthToken,
    },
    /// The exchange failed.
    Refused {
        /// Whose exchange.
        connection: ConnectionId,
        /// Why, as far as the client may know.
        condition: SaslCondition,
        /// A sentence for people.
        text: Option<&'static str>,
    },
    /// The answer to `Register`: a stanza for a connection that has no session.
    Registered {
        /// Whose request.
        connection: ConnectionId,
        /// A result or an error.
        answer: Arc<Stanza>,
    },
    /// The resource is bound.
    Bound {
        /// Whose request.
        connection: ConnectionId,
        /// The session it is now.
        session: SessionId,
        /// Its full address.
        jid: Jid,
    },
    /// The resource is not bound (RFC 6120 §7.6.2, §7.7.2).
    BindRefused {
        /// Whose request.
        connection: ConnectionId,
        /// Why.
        error: StanzaError,
    },
    /// The client has its former session back. What it has not had follows in order.
    Resumed {
        /// Whose request.
        connection: ConnectionId,
        /// The session.
        session: SessionId,
        /// Its full address.
        jid: Jid,
        /// The number of its last stanza that has taken effect.
        taken: u64,
        /// The number its client's count began after: `h` is `taken - enabled`, modulo 2^32.
        enabled: u64,
        /// How many stanzas its client has had since it was bound.
        acked: u64,
        /// How many of them it had had when it enabled stream management: the client counts from
        /// there.
        acked_enabled: u64,
    },
    /// The client does not get its former session (XEP-0198 §5).
    ResumeRefused {
        /// Whose request.
        connection: ConnectionId,
        /// Why.
        why: ResumeError,
        /// How many stanzas of its former session were taken since it enabled stream management,
        /// modulo 2^32, if that is still known.
        h: Option<u32>,
    },
    /// Stream management is on: `Deliver`s after this are counted.
    Enabled {
        /// Whose request.
        connection: ConnectionId,
        /// What the client resumes by; `None` when it cannot.
        id: Option<Box<str>>,
        /// How many seconds the session is kept after its connection is lost.
        max_secs: u32,
    },
    /// A stanza for connections of this edge.
    Deliver(Delivery),
    /// Stanzas for connections of this edge, under the fences of their own slots.
    Fan(Box<Fan>),
    /// What to tell a new owner of the session, should there be one.
    Keep {
        /// Whose session.
        connection: ConnectionId,
        /// Not for the edge to read.
        state: Bytes,
    },
    /// Everything the session sent up to this number has taken effect and, where it had to be,
    /// is stored. Returns flow-control credit. [`ToEdge::ALL`] answers a `Detach` likewise: no
    /// owner need hear of the session any more.
    Taken {
        /// Whose stanzas.
        connection: ConnectionId,
        /// Up to and including this number.
        number: u64,
    },
    /// End this stream.
    Close {
        /// Which.
        connection: ConnectionId,
        /// With this error.
        condition: StreamCondition,
        /// A sentence for people.
        text: Option<&'static str>,
    },
}

/// Why a client does not get its former session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeError {
    /// There is none of this id, or not any more: `item-not-found`.
    NotFound,
    /// The proof of authentication is not valid: `not-authorized`.
    NotAuthorized,
    /// The client claims to have had more than was sent: the stream ends with
    /// `undefined-condition` and `handled-count-too-high`.
    HandledTooHigh {
        /// How many were sent since stream management was enabled, modulo 2^32.
        sent: u32,
    },
}

// === impl Fan ===

impl Fan {
    /// Each stanza and what it comes from.
    pub fn each(&self) -> impl Iterator<Item = (&Arc<Stanza>, Source)> {
        sourced(&self.stanzas, self.source)
    }
}

/// Stanzas with what they come from, when that is `first` for the first of them.
pub fn sourced(
    stanzas: &[Arc<Stanza>],
    first: Source,
) -> impl Iterator<Item = (&Arc<Stanza>, Source)> {
    stanzas.iter().zip(0..).map(move |(stanza, more)| {
        let number = first.number.wrapping_add(more);
        (stanza, Source { number, ..first })
    })
}

// === impl ToEdge ===

impl ToEdge {
    /// The number that says that all a session sent, and its end, has taken effect.
    pub const ALL: u64 = u64::MAX;

    /// The one connection it is for; `None` for what may have many.
    pub fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Deliver(_) | Self::Fan(_) => None,
            Self::Challenge { connection, .. }
            | Self::Authenticated { connection, .. }
            | Self::Refused { connection, .. }
            | Self::Registered { connection, .. }
            | Self::Bound { connection, .. }
            | Self::BindRefused { connection, .. }
            | Self::Resumed { connection, .. }
            | Self::ResumeRefused { connection, .. }
            | Self::Enabled { connection, .. }
            | Self::Keep { connection, .. }
            | Self::Taken { connection, .. }
            | Self::Close { connection, .. } => Some(*connection),
        }
    }
}

// === impl Authenticate ===

impl std::fmt::Debug for Authenticate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticate")
            .field("account", &self.account)
            .field("mechanism", &self.mechanism)
            .finish_non_exhaustive()
    }
}

// === impl Password ===

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}
