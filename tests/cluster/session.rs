//! One user of the checking client: logs in, talks, reads, acknowledges; comes back by itself
//! when its connection breaks, to the next edge, and resumes.
//!
//! ```text
//! connect ──bound──▶ converse ──lost──▶ connect ──resumed──▶ converse …
//!                                               └─failed───▶ bound anew, and counted
//! ```
//!
//! It goes on wanting to send while it has no connection, so that a message's time on the way
//! holds the time its sender was cut off.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{Interval, interval, sleep_until, timeout};

use crate::harness::tree::Tree;
use crate::history::{Disconnect, Fate, History, Kind, Records, Target, User};
use crate::inbound;
use crate::rooms::{self, Room};
use crate::stream::{Cause, DOMAIN, Resumption, SM, Stream};

/// How often what is unacknowledged is asked for.
const ASK: Duration = Duration::from_millis(250);

/// How long it waits before it tries the next edge.
const PAUSE: Duration = Duration::from_millis(100);

/// What all users do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// They are online and read.
    Quiet,
    /// They send as well.
    Talking,
    /// They go.
    Over,
}

/// Who a user is and what it does.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) user: User,
    /// Online, with stream management or without.
    pub(crate) kind: Kind,
    /// To whom it sends, each in turn.
    pub(crate) receivers: Vec<Target>,
    /// The room it is in.
    pub(crate) room: Option<Room>,
    /// Whose presence it subscribes to.
    pub(crate) contacts: Vec<User>,
    /// From one message to the next.
    pub(crate) interval: Duration,
    /// Whether it logs in again when its connection broke.
    pub(crate) comes_back: bool,
}

/// What all users share.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) edges: Arc<[SocketAddr]>,
    pub(crate) history: Arc<History>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// A user under way.
#[derive(Debug)]
pub(crate) struct Session {
    profile: Profile,
    around: Surroundings,
    /// Where it is connected or tries to be.
    edge: usize,
    /// The id to resume by, and how many stanzas have come; nothing without a session.
    resumable: Option<(String, u32)>,
    /// What is not acknowledged; without stream management, not sent.
    outbox: VecDeque<Outgoing>,
    /// How many of them have been sent over this connection.
    written: usize,
    /// How many stanzas the server has acknowledged.
    acked: u32,
    /// Whether an acknowledgement has been asked for and not come.
    is_asked: bool,
    /// Without stream management: sent over this connection.
    unconfirmed: Vec<(Target, usize)>,
    next_send: Instant,
    turn: usize,
}

/// A stanza on its way out.
#[derive(Debug)]
struct Outgoing {
    text: String,
    /// Where it goes and its number, if it is a message that counts.
    message: Option<(Target, usize)>,
}

/// The bare address of a user.
pub(crate) fn address(user: User) -> String {
    format!("{}@{DOMAIN}", nick(user))
}

/// What a user is called, in its address and in a room.
pub(crate) fn nick(user: User) -> String {
    format!("user{user}")
}

// === impl Session ===

impl Session {
    pub(crate) fn new(profile: Profile, around: Surroundings) -> Self {
        let mut records = around.history.lock();
        records.enroll(profile.user, profile.kind);
        if let Some(room) = profile.room {
            records.enroll_occupant(room, profile.user);
        }
        drop(records);
        Self {
            edge: profile.user % around.edges.len(),
            profile,
            around,
            resumable: None,
            outbox: VecDeque::new(),
            written: 0,
            acked: 0,
            is_asked: false,
            unconfirmed: Vec::new(),
            next_send: Instant::now(),
            turn: 0,
        }
    }

    /// Lives until all is over.
    pub(crate) async fn live(mut self) {
        for contact in self.profile.contacts.clone() {
            let to = address(contact);
            self.push(format!("<presence type='subscribe' to='{to}'/>"), None);
        }
        while let Some(mut stream) = self.connect().await {
            let Err(cause) = self.converse(&mut stream).await else {
                // The case is over: nobody looks any more whether it goes politely.
                let _ = stream.close().await;
                return;
            };
            self.lose(cause);
            if !self.profile.comes_back {
                self.records(|it, user| it.life(user).is_gone = true);
                return;
            }
        }
    }

