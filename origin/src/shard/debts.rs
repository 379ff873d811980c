//! Debts: what has still to happen before somebody is told that a stanza has taken effect.
//!
//! ```text
//! handler ─▶ open ─┬─ route ──────────────── settled ─┐
//!                  ├─ delivery ──── the edge has it ──┼─▶ paid ─▶ the creditor is told
//!                  ├─ stored for a sleeping session ──┤
//!                  └─ the handler's own writes ───────┘
//! ```
//!
//! **Invariant:** a creditor is told at most once, and not before everything is done. When the
//! slot goes to another owner he is not told: he, or his edge, brings the stanza there again.

use couplet_proto::link::id::{ConnectionId, EdgeId, PeerId, SessionId, Source};
use couplet_proto::slot::Slot;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::event::Receipt;

/// Names a debt; never given twice.
pub(super) type DebtId = u64;

/// Who is told when a debt is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Creditor {
    /// A session of the shard: its stanza of this number has taken effect.
    Session(SessionId, u64),
    /// Whoever routed a stanza here.
    Route(Receipt),
    /// A connection whose session has been taken up by another one of this slot.
    Former(Slot, (EdgeId, ConnectionId)),
    /// Debts of a failed group, by name.
    Guarded(u64),
    /// A session whose rows the store need not have any more, while it has this connection: its
    /// edge keeps it.
    Kept(SessionId, (EdgeId, ConnectionId)),
    /// A connection of a session of this slot that is gone: its edge need not tell a new owner.
    Departure(Slot, EdgeId, ConnectionId),
    /// Whoever sent to many sessions: the routes of those that one frame was for, by name.
    Group(u64),
}

/// Routes that take effect together.
#[derive(Debug)]
struct Group {
    peer: Option<PeerId>,
    shard: u16,
    /// Each with the slot of its receiver.
    routes: Vec<(Slot, u64)>,
}

#[derive(Debug)]
struct Debt {
    /// None of its own: each route of a group has one.
    slot: Option<Slot>,
    creditor: Creditor,
    left: u32,
    /// What the stanza comes from, if it was routed here.
    source: Option<Source>,
    /// Who has routed the same stanza here since.
    also: Vec<Receipt>,
}

/// The debts of a shard.
#[derive(Debug, Default)]
pub(super) struct Debts {
    places: Vec<(u32, Option<Debt>)>,
    free: Vec<u32>,
    groups: HashMap<u64, Group, RandomState>,
    last_group: u64,
    /// Those of stanzas that were routed here.
    routed: HashMap<Source, DebtId, RandomState>,
    /// Who routed again what has taken effect now.
    joined: Vec<Receipt>,
}

// === impl Debts ===

impl Debts {
    /// One thing has to happen.
    pub(super) fn open(
        &mut self,
        slot: Slot,
        creditor: Creditor,
        source: Option<Source>,
    ) -> DebtId {
        let id = self.enter(Debt {
            slot: Some(slot),
            creditor,
            left: 1,
            source,
            also: Vec::new(),
        });
        if let Some(source) = source {
            self.routed.insert(source, id);
        }
        id
    }

    /// One thing has to happen, for many routes.
    pub(super) fn open_group(
        &mut self,
        peer: Option<PeerId>,
        shard: u16,
        routes: Vec<(Slot, u64)>,
    ) -> DebtId {
        self.last_group += 1;
        let name = self.last_group;
        let group = Group {
            peer,
            shard,
            routes,
        };
        self.groups.insert(name, group);
        self.enter(Debt {
            slot: None,
            creditor: Creditor::Group(name),
            left: 1,
            source: None,
            also: Vec::new(),
        })
    }

    /// What a group stood for has happened: who is told.
    pub(super) fn close_group(&mut self, name: u64) -> impl Iterator<Item = Receipt> + use<> {
        let group = self.groups.remove(&name).into_iter();
        group.flat_map(|group| {
            let Group {
                peer,
                shard,
                routes,
            } = group;
            routes
                .into_iter()
                .map(move |(_, route)| Receipt { peer, shard, route })
        })
    }

    /// Takes a group apart: each of its routes is a debt of its own, one thing of which has to
    /// happen. The debt itself, if it is no group.
    pub(super) fn split(&mut self, debt: DebtId) -> Vec<DebtId> {
        let Some(Creditor::Group(name)) = self.get(debt).map(|debt| debt.creditor) else {
            return vec![debt];
        };
        self.take(debt);
        let group = self.groups.remove(&name).into_iter();
        let routes: Vec<(Slot, Receipt)> = group
            .flat_map(|group| {
                let Group {
                    peer,
                    shard,
                    routes,
                } = group;
                let receipt = move |(slot, route)| (slot, Receipt { peer, shard, route });
                routes.into_iter().map(receipt)
            })
            .collect();
        let routes = routes.into_iter();
        routes
            .map(|(slot, receipt)| self.open(slot, Creditor::Route(receipt), None))
            .collect()
    }

