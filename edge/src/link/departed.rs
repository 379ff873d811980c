//! Departed: the sessions whose connection is gone, in order, and found by connection and by slot.
//!
//! A load balancer that ends takes thousands of connections along, and their owners go on speaking
//! to them for a moment: nothing here may take longer the more there are, but the look at all.

use std::collections::{BTreeMap, HashMap};

use couplet_proto::link::Route;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::ConnectionId;
use couplet_proto::slot::Slot;

use super::departure::Departure;

/// A departure, and how far its owner knows.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) departure: Departure,
    /// How much of it has been said on which way.
    pub(super) said: Option<(Route, usize)>,
    /// Nothing of an earlier epoch is added: a later owner has been told what there is.
    pub(super) floor: Epoch,
    /// When it is forgotten; set with the first look at it.
    pub(super) until: Option<u64>,
    bytes: usize,
}

/// All departures, oldest first.
#[derive(Debug, Default)]
pub(super) struct Departed {
    last: u64,
    entries: BTreeMap<u64, Entry>,
    of_connection: HashMap<ConnectionId, u64>,
    of_slot: HashMap<Slot, Vec<u64>>,
    bytes: usize,
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(departure: Departure) -> Self {
        let bytes = departure.bytes();
        Self {
            departure,
            said: None,
            floor: Epoch::default(),
            until: None,
            bytes,
        }
    }

    /// The connection, where a new owner can know something of the session.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        let attach = self.departure.attach.as_ref();
        attach.map(|attach| attach.connection)
    }
}

// === impl Departed ===

impl Departed {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// About how many bytes of stanzas are kept with them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.last += 1;
        if let Some(connection) = entry.connection() {
            self.of_connection.insert(connection, self.last);
        }
        let slot = entry.departure.slot;
        self.of_slot.entry(slot).or_default().push(self.last);
        self.bytes += entry.bytes;
        self.entries.insert(self.last, entry);
    }

    /// Takes the oldest out, if it may go.
    pub(super) fn pop_first_if(&mut self, may_go: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        let (number, entry) = self.entries.first_key_value()?;
        let number = may_go(entry).then_some(*number)?;
        self.remove(number)
    }

    /// Changes the departure of a connection; `None` when there is none.
    pub(super) fn change<T>(
        &mut self,
        of: ConnectionId,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let number = self.of_connection.get(&of)?;
        let entry = self.entries.get_mut(number)?;
        let changed = change(entry);
        let bytes = entry.departure.bytes();
        self.bytes += bytes;
        self.bytes -= std::mem::replace(&mut entry.bytes, bytes);
        Some(changed)
    }

    /// Looks at those of a slot, oldest first, as long as `look` wants.
    pub(super) fn all_of(&mut self, slot: Slot, mut look: impl FnMut(&mut Entry) -> bool) -> bool {
        let entries = &mut self.entries;
        let numbers = self.of_slot.get(&slot).into_iter().flatten();
        let mut numbers = numbers.copied();
        numbers.all(|number| entries.get_mut(&number).is_none_or(&mut look))
    }

    /// Looks at all, oldest first, and takes out those that are over.
    pub(super) fn extract(&mut self, mut is_over: impl FnMut(&mut Entry) -> bool) -> Vec<Entry> {
        let all = self.entries.iter_mut();
        let over = all.filter_map(|(number, entry)| is_over(entry).then_some(*number));
        let over: Vec<u64> = over.collect();
        let entries = over.into_iter().filter_map(|number| self.remove(number));
        entries.collect()
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.bytes -= entry.bytes;
        if let Some(connection) = entry.connection()
            && self.of_connection.get(&connection) == Some(&number)
        {
            self.of_connection.remove(&connection);
        }
        let slot = entry.departure.slot;
        if let Some(numbers) = self.of_slot.get_mut(&slot) {
            numbers.retain(|known| *known != number);
            if numbers.is_empty() {
                self.of_slot.remove(&slot);
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use couplet_proto::link::frame::{Attach, Detached, Unacked};
    use couplet_proto::link::id::SessionId;
    use couplet_proto::{Jid, Kind, Stanza, Type};

    use super::*;

    fn departure(number: u64, slot: u16) -> Departure {
        let connection = ConnectionId(number);
        let session = SessionId(number);
        let attach = Attach {
            session,
            connection,
            jid: Jid::parse("a@x/r").expect("valid"),
            epoch: Epoch(1),
            state: Bytes::new(),
            taken: 0,
            received: 0,
            acked: 0,
            unacked: Vec::new(),
            seen: Vec::new(),
            peer: None,
        };
        Departure {
            slot: Slot::new(slot).expect("below SLOTS"),
            session,
            connection,
            reason: Detached::Lost,
            attach: Some(Box::new(attach)),
            inbox: Vec::new(),
            told: None,
        }
    }

    #[test]
    fn they_are_found_in_order_until_they_are_over() {
        let mut departed = Departed::default();
        for number in 1..=4 {
            let slot = u16::try_from(number % 2).expect("small");
            departed.push(Entry::new(departure(number, slot)));
        }
        let odd = Slot::new(1).expect("below SLOTS");
        let mut seen = Vec::new();
        let mut note = |entry: &mut Entry| {
            seen.push(entry.departure.session.0);
            true
        };
        assert!(departed.all_of(odd, &mut note));
        assert_eq!(seen, [1, 3]);
        assert!(!departed.all_of(odd, |_| false));
        let changed = departed.change(ConnectionId(3), |entry| entry.departure.session.0);
        assert_eq!(changed, Some(3));
        let over = departed.extract(|entry| entry.departure.session.0 == 3);
        assert_eq!((over.len(), departed.len()), (1, 3));
        assert_eq!(departed.change(ConnectionId(3), |_| ()), None);
        assert!(departed.pop_first_if(|_| false).is_none());
        let first = departed.pop_first_if(|_| true).expect("the oldest");
        assert_eq!(first.departure.session.0, 1);
        assert!(departed.all_of(odd, |_| false), "none is left");
        assert_eq!(departed.iter().count(), 2);
    }

    #[test]
    fn what_is_added_counts() {
        let mut departed = Departed::default();
        departed.push(Entry::new(departure(1, 0)));
        let before = departed.bytes();
        let stanza = Arc::new(Stanza::new(Kind::Message, Type::Chat));
        let entry = Unacked {
            stanza: stanza.clone(),
            source: None,
            log: None,
        };
        departed.change(ConnectionId(1), |known| {
            let attach = known.departure.attach.as_mut().expect("given");
            attach.unacked.push(entry);
        });
        assert_eq!(departed.bytes(), before + stanza.wire_bytes());
        departed.extract(|_| true);
        assert_eq!(departed.bytes(), 0);
        assert!(departed.is_empty());
    }
}
