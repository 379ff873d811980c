//! A store in memory: what it has is there at once.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use couplet_proto::Jid;

use crate::auth::Credentials;
use crate::hooks::context::Effect;
use crate::hooks::{Answer, Ask};
use crate::store::{Batch, CREDENTIALS, LogId, SLEEPING, Snapshot, Write};

/// What is stored, by bare address.
#[derive(Debug, Default)]
pub(crate) struct Model(HashMap<Jid, Owned>);

/// What is stored for one owner: values by table and key, entries by log.
#[derive(Debug, Default)]
struct Owned {
    rows: BTreeMap<(Place, Box<str>), Bytes>,
    logs: BTreeMap<u8, BTreeMap<LogId, Bytes>>,
}

/// A table: its id, and whether it is resident.
type Place = (u8, bool);

// === impl Model ===

impl Model {
    /// Makes an account.
    pub(crate) fn add(&mut self, account: Jid, credentials: &Credentials) {
        let put = Write::Put {
            table: CREDENTIALS,
            key: "".into(),
            value: credentials.encode(),
        };
        self.apply(account, put);
    }

    /// Stores what a handler writes for this owner.
    pub(crate) fn write(&mut self, owner: &Jid, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Write(write) = effect {
                self.apply(owner.clone(), write);
            }
        }
    }

    /// Whether anything is stored for this owner.
    pub(crate) fn has(&self, owner: &Jid) -> bool {
        let owned = self.0.get(owner);
        owned.is_some_and(|owned| !owned.rows.is_empty() || !owned.logs.is_empty())
    }

    /// Who has rows of sessions that sleep.
    pub(crate) fn sleepers(&self) -> Vec<Jid> {
        let sleeps = |owned: &Owned| {
            let mut rows = owned.rows.keys();
            rows.any(|((table, _), _)| *table == SLEEPING.id)
        };
        let owners = self.0.iter().filter(|(_, owned)| sleeps(owned));
        let mut owners: Vec<Jid> = owners.map(|(owner, _)| owner.clone()).collect();
        owners.sort_unstable();
        owners
    }

    pub(super) fn commit(&mut self, batches: Vec<Batch>) {
        for (owner, write) in batches.into_iter().flat_map(|batch| batch.writes) {
            self.apply(owner, write);
        }
    }

    pub(crate) fn snapshot(&self, owner: &Jid) -> Snapshot {
        let Some(owned) = self.0.get(owner) else {
            return Snapshot::default();
        };
        let rows = owned
            .rows
            .iter()
            .filter(|(((_, is_resident), _), _)| *is_resident);
        let rows = rows.map(|(((table, _), key), value)| (*table, key.clone(), value.clone()));
        let logs = owned.logs.iter().filter(|(_, entries)| !entries.is_empty());
        Snapshot {
            rows: rows.collect(),
            logs: logs
                .map(|(log, entries)| (*log, entries.len() as u64))
                .collect(),
        }
    }

    pub(crate) fn answer(&self, owner: &Jid, ask: Ask) -> Answer {
        let owned = self.0.get(owner);
        match ask {
            Ask::Value(table, key) => {
                let place = ((table.id, table.is_resident), key);
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
            Ask::Derive(password) => {
                let derived = Credentials::derive(&password.0, 4096, [1; 16], [2; 16]);
                Answer::Derived(derived.ok().map(Box::new))
            }
        }
    }

    pub(crate) fn apply(&mut self, owner: Jid, write: Write) {
        let owned = self.0.entry(owner).or_default();
        match write {
            Write::Put { table, key, value } => {
                owned
                    .rows
                    .insert(((table.id, table.is_resident), key), value);
            }
            Write::Delete { table, key } => {
                owned.rows.remove(&((table.id, table.is_resident), key));
            }
            Write::Append { log, id, value } => {
                let entries = owned.logs.entry(log.id).or_default();
                entries.entry(id).or_insert(value);
            }
            Write::Replace { log, id, value } => {
                if let Some(entry) = owned.logs.entry(log.id).or_default().get_mut(&id) {
                    *entry = value;
                }
            }
            Write::Truncate { log, through } => {
                let entries = owned.logs.entry(log.id).or_default();
                entries.retain(|id, _| *id > through);
            }
            Write::Erase => *owned = Owned::default(),
        }
    }
}
