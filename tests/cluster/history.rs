//! History: what everybody sent, was told and got; written by the clients while a case runs, read
//! by the judge when it is over.
//!
//! A *flow* is all that one user sends to another. Its messages are numbered from 0 and carry
//! sender, receiver and number in their id and in their text.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::rooms::{self, Room};

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    User(User),
    Room(Room),
}

/// A user by number: 3 is `user3@localhost`.
pub(crate) type User = usize;

/// An edge by its place in the cluster.
pub(crate) type EdgeIndex = usize;

/// What was recorded so far, shared by all clients of a case.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Records>);

/// Everything recorded.
#[derive(Debug, Default, Clone)]
pub(crate) struct Records {
    /// By sender and receiver.
    pub(crate) flows: BTreeMap<(User, User), Flow>,
    /// What happened in each room.
    pub(crate) rooms: BTreeMap<Room, rooms::Record>,
    /// What each user went through.
    pub(crate) lives: BTreeMap<User, Life>,
    /// What presence a user (first) has seen of a contact.
    pub(crate) seen: BTreeMap<(User, User), Seen>,
    /// What should not happen at all: a message for somebody else, an acknowledgement of what was
    /// never sent.
    pub(crate) strange: Vec<String>,
}

/// The messages of one user to another.
#[derive(Debug, Default, Clone)]
pub(crate) struct Flow {
    /// The index is the number.
    pub(crate) sent: Vec<Sent>,
    /// In the order they came: number and time.
    pub(crate) received: Vec<(usize, Instant)>,
}

/// One message, seen from its sender.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// When its sender wanted it sent: while it has no connection it goes on wanting.
    pub(crate) at: Instant,
    pub(crate) fate: Fate,
    /// Sent again in a new session without knowing whether it had arrived.
    pub(crate) may_repeat: bool,
}

/// What the sender knows of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing yet.
    Waiting,
    /// The server has it: counted in an `h`, or, without stream management, the connection it
    /// went by lived until everything was quiet.
    Acknowledged,
    /// It came back as an error with this condition.
    Refused(String),
    /// It went by a connection without stream management that broke.
    Unknown,
}

/// How a user takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Online, with stream management.
    Managed,
    /// Online, without it.
    Plain,
    /// Logs in when all is over.
    Offline,
}

/// What a user went through.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) kind: Kind,
    /// Resources bound: 1 unless a session was lost.
    pub(crate) binds: u32,
    /// Sessions that are over.
    pub(crate) endings: u32,
    pub(crate) disconnects: Vec<Disconnect>,
    pub(crate) resumes: u32,
    pub(crate) failed_resumes: u32,
    /// Attempts to come back that failed, each with its cause.
    pub(crate) failed_attempts: Vec<String>,
    /// Whether it has gone for good before the end.
    pub(crate) is_gone: bool,
}

/// A connection that broke.
#[derive(Debug, Clone)]
pub(crate) struct Disconnect {
    pub(crate) edge: EdgeIndex,
    pub(crate) cause: String,
}

/// Presence of one contact, as one user saw it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) available: u32,
    pub(crate) unavailable: u32,
}

// === impl History ===

impl History {
    /// The records, to write to or to look at.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Records> {
        // A client that panicked fails the case by itself; the records are still whole.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

// === impl Records ===

impl Records {
    /// A user takes part.
    pub(crate) fn enroll(&mut self, user: User, kind: Kind) {
        self.lives.insert(user, Life::new(kind));
    }

    /// What a user went through.
    pub(crate) fn life(&mut self, user: User) -> &mut Life {
        self.lives.get_mut(&user).expect("enrolled")
    }

    /// Takes the next number of a sender there.
    pub(crate) fn send(&mut self, sender: User, to: Target, at: Instant) -> usize {
        let sent = Sent {
            at,
            fate: Fate::Waiting,
            may_repeat: false,
        };
        match to {
            Target::Room(room) => self.rooms.entry(room).or_default().send(sender, sent),
            Target::User(receiver) => {
                let flow = self.flows.entry((sender, receiver)).or_default();
                flow.sent.push(sent);
                flow.sent.len() - 1
            }
        }
    }

    /// One message, seen from its sender.
    pub(crate) fn sent(&mut self, sender: User, to: Target, number: usize) -> &mut Sent {
        match to {
            Target::Room(room) => {
                let record = self.rooms.entry(room).or_default();
                record.sent_mut(sender, number)
            }
            Target::User(receiver) => {
                let flow = self.flows.get_mut(&(sender, receiver));
                &mut flow.expect("the sender has begun it").sent[number]
            }
        }
    }

    /// The server has a message, unless it has already said that it refuses it.
    pub(crate) fn acknowledge(&mut self, sender: User, to: Target, number: usize) {
        let sent = self.sent(sender, to, number);
        if sent.fate == Fate::Waiting {
            sent.fate = Fate::Acknowledged;
        }
    }

    /// A message has come.
    pub(crate) fn receive(&mut self, sender: User, receiver: User, number: usize, at: Instant) {
        let flow = self.flows.entry((sender, receiver)).or_default();
        flow.received.push((number, at));
    }

