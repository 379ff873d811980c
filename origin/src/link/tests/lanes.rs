//! One lane of an edge without sockets: what is owed, and when it is paid.

use std::sync::Arc;

use couplet_link::metrics::Metrics;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Delivery, Frame, ToEdge};
use couplet_proto::link::id::{ConnectionId, NodeId};
use couplet_proto::link::wire::v1;
use couplet_proto::slot::Slot;
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};
use futures_util::{FutureExt, StreamExt};

use super::super::outbound::EdgeLane;
use super::super::{Lane, Owed};
use crate::cluster::announce::Announcer;
use crate::cluster::tests::model::Model;
use crate::config::Config;
use crate::directives::{AddedDomain, Directives};
use crate::shard::actor::Surroundings;

fn lane() -> EdgeLane {
    let store = Arc::new(Model::new(NodeId("o".into())));
    let parts = crate::Parts::new(Config::default(), store).expect("sound");
    lane_of(&parts.surroundings)
}

fn lane_of(surroundings: &Surroundings) -> EdgeLane {
    EdgeLane::of(1, 4, surroundings, Arc::new(Metrics::new("edge")))
}

fn deliveries(count: usize, text: &str) -> Vec<Frame<ToEdge>> {
    let body = Element::new("body", ns::CLIENT).text(text);
    let stanza = Arc::new(Stanza::new(Kind::Message, Type::Chat).child(&body));
    let delivery = Delivery {
        connections: [ConnectionId(1)].into_iter().collect(),
        stanza,
        source: None,
        log: None,
        entered: 0,
    };
    let frame = Frame {
        slot: Slot::new(1).expect("below SLOTS"),
        epoch: Epoch(1),
        body: ToEdge::Deliver(delivery),
    };
    vec![frame; count]
}

fn owed(shard: u16, debts: &[u64]) -> Owed {
    Owed {
        shard,
        debts: debts.to_vec(),
    }
}

#[test]
fn debts_are_paid_when_their_frames_are_accepted() {
    let lane = lane();
    assert!(!lane.send(&mut deliveries(2, "a"), &mut owed(0, &[10])));
    assert!(!lane.send(&mut deliveries(1, "b"), &mut owed(1, &[11, 12])));
    assert!(!lane.send(&mut deliveries(1, "c"), &mut owed(0, &[])));
    assert!(!lane.send(&mut deliveries(1, "d"), &mut owed(0, &[13])));
    assert!(lane.accepted(1).is_empty());
    assert_eq!(
        lane.accepted(2).into_iter().collect::<Vec<_>>(),
        [(0, vec![10])]
    );
    assert!(lane.accepted(2).is_empty());
    assert_eq!(
        lane.accepted(4).into_iter().collect::<Vec<_>>(),
        [(1, vec![11, 12])]
    );
    // What the edge has not accepted comes back, and what comes later stays with its shard.
    assert_eq!(
        lane.close().into_iter().collect::<Vec<_>>(),
        [(0, vec![13])]
    );
    let mut late = owed(0, &[14]);
    assert!(!lane.send(&mut deliveries(1, "e"), &mut late));
    assert_eq!(late.debts, [14]);
    assert!(lane.close().is_empty());
}

#[test]
fn a_lane_carries_its_part_of_the_slots() {
    let lane = lane();
    let carried = Slot::all().filter(|slot| lane.carries(*slot)).count();
    assert_eq!(carried, 1024);
    assert!(lane.carries(Slot::new(5).expect("below SLOTS")));
}

#[test]
fn a_lane_with_too_much_in_it_is_cut() {
    let lane = lane();
    let text = "x".repeat(1024 * 1024);
    let mut cut = std::pin::pin!(lane.cut());
    assert!(cut.as_mut().now_or_never().is_none());
    for number in 0..80 {
        lane.send(&mut deliveries(1, &text), &mut owed(0, &[number]));
    }
    assert!(cut.now_or_never().is_some());
    // Not one of the debts is forgotten.
    let unpaid = lane.close().remove(&0).expect("unpaid");
    assert_eq!(unpaid, (0..80).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_edge_is_told_the_rules_first_and_when_they_change() {
    let store = Arc::new(Model::new(NodeId("o".into())));
    let parts = crate::Parts::new(Config::default(), store).expect("sound");
    let board = Arc::clone(&parts.surroundings.board);
    let lane = Arc::new(lane_of(&parts.surroundings));
    let announced = Arc::new(Announcer::new()).subscribe();
    let mut messages = Box::pin(Arc::clone(&lane).messages(v1::Hello::default(), announced));
    let mut next = async || messages.next().await.expect("open");
    assert!(next().await.hello.is_some());
    // Nothing is known yet, and what is owned does not wait for that.
    assert_eq!(next().await.rules, None);
    let directives = |version, domains: &[&str]| {
        let mut directives = Directives {
            version,
            ..Directives::default()
        };
        for domain in domains {
            directives.add(AddedDomain {
                domain: Jid::parse(domain).expect("a domain"),
                by: "".into(),
                since: 0,
            });
        }
        directives
    };
    board.post(directives(3, &[]));
    lane.tell_rules();
    let told = next().await.rules.expect("told");
    assert_eq!((told.version, told.domains.len()), (3, 0));
    // What changes faster than it is told is told once, as it stands.
    for version in 4..9 {
        board.post(directives(version, &["b.example"]));
        lane.tell_rules();
    }
    let told = next().await.rules.expect("told");
    assert_eq!((told.version, told.domains.len()), (8, 1));
    lane.send(&mut deliveries(1, "a"), &mut owed(0, &[]));
    let message = next().await;
    assert_eq!((message.rules, message.frames.len()), (None, 1));
}
