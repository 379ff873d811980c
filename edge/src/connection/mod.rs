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
//! - [`steps`]: signals and frames in, the stream's next step, and what it asks for.
//! - [`upward`]: frames to the owner of the slot, and after it when it is another.
//! - [`deadlines`]: what must happen by when.
//! - [`admission`]: how many clients may be on their way in at once.
//! - [`attachment`]: the session as the connection keeps it.
//! - [`inbox`]: what a client has in flight, and how much that may be.
//! - [`outbox`]: what it was sent and has not acknowledged.
//! - [`marks`]: what it has had before.
//! - [`record`]: what the journal is told of it.
//! - [`followed`]: what is told of the few stanzas that are followed.
//! - [`wheel`]: the one timer for all connections.
//! - [`scratch`]: the buffers connections borrow while they run.
//!
//! **Invariant:** an idle connection holds no buffer, no timer and no slots of a channel.
//! **Invariant:** when a connection ends, the origin gets exactly one `Detach` for its session or
//! one `Abort` for its exchange, however full the uplink is; a new owner gets the `Detach` as well.

pub(crate) mod admission;

mod attachment;

mod deadlines;

mod followed;

mod inbox;

mod marks;

mod outbox;

mod place;

mod reader;

mod record;

mod scratch;

mod steps;

mod transport;

mod upward;

mod wheel;

mod writer;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use couplet_proto::link::Route;
use couplet_proto::link::frame::ToOrigin;
use couplet_proto::slot::Slot;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;

