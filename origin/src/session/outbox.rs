//! Outbox: what a session was delivered and its client has not acknowledged.
//!
//! Both ends count alike: every stanza that goes to the session's edge has the next number, from
//! when the resource was bound. What the client has is told by the edge: what it acknowledged
//! (XEP-0198), or, without stream management, what its socket took.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use couplet_proto::Stanza;
use couplet_proto::link::frame::Unacked;
use couplet_proto::link::id::{LogId, Source};

/// About how much memory a stanza holds beside its own bytes.
const ENVELOPE: usize = 256;

/// Up to this many places are kept while nothing waits.
const KEPT_PLACES: usize = 8;

/// How many stanzas of others are remembered after they were delivered.
const RECENT_MAX: usize = 64;

/// How many that former owners have delivered, and rooms.
const FORMER_MAX: usize = 256;

/// The stanzas on their way to one client.
#[derive(Debug, Default)]
pub struct Outbox {
    /// How many stanzas the session was delivered.
    delivered: u64,
    /// The newest of them, oldest first: all its client has not acknowledged.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// How many of them are in the log of messages that waited.
    logged: u64,
    /// Up to this number they were delivered by a former owner: some may be sent here again.
    restored: u64,
    /// Up to this number some edge was given them. What came since while the session had no
    /// connection has its number only from this owner, or from the store.
    given: u64,
    /// What was delivered of late by former owners, and to former connections; and the highest
    /// number of each room, whoever delivered it.
    former: Vec<Source>,
    /// What was delivered to the present one: its edge knows that too.
    recent: VecDeque<Source>,
}

/// One stanza.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The stanza; `from` and `to` are set.
    pub stanza: Arc<Stanza>,
    /// Which stanza of which session it is, when a client sent it.
    pub source: Option<Source>,
    /// Where it stands in the log of messages that wait: it is still there.
    pub log: Option<LogId>,
    /// Set when one of several sessions that got the same message has it for sure.
    pub twins: Option<Arc<AtomicBool>>,
}

/// What an acknowledgement freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// How many stanzas.
    pub count: u64,
    /// How many of them are in the log of messages that waited.
    pub logged: u64,
    /// The last place in that log among them.
    pub log: Option<LogId>,
}

// === impl Entry ===

impl Entry {
    /// A stanza the server makes itself.
    pub fn plain(stanza: Arc<Stanza>) -> Self {
        Self {
            stanza,
            source: None,
            log: None,
            twins: None,
        }
    }

    /// Whether another session of the account has the same message, or it is on its way there.
    pub fn is_elsewhere(&self) -> bool {
        let twins = self.twins.as_ref();
        twins.is_some_and(|twins| twins.load(Ordering::Relaxed) || Arc::strong_count(twins) > 1)
    }

    fn bytes(&self) -> usize {
        ENVELOPE + self.stanza.wire_bytes()
    }
}

impl From<Unacked> for Entry {
    fn from(unacked: Unacked) -> Self {
        Self {
            stanza: unacked.stanza,
            source: unacked.source,
            log: unacked.log,
            twins: None,
        }
    }
}

// === impl Outbox ===

impl Outbox {
    /// What an edge or the store kept: so many delivered, and the last of them.
    pub fn restored(delivered: u64, entries: impl IntoIterator<Item = Entry>) -> Self {
        let entries: VecDeque<Entry> = entries.into_iter().collect();
        let bytes = entries.iter().map(Entry::bytes).sum();
        let logged = entries.iter().filter(|entry| entry.log.is_some()).count();
        let delivered = delivered.max(entries.len() as u64);
        let mut outbox = Self {
            delivered,
            restored: delivered,
            given: delivered,
            former: Vec::new(),
            recent: VecDeque::new(),
            entries,
            bytes,
            logged: logged as u64,
        };
        for place in 0..outbox.entries.len() {
            if let Some(source) = outbox.entries[place].source {
                outbox.note_room(source);
            }
        }
        outbox
    }

