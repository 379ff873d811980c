//! Commits: a batch becomes one call of the script.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::NodeId;
use couplet_proto::slot::Slot;

use super::key::Keys;
use super::link;
use super::script::Call;
use super::{Redis, failure, key, read, value};
use crate::store::{Batch, CREDENTIALS, Error, Log, LogId, Owner, SLEEPING, Table, Write};

/// The longest key of a row: as in the embedded store.
pub(super) const KEY_BYTES_MAX: usize = 0xffff;

/// The most that all values of a batch may take. Redis holds a request in memory twice.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// What the script answers.
const FENCED: i64 = 0;
const APPLIED: i64 = 1;
const REPEATED: i64 = 2;
const EXPIRED: i64 = 4;

/// The keys of the slot in the script's list, counted from 1.
const ACCOUNTS: usize = 3;
const SLEEPERS: usize = 4;

/// Where an owner's keys are in the list.
#[derive(Debug, Clone, Copy)]
struct Place {
    rows: usize,
    asked: usize,
    logs: usize,
}

/// A call in the making.
struct Request<'a> {
    keys: &'a Keys,
    slot: Slot,
    call: Call,
    places: HashMap<Box<str>, Place>,
}

// === impl Redis ===

impl Redis {
    /// Applies a batch before `deadline` and before it is no longer waited for, or never.
    pub(super) async fn apply(&self, batch: Batch, deadline: Option<Instant>) -> Result<(), Error> {
        let Batch {
            slot,
            epoch,
            writes,
        } = batch;
        check(&writes)?;
        // Those of a slot go one after another, so that their order is that of their numbers.
        let turn = self.turns[slot.index()].acquire();
        let Ok(_turn) = tokio::time::timeout(self.link.limit(), turn).await else {
            let text = "has not answered to an earlier commit of that slot yet";
            return Err(failure::unavailable(self.link.host(), text));
        };
        let call = self.request(slot, epoch, writes);
        let request = link::Request::Commit {
            slot,
            call,
            deadline,
        };
        let (outcome, _): (i64, i64) = read(self.link.ask(&self.meter, request).await?)?;
        match outcome {
            APPLIED | REPEATED => Ok(()),
            FENCED => Err(Error::Fenced { slot }),
            EXPIRED => {
                self.link.clock(slot).forget();
                let text = "got a commit too late, or its clock was set; it is tried again";
                Err(failure::unavailable(self.link.host(), text))
            }
            // Only if it was given up here and then sent again by the client of a cluster.
            _ => Err(failure::unavailable(
                self.link.host(),
                "has carried out a later request of this slot",
            )),
        }
    }

    pub(super) fn request(&self, slot: Slot, epoch: Epoch, writes: Vec<(Jid, Write)>) -> Call {
        let owner = Owner {
            node: NodeId(self.node().clone()),
            epoch,
        };
        let keys = &self.keys;
        let call = Call::new([
            keys.own(slot),
            keys.done(slot),
            keys.accounts(slot),
            keys.sleepers(slot),
        ]);
        let mut request = Request {
            keys,
            slot,
            call: call
                .with(value::owner(&owner))
                .with(self.asker.clone())
                .with(self.next_number().to_string()),
            places: HashMap::new(),
        };
        for (jid, write) in writes {
            request.write(&jid, write);
        }
        request.call
    }
}

// === impl Request ===

