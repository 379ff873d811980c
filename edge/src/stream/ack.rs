//! XEP-0198: Stream Management, the counting half: what the client has received, and what it is
//! told that has been received from it.
//!
//! ```text
//!   <enable/>          Enabled                       <r/> ▶ <a h/>, again while it is owed
//! Off ────────▶ Asked ────────▶ On(Counts)           <a h/> ▶ Action::Acked
//!                                  ▲
//!                   Resumed ───────┘
//! ```
//!
//! Everything is counted from when the resource was bound, in numbers that never wrap. What the
//! client says and hears counts from where it enabled stream management, modulo 2^32: the
//! difference is kept here and nowhere else on the edge.
//!
//! **Invariant:** every stanza written to the client after `<enabled/>` is one delivered to the
//! session, so that the client's count and the origin's differ by the same number for ever.

use couplet_proto::link::frame::{Detached, Resume, ResumeError, ToEdge, ToOrigin};
use couplet_proto::xmpp::error::{Condition, StreamCondition};
use couplet_proto::xmpp::escape::{self, Sink};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid};

use super::error::Failure;
use super::event::Action;
use super::negotiation::{Negotiation, Step};
use super::session::Session;
use super::{Next, Outcome, Reply, unexpected};

/// An id longer than this is none of ours.
const PREVIOUS_BYTES_MAX: usize = 256;

/// How far a session has come with stream management.
#[derive(Debug)]
pub(super) enum Ack {
    /// The client has not asked for it.
    Off,
    /// The origin has been asked.
    Asked,
    /// Both sides count. Boxed: most sessions of old clients never get here.
    On(Box<Counts>),
}

/// Where the counts of both sides stand.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// How many stanzas the client had sent when its count began.
    enabled: u64,
    /// How many had been delivered to it when its count began.
    base: u64,
    /// How many it has.
    acked: u64,
    /// How many of its stanzas it has been told are handled.
    said: u64,
    /// It asked when it had sent this many, and has not yet been told of all of them.
    owed: Option<u64>,
    /// It was asked when this many had been delivered, and has not yet answered.
    asked: Option<u64>,
    /// The stream ends as soon as it has everything.
    is_leaving: bool,
}

// === impl Ack ===

impl Ack {
    /// Whether the origin's answer is awaited.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self, Self::Asked)
    }

    /// The counts, once there are any.
    pub(super) fn counts(&self) -> Option<&Counts> {
        match self {
            Self::On(counts) => Some(counts),
            Self::Off | Self::Asked => None,
        }
    }

    fn counts_mut(&mut self) -> Option<&mut Counts> {
        match self {
            Self::On(counts) => Some(counts),
            Self::Off | Self::Asked => None,
        }
    }
}

// === impl Counts ===

impl Counts {
    /// Whether the client has asked and is still to be told more.
    pub(super) fn is_owed(&self) -> bool {
        self.owed.is_some()
    }

    /// Whether the client has been asked and has not answered.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Tells the client how many of its stanzas are handled.
    fn tell(&mut self, handled: u64, out: &mut impl Sink) {
        // What was sent before it was enabled, and may be in flight still, does not count.
        self.said = handled.max(self.enabled);
        self.settle(handled);
        write_count(out, "a", None, low(self.said - self.enabled));
    }

    /// Nothing is owed any more once everything asked about is handled.
    fn settle(&mut self, handled: u64) {
        self.owed.take_if(|owed| *owed <= handled);
    }

    /// Asks the client how many it has, unless it has all or is asked already.
    fn ask(&mut self, delivered: u64, out: &mut impl Sink) -> bool {
        if self.asked.is_some() || self.acked >= delivered {
            return false;
        }
        self.force(delivered, out);
        true
    }

    fn force(&mut self, delivered: u64, out: &mut impl Sink) {
        self.asked = Some(delivered);
        out.put("<r");
        escape::named_attribute(out, "xmlns", ns::STREAM_MANAGEMENT);
        out.put("/>");
    }

    /// The client has `h` of what it counts.
    ///
    /// What is less than it said before is an old answer, and changes nothing.
    fn acked(&mut self, h: u32, delivered: u64) -> Result<(), Failure> {
        let known = self.acked.saturating_sub(self.base);
        let more = u64::from(h.wrapping_sub(low(known)));
        if more <= delivered.saturating_sub(self.acked) {
            self.acked += more;
            return Ok(());
        }
        let less = u64::from(low(known).wrapping_sub(h));
        if less <= known && less < u64::from(u32::MAX / 2) {
            return Ok(());
        }
        Err(Failure::handled_too_high(
            h,
            low(delivered.saturating_sub(self.base)),
        ))
    }
}

// === impl Session ===

