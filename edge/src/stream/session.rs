//! Session: a bound resource on this stream, and the rules for its stanzas (RFC 6120 §8).
//!
//! **Invariant:** every stanza of the client has the next number, also one that is answered or
//! dropped here: the count is what stream management tells the client.
//! **Invariant:** nothing is answered here. The owner delivers the answers, so that all a client
//! gets is in one order and counted by both. Only a client without stream management is pinged.

use std::sync::Arc;

use couplet_proto::link::frame::{Detached, ToEdge, ToOrigin};
use couplet_proto::link::id::SessionId;
use couplet_proto::slot::Slot;
use couplet_proto::xmpp::byte_str::ByteStr;
use couplet_proto::xmpp::error::{Condition, StanzaError, StreamCondition};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::ack::Ack;
use super::error::Failure;
use super::event::{Action, Event};
use super::{Next, Outcome, Reply, ack, bind, misplaced, starttls, unexpected};
use crate::framing::{Item, MalformedStanza};

/// What a stream keeps while it is bound.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) slot: Slot,
    jid: Jid,
    /// Stamped on stanzas that have no language (RFC 6120 §8.1.5).
    lang: Option<ByteStr>,
    /// How many stanzas the client has sent.
    pub(super) number: u64,
    /// Everything up to this number, at most, has taken effect: see [`Session::settle`].
    pub(super) settled: u64,
    /// How many stanzas have been delivered to the client.
    pub(super) delivered: u64,
    pub(super) ack: Ack,
}

// === impl Session ===

impl Session {
    pub(super) fn new(id: SessionId, slot: Slot, jid: Jid, lang: Option<ByteStr>) -> Self {
        Self {
            id,
            slot,
            jid,
            lang,
            number: 0,
            // Nothing is in flight.
            settled: u64::MAX,
            delivered: 0,
            ack: Ack::Off,
        }
    }

    pub(super) fn step(&mut self, event: Event<'_>, reply: &mut Reply<'_>) -> Outcome {
        match event {
            Event::Item(Item::Stanza(stanza)) => self.stanza(stanza, reply),
            Event::Item(Item::Malformed(stanza)) => self.malformed(&stanza, reply),
            Event::Item(Item::Whitespace) => Ok(Next::Stay),
            Event::Item(Item::Close) => Ok(Next::Close),
            Event::Item(Item::Element(element)) if element.is("starttls", ns::TLS) => {
                starttls::refuse(reply)
            }
            Event::Item(Item::Element(element)) if element.ns() == ns::STREAM_MANAGEMENT => {
                self.manage(&element, reply)
            }
            Event::Item(Item::Element(element)) => unexpected(&element),
            Event::Item(item @ Item::Open(_)) => Err(misplaced(&item)),
            Event::Broken(error) => Err(Failure::from(error)),
            Event::FromOrigin(frame) => self.answered(frame, reply),
            Event::Shutdown => self.shut_down(reply),
            Event::Silent => Err(Failure::new(StreamCondition::ConnectionTimeout)),
            Event::Banned => Err(Failure::banned()),
            Event::Ping(id) => {
                if !self.probe(reply) {
                    self.ping(id, reply);
                }
                Ok(Next::Stay)
            }
            Event::Secured(_) | Event::Deadline | Event::ClientGone(_) | Event::OriginGone => {
                Ok(Next::Stay)
            }
        }
    }

    fn answered(&mut self, frame: ToEdge, reply: &mut Reply<'_>) -> Outcome {
        match frame {
            ToEdge::Close {
                condition, text, ..
            } => {
                return Err(Failure {
                    text,
                    ..Failure::new(condition)
                });
            }
            ToEdge::Enabled { id, max_secs, .. } => self.enabled(id.as_deref(), max_secs, reply),
            // Asked for twice, because an owner changed: one of the two is enough.
            ToEdge::Bound { session, .. } | ToEdge::Resumed { session, .. }
                if session != self.id =>
            {
                ack::release(&frame, reply);
            }
            _ => {}
        }
        Ok(Next::Stay)
    }

    /// The stream is over.
    pub(super) fn detach(self, reason: Detached, reply: &mut Reply<'_>) {
        let session = self.id;
        let frame = ToOrigin::Detach {
            session,
            connection: reply.connection,
            reason,
        };
        reply.actions.push(Action::Up(self.slot, frame));
    }

    /// The hot path: nothing is allocated but the stanza's shared place.
    fn stanza(&mut self, mut stanza: Stanza, reply: &mut Reply<'_>) -> Outcome {
        if let Some(from) = stanza.from.take() {
            self.check_from(&from)?;
        }
        self.number += 1;
        if stanza.kind == Kind::Iq && self.is_concluded(&stanza, reply) {
            return Ok(Next::Stay);
        }
        if stanza.lang.is_none() {
            stanza.lang.clone_from(&self.lang);
        }
        self.send(stanza, reply);
        Ok(Next::Stay)
    }

