//! Upward: frames to the owner of the connection's slot, in order, and after it when it is another.
//!
//! ```text
//!   up ──▶ route? ──▶ room? ──▶ uplink           the route changes
//!             │ no       │ no                        │
//!             │          └▶ ups: wait for room       ├ session:  Attach, the inbox, what was asked
//!             └▶ session: the inbox has it           ├ request:  asked again
//!                request: ups                        └ exchange: stays with its origin
//! ```
//!
//! **Invariant:** a session's frames go by one route in order. Nothing of it goes by another before
//! `Attach` has.

use std::sync::Arc;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Bind, Detached, Register, Resume, ToEdge, ToOrigin};
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::link::{Refused, Route};
use couplet_proto::slot::Slot;
use tracing::debug;

use super::attachment::Report;
use super::{Connection, Phase};
use crate::link::departure::{Departure, Kept};
use crate::link::late;
use crate::link::queue::{Item, Snapshot};
use crate::metrics::Mechanism;
use crate::stream::Event;

/// A request whose answer would be lost with the owner it went to. Tokens count everywhere, so it
/// can be made again.
#[derive(Debug)]
pub(super) enum Asked {
    Register(Box<Register>),
    Bind(Box<Bind>),
    Resume(Box<Resume>),
}

// === impl Asked ===

impl Asked {
    fn frame(&self, connection: ConnectionId) -> ToOrigin {
        match self {
            Self::Register(request) => ToOrigin::Register(connection, request.clone()),
            Self::Bind(request) => ToOrigin::Bind(connection, request.clone()),
            Self::Resume(request) => ToOrigin::Resume(connection, request.clone()),
        }
    }
}

// === impl Connection ===

impl Connection {
    /// Sends a frame up, behind those that wait.
    pub(super) fn up(&mut self, slot: Slot, mut frame: ToOrigin) {
        let keeps = self.keeps;
        let followed = self.follow_stanza(&mut frame);
        match &mut frame {
            ToOrigin::Stanza {
                number,
                stanza,
                entered,
                ..
            } => {
                self.edge.metrics.stanzas_in(stanza.kind).increment(1);
                self.record.stanza_in();
                *entered = self.edge.clock.now_ms();
                let kept = keeps.then(|| Kept::Stanza(Arc::clone(stanza), *entered));
                self.inbox.sent(*number, stanza.wire_bytes(), kept);
            }
            ToOrigin::Answer { number, answer, .. } => {
                let kept = keeps.then(|| Kept::Answer(Arc::clone(answer)));
                self.inbox.sent(*number, answer.wire_bytes(), kept);
            }
            ToOrigin::Authenticate(_, request) => {
                let mechanism = Mechanism::of(&request.mechanism);
                self.mechanism = Some(mechanism);
                self.record.claims(&request.account, mechanism.name());
                self.enter(slot);
                self.await_turn();
            }
            ToOrigin::Register(_, request) => {
                self.asked = keeps.then(|| Asked::Register(request.clone()));
                self.enter(slot);
            }
            ToOrigin::Bind(_, request) => {
                self.asked = keeps.then(|| Asked::Bind(request.clone()));
                self.enter(slot);
            }
            ToOrigin::Resume(_, request) => {
                self.asked = keeps.then(|| Asked::Resume(request.clone()));
                self.enter(slot);
            }
            ToOrigin::Enable {
                number,
                resume_secs,
                ..
            } => {
                if let Some(attachment) = &mut self.attachment {
                    attachment.enabling = Some((*number, *resume_secs));
                }
            }
            ToOrigin::Detach {
                session, reason, ..
            } => {
                return self.detach(slot, *session, *reason);
            }
            _ => {}
        }
        self.queue_up(frame);
        if let Some(span) = followed {
            self.handed_on(*span);
        }
    }

    /// Tells the owner what the client has, if it is time.
    pub(super) fn report(&mut self, now: u64) {
        if let Some(attachment) = &mut self.attachment {
            let more = attachment.count();
            if more != 0.0 {
                self.edge.metrics.unacked.increment(more);
            }
        }
        // Never more than one waits.
        if !self.ups.is_empty() || self.is_parked() {
            return;
        }
        let Some(attachment) = &mut self.attachment else {
            return;
        };
        match attachment.report(now) {
            Report::No => {}
            Report::At(at) => self.deadlines.report(at),
            Report::Now(count) => {
                let session = attachment.session;
                self.queue_up(ToOrigin::Acked { session, count });
            }
        }
    }

