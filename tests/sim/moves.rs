//! Moves: links deliver, origins claim slots and leave them.

use couplet_origin::cluster::map::Way;
use couplet_origin::shard::event::{Change, Event};
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::id::EdgeId;
use couplet_proto::slot::Slot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::mutations::Mutation;
use crate::network::{Back, Down};
use crate::origin::Job;
use crate::world::World;

// === impl World ===

impl World {
    /// One thing arrives at the edge.
    pub(crate) fn deliver_down(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        let (id, edge) = (lane.id, lane.edge);
        match lane.down.pop_front() {
            Some(Down::Owned(owned)) => {
                if self.edges[edge].ways.is_stale(owned) {
                    lane.refused.push((owned.slot, owned.epoch));
                }
                if self.edges[edge].ways.learn(id, owned) {
                    self.edges[edge].edge.downlink().rerouted(&[owned.slot]);
                    self.edges[edge].must_follow = true;
                }
            }
            Some(Down::Frame(frame)) => {
                let counts = self.plan.mutation == Some(Mutation::RefusedAccepted);
                let of = (frame.slot, frame.epoch);
                let was_refused = self.hand_over(edge, frame) && !counts;
                let mut lanes = self.lanes.iter_mut();
                if let Some(lane) = lanes.find(|lane| lane.id == id) {
                    lane.accepted.push_back(was_refused);
                    lane.refused.extend(was_refused.then_some(of));
                }
            }
            None => {}
        }
    }

    /// An edge takes a frame; true when it refuses it.
    fn hand_over(&mut self, edge: usize, mut frame: Frame<ToEdge>) -> bool {
        let (slot, mut epoch) = (frame.slot, frame.epoch);
        if self.plan.mutation == Some(Mutation::OldEpochs) {
            let seen = self.edges[edge].seen.get(&slot).copied();
            frame.epoch = seen.unwrap_or_default().max(epoch);
            let route = couplet_proto::link::Uplink::route(&*self.edges[edge].ways, slot);
            frame.epoch = frame.epoch.max(route.map_or(epoch, |route| route.epoch));
        }
        let was_refused = self.edges[edge].edge.would_refuse(&frame);
        let is_exchange = epoch == Epoch(0);
        if is_exchange {
            epoch = Epoch(0);
        } else if !was_refused {
            let seen = self.edges[edge].seen.entry(slot).or_default();
            let is_old = epoch < *seen;
            *seen = epoch.max(*seen);
            let is_delivery = matches!(frame.body, ToEdge::Deliver(_) | ToEdge::Taken { .. });
            if is_old && is_delivery {
                self.fail(format!(
                    "P7: edge {edge} takes {slot} at {epoch} after a newer one"
                ));
            }
        }
        self.check_taken(edge, epoch, &frame);
        if let ToEdge::Deliver(delivery) = &mut frame.body
            && self.plan.mutation == Some(Mutation::NoDeliverSource)
        {
            delivery.source = None;
        }
        self.trace(format_args!(
            "edge {edge} < {slot} {epoch} {was_refused} {}",
            brief(&frame.body)
        ));
        self.edges[edge].edge.downlink().send(&mut vec![frame]);
        was_refused
    }

    /// What has taken effect does so for good.
    fn check_taken(&mut self, edge: usize, epoch: Epoch, frame: &Frame<ToEdge>) {
        if let ToEdge::Taken { connection, number } = &frame.body
            && *number > 0
        {
            let place = (edge, connection.0);
            let known = self.taken.insert(place, (epoch.0, *number));
            if known.is_some_and(|known| known.0 == epoch.0 && known.1 > *number) {
                self.check(Err(format!("taken goes back from {known:?} to {number}")));
            }
        }
    }

