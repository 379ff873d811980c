//! Noted: what the journal is told of slots that this origin gains and loses.
//!
//! Slots come and go by the hundred: those that went the same way for the same reason are one
//! entry.

use std::collections::BTreeMap;

use couplet_proto::journal::{Entry, Event, Journal};
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::NodeId;
use couplet_proto::slot::Slot;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::plan::Gain;

/// They were left in good order.
pub(super) const LEFT: &str = "planned";

/// Another node has taken them.
pub(super) const TAKEN: &str = "taken";

/// Who owned slots before they were taken.
pub(super) type FormerOwners = HashMap<Slot, NodeId, FixedState>;

/// Slots are this node's now.
pub(super) fn gained(
    journal: &Journal,
    me: &NodeId,
    gains: &[Gain],
    former: &FormerOwners,
    now: u64,
) {
    if !journal.is_kept() {
        return;
    }
    let mut alike: BTreeMap<_, (Vec<Slot>, u64)> = BTreeMap::new();
    for gain in gains {
        let from = former.get(&gain.slot).map(name);
        let (slots, since) = alike
            .entry((from, gain.cause.name()))
            .or_insert((Vec::new(), u64::MAX));
        slots.push(gain.slot);
        *since = (*since).min(gain.since);
    }
    for ((from, cause), (mut slots, since)) in alike {
        slots.sort_unstable();
        journal.note(|| Entry {
            reason: Some(cause),
            from,
            to: Some(name(me)),
            count: Some(slots.len()),
            slots: &slots,
            taken_ms: Some(now.saturating_sub(since)),
            ..Entry::new(Event::SlotsGained)
        });
    }
}

/// Slots are not this node's any more; `target` should have them next.
pub(super) fn lost<'a>(
    journal: &Journal,
    me: &NodeId,
    slots: &[(Slot, Epoch)],
    reason: &'static str,
    target: impl Fn(Slot) -> Option<&'a NodeId>,
) {
    if !journal.is_kept() {
        return;
    }
    let mut alike: BTreeMap<Option<&str>, Vec<Slot>> = BTreeMap::new();
    for (slot, _) in slots {
        let to = target(*slot).filter(|to| *to != me).map(name);
        alike.entry(to).or_default().push(*slot);
    }
    for (to, mut slots) in alike {
        slots.sort_unstable();
        journal.note(|| Entry {
            reason: Some(reason),
            from: Some(name(me)),
            to,
            count: Some(slots.len()),
            slots: &slots,
            ..Entry::new(Event::SlotsLost)
        });
    }
}

/// What operators call a node: without what no other start of it has.
fn name(node: &NodeId) -> &str {
    node.0.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use couplet_proto::journal::Scribe;

    use super::super::plan::Cause;
    use super::*;

    /// Keeps what it is told, in short.
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Scribe for Told {
        fn note(&self, entry: &Entry<'_>) {
            let line = format!(
                "{} {} {}>{} {:?} {:?}",
                entry.event.name(),
                entry.reason.unwrap_or("-"),
                entry.from.unwrap_or("-"),
                entry.to.unwrap_or("-"),
                entry
                    .slots
                    .iter()
                    .map(|slot| slot.index())
                    .collect::<Vec<_>>(),
                entry.taken_ms,
            );
            self.0.lock().expect("whole").push(line);
        }
    }

    fn slot(index: usize) -> Slot {
        Slot::all().nth(index).expect("a slot")
    }

    fn node(id: &str) -> NodeId {
        NodeId(id.into())
    }

    #[test]
    fn slots_that_went_the_same_way_are_one_entry() {
        let told = Arc::new(Told::default());
        let journal = Journal::kept_by(Arc::<Told>::clone(&told));
        let gain = |index, cause, since| Gain {
            slot: slot(index),
            epoch: Epoch(1),
            cause,
            since,
        };
        let gains = [
            gain(9, Cause::Planned, 80),
            gain(3, Cause::Planned, 60),
            gain(4, Cause::Crash, 50),
            gain(1, Cause::Unowned, 100),
        ];
        let former = [(9, "b/1"), (3, "b/1"), (4, "c/2")];
        let former = former.map(|(index, id)| (slot(index), node(id)));
        gained(
            &journal,
            &node("a/7"),
            &gains,
            &former.into_iter().collect(),
            100,
        );
        let c = node("c/3");
        let target = |of: Slot| (of.index() != 5).then_some(&c);
        let slots = [
            (slot(6), Epoch(1)),
            (slot(5), Epoch(1)),
            (slot(2), Epoch(1)),
        ];
        lost(&journal, &node("a/7"), &slots, LEFT, target);
        let expected = [
            "slots-gained unowned ->a [1] Some(0)",
            "slots-gained planned b>a [3, 9] Some(40)",
            "slots-gained crash c>a [4] Some(50)",
            "slots-lost planned a>- [5] None",
            "slots-lost planned a>c [2, 6] None",
        ];
        assert_eq!(*told.0.lock().expect("whole"), expected);
    }
}