impl Request<'_> {
    fn write(&mut self, jid: &Jid, write: Write) {
        let place = self.place(jid);
        match write {
            Write::Put { table, key, value } => self.put(place, jid, table, &key, value),
            Write::Delete { table, key } => self.delete(place, jid, table, &key),
            Write::Append { log, id, value } => self.append(place, log, id, &value),
            Write::Replace { log, id, value } => self.replace(place, log, id, &value),
            Write::Truncate { log, through } => self.truncate(place, log, through),
            Write::Erase => self.erase(place, jid),
        }
    }

    fn put(&mut self, place: Place, jid: &Jid, table: Table, name: &str, value: Bytes) {
        let Some((list, member)) = listed(jid, table) else {
            self.act("p", [place.of(table)]);
            self.call.push(key::field(table, name));
            self.call.push(value);
            return;
        };
        self.act("P", [place.rows]);
        self.call.push(key::field(table, name));
        self.call.push(value);
        self.list(table, list, member);
    }

    fn delete(&mut self, place: Place, jid: &Jid, table: Table, name: &str) {
        // Nothing so long was ever put.
        if name.len() > KEY_BYTES_MAX {
            return;
        }
        let Some((list, member)) = listed(jid, table) else {
            self.act("d", [place.of(table)]);
            self.call.push(key::field(table, name));
            return;
        };
        self.act("D", [place.rows]);
        self.call.push(key::field(table, name));
        self.list(table, list, member);
    }

    /// How the script keeps the list of those with rows in a table.
    fn list(&mut self, table: Table, list: usize, member: String) {
        self.call.push(key::count(table));
        self.call.push(list.to_string());
        self.call.push(member);
    }

    fn append(&mut self, place: Place, log: Log, id: LogId, value: &[u8]) {
        self.of_log("a", place, log);
        self.call.push(key::at(log, id));
        self.call.push(key::after(log, id));
        self.call.push(key::entry(log, id, value));
    }

    fn replace(&mut self, place: Place, log: Log, id: LogId, value: &[u8]) {
        self.act("r", [place.logs]);
        self.call.push(key::at(log, id));
        self.call.push(key::after(log, id));
        self.call.push(key::entry(log, id, value));
    }

    fn truncate(&mut self, place: Place, log: Log, through: LogId) {
        self.of_log("t", place, log);
        self.call.push(key::after(log, through));
    }

    fn of_log(&mut self, letter: &'static str, place: Place, log: Log) {
        self.act(letter, [place.rows]);
        self.call.push(key::length(log));
        self.call.push(place.logs.to_string());
        self.call.push(key::first(log));
        self.call.push(key::beyond(log));
    }

    fn erase(&mut self, place: Place, jid: &Jid) {
        self.act("e", [place.rows, place.asked, place.logs]);
        for (table, list) in [(CREDENTIALS, ACCOUNTS), (SLEEPING, SLEEPERS)] {
            // A service has no account, and no member is empty.
            let member = listed(jid, table).map_or_else(String::new, |(_, member)| member);
            self.call.push(list.to_string());
            self.call.push(member);
        }
    }

    fn act<const N: usize>(&mut self, letter: &'static str, places: [usize; N]) {
        self.call.push(letter);
        for place in places {
            self.call.push(place.to_string());
        }
    }

    fn place(&mut self, jid: &Jid) -> Place {
        if let Some(place) = self.places.get(jid.bare()) {
            return *place;
        }
        let (keys, slot) = (self.keys, self.slot);
        let before = self.call.keys.len();
        self.call.keys.extend([
            keys.rows(slot, jid),
            keys.asked(slot, jid),
            keys.logs(slot, jid),
        ]);
        let place = Place {
            rows: before + 1,
            asked: before + 2,
            logs: before + 3,
        };
        self.places.insert(jid.bare().into(), place);
        place
    }
}

// === impl Place ===

impl Place {
    fn of(self, table: Table) -> usize {
        match table.is_resident {
            true => self.rows,
            false => self.asked,
        }
    }
}

/// The list that names an account while it has rows in this table, and how it is named there.
fn listed(jid: &Jid, table: Table) -> Option<(usize, String)> {
    if table.id == SLEEPING.id {
        return Some((SLEEPERS, jid.bare().into()));
    }
    let local = jid.local().filter(|_| table.id == CREDENTIALS.id)?;
    Some((ACCOUNTS, key::account(jid.domain(), local)))
}

/// Refuses what Redis would refuse in the middle, or only after having got all of it.
fn check(writes: &[(Jid, Write)]) -> Result<(), Error> {
    let mut bytes = 0usize;
    for (_, write) in writes {
        if let Write::Put { key, value, .. } = write {
            bytes = bytes.saturating_add(value.len());
            if key.len() > KEY_BYTES_MAX {
                let length = key.len();
                let text = format!("a key of {length} bytes cannot be stored");
                return Err(Error::Unavailable(text));
            }
        }
        if let Write::Append { value, .. } | Write::Replace { value, .. } = write {
            bytes = bytes.saturating_add(value.len());
        }
    }
    match bytes > BATCH_BYTES_MAX {
        true => Err(Error::Unavailable(format!(
            "a batch of {bytes} bytes cannot be stored"
        ))),
        false => Ok(()),
    }
}
