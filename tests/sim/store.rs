//! Store: what outlives the origins, in memory; it can be out of order, and lose its last writes.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use couplet_origin::hooks::{Answer, Ask};
use couplet_origin::store::{Batch, Error, LogId, SLEEPING, Snapshot, Write};
use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::slot::Slot;

/// An origin process: which one, and which start of it.
pub(crate) type Node = (usize, u32);

/// What is stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    owners: BTreeMap<Slot, (Epoch, Node)>,
    accounts: BTreeMap<Jid, Owned>,
}

/// What is stored for one account.
#[derive(Debug, Clone, Default)]
struct Owned {
    /// By table, whether it is resident, and key.
    rows: BTreeMap<(u8, bool, Box<str>), Bytes>,
    logs: BTreeMap<u8, BTreeMap<LogId, Bytes>>,
}

#[derive(Debug, Clone)]
enum Change {
    Own(Slot, Epoch, Node),
    Write(Jid, Write),
}

/// The store of a world.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) content: Content,
    /// What a replica has, when the store may fail over to it, and what it has not yet.
    replica: Option<Content>,
    behind: VecDeque<Change>,
    /// So many writes may be lost.
    pub(crate) lag: usize,
    /// Whether it answers.
    pub(crate) is_out: bool,
    /// Whether it has ever failed a write.
    pub(crate) was_out: bool,
    /// How often it has failed over.
    pub(crate) failovers: u32,
    /// A mutation: whoever writes may.
    pub(crate) has_no_fence: bool,
    /// Somebody who is not the owner has written: the slot.
    pub(crate) intruded: Option<Slot>,
    pub(crate) commits: u64,
}

// === impl Store ===

impl Store {
    pub(crate) fn new(content: Content) -> Self {
        Self {
            content,
            ..Self::default()
        }
    }

    /// From now on it may lose its last writes.
    pub(crate) fn replicate(&mut self, lag: usize) {
        self.lag = lag;
        self.replica = Some(self.content.clone());
    }

    /// The replica takes over.
    pub(crate) fn fail_over(&mut self) {
        if let Some(replica) = &self.replica {
            self.content = replica.clone();
            self.behind.clear();
            self.failovers += 1;
        }
    }

    pub(crate) fn owner(&self, slot: Slot) -> Option<(Epoch, Node)> {
        self.content.owners.get(&slot).copied()
    }

    /// Makes a node the owner, if the owner is still the one it expects.
    pub(crate) fn take(
        &mut self,
        slot: Slot,
        expected: Option<(Epoch, Node)>,
        node: Node,
        seen: Epoch,
    ) -> Option<Epoch> {
        let known = self.owner(slot);
        if known != expected {
            return None;
        }
        // Above every epoch that was ever told, even if the store has lost the last ones.
        let epoch = known.map_or(seen, |(epoch, _)| epoch.max(seen)).next();
        self.apply(Change::Own(slot, epoch, node));
        Some(epoch)
    }

    /// Stores a batch, all of it or nothing.
    pub(crate) fn commit(&mut self, node: Node, batch: &Batch) -> Result<(), Error> {
        if self.owner(batch.slot) != Some((batch.epoch, node)) {
            if !self.has_no_fence {
                return Err(Error::Fenced { slot: batch.slot });
            }
            self.intruded = Some(batch.slot);
        }
        self.commits += 1;
        for (owner, write) in &batch.writes {
            self.apply(Change::Write(owner.clone(), write.clone()));
        }
        Ok(())
    }

    /// Writes without being an owner: what there was before the run.
    pub(crate) fn put(&mut self, owner: Jid, write: Write) {
        self.apply(Change::Write(owner, write));
    }

    fn apply(&mut self, change: Change) {
        if let Some(replica) = &mut self.replica {
            self.behind.push_back(change.clone());
            while self.behind.len() > self.lag {
                if let Some(change) = self.behind.pop_front() {
                    replica.apply(change);
                }
            }
        }
        self.content.apply(change);
    }

    /// The accounts of a slot with sessions that sleep.
    pub(crate) fn sleepers(&self, is_of_slot: impl Fn(&Jid) -> bool) -> Vec<Jid> {
        let accounts = self.content.accounts.iter();
        let sleeps = |owned: &Owned| owned.rows.keys().any(|(table, ..)| *table == SLEEPING.id);
        let found = accounts.filter(|(jid, owned)| is_of_slot(jid) && sleeps(owned));
        found.map(|(jid, _)| jid.clone()).collect()
    }