impl Session {
    /// An element of stream management from a client with a session.
    pub(super) fn manage(&mut self, element: &Element, reply: &mut Reply<'_>) -> Outcome {
        let (handled, delivered) = (self.handled(), self.delivered);
        match (element.name(), &mut self.ack) {
            ("r", Ack::On(counts)) => {
                counts.owed = Some(self.number);
                counts.tell(handled, reply.out);
                Ok(Next::Stay)
            }
            ("a", Ack::On(counts)) => {
                counts.acked(h(element)?, delivered)?;
                let asked = counts.asked.take();
                reply.actions.push(Action::Acked(counts.acked));
                let is_done = counts.is_leaving && counts.acked == delivered;
                // What was written since it was asked would otherwise wait for the next stanza.
                if !is_done && asked.is_some_and(|asked| asked < delivered) {
                    counts.ask(delivered, reply.out);
                }
                match is_done {
                    true => Err(self.leave(reply)),
                    false => Ok(Next::Stay),
                }
            }
            ("enable", Ack::Off) => {
                let Ok(resume_secs) = resume_secs(element) else {
                    return failed(Condition::BadRequest, None, reply);
                };
                let frame = ToOrigin::Enable {
                    session: self.id,
                    number: self.number,
                    resume_secs,
                };
                reply.actions.push(Action::Up(self.slot, frame));
                self.ack = Ack::Asked;
                Ok(Next::Stay)
            }
            ("enable" | "resume", _) => failed(Condition::UnexpectedRequest, None, reply),
            _ => unexpected(element),
        }
    }

    /// The origin counts from here on, and so does the client.
    pub(super) fn enabled(&mut self, id: Option<&str>, max_secs: u32, reply: &mut Reply<'_>) {
        if !self.ack.is_asked() {
            return;
        }
        let enabled = Element::new("enabled", ns::STREAM_MANAGEMENT);
        let enabled = match id {
            None => enabled,
            Some(id) => enabled
                .attr("id", id)
                .attr("resume", "true")
                .attr("max", max_secs.to_string())
                .attr_opt("location", reply.setup.location.as_deref()),
        };
        reply.element(&enabled);
        self.ack = Ack::On(Box::new(Counts {
            enabled: self.number,
            base: self.delivered,
            acked: self.delivered,
            said: self.number,
            ..Counts::default()
        }));
    }

    /// How many stanzas of the client have taken effect, without a gap.
    fn handled(&self) -> u64 {
        self.settled.min(self.number)
    }

    /// Everything up to this number has taken effect: tells a client that has asked.
    pub(super) fn settle(&mut self, settled: u64, out: &mut impl Sink) {
        self.settled = settled;
        let handled = self.handled();
        if let Some(counts) = self.ack.counts_mut()
            && counts.is_owed()
        {
            match counts.said < handled {
                true => counts.tell(handled, out),
                false => counts.settle(handled),
            }
        }
    }

    /// Asks the client what it has; false when there is no need.
    pub(super) fn ask(&mut self, out: &mut impl Sink) -> bool {
        let delivered = self.delivered;
        let counts = self.ack.counts_mut();
        counts.is_some_and(|counts| counts.ask(delivered, out))
    }

    /// Asks for a sign of life. False when stream management is off.
    pub(super) fn probe(&mut self, reply: &mut Reply<'_>) -> bool {
        let delivered = self.delivered;
        match &mut self.ack {
            Ack::Off => false,
            // Whatever is written between the request and the answer may or may not count.
            Ack::Asked => true,
            Ack::On(counts) => {
                if !counts.is_asked() {
                    counts.force(delivered, reply.out);
                }
                true
            }
        }
    }

    /// The edge drains. A client that counts may first say what it has; the second time the
    /// stream ends whatever it has said.
    pub(super) fn shut_down(&mut self, reply: &mut Reply<'_>) -> Outcome {
        let delivered = self.delivered;
        if let Some(counts) = self.ack.counts_mut()
            && !counts.is_leaving
            && counts.acked < delivered
        {
            counts.is_leaving = true;
            counts.ask(delivered, reply.out);
            return Ok(Next::Stay);
        }
        Err(self.leave(reply))
    }

    /// The last words: the client hears what it need not send again.
    fn leave(&mut self, reply: &mut Reply<'_>) -> Failure {
        let handled = self.handled();
        if let Some(counts) = self.ack.counts_mut()
            && counts.said < handled
        {
            counts.tell(handled, reply.out);
        }
        Failure::moved_away(reply)
    }
}

// === before there is a session ===

/// An element of stream management from a client without a session.
pub(super) fn element(
    negotiation: &mut Negotiation,
    element: &Element,
    reply: &mut Reply<'_>,
) -> Outcome {
    match (element.name(), &negotiation.identity, &negotiation.step) {
        ("resume", Some(_), Step::Choice) => resume(negotiation, element, reply),
        ("enable" | "resume", _, Step::Choice) if !negotiation.needs_tls(reply) => {
            failed(Condition::UnexpectedRequest, None, reply)?;
            negotiation.count_failure(reply)
        }
        _ => unexpected(element),
    }
}

