//! Planners of several nodes and the world they plan for, without I/O: beats come every half
//! second, answers at once.

mod joining;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::NodeId;
use couplet_proto::link::peer::Owned;
use couplet_proto::slot::Slot;

use super::{Action, Cause, Event, Planner, Settings};
use crate::cluster::tests::model::World;
use crate::store::{Member, Pin};

const BEAT_MS: u64 = 500;

const LEASE_MS: u64 = 4000;

/// A cluster.
struct Sim {
    world: World,
    nodes: BTreeMap<NodeId, Simulated>,
    /// What was taken from whom: in all.
    causes: Vec<Cause>,
    /// For those who start from now on.
    join_wait_ms: u64,
}

struct Simulated {
    planner: Planner,
    member: Member,
    held: BTreeMap<Slot, Epoch>,
    /// It does nothing at all.
    is_stopped: bool,
    /// It cannot reach the store.
    is_cut: bool,
}

// === impl Sim ===

impl Sim {
    fn new(names: &[&str]) -> Self {
        let mut sim = Self {
            world: World::new(),
            nodes: BTreeMap::new(),
            causes: Vec::new(),
            join_wait_ms: 0,
        };
        names.iter().for_each(|name| drop(sim.start(name, 1)));
        sim
    }

    fn start(&mut self, name: &str, process: u32) -> NodeId {
        let node = NodeId(format!("{name}/{process}").into());
        let planner = Planner::new(Settings {
            me: node.clone(),
            name: name.into(),
            lease_ms: LEASE_MS,
            moves_max: 32,
            join_wait_ms: self.join_wait_ms,
        });
        let member = Member {
            node: node.clone(),
            name: name.into(),
            address: "".into(),
            weight: 100,
            group: "".into(),
            is_draining: false,
        };
        let simulated = Simulated {
            planner,
            member,
            held: BTreeMap::new(),
            is_stopped: false,
            is_cut: false,
        };
        self.nodes.insert(node.clone(), simulated);
        node
    }

    fn node(&mut self, node: &str) -> &mut Simulated {
        let node = NodeId(node.into());
        self.nodes.get_mut(&node).expect("a node")
    }

    /// Everyone beats once.
    fn beat(&mut self) {
        self.world.now += BEAT_MS;
        let nodes: Vec<NodeId> = self.nodes.keys().cloned().collect();
        for node in nodes {
            let simulated = &self.nodes[&node];
            if simulated.is_stopped {
                continue;
            }
            let event = match self.world.is_away || simulated.is_cut {
                true => Event::Missed,
                false => Event::Beaten(self.world.beat(&simulated.member, LEASE_MS)),
            };
            self.give(&node, event);
        }
        let mut all = BTreeSet::new();
        for (slot, epoch) in self.nodes.values().flat_map(|node| &node.held) {
            assert!(all.insert((slot, epoch)), "{slot} is held twice at {epoch}");
        }
    }

    fn beat_for(&mut self, millis: u64) {
        (0..millis / BEAT_MS).for_each(|_| self.beat());
    }

    /// Gives a node an event, and everyone what comes of it.
    fn give(&mut self, node: &NodeId, event: Event) {
        let mut events = VecDeque::from([(node.clone(), event)]);
        let mut askers: BTreeMap<u64, (NodeId, Vec<Slot>)> = BTreeMap::new();
        while let Some((node, event)) = events.pop_front() {
            let now = self.world.now;
            let Some(simulated) = self.nodes.get_mut(&node) else {
                continue;
            };
            for action in simulated.planner.step(event, now) {
                let is_cut = self.world.is_away || self.nodes[&node].is_cut;
                let answer = match action {
                    Action::ReadOwners(number) => {
                        let owners = (!is_cut).then(|| self.world.owners.clone());
                        Event::Owners(number, owners)
                    }
                    Action::ReadPins => Event::Pins((!is_cut).then(|| self.world.pins.clone())),
                    Action::Take(slots) => {
                        let asked = slots.iter().map(|(slot, _)| *slot).collect();
                        let taken = (!is_cut).then(|| self.world.take(&node, slots));
                        Event::Taken(asked, taken)
                    }
                    Action::Ask(other, slots) => {
                        let is_there = self.nodes.get(&other).is_some_and(|it| !it.is_stopped);
                        if is_there {
                            let number = askers.len() as u64;
                            askers.insert(number, (node.clone(), slots.clone()));
                            events.push_back((other, Event::Asked(number, slots)));
                            continue;
                        }
                        Event::Yielded(slots, Vec::new())
                    }
                    Action::Own(gains) => {
                        let simulated = self.nodes.get_mut(&node).expect("it is there");
                        for gain in &gains {
                            simulated.held.insert(gain.slot, gain.epoch);
                            self.causes.push(gain.cause);
                        }
                        continue;
                    }
                    Action::Leave(slots) => Event::Left(slots),
                    Action::Release(slots) | Action::Lose(slots) => {
                        let simulated = self.nodes.get_mut(&node).expect("it is there");
                        for (slot, epoch) in slots {
                            assert_eq!(simulated.held.remove(&slot), Some(epoch));
                        }
                        continue;
                    }
                    Action::Answer(number, left) => {
                        let (asker, asked) = askers.remove(&number).expect("it was asked");
                        events.push_back((asker, Event::Yielded(asked, left)));
                        continue;
                    }
                };
                events.push_back((node.clone(), answer));
            }
        }
    }

