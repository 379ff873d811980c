//! Negotiation: everything before a resource is bound, in one box that is dropped then.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

use couplet_proto::link::frame::{AuthToken, ToEdge};
use couplet_proto::slot::Slot;
use couplet_proto::xmpp::byte_str::ByteStr;
use couplet_proto::xmpp::error::StreamCondition;
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Stanza};
use sha2::{Digest, Sha256};

use super::error::Failure;
use super::event::{Event, Secured};
use super::mechanism::Mechanism;
use super::{Next, Outcome, Reply, ack, bind, header, register, sasl, starttls};
use super::{misplaced, unexpected};
use crate::framing::Item;

/// The state of a stream that has no session yet.
#[derive(Debug)]
pub(super) struct Negotiation {
    pub(super) step: Step,
    pub(super) peer: IpAddr,
    /// Set once TLS protects the connection.
    pub(super) secured: Option<Secured>,
    /// The virtual host the client asked for, once it has.
    pub(super) domain: Option<Jid>,
    /// The stream's default language, if the client gave one.
    pub(super) lang: Option<ByteStr>,
    /// Who the client is, once it has proved it.
    pub(super) identity: Option<Identity>,
    /// The mechanism the client last wanted, in its own words if it is none of ours.
    pub(super) wanted: Cow<'static, str>,
    /// Failed attempts to authenticate, then to bind.
    pub(super) failures: u32,
    /// Whether our header is out in the current stream.
    pub(super) is_open: bool,
    /// Where stream ids come from.
    seed: u128,
    /// How many were drawn.
    ids: u32,
}

/// What is expected next.
#[derive(Debug)]
pub(super) enum Step {
    /// The client's stream header.
    AwaitHeader,
    /// The client's choice among the features.
    Choice,
    /// The TLS handshake.
    Handshake,
    /// The initial response of a mechanism, which `<auth/>` did not bring.
    AwaitInitial(&'static Mechanism),
    /// The origin's verdict or challenge for this account.
    AwaitOrigin(Exchange),
    /// The client's answer to the origin's challenge.
    AwaitResponse(Exchange),
    /// The origin's answer to a registration.
    Registering,
    /// The origin's answer to a bind; holds the request, without its payload.
    Binding(Box<Stanza>),
    /// The origin's answer to a resumption; holds the id asked for, and the client's count.
    Resuming(Box<(Box<str>, u32)>),
}

/// A SASL exchange that runs on the origin.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) account: Jid,
    pub(super) slot: Slot,
}

/// An authenticated account.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) account: Jid,
    /// Shown to the origin when binding.
    pub(super) token: AuthToken,
}

// === impl Negotiation ===

impl Negotiation {
    pub(super) fn new(peer: IpAddr, seed: u128) -> Self {
        Self {
            step: Step::AwaitHeader,
            peer,
            secured: None,
            domain: None,
            lang: None,
            identity: None,
            wanted: Cow::Borrowed(""),
            failures: 0,
            is_open: false,
            seed,
            ids: 0,
        }
    }

    pub(super) fn step(&mut self, event: Event<'_>, reply: &mut Reply<'_>) -> Outcome {
        match event {
            Event::Item(item) => self.item(item, reply),
            Event::Broken(error) => Err(Failure::from(error)),
            Event::Secured(secured) => {
                starttls::secured(self, secured);
                Ok(Next::Stay)
            }
            Event::FromOrigin(frame) => self.answer(frame, reply),
            Event::Deadline | Event::Silent => {
                Err(Failure::new(StreamCondition::ConnectionTimeout))
            }
            Event::Shutdown => Err(Failure::new(StreamCondition::SystemShutdown)),
            Event::Banned => Err(Failure::banned()),
            Event::OriginGone if matches!(self.step, Step::AwaitOrigin(_)) => {
                sasl::give_up(self, reply)
            }
            Event::OriginGone | Event::Ping(_) | Event::ClientGone(_) => Ok(Next::Stay),
        }
    }

