//! Steps: signals and frames in, the stream's next step, and what it asks for.

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::journal;
use couplet_proto::link::frame::{Detached, ResumeError, ToEdge};
use couplet_proto::link::id::SessionId;
use couplet_proto::xmpp::error::{Condition, StreamCondition};
use tracing::{debug, info};

use super::attachment::Attachment;
use super::{CLOSING_MS, Connection, Phase};
use crate::link::queue::{Item, Signals};
use crate::metrics::Stage;
use crate::stream::{Action, Actions, Event};

// === impl Connection ===

impl Connection {
    /// Follows signals.
    pub(super) fn heed(&mut self, signals: Signals) {
        if signals.abort {
            self.record.ends("cut-off");
            // What is left to say is left to the link.
            self.depart();
            self.ups.clear();
            self.phase = Phase::Gone;
            return;
        }
        if signals.banned && self.phase == Phase::Open {
            self.edge.metrics.ended_banned.increment(1);
            info!(peer = %self.peer, "ended: no client is let in from there any more");
            self.step(Event::Banned);
        }
        if signals.overflow {
            self.edge.metrics.overflows.increment(1);
            info!(peer = %self.peer, "client does not read: too much waits for it");
            self.record.ends("overflow");
            self.lose(Detached::Lost);
        }
        if signals.shutdown && self.phase == Phase::Open && !self.deadlines.is_leaving() {
            self.step(Event::Shutdown);
            if self.phase == Phase::Open {
                // The client may say what it has, but not for ever.
                self.deadlines.leaving(self.edge.clock.now_ms());
            }
        }
        if signals.timer {
            self.check_deadlines();
        }
    }

