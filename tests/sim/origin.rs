//! Origin: shards, their queues, and what an origin's tasks do around them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use couplet_origin::clock::Now;
use couplet_origin::cluster::map::{Heard, OwnerMap, Way};
use couplet_origin::hooks::context::Shared;
use couplet_origin::hooks::{Ask, Asked, OnAnswer};
use couplet_origin::shard::event::{Change, Event};
use couplet_origin::shard::{Output, Shard};
use couplet_origin::store::{Batch, Error};
use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::{ConnectionId, EdgeId};
use couplet_proto::slot::{Seed, Slot};

use crate::random::Random;
use crate::store::Node;

/// The cluster's seed.
pub(crate) const SEED: Seed = Seed([7; 16]);

/// A shard with what waits for it.
pub(crate) struct ShardTask {
    pub(crate) shard: Shard,
    pub(crate) inner: VecDeque<Event>,
    pub(crate) outer: VecDeque<Event>,
    pub(crate) commit: Option<Commit>,
    pub(crate) next_tick: u64,
    /// The owners it has heard of.
    pub(crate) heard: Heard,
}

/// A commit in flight.
pub(crate) enum Commit {
    Asked(Vec<Batch>),
    /// It has ended, and the shard will hear of it.
    Ended(Vec<(Slot, Error)>),
}

/// Something that takes time and comes back.
pub(crate) enum Job {
    Load(u16, Jid),
    Sleepers(u16, Slot),
    Ask(u16, Jid, Ask, Asked, OnAnswer, Option<u64>),
    Verify(u16, Jid, EdgeId, ConnectionId),
    /// It is there, for this shard.
    Done(u16, Event),
    /// The store has made this node the owner.
    Claimed(Slot, Epoch),
}

/// An origin process.
pub(crate) struct Origin {
    pub(crate) node: Node,
    pub(crate) shards: Vec<ShardTask>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) owners: OwnerMap,
    pub(crate) is_alive: bool,
    pub(crate) is_paused: bool,
    /// It has slept, and its shards wait until it knows what it has lost: see the lease.
    pub(crate) is_uncertain: bool,
    /// When it was paused or killed.
    pub(crate) since: u64,
    pub(crate) next_edge: u32,
    pub(crate) next_peer: u32,
    /// The owners as it last read them.
    pub(crate) view: BTreeMap<Slot, Option<(Epoch, Node)>>,
    /// The highest epoch that it has seen of each slot.
    pub(crate) seen: BTreeMap<Slot, Epoch>,
    /// Slots it has been asked to leave, for whom.
    pub(crate) leaving: Vec<(Slot, Node, tokio::sync::oneshot::Receiver<()>)>,
    /// What it claims has not been answered.
    pub(crate) claiming: Vec<Slot>,
}

// === impl ShardTask ===

impl ShardTask {
    pub(crate) fn has_events(&self) -> bool {
        !self.inner.is_empty() || !self.outer.is_empty()
    }

    /// Whether nothing waits but the passing of time.
    pub(crate) fn only_ticks(&self) -> bool {
        self.inner.is_empty() && self.outer.iter().all(|event| matches!(event, Event::Tick))
    }

    /// Runs some of what waits; the inner queue goes first, as in the actor.
    pub(crate) fn round(&mut self, count: usize, owners: &OwnerMap, now: Now) {
        for done in 0..count {
            // As in the actor: what was sent so far goes the old way.
            if done > 0 && matches!(self.inner.front(), Some(Event::Rerouted(_))) {
                break;
            }
            let event = self.inner.pop_front().or_else(|| self.outer.pop_front());
            let Some(event) = event else { break };
            if let Event::Rerouted(slots) = &event {
                self.heard.hear(slots, owners);
            }
            self.shard.step(event, now);
        }
        self.shard.flush();
    }
}

// === impl Origin ===

impl Origin {
    pub(crate) fn new(node: Node, shards: u16, shared: &Arc<Shared>, random: &mut Random) -> Self {
        let task = |id: u16, random: &mut Random| {
            let mut seed = [0; 32];
            for chunk in seed.chunks_mut(8) {
                chunk.copy_from_slice(&random.next().to_le_bytes());
            }
            ShardTask {
                shard: Shard::new(id, shards, SEED, shared.clone(), seed),
                inner: VecDeque::new(),
                outer: VecDeque::new(),
                commit: None,
                next_tick: 0,
                heard: Heard::new(&OwnerMap::new()),
            }
        };
        Self {
            node,
            shards: (0..shards).map(|id| task(id, random)).collect(),
            jobs: Vec::new(),
            owners: OwnerMap::new(),
            is_alive: true,
            is_paused: false,
            is_uncertain: false,
            since: 0,
            next_edge: 0,
            next_peer: 0,
            view: BTreeMap::new(),
            seen: BTreeMap::new(),
            leaving: Vec::new(),
            claiming: Vec::new(),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.is_alive && !self.is_paused
    }

    pub(crate) fn shard_of(&self, slot: Slot) -> usize {
        slot.index() % self.shards.len()
    }

    pub(crate) fn inner(&mut self, shard: usize, event: Event) {
        self.shards[shard].inner.push_back(event);
    }

    /// The epoch at which it owns a slot, as far as it knows.
    pub(crate) fn owns(&self, slot: Slot) -> Option<Epoch> {
        match self.owners.way(slot) {
            Way::Here(epoch) => Some(epoch),
            Way::Peer(..) | Way::Nowhere(_) => None,
        }
    }

    /// Notes an epoch of a slot; the highest it has seen.
    pub(crate) fn see(&mut self, slot: Slot, epoch: Option<Epoch>) -> Epoch {
        let seen = self.seen.entry(slot).or_default();
        *seen = epoch.unwrap_or_default().max(*seen);
        *seen
    }

    /// Notes where a slot's owner is; true when that is new. Shards hear of it.
    pub(crate) fn learn(&mut self, slot: Slot, way: Way, tells: bool) -> bool {
        let is_new = self.owners.learn(slot, way);
        if is_new && tells {
            self.rerouted(&[slot]);
        }
        is_new
    }

    pub(crate) fn rerouted(&mut self, slots: &[Slot]) {
        let slots: Arc<[Slot]> = slots.into();
        for task in &mut self.shards {
            task.inner.push_back(Event::Rerouted(slots.clone()));
        }
    }

    pub(crate) fn tenure(&mut self, slot: Slot, change: Change) {
        let shard = self.shard_of(slot);
        self.inner(shard, Event::Tenure(slot, change));
    }

    /// What a shard has asked for since the last time.
    pub(crate) fn outputs(&mut self, shard: usize) -> Vec<Output> {
        std::mem::take(self.shards[shard].shard.outputs())
    }

    /// Whether nothing waits or is under way in it.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
            && self.leaving.is_empty()
            && self.claiming.is_empty()
            && self
                .shards
                .iter()
                .all(|task| task.only_ticks() && !task.shard.is_committing())
    }

    /// It dies: its memory is gone.
    pub(crate) fn kill(&mut self, now: u64) {
        self.is_alive = false;
        self.is_paused = false;
        self.since = now;
        self.shards.clear();
        self.jobs.clear();
        self.leaving.clear();
        self.claiming.clear();
    }
}
