//! Onlook: the stanzas of an account as they pass, for an operator who looks on.
//!
//! ```text
//! open ─▶ a ring of what passes ─▶ read, read, read … ─▶ nobody reads for a while: closed
//! ```
//!
//! The shard that owns the account keeps the ring. When the account moves it is gone, and whoever
//! looks on opens another one at the new owner. While nothing is watched a stanza costs a look at
//! an empty map.
//!
//! **Invariant:** it is bounded: in accounts, in stanzas and in bytes. Who reads too slowly is told
//! how many he has missed.
//! **Invariant:** what stands in a stanza is kept only while somebody reads who has said so when he
//! began: his cursor is another one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use couplet_proto::slot::Slot;
use couplet_proto::{Jid, Kind, Stanza, Type};
use hashbrown::HashMap;

use crate::clock::Now;

/// Accounts that may be watched at once on one origin; one more is refused.
pub const WATCHED_MAX: usize = 32;

/// Stanzas kept of one account; of more the oldest go.
const RECORDS_MAX: usize = 1024;

/// Bytes of them, about.
const BYTES_MAX: usize = 1 << 20;

/// Milliseconds after which nobody reads any more.
const CLOSED_AFTER_MS: u64 = 15_000;

/// The most stanzas of one reading.
pub const READ_MAX: usize = 256;

/// The way of a stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A client of the account sent it.
    Sent,
    /// It goes to a client of the account, or waits for one that will resume.
    Delivered,
    /// It came for the account and goes to none of its clients: it was answered, kept for later,
    /// refused or dropped.
    Handled,
}

/// A stanza that has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Which way.
    pub way: Way,
    /// The client's full address; of what none gets, whom it was for.
    pub session: Jid,
    /// The kind of the stanza,
    pub kind: Kind,
    /// its type,
    pub type_: Type,
    /// its id,
    pub id: Option<Box<str>>,
    /// who sent it,
    pub from: Option<Jid>,
    /// whom it is for,
    pub to: Option<Jid>,
    /// and about how large it is.
    pub bytes: usize,
    /// Its children, each with its namespace.
    pub children: Vec<(Box<str>, Box<str>)>,
    /// All of it, where that was asked for.
    pub whole: Option<Arc<Stanza>>,
}

/// Up to where somebody has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Names the ring, and whether whole stanzas are shown: drawn when that was opened.
    pub watch: u64,
    /// The number of the next stanza.
    pub next: u64,
}

/// What an operator asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// To begin.
    Open,
    /// What has passed since.
    Read(Cursor),
}

/// Whose stanzas, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// An account, or one of its clients.
    pub jid: Jid,
    /// Whether all of each stanza is shown.
    pub is_whole: bool,
    /// What is asked.
    pub ask: Ask,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Where to go on.
    pub cursor: Cursor,
    /// Stanzas of the account that have passed meanwhile and are not kept any more.
    pub skipped: u64,
    /// The others, in order, as far as they are wanted.
    pub records: Vec<Record>,
}

/// Why nothing is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such ring, or not any more.
    Closed,
    /// Enough accounts are watched.
    Enough,
}

/// Everything that is watched in one shard.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    rings: HashMap<Jid, Ring>,
    /// How many accounts are watched in all shards.
    count: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Ring {
    name: u64,
    slot: Slot,
    records: VecDeque<Record>,
    bytes: usize,
    /// The number of the next stanza.
    next: u64,
    /// When somebody read last.
    read_at: u64,
    /// Its name for those who see whole stanzas, and when one of them read last.
    whole: Option<(u64, u64)>,
}

// === impl Watches ===

impl Watches {
    /// None; `count` is that of all shards.
    pub(crate) fn new(count: Arc<AtomicUsize>) -> Self {
        Self {
            rings: HashMap::default(),
            count,
        }
    }

    /// Whether nothing is watched: then there is nothing to note.
    pub(crate) fn is_empty(&self) -> bool {
        self.rings.is_empty()
    }

    /// Answers an operator; what is opened gets a name that nobody can guess.
    pub(crate) fn ask(
        &mut self,
        watch: &Watch,
        slot: Slot,
        mut draw: impl FnMut() -> u64,
        now: Now,
    ) -> Result<Watched, Refused> {
        let account = watch.jid.to_bare();
        if watch.ask == Ask::Open && !self.rings.contains_key(&account) {
            if self.count.fetch_add(1, Ordering::Relaxed) >= WATCHED_MAX {
                self.count.fetch_sub(1, Ordering::Relaxed);
                return Err(Refused::Enough);
            }
            self.rings.insert(account.clone(), Ring::new(draw(), slot));
        }
        let ring = self.rings.get_mut(&account).ok_or(Refused::Closed)?;
        match watch.ask {
            Ask::Open => Ok(Watched {
                cursor: Cursor {
                    watch: ring.open(watch.is_whole, draw, now),
                    next: ring.next,
                },
                skipped: 0,
                records: Vec::new(),
            }),
            Ask::Read(cursor) => ring.read(watch, cursor, now).ok_or(Refused::Closed),
        }
    }