    fn enter(&mut self, debt: Debt) -> DebtId {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.places.push((0, None));
                u32::try_from(self.places.len() - 1).expect("fewer than 2^32 stanzas under way")
            }
        };
        let (generation, known) = &mut self.places[place as usize];
        *known = Some(debt);
        id(*generation, place)
    }

    /// A stanza is routed here again: its sender is told with whoever waits for it already. False
    /// when nobody does.
    pub(super) fn join(&mut self, source: Source, receipt: Receipt) -> bool {
        let known = self.routed.get(&source).copied();
        let Some(debt) = known.and_then(|debt| self.get(debt)) else {
            return false;
        };
        if debt.creditor != Creditor::Route(receipt) && !debt.also.contains(&receipt) {
            debt.also.push(receipt);
        }
        true
    }

    /// Who routed again what has taken effect.
    pub(super) fn joined(&mut self) -> Option<Receipt> {
        self.joined.pop()
    }

    /// In which slot a debt was made; `None` when it is paid, or a group.
    pub(super) fn slot_of(&mut self, debt: DebtId) -> Option<Slot> {
        self.get(debt).and_then(|debt| debt.slot)
    }

    /// Whether an edge is told when it is paid that it need not keep a session.
    pub(super) fn is_of_departure(&mut self, debt: DebtId) -> bool {
        let known = self.get(debt);
        known.is_some_and(|debt| matches!(debt.creditor, Creditor::Departure(..)))
    }

    /// One thing more has to happen.
    pub(super) fn add(&mut self, debt: DebtId) {
        if let Some(debt) = self.get(debt) {
            debt.left += 1;
        }
    }

    /// One thing has happened. The creditor, if it was the last.
    pub(super) fn pay(&mut self, debt: DebtId) -> Option<Creditor> {
        let known = self.get(debt)?;
        known.left -= 1;
        match known.left {
            0 => self.close(debt),
            _ => None,
        }
    }

    /// Nothing more will happen, or need to. The creditor, if he has not been told.
    pub(super) fn close(&mut self, debt: DebtId) -> Option<Creditor> {
        let closed = self.take(debt)?;
        self.joined.extend(closed.also);
        Some(closed.creditor)
    }

    fn take(&mut self, debt: DebtId) -> Option<Debt> {
        self.get(debt)?;
        let (_, place) = parts(debt);
        let (generation, known) = &mut self.places[place as usize];
        let closed = known.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(place);
        if let Some(source) = closed.source
            && self.routed.get(&source) == Some(&debt)
        {
            self.routed.remove(&source);
        }
        Some(closed)
    }

    /// A slot is another's: nobody is told of what happened in it.
    pub(super) fn forget(&mut self, slot: Slot) {
        let of_slot = |(_, known): &(u32, Option<Debt>)| {
            known.as_ref().is_some_and(|debt| debt.slot == Some(slot))
        };
        let all = self.places.iter().enumerate();
        let gone: Vec<DebtId> = all
            .filter(|(_, known)| of_slot(known))
            .filter_map(|(place, (generation, _))| {
                Some(id(*generation, u32::try_from(place).ok()?))
            })
            .collect();
        for debt in gone {
            self.take(debt);
        }
        for group in self.groups.values_mut() {
            group.routes.retain(|(of, _)| *of != slot);
        }
    }

    fn get(&mut self, debt: DebtId) -> Option<&mut Debt> {
        let (generation, place) = parts(debt);
        let (known, debt) = self.places.get_mut(place as usize)?;
        debt.as_mut().filter(|_| *known == generation)
    }
}

fn id(generation: u32, place: u32) -> DebtId {
    u64::from(generation) << 32 | u64::from(place)
}

fn parts(debt: DebtId) -> (u32, u32) {
    let place = debt & u64::from(u32::MAX);
    let number = |part: u64| u32::try_from(part).expect("32 bits");
    (number(debt >> 32), number(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creditor(number: u64) -> Creditor {
        Creditor::Session(SessionId(1), number)
    }

    #[test]
    fn a_creditor_is_told_once_when_all_has_happened() {
        let mut debts = Debts::default();
        let slot = Slot::new(1).expect("below SLOTS");
        let first = debts.open(slot, creditor(1), None);
        debts.add(first);
        assert_eq!(debts.pay(first), None);
        assert_eq!(debts.pay(first), Some(creditor(1)));
        assert_eq!(debts.pay(first), None);
        // The place is used again, the name is not.
        let second = debts.open(slot, creditor(2), None);
        assert_ne!(first, second);
        assert_eq!(debts.pay(first), None);
        assert_eq!(debts.close(second), Some(creditor(2)));
        assert_eq!(debts.pay(second), None);
    }

    #[test]
    fn of_a_slot_that_is_gone_nobody_is_told() {
        let mut debts = Debts::default();
        let slot = |number| Slot::new(number).expect("below SLOTS");
        let (gone, kept) = (
            debts.open(slot(1), creditor(1), None),
            debts.open(slot(2), creditor(2), None),
        );
        debts.forget(slot(1));
        assert_eq!(debts.pay(gone), None);
        assert_eq!(debts.pay(kept), Some(creditor(2)));
    }
}