    /// Tries one edge after the other until one has it; nothing when all is over.
    async fn connect(&mut self) -> Option<Stream> {
        loop {
            if *self.around.phase.borrow() == Phase::Over {
                return None;
            }
            match self.attempt().await {
                Ok(stream) => return Some(stream),
                Err(cause) => {
                    let text = format!("edge {}: {cause}", self.edge);
                    self.records(|it, user| it.life(user).failed_attempts.push(text));
                    self.edge = (self.edge + 1) % self.around.edges.len();
                }
            }
            // Cut short when the phase changes; then it is looked at.
            let _ = timeout(PAUSE, self.around.phase.changed()).await;
        }
    }

    /// Logs in at one edge and resumes or binds.
    async fn attempt(&mut self) -> Result<Stream, Cause> {
        let name = format!("user{}", self.profile.user);
        let mut stream = Stream::log_in(self.around.edges[self.edge], &name).await?;
        if let Some((id, handled)) = self.resumable.clone() {
            match stream.resume(&id, handled).await? {
                Resumption::Resumed(h) => {
                    self.acknowledge(h);
                    self.records(|it, user| it.life(user).resumes += 1);
                    self.begin();
                    return Ok(stream);
                }
                Resumption::Failed(h) => self.fail(h),
            }
        }
        stream.bind("here").await?;
        if self.profile.kind == Kind::Managed {
            let mut early = Vec::new();
            let enabled = stream.enable(&mut early).await?;
            self.resumable = Some((enabled.id, 0));
            for stanza in early {
                self.read(&stanza);
            }
        }
        self.records(|it, user| it.life(user).binds += 1);
        self.acked = 0;
        let user = self.profile.user;
        let join = self.profile.room.map(|room| rooms::join(room, user));
        let first = std::iter::once("<presence/>".to_owned()).chain(join);
        for text in first.rev() {
            let message = None;
            self.outbox.push_front(Outgoing { text, message });
        }
        self.begin();
        Ok(stream)
    }

    /// A connection starts: nothing was sent over it.
    fn begin(&mut self) {
        self.written = 0;
        self.is_asked = false;
    }

    /// The session is gone; what the server does not know to have handled goes into a new one.
    fn fail(&mut self, h: Option<u32>) {
        self.resumable = None;
        match h {
            Some(h) => self.acknowledge(h),
            None => {
                let unknown: Vec<_> = self.outbox.iter().take(self.written).collect();
                let messages: Vec<_> = unknown.iter().filter_map(|it| it.message).collect();
                self.records(|it, user| {
                    for (receiver, number) in messages {
                        it.sent(user, receiver, number).may_repeat = true;
                    }
                });
            }
        }
        self.records(|it, user| {
            it.life(user).failed_resumes += 1;
            it.life(user).endings += 1;
        });
    }

    /// The connection broke.
    fn lose(&mut self, cause: Cause) {
        let edge = self.edge;
        let unknown = std::mem::take(&mut self.unconfirmed);
        let is_plain = self.profile.kind == Kind::Plain;
        self.records(|it, user| {
            it.life(user).disconnects.push(Disconnect { edge, cause });
            it.life(user).endings += u32::from(is_plain);
            for (receiver, number) in unknown {
                it.sent(user, receiver, number).fate = Fate::Unknown;
            }
        });
        self.edge = (edge + 1) % self.around.edges.len();
    }

    /// Sends and reads until the connection breaks (then why) or all is over.
    async fn converse(&mut self, stream: &mut Stream) -> Result<(), Cause> {
        let mut ask = interval(ASK);
        loop {
            self.compose();
            self.flush(stream).await?;
            if self.step(stream, &mut ask).await? {
                return Ok(());
            }
        }
    }