    /// Presence has come. That a contact is not there yet is no end of a session.
    pub(crate) fn see(&mut self, watcher: User, contact: User, is_available: bool) {
        let seen = self.seen.entry((watcher, contact)).or_default();
        if is_available {
            seen.available += 1;
        } else if seen.available > 0 {
            seen.unavailable += 1;
        }
    }

    /// Messages that have come, each as often as it came.
    pub(crate) fn received_count(&self) -> usize {
        let direct = self.flows.values().map(|flow| flow.received.len());
        let rooms = self.rooms.values().flat_map(|room| room.heard.values());
        direct.sum::<usize>() + rooms.map(Vec::len).sum::<usize>()
    }

    /// Whether nothing more is to be expected: every message has a known fate, and has come if it
    /// was for somebody online.
    pub(crate) fn is_settled(&self) -> bool {
        self.flows.iter().all(|(&(sender, receiver), flow)| {
            let is_managed = self.kind(sender) == Some(Kind::Managed);
            let mut is_there = vec![!self.is_online(receiver); flow.sent.len()];
            for &(number, _) in &flow.received {
                if let Some(it) = is_there.get_mut(number) {
                    *it = true;
                }
            }
            flow.sent
                .iter()
                .zip(is_there)
                .all(|(sent, is_there)| match sent.fate {
                    Fate::Waiting => !is_managed && is_there,
                    Fate::Acknowledged => is_there,
                    Fate::Refused(_) | Fate::Unknown => true,
                })
        })
    }

    /// Whether everybody who watches a session that ended has seen it go.
    pub(crate) fn are_endings_seen(&self) -> bool {
        self.seen.iter().all(|(&(watcher, contact), seen)| {
            let ended = self.lives.get(&contact).map_or(0, |life| life.endings);
            !self.was_always_there(watcher) || seen.unavailable >= ended
        })
    }

    /// Whether a user has had one session all the time: otherwise it may have missed something.
    pub(crate) fn was_always_there(&self, user: User) -> bool {
        let life = self.lives.get(&user);
        life.is_some_and(|life| life.binds == 1 && life.endings == 0)
    }

    /// Whether a user reads what comes, or will when its connection is back.
    pub(crate) fn is_online(&self, user: User) -> bool {
        let life = self.lives.get(&user);
        life.is_some_and(|life| life.kind != Kind::Offline && !life.is_gone)
    }

    /// How many messages each flow has between users who are online.
    pub(crate) fn live_flows(&self) -> Vec<((User, User), usize)> {
        let flows = self.flows.iter();
        let live = flows.filter(|(it, _)| self.is_online(it.0) && self.is_online(it.1));
        live.map(|(it, flow)| (*it, flow.sent.len())).collect()
    }

    /// Whether one of these flows' messages from this number on has come, or nobody waits for it
    /// any more.
    pub(crate) fn has_heard(&self, (sender, receiver): (User, User), number: usize) -> bool {
        let is_live = self.is_online(sender) && self.is_online(receiver);
        let flow = self.flows.get(&(sender, receiver));
        // The last to come is nearly always the newest.
        let mut received = flow.iter().flat_map(|flow| flow.received.iter().rev());
        !is_live || received.any(|&(it, _)| it >= number)
    }

    /// Whether all that was acknowledged for a user has come to it.
    pub(crate) fn has_all_acknowledged(&self, receiver: User) -> bool {
        let flows = self.flows.iter().filter(|((_, to), _)| *to == receiver);
        flows.map(|(_, flow)| flow).all(|flow| {
            let sent = flow.sent.iter().enumerate();
            let mut known = sent.filter(|(_, sent)| sent.fate == Fate::Acknowledged);
            known.all(|(number, _)| flow.received.iter().any(|&(it, _)| it == number))
        })
    }

    /// What senders without stream management know nothing of went by connections that still
    /// stand: the server has it.
    pub(crate) fn trust_standing_connections(&mut self) {
        let direct = self.flows.iter_mut();
        let direct = direct.map(|((sender, _), flow)| (sender, &mut flow.sent));
        let rooms = self.rooms.values_mut().flat_map(|room| &mut room.sent);
        for (sender, sent) in direct.chain(rooms) {
            let is_plain = self
                .lives
                .get(sender)
                .is_some_and(|it| it.kind == Kind::Plain);
            let waiting = sent.iter_mut().filter(|it| it.fate == Fate::Waiting);
            for sent in waiting.filter(|_| is_plain) {
                sent.fate = Fate::Acknowledged;
            }
        }
    }

    /// How a user takes part.
    pub(crate) fn kind(&self, user: User) -> Option<Kind> {
        self.lives.get(&user).map(|life| life.kind)
    }
}

// === impl Flow ===

impl Flow {
    /// The longest time between the wish to send and the arrival of a message.
    pub(crate) fn longest_pause(&self) -> Duration {
        let pauses = self.received.iter().filter_map(|&(number, at)| {
            let sent = self.sent.get(number)?;
            Some(at.saturating_duration_since(sent.at))
        });
        pauses.max().unwrap_or_default()
    }
}

// === impl Life ===

impl Life {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            binds: 0,
            endings: 0,
            disconnects: Vec::new(),
            resumes: 0,
            failed_resumes: 0,
            failed_attempts: Vec::new(),
            is_gone: false,
        }
    }
}
