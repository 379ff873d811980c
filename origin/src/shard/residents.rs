//! The accounts in memory, found by address or by place.
//!
//! A place is an index: a session's stanza finds its account without hashing an address. While a
//! handler runs, its resident is taken out of its place, so that the shard stays free to use.

use std::collections::VecDeque;

use couplet_proto::Jid;
use couplet_proto::link::id::SessionId;
use couplet_proto::slot::Slot;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::commit::Held;
use super::event::Work;
use super::output::Output;
use crate::session::{Account, At};
use crate::store::{Log, LogId};

/// Where an account stands; reused after the account has left memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place(u32);

/// An account in memory, and what waits for it.
#[derive(Debug)]
pub(super) struct Resident {
    pub(super) account: Account,
    pub(super) slot: Slot,
    /// Being read: events wait in order.
    pub(super) is_loading: bool,
    /// It is to be read once what it has written is stored.
    pub(super) is_read_due: bool,
    pub(super) waiting: VecDeque<Work>,
    /// What waits for a commit, in order.
    pub(super) held: VecDeque<Held>,
    /// Up to where its logs are cut by what waits for a commit. Whoever has what was cut off has
    /// it, so this is written again when that commit fails.
    pub(super) cuts: Vec<(Log, LogId)>,
    /// It stands in the queue of those that may leave memory.
    pub(super) is_queued: bool,
}

/// The accounts in memory.
#[derive(Debug, Default)]
pub(super) struct Residents {
    index: HashMap<Jid, Place, RandomState>,
    places: Vec<Option<Box<Resident>>>,
    free: Vec<Place>,
}

// === impl Resident ===

impl Resident {
    /// Notes that a log is cut.
    pub(super) fn cut(&mut self, log: Log, through: LogId) {
        match self.cuts.iter_mut().find(|(known, _)| *known == log) {
            Some((_, known)) => *known = through.max(*known),
            None => self.cuts.push((log, through)),
        }
    }

    /// Whether a session has ended and that is not stored yet.
    pub(super) fn is_ending(&self, session: SessionId) -> bool {
        let mut held = self.held.iter().flat_map(|held| &held.outputs);
        held.any(|output| matches!(output, Output::Ended(ended) if ended.id == session))
    }

    /// Whether nothing would be lost if it left memory.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_loading
            && self.account.sessions.is_empty()
            && self.waiting.is_empty()
            && self.held.is_empty()
    }
}

// === impl Residents ===

impl Residents {
    /// Where the account of a bare address stands.
    pub(super) fn find(&self, bare: &str) -> Option<Place> {
        self.index.get(bare).copied()
    }

    /// Puts an account that is still to be read into memory.
    pub(super) fn insert(&mut self, account: Account, slot: Slot) -> Place {
        let jid = account.jid.clone();
        let resident = Some(Box::new(Resident {
            account,
            slot,
            is_loading: true,
            is_read_due: false,
            waiting: VecDeque::new(),
            held: VecDeque::new(),
            cuts: Vec::new(),
            is_queued: false,
        }));
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place.0 as usize] = resident;
                place
            }
            None => {
                let next = u32::try_from(self.places.len());
                self.places.push(resident);
                Place(next.expect("fewer than 2^32 accounts fit in memory"))
            }
        };
        self.index.insert(jid, place);
        place
    }

    /// Takes a resident out while a handler runs on it.
    pub(super) fn take(&mut self, place: Place) -> Option<Box<Resident>> {
        self.places.get_mut(place.0 as usize)?.take()
    }

    /// Puts it back.
    pub(super) fn put(&mut self, place: Place, resident: Box<Resident>) {
        self.places[place.0 as usize] = Some(resident);
    }

    /// A resident in its place.
    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Resident> {
        self.places.get_mut(place.0 as usize)?.as_deref_mut()
    }

    /// Lets an account leave memory.
    pub(super) fn remove(&mut self, place: Place) {
        if let Some(resident) = self.take(place) {
            self.index.remove(&resident.account.jid);
            self.free.push(place);
        }
    }

    /// Where the accounts of a slot stand.
    pub(super) fn of_slot(&self, slot: Slot) -> Vec<Place> {
        let all = self.index.values().copied();
        all.filter(|place| {
            let resident = self.places.get(place.0 as usize);
            let resident = resident.and_then(Option::as_deref);
            resident.is_some_and(|resident| resident.slot == slot)
        })
        .collect()
    }

    /// How many of them are rooms, and how many sessions are in those.
    pub(super) fn rooms(&self) -> (usize, usize) {
        let all = self.places.iter().flatten();
        let rooms = all.filter_map(|resident| resident.account.slots.muc.occupants());
        rooms.fold((0, 0), |(rooms, occupants), more| {
            (rooms + 1, occupants + more)
        })
    }

    /// How many sessions of theirs have no connection.
    pub(super) fn hibernated(&self) -> usize {
        let all = self.places.iter().flatten();
        let sessions = all.flat_map(|resident| &resident.account.sessions);
        sessions
            .filter(|session| matches!(session.at, At::Nowhere(_)))
            .count()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }
}