    /// Sends the stanza of the present number up.
    fn send(&mut self, stanza: Stanza, reply: &mut Reply<'_>) {
        let frame = ToOrigin::Stanza {
            session: self.id,
            number: self.number,
            stanza: Arc::new(stanza),
            // The stream has no clock: who sends it on knows.
            entered: 0,
        };
        self.settled = self.settled.min(self.number - 1);
        reply.actions.push(Action::Up(self.slot, frame));
    }

    /// What is not worth an answer ends here. A client that counts will be told that it is handled
    /// and never sends it again, so the owner must hear of the number: by an answer to nobody,
    /// which does nothing.
    fn ignore(&mut self, reply: &mut Reply<'_>) {
        if self.ack.counts().is_some() {
            self.send(Stanza::new(Kind::Iq, Type::Result), reply);
        }
    }

    /// RFC 6120 §8.1.2.1: a client speaks for itself or leaves it to the server. One who claims
    /// to be somebody else is not answered but put out.
    fn check_from(&self, from: &Jid) -> Result<(), Failure> {
        let from = from.as_str();
        if from == self.jid.as_str() || from == self.jid.bare() {
            return Ok(());
        }
        Err(Failure::new(StreamCondition::InvalidFrom))
    }

    /// Whether an IQ goes no further: it breaks the rules of RFC 6120 §8.2.3, or it is about the
    /// stream itself.
    fn is_concluded(&mut self, iq: &Stanza, reply: &mut Reply<'_>) -> bool {
        let children = iq.payload.children().len();
        if !iq.is_request() {
            // What is no request is never answered, however wrong it is (§8.2.3, §8.3.1).
            let is_wrong = iq.id.is_none() || (iq.type_ == Type::Result && children > 1);
            if is_wrong {
                self.ignore(reply);
            }
            return is_wrong;
        }
        if iq.id.is_none() || children != 1 {
            self.refuse(iq, Condition::BadRequest, reply);
            return true;
        }
        if !self.is_for_stream(iq.to.as_ref()) {
            return false;
        }
        if bind::is_bind(iq) {
            // §7.1: one resource for each stream.
            self.refuse(iq, Condition::NotAllowed, reply);
            return true;
        }
        if bind::is_session(iq) && iq.type_ == Type::Set {
            self.answer(iq.result(None), reply);
            return true;
        }
        false
    }

    /// Whether this address can mean the stream: none, the account's own or its host.
    fn is_for_stream(&self, to: Option<&Jid>) -> bool {
        to.is_none_or(|to| to.as_str() == self.jid.bare() || to.as_str() == self.jid.domain())
    }

    /// A stanza whose head the framer could not accept.
    fn malformed(&mut self, stanza: &MalformedStanza, reply: &mut Reply<'_>) -> Outcome {
        self.number += 1;
        if stanza.is_from_forged_or_bad {
            return Err(Failure::new(StreamCondition::InvalidFrom));
        }
        if let Some(from) = &stanza.from {
            self.check_from(from)?;
        }
        let is_answer = match stanza.type_attribute.as_deref() {
            Some("error") => true,
            Some("result") => stanza.kind == Kind::Iq,
            _ => false,
        };
        if is_answer {
            self.ignore(reply);
        } else {
            let mut asked = Stanza::new(stanza.kind, Type::Normal);
            asked.id = stanza.id.as_deref().map(ByteStr::from);
            asked.to.clone_from(&stanza.to);
            self.refuse(&asked, stanza.condition, reply);
        }
        Ok(Next::Stay)
    }

    fn refuse(&mut self, stanza: &Stanza, condition: Condition, reply: &mut Reply<'_>) {
        self.answer(stanza.error(&StanzaError::from(condition)), reply);
        reply.actions.push(Action::Answered(condition));
    }

    /// Has the owner deliver the answer to the stanza of the present number.
    fn answer(&mut self, answer: Stanza, reply: &mut Reply<'_>) {
        let frame = ToOrigin::Answer {
            session: self.id,
            number: self.number,
            answer: Arc::new(answer.to(self.jid.clone())),
        };
        self.settled = self.settled.min(self.number - 1);
        reply.actions.push(Action::Up(self.slot, frame));
    }

    /// XEP-0199 §4.1: the server asks its client.
    fn ping(&self, id: &str, reply: &mut Reply<'_>) {
        let ping = Stanza::new(Kind::Iq, Type::Get)
            .id(id)
            .from(self.jid.to_domain())
            .to(self.jid.clone())
            .child(&Element::new("ping", ns::PING));
        reply.stanza(&ping);
    }
}