use self::attachment::Attachment;
use self::deadlines::Deadlines;
use self::followed::Followed;
use self::inbox::Inbox;
pub(crate) use self::place::{Edgewide, Place};
use self::record::Record;
use self::scratch::Scratch;
pub(crate) use self::transport::Socket;
use self::transport::{Transport, names};
use self::upward::Asked;
pub(crate) use self::wheel::TICK_MS;
use self::writer::OUTPUT_MAX;
use crate::framing::Framer;
use crate::link::queue::Signals;
use crate::metrics::{Carrier, Mechanism};
use crate::stream::{Event, Secured, Stream};

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
    /// Whose owner the connection depends on, and the way its frames go.
    slot: Option<Slot>,
    route: Option<Route>,
    /// Whether the way may be another one.
    must_follow: bool,
    /// For the origin, which had no room.
    ups: VecDeque<ToOrigin>,
    /// A request that has not been answered; kept only where its owner may be lost.
    asked: Option<Asked>,
    /// Whether an owner may be lost, so that a new one must be told everything.
    keeps: bool,
    /// Held while an origin looks at a first message; or on its way, when there are many.
    permit: Option<OwnedSemaphorePermit>,
    turn: Option<admission::Turn>,
    inbox: Inbox,
    /// Whether credit has run out: then the queue wakes the task when some returns.
    is_out_of_credit: bool,
    /// Whether an acknowledgement is owed: then it wakes the task as well.
    is_owing: bool,
    /// Whether so much is unacknowledged that no more is written.
    is_window_full: bool,
    /// The origin has ended the stream: what waits is written whatever the client takes.
    is_ending: bool,
    /// The session, once there is one, and what its owner gave to keep before that.
    attachment: Option<Box<Attachment>>,
    early: Option<Box<Bytes>>,
    deadlines: Deadlines,
    /// What the client authenticates with, for the count of logins.
    mechanism: Option<Mechanism>,
    /// Bytes already reported; of their number the low half.
    counted: (u32, u32),
    record: Record,
    /// What is told of stanzas that are followed; `None` while nothing is.
    followed: Option<Box<Followed>>,
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
        Self::over(edge, place, Transport::Tcp(Socket::new(tcp)), peer)
    }

    fn over(edge: Arc<Edgewide>, place: Place, transport: Transport, peer: SocketAddr) -> Self {
        let limits = &edge.limits;
        let now = edge.clock.now_ms();
        let mut framer = Framer::new(limits.before_auth);
        framer.count_total(true);
        let mut connection = Self {
            stream: Stream::new(Arc::clone(&edge.setup), place.id, peer.ip(), edge.draw()),
            inbox: Inbox::new(limits.credit_stanzas, limits.credit_bytes),
            deadlines: Deadlines::new(now, limits.before_auth_secs),
            transport,
            phase: Phase::Open,
            input: BytesMut::new(),
            output: BytesMut::new(),
            needs_flush: false,
            slot: None,
            route: None,
            must_follow: false,
            ups: VecDeque::new(),
            asked: None,
            keeps: edge.link.uplink().may_lose_owners(),
            permit: None,
            turn: None,
            is_out_of_credit: false,
            is_owing: false,
            is_window_full: false,
            is_ending: false,
            attachment: None,
            early: None,
            mechanism: None,
            counted: (0, 0),
            record: match edge.journal.is_kept() {
                true => Record::begin(now),
                false => Record::default(),
            },
            followed: Followed::begin(&edge),
            edge,
            place,
            peer,
            framer,
        };
        connection.arm(now);
        connection
    }

    /// Enters where the client is, for bans to come; one may have come since it was let in.
    pub(crate) fn stand_where_it_is(&self) {
        let (queue, peer) = (&self.place.queue, self.peer.ip());
        queue.set_peer(peer);
        if self.edge.link.rules.ban(peer, self.edge.clock.now_ms()) {
            queue.signal(|signals| signals.banned = true);
        }
    }

    /// A connection on a pipe within the process, as if it were one over TLS.
    #[cfg(feature = "simulation")]
    pub(crate) fn piped(
        edge: Arc<Edgewide>,
        place: Place,
        pipe: tokio::io::DuplexStream,
        peer: SocketAddr,
    ) -> Self {
        let mut connection = Self::over(edge, place, Transport::Pipe(pipe), peer);
        connection.stand_where_it_is();
        connection.step(Event::Secured(Secured::default()));
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

    /// The client has waited for its turn, which is not its fault.
    pub(crate) fn restart_login(&mut self) {
        let secs = self.edge.limits.before_auth_secs;
        self.deadlines.restart_login(self.edge.clock.now_ms(), secs);
    }

    /// Lends the socket to a handshake.
    pub(crate) fn take_socket(&mut self) -> Option<Socket> {
        self.transport.take_tcp()
    }

    /// Takes the socket back with TLS on it. `output` of the stream is written by the next run.
    pub(crate) fn secured(&mut self, tls: Box<TlsStream<Socket>>, secured: Secured) {
        self.note_secured(names(tls.get_ref().1));
        self.transport = Transport::Tls(tls);
        self.place.set_carrier(Carrier::Tls);
        self.phase = Phase::Open;
        self.step(Event::Secured(secured));
        // It may have been banned while TLS was under way, when there was nothing to be said.
        if self.place.queue.peer().is_some() {
            self.stand_where_it_is();
        }
    }

    /// Runs until the connection is over or wants TLS.
    pub(crate) async fn run(mut self: Box<Self>) -> Outcome {
        loop {
            self.send_ups();
            if self.must_follow {
                self.follow();
                self.send_ups();
            }
            let turn = match self.awaited_room() {
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
        let was_waiting = (self.awaited_room().is_some(), self.turn.is_some());
        let mut scratch = Scratch::borrow();
        scratch.lend_output(&mut self.output);
        if let Some(attachment) = &mut self.attachment {
            attachment.outbox.lend(&mut scratch.outbox);
        }
        let result = self.turn(cx, &mut scratch);
        scratch.reclaim_output(&mut self.output);
        if let Some(attachment) = &mut self.attachment {
            attachment.outbox.reclaim(&mut scratch.outbox);
        }
        scratch.give_back();
        match result {
            // The uplink just became full, or others are to log in first: wait for that as well.
            Poll::Pending if !was_waiting.0 && self.awaited_room().is_some() => {
                Poll::Ready(Turn::Again)
            }
            Poll::Pending if !was_waiting.1 && self.turn.is_some() => Poll::Ready(Turn::Again),
            result => result,
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Turn> {
        let now = self.edge.clock.now_ms();
        self.poll_turn(cx, now);
        loop {
            let more = self.receive(cx, scratch);
            if self.phase == Phase::Open {
                self.read(cx, scratch, now);
                self.watch_owed();
            }
            if self.must_follow {
                self.follow();
                self.send_ups();
            }
            let was_full = self.output.len() >= OUTPUT_MAX;
            self.write(cx, now);
            if was_full && self.output.len() < OUTPUT_MAX {
                // The socket was not read for that alone, so nothing else would wake the task.
                cx.waker().wake_by_ref();
            }
            self.count_bytes();
            self.report(now);
            match self.phase {
                Phase::Open => {}
                Phase::Securing if self.is_flushed() => return Poll::Ready(Turn::StartTls),
                Phase::Securing => {}
                Phase::Closing { .. } => {
                    self.close(cx, scratch);
                    self.count_bytes();
                }
                Phase::Gone => {
                    self.count_bytes();
                    self.transport = Transport::Gone;
                    self.forget_requests();
                }
            }
            if self.phase == Phase::Gone && self.ups.is_empty() {
                return Poll::Ready(Turn::Over);
            }
            let may_take_more = more && self.output_room() > 0 && self.phase != Phase::Gone;
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
        self.must_follow |= signals.rerouted;
        self.is_ending |= signals.ending;
        self.settle(taken);
        if !batch.is_empty() {
            let mut batch = std::mem::take(batch);
            self.fill(&mut batch);
            scratch.batch = batch;
        }
        // After what came before them.
        if signals != Signals::default() {
            self.heed(signals);
        }
        more
    }

    /// The session's stanzas up to this number have taken effect.
    fn settle(&mut self, taken: u64) {
        self.inbox.taken(taken);
        if self.attachment.is_some() {
            let settled = self.inbox.settled();
            self.stream.settled(settled, &mut self.output);
        }
    }

    /// Looks whether it is this client's turn to log in.
    fn poll_turn(&mut self, cx: &mut Context<'_>, now: u64) {
        let Some(turn) = &mut self.turn else {
            return;
        };
        if let Poll::Ready(permit) = turn.as_mut().poll(cx) {
            self.turn = None;
            self.permit = permit;
            self.deadlines
                .restart_login(now, self.edge.limits.before_auth_secs);
            self.send_ups();
        }
    }

    /// Reports the bytes moved since the last time.
    fn count_bytes(&mut self) {
        if matches!(self.transport, Transport::Gone) {
            return;
        }
        // Four bytes do: it is never so much between two reports.
        let (read, written) = self.transport.counts();
        let counts = (read as u32, written as u32);
        let more_in = u64::from(counts.0.wrapping_sub(self.counted.0));
        let more_out = u64::from(counts.1.wrapping_sub(self.counted.1));
        let metrics = &self.edge.metrics;
        if more_in > 0 {
            metrics.bytes_in.increment(more_in);
        }
        if more_out > 0 {
            metrics.bytes_out.increment(more_out);
        }
        self.record.moved(more_in, more_out);
        self.counted = counts;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.note_disconnect();
        // First: whoever tells a new owner what to expect finds the session in either place.
        self.depart();
        if let Some(slot) = self.slot {
            self.edge.link.routes.leave(slot, self.place.id);
        }
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
