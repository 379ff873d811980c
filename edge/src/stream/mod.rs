//! Stream: negotiation and session as a state machine without I/O, shared by every transport.
//!
//! Events in, bytes and actions out ([`event`]). The connection's task owns the socket, the
//! framer and the timers; the stream decides what is allowed when, and what is said.
//!
//! ```text
//!             ┌──── Handshake ◀───┐            ┌─▶ AwaitInitial ─┐
//!             ▼      <starttls/>  │            │                 ▼
//!  ──▶ AwaitHeader ── header ─▶ Choice ── <auth/> ────────▶ AwaitOrigin ⇄ AwaitResponse
//!             ▲                 ▲ ▲ │ ▲                          │
//!             │   Registering ◀─┘ │ │ └──── failure, abort ──────┤
//!             │                   │ ▼ bind                       │
//!             │            Binding, Resuming ── ▶ Session        │
//!             └───────────── Authenticated ──────────────────────┘
//!
//!  from anywhere: an error, a close or a lost client ──▶ Closed
//! ```
//!
//! Everything before the resource is bound stands in one box that is dropped then: an idle
//! session is small.
//!
//! **Invariants.** A stream authenticates at most once. While it waits for the origin or for TLS it
//! takes no items ([`Stream::is_waiting`]), so there is never more than one request to the origin
//! under way and an answer cannot meet the wrong question. Each session gets exactly one
//! `Detach`, unless another connection has it now; each exchange that is given up one `Abort`.
//!
//! - `negotiation`: what is allowed at which step, until a resource is bound.
//! - `header`: stream headers, theirs and ours (RFC 6120 §4.7, §4.8).
//! - `features`: what is offered when (§4.3.2).
//! - `starttls` (§5), `sasl` and `mechanism` (§6), `register` (XEP-0077), `bind` (§7).
//! - `ack`: stream management (XEP-0198), the counting half.
//! - `session`: the rules for stanzas (§8) once a resource is bound.
//! - `error`: stream errors (§4.9); nothing else writes them.

pub mod event;

mod negotiation;

mod header;

mod features;

mod starttls;

mod sasl;

mod mechanism;

mod register;

mod bind;

mod ack;

mod session;

mod error;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use couplet_proto::link::frame::{Detached, ToOrigin};
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::slot::Slot;
use couplet_proto::xmpp::error::StreamCondition;
use couplet_proto::xmpp::escape::Sink;
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza};

use crate::framing::Item;
use ack::Counts;
use error::Failure;
use negotiation::Negotiation;
use session::Session;

pub use event::{Action, Actions, Caps, Event, Secured, Setup};

/// One client's XML stream.
#[derive(Debug)]
pub struct Stream {
    setup: Arc<Setup>,
    connection: ConnectionId,
    state: State,
}

/// Where a stream is in its life.
#[derive(Debug)]
enum State {
    Negotiating(Box<Negotiation>),
    Bound(Session),
    Closed,
}

/// What a handler wants to become of the stream.
#[derive(Debug)]
enum Next {
    /// Go on.
    Stay,
    /// A resource is bound.
    Bind(Session),
    /// Close our side too, in good order.
    Close,
}

type Outcome = Result<Next, Failure>;

/// What a step may use, and where what it says goes.
struct Reply<'a> {
    setup: &'a Setup,
    connection: ConnectionId,
    slot_of: &'a dyn Fn(&Jid) -> Slot,
    out: &'a mut BytesMut,
    actions: &'a mut Actions,
}

// === impl Stream ===

