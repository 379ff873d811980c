//! Deadlines: what must happen by when, looked at when the wheel wakes the connection.

use couplet_proto::link::frame::Detached;
use tracing::info;

use super::marks::SPAN_MS;
use super::wheel::Armed;
use super::{Connection, Phase};
use crate::clock::Clock;
use crate::config::Limits;
use crate::link::queue::Pace;
use crate::stream::Event;

/// A socket that was full this long counts as stuck.
const STUCK_MS: u64 = 1000;

/// Times in milliseconds on the edge's clock; 0 where there is none.
#[derive(Debug)]
pub(super) struct Deadlines {
    /// When the client must have authenticated, then when it must have bound a resource.
    login: u64,
    /// When the client last sent anything.
    heard: u64,
    /// When the client was last asked for a sign of life it has not given.
    pinged: u64,
    /// Since when the socket has taken nothing, and what it had taken before.
    blocked: u64,
    written: u64,
    /// When a closing connection is dropped.
    closing: u64,
    /// When the client was asked what it has, which it has not answered.
    asked: u64,
    /// When the owner is to hear what the client has.
    report: u64,
    /// When an exchange is given up whose origin may be gone.
    doubt: u64,
    /// When a client that was asked before it is sent away goes.
    leaving: u64,
    /// When the marks of what the client has had grow older.
    marks: u64,
    armed: Armed,
}

/// How long an origin that may be gone has to go on with an exchange.
const DOUBT_MS: u64 = 2000;

/// How long a client that is sent away has to say what it has.
const LEAVING_MS: u64 = 1000;

// === impl Deadlines ===

impl Deadlines {
    pub(super) fn new(now: u64, before_auth_secs: u64) -> Self {
        Self {
            login: now + before_auth_secs * 1000,
            heard: now,
            pinged: 0,
            blocked: 0,
            written: 0,
            closing: 0,
            asked: 0,
            report: 0,
            doubt: 0,
            leaving: 0,
            marks: 0,
            armed: Armed::default(),
        }
    }

    /// When the client must have authenticated.
    pub(super) fn login_ms(&self) -> u64 {
        self.login
    }

    /// The time for logging in begins anew: it has authenticated and must bind a resource, or it
    /// has waited for its turn.
    pub(super) fn restart_login(&mut self, now: u64, secs: u64) {
        self.login = now + secs * 1000;
    }

    /// A client that could not be heard has as much time again to answer what it was asked.
    fn restart_asked(&mut self, now: u64) {
        for since in [&mut self.pinged, &mut self.asked] {
            *since = if *since == 0 { 0 } else { now };
        }
    }

    /// Bound: from now on it is kept as long as it gives signs of life.
    pub(super) fn bound(&mut self) {
        self.login = 0;
    }

    /// The client sent something.
    pub(super) fn heard(&mut self, now: u64) {
        self.heard = now;
        self.pinged = 0;
    }

    /// The socket took everything; true if it had been full.
    pub(super) fn flushed(&mut self) -> bool {
        std::mem::take(&mut self.blocked) != 0
    }

    /// The socket is full after taking `written` bytes in all; true if it took some since the
    /// last time.
    pub(super) fn blocked(&mut self, now: u64, written: u64) -> bool {
        if self.blocked != 0 && self.written == written {
            return false;
        }
        self.blocked = now;
        self.written = written;
        true
    }

    /// The client has or has not been asked what it has; `is_new` when it may have answered.
    pub(super) fn asked(&mut self, now: u64, awaits: bool, is_new: bool) {
        self.asked = match (awaits, is_new || self.asked == 0) {
            (false, _) => 0,
            (true, true) => now,
            (true, false) => self.asked,
        };
    }

    /// How long ago the client was asked what it has, if it was.
    pub(super) fn asked_since(&self, now: u64) -> Option<u64> {
        (self.asked != 0).then(|| now.saturating_sub(self.asked))
    }

    /// The owner is to hear then what the client has.
    pub(super) fn report(&mut self, at: u64) {
        self.report = at;
    }

    /// The origin of the exchange may be gone.
    pub(super) fn origin_in_doubt(&mut self, now: u64) {
        self.doubt = now + DOUBT_MS;
    }

    /// It is not.
    pub(super) fn origin_answered(&mut self) {
        self.doubt = 0;
    }

    /// The client is sent away as soon as it has said what it has.
    pub(super) fn leaving(&mut self, now: u64) {
        self.leaving = now + LEAVING_MS;
    }