    /// One thing arrives at the origin.
    pub(crate) fn deliver_up(&mut self, lane: usize) {
        let (id, edge, node, edge_id) = {
            let lane = &self.lanes[lane];
            (lane.id, lane.edge, lane.origin, lane.edge_id)
        };
        let Some(frame) = self.edges[edge].ways.pop(id) else {
            return;
        };
        self.trace(format_args!(
            "{node:?} < edge {edge} {} {} {:?}",
            frame.slot, frame.epoch, frame.body
        ));
        if let Some(origin) = self.origin_of(node) {
            let shard = origin.shard_of(frame.slot);
            origin.shards[shard]
                .outer
                .push_back(Event::FromEdge(edge_id, frame));
        }
    }

    /// The origin hears what the edge has accepted.
    pub(crate) fn deliver_accepted(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        let node = lane.origin;
        let refused = std::mem::take(&mut lane.refused);
        let mut paid: Vec<(u16, u64)> = Vec::new();
        while let Some(was_refused) = lane.accepted.pop_front() {
            if let Some((shard, Some(debt))) = lane.owed.pop_front().filter(|_| !was_refused) {
                paid.push((shard, debt));
            }
        }
        if let Some(origin) = self.origin_of(node) {
            for (slot, epoch) in refused {
                origin.tenure(slot, Change::Superseded(epoch));
            }
            for (shard, debt) in paid {
                origin.inner(usize::from(shard), Event::Accepted(vec![debt]));
            }
        }
    }

    /// The edge notices that a link is gone.
    pub(crate) fn edge_notices(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        lane.edge_knows = true;
        let edge = lane.edge;
        let lost = self.edges[edge].ways.close(lane.id);
        if self.edges[edge].is_alive && !lost.is_empty() {
            self.edges[edge].edge.downlink().rerouted(&lost);
            self.edges[edge].must_follow = true;
        }
    }

    /// The origin notices that a link is gone.
    pub(crate) fn origin_notices(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        lane.origin_knows = true;
        let (node, edge_id) = (lane.origin, lane.edge_id);
        let owed: Vec<(u16, Option<u64>)> = lane.owed.drain(..).collect();
        let forgets = self.plan.mutation == Some(Mutation::ForgottenDebts);
        let Some(origin) = self.origin_of(node) else {
            return;
        };
        for shard in 0..origin.shards.len() {
            let own = owed.iter().filter(|(of, _)| usize::from(*of) == shard);
            let debts: Vec<u64> = own.filter_map(|(_, debt)| *debt).collect();
            if forgets {
                origin.inner(shard, Event::Accepted(debts));
                origin.inner(shard, Event::EdgeGone(edge_id, Vec::new()));
            } else {
                origin.inner(shard, Event::EdgeGone(edge_id, debts));
            }
        }
    }

    /// A routed stanza arrives.
    pub(crate) fn deliver_forward(&mut self, index: usize) {
        let link = &mut self.peers[index];
        let (node, peer) = (link.to, link.id_at_to);
        let Some(stanza) = link.forward.pop_front() else {
            return;
        };
        self.trace(format_args!(
            "{node:?} < peer {peer:?} {} {} {:?} {}",
            stanza.slot, stanza.epoch, stanza.source, stanza.stanza
        ));
        if let Some(origin) = self.origin_of(node) {
            let shard = origin.shard_of(stanza.slot);
            origin.inner(shard, Event::FromPeer(peer, stanza));
        }
    }

