//! An edge and origins on loopback sockets.

mod rig;

use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Frame, ToEdge, ToOrigin};
use couplet_proto::link::id::ConnectionId;
use couplet_proto::link::wire::hello::{Hello, VERSION};
use couplet_proto::link::wire::v1;
use couplet_proto::link::{Refused, Route, Uplink};
use couplet_proto::slot::{Seed, Slot};

use self::rig::{Called, Origin, SEED, acked, hello, settings, slot, start, until, within};
use super::{Remote, Settings};

const SEVEN: u16 = 7;

fn way(remote: &Remote, number: u16) -> Option<Route> {
    remote.route(slot(number))
}

/// Waits until a slot has another way than this.
async fn another(remote: &Remote, number: u16, than: Option<Route>) -> Route {
    until("another way", || {
        let route = way(remote, number);
        route.is_some() && route != than
    })
    .await;
    way(remote, number).expect("there is one")
}

fn count(frame: &Frame<ToOrigin>) -> u64 {
    match frame.body {
        ToOrigin::Acked { count, .. } => count,
        _ => panic!("{frame:?}"),
    }
}

fn taken(number: u64) -> Frame<ToEdge> {
    Frame {
        slot: slot(SEVEN),
        epoch: Epoch(1),
        body: ToEdge::Taken {
            connection: ConnectionId(1),
            number,
        },
    }
}

