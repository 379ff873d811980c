//! Routes: stanzas on their way to other accounts, until they have taken effect there.
//!
//! The receiver's owner may die, or be another by the time a stanza gets there. So a shard keeps
//! each until it is settled, and sends it again, in order, whenever the way to its slot changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::{SessionId, Source};
use couplet_proto::link::peer::Addressee;
use couplet_proto::slot::Slot;
use couplet_proto::{Jid, Stanza};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::debts::DebtId;
use super::event::{Fanned, FannedStanzas};

/// A stanza that is on its way.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// The slot of the account that sent it.
    pub(super) from: Slot,
    /// The slot of its receiver.
    pub(super) to: Slot,
    pub(super) stanza: Arc<Stanza>,
    pub(super) source: Option<Source>,
    /// When the stanza was read off its sender's socket.
    pub(super) entered: u64,
    /// What is paid when it is settled.
    pub(super) debt: Option<DebtId>,
}

/// The same stanzas on their way to many sessions: each receiver has a route of its own, and their
/// names stand side by side.
#[derive(Debug)]
pub(super) struct PendingFan {
    /// The slot of the room, or account, that sent them.
    from: Slot,
    stanzas: Arc<FannedStanzas>,
    to: Arc<[Jid]>,
    slots: Vec<Slot>,
    /// Which receivers have them.
    is_settled: Vec<bool>,
    left: usize,
    /// What is paid when all have them.
    debt: Option<DebtId>,
}

/// What is sent again.
pub(super) enum Resent {
    One(Pending),
    Many(Fanned),
}

/// What a shard has on its way, by name: names grow.
#[derive(Debug, Default)]
pub(super) struct Routes {
    last: u64,
    pending: HashMap<u64, Pending, RandomState>,
    /// By the name of the first receiver's route.
    fans: BTreeMap<u64, PendingFan>,
    /// Receivers of fans that do not have them.
    fanned: usize,
    /// What rooms have sent, by their names.
    rooms: HashMap<SessionId, Numbers, RandomState>,
}

/// The numbers of what a room has sent.
#[derive(Debug, Default)]
struct Numbers {
    /// The highest.
    sent: u64,
    /// Those that not everybody has.
    under_way: BTreeSet<u64>,
}

// === impl PendingFan ===

impl PendingFan {
    pub(super) fn new(
        from: Slot,
        stanzas: FannedStanzas,
        to: Arc<[Jid]>,
        slots: Vec<Slot>,
        debt: Option<DebtId>,
    ) -> Self {
        Self {
            from,
            stanzas: Arc::new(stanzas),
            is_settled: vec![false; slots.len()],
            left: slots.len(),
            to,
            slots,
            debt,
        }
    }

    /// The number of what a room has sent.
    fn number(&self) -> Option<u64> {
        let source = self.stanzas.source;
        (source.part == Source::OF_ROOM).then_some(source.number)
    }

    /// Those of its receivers that do not have it and are wanted; `first` is the name of the first
    /// route.
    fn fanned(&self, first: u64, shard: u16, is_wanted: impl Fn(Slot) -> bool) -> Fanned {
        let receivers = self.to.iter().zip(&self.slots).zip(&self.is_settled);
        let receivers = receivers.zip(first..);
        let wanted =
            receivers.filter(|(((_, slot), is_settled), _)| !**is_settled && is_wanted(**slot));
        let to = wanted.map(|(((jid, slot), _), route)| Addressee {
            route,
            slot: *slot,
            epoch: Epoch::default(),
            jid: jid.clone(),
        });
        Fanned {
            stanzas: Arc::clone(&self.stanzas),
            peer: None,
            shard,
            to: to.collect(),
        }
    }
}

// === impl Routes ===

impl Routes {
    /// One more is on its way. Its name, and what it comes from: what no client sent is told apart
    /// by the shard, called `shard`, and the name. Names grow, and so what goes to one slot comes
    /// there in their order.
    pub(super) fn add(&mut self, mut pending: Pending, shard: SessionId) -> (u64, Option<Source>) {
        self.last += 1;
        let source = *pending.source.get_or_insert(Source {
            session: shard,
            number: self.last,
            part: Source::OF_SHARD,
        });
        self.pending.insert(self.last, pending);
        (self.last, Some(source))
    }

