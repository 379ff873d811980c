//! Carry: what a shard asks for is carried out.

use std::sync::atomic::Ordering;

use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::id::{EdgeId, PeerId};
use couplet_proto::link::peer::{Addressee, Forward, Forwards, Settled, ToPeer};
use couplet_proto::slot::Slot;
use tokio::sync::mpsc::error::TrySendError;

use super::actor::Actor;
use super::event::{Event, Fanned, Receipt, Routed};
use super::output::Output;
use crate::cluster::map::Way;
use crate::link::Owed;

impl Actor {
    pub(super) fn carry_out(&mut self) {
        // What an edge in this process has been given is paid for at once, and that may release
        // more.
        loop {
            std::mem::swap(self.shard.outputs(), &mut self.outputs);
            if self.outputs.is_empty() {
                return;
            }
            let mut outputs = std::mem::take(&mut self.outputs);
            outputs.drain(..).for_each(|output| self.carry(output));
            self.outputs = outputs;
            self.tell_settled();
            let paid = self.send_frames();
            if paid.is_empty() && self.late.is_empty() {
                return;
            }
            let now = self.surroundings.clock.now();
            for event in std::mem::take(&mut self.late) {
                self.shard.step(event, now);
            }
            self.shard.step(Event::Accepted(paid), now);
            self.shard.flush();
        }
    }

    fn carry(&mut self, output: Output) {
        match output {
            Output::ToEdge(edge, frame, debt) => self.gather(edge, frame, debt),
            Output::Route(slot, routed) => self.route(slot, routed),
            Output::Fan(fanned) => self.fan(fanned),
            Output::Settle(receipt) => self.settle(receipt),
            Output::Reply(answering) => {
                // The operator may have hung up.
                let _ = answering.reply.send(answering.result);
            }
            Output::Commit(batches) => self.commit(batches),
            Output::Moved(edge, slot) => self.surroundings.edges.moved(edge, slot),
            // Who asked may have given up.
            Output::Left(done) => drop(done.send(())),
            Output::Fenced(slot) => {
                tracing::warn!(%slot, "another node owns this slot now");
                // Full: it will be found out by looking.
                let _ = self.surroundings.fenced.try_send(slot);
            }
            other => self.start(other),
        }
    }

    fn gather(&mut self, edge: EdgeId, frame: Frame<ToEdge>, debt: Option<u64>) {
        let known = self.frames.iter().position(|(known, ..)| *known == edge);
        let place = match known {
            Some(place) => place,
            None => {
                let owed = Owed {
                    shard: self.shard.id(),
                    debts: Vec::new(),
                };
                self.frames.push((edge, Vec::new(), owed));
                self.frames.len() - 1
            }
        };
        let (_, frames, owed) = &mut self.frames[place];
        frames.push(frame);
        owed.debts.extend(debt);
    }

    /// Hands over what is gathered. The debts that are paid with that.
    fn send_frames(&mut self) -> Vec<u64> {
        let mut paid = Vec::new();
        for (edge, frames, owed) in &mut self.frames {
            if !frames.is_empty() && self.surroundings.edges.send(*edge, frames, owed) {
                paid.append(&mut owed.debts);
            }
            frames.clear();
            if !owed.debts.is_empty() {
                // The lane has ended: as if it had taken them and ended then.
                let gone = Event::EdgeGone(*edge, std::mem::take(&mut owed.debts));
                self.late.push(gone);
            }
        }
        // Lanes come and go.
        if self.frames.len() > 64 {
            self.frames.clear();
        }
        paid
    }

    /// Brings a stanza to its owner. Where there is none it stays with the shard that sent it.
    fn route(&mut self, slot: Slot, routed: Routed) {
        match self.heard.way(slot) {
            Way::Here(epoch) => {
                let shard = self.surroundings.mailboxes.shard_of(slot);
                self.send(shard, Event::Routed(slot, epoch, routed));
            }
            Way::Peer(peer, epoch) => {
                // A stray of another shard, or of another origin, is not passed on: whoever sent
                // it has it and learns of the owner.
                let Receipt {
                    peer: None,
                    shard,
                    route,
                } = routed.receipt
                else {
                    return;
                };
                if shard != self.shard.id() {
                    return;
                }
                let stanza = ToPeer::Forward(Forward {
                    slot,
                    epoch,
                    shard,
                    route,
                    stanza: routed.stanza,
                    source: routed.source,
                    entered: routed.entered,
                });
                self.send_to_peer(peer, stanza);
            }
            Way::Nowhere(_) => {}
        }
    }