    /// Notes the number of what a room sent; false when no room did.
    fn note_room(&mut self, source: Source) -> bool {
        if source.part != Source::OF_ROOM {
            return false;
        }
        let mut former = self.former.iter_mut();
        match former.find(|known| is_of_same_room(known, &source)) {
            Some(known) => known.number = source.number.max(known.number),
            None => {
                self.former.push(source);
                self.bound_former();
            }
        }
        true
    }

    /// Forgets what is too much: rooms last, since each stands for all it has sent.
    fn bound_former(&mut self) {
        while self.former.len() > FORMER_MAX {
            let mut former = self.former.iter();
            let oldest = former.position(|known| known.part != Source::OF_ROOM);
            self.former.remove(oldest.unwrap_or(0));
        }
    }

    /// Up to which number they were delivered by a former owner.
    pub fn restored_to(&self) -> u64 {
        self.restored
    }

    /// Up to which number some edge was given them.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Its edge has been given so many, or all there are.
    pub fn give(&mut self, number: Option<u64>) {
        self.given = number.unwrap_or(self.delivered).min(self.delivered);
    }

    /// An edge was given more than was known: `entries` are the last of that, and `seen` what the
    /// edge has had. What no edge was given comes after it.
    pub fn rebase(
        &mut self,
        delivered: u64,
        entries: impl IntoIterator<Item = Entry>,
        seen: &[Source],
    ) {
        let own = self.delivered - self.given;
        let own = usize::try_from(own).unwrap_or(usize::MAX);
        let at = self.entries.len().saturating_sub(own);
        let own = self.entries.split_off(at);
        let mut former = std::mem::take(&mut self.former);
        // Of a room, what only this owner has counts again when it is delivered below.
        for source in own.iter().rev().filter_map(|entry| entry.source) {
            let mut of_room = former.iter_mut();
            if let Some(known) = of_room.find(|known| is_of_same_room(known, &source)) {
                known.number = source.number.saturating_sub(1).min(known.number);
            }
        }
        // Stored with what waits, but no edge has had it.
        former.retain(|known| own.iter().all(|entry| entry.source != Some(*known)));
        *self = Self::restored(delivered, entries);
        self.remember(&former);
        self.remember(seen);
        for entry in own {
            if !self.has(entry.source) {
                self.push(entry);
            }
        }
    }

    /// One more is on its way. Its number.
    pub fn push(&mut self, entry: Entry) -> u64 {
        self.bytes += entry.bytes();
        self.logged += u64::from(entry.log.is_some());
        if let Some(source) = entry.source
            && !self.note_room(source)
        {
            if self.recent.len() >= RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(source);
        }
        self.entries.push_back(entry);
        self.delivered += 1;
        self.delivered
    }

    /// The client has the first `count`.
    pub fn ack(&mut self, count: u64) -> Freed {
        let mut freed = Freed::default();
        let restored = self.restored;
        while self.acked() < count
            && let Some(entry) = self.entries.pop_front()
        {
            if self.acked() <= restored
                && let Some(source) = entry.source
            {
                // It was known as one of those that wait.
                self.remember(&[source]);
            }
            self.bytes -= entry.bytes();
            freed.count += 1;
            freed.logged += u64::from(entry.log.is_some());
            freed.log = entry.log.or(freed.log);
            if let Some(twins) = entry.twins {
                twins.store(true, Ordering::Relaxed);
            }
        }
        self.logged -= freed.logged;
        if self.entries.is_empty() && self.entries.capacity() > KEPT_PLACES {
            self.entries = VecDeque::new();
        }
        freed
    }

    /// Notes what a former owner has delivered of late.
    pub fn remember(&mut self, former: &[Source]) {
        for source in former {
            if !self.note_room(*source) && !self.former.contains(source) {
                self.former.push(*source);
            }
        }
        self.bound_former();
    }

