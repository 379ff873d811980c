//! What the planner knows, for operators and for whoever asks whether this node is ready.

use couplet_proto::link::id::NodeId;
use couplet_proto::slot::Slot;

use super::work::Stage;
use super::{Cause, Planner};
use crate::store::{Member, Owner};

/// How this node stands, in figures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Slots this node runs.
    pub held: usize,
    /// Slots of which it is the stored owner, whether it runs them or has left them for another.
    pub owned: usize,
    /// Slots it should run.
    pub wanted: usize,
    /// Slots nobody runs, in the whole cluster.
    pub unowned: usize,
    /// Slots on their way from living owners to this node.
    pub moving: usize,
    /// Whether it knows what it should run, and none of that has no owner that lives.
    pub is_settled: bool,
    /// Whether another member is there that takes slots.
    pub has_others: bool,
    /// Whether another living process has this node's name.
    pub has_namesake: bool,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// As it describes itself.
    pub member: Member,
    /// For how many more milliseconds its lease lasts; none or less when it is silent.
    pub lease_left_ms: i64,
    /// Whether its slots are to be taken.
    pub is_dead: bool,
    /// How many slots it owns.
    pub slots: usize,
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// Which slot.
    pub slot: Slot,
    /// Who owns it.
    pub owner: Option<Owner>,
    /// Who should.
    pub target: Option<NodeId>,
    /// How it is, as this node sees it.
    pub state: SlotState,
}

/// How a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// Its owner lives and should own it.
    Owned,
    /// Its owner lives and another should own it.
    Moving,
    /// It has no owner that lives.
    Unowned,
}

/// A slot on its way to this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which slot.
    pub slot: Slot,
    /// From whom, if anybody.
    pub from: Option<NodeId>,
    /// Why.
    pub cause: Cause,
    /// Since when, in monotonic milliseconds.
    pub since: u64,
}

// === impl Planner ===

impl Planner {
    /// How this node stands.
    pub fn standing(&self, now: u64) -> Standing {
        let wanted: Vec<Slot> = Slot::all()
            .filter(|slot| self.target.is_mine(*slot))
            .collect();
        let is_there = |slot: &Slot| {
            self.owners.held(*slot).is_some()
                || self.cause(self.owners.of(*slot), now) == Cause::Planned
        };
        let is_known = self.owners.are_known() && self.target.from.is_some();
        Standing {
            held: self.owners.held_count(),
            owned: self.owners.count(&self.settings.me),
            is_settled: is_known && wanted.iter().all(is_there),
            wanted: wanted.len(),
            unowned: self.work.unowned_count(),
            moving: self.work.moving(),
            has_others: self.members.has_others(),
            has_namesake: self.members.has_namesake(),
        }
    }

    /// The stored owner of a slot.
    pub(crate) fn owner(&self, slot: Slot) -> Option<&NodeId> {
        self.owners.of(slot).map(|owner| &owner.node)
    }

    /// Who should own a slot.
    pub(crate) fn target(&self, slot: Slot) -> Option<&NodeId> {
        self.target.of(slot)
    }

    /// Everyone in the last view, in order of their ids.
    pub fn nodes(&self, now: u64) -> Vec<Node> {
        let view = self.members.view().iter();
        view.map(|(member, left)| Node {
            member: member.clone(),
            lease_left_ms: *left,
            is_dead: self.members.is_dead(&member.node, now),
            slots: self.owners.count(&member.node),
        })
        .collect()
    }

    /// The others that are not dead: those to be linked to.
    pub fn neighbours(&self, now: u64) -> Vec<Member> {
        let view = self.members.view().iter().map(|(member, _)| member);
        view.filter(|member| {
            member.node != self.settings.me && !self.members.is_dead(&member.node, now)
        })
        .cloned()
        .collect()
    }

    /// Every slot, in order.
    pub fn slots(&self) -> Vec<Whereabouts> {
        let state = |owner: Option<&Owner>, target: Option<&NodeId>| match owner {
            None => SlotState::Unowned,
            Some(owner) if self.members.is_silent(&owner.node) => SlotState::Unowned,
            Some(owner) if target.is_some_and(|target| *target != owner.node) => SlotState::Moving,
            Some(_) => SlotState::Owned,
        };
        Slot::all()
            .map(|slot| {
                let (owner, target) = (self.owners.of(slot), self.target.of(slot));
                Whereabouts {
                    slot,
                    owner: owner.cloned(),
                    target: target.cloned(),
                    state: state(owner, target),
                }
            })
            .collect()
    }

    /// What is on its way to this node.
    pub fn moves(&self) -> Vec<Move> {
        let under_way = |slot: Slot| match self.work.stage(slot) {
            Stage::Free => None,
            Stage::Asking(since) => Some((Cause::Planned, since)),
            Stage::Taking(cause, since) => Some((cause, since)),
        };
        Slot::all()
            .filter_map(|slot| {
                let (cause, since) = under_way(slot)?;
                let from = self.owners.of(slot).map(|owner| owner.node.clone());
                Some(Move {
                    slot,
                    from,
                    cause,
                    since,
                })
            })
            .collect()
    }
}
