//! Origins on loopback sockets, and callers that say what a test wants.

mod rig;

mod lanes;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Authenticate, Channel, Frame, ToEdge, ToOrigin};
use couplet_proto::link::id::{ConnectionId, NodeId, SessionId, Source};
use couplet_proto::link::peer::{Forward, ToPeer};
use couplet_proto::link::wire::hello::{Hello, OLDEST, Role, VERSION};
use couplet_proto::link::wire::lists::Lists;
use couplet_proto::link::wire::{down, peer, up, v1};
use couplet_proto::slot::{SLOTS, Slot};
use couplet_proto::xmpp::error::SaslCondition;
use couplet_proto::{Jid, Kind, Stanza, Type};
use tonic::Code;

use self::rig::{Certificates, Running, SEED, edge, hello, peer as origin_call, until};
use crate::cluster::tests::model::Model;

fn juliet() -> (Slot, Jid) {
    let jid = Jid::parse("juliet@localhost").expect("valid");
    (Slot::of(SEED, &jid), jid)
}

/// A login that cannot succeed: there is no such account.
fn login(slot: Slot, epoch: Epoch, account: &Jid) -> v1::EdgeBatch {
    let request = Authenticate {
        account: account.clone(),
        mechanism: "PLAIN".into(),
        initial: b"\0juliet\0wrong".to_vec().into(),
        channel: Channel {
            is_encrypted: true,
            offered: vec!["PLAIN"],
            ..Channel::default()
        },
    };
    let body = ToOrigin::Authenticate(ConnectionId(5), Box::new(request));
    v1::EdgeBatch {
        frames: vec![up::encode(Frame { slot, epoch, body })],
        ..v1::EdgeBatch::default()
    }
}

async fn converse(origin: &Running, certificates: Option<(&Certificates, Role)>) {
    let mut edge = edge(origin, certificates, &hello(Role::Edge))
        .await
        .expect("let in");
    let (slot, account) = juliet();
    assert_eq!(edge.hello.seed, Some(SEED));
    assert_eq!(edge.hello.node, origin.node);
    let epoch = edge.epoch_of(slot).await;
    edge.say(login(slot, epoch, &account)).await;
    let frame = down::decode(edge.frame().await, &mut Lists::default()).expect("known");
    assert_eq!((frame.slot, frame.epoch), (slot, epoch));
    match frame.body {
        ToEdge::Refused {
            connection,
            condition,
            ..
        } => {
            assert_eq!(connection, ConnectionId(5));
            assert_eq!(condition, SaslCondition::NotAuthorized);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_told_what_is_owned_and_is_answered() {
    let origin = Running::alone(None).await;
    converse(&origin, None).await;
    // With a frame of another epoch it hears again who owns the slot.
    let mut edge = edge(&origin, None, &hello(Role::Edge))
        .await
        .expect("let in");
    let (slot, account) = juliet();
    let epoch = edge.epoch_of(slot).await;
    edge.say(login(slot, Epoch(epoch.0 + 5), &account)).await;
    assert_eq!(edge.epoch_of(slot).await, epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_decide_who_may_be_what() {
    let certificates = Certificates::new();
    let origin = Running::alone(Some(&certificates)).await;
    converse(&origin, Some((&certificates, Role::Edge))).await;
    // An origin may not call as an edge, an edge not as an origin.
    let wrong = edge(
        &origin,
        Some((&certificates, Role::Origin)),
        &hello(Role::Edge),
    )
    .await;
    assert_eq!(
        wrong.err().map(|status| status.code()),
        Some(Code::PermissionDenied)
    );
    let wrong = origin_call(
        &origin,
        Some((&certificates, Role::Edge)),
        &hello(Role::Origin),
    )
    .await;
    assert_eq!(
        wrong.err().map(|status| status.code()),
        Some(Code::PermissionDenied)
    );
    let right = origin_call(
        &origin,
        Some((&certificates, Role::Origin)),
        &hello(Role::Origin),
    )
    .await;
    assert!(right.is_ok());
    // Nobody without TLS.
    let plain = edge(&origin, None, &hello(Role::Edge)).await;
    assert!(plain.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_cannot_be_understood_are_refused() {
    let origin = Running::alone(None).await;
    let newer = |oldest| Hello {
        version: VERSION + 1,
        oldest,
        ..hello(Role::Edge)
    };
    edge(&origin, None, &newer(VERSION))
        .await
        .map(|_| ())
        .expect("understood");
    let older = Hello {
        version: OLDEST - 1,
        oldest: OLDEST - 1,
        ..hello(Role::Edge)
    };
    for wrong in [newer(VERSION + 1), older, hello(Role::Origin)] {
        let refused = edge(&origin, None, &wrong).await;
        let code = refused.err().map(|status| status.code());
        assert_eq!(code, Some(Code::FailedPrecondition), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stanza_of_another_origin_takes_effect_and_is_settled() {
    let origin = Running::alone(None).await;
    let mut caller = origin_call(&origin, None, &hello(Role::Origin))
        .await
        .expect("let in");
    let (slot, account) = juliet();
    let epoch = caller.epoch_of(slot).await;
    let from = Jid::parse("romeo@localhost/r").expect("valid");
    let routes = [7, 8, 9];
    let frames = routes.map(|route| {
        let stanza = Stanza::new(Kind::Message, Type::Headline)
            .from(from.clone())
            .to(account.clone());
        peer::encode(&ToPeer::Forward(Forward {
            entered: 0,
            slot,
            epoch,
            shard: 3,
            route,
            stanza: stanza.into(),
            source: Some(Source {
                session: SessionId(1),
                number: route,
                part: 0,
            }),
        }))
    });
    let batch = v1::PeerBatch {
        frames: frames.to_vec(),
        ..v1::PeerBatch::default()
    };
    caller.say(batch).await;
    let mut settled = Vec::new();
    while settled.len() < routes.len() {
        for answer in caller.settled().await {
            assert_eq!(answer.shard, 3);
            settled.extend(answer.routes);
        }
    }
    settled.sort_unstable();
    assert_eq!(settled, routes);
}

/// Origins find each other through what they have in common, and the links do the rest.
#[tokio::test(flavor = "multi_thread")]
async fn origins_link_to_each_other_and_share_the_slots() {
    let certificates = Certificates::new();
    let model = Model::new(NodeId("nobody".into()));
    let first = Running::start("a", &model, Some(&certificates)).await;
    until("it has everything", || first.held() == usize::from(SLOTS)).await;
    let second = Running::start("b", &model, Some(&certificates)).await;
    // Every one of them is left by the first when the second has asked.
    let half = usize::from(SLOTS) / 2;
    until("each has its share", || {
        second.held() >= half - half / 10 && first.held() + second.held() == usize::from(SLOTS)
    })
    .await;
    let is_reached = |from: &Running, to: &Running| from.reaches() == to.held();
    until("each knows the other's", || {
        is_reached(&first, &second) && is_reached(&second, &first)
    })
    .await;
    // An edge that is linked to the one hears of every move.
    let role = Some((&certificates, Role::Edge));
    let mut edge = edge(&first, role, &hello(Role::Edge))
        .await
        .expect("let in");
    let (slot, _) = juliet();
    second.stop().await;
    until("the other has everything again", || {
        first.held() == usize::from(SLOTS)
    })
    .await;
    while edge.owned.get(&slot).is_none_or(|owned| !owned.is_owner) {
        edge.message().await;
    }
    assert_eq!(first.reaches(), 0);
}
