//! What moves a stream and what it asks for: the whole contract with the connection's task.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::link::frame::{Detached, ToEdge, ToOrigin};
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::slot::Slot;
use couplet_proto::xmpp::error::{Condition, SaslCondition, StreamCondition};
use smallvec::SmallVec;

use crate::framing::{Budget, FramingError, Item};
use crate::rules::Domains;

/// What every stream of one edge shares; made once.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The domains served, which may change.
    pub domains: Arc<Domains>,
    /// Whether a certificate exists, so that STARTTLS can be offered on plain streams.
    pub offers_tls: bool,
    /// Whether nothing but STARTTLS is allowed on a stream without TLS.
    pub require_tls: bool,
    /// Whether strangers may make accounts in-band (XEP-0077).
    pub registration_open: bool,
    /// How many failed attempts to authenticate or to bind end the stream.
    pub auth_failures: u32,
    /// What a stanza may hold after authentication; advertised by XEP-0478.
    pub after_auth: Budget,
    /// After how many seconds of silence a client is pinged; advertised by XEP-0478.
    pub idle_secs: Option<u64>,
    /// Where clients should come to resume (XEP-0198 §3), as `host:port`.
    pub location: Option<String>,
    /// Where clients are sent when the edge drains, each one of these in turn, as `host:port`;
    /// with none they are told of a shutdown.
    pub see_other_host: Arc<[Arc<str>]>,
    /// The server's entity capabilities (XEP-0115 §6.3), if it advertises them in the features.
    pub caps: Option<Caps>,
}

/// The hash of what the server answers to service discovery.
#[derive(Debug, Clone)]
pub struct Caps {
    /// Names the software.
    pub node: String,
    /// The verification string, SHA-1 in base64.
    pub ver: String,
}

/// Everything that can happen to a stream.
#[derive(Debug)]
pub enum Event<'a> {
    /// The framer found a complete item. Not to be sent while [`Stream::is_waiting`].
    ///
    /// [`Stream::is_waiting`]: super::Stream::is_waiting
    Item(Item),
    /// The framer refused what the client sent.
    Broken(FramingError),
    /// The TLS handshake is done: after [`Action::StartTls`], or before the first byte of XML on
    /// a direct TLS connection.
    Secured(Secured),
    /// The origin answers. `Deliver`, `Taken` and `Keep` do not come here: the connection's task
    /// writes and counts them itself.
    FromOrigin(ToEdge),
    /// The origin that runs the SASL exchange cannot be reached any more.
    OriginGone,
    /// The time in which a client must have authenticated is over. Ignored once a resource is
    /// bound, so the timer may also run on until then.
    Deadline,
    /// The socket is closed or broken, or the client does not read: nothing can be written any
    /// more.
    ClientGone(Detached),
    /// The edge drains. A client that counts is first asked what it has; then the stream goes on
    /// until it answers, or until this comes again.
    Shutdown,
    /// The client was silent for long: ask it for a sign of life (XEP-0198, or else XEP-0199, with
    /// this id). Ignored while no resource is bound. Any byte from the client is an answer.
    Ping(&'a str),
    /// The client gave no sign of life: the stream ends with `connection-timeout`, the session may
    /// be resumed if it can.
    Silent,
    /// No client is let in any more from where this one is: the stream ends with
    /// `policy-violation`.
    Banned,
}

/// What the TLS handshake left behind.
#[derive(Debug, Clone, Default)]
pub struct Secured {
    /// Channel-binding data by type name, best first: `tls-exporter` (RFC 9266),
    /// `tls-server-end-point` (RFC 5929).
    pub bindings: Vec<(&'static str, Bytes)>,
}

/// What the connection's task must do, in this order, and after what the same step wrote to
/// `out`.
#[derive(Debug)]
pub enum Action {
    /// Flush, discard all input not yet read, restart the framer, do the handshake as a server,
    /// then send [`Event::Secured`].
    StartTls,
    /// The client is who it says: restart the framer for the next stream, give it
    /// [`Setup::after_auth`] per stanza, stop counting in total.
    Authenticated,
    /// Nothing to do: an attempt to authenticate has failed, for the journal.
    LoginFailed {
        /// What the client was told.
        condition: SaslCondition,
        /// The mechanism it wanted, in its own words if it is none of ours.
        mechanism: Cow<'static, str>,
    },
    /// Send this to the owner of the slot; wait while there is no room. Only
    /// [`ToOrigin::Stanza`] and [`ToOrigin::Answer`] take credit and are answered by `Taken`.
    Up(Slot, ToOrigin),
    /// The stream now carries this session.
    Bound {
        /// The session.
        session: SessionId,
        /// Its full address.
        jid: Jid,
    },
    /// The stream now carries this session, which had another one before (XEP-0198 §5).
    Resumed {
        /// The session.
        session: SessionId,
        /// Its full address.
        jid: Jid,
        /// The number of its last stanza that has taken effect.
        taken: u64,
        /// How many stanzas its client has had since it was bound.
        acked: u64,
    },
    /// The client has so many of the stanzas delivered since its session was bound.
    Acked(u64),
    /// Nothing to do: a stanza was answered with this error, for the metrics.
    Answered(Condition),
    /// Flush, then close the transport. The stream wants no more events. Names the stream error,
    /// if one was written, for the log and the metrics.
    Close(Option<StreamCondition>),
}

/// The actions of one step; hardly ever more than two.
pub type Actions = SmallVec<[Action; 2]>;

// === impl Setup ===

impl Setup {
    /// Where this client is sent when the edge drains: one of the hosts, evenly, since connections
    /// are numbered one by one.
    pub(crate) fn other_host(&self, connection: ConnectionId) -> Option<&Arc<str>> {
        let hosts = &self.see_other_host;
        let chosen = usize::try_from(connection.0).unwrap_or(0) % hosts.len().max(1);
        hosts.get(chosen)
    }
}
