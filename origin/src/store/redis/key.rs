//! Keys: every key in Redis, and every name within one, is made and read here.
//!
//! ```text
//! couplet:{cluster}:format, seed, secret                      made once
//! couplet:{cluster}:leases    zset  node → when its lease ends
//! couplet:{cluster}:members   hash  node → its description
//! couplet:{cluster}:owners    hash  slot → what `own` says, for reading
//! couplet:{cluster}:version         grows with `owners` and `pins`
//! couplet:{cluster}:pins
//! couplet:{cluster}:directives      "version value": bans, and domains added
//! couplet:{s0042}:own               "epoch node": the fence
//! couplet:{s0042}:done              "store number": the last request
//! couplet:{s0042}:accounts    zset  domain NUL local
//! couplet:{s0042}:sleepers    zset  owner
//! couplet:{s0042}:rows:OWNER  hash  "table:key" → value of a resident table;
//!                                   "#log" → entries; "+table" → rows of a listed table
//! couplet:{s0042}:asked:OWNER hash  "table:key" → value of any other table
//! couplet:{s0042}:logs:OWNER  zset  log, millis, count, value (all scores 0: in byte order)
//! ```
//!
//! What is in braces is the hash tag: Redis Cluster keeps all keys of one tag together, so one
//! script may touch all of a slot. None of the keys ever expires.

use couplet_proto::Jid;
use couplet_proto::slot::Slot;

use crate::store::{Log, LogId, Table};

/// The bytes of log and id before the value of an entry.
const ENTRY_HEAD: usize = 1 + 8 + 4;

/// The key of what is the cluster's, not a slot's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shared {
    Format,
    Seed,
    Secret,
    Leases,
    Members,
    Owners,
    Version,
    Pins,
    Directives,
}

/// Makes the keys of one store.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: Box<str>,
}

/// What a field of an owner's rows is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// A row: table, key.
    Row(u8, &'a str),
    /// How many entries the log of this id has.
    Length(u8),
    /// How many rows a listed table has.
    Count,
}

// === impl Keys ===

impl Keys {
    /// Keys that begin with `prefix`, in which there must be no brace.
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    pub(super) fn shared(&self, key: Shared) -> String {
        let name = match key {
            Shared::Format => "format",
            Shared::Seed => "seed",
            Shared::Secret => "secret",
            Shared::Leases => "leases",
            Shared::Members => "members",
            Shared::Owners => "owners",
            Shared::Version => "version",
            Shared::Pins => "pins",
            Shared::Directives => "directives",
        };
        format!("{}{{cluster}}:{name}", self.prefix)
    }

    /// Who owns a slot.
    pub(super) fn own(&self, slot: Slot) -> String {
        self.of_slot(slot, "own")
    }

    /// The last request that was carried out.
    pub(super) fn done(&self, slot: Slot) -> String {
        self.of_slot(slot, "done")
    }

    /// The accounts of a slot.
    pub(super) fn accounts(&self, slot: Slot) -> String {
        self.of_slot(slot, "accounts")
    }

    /// The owners of a slot with sessions that wait for their clients.
    pub(super) fn sleepers(&self, slot: Slot) -> String {
        self.of_slot(slot, "sleepers")
    }

    /// What is read when an account is activated.
    pub(super) fn rows(&self, slot: Slot, owner: &Jid) -> String {
        self.of_owner(slot, "rows", owner)
    }

    /// Rows that are only asked for one by one.
    pub(super) fn asked(&self, slot: Slot, owner: &Jid) -> String {
        self.of_owner(slot, "asked", owner)
    }

    /// The entries of all logs.
    pub(super) fn logs(&self, slot: Slot, owner: &Jid) -> String {
        self.of_owner(slot, "logs", owner)
    }

    fn of_slot(&self, slot: Slot, name: &str) -> String {
        format!("{}{{{slot}}}:{name}", self.prefix)
    }

    fn of_owner(&self, slot: Slot, name: &str, owner: &Jid) -> String {
        format!("{}{{{slot}}}:{name}:{}", self.prefix, owner.bare())
    }
}

/// The field of a row.
pub(super) fn field(table: Table, key: &str) -> String {
    format!("{}:{key}", table.id)
}

/// The field that says how many entries a log has.
pub(super) fn length(log: Log) -> String {
    format!("#{}", log.id)
}

/// The field that says how many rows a listed table has.
pub(super) fn count(table: Table) -> String {
    format!("+{}", table.id)
}

/// What a field among the rows is.
pub(super) fn read_field(field: &str) -> Option<Field<'_>> {
    if let Some(log) = field.strip_prefix('#') {
        return Some(Field::Length(log.parse().ok()?));
    }
    if field.starts_with('+') {
        return Some(Field::Count);
    }
    let (table, key) = field.split_once(':')?;
    Some(Field::Row(table.parse().ok()?, key))
}

/// The member that lists an account.
pub(super) fn account(domain: &str, local: &str) -> String {
    format!("{domain}\0{local}")
}

/// The local part in the member that lists an account of this domain.
pub(super) fn read_account<'a>(domain: &str, member: &'a str) -> Option<&'a str> {
    member.strip_prefix(domain)?.strip_prefix('\0')
}

/// The bounds of the accounts of a domain after `after`, as Redis takes them.
pub(super) fn accounts_after(domain: &str, after: Option<&str>) -> (String, String) {
    let from = match after {
        Some(local) => format!("({}", account(domain, local)),
        None => format!("[{}", account(domain, "")),
    };
    (from, format!("({domain}\x01"))
}

