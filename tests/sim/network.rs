//! Network: links between edges and origins, and between origins. Each direction is a queue; a link
//! that is cut loses what is in it, and its ends notice one after the other.

use std::collections::VecDeque;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::id::{EdgeId, PeerId};
use couplet_proto::link::peer::{Forward, Owned, Settled};
use couplet_proto::slot::Slot;

use crate::store::Node;

/// From an origin to an edge.
#[derive(Debug)]
pub(crate) enum Down {
    Frame(Frame<ToEdge>),
    Owned(Owned),
}

/// From a called origin to its caller.
#[derive(Debug)]
pub(crate) enum Back {
    Settled(Settled),
    Owned(Owned),
}

/// A link between an edge and an origin. What goes up waits at the edge.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Never the same for two lanes of a world.
    pub(crate) id: u64,
    pub(crate) edge: usize,
    pub(crate) origin: Node,
    /// What the origin calls it.
    pub(crate) edge_id: EdgeId,
    pub(crate) down: VecDeque<Down>,
    /// What of it has been accepted, by number, and is on its way up: whether it was refused.
    pub(crate) accepted: VecDeque<bool>,
    /// Epochs at which something was refused, likewise; told first.
    pub(crate) refused: Vec<(Slot, Epoch)>,
    /// What the origin has sent and has not heard of: the shard, and its debt.
    pub(crate) owed: VecDeque<(u16, Option<u64>)>,
    pub(crate) is_cut: bool,
    pub(crate) edge_knows: bool,
    pub(crate) origin_knows: bool,
}

/// A link from one origin to another.
#[derive(Debug)]
pub(crate) struct PeerLink {
    pub(crate) from: Node,
    pub(crate) to: Node,
    /// What its ends call it.
    pub(crate) id_at_from: PeerId,
    pub(crate) id_at_to: PeerId,
    pub(crate) forward: VecDeque<Forward>,
    pub(crate) back: VecDeque<Back>,
    pub(crate) is_cut: bool,
    pub(crate) from_knows: bool,
    pub(crate) to_knows: bool,
}

// === impl Lane ===

impl Lane {
    pub(crate) fn cut(&mut self) {
        self.is_cut = true;
        self.down.clear();
        self.accepted.clear();
        self.refused.clear();
    }
}

// === impl PeerLink ===

impl PeerLink {
    pub(crate) fn cut(&mut self) {
        self.is_cut = true;
        self.forward.clear();
        self.back.clear();
    }
}

pub(crate) fn owned(slot: Slot, epoch: Epoch, is_owner: bool) -> Owned {
    Owned {
        slot,
        epoch,
        is_owner,
    }
}
