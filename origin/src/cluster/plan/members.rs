//! Who is there, and who is dead.
//!
//! A member is dead when its lease has run out by the store's clock, this node has been in contact
//! with the store for as long as a lease lasts, and it was seen so by two beats in a row. Without
//! the second, everyone would look dead after the store was away.
//!
//! A predecessor of this node, of the same name, is dead as soon as it is seen not to renew its
//! lease: a name is one process at a time, and whoever restarts it must not wait for himself.

use couplet_proto::link::id::NodeId;
use couplet_proto::ring::Candidate;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::store::{Member, View};

/// Contact with the store is broken when it was silent for longer, in milliseconds.
const GAP_MS: u64 = 2000;

/// In how many beats in a row a dead member has been silent.
const SILENT_BEATS: u32 = 2;

/// In how many beats in a row a dead predecessor has not renewed its lease.
const STALE_BEATS: u32 = 3;

/// How much later a lease ends that was renewed, in milliseconds. A beat adds half a second.
const RENEWED_MS: u64 = 100;

/// For how long there has been contact before one who is not in the view at all, having left or
/// being long forgotten, is dead; in milliseconds.
const LEFT_MS: u64 = 1500;

/// The members as the beats show them.
#[derive(Debug)]
pub(super) struct Members {
    me: NodeId,
    name: Box<str>,
    lease_ms: u64,
    /// Since when every beat was answered.
    contact_since: Option<u64>,
    last: Option<u64>,
    seen: HashMap<NodeId, Seen, FixedState>,
    view: Vec<(Member, i64)>,
    /// Who was there in the last view, and since when it has been the same.
    alive: Vec<NodeId>,
    stable_since: u64,
}

/// One member, or former member, as the beats show it.
#[derive(Debug, Default)]
struct Seen {
    /// How many beats in a row have seen its lease at its end, or not at all.
    silent: u32,
    /// How many beats in a row have not seen it renewed.
    stale: u32,
    /// When its lease ends, by our clock.
    ends: u64,
    is_in_view: bool,
    is_namesake: bool,
}

// === impl Members ===

impl Members {
    pub(super) fn new(me: NodeId, name: Box<str>, lease_ms: u64) -> Self {
        Self {
            me,
            name,
            lease_ms,
            contact_since: None,
            last: None,
            seen: HashMap::default(),
            view: Vec::new(),
            alive: Vec::new(),
            stable_since: 0,
        }
    }

    /// A beat was answered. `owners` are those who own anything.
    pub(super) fn beaten(&mut self, view: View, owners: Vec<NodeId>, now: u64) {
        let is_broken = self
            .last
            .is_none_or(|last| now.saturating_sub(last) > GAP_MS);
        if is_broken || self.contact_since.is_none() {
            self.contact_since = Some(now);
        }
        self.last = Some(now);
        self.seen
            .values_mut()
            .for_each(|seen| seen.is_in_view = false);
        for (member, left) in &view.members {
            let seen = self.seen.entry(member.node.clone()).or_default();
            let ends = now.saturating_add_signed(*left);
            seen.silent = if *left > 0 { 0 } else { seen.silent + 1 };
            seen.stale = match ends > seen.ends + RENEWED_MS {
                true => 0,
                false => seen.stale + 1,
            };
            seen.ends = ends;
            seen.is_in_view = true;
            seen.is_namesake = member.name == self.name && member.node != self.me;
        }
        self.seen
            .retain(|node, seen| seen.is_in_view || owners.contains(node));
        for node in owners {
            let seen = self.seen.entry(node).or_default();
            if !seen.is_in_view {
                seen.silent += 1;
            }
        }
        self.view = view.members;
        let alive = self.view.iter().filter(|(_, left)| *left > 0);
        let alive: Vec<NodeId> = alive.map(|(member, _)| member.node.clone()).collect();
        if alive != self.alive {
            self.alive = alive;
            self.stable_since = now;
        }
    }

    /// A beat was not answered.
    pub(super) fn missed(&mut self) {
        self.contact_since = None;
    }

    /// For how long every beat has been answered.
    pub(super) fn contact_ms(&self, now: u64) -> Option<u64> {
        let last = self.last?;
        let since = self.contact_since?;
        (now.saturating_sub(last) <= GAP_MS).then(|| now.saturating_sub(since))
    }

    /// For how long the same members have been there.
    pub(super) fn stable_ms(&self, now: u64) -> u64 {
        now.saturating_sub(self.stable_since)
    }

    /// Whether a member looks dead, for the time being or for good.
    pub(super) fn is_silent(&self, node: &NodeId) -> bool {
        self.seen.get(node).is_none_or(|seen| seen.silent > 0)
    }

    /// Whether a member is dead.
    pub(super) fn is_dead(&self, node: &NodeId, now: u64) -> bool {
        if *node == self.me {
            return false;
        }
        let (Some(contact), Some(seen)) = (self.contact_ms(now), self.seen.get(node)) else {
            return false;
        };
        let enough = match (seen.is_in_view, seen.is_namesake) {
            (true, true) => 0,
            (true, false) => self.lease_ms,
            (false, _) => LEFT_MS,
        };
        let is_expired = seen.silent >= SILENT_BEATS && contact >= enough;
        is_expired || (seen.is_namesake && seen.is_in_view && seen.stale >= STALE_BEATS)
    }

    /// Those among whom the slots are to be shared, and which process each is.
    ///
    /// While contact is too short to tell who is dead everyone who is known counts.
    pub(super) fn candidates(&self, now: u64) -> (Vec<Candidate>, Vec<NodeId>) {
        let is_trusted = self.contact_ms(now).is_some_and(|ms| ms >= self.lease_ms);
        let there = self
            .view
            .iter()
            .filter(|(_, left)| *left > 0 || !is_trusted);
        let mut there: Vec<&(Member, i64)> = there.collect();
        // A restarted member and its predecessor have one name: the one that goes on renewing its
        // lease is meant.
        there.sort_by(|(a, a_left), (b, b_left)| {
            let by_name = a.name.cmp(&b.name);
            by_name.then(b_left.cmp(a_left)).then(a.node.cmp(&b.node))
        });
        there.dedup_by(|(a, _), (b, _)| a.name == b.name);
        let candidates = there.iter().map(|(member, _)| Candidate {
            name: member.name.clone(),
            weight: member.weight,
            group: member.group.clone(),
            is_draining: member.is_draining,
        });
        let nodes = there.iter().map(|(member, _)| member.node.clone());
        (candidates.collect(), nodes.collect())
    }

    /// Whether a member is about to leave.
    pub(super) fn is_draining(&self, node: &NodeId) -> bool {
        let mut all = self.view.iter();
        all.any(|(member, _)| member.node == *node && member.is_draining)
    }

    /// Whether another member is there who takes slots.
    pub(super) fn has_others(&self) -> bool {
        let mut all = self.view.iter();
        all.any(|(member, left)| {
            *left > 0 && member.node != self.me && !member.is_draining && member.weight > 0
        })
    }

    /// Whether another living process has this node's name: a mistake in its configuration.
    pub(super) fn has_namesake(&self) -> bool {
        let mut all = self.seen.values();
        all.any(|seen| seen.is_namesake && seen.silent == 0 && seen.stale == 0 && seen.ends > 0)
    }

    /// The last view.
    pub(super) fn view(&self) -> &[(Member, i64)] {
        &self.view
    }
}
