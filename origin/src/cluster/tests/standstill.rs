//! A node that has stood still: what it does before it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Frame, ToEdge, ToOrigin};
use couplet_proto::link::id::{NodeId, SessionId};
use couplet_proto::slot::Slot;
use tokio::sync::{mpsc, watch};

use super::model::Model;
use super::{Running, SETTINGS};
use crate::clerk::Clerk;
use crate::clock::Clock;
use crate::cluster::keeper::Message;
use crate::cluster::lease::{Heart, Lease};
use crate::cluster::map::{OwnerMap, Way};
use crate::config::Config;
use crate::link::{Lane, Owed};
use crate::shard::Event;
use crate::shard::event::Change;
use crate::store::{Member, Owner};

/// A lane that counts how often it is told of another owner.
#[derive(Default)]
struct Corrected(AtomicUsize);

impl Lane for Corrected {
    fn carries(&self, _: Slot) -> bool {
        true
    }

    fn send(&self, frames: &mut Vec<Frame<ToEdge>>, _: &mut Owed) -> bool {
        frames.clear();
        true
    }

    fn moved(&self, _: Slot) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn tell_rules(&self) {}
}

fn slot(number: u16) -> Slot {
    Slot::new(number).expect("below SLOTS")
}

fn member(node: &NodeId) -> Member {
    Member {
        node: node.clone(),
        name: "a".into(),
        address: "".into(),
        weight: 100,
        group: "".into(),
        is_draining: false,
    }
}

/// Owner of slots 0 and 1, the second of which is another's by now.
fn heart(model: &Model, node: &NodeId) -> (Heart, mpsc::Receiver<Message>) {
    let owners = Arc::new(OwnerMap::new());
    for number in 0..2 {
        owners.learn(slot(number), Way::Here(Epoch(1)));
    }
    let owner = |node: &str, epoch| Owner {
        node: NodeId(node.into()),
        epoch: Epoch(epoch),
    };
    model.world().owners[0] = Some(owner(&node.0, 1));
    model.world().owners[1] = Some(owner("b/1", 2));
    let store = Arc::new(model.clone());
    let parts = crate::Parts::new(Config::default(), store).expect("sound");
    let clerk = Clerk::new(parts.surroundings, &parts.config.limits);
    let clerk = Arc::new(clerk);
    let (keeper, told) = mpsc::channel(8);
    let heart = Heart {
        lease: Arc::new(Lease::new(Clock::start())),
        registry: Arc::new(model.clone()),
        owners,
        member: watch::channel(member(node)).1,
        keeper,
        settings: SETTINGS,
        clerk,
        is_doubtful: false,
    };
    (heart, told)
}

#[tokio::test]
async fn what_was_lost_is_known_before_anything_goes_on() {
    let node = NodeId("a/1".into());
    let model = Model::new(node.clone());
    let (mut heart, _told) = heart(&model, &node);
    heart.lease.doubt();
    assert!(!heart.lease.is_certain());
    heart.beat().await;
    assert!(heart.lease.is_certain());
    assert_eq!(heart.lease.gaps(), 1);
    assert_eq!(heart.owners.way(slot(0)), Way::Here(Epoch(1)));
    assert_eq!(heart.owners.way(slot(1)), Way::Nowhere(Epoch(2)));
    heart.beat().await;
    assert_eq!(heart.lease.gaps(), 1);
}

#[tokio::test]
async fn without_the_store_it_goes_on_and_looks_when_the_store_is_back() {
    let node = NodeId("a/1".into());
    let model = Model::new(node.clone());
    let (mut heart, _told) = heart(&model, &node);
    heart.lease.doubt();
    model.cut();
    // A beat that failed after a sleep says nothing about the store.
    let lease = Arc::clone(&heart.lease);
    heart.failed_after(2000, "a test");
    assert!(!lease.is_certain());
    heart.beat().await;
    assert!(lease.is_certain());
    assert_eq!(lease.gaps(), 0);
    model.join();
    heart.beat().await;
    assert_eq!(lease.gaps(), 1);
    assert_eq!(heart.owners.way(slot(1)), Way::Nowhere(Epoch(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_wait_and_drop_what_they_have_lost() {
    let model = Model::new(NodeId("nobody".into()));
    let a = Running::start_quiet("a", &model);
    let deadline = Instant::now() + Duration::from_secs(20);
    while a.origin.report().await.expect("it runs").nodes.is_empty() {
        assert!(Instant::now() < deadline, "the first beat");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let surroundings = &a.origin.surroundings;
    let lane = Arc::new(Corrected::default());
    let edge = surroundings.edges.attach(lane.clone());
    let lease = surroundings.lease.clone().expect("clustered");
    let (slot, epoch) = (slot(0), Epoch(1));
    let shard = surroundings.mailboxes.shard_of(slot);
    let take = Event::Tenure(slot, Change::Take(epoch, Vec::new()));
    surroundings.owners.learn(slot, Way::Here(epoch));
    surroundings.bring(shard, take).await;
    let (done, taken) = tokio::sync::oneshot::channel();
    let probe = Event::List(Box::default(), done);
    let outer = &surroundings.mailboxes.of(shard).outer;
    outer.send(probe).await.expect("it runs");
    taken.await.expect("it has the slot");

    lease.doubt();
    let body = ToOrigin::Acked {
        session: SessionId(1),
        count: 0,
    };
    let frame = Frame { slot, epoch, body };
    let event = Event::FromEdge(edge, frame);
    outer.send(event).await.expect("it runs");
    // Somebody else has it, as this node finds out.
    model.world().owners[0] = Some(Owner {
        node: NodeId("b/1".into()),
        epoch: Epoch(2),
    });
    assert!(a.cluster().set_draining(true));
    while lane.0.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < deadline, "the frame was taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(lease.is_certain());
    a.origin.stop().await;
}