    /// Gives the stream an event and does what it asks for.
    pub(super) fn step(&mut self, event: Event<'_>) {
        let mut actions = Actions::new();
        let link = &self.edge.link;
        let slot_of = |account: &_| link.uplink().slot_of(account);
        self.stream
            .step(event, &slot_of, &mut self.output, &mut actions);
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Up(slot, frame) => self.up(slot, frame),
            Action::StartTls => {
                // RFC 6120 §5.4.2.3: nothing sent before TLS may be taken for sent within it.
                self.input.clear();
                self.framer.restart();
                self.phase = Phase::Securing;
            }
            Action::LoginFailed {
                condition,
                mechanism,
            } => self.note_login_failed(condition, &mechanism),
            Action::Authenticated => {
                self.note_authenticated();
                self.framer.restart();
                self.framer.set_budget(self.edge.limits.after_auth);
                self.framer.count_total(false);
                self.place.set_stage(Stage::Authenticated);
                let now = self.edge.clock.now_ms();
                self.deadlines
                    .restart_login(now, self.edge.limits.before_auth_secs);
            }
            Action::Bound { session, jid } => {
                debug!(%session, %jid, peer = %self.peer, "session bound");
                self.note_session(journal::Event::Bind, session, &jid);
                self.hold(session, jid, 0);
            }
            Action::Resumed {
                session,
                jid,
                taken,
                acked,
            } => {
                debug!(%session, %jid, peer = %self.peer, "session resumed");
                self.note_session(journal::Event::Resume, session, &jid);
                self.edge.metrics.resumed.increment(1);
                // Its former connection here is the past.
                if let Some(slot) = self.slot {
                    let link = &self.edge.link;
                    link.cancel_departure(slot, session, self.place.id);
                }
                self.hold(session, jid, acked);
                if let Some(attachment) = &mut self.attachment {
                    attachment.is_managed_now();
                }
                self.inbox.taken(taken);
            }
            Action::Acked(count) => self.acked(count),
            Action::Answered(condition) => {
                self.edge.metrics.stanza_errors(condition).increment(1);
                if self.place.stage() == Stage::Authenticated {
                    // Until there is a session nothing else is answered.
                    self.note_no_session(journal::Event::Bind, condition);
                }
            }
            Action::Close(condition) => self.end_stream(condition),
        }
    }

    /// The stream is over, with this error if it is one.
    fn end_stream(&mut self, condition: Option<StreamCondition>) {
        if let Some(condition) = condition {
            self.edge.metrics.stream_errors(condition).increment(1);
            if condition == StreamCondition::SeeOtherHost {
                self.note_redirect();
            }
            let condition = condition.name();
            self.record.ends(condition);
            info!(peer = %self.peer, condition, "stream ended with an error");
        }
        self.record.ends("closed");
        self.input.clear();
        if self.phase != Phase::Gone {
            self.phase = Phase::Closing { is_shut: false };
            let now = self.edge.clock.now_ms();
            self.deadlines.closing(now + CLOSING_MS);
        }
    }

    /// A frame from the origin that is no stanza.
    pub(super) fn answer(&mut self, frame: ToEdge) {
        let succeeded = match &frame {
            ToEdge::Authenticated { .. } => Some(true),
            ToEdge::Refused { .. } => Some(false),
            _ => None,
        };
        // Asked or not, the origin has looked at it.
        self.permit = None;
        if let Some(succeeded) = succeeded
            && let Some(mechanism) = self.mechanism.take()
        {
            self.edge.metrics.login(mechanism, succeeded);
        }
        match &frame {
            ToEdge::Registered { .. } | ToEdge::Resumed { .. } => self.asked = None,
            ToEdge::Bound { .. } => {
                self.asked = None;
                self.edge.metrics.bound.increment(1);
            }
            ToEdge::BindRefused { error, .. } => {
                self.asked = None;
                self.edge.metrics.binds_failed.increment(1);
                self.note_no_session(journal::Event::Bind, error.condition);
            }
            ToEdge::ResumeRefused { why, .. } => {
                self.asked = None;
                self.note_no_session(journal::Event::Resume, refusal(*why));
                self.edge.metrics.resumptions_failed.increment(1);
            }
            _ => {}
        }
        self.deadlines.origin_answered();
        self.step(Event::FromOrigin(frame));
    }

    /// The stream carries this session from now on; its client has had so many stanzas of it.
    fn hold(&mut self, session: SessionId, jid: Jid, acked: u64) {
        self.place.set_stage(Stage::Bound);
        self.deadlines.bound();
        if let Some(slot) = self.slot {
            let routes = &self.edge.link.routes;
            routes.hold(slot, self.place.id, session);
        }
        let mut attachment = Box::new(Attachment::new(session, jid, acked));
        attachment.state = self.early.take().map_or_else(Bytes::new, |state| *state);
        self.attachment = Some(attachment);
    }

    /// The client says how many of the session's stanzas it has.
    fn acked(&mut self, count: u64) {
        if let Some(attachment) = &mut self.attachment {
            attachment.ack(count);
        }
        self.check_window();
        let now = self.edge.clock.now_ms();
        if let Some(millis) = self.deadlines.asked_since(now) {
            self.record.acked_after(millis);
        }
        self.deadlines.asked(now, self.stream.awaits_ack(), true);
    }

    /// The transport is of no more use.
    pub(super) fn lose(&mut self, reason: Detached) {
        if self.phase == Phase::Gone {
            return;
        }
        // What the origin said last decides what it must be told: a resource may just be bound.
        for item in self.place.queue.drain() {
            match item {
                Item::Frame(_, _, frame) => self.last_frame(*frame),
                Item::Stanza(delivered) => self.undelivered(&delivered),
            }
        }
        self.step(Event::ClientGone(reason));
        self.output.clear();
        self.phase = Phase::Gone;
    }
}

/// The condition a refused resumption is told with.
fn refusal(why: ResumeError) -> Condition {
    match why {
        ResumeError::NotFound => Condition::ItemNotFound,
        ResumeError::NotAuthorized => Condition::NotAuthorized,
        ResumeError::HandledTooHigh { .. } => Condition::UndefinedCondition,
    }
}