    fn held(&self, node: &str) -> usize {
        self.nodes[&NodeId(node.into())].held.len()
    }

    /// Everything is held, once, by those that live.
    fn check(&self) {
        let living = self.nodes.values().filter(|node| !node.is_stopped);
        let held: usize = living.map(|node| node.held.len()).sum();
        assert_eq!(held, 4096);
    }

    fn count(&self, cause: Cause) -> usize {
        self.causes.iter().filter(|known| **known == cause).count()
    }
}

#[test]
fn those_who_start_together_share_from_the_start() {
    let mut sim = Sim::new(&["a", "b", "c"]);
    sim.beat_for(1500);
    assert_eq!(
        sim.world.count(&NodeId("a/1".into())),
        0,
        "too early to share"
    );
    sim.beat_for(1000);
    sim.check();
    assert_eq!(sim.count(Cause::Unowned), 4096);
    assert!(
        ["a/1", "b/1", "c/1"]
            .iter()
            .all(|node| sim.held(node) > 1200)
    );
    sim.beat();
    let standing = sim.node("a/1").planner.standing(3000);
    assert!(standing.is_settled && standing.has_others);
    assert_eq!((standing.wanted, standing.unowned), (standing.held, 0));
    sim.beat_for(60_000);
    assert_eq!(sim.causes.len(), 4096);
}

#[test]
fn a_crash_is_healed_within_five_seconds() {
    let mut sim = Sim::new(&["a", "b", "c"]);
    sim.beat_for(5000);
    let lost = sim.held("c/1");
    sim.node("c/1").is_stopped = true;
    sim.beat_for(4000);
    assert_eq!(sim.count(Cause::Crash), 0, "its lease still lasts");
    sim.beat_for(1000);
    sim.check();
    assert_eq!(sim.count(Cause::Crash), lost);
    // To even out what is left.
    assert!(sim.count(Cause::Planned) < 100);
}

#[test]
fn one_that_starts_again_under_its_name_takes_what_it_had() {
    for away_ms in [0, 500, 1500, 3500, 4000, 4500] {
        let mut sim = Sim::new(&["a", "b", "c"]);
        sim.beat_for(5000);
        let lost: Vec<Slot> = sim.node("c/1").held.keys().copied().collect();
        sim.node("c/1").is_stopped = true;
        sim.beat_for(away_ms);
        sim.start("c", 2);
        sim.beat_for(5500 - away_ms);
        sim.check();
        if away_ms >= LEASE_MS {
            // The others have been quicker, and give them back.
            sim.beat_for(1500);
        }
        let again: Vec<Slot> = sim.node("c/2").held.keys().copied().collect();
        assert_eq!(lost, again, "after {away_ms}");
        if away_ms < LEASE_MS {
            assert_eq!(sim.count(Cause::Planned), 0);
        }
    }
}

#[test]
fn when_the_store_was_away_nobody_is_taken_for_dead() {
    let mut sim = Sim::new(&["a", "b", "c"]);
    sim.beat_for(5000);
    for away_ms in [500, 4000, 20_000] {
        sim.world.is_away = true;
        sim.beat_for(away_ms);
        sim.world.is_away = false;
        // One comes back later than the others.
        sim.node("c/1").is_cut = true;
        sim.beat_for(1500);
        sim.node("c/1").is_cut = false;
        sim.beat_for(10_000);
        sim.check();
        assert_eq!(sim.causes.len(), 4096, "nothing has moved");
    }
}

