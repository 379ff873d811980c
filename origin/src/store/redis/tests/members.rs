//! Leases, descriptions, pins.

use std::time::Instant;

use couplet_proto::link::id::NodeId;
use couplet_proto::slot::Slot;

use super::server::IN_TIME;
use super::{open, open_at};
use crate::directives::Directives;
use crate::store::{Error, Member, Pin, Registry, Store};

pub(super) fn member(name: &str) -> Member {
    Member {
        node: NodeId(format!("{name}-1").into()),
        name: name.into(),
        address: format!("{name}.example:5280").into(),
        weight: 100,
        group: "eu".into(),
        is_draining: false,
    }
}

#[tokio::test]
async fn members_see_each_other_while_they_beat() {
    let (a, server) = open().await;
    let b = open_at(&server.url(), "b").await;
    let (juliet, mut romeo) = (member("juliet"), member("romeo"));
    let alone = a.beat(&juliet, 4000).await.expect("beats");
    assert_eq!(alone.members.len(), 1);
    assert_eq!(alone.members[0].0, juliet);
    assert!((3000..=4000).contains(&alone.members[0].1), "{alone:?}");
    romeo.is_draining = true;
    let both = b.beat(&romeo, 5000).await.expect("beats");
    let seen: Vec<_> = both
        .members
        .iter()
        .map(|(member, _)| member.clone())
        .collect();
    assert_eq!(seen, [juliet.clone(), romeo.clone()]);
    assert!(both.members[1].1 > 4000, "{both:?}");
    b.leave(&romeo.node).await.expect("left");
    b.leave(&romeo.node).await.expect("left already");
    let alone = a.beat(&juliet, 4000).await.expect("beats");
    assert_eq!(alone.members.len(), 1);
}

#[tokio::test]
async fn a_lease_runs_out_and_a_silent_member_is_forgotten() {
    let (store, server) = open().await;
    let (juliet, romeo) = (member("juliet"), member("romeo"));
    store.beat(&romeo, 30).await.expect("beats");
    let started = Instant::now();
    loop {
        let view = store.beat(&juliet, 4000).await.expect("beats");
        assert_eq!(view.members.len(), 2, "{view:?}");
        if view.members[1].1 <= 0 {
            break;
        }
        assert!(started.elapsed() < IN_TIME);
    }
    let leases = "couplet:{cluster}:leases";
    let now = server.ask(&["ZSCORE", leases, "juliet-1"]);
    let long_ago: i64 = now.parse::<i64>().expect("milliseconds") - 70_000;
    server.ask(&["ZADD", leases, &long_ago.to_string(), "romeo-1"]);
    let view = store.beat(&juliet, 4000).await.expect("beats");
    assert_eq!(view.members.len(), 1);
    assert_eq!(
        server.ask(&["HEXISTS", "couplet:{cluster}:members", "romeo-1"]),
        "0"
    );
}

#[tokio::test]
async fn a_member_that_cannot_be_read_hides_no_other() {
    let (store, server) = open().await;
    store.beat(&member("romeo"), 4000).await.expect("beats");
    server.ask(&["HSET", "couplet:{cluster}:members", "romeo-1", "?"]);
    let view = store.beat(&member("juliet"), 4000).await.expect("beats");
    assert_eq!(view.members.len(), 1);
}

#[tokio::test]
async fn a_redis_that_lost_its_data_is_not_taken_for_the_same() {
    let (store, server) = open().await;
    server.ask(&["FLUSHALL"]);
    let refused = store.beat(&member("juliet"), 4000).await;
    let Err(Error::Corrupt(words)) = refused else {
        panic!("{refused:?}");
    };
    assert!(words.contains("lost its data"), "{words}");
}

#[tokio::test]
async fn pins_are_replaced_as_a_whole() {
    let (store, server) = open().await;
    assert_eq!(store.pins().await.expect("read"), []);
    let pin = |first, last, group: &str| Pin {
        first: Slot::new(first).expect("below SLOTS"),
        last: Slot::new(last).expect("below SLOTS"),
        group: group.into(),
    };
    let me = member("juliet");
    let before = store.beat(&me, 4000).await.expect("beats").version;
    let pins = vec![pin(0, 99, "eu"), pin(100, 100, "us")];
    store.set_pins(pins.clone()).await.expect("set");
    assert_eq!(store.pins().await.expect("read"), pins);
    assert!(store.beat(&me, 4000).await.expect("beats").version > before);
    store.set_pins(vec![pin(5, 6, "")]).await.expect("set");
    assert_eq!(store.pins().await.expect("read"), [pin(5, 6, "")]);
    server.ask(&["SET", "couplet:{cluster}:pins", "garbage"]);
    let read = store.pins().await;
    assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
}

#[tokio::test]
async fn a_beat_tells_which_directives_there_are() {
    let (store, server) = open().await;
    let me = member("juliet");
    let version = async || store.beat(&me, 4000).await.expect("beats").directives;
    assert_eq!(version().await, 0);
    let next = Directives {
        version: 41,
        ..Directives::default()
    };
    assert!(store.set_directives(0, &next).await.expect("set"));
    assert_eq!(version().await, 41);
    server.ask(&["SET", "couplet:{cluster}:directives", "garbage"]);
    assert_eq!(version().await, 0);
    let read = store.directives().await;
    assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
}
