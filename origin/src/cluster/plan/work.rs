//! The slots that should be this node's and are not: what is done about each.

use std::collections::BTreeMap;

use couplet_proto::link::id::NodeId;
use couplet_proto::slot::Slot;

use super::{Action, Cause, Gain, Planner, each};
use crate::store::Owner;

/// Slots in one claim.
const TAKE_MAX: usize = 512;

/// Slots in one question to another origin.
const ASK_MAX: usize = 32;

/// How long the same members have been there before slots that nobody ever owned are taken, in
/// milliseconds: origins that start together are to share them.
const SETTLE_MS: u64 = 1500;

/// After how many milliseconds something that was refused is tried again.
const RETRY_MS: u64 = 1000;

/// What is under way.
#[derive(Debug)]
pub(super) struct Work {
    stages: Vec<Stage>,
    /// Until when nobody is asked for a slot: he did not leave it.
    paused: Vec<u64>,
    /// Since when nobody has run a slot.
    unowned: Vec<Option<u64>>,
    /// Slots on their way from living owners.
    moving: usize,
}

/// What is under way of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Free,
    /// Its owner was asked to leave it.
    Asking(u64),
    /// The store was asked for it.
    Taking(Cause, u64),
}

// === impl Work ===

impl Work {
    pub(super) fn new() -> Self {
        Self {
            stages: each(Stage::Free),
            paused: each(0),
            unowned: each(None),
            moving: 0,
        }
    }

    /// Whether a slot runs or not: notes since when it does not.
    pub(super) fn note(&mut self, slot: Slot, is_silent: bool, now: u64) {
        let since = &mut self.unowned[slot.index()];
        match is_silent {
            true => *since = since.or(Some(now)),
            false => *since = None,
        }
    }

    pub(super) fn is_free(&self, slot: Slot) -> bool {
        self.stage(slot) == Stage::Free
    }

    pub(super) fn stage(&self, slot: Slot) -> Stage {
        self.stages[slot.index()]
    }

    /// How many slots nobody runs.
    pub(super) fn unowned_count(&self) -> usize {
        self.unowned.iter().flatten().count()
    }

    /// How many slots are on their way from living owners.
    pub(super) fn moving(&self) -> usize {
        self.moving
    }

    fn set(&mut self, slot: Slot, stage: Stage) -> Stage {
        let old = std::mem::replace(&mut self.stages[slot.index()], stage);
        self.moving += usize::from(stage.is_move());
        self.moving -= usize::from(old.is_move());
        old
    }
}

// === impl Stage ===

impl Stage {
    fn is_move(self) -> bool {
        matches!(self, Self::Asking(_) | Self::Taking(Cause::Planned, _))
    }
}

// === impl Planner ===

impl Planner {
    /// Sets out to own what this node should.
    pub(super) fn find_work(&mut self, now: u64) {
        if self.members.contact_ms(now).is_none() || !self.owners.are_known() {
            return;
        }
        let mut takes = Vec::new();
        let mut asks: BTreeMap<NodeId, Vec<Slot>> = BTreeMap::new();
        let mut room = self.settings.moves_max.saturating_sub(self.work.moving);
        if self.work.moving > 0 && room < ASK_MAX.min(self.settings.moves_max) {
            // A question costs the same for one slot as for many: asked one by one as each is
            // done, the rest would take many times as long.
            room = 0;
        }
        for slot in Slot::all() {
            if !self.is_wanted(slot, now) {
                continue;
            }
            let owner = self.owners.of(slot);
            let is_paused = self.work.paused[slot.index()] > now
                || owner.is_some_and(|owner| self.is_early_for(&owner.node, now));
            match self.cause(owner, now) {
                Cause::Planned if room == 0 || is_paused => {}
                Cause::Planned => {
                    room -= 1;
                    let owner = owner.expect("a living one");
                    asks.entry(owner.node.clone()).or_default().push(slot);
                }
                Cause::Unowned if owner.is_none() && self.members.stable_ms(now) < SETTLE_MS => {}
                cause => takes.push((slot, owner.cloned(), cause)),
            }
        }
        for some in takes.chunks(TAKE_MAX) {
            for (slot, _, cause) in some {
                let since = self.work.unowned[slot.index()].unwrap_or(now);
                self.work.set(*slot, Stage::Taking(*cause, since));
            }
            let some = some.iter().map(|(slot, owner, _)| (*slot, owner.clone()));
            self.actions.push(Action::Take(some.collect()));
        }
        for (node, slots) in asks {
            for some in slots.chunks(ASK_MAX) {
                for slot in some {
                    self.work.set(*slot, Stage::Asking(now));
                }
                self.actions.push(Action::Ask(node.clone(), some.to_vec()));
            }
        }
    }