impl Stream {
    /// A stream nothing has been said on. `seed` is random and never used twice: stream ids are
    /// drawn from it.
    pub fn new(setup: Arc<Setup>, connection: ConnectionId, peer: IpAddr, seed: u128) -> Self {
        Self {
            setup,
            connection,
            state: State::Negotiating(Box::new(Negotiation::new(peer, seed))),
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
        let mut reply = Reply {
            setup: &self.setup,
            connection: self.connection,
            slot_of,
            out,
            actions,
        };
        if let Event::ClientGone(reason) = event {
            self.state.release(reason, &mut reply);
            return;
        }
        let outcome = match &mut self.state {
            State::Bound(session) => session.step(event, &mut reply),
            State::Negotiating(negotiation) => negotiation.step(event, &mut reply),
            State::Closed => {
                if let Event::FromOrigin(frame) = event {
                    ack::release(&frame, &mut reply);
                }
                return;
            }
        };
        match outcome {
            Ok(Next::Stay) => {}
            Ok(Next::Bind(session)) => self.state = State::Bound(session),
            Ok(Next::Close) => {
                reply.out.put("</stream:stream>");
                self.state.release(Detached::Closed, &mut reply);
                reply.actions.push(Action::Close(None));
            }
            Err(failure) => {
                if self.state.can_speak(&mut reply) {
                    failure.write(reply.out);
                }
                self.state.release(failure.detached(), &mut reply);
                reply.actions.push(Action::Close(Some(failure.condition)));
            }
        }
    }

    /// The session bound on this stream and its account's slot.
    pub fn session(&self) -> Option<(SessionId, Slot)> {
        match &self.state {
            State::Bound(session) => Some((session.id, session.slot)),
            State::Negotiating(_) | State::Closed => None,
        }
    }

    /// Whether the next item must wait: for the origin's answer or for the TLS handshake. The
    /// connection's task leaves the rest of its input unread meanwhile.
    pub fn is_waiting(&self) -> bool {
        match &self.state {
            State::Negotiating(negotiation) => negotiation.is_waiting(),
            State::Bound(session) => session.ack.is_asked(),
            State::Closed => false,
        }
    }

    /// Whether a SASL exchange is under way.
    pub fn is_exchanging(&self) -> bool {
        matches!(&self.state, State::Negotiating(negotiation) if negotiation.is_exchanging())
    }

    /// Whether the client counts what it gets (XEP-0198).
    pub fn is_managed(&self) -> bool {
        self.counts().is_some()
    }

    /// Whether the client has asked which of its stanzas are handled, and not all of them were.
    pub fn owes_ack(&self) -> bool {
        self.counts().is_some_and(Counts::is_owed)
    }

    /// Whether the client has been asked what it has, and has not answered.
    pub fn awaits_ack(&self) -> bool {
        self.counts().is_some_and(Counts::is_asked)
    }

    /// Notes how many stanzas have been delivered in all since the resource was bound. Must be
    /// told before the next event.
    pub fn delivered(&mut self, count: u64) {
        if let State::Bound(session) = &mut self.state {
            session.delivered = count;
        }
    }

    /// Notes up to which number, without a gap, the client's stanzas have taken effect; an
    /// acknowledgement that is owed is appended to `out`.
    pub fn settled(&mut self, number: u64, out: &mut BytesMut) {
        if let State::Bound(session) = &mut self.state {
            session.settle(number, out);
        }
    }

    /// Asks a client that counts what it has, if it may not have everything; true if it was asked.
    pub fn ask(&mut self, out: &mut BytesMut) -> bool {
        match &mut self.state {
            State::Bound(session) => session.ask(out),
            State::Negotiating(_) | State::Closed => false,
        }
    }

    /// Whether the stream is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    fn counts(&self) -> Option<&Counts> {
        match &self.state {
            State::Bound(session) => session.ack.counts(),
            State::Negotiating(_) | State::Closed => None,
        }
    }
}

// === impl State ===

impl State {
    /// Makes sure that a stream error stands in a stream (RFC 6120 §4.9.1.2). False in the middle
    /// of a TLS handshake, where no XML may be written.
    fn can_speak(&mut self, reply: &mut Reply<'_>) -> bool {
        if let Self::Negotiating(negotiation) = self {
            if negotiation.is_securing() {
                return false;
            }
            negotiation.ensure_open(reply);
        }
        true
    }

    /// Ends the stream here; tells the origin what it need not keep for it.
    fn release(&mut self, reason: Detached, reply: &mut Reply<'_>) {
        match std::mem::replace(self, Self::Closed) {
            Self::Bound(session) => session.detach(reason, reply),
            Self::Negotiating(negotiation) => negotiation.abandon(reply),
            Self::Closed => {}
        }
    }
}

// === impl Reply ===

impl Reply<'_> {
    /// Sends a frame to the owner of the account's slot.
    fn up(&mut self, account: &Jid, frame: ToOrigin) -> Slot {
        let slot = (self.slot_of)(account);
        self.actions.push(Action::Up(slot, frame));
        slot
    }

    /// Writes a stanza of ours to the client.
    fn stanza(&mut self, stanza: &Stanza) {
        stanza.write(self.out);
    }

    /// Writes an element of ours that stands directly in the stream.
    fn element(&mut self, element: &Element) {
        element.write(self.out, ns::CLIENT);
    }
}

/// What every state says to a top-level element that none of its protocols expects.
fn unexpected(element: &Element) -> Outcome {
    match (element.ns(), element.name()) {
        // The client found a mistake of ours and closes; there is nothing to add.
        (ns::STREAM, "error") => Ok(Next::Close),
        (ns::STREAM, "stream") => {
            Err(Failure::new(StreamCondition::BadFormat).with_text("a stream within the stream"))
        }
        (ns::SASL | ns::SASL2 | ns::TLS | ns::STREAM_MANAGEMENT, _) => {
            Err(Failure::new(StreamCondition::PolicyViolation).with_text("not at this time"))
        }
        (_, name) if Kind::from_name(name).is_some() => {
            Err(Failure::new(StreamCondition::InvalidNamespace))
        }
        _ => Err(Failure::new(StreamCondition::UnsupportedStanzaType)),
    }
}

/// A second header where none is due, or content where the header is.
fn misplaced(item: &Item) -> Failure {
    let text = match item {
        Item::Open(_) => "the stream is open already",
        _ => "a stream header comes first",
    };
    Failure::new(StreamCondition::BadFormat).with_text(text)
}
