//! Sleeping: sessions without a connection as the store keeps them.
//!
//! One row for the session, one for each stanza that waits for it.

use bytes::Bytes;
use couplet_proto::link::id::{SessionId, Source};

use super::outbox::{Entry, Outbox};
use super::record::{self, Keepers};
use super::{At, Session};
use crate::clock::Now;

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Asleep {
    pub(crate) sessions: Vec<Session>,
    /// Every row there is: the session's own, and those of stanzas by their numbers.
    pub(crate) rows: Vec<(SessionId, Option<u64>)>,
}

/// The key of a row that says no more than that the address must be looked at when its slot has
/// another owner: a room has occupants.
pub(crate) const ROOM_KEY: &str = "room";

/// The key of a session's row.
pub(crate) fn session_key(id: SessionId) -> String {
    format!("{id}")
}

/// The key of the row of a stanza that waits for it.
pub(crate) fn entry_key(id: SessionId, number: u64) -> String {
    format!("{id}.{number:016x}")
}

/// Reads the sessions of an account from their rows, in any order.
///
/// # Errors
/// In words, when a row is damaged.
pub(crate) fn read<'a>(
    rows: impl Iterator<Item = (&'a str, &'a Bytes)>,
    keepers: &Keepers,
    now: Now,
) -> Result<Asleep, String> {
    let mut asleep = Asleep::default();
    let mut entries: Vec<(SessionId, u64, Entry)> = Vec::new();
    for (key, value) in rows {
        let (id, number) = read_key(key).ok_or("a sleeping session under a strange key")?;
        asleep.rows.push((id, number));
        match number {
            Some(number) => entries.push((id, number, record::decode_entry(value)?)),
            None => {
                let (mut session, counts) = record::decode(id, value, keepers, now.mono)?;
                session.go_back(counts.taken);
                let left = counts.until_unix.saturating_sub(now.unix);
                session.at = At::Nowhere(now.mono + left);
                asleep.sessions.push(session);
            }
        }
    }
    entries.sort_by_key(|(_, number, _)| *number);
    for session in &mut asleep.sessions {
        let own = entries.iter().filter(|(id, ..)| *id == session.id);
        let last = own.clone().map(|(_, number, _)| *number).max();
        let given = session.outbox.given();
        let delivered = given.max(last.unwrap_or(0));
        let waiting = own.map(|(.., entry)| entry.clone());
        let seen: Vec<Source> = session.outbox.seen().collect();
        session.outbox = Outbox::restored(delivered, waiting);
        session.outbox.give(Some(given));
        session.outbox.remember(&seen);
    }
    // In the order they were bound: the same rows give the same account.
    asleep
        .sessions
        .sort_by_key(|session| (session.bound, session.id));
    Ok(asleep)
}

/// What a key names: a session, and the number of a stanza that waits for it.
fn read_key(key: &str) -> Option<(SessionId, Option<u64>)> {
    let (session, number) = match key.split_once('.') {
        Some((session, number)) => (session, Some(u64::from_str_radix(number, 16).ok()?)),
        None => (key, None),
    };
    let session = u64::from_str_radix(session, 16).ok()?;
    Some((SessionId(session), number))
}