    /// An answer, or news of an owner, arrives.
    pub(crate) fn deliver_back(&mut self, index: usize) {
        let link = &mut self.peers[index];
        let (node, peer) = (link.from, link.id_at_from);
        let Some(back) = link.back.pop_front() else {
            return;
        };
        self.trace(format_args!("{node:?} < peer {peer:?} {back:?}"));
        let tells = self.plan.mutation != Some(Mutation::NoRerouted);
        let Some(origin) = self.origin_of(node) else {
            return;
        };
        match back {
            Back::Settled(settled) => {
                let shard = usize::from(settled.shard);
                origin.inner(shard, Event::Settled(settled.routes));
            }
            Back::Owned(owned) => {
                let way = match owned.is_owner {
                    true => Way::Peer(peer, owned.epoch),
                    false => Way::Nowhere(owned.epoch),
                };
                origin.see(owned.slot, Some(owned.epoch));
                // Who is not the owner says nothing about who is.
                let known = origin.owners.way(owned.slot);
                let is_idle = !owned.is_owner
                    && known.epoch() == owned.epoch
                    && !matches!(known, Way::Peer(of, _) if of == peer);
                if !is_idle {
                    // What was owned is lost before anything is sent to the new owner.
                    if origin.owns(owned.slot).is_some_and(|own| own < owned.epoch) {
                        origin.tenure(owned.slot, Change::Lose);
                    }
                    origin.learn(owned.slot, way, tells);
                }
            }
        }
    }

    /// An end of a link between origins notices that it is gone.
    pub(crate) fn peer_notices(&mut self, index: usize, is_from: bool) {
        let link = &mut self.peers[index];
        if !is_from {
            link.to_knows = true;
            return;
        }
        link.from_knows = true;
        let (node, peer) = (link.from, link.id_at_from);
        let tells = self.plan.mutation != Some(Mutation::NoRerouted);
        if let Some(origin) = self.origin_of(node) {
            let lost = origin.owners.forget(peer);
            if !lost.is_empty() && tells {
                origin.rerouted(&lost);
            }
        }
    }

    /// The cluster's task of an origin looks at the owners, and does something about a slot.
    pub(crate) fn run_planner(&mut self, origin: usize) {
        self.make_sure(origin);
        if self.store.is_out {
            return;
        }
        let node = self.origins[origin].node;
        let slots = self.slots.clone();
        let looks = !self.has_faults || self.random.percent(70);
        for slot in &slots {
            if looks {
                let owner = self.store.owner(*slot);
                self.origins[origin].view.insert(*slot, owner);
                self.origins[origin].see(*slot, owner.map(|(epoch, _)| epoch));
            }
        }
        for (index, slot) in slots.iter().enumerate() {
            let Some(known) = self.origins[origin].view.get(slot).copied() else {
                continue;
            };
            let is_mine = known.is_some_and(|(_, owner)| owner == node);
            if let Some(epoch) = self.origins[origin].owns(*slot) {
                if looks && known != Some((epoch, node)) {
                    self.release(origin, *slot);
                } else if is_mine && self.targets[index] != origin {
                    self.leave(origin, *slot, self.targets[index]);
                }
                continue;
            }
            let is_gone = known.is_none_or(|(_, owner)| self.is_gone(owner));
            let is_wanted = self.targets[index] == origin || is_mine;
            let is_claimed = self.origins[origin].claiming.contains(slot);
            if (is_gone || is_mine) && is_wanted && !is_claimed {
                self.claim(origin, *slot, known);
            }
        }
        self.look_at_moves(origin);
    }

    /// An origin that has slept looks what it has lost meanwhile. While the store is out of order
    /// nobody can take anything, and it goes on.
    fn make_sure(&mut self, origin: usize) {
        if !std::mem::take(&mut self.origins[origin].is_uncertain) || self.store.is_out {
            return;
        }
        let now = self.clock();
        for slot in self.slots.clone() {
            let known = &mut self.origins[origin];
            let own = known.owns(slot).map(|epoch| (epoch, known.node));
            if own.is_none() || self.store.owner(slot) != own {
                // The shard itself: what it is told may stand behind something else.
                let shard = known.shard_of(slot);
                let lose = Event::Tenure(slot, Change::Lose);
                known.shards[shard].shard.step(lose, now);
                self.release(origin, slot);
            }
        }
    }

    /// Whether everyone takes an origin for dead.
    fn is_gone(&self, node: (usize, u32)) -> bool {
        let origin = &self.origins[node.0];
        let is_silent = !origin.is_running() && self.now > origin.since + 3000;
        origin.node != node || is_silent
    }

