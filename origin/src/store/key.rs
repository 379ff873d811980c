//! Keys: every stored key is made and read here.
//!
//! ```text
//! format, seed, secret,
//! directives     01 name
//! owner          02 slot
//! account        03 length(domain) domain local
//! sleeper        04 slot owner
//! row            10 slot length(owner) owner kind id key
//! entry          11 slot length(owner) owner id millis count
//! ```
//!
//! Numbers are big-endian, so that byte order is their order; lengths are two bytes. Everything
//! before the last part has a fixed or a stated length, so no two keys can be the same bytes.
//! The first byte is the room; in a room of rows or entries all of a slot stands together, in a
//! slot all of an owner. The kind separates what [`load`](super::Store::load) reads (how long the
//! logs are, the rows of resident tables) from rows that are only asked for one by one.

use std::ops::Range;

use couplet_proto::Jid;
use couplet_proto::slot::Slot;

use super::{Log, LogId, Span, Table};

const META: u8 = 0x01;
const OWNER: u8 = 0x02;
const ACCOUNT: u8 = 0x03;
const SLEEPER: u8 = 0x04;
const ROW: u8 = 0x10;
const ENTRY: u8 = 0x11;

const LENGTH: u8 = 0;
const RESIDENT: u8 = 1;
const ASKED: u8 = 2;

/// The longest key that can be stored.
pub(super) const KEY_BYTES_MAX: usize = 0xffff;

/// A key, or the end of a range of keys.
pub(super) type Key = Vec<u8>;

/// What a row among those an account needs to be active is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loaded<'a> {
    /// How many entries the log of this id has.
    Length(u8),
    /// The row of a resident table: table, key.
    Row(u8, &'a str),
}

/// The version of everything the store holds.
pub(super) fn format() -> Key {
    [&[META], "format".as_bytes()].concat()
}

/// The cluster's seed.
pub(super) fn seed() -> Key {
    [&[META], "seed".as_bytes()].concat()
}

/// What only the origins of the cluster know.
pub(super) fn secret() -> Key {
    [&[META], "secret".as_bytes()].concat()
}

/// What operators have ordered.
pub(super) fn directives() -> Key {
    [&[META], "directives".as_bytes()].concat()
}

/// Who owns a slot.
pub(super) fn owner(slot: Slot) -> Key {
    let mut key = vec![OWNER];
    key.extend(slot.number().to_be_bytes());
    key
}

/// The owners of all slots.
pub(super) fn owners() -> Range<Key> {
    prefixed(vec![OWNER])
}

/// The slot of an owner's key.
pub(super) fn read_owner(key: &[u8]) -> Option<Slot> {
    let number = key.strip_prefix(&[OWNER])?;
    Slot::new(u16::from_be_bytes(number.try_into().ok()?))
}

/// That there is an account.
pub(super) fn account(domain: &str, local: &str) -> Key {
    let mut key = accounts_of(domain);
    key.extend(local.as_bytes());
    key
}

/// The accounts of a domain whose local parts come after `after`.
pub(super) fn accounts(domain: &str, after: Option<&str>) -> Range<Key> {
    let mut range = prefixed(accounts_of(domain));
    if let Some(local) = after {
        range.start = next(account(domain, local));
    }
    range
}

/// The local part in the key of an account of this domain.
pub(super) fn read_account<'a>(domain: &str, key: &'a [u8]) -> Option<&'a str> {
    let local = key.strip_prefix(accounts_of(domain).as_slice())?;
    str::from_utf8(local).ok()
}

/// That an account has sessions that wait for their clients.
pub(super) fn sleeper(slot: Slot, jid: &Jid) -> Key {
    let mut key = sleepers_of(slot);
    key.extend(jid.bare().as_bytes());
    key
}

/// The accounts of a slot with such sessions.
pub(super) fn sleepers(slot: Slot) -> Range<Key> {
    prefixed(sleepers_of(slot))
}

/// The account of a key among [`sleepers`].
pub(super) fn read_sleeper(key: &[u8]) -> Option<&str> {
    str::from_utf8(key.get(1 + 2..)?).ok()
}

/// A row of a table.
pub(super) fn row(slot: Slot, jid: &Jid, table: Table, name: &str) -> Key {
    let mut key = table_of(slot, jid, table);
    key.extend(name.as_bytes());
    key
}