    /// The session ends on this connection.
    fn detach(&mut self, slot: Slot, session: SessionId, reason: Detached) {
        let own = self.attachment.as_mut();
        let Some(own) = own.filter(|own| own.session == session) else {
            let id = self.place.id;
            return self.edge.link.orphan(slot, session, id, reason);
        };
        own.leaving = Some(reason);
        if reason == Detached::Closed && !own.is_managed() {
            // The stream ends in good order: what was written is flushed before it does, and the
            // client reads to its end.
            own.ack(own.written);
        }
        if let Report::Now(count) = own.report(self.edge.clock.now_ms()) {
            self.queue_up(ToOrigin::Acked { session, count });
        }
        let connection = self.place.id;
        self.queue_up(ToOrigin::Detach {
            session,
            connection,
            reason,
        });
    }

    fn queue_up(&mut self, frame: ToOrigin) {
        if self.is_parked() {
            if matches!(frame, ToOrigin::Stanza { .. }) {
                self.edge.metrics.parked.increment(1);
            }
            return;
        }
        let must_wait = !self.ups.is_empty() || self.turn.is_some() || self.must_follow;
        if must_wait {
            self.ups.push_back(frame);
        } else if let Some(frame) = self.try_up(frame) {
            self.ups.push_back(frame);
        }
    }

    /// Whether the session has no way up, so that everything follows with `Attach`.
    fn is_parked(&self) -> bool {
        self.keeps && self.route.is_none() && self.attachment.is_some()
    }

    /// Whether frames wait for room in the uplink.
    pub(super) fn awaited_room(&self) -> Option<Slot> {
        let waits = !self.ups.is_empty() && self.route.is_some() && self.turn.is_none();
        self.slot.filter(|_| waits)
    }

    /// Sends a frame up; gives it back when that is not possible now.
    fn try_up(&mut self, frame: ToOrigin) -> Option<ToOrigin> {
        let (Some(slot), Some(route)) = (self.slot, self.route) else {
            return Some(frame);
        };
        match self.edge.link.uplink().try_send(slot, route, frame) {
            Ok(()) => None,
            Err(Refused::Full(frame)) => Some(frame),
            Err(Refused::Moved(frame)) => self.moved(frame),
            Err(Refused::Gone(_)) => {
                // The process is stopping: there is nobody left to serve this stream.
                self.place.queue.signal(|signals| signals.shutdown = true);
                None
            }
        }
    }

    /// The way of a frame is not there any more.
    fn moved(&mut self, frame: ToOrigin) -> Option<ToOrigin> {
        match frame {
            ToOrigin::Respond { .. } => {
                self.step(Event::OriginGone);
                None
            }
            ToOrigin::Abort { .. } => None,
            frame => {
                // Not at once: a stanza may be on its way from the queue to the outbox.
                self.must_follow = true;
                Some(frame)
            }
        }
    }

    /// Sends what waits for the origin, as far as it has room.
    pub(super) fn send_ups(&mut self) {
        if self.turn.is_some() {
            return;
        }
        while let Some(frame) = self.ups.pop_front() {
            if let Some(frame) = self.try_up(frame) {
                self.ups.push_front(frame);
                return;
            }
        }
        if self.ups.capacity() > 0 {
            self.ups = std::collections::VecDeque::new();
        }
    }

    /// The connection depends on this slot from now on.
    fn enter(&mut self, slot: Slot) {
        let link = &self.edge.link;
        if self.slot != Some(slot) {
            if let Some(former) = self.slot.replace(slot) {
                link.routes.leave(former, self.place.id);
            }
            // Before the look at the route, so that no change passes unnoticed.
            link.routes.join(slot, self.place.id);
        }
        let route = link.uplink().route(slot);
        self.route = route.filter(|route| link.expect(slot, *route));
    }

    /// A login waits for its turn.
    fn await_turn(&mut self) {
        match self.edge.admission.login() {
            Ok(permit) => self.permit = Some(permit),
            Err(turn) => {
                self.edge.metrics.logins_waited.increment(1);
                self.turn = Some(turn);
            }
        }
    }

    /// Goes after the owner of the slot, if the way to it is another one now.
    ///
    /// Must not be called while items are on their way from the queue to the outbox.
    pub(super) fn follow(&mut self) {
        self.must_follow = false;
        let Some(slot) = self.slot else {
            return;
        };
        let route = self.edge.link.uplink().route(slot);
        if route == self.route {
            return;
        }
        if self.attachment.is_some() && self.keeps {
            self.attach_again(slot, route);
        } else if self.is_exchange_begun() {
            self.deadlines.origin_in_doubt(self.edge.clock.now_ms());
        } else {
            let link = &self.edge.link;
            self.route = route.filter(|route| link.expect(slot, *route));
            if self.ups.is_empty() && self.phase == Phase::Open {
                let id = self.place.id;
                self.ups
                    .extend(self.asked.iter().map(|asked| asked.frame(id)));
            }
        }
    }