    /// Brings stanzas to the owners of their receivers' slots: one event for each shard of this
    /// process, one frame for each lane to another.
    fn fan(&mut self, mut fanned: Fanned) {
        let is_own = fanned.peer.is_none() && fanned.shard == self.shard.id();
        let mut here: Vec<(usize, Vec<Addressee>)> = Vec::new();
        let mut there: Vec<(PeerId, Vec<Addressee>)> = Vec::new();
        for mut to in std::mem::take(&mut fanned.to) {
            match self.heard.way(to.slot) {
                Way::Here(epoch) => {
                    to.epoch = epoch;
                    let shard = self.surroundings.mailboxes.shard_of(to.slot);
                    add(&mut here, shard, to);
                }
                // A stray is not passed on, as in `route`.
                Way::Peer(peer, epoch) if is_own => {
                    to.epoch = epoch;
                    add(&mut there, peer, to);
                }
                Way::Peer(..) | Way::Nowhere(_) => {}
            }
        }
        for (shard, to) in here {
            self.send(shard, Event::Fanned(fanned.for_these(to)));
        }
        for (peer, receivers) in there {
            let forwards = Forwards {
                shard: fanned.shard,
                stanzas: fanned.stanzas.stanzas.clone(),
                source: fanned.stanzas.source,
                receivers,
                list: fanned.stanzas.list,
                entered: fanned.stanzas.entered,
            };
            self.send_to_peer(peer, ToPeer::Forwards(Box::new(forwards)));
        }
    }

    fn settle(&mut self, receipt: Receipt) {
        let Some(peer) = receipt.peer else {
            return self.settled[usize::from(receipt.shard)].push(receipt.route);
        };
        let known = self
            .peer_settled
            .iter_mut()
            .find(|(known, settled)| *known == peer && settled.shard == receipt.shard);
        match known {
            Some((_, settled)) => settled.routes.push(receipt.route),
            None => {
                let settled = Settled {
                    shard: receipt.shard,
                    routes: vec![receipt.route],
                };
                self.peer_settled.push((peer, settled));
            }
        }
    }

    fn tell_settled(&mut self) {
        for shard in 0..self.settled.len() {
            if !self.settled[shard].is_empty() {
                let settled = std::mem::take(&mut self.settled[shard]);
                self.send(shard, Event::Settled(settled));
            }
        }
        for (peer, settled) in self.peer_settled.drain(..) {
            if let Some(caller) = self.surroundings.peers.from(peer) {
                caller.settled(settled);
            }
        }
    }

    /// To another shard, behind what already waits for it.
    fn send(&mut self, shard: usize, event: Event) {
        self.surroundings.under_way.fetch_add(1, Ordering::SeqCst);
        if !self.backlog[shard].is_empty() {
            return self.backlog[shard].push_back(event);
        }
        let sent = self.surroundings.mailboxes.of(shard).inner.try_send(event);
        match sent {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(event)) => self.backlog[shard].push_back(event),
        }
    }

    /// To another origin, behind what already waits for it.
    fn send_to_peer(&mut self, peer: PeerId, stanza: ToPeer) {
        let waiting = self
            .peer_backlog
            .iter_mut()
            .find(|(known, _)| *known == peer);
        if let Some((_, waiting)) = waiting {
            return waiting.push_back(stanza);
        }
        let Some(link) = self.surroundings.peers.to(peer) else {
            return;
        };
        if let Err(stanza) = link.try_send(stanza) {
            self.peer_backlog.push((peer, [stanza].into()));
        }
    }

    pub(super) fn retry_backlog(&mut self) {
        for (shard, queue) in self.backlog.iter_mut().enumerate() {
            let inner = &self.surroundings.mailboxes.of(shard).inner;
            while let Some(event) = queue.pop_front() {
                if let Err(TrySendError::Full(event)) = inner.try_send(event) {
                    queue.push_front(event);
                    break;
                }
            }
        }
        let peers = &self.surroundings.peers;
        self.peer_backlog.retain_mut(|(peer, queue)| {
            let Some(link) = peers.to(*peer) else {
                return false;
            };
            while let Some(stanza) = queue.pop_front() {
                if let Err(stanza) = link.try_send(stanza) {
                    queue.push_front(stanza);
                    return true;
                }
            }
            false
        });
    }
}

fn add<K: PartialEq>(all: &mut Vec<(K, Vec<Addressee>)>, key: K, to: Addressee) {
    match all.iter_mut().find(|(known, _)| *known == key) {
        Some((_, known)) => known.push(to),
        None => all.push((key, vec![to])),
    }
}