    /// An origin claims a slot of this owner.
    pub(crate) fn claim(
        &mut self,
        origin: usize,
        slot: Slot,
        expected: Option<(Epoch, (usize, u32))>,
    ) {
        let node = self.origins[origin].node;
        let seen = self.origins[origin].see(slot, expected.map(|(epoch, _)| epoch));
        if let Some(epoch) = self.store.take(slot, expected, node, seen) {
            self.origins[origin].see(slot, Some(epoch));
            self.trace(format_args!("{node:?} takes {slot} at {epoch}"));
            let job = Job::Claimed(slot, epoch);
            self.origins[origin].claiming.push(slot);
            self.origins[origin].jobs.push(job);
        }
    }

    /// The store has answered: the slot is ours.
    pub(crate) fn claimed(&mut self, origin: usize, slot: Slot, epoch: Epoch) {
        let node = self.origins[origin].node;
        let lanes = self.lanes.iter();
        let mut lanes: Vec<EdgeId> = lanes
            .filter(|lane| lane.origin == node && !lane.origin_knows)
            .map(|lane| lane.edge_id)
            .collect();
        if self.plan.mutation == Some(Mutation::NoExpect) {
            lanes.clear();
        }
        let tells = self.plan.mutation != Some(Mutation::NoRerouted);
        let known = &mut self.origins[origin];
        known.claiming.retain(|other| *other != slot);
        if known.learn(slot, Way::Here(epoch), false) {
            known.tenure(slot, Change::Take(epoch, lanes));
            if tells {
                known.rerouted(&[slot]);
            }
            self.announce(origin, slot);
        }
    }

    /// A slot is another's, or nobody's.
    pub(crate) fn release(&mut self, origin: usize, slot: Slot) {
        let known = &mut self.origins[origin];
        known.leaving.retain(|(other, ..)| *other != slot);
        let Some(epoch) = known.owns(slot) else {
            return;
        };
        let tells = self.plan.mutation != Some(Mutation::NoRerouted);
        let known = &mut self.origins[origin];
        known.learn(slot, Way::Nowhere(epoch), tells);
        known.tenure(slot, Change::Lose);
        self.announce(origin, slot);
    }

    /// An origin is asked to leave a slot to another.
    fn leave(&mut self, origin: usize, slot: Slot, to: usize) {
        let to = self.origins[to].node;
        let known = &mut self.origins[origin];
        if known.leaving.iter().any(|(other, ..)| *other == slot) {
            return;
        }
        let (done, left) = tokio::sync::oneshot::channel();
        known.leaving.push((slot, to, left));
        known.tenure(slot, Change::Leave(done));
        let node = known.node;
        self.trace(format_args!("{node:?} leaves {slot} for {to:?}"));
    }

    /// Slots that have been left go to whoever asked.
    fn look_at_moves(&mut self, origin: usize) {
        let mut leaving = std::mem::take(&mut self.origins[origin].leaving);
        // One who drops it has left it too.
        let left = leaving
            .iter_mut()
            .position(|(.., left)| left.try_recv() != Err(TryRecvError::Empty));
        let left = left.map(|index| leaving.remove(index));
        self.origins[origin].leaving = leaving;
        let Some((slot, to, _)) = left else {
            return;
        };
        let expected = self.origins[origin]
            .owns(slot)
            .map(|epoch| (epoch, self.origins[origin].node));
        self.release(origin, slot);
        let is_there = self.origin_of(to).is_some_and(|to| to.is_running());
        if is_there && expected.is_some() && !self.store.is_out {
            self.claim(to.0, slot, expected);
        }
    }
}

/// A frame in a few words.
fn brief(body: &ToEdge) -> String {
    match body {
        ToEdge::Deliver(delivery) => format!(
            "Deliver {:?} {:?} {}",
            delivery.connections, delivery.source, delivery.stanza
        ),
        other => format!("{other:?}"),
    }
}