/// An entry as it is stored.
pub(super) fn entry(log: Log, id: LogId, value: &[u8]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(ENTRY_HEAD + value.len());
    entry.extend(head(log, id));
    entry.extend(value);
    entry
}

/// The id and the value of a stored entry.
pub(super) fn read_entry(entry: &[u8]) -> Option<(LogId, &[u8])> {
    let (head, value) = entry.split_first_chunk::<ENTRY_HEAD>()?;
    let (millis, count) = head[1..].split_first_chunk::<8>()?;
    let id = LogId {
        millis: u64::from_be_bytes(*millis),
        count: u32::from_be_bytes(count.try_into().ok()?),
    };
    Some((id, value))
}

/// The bound at the first entry a log can have.
pub(super) fn first(log: Log) -> Vec<u8> {
    vec![b'[', log.id]
}

/// The bound behind the last entry a log can have.
pub(super) fn beyond(log: Log) -> Vec<u8> {
    match log.id.checked_add(1) {
        Some(next) => vec![b'(', next],
        None => b"+".to_vec(),
    }
}

/// The bound at the entry of this id.
pub(super) fn at(log: Log, id: LogId) -> Vec<u8> {
    let mut bound = vec![b'['];
    bound.extend(head(log, id));
    bound
}

/// The bound before the entry of this id.
pub(super) fn before(log: Log, id: LogId) -> Vec<u8> {
    let mut bound = vec![b'('];
    bound.extend(head(log, id));
    bound
}

/// The bound behind the entry of this id and any value.
pub(super) fn after(log: Log, id: LogId) -> Vec<u8> {
    behind(log, id, b'(')
}

/// The bound from which the entries after this id begin.
pub(super) fn from_after(log: Log, id: LogId) -> Option<Vec<u8>> {
    next(id)?;
    Some(behind(log, id, b'['))
}

fn behind(log: Log, id: LogId, inclusion: u8) -> Vec<u8> {
    let Some(next) = next(id) else {
        return beyond(log);
    };
    let mut bound = vec![inclusion];
    bound.extend(head(log, next));
    bound
}

fn next(id: LogId) -> Option<LogId> {
    let LogId { millis, count } = id;
    match count.checked_add(1) {
        Some(count) => Some(LogId { millis, count }),
        None => Some(LogId {
            millis: millis.checked_add(1)?,
            count: 0,
        }),
    }
}

fn head(log: Log, id: LogId) -> [u8; ENTRY_HEAD] {
    let mut head = [0; ENTRY_HEAD];
    head[0] = log.id;
    head[1..9].copy_from_slice(&id.millis.to_be_bytes());
    head[9..].copy_from_slice(&id.count.to_be_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Log = Log {
        id: 7,
        name: "test",
    };

    /// Golden names: a change here loses everything stored.
    #[test]
    fn keys_never_change() {
        let keys = Keys::new("couplet:");
        let slot = Slot::new(42).expect("below SLOTS");
        let owner = Jid::parse("a@b/c").expect("valid");
        assert_eq!(keys.shared(Shared::Seed), "couplet:{cluster}:seed");
        assert_eq!(keys.own(slot), "couplet:{s0042}:own");
        assert_eq!(keys.rows(slot, &owner), "couplet:{s0042}:rows:a@b");
        assert_eq!(keys.logs(slot, &owner), "couplet:{s0042}:logs:a@b");
        let table = Table {
            id: 200,
            name: "test",
            is_resident: true,
        };
        assert_eq!(field(table, "a:b"), "200:a:b");
        assert_eq!((&*length(LOG), &*count(table)), ("#7", "+200"));
        let id = LogId {
            millis: 0x0102,
            count: 3,
        };
        let stored = b"\x07\0\0\0\0\0\0\x01\x02\0\0\0\x03value";
        assert_eq!(entry(LOG, id, b"value"), stored);
        assert_eq!(account("b", "a"), "b\0a");
    }

    #[test]
    fn what_was_written_is_read() {
        let id = LogId {
            millis: u64::MAX,
            count: 9,
        };
        let stored = entry(LOG, id, b"value");
        assert_eq!(read_entry(&stored), Some((id, &b"value"[..])));
        assert_eq!(read_entry(b"short"), None);
        assert_eq!(read_field("200:a:b"), Some(Field::Row(200, "a:b")));
        assert_eq!(read_field("200:"), Some(Field::Row(200, "")));
        assert_eq!(read_field("#7"), Some(Field::Length(7)));
        assert_eq!(read_field("+1"), Some(Field::Count));
        assert_eq!(read_field("garbage"), None);
        assert_eq!(read_account("b", &account("b", "a")), Some("a"));
        assert_eq!(read_account("b", &account("bb", "a")), None);
    }

    #[test]
    fn bounds_of_the_last_ids_stay_in_their_log() {
        let last = LogId {
            millis: u64::MAX,
            count: u32::MAX,
        };
        assert_eq!(from_after(LOG, last), None);
        assert_eq!(after(LOG, last), b"(\x08");
        let highest = Log { id: 255, ..LOG };
        assert_eq!(after(highest, last), b"+");
        let carry = LogId {
            millis: 1,
            count: u32::MAX,
        };
        assert_eq!(
            from_after(LOG, carry).as_deref(),
            Some(&b"[\x07\0\0\0\0\0\0\0\x02\0\0\0\0"[..])
        );
    }
}