    /// Whether the next item must wait.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(
            self.step,
            Step::Handshake
                | Step::AwaitOrigin(_)
                | Step::Registering
                | Step::Binding(_)
                | Step::Resuming(_)
        )
    }

    /// Whether an exchange runs on an origin.
    pub(super) fn is_exchanging(&self) -> bool {
        matches!(self.step, Step::AwaitOrigin(_) | Step::AwaitResponse(_))
    }

    /// Whether the TLS handshake has the connection to itself.
    pub(super) fn is_securing(&self) -> bool {
        matches!(self.step, Step::Handshake)
    }

    /// Whether TLS must come before anything else.
    pub(super) fn needs_tls(&self, reply: &Reply<'_>) -> bool {
        reply.setup.require_tls && self.secured.is_none()
    }

    /// Sends our header if the current stream does not have it yet.
    pub(super) fn ensure_open(&mut self, reply: &mut Reply<'_>) {
        if !self.is_open {
            header::write(self, None, reply);
        }
    }

    /// The next stream begins: after TLS, after authentication.
    pub(super) fn restart(&mut self) {
        self.step = Step::AwaitHeader;
        self.is_open = false;
    }

    /// One more failed attempt of whatever is attempted; the last one ends the stream.
    pub(super) fn count_failure(&mut self, reply: &Reply<'_>) -> Outcome {
        self.step = Step::Choice;
        self.failures += 1;
        if self.failures < reply.setup.auth_failures {
            return Ok(Next::Stay);
        }
        Err(Failure::new(StreamCondition::PolicyViolation).with_text("too many failed attempts"))
    }

    /// The stream is over: the origin need not keep the exchange.
    pub(super) fn abandon(self, reply: &mut Reply<'_>) {
        if let Step::AwaitOrigin(exchange) | Step::AwaitResponse(exchange) = self.step {
            sasl::abort(exchange, reply);
        }
    }

    /// A new stream id: unpredictable, never the same (RFC 6120 §4.7.3).
    pub(super) fn draw_id(&mut self) -> String {
        self.ids += 1;
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(self.ids.to_le_bytes());
        hex(&hash.finalize()[..16])
    }

    fn item(&mut self, item: Item, reply: &mut Reply<'_>) -> Outcome {
        match item {
            Item::Whitespace => Ok(Next::Stay),
            Item::Close => Ok(Next::Close),
            _ if self.is_waiting() => Err(Failure::new(StreamCondition::PolicyViolation)
                .with_text("one thing at a time: the answer is still to come")),
            Item::Open(theirs) if matches!(self.step, Step::AwaitHeader) => {
                header::accept(self, &theirs, reply)
            }
            Item::Open(_) => Err(misplaced(&item)),
            _ if matches!(self.step, Step::AwaitHeader) => Err(misplaced(&item)),
            Item::Stanza(stanza) => self.stanza(&stanza, reply),
            Item::Malformed(_) => Err(self.premature(reply)),
            Item::Element(element) => self.element(&element, reply),
        }
    }

    fn element(&mut self, element: &Element, reply: &mut Reply<'_>) -> Outcome {
        match element.ns() {
            ns::TLS if element.name() == "starttls" => starttls::request(self, reply),
            ns::SASL if self.identity.is_none() => sasl::element(self, element, reply),
            ns::STREAM_MANAGEMENT => ack::element(self, element, reply),
            _ => unexpected(element),
        }
    }

    /// Only two stanzas are allowed before a session: a registration, then a bind.
    fn stanza(&mut self, stanza: &Stanza, reply: &mut Reply<'_>) -> Outcome {
        if self.needs_tls(reply) || !matches!(self.step, Step::Choice) {
            return Err(self.premature(reply));
        }
        match &self.identity {
            None if register::is_for_us(self, stanza) => register::request(self, stanza, reply),
            Some(_) if bind::is_bind(stanza) => bind::request(self, stanza, reply),
            _ => Err(self.premature(reply)),
        }
    }

    /// RFC 6120 §4.9.3.12; before a TLS that must be, it is also against our policy (§4.9.3.14).
    fn premature(&self, reply: &Reply<'_>) -> Failure {
        match self.needs_tls(reply) {
            true => Failure::new(StreamCondition::PolicyViolation).with_text("TLS comes first"),
            false => Failure::new(StreamCondition::NotAuthorized),
        }
    }

    fn answer(&mut self, frame: ToEdge, reply: &mut Reply<'_>) -> Outcome {
        match (&self.step, frame) {
            (
                _,
                ToEdge::Close {
                    condition, text, ..
                },
            ) => Err(Failure {
                text,
                ..Failure::new(condition)
            }),
            (
                Step::AwaitOrigin(_),
                frame @ (ToEdge::Challenge { .. }
                | ToEdge::Authenticated { .. }
                | ToEdge::Refused { .. }),
            ) => sasl::answer(self, frame, reply),
            (Step::Registering, ToEdge::Registered { answer, .. }) => {
                answer.write(reply.out);
                self.step = Step::Choice;
                Ok(Next::Stay)
            }
            (Step::Binding(_), ToEdge::Bound { session, jid, .. }) => {
                Ok(bind::bound(self, session, jid, reply))
            }
            (Step::Binding(_), ToEdge::BindRefused { error, .. }) => {
                bind::refused(self, &error, reply)
            }
            (Step::Resuming(_), frame @ ToEdge::Resumed { .. }) => ack::resumed(self, frame, reply),
            (Step::Resuming(_), ToEdge::ResumeRefused { why, h, .. }) => {
                ack::refused(self, why, h, reply)
            }
            (_, frame) => {
                tracing::warn!(connection = reply.connection.0, "an answer to no question");
                ack::release(&frame, reply);
                Ok(Next::Stay)
            }
        }
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes anything");
        text
    })
}
