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

use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId, Source};
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
}

#[derive(Debug)]
struct Debt {
    slot: Slot,
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
        let debt = Debt {
            slot,
            creditor,
            left: 1,
            source,
            also: Vec::new(),
        };
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.places.push((0, None));
                u32::try_from(self.places.len() - 1).expect("fewer than 2^32 stanzas under way")
            }
        };
        let (generation, known) = &mut self.places[place as usize];
        *known = Some(debt);
        let id = id(*generation, place);
        if let Some(source) = source {
            self.routed.insert(source, id);
        }
        id
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

    /// In which slot a debt was made; `None` when it is paid.
    pub(super) fn slot_of(&mut self, debt: DebtId) -> Option<Slot> {
        self.get(debt).map(|debt| debt.slot)
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
        let of_slot =
            |(_, known): &(u32, Option<Debt>)| known.as_ref().is_some_and(|debt| debt.slot == slot);
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
