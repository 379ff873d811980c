//! Plan: what this origin does to own what it should, and nothing else.
//!
//! ```text
//!           Beaten, Missed, Owners, Pins, Taken, Yielded, Asked, Left, Fenced, Heard
//!                                        │
//!   where slots should be (ring) ──▶ Planner::step ◀── where they are (owners), who is there
//!                                        │
//!             ReadOwners, ReadPins, Take, Ask, Own, Leave, Release, Lose, Answer
//! ```
//!
//! What becomes of a slot that should be this node's:
//!
//! ```text
//! nobody's, or of one who is dead ───────────────────────────▶ Take ─▶ Own
//! of a living one ─▶ Ask: he leaves it (Leave ─▶ Release) ─▶ Take ─▶ Own
//! ```
//!
//! Every question among the actions (`ReadOwners`, `ReadPins`, `Take`, `Ask`, `Leave`) is answered
//! by one event, also when it failed.
//!
//! **Invariant:** no clock and no I/O; the same events at the same times give the same actions.
//! **Invariant:** nothing is taken without contact to the store, and from a living owner only what
//! he has left.

mod members;

mod owners;

mod report;

mod work;

#[cfg(test)]
mod tests;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::NodeId;
use couplet_proto::link::peer::Owned;
use couplet_proto::ring::{self, Candidate, Held as Pinned};
use couplet_proto::slot::{SLOTS, Slot};

use self::members::Members;
use self::owners::Owners;
pub use self::report::{Move, Node, SlotState, Standing, Whereabouts};
use self::work::Work;
use crate::store::{Owner, Pin, View};

/// What the planner is to know from the start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which process this is.
    pub me: NodeId,
    /// Its name, which a restart keeps.
    pub name: Box<str>,
    /// How long a lease lasts, in milliseconds.
    pub lease_ms: u64,
    /// Slots that may be on their way from living owners to this node at once.
    pub moves_max: usize,
    /// For how long from the first beat nothing is asked of owners who stay, in milliseconds: until
    /// everybody has found this node.
    pub join_wait_ms: u64,
}

/// Everything that can happen to the planner.
#[derive(Debug, Clone)]
pub enum Event {
    /// The store has answered a beat.
    Beaten(View),
    /// It has not.
    Missed,
    /// [`Action::ReadOwners`] of this number has ended; `None` when the store did not answer.
    Owners(u64, Option<Vec<Option<Owner>>>),
    /// [`Action::ReadPins`] has ended, likewise.
    Pins(Option<Vec<Pin>>),
    /// [`Action::Take`] of these slots has ended: their owners now; `None` when the store did not
    /// answer, and may or may not have done it.
    Taken(Vec<Slot>, Option<Vec<(Slot, Owner)>>),
    /// [`Action::Ask`] for these slots has ended: those that were left.
    Yielded(Vec<Slot>, Vec<Slot>),
    /// Another origin asks this one to leave slots; answered by [`Action::Answer`] of this number.
    Asked(u64, Vec<Slot>),
    /// [`Action::Leave`] of these slots has ended.
    Left(Vec<Slot>),
    /// The store has refused a write: the slot is another's, and this node's shard has dropped it.
    Fenced(Slot),
    /// Another origin has told what it owns.
    Heard(Vec<Owned>),
}

/// Everything the planner can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the owners of all slots.
    ReadOwners(u64),
    /// Read the pins.
    ReadPins,
    /// Take slots from the owners expected.
    Take(Vec<(Slot, Option<Owner>)>),
    /// Ask another origin to leave slots.
    Ask(NodeId, Vec<Slot>),
    /// Begin to own slots.
    Own(Vec<Gain>),
    /// Finish what is being written in slots and drop them.
    Leave(Vec<Slot>),
    /// Slots have been left: tell everyone that this node does not own them any more, at which
    /// epoch it did.
    Release(Vec<(Slot, Epoch)>),
    /// Slots are another's already: drop them, and tell everyone, likewise.
    Lose(Vec<(Slot, Epoch)>),
    /// Tell the origin that asked which slots are left. Comes after the release.
    Answer(u64, Vec<Slot>),
}

/// A slot this node owns now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gain {
    /// Which slot.
    pub slot: Slot,
    /// At which epoch.
    pub epoch: Epoch,
    /// Why it was this node's to take.
    pub cause: Cause,
    /// Since when nobody has run it, in monotonic milliseconds: since its owner was asked to
    /// leave it, or was first seen to be silent.
    pub since: u64,
}

