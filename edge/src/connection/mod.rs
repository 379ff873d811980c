//! Connection: the task that owns one socket from accept to close.
//!
//! ```text
//!              secured (TLS handshake, in a task of its own)
//!                 ┌───────────◀──────────┐
//!                 ▼                      │
//! accept ──▶ Open: reads, steps ── StartTls
//!                 │  the stream, writes
//!                 ├── stream closed ────▶ Closing: flushes, ends our side, waits ≤ 1 s ─┐
//!                 └── socket gone, slow ───────────────────────────────────────────────▶ Gone
//!                                                       (stays until the origin has been told)
//! ```
//!
//! Everything that can wake the task is polled in one place, [`Connection::poll`]: its queue
//! (frames, credit, timers, shutdown), its socket, and room in the uplink where that was full.
//!
//! - [`transport`]: the bytes, plain or through TLS.
//! - [`reader`]: socket → framer → stream → uplink.
//! - [`writer`]: queue and stream → socket; what happens to a slow client.
//! - [`deadlines`]: what must happen by when.
//! - [`inbox`]: how much a client may have in flight.
//! - [`wheel`]: the one timer for all connections.
//! - [`scratch`]: the buffers connections borrow while they run.
//!
//! **Invariant:** an idle connection holds no buffer, no timer and no slots of a channel.
//! **Invariant:** when a connection ends, the origin gets exactly one `Detach` for its session or
//! one `Abort` for its exchange, however full the uplink is.

mod deadlines;

mod inbox;

mod place;

mod reader;

mod scratch;

mod transport;

mod wheel;

mod writer;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use couplet_proto::link::Refused;
use couplet_proto::link::frame::{Detached, ToEdge, ToOrigin};
use couplet_proto::slot::Slot;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

use self::deadlines::Deadlines;
use self::inbox::Inbox;
pub(crate) use self::place::{Edgewide, Place};
use self::scratch::Scratch;
pub(crate) use self::transport::Socket;
use self::transport::Transport;
pub(crate) use self::wheel::TICK_MS;
use self::writer::OUTPUT_MAX;
use crate::framing::Framer;
use crate::link::queue::{Item, Signals};
use crate::metrics::{Carrier, Mechanism, Stage};
use crate::stream::{Action, Actions, Event, Secured, Stream};

/// How long the transport may take to end after the stream has.
const CLOSING_MS: u64 = 1000;

/// One client's socket and all that belongs to it.
pub(crate) struct Connection {
    edge: Arc<Edgewide>,
    place: Place,
    peer: SocketAddr,
    transport: Transport,
    framer: Framer,
    stream: Stream,
    phase: Phase,
    /// Read, but not to be looked at yet: the stream waits, or there is no credit.
    input: BytesMut,
    /// For the client, not yet taken by the socket.
    output: BytesMut,
    /// Whether TLS has records that the socket did not take.
    needs_flush: bool,
    /// For the origin, which had no room.
    ups: VecDeque<(Slot, ToOrigin)>,
    inbox: Inbox,
    /// Whether credit has run out: then the queue wakes the task when some returns.
    is_out_of_credit: bool,
    deadlines: Deadlines,
    /// What the client authenticates with, for the count of logins.
    mechanism: Option<Mechanism>,
    /// Bytes already reported.
    counted: (u64, u64),
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The stream lives.
    Open,
    /// The stream asked for a TLS handshake.
    Securing,
    /// The stream is over; the client is being told.
    Closing {
        /// Whether our side of the transport has ended.
        is_shut: bool,
    },
    /// The transport is gone.
    Gone,
}

/// Why [`Connection::run`] returns.
pub(crate) enum Outcome {
    /// The connection is over.
    Over,
    /// The client asked for TLS: do the handshake, then [`Connection::secured`].
    StartTls(Box<Connection>),
}

/// What a turn of the task came to.
enum Turn {
    /// Start another turn.
    Again,
    /// Hand the socket to a handshake.
    StartTls,
    /// Nothing is left to do.
    Over,
}

// === impl Connection ===

impl Connection {
    /// A connection on a fresh socket.
    pub(crate) fn new(edge: Arc<Edgewide>, place: Place, tcp: TcpStream, peer: SocketAddr) -> Self {
        let limits = &edge.limits;
        let now = edge.clock.now_ms();
        let mut framer = Framer::new(limits.before_auth);
        framer.count_total(true);
        let mut connection = Self {
            stream: Stream::new(Arc::clone(&edge.setup), place.id, peer.ip(), edge.draw()),
            inbox: Inbox::new(limits.credit_stanzas, limits.credit_bytes),
            deadlines: Deadlines::new(now, limits.before_auth_secs),
            transport: Transport::Tcp(Socket::new(tcp)),
            phase: Phase::Open,
            input: BytesMut::new(),
            output: BytesMut::new(),
            needs_flush: false,
            ups: VecDeque::new(),
            is_out_of_credit: false,
            mechanism: None,
            counted: (0, 0),
            edge,
            place,
            peer,
            framer,
        };
        connection.arm(now);
        connection
    }

