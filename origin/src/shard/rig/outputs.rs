//! What becomes of what a shard asks for.

use std::sync::Arc;

use couplet_proto::Jid;
use couplet_proto::link::frame::{Delivery, Fan, ToEdge};
use couplet_proto::slot::Slot;

use super::{Rig, SEED};
use crate::shard::event::{Answered, Event, Verified};
use crate::shard::output::Output;
use crate::store::{self, Batch};

// === impl Rig ===

impl Rig {
    pub(super) fn carry_out(&mut self, shard: usize, output: Output) {
        match output {
            Output::ToEdge(_, frame, debt) => {
                self.hear(frame.body);
                if let Some(debt) = debt {
                    self.events.push_back((shard, Event::Accepted(vec![debt])));
                }
            }
            Output::Route(slot, routed) => {
                let to = self.shard_of(slot);
                let epoch = self.epoch_of(slot);
                self.events
                    .push_back((to, Event::Routed(slot, epoch, routed)));
            }
            Output::Fan(mut fanned) => {
                for mut to in std::mem::take(&mut fanned.to) {
                    to.epoch = self.epoch_of(to.slot);
                    let shard = self.shard_of(to.slot);
                    let fanned = fanned.for_these(vec![to]);
                    self.events.push_back((shard, Event::Fanned(fanned)));
                }
            }
            Output::Settle(receipt) => {
                let settled = Event::Settled(vec![receipt.route]);
                self.events.push_back((usize::from(receipt.shard), settled));
            }
            Output::Load(slot, owner) => match self.holds_loads {
                true => self.loads.push_back((shard, slot, owner)),
                false => self.end_load(shard, owner),
            },
            Output::Ask(_, owner, ask, asked, then, debt) => {
                let answer = Ok(self.store.answer(&owner, ask));
                let answered = Box::new(Answered {
                    answer,
                    asked,
                    then,
                    debt,
                });
                self.give((shard, Event::Answered(owner, answered)));
            }
            Output::Verify(owner, edge, connection, check) => {
                let verified = Box::new(Verified {
                    edge,
                    connection,
                    step: check.run(),
                });
                self.events
                    .push_back((shard, Event::Verified(owner, verified)));
            }
            Output::Commit(batches) => match self.holds_commits {
                true => self.commits.push_back((shard, batches)),
                false => self.end_commit(shard, batches, true),
            },
            Output::Reply(answering) => drop(answering.reply.send(answering.result)),
            Output::Sleepers(slot) => {
                let mut owners = self.store.sleepers();
                owners.retain(|owner| Slot::of(SEED, owner) == slot);
                self.events
                    .push_back((shard, Event::Sleepers(slot, Ok(owners))));
            }
            Output::Left(done) => drop(done.send(())),
            Output::Moved(..) | Output::Fenced(_) => {}
            inner => panic!("{inner:?} never leaves the shard"),
        }
    }

    fn hear(&mut self, frame: ToEdge) {
        if let ToEdge::Fan(fan) = &frame {
            return self.hear_fan(fan);
        }
        if let ToEdge::Deliver(delivery) = &frame {
            for connection in &delivery.connections {
                let inbox = self.inboxes.entry(*connection).or_default();
                assert!(inbox.closed.is_none(), "a stanza after the end: {frame:?}");
                inbox.frames.push_back(frame.clone());
                inbox.delivered += 1;
            }
            return;
        }
        let connection = frame.connection().expect("it is for one");
        let inbox = self.inboxes.entry(connection).or_default();
        match &frame {
            ToEdge::Taken { number, .. } => {
                assert!(inbox.taken <= *number, "progress goes forward");
                inbox.taken = *number;
                return;
            }
            ToEdge::Keep { state, .. } => {
                inbox.kept = state.clone();
                return;
            }
            ToEdge::Close { condition, .. } => {
                inbox.closed = Some(*condition);
                return;
            }
            ToEdge::Bound { session, jid, .. } => inbox.session = Some((*session, jid.clone())),
            ToEdge::Resumed {
                session,
                jid,
                acked,
                ..
            } => {
                inbox.session = Some((*session, jid.clone()));
                inbox.delivered = *acked;
                inbox.acked = *acked;
            }
            _ => {}
        }
        inbox.frames.push_back(frame);
    }

    /// As deliveries to each receiver, with its address where the edge writes it.
    fn hear_fan(&mut self, fan: &Fan) {
        self.fans += 1;
        for receiver in &fan.receivers {
            let inbox = self.inboxes.get(&receiver.connection);
            let session = inbox.and_then(|inbox| inbox.session.as_ref());
            let (_, jid) = session.expect("it is a session's").clone();
            for (stanza, source) in fan.each() {
                self.hear(ToEdge::Deliver(Delivery {
                    connections: smallvec::smallvec![receiver.connection],
                    stanza: Arc::new((**stanza).clone().to(jid.clone())),
                    source: Some(source),
                    log: None,
                    entered: fan.entered,
                }));
            }
        }
    }

    pub(super) fn end_load(&mut self, shard: usize, owner: Jid) {
        let snapshot = match self.faults.fails_loads {
            true => Err(store::Error::Unavailable("as the test wants".to_owned())),
            false => Ok(self.store.snapshot(&owner)),
        };
        self.events
            .push_back((shard, Event::Loaded(owner, snapshot)));
    }

    pub(super) fn end_commit(&mut self, shard: usize, batches: Vec<Batch>, succeeds: bool) {
        let failed = match succeeds {
            true => {
                self.store.commit(batches);
                Vec::new()
            }
            false => {
                let error = store::Error::Unavailable("as the test wants".to_owned());
                let slots = batches.iter().map(|batch| batch.slot);
                slots.map(|slot| (slot, error.clone())).collect()
            }
        };
        self.events.push_back((shard, Event::Committed(failed)));
    }
}