async fn one_lane() -> (Remote, std::sync::Arc<rig::Heard>, Origin, Called) {
    let mut origin = Origin::start(hello("o1", 1)).await;
    let (remote, heard) = start(settings(&[origin.address], 1)).await;
    let called = origin.called().await;
    (remote, heard, origin, called)
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_arrive_in_order_and_are_accepted() {
    let (remote, heard, _origin, mut called) = one_lane().await;
    assert_eq!(
        (called.hello.lane, called.hello.lanes, &*called.hello.node.0),
        (0, 1, "e1")
    );
    let account = Jid::parse("juliet@capulet.lit").expect("valid");
    assert_eq!(remote.slot_of(&account), Slot::of(SEED, &account));
    assert_eq!(way(&remote, SEVEN), None);
    called.own(&[(SEVEN, 3, true)]).await;
    let route = another(&remote, SEVEN, None).await;
    assert_eq!(route.epoch, Epoch(3));
    assert_eq!(*heard.rerouted.lock().expect("whole"), [slot(SEVEN)]);
    for number in 1..=1000 {
        while let Err(Refused::Full(_)) = remote.try_send(slot(SEVEN), route, acked(number)) {
            within(remote.room(slot(SEVEN))).await;
        }
    }
    for number in 1..=1000 {
        let frame = called.frame().await;
        assert_eq!((count(&frame), frame.epoch), (number, Epoch(3)));
    }
    for part in 0..10 {
        called
            .send((1..=20).map(|n| taken(part * 20 + n)).collect())
            .await;
    }
    while called.accepted < 200 {
        called.message().await;
    }
    let frames = heard.frames.lock().expect("whole");
    let numbers = frames.iter().map(|frame| match frame.body {
        ToEdge::Taken { number, .. } => number,
        _ => 0,
    });
    assert_eq!(numbers.collect::<Vec<_>>(), (1..=200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_and_origins_talk_under_mutual_tls() {
    let [ours, theirs] = rig::credentials();
    let any = "127.0.0.1:0".parse().expect("an address");
    let mut origin = Origin::with(hello("o1", 1), any, Some(theirs)).await;
    let settings = Settings {
        credentials: Some(ours),
        ..settings(&[origin.address], 1)
    };
    let (remote, _heard) = start(settings).await;
    let mut called = origin.called().await;
    called.own(&[(SEVEN, 3, true)]).await;
    let route = another(&remote, SEVEN, None).await;
    for number in 1..=300 {
        let sent = remote.try_send(slot(SEVEN), route, acked(number));
        sent.expect("linked");
    }
    for number in 1..=300 {
        assert_eq!(count(&called.frame().await), number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_a_newer_version_is_left_out_and_counted_as_accepted() {
    let (_remote, heard, _origin, mut called) = one_lane().await;
    let unknown = v1::OriginFrame {
        age_ms: 0,
        slot: 1,
        epoch: 1,
        body: None,
    };
    let message = v1::OriginBatch {
        frames: vec![unknown],
        ..v1::OriginBatch::default()
    };
    called.say(message).await;
    called.send(vec![taken(1)]).await;
    while called.accepted < 2 {
        called.message().await;
    }
    assert_eq!(heard.frames.lock().expect("whole").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_link_is_dialed_again_and_is_another_way() {
    let (remote, heard, origin, called) = one_lane().await;
    called.own(&[(SEVEN, 3, true), (9, 3, true)]).await;
    let former = another(&remote, 9, None).await;
    heard.rerouted.lock().expect("whole").clear();
    drop(called);
    let address = origin.kill().await;
    until("no way", || way(&remote, SEVEN).is_none()).await;
    until("told", || heard.rerouted.lock().expect("whole").len() == 2).await;
    let lost = remote.try_send(slot(SEVEN), former, acked(1));
    assert!(matches!(lost, Err(Refused::Moved(_))), "{lost:?}");
    // Another start of it, at the same place.
    let mut origin = Origin::at(hello("o1", 2), address).await;
    let mut called = origin.called().await;
    called.own(&[(SEVEN, 3, true)]).await;
    let route = another(&remote, SEVEN, Some(former)).await;
    assert_ne!(route.link, former.link);
    remote
        .try_send(slot(SEVEN), route, acked(5))
        .expect("linked");
    assert_eq!(count(&called.frame().await), 5);
    // What is sent by the former way goes nowhere.
    let former = remote.try_send(slot(SEVEN), former, acked(1));
    assert!(matches!(former, Err(Refused::Moved(_))), "{former:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_stays_with_the_origin_that_began_it() {
    let (mut first, mut second) = (
        Origin::start(hello("o1", 1)).await,
        Origin::start(hello("o2", 2)).await,
    );
    let (remote, _heard) = start(settings(&[first.address, second.address], 1)).await;
    let (mut one, mut other) = (first.called().await, second.called().await);
    one.own(&[(SEVEN, 3, true)]).await;
    let former = another(&remote, SEVEN, None).await;
    other.own(&[(SEVEN, 4, true)]).await;
    let route = another(&remote, SEVEN, Some(former)).await;
    let abort = ToOrigin::Abort {
        connection: ConnectionId(1),
        account: Jid::parse("a@b").expect("valid"),
    };
    remote.try_send(slot(SEVEN), former, abort).expect("linked");
    let frame = one.frame().await;
    assert!(matches!(frame.body, ToOrigin::Abort { .. }));
    assert_eq!(frame.epoch, Epoch(3));
    let stale = remote.try_send(slot(SEVEN), former, acked(1));
    assert!(matches!(stale, Err(Refused::Moved(_))), "{stale:?}");
    remote
        .try_send(slot(SEVEN), route, acked(2))
        .expect("linked");
    assert_eq!(count(&other.frame().await), 2);
}

/// HTTP/2 keeps a few MiB under way; what exceeds them waits here, and then its senders wait.
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_does_not_read_holds_senders_up_until_it_does() {
    let (remote, _heard, _origin, mut called) = one_lane().await;
    called.own(&[(SEVEN, 1, true)]).await;
    let route = another(&remote, SEVEN, None).await;
    let account = Jid::parse("a@b").expect("valid");
    let large = || ToOrigin::Respond {
        connection: ConnectionId(1),
        account: account.clone(),
        data: vec![0; 64 * 1024].into(),
    };
    let mut sent = 0;
    // Full, and still so when what can be under way is.
    let mut refusals = 0;
    while refusals < 10 {
        match remote.try_send(slot(SEVEN), route, large()) {
            Ok(()) => (sent, refusals) = (sent + 1, 0),
            Err(Refused::Full(_)) => {
                refusals += 1;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    let room = remote.room(slot(SEVEN));
    let read = async {
        for _ in 0..sent {
            called.frame().await;
        }
    };
    within(async { tokio::join!(room, read) }).await;
    remote.try_send(slot(SEVEN), route, acked(1)).expect("room");
    assert_eq!(count(&called.frame().await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_room_hears_that_the_way_is_another() {
    let (remote, _heard, _origin, called) = one_lane().await;
    called.own(&[(SEVEN, 1, true)]).await;
    let route = another(&remote, SEVEN, None).await;
    let full = || remote.try_send(slot(SEVEN), route, acked(1));
    let mut refusals = 0;
    while refusals < 10 {
        match full() {
            Ok(()) => refusals = 0,
            Err(Refused::Full(_)) => {
                refusals += 1;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    let room = remote.room(slot(SEVEN));
    let lose = async { called.own(&[(SEVEN, 1, false)]).await };
    within(async { tokio::join!(room, lose) }).await;
    // There may have been room after all, and then the news is still on its way.
    until("no way", || way(&remote, SEVEN).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_slot_has_its_lane() {
    let mut origin = Origin::start(hello("o1", 1)).await;
    let (remote, _heard) = start(settings(&[origin.address], 3)).await;
    let mut lanes = Vec::new();
    for _ in 0..3 {
        let called = origin.called().await;
        called
            .own(&[(6, 1, true), (7, 1, true), (8, 1, true)])
            .await;
        lanes.push(called);
    }
    for number in [6, 7, 8] {
        let route = another(&remote, number, None).await;
        remote
            .try_send(slot(number), route, acked(u64::from(number)))
            .expect("linked");
    }
    for called in &mut lanes {
        let frame = called.frame().await;
        assert_eq!(frame.slot.number() % 3, called.hello.lane);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_with_two_addresses_is_linked_once() {
    let mut origin = Origin::start(hello("o1", 1)).await;
    // Another face of the same process.
    let mut other = Origin::start(hello("o1", 1)).await;
    let (remote, _heard) = start(settings(&[origin.address, other.address], 1)).await;
    let (one, two) = (origin.called().await, other.called().await);
    let _ = one.try_own(&[(SEVEN, 1, true)]).await;
    let _ = two.try_own(&[(SEVEN, 1, true)]).await;
    let route = another(&remote, SEVEN, None).await;
    // One of the two was given up; the way does not go back and forth.
    assert!(origin.called_soon().await.is_none());
    assert!(other.called_soon().await.is_none());
    assert_eq!(way(&remote, SEVEN), Some(route));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_of_a_newer_version_is_linked_if_it_understands_this_one() {
    let newer = |node, incarnation, oldest| Hello {
        version: VERSION + 1,
        oldest,
        ..hello(node, incarnation)
    };
    let mut understood = Origin::start(newer("o1", 1, VERSION)).await;
    let mut too_new = Origin::start(newer("o2", 2, VERSION + 1)).await;
    let all = [understood.address, too_new.address];
    let (remote, _heard) = start(settings(&all, 1)).await;
    // It is called again, because it was refused.
    for _ in 0..2 {
        let _ = too_new.called().await.try_own(&[(8, 1, true)]).await;
    }
    let called = understood.called().await;
    called.own(&[(SEVEN, 1, true)]).await;
    another(&remote, SEVEN, None).await;
    assert_eq!(way(&remote, 8), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_of_another_cluster_is_refused() {
    let other = Seed([9; 16]);
    let ours = Origin::start(hello("o1", 1)).await;
    let theirs = Origin::start(hello("o2", 2).with_seed(other)).await;
    let (remote, _heard) = start(settings(&[ours.address, theirs.address], 1)).await;
    let account = Jid::parse("juliet@capulet.lit").expect("valid");
    // The first that answers decides which cluster it is.
    let (mut linked, mut refused) = match remote.slot_of(&account) == Slot::of(SEED, &account) {
        true => (ours, theirs),
        false => (theirs, ours),
    };
    for _ in 0..2 {
        // The lane may be gone before this is said.
        let _ = refused.called().await.try_own(&[(8, 1, true)]).await;
    }
    let called = linked.called().await;
    called.own(&[(SEVEN, 1, true)]).await;
    another(&remote, SEVEN, None).await;
    assert_eq!(way(&remote, 8), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_rules_are_followed_whoever_tells_them() {
    let mut first = Origin::start(hello("o1", 1)).await;
    let mut second = Origin::start(hello("o2", 2)).await;
    let settings = settings(&[first.address, second.address], 1);
    let (remote, heard) = start(settings).await;
    let (one, two) = (first.called().await, second.called().await);
    let tell = async |called: &Called, version, domains: &[&str]| {
        let message = v1::OriginBatch {
            rules: Some(v1::Rules {
                version,
                domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
                ..v1::Rules::default()
            }),
            ..v1::OriginBatch::default()
        };
        called.say(message).await;
    };
    let versions = || -> Vec<(u64, usize)> {
        let rules = heard.rules.lock().expect("whole");
        let rules = rules.iter();
        rules
            .map(|rules| (rules.version, rules.domains.len()))
            .collect()
    };
    tell(&one, 4, &["a.example"]).await;
    within(remote.ruled()).await;
    assert_eq!(versions(), [(4, 1)]);
    tell(&two, 3, &[]).await;
    tell(&two, 5, &["a.example", "romeo@a.example", "b.example"]).await;
    until("new rules", || versions().len() == 2).await;
    assert_eq!(versions(), [(4, 1), (5, 2)]);
    // The one that knew them is gone: the other will hear of them, and is believed until then.
    drop(two);
    second.kill().await;
    until("the rules of the other", || versions().len() == 3).await;
    assert_eq!(versions()[2], (4, 1));
}