    /// A stanza passes; `session` is the client's full address, or whom it was for.
    pub(crate) fn note(&mut self, way: Way, session: &Jid, stanza: &Stanza, now: Now) {
        if let Some(ring) = self.rings.get_mut(session.bare()) {
            ring.push(way, session, stanza, now);
        }
    }

    /// A second has passed.
    pub(crate) fn tick(&mut self, now: Now) {
        self.close(|ring| now.mono.saturating_sub(ring.read_at) > CLOSED_AFTER_MS);
        for ring in self.rings.values_mut() {
            ring.forget_whole(now);
        }
    }

    /// A slot is another's.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.close(|ring| ring.slot == slot);
    }

    fn close(&mut self, is_over: impl Fn(&Ring) -> bool) {
        let before = self.rings.len();
        self.rings.retain(|_, ring| !is_over(ring));
        let closed = before - self.rings.len();
        self.count.fetch_sub(closed, Ordering::Relaxed);
    }
}

// === impl Ring ===

impl Ring {
    fn new(name: u64, slot: Slot) -> Self {
        Self {
            name,
            slot,
            records: VecDeque::new(),
            bytes: 0,
            next: 0,
            read_at: 0,
            whole: None,
        }
    }

    /// Somebody looks on from now. The name by which he does.
    fn open(&mut self, is_whole: bool, mut draw: impl FnMut() -> u64, now: Now) -> u64 {
        self.read_at = now.mono;
        if !is_whole {
            return self.name;
        }
        let (name, read_at) = self.whole.get_or_insert_with(|| (draw(), now.mono));
        *read_at = now.mono;
        *name
    }

    /// The number of the oldest that is kept.
    fn first(&self) -> u64 {
        self.next - self.records.len() as u64
    }

    /// `None` when that is no name of this ring.
    fn read(&mut self, watch: &Watch, cursor: Cursor, now: Now) -> Option<Watched> {
        let mut is_whole = false;
        match &mut self.whole {
            Some((name, read_at)) if *name == cursor.watch => {
                *read_at = now.mono;
                is_whole = watch.is_whole;
            }
            _ if self.name == cursor.watch => {}
            _ => return None,
        }
        self.read_at = now.mono;
        let first = self.first();
        let from = cursor.next.clamp(first, self.next);
        let skipped = first.saturating_sub(cursor.next);
        let passed = usize::try_from(from - first).unwrap_or(usize::MAX);
        let is_wanted = |record: &&Record| watch.jid.is_bare() || record.session == watch.jid;
        let page = self.records.iter().skip(passed).take(READ_MAX);
        let next = from + page.len() as u64;
        let records = page.filter(is_wanted).map(|record| Record {
            whole: record.whole.clone().filter(|_| is_whole),
            ..record.clone()
        });
        Some(Watched {
            cursor: Cursor { next, ..cursor },
            skipped,
            records: records.collect(),
        })
    }

    fn push(&mut self, way: Way, session: &Jid, stanza: &Stanza, now: Now) {
        let is_whole = self.whole.is_some();
        let children = stanza.payload.children();
        let children = children.map(|child| (child.name().into(), child.ns().into()));
        let record = Record {
            at: now.unix,
            way,
            session: session.clone(),
            kind: stanza.kind,
            type_: stanza.type_,
            id: stanza.id.as_ref().map(|id| id.as_str().into()),
            from: stanza.from.clone(),
            to: stanza.to.clone(),
            bytes: stanza.wire_bytes(),
            children: children.collect(),
            whole: is_whole.then(|| Arc::new(stanza.clone())),
        };
        self.bytes += record.held();
        self.records.push_back(record);
        self.next += 1;
        while self.records.len() > RECORDS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.records.pop_front() else {
                return;
            };
            self.bytes -= oldest.held();
        }
    }

    /// Nobody who may see whole stanzas has read for a while.
    fn forget_whole(&mut self, now: Now) {
        let is_over = |at: u64| now.mono.saturating_sub(at) > CLOSED_AFTER_MS;
        if self.whole.is_some_and(|(_, read_at)| is_over(read_at)) {
            self.whole = None;
            self.bytes = 0;
            for record in &mut self.records {
                record.whole = None;
                self.bytes += record.held();
            }
        }
    }
}

// === impl Record ===

impl Record {
    /// About how much memory it holds.
    fn held(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let jid = |jid: &Option<Jid>| jid.as_ref().map_or(0, |jid| jid.as_str().len());
        let children = self.children.iter();
        let children = children.map(|(name, ns)| 32 + name.len() + ns.len());
        let whole = self.whole.as_ref();
        size_of::<Self>()
            + self.session.as_str().len()
            + text(&self.id)
            + jid(&self.from)
            + jid(&self.to)
            + children.sum::<usize>()
            + whole.map_or(0, |whole| size_of::<Stanza>() + whole.wire_bytes())
    }
}

#[cfg(test)]
mod tests;
