//! Routes: stanzas on their way to other accounts, until they have taken effect there.
//!
//! The receiver's owner may die, or be another by the time a stanza gets there. So a shard keeps
//! each until it is settled, and sends it again, in order, whenever the way to its slot changes.

use std::sync::Arc;

use couplet_proto::Stanza;
use couplet_proto::link::id::{SessionId, Source};
use couplet_proto::slot::Slot;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::debts::DebtId;

/// A stanza that is on its way.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// The slot of the account that sent it.
    pub(super) from: Slot,
    /// The slot of its receiver.
    pub(super) to: Slot,
    pub(super) stanza: Arc<Stanza>,
    pub(super) source: Option<Source>,
    /// What is paid when it is settled.
    pub(super) debt: Option<DebtId>,
}

/// What a shard has on its way, by name: names grow.
#[derive(Debug, Default)]
pub(super) struct Routes {
    last: u64,
    pending: HashMap<u64, Pending, RandomState>,
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

    /// One has taken effect.
    pub(super) fn settle(&mut self, route: u64) -> Option<Pending> {
        self.pending.remove(&route)
    }

    /// Those on their way to slots, in the order they were sent.
    pub(super) fn to(&self, slots: &[Slot]) -> Vec<(u64, Pending)> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let mut wanted = vec![false; usize::from(couplet_proto::slot::SLOTS)];
        slots.iter().for_each(|slot| wanted[slot.index()] = true);
        let all = self.pending.iter();
        let mut found: Vec<(u64, Pending)> = all
            .filter(|(_, pending)| wanted[pending.to.index()])
            .map(|(route, pending)| (*route, pending.clone()))
            .collect();
        found.sort_unstable_by_key(|(route, _)| *route);
        found
    }

    /// A slot is another's: what its accounts sent is sent by him.
    pub(super) fn forget(&mut self, from: Slot) {
        self.pending.retain(|_, pending| pending.from != from);
    }

    /// How many are on their way.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }
}
