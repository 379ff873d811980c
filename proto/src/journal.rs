//! Journal: what is written down of clients and slots, whoever writes it and wherever it goes.
//!
//! Edges and origins say what happened; they know neither files nor formats, nor what time it is
//! on the wall. Where nobody keeps a journal nothing is made for it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::Jid;
use crate::link::id::{ConnectionId, SessionId};
use crate::slot::Slot;

/// Whoever writes a journal. Called on the way of a client, so it must not wait for anything.
pub trait Scribe: Send + Sync {
    /// Writes down what has happened just now.
    fn note(&self, entry: &Entry<'_>);
}

/// Where to say what happens; by default nobody listens.
#[derive(Clone, Default)]
pub struct Journal(Option<Arc<dyn Scribe>>);

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A client's socket became a connection. Each ends with one [`Event::Disconnect`].
    Connect,
    /// A client was turned away before it could speak XMPP.
    Reject,
    /// A client tried to prove who it is.
    Authenticate,
    /// A client asked for a resource.
    Bind,
    /// A client asked for a former session.
    Resume,
    /// A session that can be resumed has lost its connection and waits.
    Hibernate,
    /// A client was sent to another host.
    Redirect,
    /// A node begins to leave service, or has left it.
    Drain,
    /// A connection is over.
    Disconnect,
    /// An origin owns slots it did not own before.
    SlotsGained,
    /// An origin does not own slots any more.
    SlotsLost,
}

/// What is known of something that has happened. What does not apply is absent.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// What it was.
    pub event: Event,
    /// The connection it happened on.
    pub connection: Option<ConnectionId>,
    /// The address of the client.
    pub client: Option<SocketAddr>,
    /// The address of ours it came to.
    pub server: Option<SocketAddr>,
    /// What carries the bytes.
    pub transport: Option<&'static str>,
    /// The version of TLS and the cipher suite.
    pub tls: Option<(&'static str, &'static str)>,
    /// The address of the client, as far as it is known or claimed.
    pub jid: Option<&'a Jid>,
    /// The session.
    pub session: Option<SessionId>,
    /// The SASL mechanism, in the client's words.
    pub mechanism: Option<&'a str>,
    /// What came of it.
    pub outcome: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
    /// What a connection has carried.
    pub traffic: Option<Traffic>,
    /// How long it took: since the client connected; since nobody ran the slots; since the drain
    /// began.
    pub taken_ms: Option<u64>,
    /// How many connections or slots it concerns.
    pub count: Option<usize>,
    /// Which slots, in order.
    pub slots: &'a [Slot],
    /// Who had them before.
    pub from: Option<&'a str>,
    /// Who gets them; where a client is sent.
    pub to: Option<&'a str>,
}

/// What a connection has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes from the client, TLS included.
    pub bytes_in: u64,
    /// Bytes to the client, TLS included.
    pub bytes_out: u64,
    /// Stanzas from the client.
    pub stanzas_in: u64,
    /// Stanzas to the client.
    pub stanzas_out: u64,
    /// How long the client takes to say what it has (XEP-0198), smoothed, in milliseconds.
    pub ack_rtt_ms: Option<u64>,
    /// The most that ever waited for it, in stanzas.
    pub queue_max: u64,
}

// === impl Journal ===

impl Journal {
    /// A journal kept by this one.
    pub fn kept_by(scribe: Arc<dyn Scribe>) -> Self {
        Self(Some(scribe))
    }

    /// Whether anybody keeps it.
    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Says that something has happened, if anybody listens.
    pub fn note<'a>(&self, entry: impl FnOnce() -> Entry<'a>) {
        if let Some(scribe) = &self.0 {
            scribe.note(&entry());
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_kept() { "kept" } else { "not kept" })
    }
}

/// Two are the same when the same one keeps them.
impl PartialEq for Journal {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Journal {}

// === impl Event ===

impl Event {
    /// Every event there is.
    pub const ALL: [Self; 11] = [
        Self::Connect,
        Self::Reject,
        Self::Authenticate,
        Self::Bind,
        Self::Resume,
        Self::Hibernate,
        Self::Redirect,
        Self::Drain,
        Self::Disconnect,
        Self::SlotsGained,
        Self::SlotsLost,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reject => "reject",
            Self::Authenticate => "authenticate",
            Self::Bind => "bind",
            Self::Resume => "resume",
            Self::Hibernate => "hibernate",
            Self::Redirect => "redirect",
            Self::Drain => "drain",
            Self::Disconnect => "disconnect",
            Self::SlotsGained => "slots-gained",
            Self::SlotsLost => "slots-lost",
        }
    }
}

// === impl Entry ===

impl Entry<'_> {
    /// An event of which nothing more is known.
    pub fn new(event: Event) -> Self {
        Self {
            event,
            connection: None,
            client: None,
            server: None,
            transport: None,
            tls: None,
            jid: None,
            session: None,
            mechanism: None,
            outcome: None,
            reason: None,
            traffic: None,
            taken_ms: None,
            count: None,
            slots: &[],
            from: None,
            to: None,
        }
    }
}