    /// Whether it is sent away already.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving != 0
    }

    /// Whether there are marks that grow older.
    pub(super) fn marked(&mut self, has_marks: bool, clock: Clock) {
        if has_marks && self.marks == 0 {
            self.marks = clock.now_ms() + SPAN_MS;
        }
    }

    /// The connection is to be dropped then.
    pub(super) fn closing(&mut self, at: u64) {
        self.closing = at;
    }

    /// The next moment at which something must be looked at.
    fn next(&self, limits: &Limits, now: u64) -> Option<u64> {
        if self.closing != 0 {
            return Some(self.closing);
        }
        let mut next = (self.login != 0).then_some(self.login);
        let mut at = |moment: u64| next = Some(next.map_or(moment, |next| next.min(moment)));
        if self.login == 0 && limits.ping_after_secs != 0 {
            match self.pinged {
                0 => at(self.heard + limits.ping_after_secs * 1000),
                pinged => at(pinged + limits.ping_timeout_secs * 1000),
            }
        }
        if self.asked != 0 {
            at(self.asked + limits.ping_timeout_secs * 1000);
        }
        for moment in [self.report, self.doubt, self.leaving, self.marks] {
            if moment != 0 {
                at(moment);
            }
        }
        if self.blocked != 0 {
            let stuck = self.blocked + STUCK_MS;
            if now < stuck {
                at(stuck);
            }
            at(self.blocked + limits.outbound_stall_secs * 1000);
        }
        next
    }
}

// === impl Connection ===

impl Connection {
    /// Has the wheel wake this connection for its next deadline.
    pub(super) fn arm(&mut self, now: u64) {
        if self.phase == Phase::Gone {
            return;
        }
        if let Some(at) = self.deadlines.next(&self.edge.limits, now) {
            self.edge
                .wheel
                .arm(&mut self.deadlines.armed, self.place.id, at);
        }
    }

    /// Does what is due.
    ///
    /// Reads the clock: the time at which the turn began may lie before that of the wake-up, which
    /// would count as still to come, so that there would never be another.
    pub(super) fn check_deadlines(&mut self) {
        let now = self.edge.clock.now_ms();
        self.deadlines.armed.fired(now);
        let limits = self.edge.limits;
        let due = |since: u64, secs: u64| since != 0 && now >= since + secs * 1000;
        if self.deadlines.closing != 0 {
            if now >= self.deadlines.closing {
                self.phase = Phase::Gone;
            }
            return;
        }
        if self.phase == Phase::Gone {
            return;
        }
        self.check_moments(now);
        if due(self.deadlines.blocked, limits.outbound_stall_secs) {
            self.edge.metrics.stalls.increment(1);
            info!(peer = %self.peer, "client takes nothing of what waits for it");
            self.record.ends("stalled");
            self.lose(Detached::Lost);
            return;
        }
        if self.deadlines.blocked != 0 && now >= self.deadlines.blocked + STUCK_MS {
            self.place.queue.set_pace(Pace::Stuck);
        }
        let is_silent = due(self.deadlines.pinged, limits.ping_timeout_secs)
            || due(self.deadlines.asked, limits.ping_timeout_secs);
        if due(self.deadlines.login, 0) && self.turn.is_some() {
            // Waiting for its turn is not the client's fault.
            self.deadlines.restart_login(now, limits.before_auth_secs);
        } else if due(self.deadlines.login, 0) {
            self.deadlines.login = 0;
            self.step(Event::Deadline);
        } else if is_silent && self.is_held_up() {
            // Its answer may stand in what is not read of it, which is not the client's fault.
            self.deadlines.restart_asked(now);
        } else if is_silent {
            self.edge.metrics.ping_timeouts.increment(1);
            info!(peer = %self.peer, "client gives no sign of life");
            self.record.ends("silent");
            (self.deadlines.pinged, self.deadlines.asked) = (0, 0);
            self.step(Event::Silent);
        } else if self.deadlines.pinged == 0
            && limits.ping_after_secs != 0
            && due(self.deadlines.heard, limits.ping_after_secs)
        {
            self.deadlines.pinged = now;
            self.step(Event::Ping(&format!("ping-{now}")));
            self.deadlines.asked(now, self.stream.awaits_ack(), false);
        }
    }

    /// Does what has a moment of its own.
    fn check_moments(&mut self, now: u64) {
        let is_past = |moment: &mut u64| {
            let is_past = *moment != 0 && now >= *moment;
            if is_past {
                *moment = 0;
            }
            is_past
        };
        // What the client has is reported at the end of this turn.
        is_past(&mut self.deadlines.report);
        if is_past(&mut self.deadlines.marks)
            && let Some(attachment) = &mut self.attachment
        {
            attachment.marks.take_if(|marks| marks.age());
            if attachment.marks.is_some() {
                self.deadlines.marks = now + SPAN_MS;
            }
        }
        if is_past(&mut self.deadlines.doubt) && self.stream.is_exchanging() {
            self.step(Event::OriginGone);
        }
        if is_past(&mut self.deadlines.leaving) {
            self.step(Event::Shutdown);
        }
    }
}