    /// Whether a slot should be here, certainly, and nothing is being done about it.
    fn is_wanted(&self, slot: Slot, now: u64) -> bool {
        if !self.target.is_mine(slot)
            || !self.target.is_stable(slot)
            || self.owners.held(slot).is_some()
        {
            return false;
        }
        match self.work.stage(slot) {
            Stage::Free => true,
            // He may have died meanwhile, and will not answer.
            Stage::Asking(_) => self.cause(self.owners.of(slot), now) == Cause::Crash,
            Stage::Taking(..) => false,
        }
    }

    /// Whether it is too early to ask a living owner for slots: not everybody has found this node
    /// yet. One who leaves does not wait for that.
    fn is_early_for(&self, owner: &NodeId, now: u64) -> bool {
        let until = self.joined.unwrap_or(now) + self.settings.join_wait_ms;
        now < until && !self.members.is_draining(owner)
    }

    /// Why a slot is to be taken, or has to be asked for.
    pub(super) fn cause(&self, owner: Option<&Owner>, now: u64) -> Cause {
        match owner {
            None => Cause::Unowned,
            // Left for somebody who has not come, or claimed without hearing the answer.
            Some(owner) if owner.node == self.settings.me => Cause::Unowned,
            Some(owner) if self.members.is_dead(&owner.node, now) => Cause::Crash,
            Some(_) => Cause::Planned,
        }
    }

    /// A claim has ended.
    pub(super) fn taken(&mut self, asked: &[Slot], owners: Option<Vec<(Slot, Owner)>>, now: u64) {
        let free = |slot: &Slot| self.work.set(*slot, Stage::Free);
        let stages: Vec<Stage> = asked.iter().map(free).collect();
        let Some(owners) = owners else {
            // It may have been done all the same.
            return self.owners.read_soon();
        };
        let mut gains = Vec::new();
        for (slot, owner) in owners {
            let stage = asked.iter().position(|known| *known == slot);
            let Some(Stage::Taking(cause, since)) = stage.map(|at| stages[at]) else {
                continue;
            };
            let Some(epoch) = self.owners.taken(slot, owner, &self.settings.me) else {
                continue;
            };
            self.work.note(slot, false, now);
            gains.push(Gain {
                slot,
                epoch,
                cause,
                since,
            });
        }
        if !gains.is_empty() {
            self.actions.push(Action::Own(gains));
        }
        self.find_work(now);
    }

    /// Another origin was asked for slots: it has left these.
    pub(super) fn yielded(&mut self, asked: &[Slot], left: &[Slot], now: u64) {
        let mut takes = Vec::new();
        for slot in asked {
            let Stage::Asking(since) = self.work.stage(*slot) else {
                continue;
            };
            if left.contains(slot) {
                self.work.set(*slot, Stage::Taking(Cause::Planned, since));
                takes.push((*slot, self.owners.of(*slot).cloned()));
            } else {
                self.work.set(*slot, Stage::Free);
                self.work.paused[slot.index()] = now + RETRY_MS;
            }
        }
        if !takes.is_empty() {
            self.actions.push(Action::Take(takes));
        }
    }
}
