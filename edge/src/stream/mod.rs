//! Stream: negotiation and session as a state machine without I/O.

pub mod event;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use couplet_proto::Jid;
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::slot::Slot;

pub use event::{Action, Actions, Caps, Event, Secured, Setup};

/// One client's XML stream.
#[derive(Debug)]
pub struct Stream {
    setup: Arc<Setup>,
    connection: ConnectionId,
    peer: IpAddr,
    seed: u128,
}

impl Stream {
    /// A stream nothing has been said on. `seed` is random and never used twice: stream ids are
    /// drawn from it.
    pub fn new(setup: Arc<Setup>, connection: ConnectionId, peer: IpAddr, seed: u128) -> Self {
        Self {
            setup,
            connection,
            peer,
            seed,
        }
    }

    /// Takes one event. Bytes for the client are appended to `out`, what else must be done to
    /// `actions`.
    pub fn step(
        &mut self,
        event: Event<'_>,
        slot_of: &dyn Fn(&Jid) -> Slot,
        out: &mut BytesMut,
        actions: &mut Actions,
    ) {
        tracing::trace!(?event, connection = ?self.connection, peer = %self.peer, "event");
        let _ = (&self.setup, self.seed, slot_of, out, actions);
    }

    /// The session bound on this stream and its account's slot.
    pub fn session(&self) -> Option<(SessionId, Slot)> {
        None
    }

    /// Whether the next item must wait: for the origin's answer or for the TLS handshake. The
    /// connection's task leaves the rest of its input unread meanwhile.
    pub fn is_waiting(&self) -> bool {
        false
    }
}