/// Every row of a table.
pub(super) fn table(slot: Slot, jid: &Jid, table: Table) -> Range<Key> {
    prefixed(table_of(slot, jid, table))
}

/// How many entries a log has.
pub(super) fn length(slot: Slot, jid: &Jid, log: Log) -> Key {
    let mut key = of_owner(ROW, slot, jid);
    key.extend([LENGTH, log.id]);
    key
}

/// What an account needs to be active.
pub(super) fn loaded(slot: Slot, jid: &Jid) -> Range<Key> {
    let mut start = of_owner(ROW, slot, jid);
    let mut end = start.clone();
    start.push(LENGTH);
    end.push(ASKED);
    start..end
}

/// What the key in the range of [`loaded`] names.
pub(super) fn read_loaded<'a>(jid: &Jid, key: &'a [u8]) -> Option<Loaded<'a>> {
    let start = 1 + 2 + 2 + jid.bare().len();
    match key.get(start..)? {
        [LENGTH, log] => Some(Loaded::Length(*log)),
        [RESIDENT, table, name @ ..] => Some(Loaded::Row(*table, str::from_utf8(name).ok()?)),
        _ => None,
    }
}

/// Every row an owner has, and the lengths of its logs.
pub(super) fn rows(slot: Slot, jid: &Jid) -> Range<Key> {
    prefixed(of_owner(ROW, slot, jid))
}

/// An entry of a log.
pub(super) fn entry(slot: Slot, jid: &Jid, log: Log, id: LogId) -> Key {
    let mut key = log_of(slot, jid, log);
    key.extend(id.millis.to_be_bytes());
    key.extend(id.count.to_be_bytes());
    key
}

/// The entries of a log in `span`.
pub(super) fn entries_in(slot: Slot, jid: &Jid, log: Log, span: Span) -> Range<Key> {
    let mut range = prefixed(log_of(slot, jid, log));
    if let Some(id) = span.after {
        range.start = next(entry(slot, jid, log, id));
    }
    if let Some(id) = span.before {
        range.end = entry(slot, jid, log, id);
    }
    range
}

/// The entries of a log up to and including `through`.
pub(super) fn entries_through(slot: Slot, jid: &Jid, log: Log, through: LogId) -> Range<Key> {
    log_of(slot, jid, log)..next(entry(slot, jid, log, through))
}

/// Every entry of every log an owner has.
pub(super) fn entries(slot: Slot, jid: &Jid) -> Range<Key> {
    prefixed(of_owner(ENTRY, slot, jid))
}

/// Where the entry of this key stands in its log.
pub(super) fn read_entry(key: &[u8]) -> Option<LogId> {
    let (rest, count) = key.split_last_chunk::<4>()?;
    let (_, millis) = rest.split_last_chunk::<8>()?;
    Some(LogId {
        millis: u64::from_be_bytes(*millis),
        count: u32::from_be_bytes(*count),
    })
}

fn accounts_of(domain: &str) -> Key {
    let mut key = vec![ACCOUNT];
    extend_with_length(&mut key, domain);
    key
}

fn sleepers_of(slot: Slot) -> Key {
    let mut key = vec![SLEEPER];
    key.extend(slot.number().to_be_bytes());
    key
}

fn table_of(slot: Slot, jid: &Jid, table: Table) -> Key {
    let mut key = of_owner(ROW, slot, jid);
    key.extend([if table.is_resident { RESIDENT } else { ASKED }, table.id]);
    key
}

fn log_of(slot: Slot, jid: &Jid, log: Log) -> Key {
    let mut key = of_owner(ENTRY, slot, jid);
    key.push(log.id);
    key
}

fn of_owner(room: u8, slot: Slot, jid: &Jid) -> Key {
    let mut key = Vec::with_capacity(1 + 2 + 2 + jid.bare().len() + 2 + 16);
    key.push(room);
    key.extend(slot.number().to_be_bytes());
    extend_with_length(&mut key, jid.bare());
    key
}

