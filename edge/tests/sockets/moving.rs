//! Owners that change: what each hears, and that neither side loses anything or gets it twice.

use bytes::Bytes;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Attach, Detached, ToEdge, ToOrigin};
use couplet_proto::link::id::ConnectionId;

use crate::World;
use crate::client::{Client, HEADER};
use crate::origin::{FIRST, Origin, SECOND, State};

const MESSAGE: &str = "<message to='a@localhost'><body>x</body></message>";

/// Waits until this came by the second way, and nothing else.
async fn expect_on_second(world: &World, wanted: &[&str]) {
    let check = |state: &State| (state.on(SECOND).len() >= wanted.len()).then(|| state.on(SECOND));
    assert_eq!(world.origin.wait("frames", check).await, wanted);
}

fn attach(state: &State) -> Option<Attach> {
    state.frames.iter().rev().find_map(|frame| match frame {
        ToOrigin::Attach(attach) => Some((**attach).clone()),
        _ => None,
    })
}

fn authenticates(frame: &ToOrigin) -> Option<ConnectionId> {
    match frame {
        ToOrigin::Authenticate(connection, _) => Some(*connection),
        _ => None,
    }
}

async fn sent(world: &World, count: usize) {
    let check = |state: &State| {
        let stanzas = state.on(FIRST);
        let stanzas = stanzas.iter().filter(|frame| frame.starts_with("stanza"));
        (stanzas.count() == count).then_some(())
    };
    world.origin.wait("stanzas", check).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_attaches_to_its_new_owner_and_sends_all_in_flight_again() {
    let world = World::cluster(|_| {}).await;
    world.origin.set(|state| state.takes_stanzas = false);
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    let connection = bound.connection;
    let state = Bytes::from_static(b"state");
    world.origin.send([ToEdge::Keep { connection, state }]);
    client.send(&MESSAGE.repeat(3)).await;
    sent(&world, 3).await;
    world.origin.take(&bound, 1);
    world.origin.send([Origin::message(&bound, "one")]);
    client.expect("one").await;
    world.origin.acked(bound.session, 1).await;

    world.origin.reroute(None);
    // An answer of the edge's own waits as well, and so does what the client has.
    client.send(MESSAGE).await;
    client.send("<iq type='get' id='1'/>").await;
    world.origin.send([Origin::message(&bound, "two")]);
    client.expect("two").await;
    world.origin.reroute(Some(SECOND));
    let wanted = ["expect 1", "attach 1 2 2 0", "stanza 2", "stanza 3"];
    let check = |state: &State| {
        let last = state.on(SECOND).last().cloned();
        last.is_some_and(|last| last == "answer 5").then_some(())
    };
    world.origin.wait("everything", check).await;
    let frames = world.origin.state().on(SECOND);
    assert_eq!(frames[..4], wanted, "{frames:?}");
    assert!(frames.contains(&"stanza 4".to_owned()), "{frames:?}");
    let attach = attach(&world.origin.state()).expect("attached");
    assert_eq!(attach.state, Bytes::from_static(b"state"));
    assert_eq!((attach.session, attach.epoch), (bound.session, Epoch(1)));

    world
        .origin
        .send_at(Epoch(1), [Origin::message(&bound, "of the former owner")]);
    world.origin.send([Origin::message(&bound, "of the owner")]);
    let received = client.expect("of the owner").await;
    assert!(!received.contains("former"), "{received}");
    let stanzas = world.origin.state().numbers(bound.session);
    world.origin.take(&bound, 5);
    client.send(MESSAGE).await;
    let count = stanzas.len() + 1;
    let check = |state: &State| (state.numbers(bound.session).len() == count).then_some(());
    world.origin.wait("one more", check).await;
    assert_eq!(world.origin.state().numbers(bound.session)[count - 1], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_owner_is_found_without_being_told_of_it() {
    let world = World::cluster(|_| {}).await;
    world.origin.set(|state| state.takes_stanzas = false);
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    world.origin.set(|state| state.route = Some(SECOND));
    client.send(MESSAGE).await;
    expect_on_second(&world, &["expect 1", "attach 0 0 0 0", "stanza 1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_has_no_room_for_the_attaching_gets_it_later() {
    let world = World::cluster(|_| {}).await;
    world.origin.set(|state| state.takes_stanzas = false);
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    client.send(MESSAGE).await;
    sent(&world, 1).await;
    world.origin.set(|state| state.has_room = false);
    world.origin.reroute(Some(SECOND));
    client.send(MESSAGE).await;
    let bound = world.origin.session_of("juliet@localhost");
    world.origin.send([Origin::message(&bound, "meanwhile")]);
    client.expect("meanwhile").await;
    world.origin.set(|state| state.has_room = true);
    let check = |state: &State| {
        let frames = state.on(SECOND);
        frames.contains(&"stanza 2".to_owned()).then_some(frames)
    };
    let frames = world.origin.wait("everything", check).await;
    assert_eq!(frames[0], "expect 1");
    assert!(frames[1].starts_with("attach 0 "), "{frames:?}");
    assert_eq!(frames[2..4], ["stanza 1", "stanza 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_has_had_it_does_not_get_again() {
    let world = World::cluster(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    let again = || Origin::message_of(&bound, "once", 5);
    world.origin.send([again()]);
    client.expect("once").await;
    world.origin.acked(bound.session, 1).await;
    // It has its number all the same, and the client "has" it.
    world.origin.send([again()]);
    world.origin.acked(bound.session, 2).await;
    let next = Origin::message_of(&bound, "next", 6);
    world.origin.send([again(), again(), next]);
    let received = client.expect("next").await;
    assert!(!received.contains("once"), "{received}");
    world.origin.acked(bound.session, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_counts_gets_something_for_what_it_has_had() {
    let world = World::cluster(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    client.enable().await;
    let bound = world.origin.session_of("juliet@localhost");
    let again = || Origin::message_of(&bound, "once", 5);
    let next = Origin::message_of(&bound, "next", 6);
    world.origin.send([again(), again(), next]);
    client.expect("once").await;
    let received = client.expect("next").await;
    assert!(!received.contains("once"), "{received}");
    let filler = "<iq type='result' id='repeated' from='localhost' to='juliet@localhost/there'/>";
    assert!(received.contains(filler), "{received}");
    client.ack(2).await;
    world.origin.acked(bound.session, 2).await;
    // A new owner is told of what is left by the same count.
    world.origin.reroute(Some(SECOND));
    expect_on_second(&world, &["expect 1", "attach 0 3 2 1"]).await;
    let attach = attach(&world.origin.state()).expect("attached");
    assert_eq!(
        attach.unacked[0].source.map(|source| source.number),
        Some(6)
    );
    client.ack(3).await;
    world.origin.acked(bound.session, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detach_reaches_the_owner_there_will_be() {
    let world = World::cluster(|_| {}).await;
    world.origin.set(|state| state.takes_stanzas = false);
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    client.send(MESSAGE).await;
    sent(&world, 1).await;
    world.origin.reroute(None);
    drop(client);
    while world.edge.connections() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(world.origin.state().detaches(bound.session).is_empty());
    world.origin.reroute(Some(SECOND));
    let wanted = ["expect 1", "attach 0 0 0 0", "stanza 1", "detach Lost"];
    expect_on_second(&world, &wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_died_with_a_detach_leaves_it_to_the_next() {
    let world = World::cluster(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    world.origin.send([Origin::message(&bound, "one")]);
    client.expect("one").await;
    client.send("</stream:stream>").await;
    client.expect_end().await;
    assert_eq!(world.origin.detached(bound.session).await, Detached::Closed);
    while world.edge.connections() > 0 {
        tokio::task::yield_now().await;
    }
    world.origin.reroute(Some(SECOND));
    expect_on_second(&world, &["expect 1", "attach 0 1 1 0", "detach Closed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_waits_for_an_owner() {
    let world = World::cluster(|_| {}).await;
    world.origin.reroute(None);
    let at = world.at.plain[0];
    let login = tokio::spawn(async move {
        let mut client = Client::connect(at).await;
        client.authenticate("SCRAM-SHA-1", "n,,n=juliet,r=x").await;
        client
    });
    let mut other = Client::connect(at).await;
    other.send("</nonsense>").await;
    other.expect_end().await;
    assert!(world.origin.state().frames.is_empty());
    world.origin.reroute(Some(SECOND));
    let mut client = login.await.expect("logged in");
    client.bind("there").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bind_is_asked_for_again_and_the_former_owner_answers_too_late() {
    let world = World::cluster(|_| {}).await;
    world.origin.set(|state| state.answers_bind = false);
    let mut client = Client::connect(world.at.plain[0]).await;
    client.authenticate("SCRAM-SHA-1", "n,,n=juliet,r=x").await;
    client.ask_to_bind("there").await;
    let is_bound = |count: usize| {
        move |state: &State| (state.bound.len() == count).then(|| state.bound.clone())
    };
    world.origin.wait("a bind", is_bound(1)).await;
    world.origin.reroute(Some(SECOND));
    let bound = world.origin.wait("another", is_bound(2)).await;
    // The former owner's answer was on its way. What it bound, it has with the slot no more.
    world.origin.send_at(Epoch(1), [bound[0].answer()]);
    world.origin.send([bound[1].answer()]);
    client.expect("</iq>").await;
    client.send("<presence/>").await;
    let check = |state: &State| (state.numbers(bound[1].session) == [1]).then_some(());
    world.origin.wait("stanza", check).await;
    assert!(world.origin.state().numbers(bound[0].session).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_stays_with_its_origin_while_that_can_be_reached() {
    let world = World::cluster(|_| {}).await;
    world.origin.set(|state| state.answers_auth = false);
    for is_reachable in [true, false] {
        world.origin.set(|state| {
            state.frames.clear();
            state.ways.clear();
        });
        world.origin.reroute(Some(FIRST));
        let mut client = Client::connect(world.at.plain[0]).await;
        client.send(HEADER).await;
        client.expect("</stream:features>").await;
        let ns = "urn:ietf:params:xml:ns:xmpp-sasl";
        let auth = format!("<auth xmlns='{ns}' mechanism='SCRAM-SHA-1'>biwsbj1hLHI9eA==</auth>");
        client.send(&auth).await;
        let connection = world.origin.asked("a login", authenticates).await;
        world
            .origin
            .set(|state| state.former = is_reachable.then_some(FIRST));
        world.origin.reroute(Some(SECOND));
        world.origin.challenge(connection);
        client.expect("</challenge>").await;
        client
            .send(&format!("<response xmlns='{ns}'>cj14eQ==</response>"))
            .await;
        if is_reachable {
            let check = |state: &State| (state.on(FIRST).last()? == "respond").then_some(());
            world.origin.wait("response", check).await;
        } else {
            client.expect("<temporary-auth-failure/>").await;
            client.send(&auth).await;
            let check = |state: &State| (state.on(SECOND).last()? == "authenticate").then_some(());
            world.origin.wait("another login", check).await;
        }
    }
}
