//! Carry: what shards ask for is carried out, as the actor of a shard does.

use couplet_origin::auth::Step;
use couplet_origin::cluster::map::Way;
use couplet_origin::shard::Output;
use couplet_origin::shard::event::{Answered, Event, Fanned, Receipt, Routed, Verified};
use couplet_origin::store::{Error, Write};
use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::id::EdgeId;
use couplet_proto::link::peer::{Forward, Settled};
use couplet_proto::slot::Slot;

use crate::mutations::Mutation;
use crate::network::{Back, Down, owned};
use crate::origin::{Commit, Job};
use crate::world::World;

// === impl World ===

impl World {
    /// A shard handles some of what waits, and what comes of it is carried out.
    pub(crate) fn run_shard(&mut self, origin: usize, shard: usize, count: usize) {
        let now = self.clock();
        let known = &mut self.origins[origin];
        known.shards[shard].round(count, &known.owners, now);
        self.carry_out(origin, shard);
    }

    fn carry_out(&mut self, origin: usize, shard: usize) {
        loop {
            let outputs = self.origins[origin].outputs(shard);
            if outputs.is_empty() {
                return;
            }
            let mut late = Vec::new();
            for output in outputs {
                self.carry(origin, shard, output, &mut late);
            }
            let now = self.clock();
            let task = &mut self.origins[origin].shards[shard];
            for event in late {
                task.shard.step(event, now);
            }
            task.shard.flush();
        }
    }

    fn carry(&mut self, origin: usize, shard: usize, output: Output, late: &mut Vec<Event>) {
        let id = u16::try_from(shard).expect("few shards");
        match output {
            Output::ToEdge(edge, frame, debt) => {
                self.to_edge(origin, id, edge, frame, debt, late);
            }
            Output::Route(slot, routed) => self.route(origin, id, slot, routed),
            Output::Fan(fanned) => self.fan(origin, id, fanned),
            Output::Settle(receipt) => self.settle(origin, receipt),
            Output::Load(_, jid) => self.origins[origin].jobs.push(Job::Load(id, jid)),
            Output::Sleepers(slot) => self.origins[origin].jobs.push(Job::Sleepers(id, slot)),
            Output::Ask(_, jid, ask, asked, then, debt) => {
                let job = Job::Ask(id, jid, ask, asked, then, debt);
                self.origins[origin].jobs.push(job);
            }
            Output::Verify(jid, edge, connection, _) => {
                let job = Job::Verify(id, jid, edge, connection);
                self.origins[origin].jobs.push(job);
            }
            Output::Commit(batches) => {
                let is_early = self.plan.mutation == Some(Mutation::EarlyCommit);
                if is_early && self.origins[origin].shards[shard].commit.is_some() {
                    self.run_commit(origin, shard);
                }
                let task = &mut self.origins[origin].shards[shard];
                assert!(task.commit.is_none(), "never two commits at a time");
                if self.plan.mutation == Some(Mutation::EarlyCommit) {
                    task.inner.push_back(Event::Committed(Vec::new()));
                }
                task.commit = Some(Commit::Asked(batches));
            }
            Output::Reply(_) => {}
            Output::Moved(edge, slot) => self.moved(origin, edge, slot),
            // Whoever asked looks at the other end.
            Output::Left(done) => drop(done.send(())),
            Output::Fenced(slot) => self.release(origin, slot),
            inner => panic!("{inner:?} never leaves the shard"),
        }
    }

    fn to_edge(
        &mut self,
        origin: usize,
        shard: u16,
        edge: EdgeId,
        frame: Frame<ToEdge>,
        mut debt: Option<u64>,
        late: &mut Vec<Event>,
    ) {
        if let ToEdge::Deliver(delivery) = &frame.body {
            self.ledger.refused(&delivery.stanza);
        }
        let node = self.origins[origin].node;
        if self.plan.mutation == Some(Mutation::EarlySettle)
            && let Some(debt) = debt.take()
        {
            late.push(Event::Accepted(vec![debt]));
        }
        let mut lanes = self.lanes.iter_mut();
        let lane =
            lanes.find(|lane| lane.origin == node && lane.edge_id == edge && !lane.origin_knows);
        match lane {
            Some(lane) => {
                lane.owed.push_back((shard, debt));
                if !lane.is_cut {
                    lane.down.push_back(Down::Frame(frame));
                }
            }
            // As if it had taken it and ended then.
            None => late.extend(debt.map(|debt| Event::EdgeGone(edge, vec![debt]))),
        }
    }

