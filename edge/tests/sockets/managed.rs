//! Stream management on real sockets, and what the owner hears of clients without it.

use couplet_proto::link::frame::{Detached, ToEdge, ToOrigin};
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::xmpp::error::StreamCondition;

use crate::World;
use crate::client::{Client, HEADER};
use crate::origin::{Bound, Origin, State};

fn resumes(frame: &ToOrigin) -> Option<ConnectionId> {
    match frame {
        ToOrigin::Resume(connection, _) => Some(*connection),
        _ => None,
    }
}

fn acks(state: &State, wanted: SessionId) -> Vec<u64> {
    let acked = |frame: &ToOrigin| match frame {
        ToOrigin::Acked { session, count } if *session == wanted => Some(*count),
        _ => None,
    };
    state.frames.iter().filter_map(acked).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_hears_what_the_client_has_acknowledged() {
    let world = World::plain(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    world.origin.send([Origin::message(&bound, "before")]);
    client.expect("before").await;
    client.enable().await;
    world.origin.acked(bound.session, 1).await;
    let messages = ["one", "two", "three"].map(|text| Origin::message(&bound, text));
    world.origin.send(messages);
    client.expect("three").await;
    client.expect("<r xmlns='urn:xmpp:sm:3'/>").await;
    client.ack(2).await;
    world.origin.acked(bound.session, 3).await;
    client.ack(3).await;
    world.origin.acked(bound.session, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_it_the_owner_hears_what_the_socket_took() {
    let world = World::plain(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    // A page of offline messages is acknowledged as a whole, soon.
    for page in 1..=5 {
        let texts = (0..100).map(|number| format!("{page}.{number}"));
        let messages = texts.map(|text| Origin::message(&bound, &text));
        world.origin.send(messages.collect::<Vec<_>>());
        client.expect(&format!("{page}.99")).await;
        world.origin.acked(bound.session, page * 100).await;
    }
    // A few one after the other are not reported one by one.
    for number in 0..20 {
        let text = format!("x{number}x");
        world.origin.send([Origin::message(&bound, &text)]);
        client.expect(&text).await;
    }
    world.origin.acked(bound.session, 520).await;
    let acks = acks(&world.origin.state(), bound.session);
    assert!(acks.windows(2).all(|pair| pair[0] < pair[1]), "{acks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_is_told_at_once_and_again() {
    let world = World::plain(|_| {}).await;
    world.origin.set(|state| state.takes_stanzas = false);
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    client.enable().await;
    client
        .send("<presence/><presence/><r xmlns='urn:xmpp:sm:3'/>")
        .await;
    client.expect("<a xmlns='urn:xmpp:sm:3' h='0'/>").await;
    world.origin.take(&bound, 1);
    client.expect("<a xmlns='urn:xmpp:sm:3' h='1'/>").await;
    world.origin.take(&bound, 2);
    client.expect("<a xmlns='urn:xmpp:sm:3' h='2'/>").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_acknowledge_gets_no_more_and_then_is_lost() {
    let world = World::cluster(|config| config.limits.outbound_stanzas = 10).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    client.enable().await;
    let ten = (0..10).map(|number| Origin::message(&bound, &format!("{number}.")));
    world.origin.send(ten.collect::<Vec<_>>());
    client.expect("9.").await;
    client.expect("<r ").await;
    world.origin.send([Origin::message(&bound, "the next")]);
    client.send("<r xmlns='urn:xmpp:sm:3'/>").await;
    let received = client.expect("<a ").await;
    assert!(!received.contains("the next"), "{received}");
    client.ack(10).await;
    client.expect("the next").await;
    let mut sent = 0;
    while world.origin.state().detaches(bound.session).is_empty() {
        world.origin.send([Origin::message(&bound, "too much")]);
        sent += 1;
        assert!(sent < 100_000, "nothing stops it");
        tokio::task::yield_now().await;
    }
    assert_eq!(world.origin.detached(bound.session).await, Detached::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_answers_counts_as_silent() {
    let world = World::plain(|config| config.limits.ping_timeout_secs = 1).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    client.enable().await;
    world.origin.send([Origin::message(&bound, "one")]);
    client.expect("<r ").await;
    // Bytes are a sign of life, but not the one it was asked for.
    client.send(" ").await;
    client.expect("<connection-timeout").await;
    assert_eq!(world.origin.detached(bound.session).await, Detached::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_at_another_connection() {
    let world = World::cluster(|_| {}).await;
    let mut first = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    first.enable().await;
    let messages = ["one", "two"].map(|text| Origin::message(&bound, text));
    world.origin.send(messages);
    first.send("<presence/>").await;
    first.expect("two").await;

    let mut second = Client::connect(world.at.plain[0]).await;
    second.authenticate("SCRAM-SHA-1", "n,,n=juliet,r=x").await;
    second.send(HEADER).await;
    second.expect("<sm xmlns='urn:xmpp:sm:3'/>").await;
    second
        .send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/><presence/>")
        .await;
    let connection = world.origin.asked("resume", resumes).await;
    let resumed = Bound {
        connection,
        ..bound.clone()
    };
    world
        .origin
        .set(|state| state.bound = vec![resumed.clone()]);
    world.origin.send([
        ToEdge::Close {
            connection: bound.connection,
            condition: StreamCondition::Conflict,
            text: None,
        },
        ToEdge::Resumed {
            connection,
            session: bound.session,
            jid: bound.jid.clone(),
            taken: 1,
            enabled: 0,
            acked: 1,
            acked_enabled: 0,
        },
        Origin::message(&resumed, "two"),
        Origin::message(&resumed, "three"),
    ]);
    second
        .expect("<resumed xmlns='urn:xmpp:sm:3' previd='x' h='1'/>")
        .await;
    let received = second.expect("three").await;
    assert!(received.contains("two"), "{received}");
    second.ack(3).await;
    world.origin.acked(bound.session, 3).await;
    first.expect("<conflict").await;
    first.expect_end().await;
    drop(first);
    let check = |state: &State| (state.numbers(bound.session) == [1, 2]).then_some(());
    world.origin.wait("the stanza after it", check).await;
    // The session is the second's: only its end is the session's.
    second.send("</stream:stream>").await;
    second.expect_end().await;
    let detaches = |state: &State| Some(state.detaches(bound.session)).filter(|all| all.len() > 1);
    let detaches = world.origin.wait("both ends", detaches).await;
    assert_eq!(detaches, [Detached::Lost, Detached::Closed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_refused_its_session_binds_another() {
    let world = World::plain(|_| {}).await;
    let mut client = Client::connect(world.at.plain[0]).await;
    client.authenticate("SCRAM-SHA-1", "n,,n=juliet,r=x").await;
    client.send(HEADER).await;
    client.expect("</stream:features>").await;
    client
        .send("<resume xmlns='urn:xmpp:sm:3' previd='gone' h='0'/>")
        .await;
    let connection = world.origin.asked("resume", resumes).await;
    world.origin.send([ToEdge::ResumeRefused {
        connection,
        why: couplet_proto::link::frame::ResumeError::NotFound,
        h: None,
    }]);
    client.expect("<item-not-found").await;
    client
        .send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        .await;
    client.expect("</iq>").await;
    client.enable().await;
}