    /// One more goes to many. What is brought to them.
    pub(super) fn add_fan(&mut self, mut pending: PendingFan, shard: u16) -> Fanned {
        let first = self.last + 1;
        let stanzas = pending.stanzas.stanzas.len();
        self.last += pending.to.len().max(stanzas) as u64;
        if let Some(stanzas) = Arc::get_mut(&mut pending.stanzas)
            && stanzas.source.part == Source::OF_SHARD
        {
            stanzas.source.number = first;
        }
        let fanned = pending.fanned(first, shard, |_| true);
        self.fanned += pending.left;
        if let Some(number) = pending.number() {
            let numbers = self
                .rooms
                .entry(pending.stanzas.source.session)
                .or_default();
            numbers.under_way.insert(number);
            numbers.sent = numbers.sent.max(number);
        }
        self.fans.insert(first, pending);
        fanned
    }

    /// One has taken effect. The debt that is paid with that.
    pub(super) fn settle(&mut self, route: u64) -> Option<DebtId> {
        if let Some(pending) = self.pending.remove(&route) {
            return pending.debt;
        }
        let (first, fan) = self.fans.range_mut(..=route).next_back()?;
        let (first, place) = (*first, usize::try_from(route - first).ok()?);
        let is_settled = fan.is_settled.get_mut(place)?;
        if std::mem::replace(is_settled, true) {
            return None;
        }
        self.fanned -= 1;
        fan.left -= 1;
        if fan.left > 0 {
            return None;
        }
        let fan = self.fans.remove(&first)?;
        self.has_arrived(&fan);
        fan.debt
    }

    /// Everybody has what a room has sent up to this number; `None` while it has sent nothing from
    /// here. What it has stored and not sent has a higher one.
    pub(super) fn arrived(&self, room: SessionId) -> Option<u64> {
        let numbers = self.rooms.get(&room)?;
        let first = numbers.under_way.first();
        Some(first.map_or(numbers.sent, |first| first.saturating_sub(1)))
    }

    /// A room leaves memory.
    pub(super) fn forget_room(&mut self, room: SessionId) {
        self.rooms.remove(&room);
    }

    fn has_arrived(&mut self, fan: &PendingFan) {
        let room = fan.stanzas.source.session;
        if let Some(number) = fan.number()
            && let Some(numbers) = self.rooms.get_mut(&room)
        {
            numbers.under_way.remove(&number);
        }
    }

    /// Those on their way to slots, in the order they were sent.
    pub(super) fn to(&self, slots: &[Slot], shard: u16) -> Vec<(u64, Resent)> {
        if self.pending.is_empty() && self.fans.is_empty() {
            return Vec::new();
        }
        let mut wanted = vec![false; usize::from(couplet_proto::slot::SLOTS)];
        slots.iter().for_each(|slot| wanted[slot.index()] = true);
        let all = self.pending.iter();
        let mut found: Vec<(u64, Resent)> = all
            .filter(|(_, pending)| wanted[pending.to.index()])
            .map(|(route, pending)| (*route, Resent::One(pending.clone())))
            .collect();
        for (first, fan) in &self.fans {
            let fanned = fan.fanned(*first, shard, |slot| wanted[slot.index()]);
            if !fanned.to.is_empty() {
                found.push((*first, Resent::Many(fanned)));
            }
        }
        found.sort_unstable_by_key(|(route, _)| *route);
        found
    }

    /// A slot is another's: what its accounts sent is sent by him.
    pub(super) fn forget(&mut self, from: Slot) {
        self.pending.retain(|_, pending| pending.from != from);
        let gone: Vec<PendingFan> = self
            .fans
            .extract_if(.., |_, fan| fan.from == from)
            .map(|(_, fan)| fan)
            .collect();
        gone.iter().for_each(|fan| self.has_arrived(fan));
        self.fanned = self.fans.values().map(|fan| fan.left).sum();
    }

    /// How many are on their way.
    pub(super) fn len(&self) -> usize {
        self.pending.len() + self.fanned
    }
}
