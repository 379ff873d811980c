//! Three origins in one process, which share a registry and a store in memory.

pub(crate) mod model;

mod standstill;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use couplet_proto::link::Waiting;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::NodeId;
use couplet_proto::link::peer::ToPeer;
use couplet_proto::slot::Slot;
use tokio::task::JoinHandle;

use self::model::Model;
use super::Cluster;
use super::map::Way;
use super::peers::{Asking, Leaving, PeerLink};
use crate::store::{Member, Registry};
use crate::{Config, Origin, config};

/// Shorter than usual, so that a test does not wait.
const SETTINGS: config::Cluster = config::Cluster {
    beat_ms: 100,
    lease_ms: 1000,
    moves_max: 32,
    join_wait_ms: 0,
};

/// A link that carries requests and announcements; no stanza is sent here.
struct Direct {
    node: NodeId,
    to: Cluster,
}

/// A node and its links to those that started before it, and theirs to it.
struct Running {
    node: NodeId,
    origin: Arc<Origin>,
    model: Model,
}

impl PeerLink for Direct {
    fn try_send(&self, _: ToPeer) -> Result<(), ToPeer> {
        Ok(())
    }

    fn room(&self) -> Waiting<'_> {
        Box::pin(async {})
    }

    fn node(&self) -> &NodeId {
        &self.node
    }

    fn leave(&self, slots: Vec<Slot>) -> Leaving<'_> {
        Box::pin(self.to.leave(slots))
    }

    fn ask(&self, _: Bytes) -> Asking<'_> {
        Box::pin(async { None })
    }
}

// === impl Running ===

impl Running {
    fn start(name: &str, model: &Model) -> Self {
        let node = NodeId(format!("{name}/1").into());
        Self::join(name, model.of(node), SETTINGS)
    }

    /// It beats once, then only when it has something new to say.
    fn start_quiet(name: &str, model: &Model) -> Self {
        let model = model.of(NodeId(format!("{name}/1").into()));
        let settings = config::Cluster {
            beat_ms: 3_600_000,
            ..SETTINGS
        };
        Self::join(name, model, settings)
    }

    fn join(name: &str, model: Model, settings: config::Cluster) -> Self {
        let member = member(name);
        let node = member.node.clone();
        let config = Config {
            node: node.0.to_string(),
            shards: 2,
            ..Config::default()
        };
        let store = Arc::new(model.clone());
        let origin = Origin::start_clustered(config, settings, store.clone(), store, member);
        Self {
            node,
            origin: Arc::new(origin.expect("started")),
            model,
        }
    }

    fn cluster(&self) -> &Cluster {
        self.origin.cluster.as_ref().expect("clustered")
    }

    /// A link from this node to another.
    fn link(&self, other: &Self) -> JoinHandle<()> {
        let peers = &self.origin.surroundings.peers;
        let id = peers.next_id();
        let link = Direct {
            node: other.node.clone(),
            to: other.cluster().clone(),
        };
        peers.link(id, Arc::new(link));
        let (cluster, mut theirs) = (self.cluster().clone(), other.cluster().subscribe());
        tokio::spawn(async move {
            while let Some(owned) = theirs.next().await {
                cluster.heard(id, owned).await;
            }
        })
    }

    /// Where it is the owner of each slot, at which epoch.
    fn epochs(&self) -> impl Iterator<Item = Option<Epoch>> {
        let owners = &self.origin.surroundings.owners;
        Slot::all().map(|slot| match owners.way(slot) {
            Way::Here(epoch) => Some(epoch),
            Way::Peer(..) | Way::Nowhere(_) => None,
        })
    }

    fn held(&self) -> usize {
        self.epochs().flatten().count()
    }
}

/// The first process of this name.
fn member(name: &str) -> Member {
    Member {
        node: NodeId(format!("{name}/1").into()),
        name: name.into(),
        address: format!("{name}:5270").into(),
        weight: 100,
        group: "".into(),
        is_draining: false,
    }
}

/// Waits for something, and looks that no slot is held twice at one epoch meanwhile.
async fn until(nodes: &[&Running], what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        if Instant::now() >= deadline {
            let standing = |node: &&Running| (node.node.clone(), node.cluster().standing());
            let all: Vec<_> = nodes.iter().map(standing).collect();
            panic!("{what}: {all:#?}");
        }
        for (at, one) in nodes.iter().enumerate() {
            for other in &nodes[at + 1..] {
                let mut pairs = one.epochs().zip(other.epochs());
                let is_twice = pairs.any(|(one, other)| one.is_some() && one == other);
                assert!(!is_twice, "{} and {} are both", one.node, other.node);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn link_all(nodes: &[&Running]) -> Vec<JoinHandle<()>> {
    let pairs = nodes
        .iter()
        .flat_map(|one| nodes.iter().map(move |other| (one, other)));
    pairs
        .filter(|(one, other)| one.node != other.node)
        .map(|(one, other)| one.link(other))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_origins_share_the_slots_and_take_over_from_each_other() {
    let model = Model::new(NodeId("nobody".into()));
    // Each sees the others with its first beat, however late theirs come.
    for name in ["a", "b", "c"] {
        let member = member(name);
        let beaten = model.beat(&member, SETTINGS.lease_ms).await;
        beaten.expect("reached");
    }
    let (a, b, c) = (
        Running::start("a", &model),
        Running::start("b", &model),
        Running::start("c", &model),
    );
    let all = [&a, &b, &c];
    let mut links = link_all(&all);
    until(&all, "everything is owned", || {
        all.iter().map(|node| node.held()).sum::<usize>() == 4096
    })
    .await;
    for node in all {
        let share = node.held();
        assert!((1200..=1434).contains(&share), "{share}");
    }
    until(&all, "everyone is ready", || {
        all.iter().all(|node| node.origin.is_ready())
    })
    .await;
    assert!(
        model
            .world()
            .owners
            .iter()
            .flatten()
            .all(|owner| owner.epoch.0 == 1)
    );

    // One cannot reach the store any more: it serves those it has, until others have its slots.
    c.model.cut();
    let left = [&a, &b];
    until(&all, "its slots are taken over", || {
        left.iter().map(|node| node.held()).sum::<usize>() == 4096
    })
    .await;
    until(&all, "and it has heard of that", || c.held() == 0).await;
    assert!(!c.origin.is_ready());

    // A new one gets its share by planned moves.
    let d = Running::start("d", &model);
    let now = [&a, &b, &d];
    for known in left {
        links.extend([d.link(known), known.link(&d)]);
    }
    until(&now, "it has its share", || d.held() > 1100).await;
    until(&now, "nothing is between two", || {
        now.iter().map(|node| node.held()).sum::<usize>() == 4096
    })
    .await;

    // One leaves, and the others have everything before it is gone.
    let patience = Duration::from_secs(60);
    a.origin.drain(patience).await;
    let left = model.world().count(&a.node);
    assert_eq!(left, 0);
    a.origin.stop().await;
    assert_eq!(b.held() + d.held(), 4096);
    links.iter().for_each(JoinHandle::abort);
}
