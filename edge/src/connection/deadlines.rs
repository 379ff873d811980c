//! Deadlines: what must happen by when, looked at when the wheel wakes the connection.

use couplet_proto::link::frame::Detached;
use tracing::info;

use super::wheel::Armed;
use super::{Connection, Phase};
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
    armed: Armed,
}

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
            armed: Armed::default(),
        }
    }

    /// When the client must have authenticated.
    pub(super) fn login_ms(&self) -> u64 {
        self.login
    }

    /// Authenticated: now it must bind a resource.
    pub(super) fn authenticated(&mut self, now: u64, secs: u64) {
        self.login = now + secs * 1000;
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
        if due(self.deadlines.blocked, limits.outbound_stall_secs) {
            self.edge.metrics.stalls.increment(1);
            info!(peer = %self.peer, "client takes nothing of what waits for it");
            self.lose(Detached::Lost);
            return;
        }
        if self.deadlines.blocked != 0 && now >= self.deadlines.blocked + STUCK_MS {
            self.place.queue.set_pace(Pace::Stuck);
        }
        if due(self.deadlines.login, 0) {
            self.deadlines.login = 0;
            self.step(Event::Deadline);
        } else if due(self.deadlines.pinged, limits.ping_timeout_secs) {
            self.edge.metrics.ping_timeouts.increment(1);
            info!(peer = %self.peer, "client gives no sign of life");
            self.deadlines.pinged = 0;
            self.step(Event::Silent);
        } else if self.deadlines.pinged == 0
            && limits.ping_after_secs != 0
            && due(self.deadlines.heard, limits.ping_after_secs)
        {
            self.deadlines.pinged = now;
            self.step(Event::Ping(&format!("ping-{now}")));
        }
    }
}
