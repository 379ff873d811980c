//! Node: what every lane of this origin needs to know.

use std::sync::{Arc, Mutex, PoisonError};

use couplet_link::metrics::Metrics;
use couplet_link::wire::Caller;
use couplet_proto::link::wire::hello::{Hello, Role};
use couplet_proto::link::wire::v1;
use couplet_proto::slot::Slot;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::{Request, Status};

use super::Edges;
use crate::cluster::Cluster;
use crate::cluster::peers::Peers;
use crate::shard::Event;
use crate::shard::actor::Surroundings;
use crate::shard::mailbox::Mailboxes;

/// This origin, as its lanes see it.
pub(super) struct Node {
    /// How it greets; the lane is another each time.
    pub(super) hello: Hello,
    /// How many lanes it has to each other origin.
    pub(super) lanes: u16,
    pub(super) mailboxes: Mailboxes,
    pub(super) edges: Arc<Edges>,
    pub(super) peers: Arc<Peers>,
    pub(super) surroundings: Surroundings,
    pub(super) cluster: Cluster,
    pub(super) to_edges: Arc<Metrics>,
    pub(super) to_origins: Arc<Metrics>,
    /// True when all lanes are to end.
    pub(super) stop: watch::Sender<bool>,
    /// What runs for each lane that stands.
    tasks: Mutex<JoinSet<()>>,
}

// === impl Node ===

impl Node {
    pub(super) fn new(
        hello: Hello,
        lanes: u16,
        surroundings: &Surroundings,
        cluster: Cluster,
    ) -> Self {
        Self {
            hello,
            lanes,
            mailboxes: surroundings.mailboxes.clone(),
            edges: Arc::clone(&surroundings.edges),
            peers: Arc::clone(&surroundings.peers),
            surroundings: surroundings.clone(),
            cluster,
            to_edges: Arc::new(Metrics::new("edge")),
            to_origins: Arc::new(Metrics::new("origin")),
            stop: watch::Sender::new(false),
            tasks: Mutex::default(),
        }
    }

    /// Runs something for a lane. It outlives the call that the lane came with: what the lane
    /// leaves behind has to be told however that ends.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a lane did not end well");
            }
        }
        tasks.spawn(task);
    }

    /// Waits until no lane stands.
    pub(super) async fn ended(&self) {
        let mut tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        while tasks.join_next().await.is_some() {}
    }

    /// Brings an event to the owner of a slot, in order; waits for room among what edges say.
    pub(super) async fn bring(&self, slot: Slot, event: Event) {
        // A shard that takes nothing more is stopping, and the process with it.
        let _ = self.mailboxes.of_slot(slot).outer.send(event).await;
    }

    /// Brings an event to a shard, if there is one of this number.
    pub(super) async fn tell(&self, shard: u16, event: Event) {
        let shard = usize::from(shard);
        if shard < self.mailboxes.len() {
            self.surroundings.bring(shard, event).await;
        }
    }

    /// Brings what another origin says to the owner of a slot, in order.
    pub(super) async fn forward(&self, slot: Slot, event: Event) {
        let shard = self.mailboxes.shard_of(slot);
        self.surroundings.bring(shard, event).await;
    }
}

/// What the greeting of a caller says, when it may be what it says.
pub(super) fn welcome(
    hello: Option<v1::Hello>,
    role: Role,
    caller: Option<Caller>,
) -> Result<Hello, Status> {
    let address = caller.map(|caller| caller.address);
    let hello = Hello::decode(hello, role).map_err(|mismatch| {
        tracing::warn!(caller = ?address, %mismatch, "refused: its greeting");
        Status::failed_precondition(mismatch.to_string())
    })?;
    match caller {
        Some(caller) if caller.identity.may_be(role) => Ok(hello),
        _ => {
            tracing::warn!(caller = ?address, node = %hello.node, %role, "refused: its role");
            let message = format!("the certificate is not valid for `{}`", role.server_name());
            Err(Status::permission_denied(message))
        }
    }
}

/// Who has made a call.
pub(super) fn caller<T>(request: &Request<T>) -> Option<Caller> {
    request.extensions().get::<Caller>().copied()
}
