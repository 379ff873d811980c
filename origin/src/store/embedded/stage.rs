//! A group in the making: what its batches will have changed, before it is written.
//!
//! Two layers over the database: what the batches so far in the group change, and what the batch
//! at hand changes, so that one batch can be taken back without the others. A batch sees what
//! those before it will have written. Each key is in the written group once: the database
//! orders its versions by group, so two in one would be in no order.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::slot::Slot;

use super::disk::Disk;
use super::value::{Length, Owner, Value};
use crate::store::key::{self, Key};
use crate::store::{Batch, CREDENTIALS, Error, Log, LogId, SLEEPING, Table, Write};

/// `None` is a removed key.
type Layer = BTreeMap<Key, Option<Bytes>>;

/// See the module.
pub(super) struct Stage<'a> {
    disk: &'a Disk,
    group: Layer,
    batch: Layer,
}

// === impl Stage ===

impl<'a> Stage<'a> {
    pub(super) fn new(disk: &'a Disk) -> Self {
        Self {
            disk,
            group: Layer::new(),
            batch: Layer::new(),
        }
    }

    /// Takes a batch into the group; on an error, none of it.
    pub(super) fn add(&mut self, batch: Batch) -> Result<(), Error> {
        self.batch.clear();
        for (jid, write) in batch.writes {
            self.apply(batch.slot, &jid, write)?;
        }
        self.group.append(&mut self.batch);
        Ok(())
    }

    /// Takes the new owner of a slot into the group.
    pub(super) fn set_owner(&mut self, slot: Slot, owner: &Owner) {
        self.group.insert(key::owner(slot), Some(owner.to_value()));
    }

    /// Takes what operators have ordered into the group.
    pub(super) fn set_directives(&mut self, value: Bytes) {
        self.group.insert(key::directives(), Some(value));
    }

    /// What the group changes.
    pub(super) fn finish(self) -> Layer {
        self.group
    }

    fn apply(&mut self, slot: Slot, jid: &Jid, write: Write) -> Result<(), Error> {
        match write {
            Write::Put {
                table,
                key: name,
                value,
            } => self.put_row(slot, jid, table, &name, value),
            Write::Delete { table, key: name } => self.delete_row(slot, jid, table, &name),
            Write::Append { log, id, value } => self.append(slot, jid, log, id, value),
            Write::Replace { log, id, value } => self.replace(slot, jid, log, id, value),
            Write::Truncate { log, through } => self.truncate(slot, jid, log, through),
            Write::Erase => self.erase(slot, jid),
        }
    }

    fn put_row(
        &mut self,
        slot: Slot,
        jid: &Jid,
        table: Table,
        name: &str,
        value: Bytes,
    ) -> Result<(), Error> {
        if let Some(listed) = listed(slot, jid, table) {
            self.put(listed, Bytes::new())?;
        }
        self.put(key::row(slot, jid, table, name), value)
    }

    fn delete_row(&mut self, slot: Slot, jid: &Jid, table: Table, name: &str) -> Result<(), Error> {
        self.delete(key::row(slot, jid, table, name));
        if let Some(listed) = listed(slot, jid, table)
            && self.keys(key::table(slot, jid, table))?.is_empty()
        {
            self.delete(listed);
        }
        Ok(())
    }

    fn append(
        &mut self,
        slot: Slot,
        jid: &Jid,
        log: Log,
        id: LogId,
        value: Bytes,
    ) -> Result<(), Error> {
        let entry = key::entry(slot, jid, log, id);
        if self.has(&entry)? {
            return Ok(());
        }
        self.put(entry, value)?;
        let length = key::length(slot, jid, log);
        let entries = self.length(&length)?.saturating_add(1);
        self.put(length, Length { entries }.to_value())
    }

    fn replace(
        &mut self,
        slot: Slot,
        jid: &Jid,
        log: Log,
        id: LogId,
        value: Bytes,
    ) -> Result<(), Error> {
        let entry = key::entry(slot, jid, log, id);
        match self.has(&entry)? {
            true => self.put(entry, value),
            false => Ok(()),
        }
    }

    fn truncate(&mut self, slot: Slot, jid: &Jid, log: Log, through: LogId) -> Result<(), Error> {
        let gone = self.keys(key::entries_through(slot, jid, log, through))?;
        if gone.is_empty() {
            return Ok(());
        }
        let length = key::length(slot, jid, log);
        let entries = self.length(&length)?.saturating_sub(gone.len() as u64);
        for entry in gone {
            self.delete(entry);
        }
        if entries == 0 {
            self.delete(length);
            return Ok(());
        }
        self.put(length, Length { entries }.to_value())
    }

    fn erase(&mut self, slot: Slot, jid: &Jid) -> Result<(), Error> {
        for range in [key::rows(slot, jid), key::entries(slot, jid)] {
            for gone in self.keys(range)? {
                self.delete(gone);
            }
        }
        for table in [CREDENTIALS, SLEEPING] {
            if let Some(listed) = listed(slot, jid, table) {
                self.delete(listed);
            }
        }
        Ok(())
    }

    fn put(&mut self, key: Key, value: Bytes) -> Result<(), Error> {
        // The database ends the process on a longer key.
        if key.len() > key::KEY_BYTES_MAX || u32::try_from(value.len()).is_err() {
            let (key, value) = (key.len(), value.len());
            return Err(Error::Unavailable(format!(
                "a key of {key} bytes or a value of {value} bytes cannot be stored"
            )));
        }
        self.batch.insert(key, Some(value));
        Ok(())
    }

    fn delete(&mut self, key: Key) {
        // Nothing so long was ever put.
        if key.len() <= key::KEY_BYTES_MAX {
            self.batch.insert(key, None);
        }
    }

    fn has(&self, key: &[u8]) -> Result<bool, Error> {
        match self.changed(key) {
            Some(value) => Ok(value.is_some()),
            None => self.disk.has(key),
        }
    }

    fn length(&self, key: &[u8]) -> Result<u64, Error> {
        let value = match self.changed(key) {
            Some(value) => value.clone(),
            None => self.disk.value(key)?,
        };
        value.map_or(Ok(0), |value| Ok(Length::from_value(&value)?.entries))
    }

    /// The keys in `range` there will be.
    fn keys(&self, range: Range<Key>) -> Result<Vec<Key>, Error> {
        let mut keys = self.disk.keys(range.clone())?;
        keys.retain(|key| self.changed(key).is_none());
        let layers = [&self.group, &self.batch];
        for layer in layers {
            for (key, _) in layer.range(range.clone()) {
                if self.changed(key).is_some_and(Option::is_some) {
                    keys.push(key.clone());
                }
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    fn changed(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.batch.get(key).or_else(|| self.group.get(key))
    }
}

/// The key that lists an account while it has rows in this table.
fn listed(slot: Slot, jid: &Jid, table: Table) -> Option<Key> {
    if table.id == SLEEPING.id {
        return Some(key::sleeper(slot, jid));
    }
    let local = jid.local().filter(|_| table.id == CREDENTIALS.id)?;
    Some(key::account(jid.domain(), local))
}
