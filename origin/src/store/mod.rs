//! Store: what outlives the process, asked by meaning.
//!
//! Two shapes per owner (a bare address): **maps** ([`Table`]) and append-only **logs** ([`Log`]),
//! and one fenced atomic batch per slot. A feature never sees which implementation it has; one
//! test suite (`tests`) runs against each.
//!
//! **Invariant:** `commit` is refused unless the writer is the stored owner of the slot at exactly
//! the stored epoch. Leases are liveness; this is safety.

pub mod codec;

pub mod embedded;

pub mod redis;

mod directives;

mod key;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::Path;
use std::pin;
use std::time::Instant;

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
pub use couplet_proto::link::id::LogId;
use couplet_proto::link::id::NodeId;
use couplet_proto::slot::{Seed, Slot};

use crate::directives::Directives;

/// A future the store returns.
pub type Answer<'a, T, E = Error> = pin::Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// A map every owner has: key → value. Declared by the feature that owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Table {
    /// Part of the stored key: never changed, never given to another table.
    pub id: u8,
    /// For logs and documents.
    pub name: &'static str,
    /// Whether it is read when the account is activated and stays in memory. Tables of large or
    /// rarely read values are asked by `get`. Part of the stored key too: never changed.
    pub is_resident: bool,
}

/// An append-only sequence every owner has. Declared by the feature that owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Log {
    /// Part of the stored key: never changed, never given to another log.
    pub id: u8,
    /// For logs and documents.
    pub name: &'static str,
}

/// The credentials table: its rows are the accounts there are, and a store keeps the list of
/// [`Store::accounts`] by them.
pub const CREDENTIALS: Table = Table {
    id: 1,
    name: "credentials",
    is_resident: true,
};

/// The sessions that wait for their clients to come back: a store keeps the list of
/// [`Store::sleepers`] by its rows.
pub const SLEEPING: Table = Table {
    id: 7,
    name: "sleeping",
    is_resident: true,
};

/// Which entries of a log are read, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Those after this place; from the first, if `None`.
    pub after: Option<LogId>,
    /// Those before this place; up to the last, if `None`.
    pub before: Option<LogId>,
    /// Whether the newest come first.
    pub is_backwards: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a value.
    Put {
        /// Which map.
        table: Table,
        /// Which key; may be empty for a map of one value.
        key: Box<str>,
        /// Encoded by [`codec`].
        value: Bytes,
    },
    /// Removes a value; no error if there is none.
    Delete {
        /// Which map.
        table: Table,
        /// Which key.
        key: Box<str>,
    },
    /// Adds an entry to a log. An entry that is there already stays as it is.
    Append {
        /// Which log.
        log: Log,
        /// Where.
        id: LogId,
        /// Encoded by [`codec`].
        value: Bytes,
    },
    /// Puts another value in the place of an entry; nothing if there is no such entry.
    Replace {
        /// Which log.
        log: Log,
        /// Where.
        id: LogId,
        /// Encoded by [`codec`].
        value: Bytes,
    },
    /// Removes every entry up to and including `through`.
    Truncate {
        /// Which log.
        log: Log,
        /// The last entry to go.
        through: LogId,
    },
    /// Removes everything the owner has, in every table and log.
    Erase,
}

/// The writes of one slot that must become durable together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The slot all owners in it belong to.
    pub slot: Slot,
    /// The epoch at which the writer owns the slot.
    pub epoch: Epoch,
    /// Bare addresses and their changes, applied in order.
    pub writes: Vec<(Jid, Write)>,
}

/// What is read when an account is activated.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Every row of every resident table: table, key, value.
    pub rows: Vec<(u8, Box<str>, Bytes)>,
    /// How long each non-empty log is: log, entries.
    pub logs: Vec<(u8, u64)>,
}

/// Why the store did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The slot belongs to another origin, or to this one at another epoch.
    #[error("slot {slot} is not owned at this epoch")]
    Fenced {
        /// Which slot.
        slot: Slot,
    },
    /// The store cannot be reached or cannot write now; the cause in words for the operator.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What is stored cannot be read; the place in words for the operator.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
}

