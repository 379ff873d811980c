//! Link: frames from and to edges.
//!
//! An attached edge gets an id. What it says enters the mailbox of the slot's shard; what the
//! shards say to it goes through its [`Lane`].
//!
//! - [`remote`]: the links to other processes, from first to last.
//! - `service`: who may call, and the lanes that come of it.
//! - `call`: this origin's lanes to the others.
//! - `inbound`: what callers say becomes events of the shards.
//! - `outbound`: what waits for one lane of an edge, and what is owed when the edge has it.
//! - `answers`: what another origin that calls is told.
//! - `node`: what every lane needs to know.
//! - [`local`]: the link of an edge in the same process.

pub(crate) mod remote;

mod service;

mod call;

mod inbound;

mod outbound;

mod answers;

mod node;

mod local;

#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};

use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::id::{EdgeId, NodeId};
use couplet_proto::slot::Slot;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

pub(crate) use self::local::{InProcess, Local};

/// One shard's debts that are paid when an edge has what it was sent: see
/// [`crate::shard::Event::Accepted`].
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// Which shard.
    pub(crate) shard: u16,
    /// Its names for them.
    pub(crate) debts: Vec<u64>,
}

/// The way to one edge; an edge in another process has several, each for a part of the slots.
pub(crate) trait Lane: Send + Sync + 'static {
    /// Whether frames of this slot go this way.
    fn carries(&self, slot: Slot) -> bool;

    /// Hands over frames in order, leaving `frames` empty. Never waits: a lane with too much in
    /// it is cut.
    ///
    /// True when the edge has them already. Otherwise what is `owed` is the lane's now: it tells
    /// the shard by `Accepted` when the edge has said so, or gives it back with `EdgeGone`.
    fn send(&self, frames: &mut Vec<Frame<ToEdge>>, owed: &mut Owed) -> bool;

    /// Tells the edge again who owns this slot, as far as this node knows: it thought otherwise.
    fn moved(&self, slot: Slot);

    /// Other rules are up: the edge is to be told.
    fn tell_rules(&self);
}

/// The edges attached to this origin, by id.
#[derive(Default)]
pub(crate) struct Edges {
    attached: RwLock<Attached>,
}

#[derive(Default)]
struct Attached {
    next: u32,
    lanes: HashMap<EdgeId, Arc<dyn Lane>, FixedState>,
    /// For operators.
    names: HashMap<EdgeId, NodeId, FixedState>,
}

// === impl Edges ===

impl Edges {
    /// Gives a lane its id.
    pub(crate) fn attach(&self, lane: Arc<dyn Lane>) -> EdgeId {
        let mut attached = self
            .attached
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let id = EdgeId(attached.next);
        attached.next += 1;
        attached.lanes.insert(id, lane);
        id
    }

    /// Notes which edge a lane belongs to, for operators.
    pub(crate) fn note(&self, id: EdgeId, name: NodeId) {
        let mut attached = self
            .attached
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // It may have ended already.
        if attached.lanes.contains_key(&id) {
            attached.names.insert(id, name);
        }
    }

    /// Forgets a lane that has ended.
    pub(crate) fn remove(&self, id: EdgeId) {
        let mut attached = self
            .attached
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let lane = attached.lanes.remove(&id);
        attached.names.remove(&id);
        drop(attached);
        drop(lane);
    }

    /// The lanes that carry a slot: one for each edge.
    pub(crate) fn of(&self, slot: Slot) -> Vec<EdgeId> {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        let lanes = attached.lanes.iter();
        let mut lanes: Vec<EdgeId> = lanes
            .filter(|(_, lane)| lane.carries(slot))
            .map(|(id, _)| *id)
            .collect();
        lanes.sort_unstable();
        lanes
    }

    /// Tells an edge again who owns a slot; see [`Lane::moved`].
    pub(crate) fn moved(&self, edge: EdgeId, slot: Slot) {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        let known = attached.lanes.get(&edge).cloned();
        drop(attached);
        if let Some(lane) = known {
            lane.moved(slot);
        }
    }

    /// Tells every edge that other rules are up.
    pub(crate) fn ruled(&self) {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        let lanes: Vec<_> = attached.lanes.values().cloned().collect();
        drop(attached);
        lanes.iter().for_each(|lane| lane.tell_rules());
    }

    /// The name of an edge, if it is still attached.
    pub(crate) fn name(&self, edge: EdgeId) -> Option<String> {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        attached.names.get(&edge).map(ToString::to_string)
    }

    /// Hands frames to a lane; see [`Lane::send`]. To one that is gone they are lost, and what is
    /// owed stays with the caller: false, with `owed` as it was.
    pub(crate) fn send(
        &self,
        edge: EdgeId,
        frames: &mut Vec<Frame<ToEdge>>,
        owed: &mut Owed,
    ) -> bool {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        let known = attached.lanes.get(&edge).cloned();
        drop(attached);
        match known {
            Some(lane) => lane.send(frames, owed),
            None => false,
        }
    }
}