    /// The client's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// When the client must be done with the handshake and the authentication.
    pub(crate) fn login_deadline(&self) -> std::time::Instant {
        self.edge.clock.at(self.deadlines.login_ms())
    }

    /// Lends the socket to a handshake.
    pub(crate) fn take_socket(&mut self) -> Option<Socket> {
        self.transport.take_tcp()
    }

    /// Takes the socket back with TLS on it. `output` of the stream is written by the next run.
    pub(crate) fn secured(&mut self, tls: Box<TlsStream<Socket>>, secured: Secured) {
        self.transport = Transport::Tls(tls);
        self.place.set_carrier(Carrier::Tls);
        self.phase = Phase::Open;
        self.step(Event::Secured(secured));
    }

    /// Runs until the connection is over or wants TLS.
    pub(crate) async fn run(mut self: Box<Self>) -> Outcome {
        loop {
            self.send_ups();
            let blocked = self.ups.front().map(|(slot, _)| *slot);
            let turn = match blocked {
                None => poll_fn(|cx| self.poll(cx)).await,
                Some(slot) => {
                    let uplink = Arc::clone(self.edge.link.uplink());
                    let mut room = uplink.room(slot);
                    poll_fn(|cx| match room.as_mut().poll(cx) {
                        Poll::Ready(()) => Poll::Ready(Turn::Again),
                        Poll::Pending => self.poll(cx),
                    })
                    .await
                }
            };
            match turn {
                Turn::Again => {}
                Turn::StartTls => return Outcome::StartTls(self),
                Turn::Over => return Outcome::Over,
            }
        }
    }

    /// Does all there is to do now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let was_blocked = !self.ups.is_empty();
        let mut scratch = Scratch::borrow();
        scratch.lend_output(&mut self.output);
        let result = self.turn(cx, &mut scratch);
        scratch.reclaim_output(&mut self.output);
        scratch.give_back();
        match result {
            // The uplink just became full: wait for room as well.
            Poll::Pending if !was_blocked && !self.ups.is_empty() => Poll::Ready(Turn::Again),
            result => result,
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Turn> {
        let now = self.edge.clock.now_ms();
        loop {
            let more = self.receive(cx, scratch);
            if self.phase == Phase::Open {
                self.read(cx, scratch, now);
            }
            let was_full = self.output.len() >= OUTPUT_MAX;
            self.write(cx, now);
            if was_full && self.output.len() < OUTPUT_MAX {
                // The socket was not read for that alone, so nothing else would wake the task.
                cx.waker().wake_by_ref();
            }
            self.count_bytes();
            match self.phase {
                Phase::Open => {}
                Phase::Securing if self.is_flushed() => return Poll::Ready(Turn::StartTls),
                Phase::Securing => {}
                Phase::Closing { .. } => self.close(cx, scratch),
                Phase::Gone => self.transport = Transport::Gone,
            }
            if self.phase == Phase::Gone && self.ups.is_empty() {
                return Poll::Ready(Turn::Over);
            }
            let may_take_more = more && self.is_flushed() && self.phase != Phase::Gone;
            if !may_take_more {
                self.arm(now);
                return Poll::Pending;
            }
        }
    }

    /// Looks into the queue. True when something is left in it.
    fn receive(&mut self, cx: &Context<'_>, scratch: &mut Scratch) -> bool {
        let room = self.output_room();
        let batch = &mut scratch.batch;
        let (signals, taken, more) = self.place.queue.take(cx.waker(), room, batch);
        if signals != Signals::default() {
            self.heed(signals);
        }
        self.inbox.taken(taken);
        if !batch.is_empty() {
            let mut batch = std::mem::take(batch);
            self.fill(&mut batch);
            scratch.batch = batch;
        }
        more
    }

    /// Follows signals.
    fn heed(&mut self, signals: Signals) {
        if signals.abort {
            self.leave_ups();
            self.phase = Phase::Gone;
            return;
        }
        if signals.overflow {
            self.edge.metrics.overflows.increment(1);
            info!(peer = %self.peer, "client does not read: too much waits for it");
            self.lose(Detached::Lost);
        }
        if signals.shutdown {
            self.step(Event::Shutdown);
        }
        if signals.timer {
            self.check_deadlines();
        }
    }

    /// Gives the stream an event and does what it asks for.
    fn step(&mut self, event: Event<'_>) {
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
            Action::Authenticated => {
                self.framer.restart();
                self.framer.set_budget(self.edge.limits.after_auth);
                self.framer.count_total(false);
                self.place.set_stage(Stage::Authenticated);
                let now = self.edge.clock.now_ms();
                self.deadlines
                    .authenticated(now, self.edge.limits.before_auth_secs);
            }
            Action::Bound { session, jid } => {
                self.place.set_stage(Stage::Bound);
                self.deadlines.bound();
                debug!(%session, %jid, peer = %self.peer, "session bound");
            }
            Action::Answered(condition) => {
                self.edge.metrics.stanza_errors(condition).increment(1);
            }
            Action::Close(condition) => {
                if let Some(condition) = condition {
                    self.edge.metrics.stream_errors(condition).increment(1);
                    let condition = condition.name();
                    info!(peer = %self.peer, condition, "stream ended with an error");
                }
                self.input.clear();
                if self.phase != Phase::Gone {
                    self.phase = Phase::Closing { is_shut: false };
                    let now = self.edge.clock.now_ms();
                    self.deadlines.closing(now + CLOSING_MS);
                }
            }
        }
    }