/// Why a slot was to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nobody ever owned it, or this node has left it and nobody has come.
    Unowned,
    /// Its owner is dead.
    Crash,
    /// It was moved from a living owner.
    Planned,
}

/// What this origin knows and has under way. See the module.
#[derive(Debug)]
pub struct Planner {
    settings: Settings,
    members: Members,
    owners: Owners,
    target: Target,
    work: Work,
    pins: Option<Vec<Pin>>,
    /// The version of the view that the pins are of, and that is being asked for.
    pins_version: Option<u64>,
    pins_asked: Option<u64>,
    version: u64,
    /// Those who have asked this node to leave slots.
    askers: Vec<Asker>,
    /// When the first beat was answered.
    joined: Option<u64>,
    actions: Vec<Action>,
}

/// Where slots should be.
#[derive(Debug, Default)]
struct Target {
    /// Of what it was computed.
    from: Option<(Vec<Candidate>, Vec<NodeId>, Vec<Pin>)>,
    nodes: Vec<Option<NodeId>>,
    /// Whether it is this node.
    is_mine: Vec<bool>,
    /// Whether it was the same in the view before: nothing is moved for what may be gone again.
    is_stable: Vec<bool>,
}

/// Somebody who has asked this node to leave slots.
#[derive(Debug)]
struct Asker {
    number: u64,
    waits_for: Vec<Slot>,
    left: Vec<Slot>,
}

// === impl Cause ===

impl Cause {
    /// For logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unowned => "unowned",
            Self::Crash => "crash",
            Self::Planned => "planned",
        }
    }
}

// === impl Target ===

impl Target {
    fn of(&self, slot: Slot) -> Option<&NodeId> {
        self.nodes.get(slot.index())?.as_ref()
    }

    fn is_mine(&self, slot: Slot) -> bool {
        self.is_mine.get(slot.index()).copied().unwrap_or(false)
    }

    fn is_stable(&self, slot: Slot) -> bool {
        self.is_stable.get(slot.index()).copied().unwrap_or(false)
    }

    /// A view has come: computes the target afresh if anything it depends on is different.
    fn update(
        &mut self,
        (candidates, nodes): (Vec<Candidate>, Vec<NodeId>),
        pins: &[Pin],
        me: &NodeId,
    ) {
        let is_same = |(old, old_nodes, old_pins): &(Vec<Candidate>, Vec<NodeId>, Vec<Pin>)| {
            *old == candidates && *old_nodes == nodes && *old_pins == pins
        };
        if self.from.as_ref().is_some_and(is_same) {
            return self.is_stable.fill(true);
        }
        let pinned: Vec<Pinned> = pins.iter().map(pinned).collect();
        let targets = ring::targets(&candidates, &pinned).into_iter();
        let targets: Vec<Option<NodeId>> = targets
            .map(|index| index.map(|index| nodes[index].clone()))
            .collect();
        self.is_stable = match self.nodes.is_empty() {
            true => vec![false; targets.len()],
            false => {
                let pairs = targets.iter().zip(&self.nodes);
                pairs.map(|(now, before)| now == before).collect()
            }
        };
        let mine = targets.iter().map(|target| target.as_ref() == Some(me));
        self.is_mine = mine.collect();
        self.nodes = targets;
        self.from = Some((candidates, nodes, pins.to_vec()));
    }
}

// === impl Planner ===