/// Cuts what could not be told by its length. Parts of an address are at most 1023 bytes, and a
/// domain given by an operator longer than that has no accounts.
fn extend_with_length(key: &mut Key, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    key.extend(length.to_be_bytes());
    key.extend(&text.as_bytes()[..usize::from(length)]);
}

/// The first key after this one.
fn next(mut key: Key) -> Key {
    key.push(0);
    key
}

/// All keys that begin with `prefix`, whose first byte is a room and so never the last byte.
fn prefixed(prefix: Key) -> Range<Key> {
    let mut end = prefix.clone();
    while end.last() == Some(&0xff) {
        end.pop();
    }
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    prefix..end
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROSTER: Table = Table {
        id: 7,
        name: "roster",
        is_resident: true,
    };
    const OFFLINE: Log = Log {
        id: 7,
        name: "offline",
    };

    fn jid(text: &str) -> Jid {
        Jid::parse(text).expect("valid")
    }

    fn slot() -> Slot {
        Slot::new(258).expect("below SLOTS")
    }

    /// Golden bytes: a change here loses everything stored.
    #[test]
    fn keys_never_change() {
        assert_eq!(
            row(slot(), &jid("a@b/c"), ROSTER, "x"),
            b"\x10\x01\x02\x00\x03a@b\x01\x07x"
        );
        let vcard = Table {
            is_resident: false,
            ..ROSTER
        };
        assert_eq!(
            row(slot(), &jid("a@b"), vcard, ""),
            b"\x10\x01\x02\x00\x03a@b\x02\x07"
        );
        assert_eq!(
            length(slot(), &jid("a@b"), OFFLINE),
            b"\x10\x01\x02\x00\x03a@b\x00\x07"
        );
        let id = LogId {
            millis: 0x0102,
            count: 3,
        };
        assert_eq!(
            entry(slot(), &jid("a@b"), OFFLINE, id),
            b"\x11\x01\x02\x00\x03a@b\x07\0\0\0\0\0\0\x01\x02\0\0\0\x03"
        );
        assert_eq!(account("b", "a"), b"\x03\x00\x01ba");
        assert_eq!(owner(slot()), b"\x02\x01\x02");
        assert_eq!(sleeper(slot(), &jid("a@b/c")), b"\x04\x01\x02a@b");
        assert_eq!(secret(), b"\x01secret");
        assert_eq!(directives(), b"\x01directives");
        assert_eq!(
            (format(), seed()),
            (b"\x01format".into(), b"\x01seed".into())
        );
    }

    #[test]
    fn what_was_written_is_read() {
        let id = LogId {
            millis: u64::MAX - 1,
            count: 9,
        };
        let (slot, owner_jid) = (slot(), jid("a@b"));
        assert_eq!(read_entry(&entry(slot, &owner_jid, OFFLINE, id)), Some(id));
        assert_eq!(read_owner(&owner(slot)), Some(slot));
        assert_eq!(read_account("b", &account("b", "a")), Some("a"));
        assert_eq!(read_account("b", &account("bb", "a")), None);
        assert_eq!(read_sleeper(&sleeper(slot, &owner_jid)), Some("a@b"));
        assert_eq!(
            read_loaded(&owner_jid, &row(slot, &owner_jid, ROSTER, "x")),
            Some(Loaded::Row(7, "x"))
        );
        assert_eq!(
            read_loaded(&owner_jid, &length(slot, &owner_jid, OFFLINE)),
            Some(Loaded::Length(7))
        );
    }

    #[test]
    fn no_owner_reaches_into_another() {
        let short = rows(slot(), &jid("a@b"));
        let long = row(slot(), &jid("a@b.c"), ROSTER, "");
        assert!(!short.contains(&long));
        let highest = Log {
            id: 0xff,
            ..OFFLINE
        };
        let last = LogId {
            millis: u64::MAX,
            count: u32::MAX,
        };
        let entry = entry(slot(), &jid("a@b"), highest, last);
        assert!(entries(slot(), &jid("a@b")).contains(&entry));
        assert!(entries_in(slot(), &jid("a@b"), highest, Span::ALL).contains(&entry));
        assert!(
            !entries_in(slot(), &jid("a@b"), highest, Span::after(Some(last))).contains(&entry)
        );
        assert!(entries_through(slot(), &jid("a@b"), highest, last).contains(&entry));
    }
}