#[test]
fn one_cut_off_from_the_store_loses_its_slots_and_learns_of_it() {
    let mut sim = Sim::new(&["a", "b", "c"]);
    sim.beat_for(5000);
    let before = sim.held("c/1");
    sim.node("c/1").is_cut = true;
    sim.beat_for(5000);
    assert_eq!(sim.held("a/1") + sim.held("b/1"), 4096);
    assert_eq!(sim.held("c/1"), before, "it cannot know");
    // A peer tells it of one slot, the store of all others when it is back.
    let (slot, epoch) = (*sim.node("c/1").held.keys().next().expect("one"), Epoch(2));
    let owned = Owned {
        slot,
        epoch,
        is_owner: true,
    };
    sim.give(&NodeId("c/1".into()), Event::Heard(vec![owned]));
    assert_eq!(sim.held("c/1"), before - 1);
    sim.node("c/1").is_cut = false;
    sim.beat();
    assert_eq!(sim.held("c/1"), 0);
    sim.beat_for(5000);
    sim.check();
    assert_eq!(sim.held("c/1"), before);
}

#[test]
fn a_new_member_gets_its_share_a_few_at_a_time() {
    let mut sim = Sim::new(&["a", "b"]);
    sim.beat_for(5000);
    sim.start("c", 1);
    let now = sim.world.now;
    sim.world.now += BEAT_MS;
    let view = sim
        .world
        .beat(&sim.nodes[&NodeId("c/1".into())].member.clone(), LEASE_MS);
    let c = &mut sim.node("c/1").planner;
    c.step(Event::Beaten(view.clone()), now);
    c.step(Event::Pins(Some(Vec::new())), now);
    let owners = sim.world.owners.clone();
    let c = &mut sim.node("c/1").planner;
    c.step(Event::Owners(1, Some(owners)), now);
    let asked = c.step(Event::Beaten(view), now);
    let count = |action: &Action| match action {
        Action::Ask(_, slots) => slots.len(),
        _ => 0,
    };
    assert_eq!(asked.iter().map(count).sum::<usize>(), 32, "{asked:?}");
    assert_eq!(c.standing(now).moving, 32);

    let mut sim = Sim::new(&["a", "b"]);
    sim.beat_for(5000);
    sim.start("c", 1);
    sim.beat_for(3000);
    sim.check();
    let (share, moved) = (sim.held("c/1"), sim.count(Cause::Planned));
    assert!(share > 1200 && (share..share + 100).contains(&moved));
}

#[test]
fn what_is_asked_for_by_mistake_is_not_left() {
    let mut sim = Sim::new(&["a", "b"]);
    sim.beat_for(5000);
    let slot = *sim.node("a/1").held.keys().next().expect("one");
    let actions = sim
        .node("a/1")
        .planner
        .step(Event::Asked(7, vec![slot]), 5000);
    assert_eq!(actions, [Action::Answer(7, vec![])]);
    // What it does not have it does not keep back.
    let other = *sim.node("b/1").held.keys().next().expect("one");
    let actions = sim
        .node("a/1")
        .planner
        .step(Event::Asked(8, vec![other]), 5000);
    assert_eq!(actions, [Action::Answer(8, vec![other])]);
}

#[test]
fn nothing_moves_for_one_who_comes_and_goes() {
    let mut sim = Sim::new(&["a", "b"]);
    sim.beat_for(5000);
    for process in 1..10 {
        let c = sim.start("c", process);
        sim.beat();
        // The others see it once.
        sim.nodes.get_mut(&c).expect("a node").is_stopped = true;
        sim.beat();
        sim.nodes.remove(&c);
        sim.world.leave(&c);
        sim.beat();
    }
    assert_eq!(sim.causes.len(), 4096);
    sim.check();
}

#[test]
fn a_draining_member_gives_everything_away() {
    let mut sim = Sim::new(&["a", "b", "c"]);
    sim.beat_for(5000);
    let before = sim.held("a/1");
    sim.node("a/1").member.is_draining = true;
    sim.beat_for(3000);
    sim.check();
    assert_eq!(sim.held("a/1"), 0);
    assert_eq!(sim.count(Cause::Planned), before);
    // The last two keep what they have, for there is nobody else.
    sim.nodes.remove(&NodeId("a/1".into()));
    sim.world.leave(&NodeId("a/1".into()));
    sim.node("b/1").member.is_draining = true;
    sim.node("c/1").member.is_draining = true;
    sim.beat_for(5000);
    sim.check();
    let standing = sim.node("b/1").planner.standing(20_000);
    assert!(standing.held > 1200 && !standing.has_others);
}