    /// Waits for whatever comes first; whether all is over.
    async fn step(&mut self, stream: &mut Stream, ask: &mut Interval) -> Result<bool, Cause> {
        let is_talking = *self.around.phase.borrow() == Phase::Talking;
        tokio::select! {
            element = stream.next() => self.take(stream, &element?).await?,
            () = sleep_until(self.next_send.into()), if is_talking => {}
            _ = ask.tick() => {
                if self.resumable.is_some() && self.written > 0 && !self.is_asked {
                    self.is_asked = true;
                    stream.send(&format!("<r xmlns='{SM}'/>")).await?;
                }
            }
            // Nobody changes it any more: over as well.
            changed = self.around.phase.changed() => {
                if changed.is_err() || *self.around.phase.borrow() == Phase::Over {
                    return Ok(true);
                }
                self.next_send = Instant::now();
            }
        }
        Ok(false)
    }

    /// Makes the messages whose time has come.
    fn compose(&mut self) {
        if *self.around.phase.borrow() != Phase::Talking {
            return;
        }
        while self.next_send <= Instant::now() && !self.profile.receivers.is_empty() {
            let at = self.next_send;
            let receiver = self.profile.receivers[self.turn % self.profile.receivers.len()];
            self.turn += 1;
            self.next_send += self.profile.interval;
            let sender = self.profile.user;
            let number = self.around.history.lock().send(sender, receiver, at);
            let text = match receiver {
                Target::User(receiver) => inbound::message(sender, receiver, number),
                Target::Room(room) => rooms::message(room, sender, number),
            };
            self.push(text, Some((receiver, number)));
        }
    }

    fn push(&mut self, text: String, message: Option<(Target, usize)>) {
        self.outbox.push_back(Outgoing { text, message });
    }

    /// Sends what has not been sent over this connection.
    async fn flush(&mut self, stream: &mut Stream) -> Result<(), Cause> {
        let fresh = self.outbox.iter().skip(self.written);
        let mut text: String = fresh.map(|it| it.text.as_str()).collect();
        if text.is_empty() {
            return Ok(());
        }
        if self.resumable.is_some() {
            self.written = self.outbox.len();
            if !self.is_asked {
                self.is_asked = true;
                text.push_str(&format!("<r xmlns='{SM}'/>"));
            }
        } else {
            let sent = self.outbox.drain(..).filter_map(|it| it.message);
            self.unconfirmed.extend(sent);
        }
        stream.send(&text).await
    }

    /// Takes one element from the server.
    async fn take(&mut self, stream: &mut Stream, element: &Tree) -> Result<(), Cause> {
        if element.is("r", SM) {
            let h = self.resumable.as_ref().map_or(0, |(_, handled)| *handled);
            return stream.send(&format!("<a xmlns='{SM}' h='{h}'/>")).await;
        }
        if element.is("a", SM) {
            self.is_asked = false;
            match element.get("h").and_then(|h| h.parse().ok()) {
                Some(h) => self.acknowledge(h),
                None => self.complain(&format!("no h in {element}")),
            }
            return Ok(());
        }
        if let Some((_, handled)) = &mut self.resumable {
            *handled = handled.wrapping_add(1);
        }
        self.read(element);
        Ok(())
    }

    /// Takes one stanza: records it and answers it if it wants an answer.
    fn read(&mut self, stanza: &Tree) {
        let user = self.profile.user;
        let answer = inbound::take(&mut self.around.history.lock(), user, stanza);
        if let Some(answer) = answer {
            self.push(answer, None);
        }
    }

    /// The server has handled `h` stanzas of this session.
    fn acknowledge(&mut self, h: u32) {
        let count = h.wrapping_sub(self.acked) as usize;
        if count > self.outbox.len() || count > self.written {
            let (acked, written) = (self.acked, self.written);
            self.complain(&format!("h='{h}' after {acked} with {written} sent since"));
            return;
        }
        self.acked = h;
        self.written -= count;
        let done: Vec<_> = self.outbox.drain(..count).collect();
        self.records(|it, user| {
            for (receiver, number) in done.iter().filter_map(|it| it.message) {
                it.acknowledge(user, receiver, number);
            }
        });
    }

    fn complain(&self, text: &str) {
        self.records(|it, user| it.strange.push(format!("user{user}: {text}")));
    }

    fn records(&self, write: impl FnOnce(&mut Records, User)) {
        write(&mut self.around.history.lock(), self.profile.user);
    }
}
