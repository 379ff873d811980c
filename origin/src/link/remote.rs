//! Remote: the links of this origin to other processes, from first to last.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use couplet_link::dial::Dialer;
use couplet_link::listen::{Listeners, server};
use couplet_link::{Credentials, Pool};
use couplet_proto::link::id::NodeId;
use couplet_proto::link::wire::hello::{Hello, Role};
use rand::Rng;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::call::Caller;
use super::node::Node;
use super::service::Service;
use crate::admin::system_rng;
use crate::cluster::Cluster;
use crate::shard::actor::Surroundings;

/// How long connections may take to end when all their lanes have.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How an origin is linked to edges and to the other origins.
#[derive(Debug)]
pub struct Settings {
    /// The sockets on which it is called.
    pub listeners: Listeners,
    /// What it shows; without, nothing is encrypted.
    pub credentials: Option<Arc<Credentials>>,
    /// Connections to each other origin.
    pub lanes: u16,
}

/// The running links. When it is dropped no more come; [`Links::stop`] ends those there are.
pub struct Links {
    node: Arc<Node>,
    serving: JoinHandle<()>,
    calling: JoinHandle<()>,
}

// === impl Links ===

impl Links {
    /// Lets others call, and calls the other origins as they come and go.
    pub(crate) fn start(
        settings: Settings,
        name: NodeId,
        cluster: Cluster,
        surroundings: &Surroundings,
    ) -> Self {
        let seed = surroundings.store.seed();
        let hello = Hello::new(Role::Origin, name, system_rng().next_u64()).with_seed(seed);
        let neighbours = cluster.neighbours();
        let node = Arc::new(Node::new(hello, settings.lanes, surroundings, cluster));
        let serving = serve(Arc::clone(&node), settings.listeners);
        let caller = Arc::new(Caller::new(Arc::clone(&node)));
        let dialer = Dialer::new(settings.credentials);
        let mut pool = Pool::new(caller, dialer, settings.lanes);
        let mut neighbours = neighbours;
        let calling = tokio::spawn(async move {
            loop {
                let members = neighbours.borrow_and_update().clone();
                let addresses = members.into_iter().map(|member| member.address.into());
                pool.want(&addresses.collect::<BTreeSet<String>>());
                if neighbours.changed().await.is_err() {
                    return;
                }
            }
        });
        Self {
            node,
            serving: tokio::spawn(serving),
            calling,
        }
    }

    /// Ends all links. The shards hear that the edges are gone.
    pub async fn stop(mut self) {
        self.calling.abort();
        self.node.stop.send_replace(true);
        self.node.ended().await;
        // Connections without a lane may still be there.
        let _ = timeout(CLOSE_TIMEOUT, &mut self.serving).await;
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.node.stop.send_replace(true);
        self.calling.abort();
        self.serving.abort();
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

async fn serve(node: Arc<Node>, listeners: Listeners) {
    let mut stop = node.stop.subscribe();
    let stopped = async move {
        // Its sender lives as long as the node.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let service = Service::new(node);
    let served = server().serve_with_incoming_shutdown(service, listeners.accept(), stopped);
    if let Err(error) = served.await {
        tracing::error!(%error, "the link is not served any more");
    }
}
