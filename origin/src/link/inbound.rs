//! Inbound: what callers say becomes events of the shards.

use std::sync::Arc;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::{EdgeId, NodeId, PeerId};
use couplet_proto::link::peer::{Addressee, Forwards, ToPeer};
use couplet_proto::link::wire::{peer as peers, up, v1};
use couplet_proto::slot::Slot;
use tokio::task::JoinSet;
use tonic::{Status, Streaming};
use tracing::{info, warn};

use super::answers::Answers;
use super::node::Node;
use super::outbound::EdgeLane;
use crate::shard::Event;
use crate::shard::event::{Change, Fanned, FannedStanzas};

/// Requests of one origin to leave slots that may be under way; more wait.
const LEAVES_MAX: usize = 16;

/// Takes what an edge says on a lane until that ends; then the shards hear that it is gone.
pub(super) async fn edge(
    node: Arc<Node>,
    id: EdgeId,
    lane: Arc<EdgeLane>,
    mut incoming: Streaming<v1::EdgeBatch>,
    name: NodeId,
) {
    node.to_edges.lanes.increment(1);
    let mut stop = node.stop.subscribe();
    let reason = loop {
        let message = tokio::select! {
            message = incoming.message() => message,
            () = lane.cut() => break "it did not read what it was sent".to_owned(),
            _ = stop.wait_for(|stop| *stop) => break "this node is stopping".to_owned(),
        };
        match message {
            Ok(Some(message)) => take_from_edge(&node, id, &lane, message).await,
            ended => break reason(ended),
        }
    };
    info!(edge = %name, lane = id.0, reason, "the link of an edge has ended");
    node.to_edges.lanes.decrement(1);
    // Nothing is owed on it any more once it is closed; the shards hear of what was.
    let mut owed = lane.close();
    node.edges.remove(id);
    for shard in 0..node.mailboxes.len() {
        let number = u16::try_from(shard).expect("shards are numbered so");
        let debts = owed.remove(&number).unwrap_or_default();
        // The outer queue: after everything that came by the lane.
        let gone = Event::EdgeGone(id, debts);
        let _ = node.mailboxes.of(shard).outer.send(gone).await;
    }
}

async fn take_from_edge(node: &Node, id: EdgeId, lane: &EdgeLane, message: v1::EdgeBatch) {
    // First: of what was refused nobody may be told that it has arrived.
    for refused in message.refused {
        let slot = u16::try_from(refused.slot).ok().and_then(Slot::new);
        if let Some(slot) = slot {
            let change = Change::Superseded(Epoch(refused.epoch));
            let shard = u16::try_from(node.mailboxes.shard_of(slot)).unwrap_or_default();
            node.tell(shard, Event::Tenure(slot, change)).await;
        }
    }
    for (shard, debts) in lane.accepted(message.accepted) {
        node.tell(shard, Event::Accepted(debts)).await;
    }
    if message.frames.is_empty() {
        return;
    }
    node.to_edges.received(message.frames.len());
    let now = node.surroundings.clock.now().mono;
    for frame in message.frames {
        match up::decode_at(frame, now) {
            Ok(frame) => node.bring(frame.slot, Event::FromEdge(id, frame)).await,
            Err(error) => {
                node.to_edges.unreadable.increment(1);
                warn!(%error, "a frame of an edge is left out");
            }
        }
    }
}

/// Takes what another origin says on a lane until that ends.
pub(super) async fn peer(
    node: Arc<Node>,
    id: PeerId,
    answers: Arc<Answers>,
    mut incoming: Streaming<v1::PeerBatch>,
    name: NodeId,
) {
    let mut stop = node.stop.subscribe();
    let mut leaves = JoinSet::new();
    let reason = loop {
        let message = tokio::select! {
            message = incoming.message() => message,
            _ = stop.wait_for(|stop| *stop) => break "this node is stopping".to_owned(),
        };
        match message {
            Ok(Some(message)) => {
                take_from_peer(&node, id, &answers, message, &mut leaves).await;
            }
            ended => break reason(ended),
        }
    };
    info!(origin = %name, reason, "the link of an origin has ended");
    node.peers.remove(id);
    answers.close();
}

async fn take_from_peer(
    node: &Arc<Node>,
    id: PeerId,
    answers: &Arc<Answers>,
    message: v1::PeerBatch,
    leaves: &mut JoinSet<()>,
) {
    node.to_origins.received(message.frames.len());
    let now = node.surroundings.clock.now().mono;
    for frame in message.frames {
        match peers::decode_at(frame, now) {
            Ok(ToPeer::Forward(stanza)) => {
                node.forward(stanza.slot, Event::FromPeer(id, stanza)).await;
            }
            Ok(ToPeer::Forwards(forwards)) => take_forwards(node, id, *forwards).await,
            Err(error) => {
                node.to_origins.unreadable.increment(1);
                warn!(%error, "a frame of an origin is left out");
            }
        }
    }
    for leave in message.leaves {
        let mut asked = peers::decode_leave(&leave);
        let (cluster, answers) = (node.cluster.clone(), Arc::clone(answers));
        while leaves.len() >= LEAVES_MAX {
            leaves.join_next().await;
        }
        leaves.spawn(async move {
            asked.slots = cluster.leave(asked.slots).await;
            answers.left(asked);
        });
    }
    while leaves.try_join_next().is_some() {}
}

/// One event for each shard that has receivers.
async fn take_forwards(node: &Node, id: PeerId, forwards: Forwards) {
    let Forwards {
        shard,
        stanzas,
        source,
        receivers,
        list,
        entered,
    } = forwards;
    let stanzas = Arc::new(FannedStanzas {
        stanzas,
        source,
        list,
        entered,
    });
    let mut parts: Vec<Vec<Addressee>> = vec![Vec::new(); node.mailboxes.len()];
    for receiver in receivers {
        parts[node.mailboxes.shard_of(receiver.slot)].push(receiver);
    }
    for to in parts {
        let Some(slot) = to.first().map(|first| first.slot) else {
            continue;
        };
        let fanned = Fanned {
            stanzas: Arc::clone(&stanzas),
            peer: Some(id),
            shard,
            to,
        };
        node.forward(slot, Event::Fanned(fanned)).await;
    }
}

/// Why a lane has no next message.
fn reason<T>(ended: Result<Option<T>, Status>) -> String {
    match ended {
        Ok(_) => "it has ended the lane".to_owned(),
        Err(status) => format!("{}: {}", status.code(), status.message()),
    }
}
