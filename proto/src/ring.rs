//! Ring: which origin each slot should belong to.
//!
//! Every origin computes the same ring from the same members, so nobody has to plan for the
//! others. Nobody routes by it: where a slot *is* says the map of owners; the difference between
//! the two is the list of what is to be moved.
//!
//! Each member has points on a ring of 2^64 places, in proportion to its weight; a slot belongs to
//! the member whose point comes next. Nobody gets more than a little above its share: what is too
//! much goes on to the next member. So one member more or less moves only about its own share.

use std::cmp::Reverse;
use std::hash::{BuildHasher, Hash, Hasher};

use hashring::HashRing;
use xxhash_rust::xxh3::xxh3_64;

use crate::slot::{SLOTS, Slot};

/// Points of a member of the usual weight. With so many the fullest has about 3 % above its share
/// before anything is evened out.
const POINTS: u64 = 512;

/// The usual weight.
pub const WEIGHT: u32 = 100;

/// A weight above this counts as this: it bounds the points.
pub const WEIGHT_MAX: u32 = 10_000;

/// Percent of its share that a member may have at most.
const BOUND_PERCENT: u128 = 105;

/// A member that may own slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name, which a restart keeps and no other has.
    pub name: Box<str>,
    /// Its share, relative to the others; 0 is none.
    pub weight: u32,
    /// Which pins it takes; may be empty.
    pub group: Box<str>,
    /// Whether it gives its slots away.
    pub is_draining: bool,
}

/// A range of slots held to a group of members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The first slot.
    pub first: Slot,
    /// The last.
    pub last: Slot,
    /// The members of this group share it, while there is one.
    pub group: Box<str>,
}

/// For each slot, in order of their numbers, which of the candidates should own it: its place in
/// `candidates`. `None` for all when there is no candidate.
///
/// Of two ranges that hold the same slot the later one counts.
pub fn targets(candidates: &[Candidate], held: &[Held]) -> Vec<Option<usize>> {
    let members = members(candidates);
    let mut targets = vec![None; usize::from(SLOTS)];
    if members.is_empty() {
        return targets;
    }
    let mut loads = vec![0; candidates.len()];
    // What is held has no choice, so it comes first; the rest evens it out.
    let mut free: Vec<Slot> = Slot::all().collect();
    for group in groups(held) {
        let own: Vec<Member<'_>> = members
            .iter()
            .filter(|member| *candidates[member.index].group == *group)
            .copied()
            .collect();
        if own.is_empty() {
            continue;
        }
        let (taken, rest) = free
            .into_iter()
            .partition(|slot| group_of(*slot, held) == Some(group));
        free = rest;
        let within = vec![0; candidates.len()];
        for (slot, index) in place(&taken, taken.len(), &own, within) {
            targets[slot.index()] = Some(index);
            loads[index] += 1;
        }
    }
    for (slot, index) in place(&free, usize::from(SLOTS), &members, loads) {
        targets[slot.index()] = Some(index);
    }
    targets
}

/// One who takes slots.
#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    index: usize,
    name: &'a str,
    weight: u32,
}

/// A point of a member on the ring.
#[derive(Debug, Clone, Copy)]
struct Point {
    place: u64,
    index: usize,
}

/// A place on the ring, as something that is looked up.
struct Place(u64);

/// The ring hashes what it is given; these are hashes already, by a function that is fixed for
/// ever, which `Hash` of the standard library is not.
#[derive(Clone)]
struct Fixed;

struct Whole(u64);

// === impl Point ===

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.place);
    }
}

// === impl Place ===

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

// === impl Fixed ===

impl BuildHasher for Fixed {
    type Hasher = Whole;

    fn build_hasher(&self) -> Whole {
        Whole(0)
    }
}

// === impl Whole ===

impl Hasher for Whole {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, place: u64) {
        self.0 = place;
    }
}