/// What outlives the process.
pub trait Store: Send + Sync + 'static {
    /// The cluster's seed, made when the store was.
    fn seed(&self) -> Seed;

    /// What all origins of the cluster know and nobody else: the key of what they sign. Made when
    /// the store was.
    fn secret(&self) -> [u8; 32];

    /// Makes `node` the owner of these slots, each at the epoch after the stored one. From then
    /// on `node` is who commits through this store.
    fn claim<'a>(&'a self, node: &'a str, slots: Vec<Slot>) -> Answer<'a, Vec<(Slot, Epoch)>>;

    /// The accounts of a slot that have rows in [`SLEEPING`], in no order.
    fn sleepers(&self, slot: Slot) -> Answer<'_, Vec<Jid>>;

    /// What an account needs to be active.
    fn load(&self, slot: Slot, owner: Jid) -> Answer<'_, Snapshot>;

    /// One value.
    fn get(&self, slot: Slot, owner: Jid, table: Table, key: Box<str>)
    -> Answer<'_, Option<Bytes>>;

    /// Entries of a log, at most `max`: of those in `span` the ones that come first in its order.
    fn read_log(
        &self,
        slot: Slot,
        owner: Jid,
        log: Log,
        span: Span,
        max: usize,
    ) -> Answer<'_, Vec<(LogId, Bytes)>>;

    /// Makes a batch durable, all of it or none. When it answers `Ok` the batch survives
    /// `kill -9` and loss of power.
    ///
    /// # Errors
    /// [`Error::Fenced`] when this node (see `claim`) is not the stored owner at `batch.epoch`:
    /// nothing was changed. After any other error, and when the answer is not awaited, the batch
    /// may or may not be stored; repeating it is safe as long as nothing was committed since.
    fn commit(&self, batch: Batch) -> Answer<'_, ()>;

    /// The same for one who waits until `deadline` and not longer. A store whose requests can lie
    /// somewhere on their way does not carry them out after it.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn commit_until(&self, batch: Batch, _deadline: Instant) -> Answer<'_, ()> {
        self.commit(batch)
    }

    /// Accounts of a domain in byte order of their local part after `after`, at most `max`.
    fn accounts(
        &self,
        domain: Box<str>,
        after: Option<Box<str>>,
        max: usize,
    ) -> Answer<'_, Vec<Jid>>;

    /// What operators have ordered; nothing at version 0 where nobody ever has.
    fn directives(&self) -> Answer<'_, Directives>;

    /// Puts another document in the place of what operators have ordered, if that is still of the
    /// version `expected`; whether it was. After an error it may or may not have been done.
    fn set_directives<'a>(&'a self, expected: u64, next: &'a Directives) -> Answer<'a, bool>;

    /// Writes a consistent copy into the folder `to`, which must not exist or be empty, while
    /// everything goes on. The copy can be used as a data folder.
    fn backup<'a>(&'a self, to: &'a Path) -> Answer<'a, ()>;
}

// === impl Span ===

impl Span {
    /// All entries, oldest first.
    pub const ALL: Self = Self {
        after: None,
        before: None,
        is_backwards: false,
    };

    /// Those after a place (all, if `None`), oldest first.
    pub const fn after(after: Option<LogId>) -> Self {
        Self { after, ..Self::ALL }
    }

    /// The one entry at a place.
    pub fn only(id: LogId) -> Self {
        let LogId { millis, count } = id;
        let after = match (count.checked_sub(1), millis.checked_sub(1)) {
            (Some(count), _) => Some(LogId { millis, count }),
            (None, Some(millis)) => Some(LogId {
                millis,
                count: u32::MAX,
            }),
            (None, None) => None,
        };
        let before = match (count.checked_add(1), millis.checked_add(1)) {
            (Some(count), _) => Some(LogId { millis, count }),
            (None, Some(millis)) => Some(LogId { millis, count: 0 }),
            (None, None) => None,
        };
        Self {
            after,
            before,
            is_backwards: false,
        }
    }

    /// Whether an entry at this place is in it.
    pub fn contains(&self, id: LogId) -> bool {
        self.after.is_none_or(|after| id > after) && self.before.is_none_or(|before| id < before)
    }
}

/// What the origins of a cluster agree on: who is there, and who owns which slot.
///
/// Leases and views are liveness: who acts on an old one is stopped by the fence of
/// [`Store::commit`].
pub trait Registry: Send + Sync + 'static {
    /// Says that `me` is alive for `lease_ms` more milliseconds by the store's clock, and what it
    /// is; answers who else is.
    fn beat<'a>(&'a self, me: &'a Member, lease_ms: u64) -> Answer<'a, View>;

    /// Takes a node's lease away at once: it has left.
    fn leave<'a>(&'a self, node: &'a NodeId) -> Answer<'a, ()>;

    /// The stored owner of every slot, in order of their numbers.
    fn owners(&self) -> Answer<'_, Vec<Option<Owner>>>;

    /// Makes `node` the owner of slots, each at the epoch after the stored one, where the stored
    /// owner is still the one expected; answers the owner there is now. Changes the version of
    /// the view.
    fn take<'a>(
        &'a self,
        node: &'a NodeId,
        slots: Vec<(Slot, Option<Owner>)>,
    ) -> Answer<'a, Vec<(Slot, Owner)>>;

    /// Another node has told of this epoch of a slot: a store that loses its last writes must not
    /// give it twice.
    fn heard(&self, _slot: Slot, _epoch: Epoch) {}

    /// The pins: ranges of slots held to groups of origins, as an operator set them.
    fn pins(&self) -> Answer<'_, Vec<Pin>>;

    /// Replaces the pins. Changes the version of the view.
    fn set_pins(&self, pins: Vec<Pin>) -> Answer<'_, ()>;
}

/// An origin as it describes itself to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which process.
    pub node: NodeId,
    /// Its name, which a restart keeps.
    pub name: Box<str>,
    /// Where edges and other origins reach it: `host:port`.
    pub address: Box<str>,
    /// Its share, relative to the others; 100 is usual.
    pub weight: u32,
    /// Which pins it takes; may be empty.
    pub group: Box<str>,
    /// Whether it wants to give its slots away.
    pub is_draining: bool,
}

/// Who is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Every member whose lease is known, the one that asks included, and how many milliseconds
    /// its lease still lasts by the store's clock: none or less for one that is silent. In order
    /// of their ids.
    pub members: Vec<(Member, i64)>,
    /// Changes with every change of owners or pins.
    pub version: u64,
    /// The version of what operators have ordered: [`Store::directives`].
    pub directives: u64,
}

/// The owner of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Which process.
    pub node: NodeId,
    /// At which epoch.
    pub epoch: Epoch,
}

/// A range of slots held to a group of origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The first slot.
    pub first: Slot,
    /// The last.
    pub last: Slot,
    /// The members of this group share it, while there is one.
    pub group: Box<str>,
}
