//! Cluster: who is there, who owns what, and the way to whom.
//!
//! ```text
//! store ◀─ beat ─ lease ──▶ keeper ─▶ plan ─▶ keeper ─▶ shards, map, announce
//!                             ▲                 └─▶ store: take; peers: leave
//!                  links: what others own, and ask for
//! ```
//!
//! - `lease`: whether this node may act as the owner of its slots.
//! - `keeper`: carries out what the planner decides.
//! - `noted`: what the journal is told of slots.
//! - `announce`: tells every link which slots this node owns.
//! - [`plan`]: decides, without I/O.
//! - `map`: where each slot's owner is, as this process knows it.
//! - `peers`: the links to other origins.

pub(crate) mod lease;

mod keeper;

mod noted;

pub(crate) mod announce;

pub mod plan;

pub mod map;

pub(crate) mod peers;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use couplet_proto::link::id::{NodeId, PeerId};
use couplet_proto::link::peer::Owned;
use couplet_proto::slot::Slot;
use hashbrown::HashMap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::announce::{Announcer, Subscription};
pub use self::keeper::Report;
use self::keeper::{Keeper, Message};
use self::lease::{Heart, Lease};
pub use self::peers::{Answering, Operator};
use self::plan::{Planner, Standing};
use crate::config::Cluster as Settings;
use crate::shard::actor::Surroundings;
use crate::store::{self, Member, Registry};

/// Messages that may wait for the keeper; whoever has one more waits.
const MESSAGES_MAX: usize = 1024;

/// How recent the last answered beat of a ready node is, in milliseconds.
const READY_MS: u64 = 3000;

/// This node's part in a cluster.
#[derive(Clone)]
pub(crate) struct Cluster {
    messages: mpsc::Sender<Message>,
    announcer: Arc<Announcer>,
    neighbours: watch::Receiver<Vec<Member>>,
    standing: watch::Receiver<Standing>,
    member: Arc<watch::Sender<Member>>,
    lease: Arc<Lease>,
    registry: Arc<dyn Registry>,
}

/// What a cluster starts with.
pub(crate) struct Start {
    pub(crate) member: Member,
    pub(crate) settings: Settings,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) surroundings: Surroundings,
    /// What the shards of `surroundings` wait for.
    pub(crate) lease: Arc<Lease>,
    /// Slots that the shards of `surroundings` find to be another's.
    pub(crate) fenced: mpsc::Receiver<Slot>,
}

// === impl Cluster ===

impl Cluster {
    /// Joins. The tasks end when `stop` is true.
    pub(crate) fn start(
        start: Start,
        stop: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let Start {
            member,
            settings,
            registry,
            surroundings,
            lease,
            fenced,
        } = start;
        let (messages, inbox) = mpsc::channel(MESSAGES_MAX);
        let announcer = Arc::new(Announcer::new());
        let (neighbours, seen_neighbours) = watch::channel(Vec::new());
        let (standing, seen_standing) = watch::channel(Standing::default());
        let me = member.node.clone();
        let planner = Planner::new(plan::Settings {
            me: me.clone(),
            name: member.name.clone(),
            lease_ms: settings.lease_ms,
            moves_max: settings.moves_max,
            join_wait_ms: settings.join_wait_ms,
        });
        let (member, seen_member) = watch::channel(member);
        let heart = Heart {
            lease: Arc::clone(&lease),
            registry: Arc::clone(&registry),
            owners: Arc::clone(&surroundings.owners),
            member: seen_member,
            keeper: messages.clone(),
            settings,
            is_doubtful: false,
        };
        let keeper = Keeper {
            planner,
            me,
            surroundings,
            registry: Arc::clone(&registry),
            announcer: Arc::clone(&announcer),
            back: messages.clone(),
            neighbours,
            standing,
            askers: HashMap::default(),
            last_asker: 0,
        };
        tasks.spawn(heart.run(stop.clone()));
        tasks.spawn(keeper.run(inbox, fenced, stop.clone()));
        Self {
            messages,
            announcer,
            neighbours: seen_neighbours,
            standing: seen_standing,
            member: Arc::new(member),
            lease,
            registry,
        }
    }

    /// Which process this is.
    pub(crate) fn node(&self) -> NodeId {
        self.member.borrow().node.clone()
    }

    /// What this node owns, for one more link.
    pub(crate) fn subscribe(&self) -> Subscription {
        self.announcer.subscribe()
    }

    /// The origin behind a link that is entered in `Peers` has told what it owns. In the order it
    /// was told; waits for room.
    pub(crate) async fn heard(&self, peer: PeerId, owned: Vec<Owned>) {
        self.tell(Message::Heard(peer, owned)).await;
    }

    /// A link to another origin is gone, after it was removed from `Peers`.
    pub(crate) async fn link_lost(&self, peer: PeerId) {
        self.tell(Message::LinkLost(peer)).await;
    }

    /// Another origin asks this one to leave slots: those that it has left, when it has.
    pub(crate) async fn leave(&self, slots: Vec<Slot>) -> Vec<Slot> {
        let (answer, left) = oneshot::channel();
        self.tell(Message::Asked(slots, answer)).await;
        left.await.unwrap_or_default()
    }

    /// The other members that are not dead: those to be linked to.
    pub(crate) fn neighbours(&self) -> watch::Receiver<Vec<Member>> {
        self.neighbours.clone()
    }

    /// What this node knows; `None` when it is stopping.
    pub(crate) async fn report(&self) -> Option<Report> {
        let (answer, report) = oneshot::channel();
        self.tell(Message::Report(answer)).await;
        report.await.ok()
    }

    /// How this node stands.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Whether the store answers and what should be this node's has an owner.
    pub(crate) fn is_ready(&self) -> bool {
        let is_heard = self.lease.age_ms().is_some_and(|age| age < READY_MS);
        is_heard && self.standing.borrow().is_settled && !self.member.borrow().is_draining
    }

    /// Gives this node's slots away, or takes its share again. Whether that is new.
    pub(crate) fn set_draining(&self, is_draining: bool) -> bool {
        self.member.send_if_modified(|member| {
            let is_new = member.is_draining != is_draining;
            member.is_draining = is_draining;
            is_new
        })
    }

    /// Waits until this node owns nothing any more, or nobody is there to take it.
    pub(crate) async fn drained(&self) {
        let mut standing = self.standing.clone();
        let is_done = |standing: &Standing| {
            let is_empty = standing.held == 0 && standing.owned == 0;
            is_empty || !standing.has_others
        };
        // The keeper has stopped: there is nothing to wait for.
        let _ = standing.wait_for(is_done).await;
    }

    /// Is no member any more: what it still owns is others' to take at once.
    pub(crate) async fn resign(&self) {
        let node = self.member.borrow().node.clone();
        let leaving = tokio::time::timeout(Duration::from_secs(1), self.registry.leave(&node));
        let error = match self.lease.give_up(leaving).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => store::Error::Unavailable("it does not answer".to_owned()),
        };
        tracing::warn!(%error, "the others wait until the lease of this node has run out");
    }

    async fn tell(&self, message: Message) {
        // The keeper has stopped.
        let _ = self.messages.send(message).await;
    }
}