/// Those who take slots, in an order that does not depend on that of the candidates. When all
/// would give theirs away they keep them.
fn members(candidates: &[Candidate]) -> Vec<Member<'_>> {
    let is_willing = |candidate: &Candidate| !candidate.is_draining && candidate.weight > 0;
    let is_anyone = candidates.iter().any(is_willing);
    let all = candidates.iter().enumerate();
    let mut members: Vec<Member<'_>> = all
        .filter(|(_, candidate)| !is_anyone || is_willing(candidate))
        .map(|(index, candidate)| Member {
            index,
            name: &candidate.name,
            weight: candidate.weight.clamp(1, WEIGHT_MAX),
        })
        .collect();
    members.sort_by_key(|member| (member.name, Reverse(member.weight)));
    members.dedup_by_key(|member| member.name);
    members
}

/// The groups that something is held to, each once.
fn groups(held: &[Held]) -> Vec<&str> {
    let mut groups: Vec<&str> = held.iter().map(|held| &*held.group).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn group_of(slot: Slot, held: &[Held]) -> Option<&str> {
    let last = held
        .iter()
        .rfind(|held| (held.first..=held.last).contains(&slot));
    last.map(|held| &*held.group)
}

/// Gives slots to members so that none has more than the bound of its share of `total`, counting
/// what it has already.
fn place(
    slots: &[Slot],
    total: usize,
    members: &[Member<'_>],
    mut loads: Vec<usize>,
) -> Vec<(Slot, usize)> {
    let weights: u128 = members.iter().map(|member| u128::from(member.weight)).sum();
    let mut bounds = vec![0; loads.len()];
    for member in members {
        let share = total as u128 * u128::from(member.weight) * BOUND_PERCENT;
        let bound = share.div_ceil(weights * 100);
        bounds[member.index] = usize::try_from(bound).unwrap_or(usize::MAX);
    }
    let ring = ring(members);
    let mut placed = Vec::with_capacity(slots.len());
    for slot in slots {
        let mut place = place_of_slot(*slot);
        // The bounds have room for more than there is, so this ends.
        while let Some(point) = ring.get(&Place(place)) {
            if loads[point.index] < bounds[point.index] {
                loads[point.index] += 1;
                placed.push((*slot, point.index));
                break;
            }
            place = point.place.wrapping_add(1);
        }
    }
    placed
}

fn ring(members: &[Member<'_>]) -> HashRing<Point, Fixed> {
    let mut points = Vec::new();
    for member in members {
        let count = (POINTS * u64::from(member.weight)).div_ceil(u64::from(WEIGHT));
        points.extend((0..count).map(|number| Point {
            place: place_of_point(member.name, number),
            index: member.index,
        }));
    }
    let mut ring = HashRing::with_hasher(Fixed);
    // All at once: the ring sorts itself with every call.
    ring.batch_add(points);
    ring
}

fn place_of_point(name: &str, number: u64) -> u64 {
    let mut bytes = Vec::with_capacity(name.len() + 9);
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&number.to_le_bytes());
    xxh3_64(&bytes)
}

fn place_of_slot(slot: Slot) -> u64 {
    let [low, high] = slot.number().to_le_bytes();
    xxh3_64(&[b's', b'l', b'o', b't', low, high])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(number: usize, weight: u32) -> Candidate {
        Candidate {
            name: format!("origin-{number}").into(),
            weight,
            group: "".into(),
            is_draining: false,
        }
    }

    fn alike(count: usize) -> Vec<Candidate> {
        (0..count).map(|number| candidate(number, WEIGHT)).collect()
    }

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("below SLOTS")
    }

    /// By name, so that two sets of members can be compared.
    fn names<'a>(candidates: &'a [Candidate], held: &[Held]) -> Vec<&'a str> {
        let targets = targets(candidates, held).into_iter();
        targets
            .map(|index| &*candidates[index.expect("an owner")].name)
            .collect()
    }

    fn count(names: &[&str], name: &str) -> usize {
        names.iter().filter(|known| **known == name).count()
    }

    fn moved(before: &[&str], after: &[&str]) -> usize {
        let pairs = before.iter().zip(after);
        pairs.filter(|(before, after)| before != after).count()
    }

    /// Golden values: nodes of different versions must agree.
    #[test]
    fn the_ring_never_changes() {
        let candidates = alike(3);
        let names = names(&candidates, &[]);
        let some: String = names[..24].iter().map(|name| &name[7..]).collect();
        let counts = candidates.iter().map(|known| count(&names, &known.name));
        let counts: Vec<usize> = counts.collect();
        let all: String = names.iter().map(|name| &name[7..]).collect();
        let sum = xxh3_64(all.as_bytes());
        assert_eq!(some, "111102200101121202202112");
        assert_eq!(counts, [1357, 1407, 1332]);
        assert_eq!(sum, 11_454_035_123_535_689_458);
    }

    #[test]
    fn nobody_gets_what_nobody_can_take() {
        assert!(targets(&[], &[]).iter().all(Option::is_none));
        let mut candidates = alike(2);
        candidates[0].is_draining = true;
        assert_eq!(count(&names(&candidates, &[]), "origin-1"), 4096);
        candidates[1].weight = 0;
        let both = names(&candidates, &[]);
        assert!(count(&both, "origin-0") > 0 && count(&both, "origin-1") > 0);
    }

    #[test]
    fn what_is_held_goes_to_its_group_while_that_is_there() {
        let mut candidates = alike(4);
        candidates[0].group = "east".into();
        candidates[1].group = "east".into();
        let held = [Held {
            first: slot(100),
            last: slot(299),
            group: "east".into(),
        }];
        let names_held = names(&candidates, &held);
        let range = &names_held[100..300];
        let (first, second) = (count(range, "origin-0"), count(range, "origin-1"));
        assert_eq!(first + second, 200);
        assert!(first.max(second) <= 105, "{first} and {second}");
        assert!(count(&names_held, "origin-0") <= 1076);
        candidates[0].is_draining = true;
        assert_eq!(count(&names(&candidates, &held)[100..300], "origin-1"), 200);
        candidates[1].is_draining = true;
        let others = names(&candidates, &held);
        assert!(count(&others[100..300], "origin-2") > 0);
        assert_eq!(count(&others, "origin-0") + count(&others, "origin-1"), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_slot_has_an_owner_within_his_bound(
            weights in prop::collection::vec(1..300u32, 1..12),
        ) {
            let all = weights.iter().enumerate();
            let candidates: Vec<Candidate> =
                all.map(|(number, weight)| candidate(number, *weight)).collect();
            let names = names(&candidates, &[]);
            let sum: u32 = weights.iter().sum();
            for candidate in &candidates {
                let share = 4096.0 * f64::from(candidate.weight) / f64::from(sum);
                let bound = (share * 1.05).ceil() as usize + 1;
                prop_assert!(count(&names, &candidate.name) <= bound);
            }
        }

        #[test]
        fn one_more_or_less_moves_about_its_share(count in 2..16usize, gone in 0..16usize) {
            let all = alike(count);
            let mut less = all.clone();
            less.remove(gone % count);
            let moved = moved(&names(&all, &[]), &names(&less, &[]));
            let bound = 4096.0 * 1.5 / count as f64;
            prop_assert!((moved as f64) < bound, "{moved} of {bound}");
        }

        #[test]
        fn the_order_of_the_members_does_not_matter(
            order in Just((0..7usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let sorted: Vec<Candidate> =
                (0..7).map(|number| candidate(number, 40 + 20 * number as u32)).collect();
            let shuffled: Vec<Candidate> =
                order.iter().map(|number| sorted[*number].clone()).collect();
            prop_assert_eq!(names(&sorted, &[]), names(&shuffled, &[]));
        }
    }
}
