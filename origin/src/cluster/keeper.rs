//! Keeper: the task that carries out what the planner decides.
//!
//! It alone tells shards which slots are theirs, so they hear of every change in the order it was
//! made. What takes time runs in tasks of its own and comes back as a message.

use std::sync::Arc;
use std::time::Duration;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::{NodeId, PeerId};
use couplet_proto::link::peer::Owned;
use couplet_proto::slot::Slot;
use foldhash::fast::FixedState;
use futures_util::future::join_all;
use hashbrown::HashMap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::announce::Announcer;
use super::map::Way;
use super::noted::{self, FormerOwners};
use super::plan::{self, Action, Gain, Move, Node, Planner, Standing, Whereabouts};
use crate::metrics;
use crate::shard::actor::Surroundings;
use crate::shard::event::{Change, Event};
use crate::store::{Member, Owner, Registry};

/// How long the store may take for an answer about slots.
const STORE_PATIENCE: Duration = Duration::from_secs(3);

/// How long shards may take to finish what they write before they leave a slot. It is safe to go
/// on after that: what is not stored by then is refused.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// How long another origin may take to leave slots: it waits so long itself, and some more.
const ASK_PATIENCE: Duration = Duration::from_secs(6);

/// Everything that reaches the keeper.
#[derive(Debug)]
pub(super) enum Message {
    /// Something for the planner.
    Plan(plan::Event),
    /// The origin behind this link has told what it owns.
    Heard(PeerId, Vec<Owned>),
    /// This link is gone.
    LinkLost(PeerId),
    /// Another origin asks this one to leave slots.
    Asked(Vec<Slot>, oneshot::Sender<Vec<Slot>>),
    /// An operator asks.
    Report(oneshot::Sender<Report>),
}

/// What an origin knows of its cluster.
#[derive(Debug, Clone)]
pub struct Report {
    /// Who is there, in order of their ids.
    pub nodes: Vec<Node>,
    /// Every slot, in order.
    pub slots: Vec<Whereabouts>,
    /// What is on its way to this origin.
    pub moves: Vec<Move>,
    /// How this origin stands.
    pub standing: Standing,
}

/// The keeper. See the module.
pub(super) struct Keeper {
    pub(super) planner: Planner,
    pub(super) me: NodeId,
    pub(super) surroundings: Surroundings,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) announcer: Arc<Announcer>,
    /// The way back for what was started.
    pub(super) back: mpsc::Sender<Message>,
    /// Who is to be linked to.
    pub(super) neighbours: watch::Sender<Vec<Member>>,
    pub(super) standing: watch::Sender<Standing>,
    /// Those who wait for an answer, by the number of their question.
    pub(super) askers: HashMap<u64, oneshot::Sender<Vec<Slot>>, FixedState>,
    pub(super) last_asker: u64,
}

// === impl Keeper ===