    /// It has another connection, whose edge does not know what the former one was given. What its
    /// client has not acknowledged, it is about to be given.
    pub fn change_hands(&mut self) {
        let (unacked, had): (Vec<_>, Vec<_>) = self.recent.drain(..).partition(|source| {
            let mut entries = self.entries.iter();
            entries.any(|entry| entry.source == Some(*source))
        });
        self.recent = unacked.into();
        self.remember(&had);
    }

    /// What it was delivered of late that its edge does not know.
    pub fn former(&self) -> impl Iterator<Item = Source> {
        self.former.iter().copied()
    }

    /// What it was delivered of late: the next owner does not deliver it again.
    pub fn seen(&self) -> impl Iterator<Item = Source> {
        self.former.iter().chain(&self.recent).copied()
    }

    /// Whether it has been delivered this of late, by whomever.
    pub fn has(&self, source: Option<Source>) -> bool {
        if let Some(source) = source.filter(|source| source.part == Source::OF_ROOM) {
            let mut former = self.former.iter();
            let highest = former.find(|known| is_of_same_room(known, &source));
            return highest.is_some_and(|highest| highest.number >= source.number);
        }
        let was_delivered = |source: Source| {
            self.former.iter().any(|known| match source.is_of_client() {
                true => *known == source,
                // What a shard makes comes in order.
                false => {
                    known.session == source.session
                        && !known.is_of_client()
                        && known.number >= source.number
                }
            })
        };
        if source.is_some_and(|source| self.recent.contains(&source) || was_delivered(source)) {
            return true;
        }
        let restored = self.restored.saturating_sub(self.acked());
        let restored = usize::try_from(restored).unwrap_or(usize::MAX);
        let mut entries = self.entries.iter().take(restored);
        source.is_some() && entries.any(|entry| entry.source == source)
    }

    /// How many stanzas the session was delivered.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// How many of them its client has.
    pub fn acked(&self) -> u64 {
        self.delivered - self.entries.len() as u64
    }

    /// How many that its client does not have are in the log of messages that waited.
    pub fn logged(&self) -> u64 {
        self.logged
    }

    /// Those its client does not have, with their numbers, oldest first.
    pub fn unacked(&self) -> impl Iterator<Item = (u64, &Entry)> {
        (self.acked() + 1..).zip(&self.entries)
    }

    /// Whether more waits than may.
    pub fn is_over(&self, stanzas_max: usize, bytes_max: usize) -> bool {
        self.entries.len() > stanzas_max || self.bytes > bytes_max
    }

    /// Everything that waits; nothing does any more.
    pub fn take(&mut self) -> VecDeque<Entry> {
        self.bytes = 0;
        self.logged = 0;
        std::mem::take(&mut self.entries)
    }
}

fn is_of_same_room(known: &Source, source: &Source) -> bool {
    let are_of_rooms = known.part == Source::OF_ROOM && source.part == Source::OF_ROOM;
    are_of_rooms && known.session == source.session
}

#[cfg(test)]
mod tests {
    use couplet_proto::{Kind, Type};

    use super::*;

    fn entry(log: Option<u64>) -> Entry {
        let stanza = Stanza::new(Kind::Message, Type::Chat);
        let mut entry = Entry::plain(Arc::new(stanza));
        entry.log = log.map(|millis| LogId { millis, count: 0 });
        entry
    }

    #[test]
    fn acknowledgements_free_in_order_and_never_go_back() {
        let mut outbox = Outbox::default();
        for number in 1..=4 {
            assert_eq!(outbox.push(entry((number < 3).then_some(number))), number);
        }
        let freed = outbox.ack(3);
        assert_eq!((freed.count, freed.log.map(|log| log.millis)), (3, Some(2)));
        assert_eq!((freed.logged, outbox.logged()), (2, 0));
        assert_eq!(outbox.ack(1), Freed::default());
        assert_eq!((outbox.acked(), outbox.delivered()), (3, 4));
        let left: Vec<u64> = outbox.unacked().map(|(number, _)| number).collect();
        assert_eq!(left, [4]);
        assert_eq!(outbox.ack(9).count, 1);
        assert_eq!((outbox.acked(), outbox.bytes), (4, 0));
    }