    /// Whether an exchange has reached an origin.
    fn is_exchange_begun(&self) -> bool {
        let is_unsent = matches!(self.ups.front(), Some(ToOrigin::Authenticate(..)));
        self.stream.is_exchanging() && !is_unsent
    }

    /// The session and all it has in flight go by a new way; with none, they wait.
    fn attach_again(&mut self, slot: Slot, route: Option<Route>) {
        self.ups.clear();
        self.route = None;
        let link = &self.edge.link;
        let (Some(route), Some(attachment)) = (route, &mut self.attachment) else {
            return;
        };
        if !link.expect(slot, route) {
            return;
        }
        self.route = Some(route);
        let snapshot = self.place.queue.attach(route.epoch);
        let attach = attachment.attach(self.place.id, self.peer.ip(), &self.inbox, snapshot);
        let session = attachment.session;
        debug!(%session, %slot, epoch = %route.epoch, "session attaches again");
        self.ups.push_back(ToOrigin::Attach(attach));
        self.ups.extend(self.inbox.frames(session));
        self.edge.metrics.reattached.increment(1);
        let replayed = self.ups.len() as u64 - 1;
        self.edge.metrics.replayed.increment(replayed);
        self.ups.extend(attachment.last_frames(self.place.id));
        attachment.attached();
    }

    /// The session was given by the owner of this epoch. If that is one no longer, the new one must
    /// hear of it.
    pub(super) fn check_binder(&mut self, binder: Epoch) {
        if self.keeps && self.route.is_some_and(|route| route.epoch > binder) {
            self.place.queue.set_heard(binder);
            self.route = None;
            self.must_follow = true;
        }
    }

    /// What nobody has been asked need not be asked any more.
    pub(super) fn forget_requests(&mut self) {
        self.turn = None;
        self.permit = None;
        if self.attachment.is_some() {
            return;
        }
        let is_unsent = matches!(self.ups.front(), Some(ToOrigin::Authenticate(..)));
        self.ups.retain(|frame| {
            let is_of_exchange = matches!(frame, ToOrigin::Respond { .. } | ToOrigin::Abort { .. });
            is_of_exchange && !is_unsent
        });
    }

    /// Leaves the session's end to the link, with all a new owner would need.
    pub(super) fn depart(&mut self) {
        let (Some(slot), Some(mut attachment)) = (self.slot, self.attachment.take()) else {
            return;
        };
        let is_open = self.stream.session().is_some();
        // Whoever is cut off, by the end of the edge or by a panic, may come back.
        let lost = is_open.then_some(Detached::Lost);
        let is_told = attachment.leaving.is_some() && self.ups.is_empty();
        let reason = attachment.leaving.or(lost);
        attachment.leaving = reason.or(Some(Detached::Closed));
        self.edge.metrics.unacked.increment(attachment.count());
        // The owner may have done all there was to do while the stream was closing.
        let is_settled = self.place.queue.set_wants_credit(false) == ToEdge::ALL;
        let Some(reason) = reason.filter(|_| !is_settled) else {
            return;
        };
        let told = self.route.filter(|_| is_told);
        if told.is_some() && !self.keeps {
            return;
        }
        let (session, id) = (attachment.session, self.place.id);
        let mut late_sessions = Vec::new();
        let place = &self.place;
        let (keeps, peer) = (self.keeps, self.peer.ip());
        let inbox = &mut self.inbox;
        self.edge.link.depart(|| {
            let heard = place.queue.heard();
            let mut waiting = Vec::new();
            for item in place.queue.close() {
                match item {
                    Item::Stanza(delivered) => waiting.push((&delivered).into()),
                    Item::Frame(slot, _, frame) => {
                        late_sessions.extend(late(&frame).map(|late| (slot, late)));
                    }
                }
            }
            let snapshot = Snapshot { heard, waiting };
            let attach = keeps.then(|| attachment.attach(id, peer, inbox, snapshot));
            Departure {
                slot,
                session,
                connection: id,
                reason,
                attach,
                inbox: inbox.take(),
                told,
            }
        });
        for (slot, (session, reason)) in late_sessions {
            self.edge.link.orphan(slot, session, id, reason);
        }
    }
}