impl Keeper {
    /// Runs until told to stop.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Message>,
        mut fenced: mpsc::Receiver<Slot>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                Some(slot) = fenced.recv() => {
                    metrics::fenced();
                    self.step(plan::Event::Fenced(slot)).await;
                }
                Some(message) = inbox.recv() => self.handle(message).await,
            }
        }
    }

    async fn handle(&mut self, message: Message) {
        match message {
            Message::Plan(event) => {
                let is_beat = matches!(event, plan::Event::Beaten(_));
                self.step(event).await;
                if is_beat {
                    self.look_around();
                }
            }
            Message::Heard(peer, owned) => self.heard(peer, owned).await,
            Message::LinkLost(peer) => {
                let lost = self.surroundings.owners.forget(peer);
                if !lost.is_empty() {
                    tracing::info!(slots = lost.len(), "the link to an owner is gone");
                }
            }
            Message::Asked(slots, answer) => {
                self.last_asker += 1;
                self.askers.insert(self.last_asker, answer);
                self.step(plan::Event::Asked(self.last_asker, slots)).await;
            }
            Message::Report(answer) => {
                let now = self.now();
                let report = Report {
                    nodes: self.planner.nodes(now),
                    slots: self.planner.slots(),
                    moves: self.planner.moves(),
                    standing: self.planner.standing(now),
                };
                // Who asked may have gone away.
                drop(answer.send(report));
            }
        }
    }

    async fn step(&mut self, event: plan::Event) {
        let is_beat = matches!(event, plan::Event::Beaten(_));
        let now = self.now();
        let former = self.former_owners(&event);
        let actions = self.planner.step(event, now);
        if actions.is_empty() && !is_beat {
            return;
        }
        for action in actions {
            self.carry_out(action, &former).await;
        }
        let standing = self.planner.standing(now);
        if *self.standing.borrow() != standing {
            metrics::slots(standing.held, standing.unowned);
            self.standing.send_replace(standing);
        }
    }

    /// Tells those who keep links who is there.
    fn look_around(&mut self) {
        let neighbours = self.planner.neighbours(self.now());
        self.neighbours.send_if_modified(|known| {
            let is_new = *known != neighbours;
            *known = neighbours;
            is_new
        });
        if self.standing.borrow().has_namesake {
            tracing::error!("another process has the name of this one: give each its own");
        }
    }

    /// Who owned the slots that were asked for, for the journal.
    fn former_owners(&self, event: &plan::Event) -> FormerOwners {
        match event {
            plan::Event::Taken(slots, Some(_)) if self.surroundings.journal.is_kept() => {
                let owner = |slot: &Slot| Some((*slot, self.planner.owner(*slot)?.clone()));
                slots.iter().filter_map(owner).collect()
            }
            _ => FormerOwners::default(),
        }
    }

    async fn carry_out(&mut self, action: Action, former: &FormerOwners) {
        match action {
            Action::ReadOwners(number) => {
                let registry = Arc::clone(&self.registry);
                self.start(async move {
                    let owners = timeout(STORE_PATIENCE, registry.owners()).await;
                    plan::Event::Owners(number, owners.ok().and_then(Result::ok))
                });
            }
            Action::ReadPins => {
                let registry = Arc::clone(&self.registry);
                self.start(async move {
                    let pins = timeout(STORE_PATIENCE, registry.pins()).await;
                    plan::Event::Pins(pins.ok().and_then(Result::ok))
                });
            }
            Action::Take(slots) => self.take(slots),
            Action::Ask(node, slots) => {
                let link = self.surroundings.peers.to_node(&node);
                self.start(async move {
                    let left = match link {
                        Some(link) => timeout(ASK_PATIENCE, link.leave(slots.clone())).await,
                        None => Ok(Vec::new()),
                    };
                    plan::Event::Yielded(slots, left.unwrap_or_default())
                });
            }
            Action::Own(gains) => self.own(gains, former).await,
            Action::Leave(slots) => self.leave(slots).await,
            Action::Release(slots) => {
                self.note_lost(&slots, noted::LEFT);
                self.release(slots);
            }
            Action::Lose(slots) => {
                for (slot, epoch) in &slots {
                    tracing::warn!(%slot, %epoch, "another node owns this slot now");
                    metrics::lost_slot();
                    self.bring(*slot, Change::Lose).await;
                }
                self.note_lost(&slots, noted::TAKEN);
                self.release(slots);
            }
            Action::Answer(number, left) => {
                if let Some(answer) = self.askers.remove(&number) {
                    drop(answer.send(left));
                }
            }
        }
    }

    fn take(&self, slots: Vec<(Slot, Option<Owner>)>) {
        let (registry, me) = (Arc::clone(&self.registry), self.me.clone());
        self.start(async move {
            let asked = slots.iter().map(|(slot, _)| *slot).collect();
            let taken = timeout(STORE_PATIENCE, registry.take(&me, slots)).await;
            let taken = match taken {
                Ok(Ok(taken)) => Some(taken),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "slots could not be taken");
                    None
                }
                Err(_) => None,
            };
            plan::Event::Taken(asked, taken)
        });
    }

    /// Begins to own slots: the shards first, then those who will speak to them.
    async fn own(&self, gains: Vec<Gain>, former: &FormerOwners) {
        let Surroundings { edges, owners, .. } = &self.surroundings;
        for gain in &gains {
            let change = Change::Take(gain.epoch, edges.of(gain.slot));
            self.bring(gain.slot, change).await;
            owners.learn(gain.slot, Way::Here(gain.epoch));
        }
        let owned = gains.iter().map(|gain| (gain.slot, gain.epoch));
        self.announcer.announce(owned, true);
        let now = self.now();
        for gain in &gains {
            let paused = Duration::from_millis(now.saturating_sub(gain.since));
            metrics::gained_slot(gain.cause.name(), paused.as_secs_f64());
        }
        noted::gained(&self.surroundings.journal, &self.me, &gains, former, now);
        tracing::info!(
            slots = gains.len(),
            cause = gains[0].cause.name(),
            "slots taken"
        );
        self.reroute(gains.iter().map(|gain| gain.slot).collect())
            .await;
    }

    /// Lets the shards finish what they write in slots.
    async fn leave(&self, slots: Vec<Slot>) {
        let mut waits = Vec::with_capacity(slots.len());
        for slot in &slots {
            let (done, is_done) = oneshot::channel();
            self.bring(*slot, Change::Leave(done)).await;
            let slot = *slot;
            // One who drops it has left it too.
            waits.push(async move { timeout(LEAVE_PATIENCE, is_done).await.err().map(|_| slot) });
        }
        let surroundings = self.surroundings.clone();
        self.start(async move {
            for slot in join_all(waits).await.into_iter().flatten() {
                tracing::warn!(%slot, "what is being written in this slot takes too long");
                let shard = surroundings.mailboxes.shard_of(slot);
                let lose = Event::Tenure(slot, Change::Lose);
                surroundings.bring(shard, lose).await;
            }
            plan::Event::Left(slots)
        });
    }

    fn note_lost(&self, slots: &[(Slot, Epoch)], reason: &'static str) {
        let target = |slot| self.planner.target(slot);
        noted::lost(&self.surroundings.journal, &self.me, slots, reason, target);
    }

    /// Owns slots no longer.
    fn release(&self, slots: Vec<(Slot, Epoch)>) {
        for (slot, epoch) in &slots {
            self.surroundings.owners.learn(*slot, Way::Nowhere(*epoch));
        }
        self.announcer.announce(slots, false);
    }

    async fn heard(&mut self, peer: PeerId, owned: Vec<Owned>) {
        self.step(plan::Event::Heard(owned.clone())).await;
        let mut found = Vec::new();
        for Owned {
            slot,
            epoch,
            is_owner,
        } in owned
        {
            self.registry.heard(slot, epoch);
            let way = match is_owner {
                true => Way::Peer(peer, epoch),
                false => Way::Nowhere(epoch),
            };
            if self.surroundings.owners.learn(slot, way) && is_owner {
                found.push(slot);
            }
        }
        if !found.is_empty() {
            self.reroute(found.into()).await;
        }
    }

    /// What is on its way to slots goes there once more.
    async fn reroute(&self, slots: Arc<[Slot]>) {
        for shard in 0..self.surroundings.mailboxes.len() {
            let event = Event::Rerouted(Arc::clone(&slots));
            self.surroundings.bring(shard, event).await;
        }
    }

    async fn bring(&self, slot: Slot, change: Change) {
        let shard = self.surroundings.mailboxes.shard_of(slot);
        let event = Event::Tenure(slot, change);
        self.surroundings.bring(shard, event).await;
    }

    /// Starts what takes time. It is bounded by the slots: of each one thing is under way.
    fn start(&self, work: impl Future<Output = plan::Event> + Send + 'static) {
        let back = self.back.clone();
        tokio::spawn(async move {
            let event = work.await;
            // The keeper has stopped.
            let _ = back.send(Message::Plan(event)).await;
        });
    }

    fn now(&self) -> u64 {
        self.surroundings.clock.now().mono
    }
}

/// Waits until a task is to end.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An origin that is dropped stops too.
    let _ = stop.wait_for(|stop| *stop).await;
}