    fn route(&mut self, origin: usize, id: u16, slot: Slot, mut routed: Routed) {
        if self.plan.mutation == Some(Mutation::NoRouteSource) {
            routed.source = None;
        }
        self.ledger.refused(&routed.stanza);
        let node = self.origins[origin].node;
        match self.origins[origin].shards[usize::from(id)].heard.way(slot) {
            Way::Here(epoch) => {
                let shard = self.origins[origin].shard_of(slot);
                self.origins[origin].inner(shard, Event::Routed(slot, epoch, routed));
            }
            Way::Peer(peer, epoch) => {
                let Receipt {
                    peer: None,
                    shard,
                    route,
                } = routed.receipt
                else {
                    return;
                };
                if shard != id {
                    return;
                }
                let stanza = Forward {
                    slot,
                    epoch,
                    shard,
                    route,
                    stanza: routed.stanza,
                    source: routed.source,
                    entered: routed.entered,
                };
                let mut links = self.peers.iter_mut();
                let link = links.find(|link| link.from == node && link.id_at_from == peer);
                if let Some(link) = link.filter(|link| !link.is_cut) {
                    link.forward.push_back(stanza);
                }
            }
            Way::Nowhere(_) => {}
        }
    }

    /// One at a time: what is together on a link could as well come apart.
    fn fan(&mut self, origin: usize, id: u16, mut fanned: Fanned) {
        for mut to in std::mem::take(&mut fanned.to) {
            let slot = to.slot;
            match self.origins[origin].shards[usize::from(id)].heard.way(slot) {
                Way::Here(epoch) => {
                    to.epoch = epoch;
                    let shard = self.origins[origin].shard_of(slot);
                    let fanned = fanned.for_these(vec![to]);
                    self.origins[origin].inner(shard, Event::Fanned(fanned));
                }
                Way::Peer(..) | Way::Nowhere(_) => {
                    for routed in fanned.singly(&to) {
                        self.route(origin, id, slot, routed);
                    }
                }
            }
        }
    }

    fn settle(&mut self, origin: usize, receipt: Receipt) {
        let Some(peer) = receipt.peer else {
            let settled = Event::Settled(vec![receipt.route]);
            return self.origins[origin].inner(usize::from(receipt.shard), settled);
        };
        let node = self.origins[origin].node;
        let mut links = self.peers.iter_mut();
        let link = links.find(|link| link.to == node && link.id_at_to == peer);
        if let Some(link) = link.filter(|link| !link.is_cut) {
            link.back.push_back(Back::Settled(Settled {
                shard: receipt.shard,
                routes: vec![receipt.route],
            }));
        }
    }

    /// An edge thinks otherwise: it is told again.
    fn moved(&mut self, origin: usize, edge: EdgeId, slot: Slot) {
        let node = self.origins[origin].node;
        let way = self.origins[origin].owners.way(slot);
        let is_owner = matches!(way, Way::Here(_));
        let mut lanes = self.lanes.iter_mut();
        let lane = lanes.find(|lane| lane.origin == node && lane.edge_id == edge);
        if let Some(lane) = lane.filter(|lane| !lane.is_cut) {
            let owned = owned(slot, way.epoch(), is_owner);
            lane.down.push_back(Down::Owned(owned));
        }
    }

    /// Everyone who is linked to an origin hears what it owns.
    pub(crate) fn announce(&mut self, origin: usize, slot: Slot) {
        let node = self.origins[origin].node;
        let way = self.origins[origin].owners.way(slot);
        let is_owner = matches!(way, Way::Here(_));
        let owned = owned(slot, way.epoch(), is_owner);
        for lane in &mut self.lanes {
            if lane.origin == node && !lane.is_cut {
                lane.down.push_back(Down::Owned(owned));
            }
        }
        for link in &mut self.peers {
            if link.to == node && !link.is_cut {
                link.back.push_back(Back::Owned(owned));
            }
        }
    }