    /// Sends a frame up, behind those that wait.
    fn up(&mut self, slot: Slot, frame: ToOrigin) {
        match &frame {
            ToOrigin::Stanza { number, stanza, .. } => {
                self.inbox.sent(*number, stanza.wire_bytes());
                self.edge.metrics.stanzas_in(stanza.kind).increment(1);
            }
            ToOrigin::Authenticate(_, request) => {
                self.mechanism = Some(Mechanism::of(&request.mechanism));
            }
            _ => {}
        }
        if !self.ups.is_empty() {
            self.ups.push_back((slot, frame));
        } else if let Some(frame) = self.try_up(slot, frame) {
            self.ups.push_back((slot, frame));
        }
    }

    /// Sends a frame up; gives it back when there is no room.
    fn try_up(&mut self, slot: Slot, frame: ToOrigin) -> Option<ToOrigin> {
        match self.edge.link.uplink().try_send(slot, frame) {
            Ok(()) => None,
            Err(Refused::Full(frame)) => Some(frame),
            Err(Refused::Gone(_)) => {
                // The process is stopping: there is nobody left to serve this stream.
                self.place.queue.signal(|signals| signals.shutdown = true);
                None
            }
        }
    }

    /// Sends what waits for the origin, as far as it has room.
    fn send_ups(&mut self) {
        while let Some((slot, frame)) = self.ups.pop_front() {
            if let Some(frame) = self.try_up(slot, frame) {
                self.ups.push_front((slot, frame));
                return;
            }
        }
        if self.ups.capacity() > 0 {
            self.ups = VecDeque::new();
        }
    }

    /// Gives up what the origin has no room for, but not the end of a session.
    fn leave_ups(&mut self) {
        for (slot, frame) in self.ups.drain(..) {
            if let ToOrigin::Detach { session, reason } = frame {
                self.edge.link.orphan(slot, session, reason);
            }
        }
    }

    /// A frame from the origin that is no stanza.
    fn answer(&mut self, frame: ToEdge) {
        let succeeded = match &frame {
            ToEdge::Authenticated { .. } => Some(true),
            ToEdge::Refused { .. } => Some(false),
            _ => None,
        };
        if let Some(succeeded) = succeeded
            && let Some(mechanism) = self.mechanism.take()
        {
            self.edge.metrics.login(mechanism, succeeded);
        }
        self.step(Event::FromOrigin(frame));
    }

    /// The transport is of no more use.
    fn lose(&mut self, reason: Detached) {
        if self.phase == Phase::Gone {
            return;
        }
        // What the origin said last decides what it must be told: a resource may just be bound.
        for item in self.place.queue.close() {
            if let Item::Frame(_, frame) = item {
                self.answer(*frame);
            }
        }
        self.step(Event::ClientGone(reason));
        self.output.clear();
        self.phase = Phase::Gone;
    }

    /// Reports the bytes moved since the last time.
    fn count_bytes(&mut self) {
        let counts = self.transport.counts();
        let metrics = &self.edge.metrics;
        if counts.0 > self.counted.0 {
            metrics.bytes_in.increment(counts.0 - self.counted.0);
        }
        if counts.1 > self.counted.1 {
            metrics.bytes_out.increment(counts.1 - self.counted.1);
        }
        self.counted = counts;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Only a panic gets here with a session; the origin must hear of it all the same.
        if let Some((session, slot)) = self.stream.session() {
            self.edge.link.orphan(slot, session, Detached::Lost);
        }
        self.leave_ups();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_idle_session_holds_stays_small() {
        assert!(
            size_of::<Connection>() <= 768,
            "{}",
            size_of::<Connection>()
        );
        assert!(size_of::<Place>() <= 32, "{}", size_of::<Place>());
    }
}
