//! What the tests of a store are written with: a store whose slots are claimed, and writes.

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::slot::Slot;

use crate::store::{Batch, Log, LogId, Snapshot, Span, Store, Table, Write};

pub(in crate::store) const ROSTER: Table = Table {
    id: 200,
    name: "test roster",
    is_resident: true,
};
pub(in crate::store) const VCARD: Table = Table {
    id: 201,
    name: "test vcard",
    is_resident: false,
};
pub(in crate::store) const OFFLINE: Log = Log {
    id: 200,
    name: "test offline",
};
pub(in crate::store) const ARCHIVE: Log = Log {
    id: 201,
    name: "test archive",
};

/// A store's slots claimed for one node, and batches for them.
pub(in crate::store) struct Owned<'a> {
    pub(in crate::store) store: &'a dyn Store,
    pub(in crate::store) epoch: Epoch,
}

// === impl Owned ===

impl<'a> Owned<'a> {
    pub(in crate::store) async fn claim(store: &'a dyn Store) -> Self {
        let claimed = store.claim("a", Slot::all().collect()).await;
        let claimed = claimed.expect("claimed");
        let epoch = claimed[0].1;
        assert!(claimed.iter().all(|(_, other)| *other == epoch));
        Self { store, epoch }
    }

    pub(in crate::store) fn slot(&self, owner: &Jid) -> Slot {
        Slot::of(self.store.seed(), owner)
    }

    pub(in crate::store) fn batch(
        &self,
        owner: &str,
        writes: impl IntoIterator<Item = Write>,
    ) -> Batch {
        let owner = jid(owner);
        Batch {
            slot: self.slot(&owner),
            epoch: self.epoch,
            writes: writes
                .into_iter()
                .map(|write| (owner.clone(), write))
                .collect(),
        }
    }

    pub(in crate::store) async fn commit(
        &self,
        owner: &str,
        writes: impl IntoIterator<Item = Write>,
    ) {
        let batch = self.batch(owner, writes);
        self.store.commit(batch).await.expect("committed");
    }

    pub(in crate::store) async fn get(
        &self,
        owner: &str,
        table: Table,
        key: &str,
    ) -> Option<Bytes> {
        let owner = jid(owner);
        let got = self.store.get(self.slot(&owner), owner, table, key.into());
        got.await.expect("read")
    }

    pub(in crate::store) async fn log(
        &self,
        owner: &str,
        log: Log,
        after: Option<LogId>,
        max: usize,
    ) -> Vec<u64> {
        self.span(owner, log, Span::after(after), max).await
    }

    pub(in crate::store) async fn span(
        &self,
        owner: &str,
        log: Log,
        span: Span,
        max: usize,
    ) -> Vec<u64> {
        let entries = self.entries(owner, log, span, max).await;
        for (id, value) in &entries {
            assert_eq!(value, &id.millis.to_string());
        }
        entries.iter().map(|(id, _)| id.millis).collect()
    }

    pub(in crate::store) async fn entries(
        &self,
        owner: &str,
        log: Log,
        span: Span,
        max: usize,
    ) -> Vec<(LogId, Bytes)> {
        let owner = jid(owner);
        let read = self
            .store
            .read_log(self.slot(&owner), owner, log, span, max);
        read.await.expect("read")
    }

    pub(in crate::store) async fn logs(&self, owner: &str) -> Vec<(u8, u64)> {
        self.load(owner).await.logs
    }

    pub(in crate::store) async fn load(&self, owner: &str) -> Snapshot {
        let owner = jid(owner);
        let loaded = self.store.load(self.slot(&owner), owner);
        let mut snapshot = loaded.await.expect("loaded");
        snapshot.rows.sort();
        snapshot.logs.sort_unstable();
        snapshot
    }

    pub(in crate::store) async fn sleepers(&self, slot: Slot) -> Vec<String> {
        let listed = self.store.sleepers(slot).await.expect("listed");
        listed.iter().map(ToString::to_string).collect()
    }

    pub(in crate::store) async fn accounts(
        &self,
        domain: &str,
        after: Option<&str>,
        max: usize,
    ) -> Vec<String> {
        let listed = self
            .store
            .accounts(domain.into(), after.map(Into::into), max);
        let accounts = listed.await.expect("listed");
        accounts.iter().map(ToString::to_string).collect()
    }
}

pub(in crate::store) fn jid(text: &str) -> Jid {
    Jid::parse(text).expect("valid")
}

pub(in crate::store) fn put(table: Table, key: &str, value: &str) -> Write {
    Write::Put {
        table,
        key: key.into(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

pub(in crate::store) fn delete(table: Table, key: &str) -> Write {
    Write::Delete {
        table,
        key: key.into(),
    }
}

pub(in crate::store) fn id(millis: u64) -> LogId {
    LogId { millis, count: 0 }
}

pub(in crate::store) fn append(log: Log, millis: u64) -> Write {
    Write::Append {
        log,
        id: id(millis),
        value: millis.to_string().into(),
    }
}

pub(in crate::store) fn truncate(log: Log, millis: u64) -> Write {
    Write::Truncate {
        log,
        through: id(millis),
    }
}

pub(in crate::store) fn replace(log: Log, millis: u64, value: &'static str) -> Write {
    Write::Replace {
        log,
        id: id(millis),
        value: value.into(),
    }
}
