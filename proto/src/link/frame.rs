//! Every frame there is.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::epoch::Epoch;
use super::id::{ConnectionId, SessionId};
use crate::slot::Slot;
use crate::xmpp::error::{SaslCondition, StanzaError, StreamCondition};
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::Stanza;

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
    /// A stanza from a bound session.
    Stanza {
        /// Which session.
        session: SessionId,
        /// How many stanzas the session had sent when this one was done: 1 for the first.
        number: u64,
        /// The stanza; `from` is not set.
        stanza: Arc<Stanza>,
    },
    /// The connection of a session is gone.
    Detach {
        /// Which session.
        session: SessionId,
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

/// Given with `Authenticated`, shown with `Bind`; worth one bind of that account.
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
    /// A stanza for these connections of this edge: one payload, many sockets.
    Deliver {
        /// Who gets it.
        connections: SmallVec<[ConnectionId; 2]>,
        /// `to` and `from` are set.
        stanza: Arc<Stanza>,
        /// When the stanza entered the origin, in the process's monotonic milliseconds; 0 when
        /// it did not come from a client. For the latency histogram.
        entered: u64,
    },
    /// Everything the session sent up to this number has taken effect and, where it had to be,
    /// is stored. Returns flow-control credit.
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