    /// Something an origin waits for goes on by a step.
    pub(crate) fn run_job(&mut self, origin: usize, index: usize) {
        if index >= self.origins[origin].jobs.len() {
            return;
        }
        let job = self.origins[origin].jobs.remove(index);
        let is_out = self.store.is_out;
        let out = || Error::Unavailable("out of order".to_owned());
        let done = match job {
            Job::Load(shard, jid) => {
                let snapshot = match is_out {
                    true => Err(out()),
                    false => Ok(self.store.snapshot(&jid)),
                };
                Job::Done(shard, Event::Loaded(jid, snapshot))
            }
            Job::Sleepers(shard, slot) => {
                let is_of_slot =
                    |jid: &couplet_proto::Jid| Slot::of(crate::origin::SEED, jid) == slot;
                let owners = match is_out {
                    true => Err(out()),
                    false if self.plan.mutation == Some(Mutation::NoSleepers) => Ok(Vec::new()),
                    false => Ok(self.store.sleepers(is_of_slot)),
                };
                Job::Done(shard, Event::Sleepers(slot, owners))
            }
            Job::Ask(shard, jid, ask, asked, then, debt) => {
                let answer = match is_out {
                    true => Err(out()),
                    false => Ok(self.store.answer(&jid, ask)),
                };
                let answered = Answered {
                    answer,
                    asked,
                    then,
                    debt,
                };
                Job::Done(shard, Event::Answered(jid, Box::new(answered)))
            }
            Job::Verify(shard, jid, edge, connection) => {
                // The passwords of clients are right, and to hash them takes long.
                let step = Step::Success { data: None };
                let verified = Verified {
                    edge,
                    connection,
                    step,
                };
                Job::Done(shard, Event::Verified(jid, Box::new(verified)))
            }
            Job::Done(shard, event) => {
                return self.origins[origin].inner(usize::from(shard), event);
            }
            Job::Claimed(slot, epoch) => return self.claimed(origin, slot, epoch),
        };
        self.origins[origin].jobs.insert(index, done);
    }

    /// A commit goes on by a step.
    pub(crate) fn run_commit(&mut self, origin: usize, shard: usize) {
        let node = self.origins[origin].node;
        let early = self.plan.mutation == Some(Mutation::EarlyCommit);
        let Some(commit) = self.origins[origin].shards[shard].commit.take() else {
            return;
        };
        match commit {
            Commit::Asked(batches) => {
                let mut failed = Vec::new();
                for batch in &batches {
                    if self.plan.traces {
                        let writes: Vec<String> = batch.writes.iter().map(brief).collect();
                        self.trace(format_args!(
                            "commit {node:?}/{shard} {} {} {writes:?}",
                            batch.slot, batch.epoch
                        ));
                    }
                    // What times out may have been stored all the same.
                    let times_out = self.has_faults && self.random.percent(3);
                    self.store.was_out |= times_out || self.store.is_out;
                    let is_lost = self.store.is_out || (times_out && self.random.percent(50));
                    let outcome = match is_lost {
                        true => Ok(()),
                        false => self.store.commit(node, batch),
                    };
                    let out = Error::Unavailable("out of order".to_owned());
                    let outcome = match is_lost || times_out {
                        true => outcome.and(Err(out)),
                        false => outcome,
                    };
                    failed.extend(outcome.err().map(|error| (batch.slot, error)));
                }
                self.trace(format_args!("commit {node:?}/{shard} failed {failed:?}"));
                if !early {
                    let ended = Commit::Ended(failed);
                    self.origins[origin].shards[shard].commit = Some(ended);
                }
            }
            Commit::Ended(failed) => {
                self.origins[origin].inner(shard, Event::Committed(failed));
            }
        }
        if let Some(slot) = self.store.intruded.take() {
            self.fail(format!("P7: {node:?} writes {slot}, which is another's"));
        }
    }
}

/// A write in a few words.
fn brief((owner, write): &(couplet_proto::Jid, Write)) -> String {
    match write {
        Write::Put { table, key, value } => {
            format!("{owner} put {} {key}{}", table.name, body(value))
        }
        Write::Delete { table, key } => format!("{owner} delete {} {key}", table.name),
        Write::Append { log, value, .. } => format!("{owner} append {}{}", log.name, body(value)),
        Write::Replace { log, value, .. } => format!("{owner} replace {}{}", log.name, body(value)),
        Write::Truncate { log, through } => format!("{owner} truncate {} {through:?}", log.name),
        Write::Erase => format!("{owner} erase"),
    }
}

/// The body of a stored message.
fn body(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let body = text
        .split_once("<body>")
        .and_then(|(_, rest)| rest.split_once('<'));
    body.map_or_else(String::new, |(body, _)| format!(" m{body}"))
}