    #[test]
    fn a_restored_outbox_goes_on_counting() {
        let mut outbox = Outbox::restored(7, [entry(None), entry(None)]);
        assert_eq!((outbox.acked(), outbox.delivered()), (5, 7));
        assert_eq!(outbox.push(entry(None)), 8);
        assert!(outbox.is_over(2, usize::MAX) && outbox.is_over(9, 100));
    }

    #[test]
    fn what_was_restored_is_known_after_its_client_has_it() {
        let source = |number| Source {
            session: couplet_proto::link::id::SessionId(1),
            number,
            part: 0,
        };
        let from = |number| Entry {
            source: Some(source(number)),
            ..entry(None)
        };
        let mut outbox = Outbox::restored(2, [from(1), from(2)]);
        outbox.push(from(3));
        outbox.ack(3);
        assert!((1..4).all(|number| outbox.has(Some(source(number)))));
        assert!(!outbox.has(Some(source(4))));
        // The edge of the next connection is told those that it was not given there.
        assert_eq!(outbox.former().collect::<Vec<_>>(), [source(1), source(2)]);
    }

    #[test]
    fn what_no_edge_was_given_comes_after_what_one_was() {
        let source = Source {
            session: couplet_proto::link::id::SessionId(1),
            number: 1,
            part: 0,
        };
        let mut last = entry(Some(7));
        last.source = Some(source);
        let mut outbox = Outbox::restored(4, [entry(None), entry(None), last]);
        // Stored with all that waits.
        outbox.remember(&[source]);
        outbox.give(Some(2));
        // The second is the edge's, and so is a third that the store does not know.
        outbox.rebase(3, [entry(None), entry(None)], &[]);
        assert_eq!(
            (outbox.acked(), outbox.given(), outbox.delivered()),
            (1, 3, 5)
        );
        let last = outbox.unacked().last().expect("the one in the log");
        assert_eq!((last.0, last.1.log.map(|log| log.millis)), (5, Some(7)));
    }

    #[test]
    fn of_a_room_the_highest_number_says_what_was_had() {
        let of_room = |number| Source {
            session: couplet_proto::link::id::SessionId(9),
            number,
            part: Source::OF_ROOM,
        };
        let from = |number| Entry {
            source: Some(of_room(number)),
            ..entry(None)
        };
        let mut outbox = Outbox::default();
        outbox.push(from(4));
        outbox.ack(1);
        outbox.change_hands();
        assert!(outbox.has(Some(of_room(3))) && outbox.has(Some(of_room(4))));
        assert!(!outbox.has(Some(of_room(5))));
        // No edge has had the next one; another had one more of before.
        outbox.give(None);
        outbox.push(from(6));
        let seen: Vec<Source> = outbox.seen().collect();
        assert_eq!(seen, [of_room(6)]);
        outbox.rebase(2, [from(5)], &[of_room(5)]);
        let left: Vec<_> = outbox.unacked().map(|(_, entry)| entry.source).collect();
        assert_eq!(left, [Some(of_room(5)), Some(of_room(6))]);
        assert!(outbox.has(Some(of_room(6))));
    }

    #[test]
    fn twins_know_of_each_other() {
        let mut twin = entry(None);
        twin.twins = Some(Arc::default());
        let (mut one, mut other) = (Outbox::default(), Outbox::default());
        one.push(twin.clone());
        other.push(twin.clone());
        drop(other.take());
        assert!(twin.is_elsewhere());
        one.ack(1);
        assert!(twin.is_elsewhere());
        let mut alone = entry(None);
        alone.twins = Some(Arc::default());
        assert!(!alone.is_elsewhere());
    }
}