#[test]
fn pins_move_slots_to_their_group() {
    let mut sim = Sim::new(&["a", "b", "c"]);
    sim.node("c/1").member.group = "east".into();
    sim.beat_for(5000);
    let slot = |number| Slot::new(number).expect("below SLOTS");
    sim.world.pins = vec![Pin {
        first: slot(0),
        last: slot(99),
        group: "east".into(),
    }];
    sim.world.version += 1;
    sim.beat_for(4000);
    sim.check();
    let held = &sim.node("c/1").held;
    assert!((0..100).all(|number| held.contains_key(&slot(number))));
    // Without its group a range is everyone's.
    sim.node("c/1").is_stopped = true;
    sim.beat_for(5500);
    sim.check();
}

#[test]
fn a_slot_left_for_one_who_never_came_is_taken_back() {
    let mut sim = Sim::new(&["a", "b"]);
    sim.beat_for(5000);
    sim.start("c", 1);
    sim.beat();
    sim.node("c/1").is_stopped = true;
    sim.beat();
    let wanted = sim.node("a/1").planner.slots().into_iter().find(|slot| {
        let target = slot
            .target
            .as_ref()
            .is_some_and(|target| *target.0 == *"c/1");
        target
            && slot
                .owner
                .as_ref()
                .is_some_and(|owner| *owner.node.0 == *"a/1")
    });
    let slot = wanted.expect("one that moves").slot;
    let a = NodeId("a/1".into());
    let actions = sim
        .node("a/1")
        .planner
        .step(Event::Asked(1, vec![slot]), 5500);
    assert_eq!(actions, [Action::Leave(vec![slot])]);
    let actions = sim.node("a/1").planner.step(Event::Left(vec![slot]), 5500);
    let released = Action::Release(vec![(slot, Epoch(1))]);
    assert_eq!(actions, [released, Action::Answer(1, vec![slot])]);
    sim.node("a/1").held.remove(&slot);
    sim.nodes.remove(&NodeId("c/1".into()));
    sim.world.leave(&NodeId("c/1".into()));
    sim.beat_for(2000);
    sim.check();
    assert_eq!(sim.nodes[&a].held.get(&slot), Some(&Epoch(2)));
}

#[test]
fn a_claim_without_an_answer_is_made_again() {
    let mut sim = Sim::new(&["a"]);
    sim.beat_for(2000);
    let a = NodeId("a/1".into());
    let fresh = Sim::new(&["a"]);
    let mut planner = fresh.nodes.into_values().next().expect("one").planner;
    let view = sim.world.beat(&sim.nodes[&a].member.clone(), LEASE_MS);
    let empty = || Some(World::new().owners);
    planner.step(Event::Beaten(view.clone()), 0);
    planner.step(Event::Pins(Some(Vec::new())), 0);
    planner.step(Event::Owners(1, empty()), 0);
    planner.step(Event::Beaten(view.clone()), 500);
    let takes = planner.step(Event::Beaten(view.clone()), 1500);
    let Some(Action::Take(slots)) = takes.first() else {
        panic!("{takes:?}");
    };
    assert_eq!(slots.len(), 512);
    let asked: Vec<Slot> = slots.iter().map(|(slot, _)| *slot).collect();
    // It was done, but the answer is lost.
    let mut world = World::new();
    world.take(&a, slots.clone());
    assert_eq!(planner.step(Event::Taken(asked.clone(), None), 1600), []);
    let mut actions = planner.step(Event::Beaten(view), 2000);
    let Some(Action::ReadOwners(number)) = actions.first() else {
        panic!("{actions:?}");
    };
    let read = Event::Owners(*number, Some(world.owners.clone()));
    actions.extend(planner.step(read, 2000));
    // What it asks for first it has already, at an epoch at which it never began.
    for _ in 0..2 {
        let claim = actions.iter().find_map(|action| match action {
            Action::Take(slots) => Some(slots.clone()),
            _ => None,
        });
        let taken = world.take(&a, claim.expect("a claim"));
        actions = planner.step(Event::Taken(asked.clone(), Some(taken)), 2100);
    }
    let Some(Action::Own(gains)) = actions.first() else {
        panic!("{actions:?}");
    };
    assert_eq!(gains.len(), asked.len());
    assert!(gains.iter().all(|gain| gain.epoch == Epoch(2)));
}