fn resume(negotiation: &mut Negotiation, element: &Element, reply: &mut Reply<'_>) -> Outcome {
    let h = h(element)?;
    let previous = element.get("previd").unwrap_or_default();
    if previous.is_empty() || previous.len() > PREVIOUS_BYTES_MAX {
        failed(Condition::ItemNotFound, None, reply)?;
        return negotiation.count_failure(reply);
    }
    let Some(identity) = &negotiation.identity else {
        return Ok(Next::Stay);
    };
    let account = identity.account.clone();
    let request = Resume {
        account: account.clone(),
        token: identity.token,
        previous: previous.into(),
        h,
        peer: Some(negotiation.peer),
    };
    reply.up(
        &account,
        ToOrigin::Resume(reply.connection, Box::new(request)),
    );
    let previous = previous.into();
    negotiation.step = Step::Resuming(Box::new((previous, h)));
    Ok(Next::Stay)
}

/// The client has its session back: the stream goes on as the former one.
pub(super) fn resumed(
    negotiation: &mut Negotiation,
    frame: ToEdge,
    reply: &mut Reply<'_>,
) -> Outcome {
    let ToEdge::Resumed {
        session,
        jid,
        taken,
        enabled,
        acked,
        acked_enabled,
        ..
    } = frame
    else {
        return Ok(Next::Stay);
    };
    let Step::Resuming(asked) = &negotiation.step else {
        return Ok(Next::Stay);
    };
    let h = low(taken.saturating_sub(enabled));
    write_count(reply.out, "resumed", Some(&asked.0), h);
    let counts = Counts {
        enabled,
        base: acked_enabled,
        acked,
        said: taken,
        ..Counts::default()
    };
    reply.actions.push(Action::Resumed {
        session,
        jid: jid.clone(),
        taken,
        acked,
    });
    let slot = (reply.slot_of)(&jid);
    let mut session = Session::new(session, slot, jid, negotiation.lang.take());
    session.number = taken;
    session.delivered = acked;
    session.ack = Ack::On(Box::new(counts));
    Ok(Next::Bind(session))
}

/// The client does not get its session back, and may bind another or try another id.
pub(super) fn refused(
    negotiation: &mut Negotiation,
    why: ResumeError,
    count: Option<u32>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let asked_h = match &negotiation.step {
        Step::Resuming(asked) => asked.1,
        _ => 0,
    };
    let condition = match why {
        ResumeError::NotFound => Condition::ItemNotFound,
        ResumeError::NotAuthorized => Condition::NotAuthorized,
        ResumeError::HandledTooHigh { sent } => {
            return Err(Failure::handled_too_high(asked_h, sent));
        }
    };
    failed(condition, count, reply)?;
    negotiation.count_failure(reply)
}

/// §7: the request is refused, the stream goes on.
fn failed(condition: Condition, h: Option<u32>, reply: &mut Reply<'_>) -> Outcome {
    let failed = Element::new("failed", ns::STREAM_MANAGEMENT)
        .attr_opt("h", h.map(|h| h.to_string()))
        .child(Element::new(condition.name(), ns::STANZAS));
    reply.element(&failed);
    Ok(Next::Stay)
}

/// The count an element must bring; the stream ends where it brings none.
fn h(element: &Element) -> Result<u32, Failure> {
    let text = element.get("h").unwrap_or_default();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let count = is_number.then(|| text.parse().ok()).flatten();
    count.ok_or_else(|| Failure::new(StreamCondition::BadFormat).with_text("h is not a count"))
}

/// For how long the client wants to be able to resume: 0 leaves it to us, `None` is not at all.
fn resume_secs(enable: &Element) -> Result<Option<u32>, ()> {
    let max = match enable.get("max") {
        None => 0,
        Some(max) => max.parse().map_err(|_| ())?,
    };
    match enable.get("resume") {
        None | Some("false" | "0") => Ok(None),
        Some("true" | "1") => Ok(Some(max)),
        Some(_) => Err(()),
    }
}

/// Writes an element that holds a count, without building it: acks are many.
fn write_count(out: &mut impl Sink, name: &str, previous: Option<&str>, count: u32) {
    out.put("<");
    out.put(name);
    escape::named_attribute(out, "xmlns", ns::STREAM_MANAGEMENT);
    if let Some(previous) = previous {
        escape::named_attribute(out, "previd", previous);
    }
    out.put(" h='");
    let mut digits = [0; 10];
    out.put(decimal(count, &mut digits));
    out.put("'/>");
}

/// The digits of a number, in a buffer of the caller's.
fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).expect("digits")
}

/// A count as it stands in `h`.
fn low(count: u64) -> u32 {
    u32::try_from(count & u64::from(u32::MAX)).expect("masked")
}

/// A session that came back when nobody wanted it any more, or that another one replaced here.
pub(super) fn release(frame: &ToEdge, reply: &mut Reply<'_>) {
    let (session, jid, reason): (_, &Jid, _) = match frame {
        ToEdge::Bound { session, jid, .. } => (*session, jid, Detached::Closed),
        // Its client may come again.
        ToEdge::Resumed { session, jid, .. } => (*session, jid, Detached::Lost),
        _ => return,
    };
    let connection = reply.connection;
    reply.up(
        jid,
        ToOrigin::Detach {
            session,
            connection,
            reason,
        },
    );
}