    pub(crate) fn snapshot(&self, account: &Jid) -> Snapshot {
        let Some(owned) = self.content.accounts.get(account) else {
            return Snapshot::default();
        };
        let rows = owned.rows.iter().filter(|((_, resident, _), _)| *resident);
        let logs = owned.logs.iter().filter(|(_, entries)| !entries.is_empty());
        Snapshot {
            rows: rows
                .map(|((table, _, key), value)| (*table, key.clone(), value.clone()))
                .collect(),
            logs: logs
                .map(|(log, entries)| (*log, entries.len() as u64))
                .collect(),
        }
    }

    pub(crate) fn answer(&self, account: &Jid, ask: Ask) -> Answer {
        let owned = self.content.accounts.get(account);
        match ask {
            Ask::Value(table, key) => {
                let place = (table.id, table.is_resident, key);
                Answer::Value(owned.and_then(|owned| owned.rows.get(&place)).cloned())
            }
            Ask::Log(log, span, max) => {
                let entries = owned.and_then(|owned| owned.logs.get(&log.id));
                let entries = entries.into_iter().flatten();
                let found = entries.filter(|(id, _)| span.contains(**id));
                let mut found: Vec<_> = found.map(|(id, value)| (*id, value.clone())).collect();
                if span.is_backwards {
                    found.reverse();
                }
                found.truncate(max);
                Answer::Log(found)
            }
            Ask::Entries(log, ids) => {
                let entries = owned.and_then(|owned| owned.logs.get(&log.id));
                let entries = entries.into_iter().flatten();
                let found = entries.filter(|(id, _)| ids.contains(id));
                Answer::Log(found.map(|(id, value)| (*id, value.clone())).collect())
            }
            Ask::Derive(_) => Answer::Derived(None),
        }
    }

    /// The rows of sleeping sessions.
    pub(crate) fn rows(&self) -> Vec<String> {
        let accounts = self.content.accounts.iter();
        let rows = accounts.flat_map(|(jid, owned)| owned.rows.keys().map(move |row| (jid, row)));
        let sleeping = rows.filter(|(_, (table, ..))| *table == SLEEPING.id);
        sleeping
            .map(|(jid, (.., key))| format!("{jid} {key}"))
            .collect()
    }

    /// How many entries wait in all logs, and how many rows of sleeping sessions there are.
    pub(crate) fn leftovers(&self) -> (usize, usize) {
        let accounts = || self.content.accounts.values();
        let logs = accounts().flat_map(|owned| owned.logs.values());
        let rows = accounts().flat_map(|owned| owned.rows.keys());
        let sleeping = rows.filter(|(table, ..)| *table == SLEEPING.id).count();
        (logs.map(BTreeMap::len).sum(), sleeping)
    }
}

// === impl Content ===

impl Content {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Own(slot, epoch, node) => {
                self.owners.insert(slot, (epoch, node));
            }
            Change::Write(owner, write) => self.accounts.entry(owner).or_default().apply(write),
        }
    }

    /// What is left of it for another run: nobody owns anything.
    pub(crate) fn without_owners(&self) -> Self {
        Self {
            owners: BTreeMap::new(),
            accounts: self.accounts.clone(),
        }
    }
}

// === impl Owned ===

impl Owned {
    fn apply(&mut self, write: Write) {
        match write {
            Write::Put { table, key, value } => {
                self.rows.insert((table.id, table.is_resident, key), value);
            }
            Write::Delete { table, key } => {
                self.rows.remove(&(table.id, table.is_resident, key));
            }
            Write::Append { log, id, value } => {
                self.logs
                    .entry(log.id)
                    .or_default()
                    .entry(id)
                    .or_insert(value);
            }
            Write::Replace { log, id, value } => {
                if let Some(entry) = self.logs.entry(log.id).or_default().get_mut(&id) {
                    *entry = value;
                }
            }
            Write::Truncate { log, through } => {
                let entries = self.logs.entry(log.id).or_default();
                entries.retain(|id, _| *id > through);
            }
            Write::Erase => *self = Self::default(),
        }
    }
}