impl Planner {
    /// A planner that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            members: Members::new(
                settings.me.clone(),
                settings.name.clone(),
                settings.lease_ms,
            ),
            owners: Owners::new(),
            target: Target::default(),
            work: Work::new(),
            settings,
            pins: None,
            pins_version: None,
            pins_asked: None,
            version: 0,
            askers: Vec::new(),
            joined: None,
            actions: Vec::new(),
        }
    }

    /// Handles one event at a moment in monotonic milliseconds.
    pub fn step(&mut self, event: Event, now: u64) -> Vec<Action> {
        match event {
            Event::Beaten(view) => self.beaten(view, now),
            Event::Missed => self.members.missed(),
            Event::Owners(number, owners) => self.read(number, owners, now),
            Event::Pins(pins) => {
                let version = self.pins_asked.take();
                if let Some(pins) = pins {
                    let is_new = self.pins.as_ref() != Some(&pins);
                    self.pins = Some(pins);
                    self.pins_version = version;
                    // The view they belong to counts as the first with this target.
                    if is_new {
                        self.aim(now);
                    }
                }
            }
            Event::Taken(asked, owners) => self.taken(&asked, owners, now),
            Event::Yielded(asked, left) => self.yielded(&asked, &left, now),
            Event::Asked(number, slots) => self.asked(number, slots),
            Event::Left(slots) => self.left(slots),
            Event::Fenced(slot) => {
                // The view of owners may still say that it is ours.
                self.owners.read_soon();
                self.lose(&[slot]);
            }
            Event::Heard(owned) => self.heard(&owned),
        }
        std::mem::take(&mut self.actions)
    }

    fn beaten(&mut self, view: View, now: u64) {
        self.version = view.version;
        self.joined.get_or_insert(now);
        self.members.beaten(view, self.owners.nodes(), now);
        if self.pins_asked.is_none() && self.pins_version != Some(self.version) {
            self.pins_asked = Some(self.version);
            self.actions.push(Action::ReadPins);
        }
        if let Some(number) = self.owners.read_if_due(self.version, now) {
            self.actions.push(Action::ReadOwners(number));
        }
        self.aim(now);
        self.note_silent(now);
        self.find_work(now);
    }

    /// Looks again where slots should be.
    fn aim(&mut self, now: u64) {
        if let Some(pins) = &self.pins {
            let candidates = self.members.candidates(now);
            self.target.update(candidates, pins, &self.settings.me);
        }
    }

    fn note_silent(&mut self, now: u64) {
        let (members, work) = (&self.members, &mut self.work);
        for (slot, owner) in self.owners.all() {
            let is_silent = owner.is_none_or(|owner| members.is_silent(&owner.node));
            work.note(slot, is_silent, now);
        }
    }

    fn read(&mut self, number: u64, owners: Option<Vec<Option<Owner>>>, now: u64) {
        let me = &self.settings.me;
        let lost = self.owners.read(number, owners, me, now);
        self.lose(&lost);
        self.note_silent(now);
        self.find_work(now);
    }

    fn heard(&mut self, owned: &[Owned]) {
        let lost = self.owners.heard(owned);
        if !lost.is_empty() {
            self.owners.read_soon();
        }
        self.lose(&lost);
    }

    /// Another origin asks for slots. It gets those that should not be here by this node's view
    /// too: two who disagree must not take a slot from each other in turns.
    fn asked(&mut self, number: u64, slots: Vec<Slot>) {
        let (mut left, mut waits_for) = (Vec::new(), Vec::new());
        for slot in slots {
            match self.owners.held(slot) {
                Some(held) if held.is_leaving => {}
                Some(_) => {
                    let target = self.target.of(slot);
                    if target.is_some_and(|target| *target != self.settings.me) {
                        waits_for.push(slot);
                    }
                }
                None if self.work.is_free(slot) => left.push(slot),
                None => {}
            }
        }
        waits_for.sort_unstable();
        waits_for.dedup();
        if waits_for.is_empty() {
            return self.actions.push(Action::Answer(number, left));
        }
        for slot in &waits_for {
            self.owners.leave(*slot);
        }
        self.actions.push(Action::Leave(waits_for.clone()));
        self.askers.push(Asker {
            number,
            waits_for,
            left,
        });
    }

    fn left(&mut self, slots: Vec<Slot>) {
        let is_leaving = |slot: &Slot| self.owners.held(*slot).is_some_and(|held| held.is_leaving);
        let slots: Vec<Slot> = slots.into_iter().filter(is_leaving).collect();
        let released = self.owners.drop(&slots);
        if !released.is_empty() {
            self.actions.push(Action::Release(released));
        }
        self.tell_askers(&slots);
    }

    /// Slots are another's.
    fn lose(&mut self, slots: &[Slot]) {
        let lost = self.owners.drop(slots);
        if !lost.is_empty() {
            self.actions.push(Action::Lose(lost));
        }
        self.tell_askers(slots);
    }

    /// Slots are left, or lost: whoever waited for that may take them.
    fn tell_askers(&mut self, slots: &[Slot]) {
        for asker in &mut self.askers {
            let (gone, rest) = asker
                .waits_for
                .drain(..)
                .partition(|slot| slots.contains(slot));
            asker.waits_for = rest;
            let gone: Vec<Slot> = gone;
            asker.left.extend(gone);
        }
        let is_done = |asker: &mut Asker| asker.waits_for.is_empty();
        for asker in self.askers.extract_if(.., is_done) {
            self.actions.push(Action::Answer(asker.number, asker.left));
        }
    }
}

fn pinned(pin: &Pin) -> Pinned {
    Pinned {
        first: pin.first,
        last: pin.last,
        group: pin.group.clone(),
    }
}

/// A value for each slot.
fn each<T: Clone>(value: T) -> Vec<T> {
    vec![value; usize::from(SLOTS)]
}
