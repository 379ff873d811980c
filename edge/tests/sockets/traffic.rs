//! Stanzas both ways, and what holds them up.

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::Detached;

use crate::World;
use crate::client::Client;
use crate::origin::Origin;

#[tokio::test(flavor = "multi_thread")]
async fn stanzas_go_up_numbered_and_come_down_in_order() {
    let world = World::plain(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");

    client
        .send("<message to='a@localhost'/><presence/><iq type='get' id='1'><q/></iq>")
        .await;
    let numbers = world
        .origin
        .wait("stanzas", |state| {
            Some(state.numbers(bound.session)).filter(|n| n.len() == 3)
        })
        .await;
    assert_eq!(numbers, [1, 2, 3]);

    let texts: Vec<_> = (0..2000)
        .map(|number| format!("<body>{number}.</body>"))
        .collect();
    let messages = (0..2000).map(|number| Origin::message(&bound, &format!("{number}.")));
    world.origin.send(messages.collect::<Vec<_>>());
    for text in texts {
        let before = client.expect(&text).await;
        assert_eq!(before.matches("<body>").count(), 1, "{before}");
    }
}

/// A client is not read while much waits for it. When the socket takes all of that in one go,
/// nothing but the edge itself knows that there is more to read.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_read_on_after_its_socket_took_everything_at_once() {
    const ASKED: usize = 5000;
    let world = World::plain(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    for round in 0..5 {
        client.send(&"<iq/>".repeat(ASKED)).await;
        let last = format!("<iq id='{round}.'/>");
        client.send(&last).await;
        client.expect(&format!("id='{round}.'")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_credit_is_not_read_until_some_returns() {
    let world = World::plain(|config| config.limits.credit_stanzas = 8).await;
    world.origin.set(|state| state.takes_stanzas = false);
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");

    client
        .send(&"<message to='a@localhost'><body>x</body></message>".repeat(500))
        .await;
    let mut taken = 0;
    while taken < 500 {
        let wanted = usize::try_from(500.min(taken + 8)).expect("small");
        let sent = |count| {
            world.origin.wait("stanzas", move |state| {
                Some(state.numbers(bound.session)).filter(|numbers| numbers.len() >= count)
            })
        };
        let numbers = sent(wanted).await;
        assert_eq!(numbers.len(), wanted, "no more than the credit allows");
        assert!(numbers.iter().copied().eq(1..=wanted as u64));
        taken = (taken + 5).min(500);
        world.origin.take(&bound, taken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_origin_holds_up_the_client_and_loses_nothing() {
    let world = World::plain(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    world.origin.set(|state| state.has_room = false);
    client.send(&"<message to='a@localhost'/>".repeat(50)).await;
    // What comes down meanwhile shows that the connection still works.
    world.origin.send([Origin::message(&bound, "meanwhile")]);
    client.expect("meanwhile").await;
    assert!(world.origin.state().numbers(bound.session).is_empty());
    world.origin.set(|state| state.has_room = true);
    let sent = |state: &crate::origin::State| {
        Some(state.numbers(bound.session)).filter(|numbers| numbers.len() == 50)
    };
    let numbers = world.origin.wait("stanzas", sent).await;
    assert!(numbers.into_iter().eq(1..=50));
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_a_former_owner_are_dropped() {
    let world = World::plain(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    world
        .origin
        .send_at(Epoch(5), [Origin::message(&bound, "of the owner")]);
    world
        .origin
        .send_at(Epoch(4), [Origin::message(&bound, "stale")]);
    world
        .origin
        .send_at(Epoch(5), [Origin::message(&bound, "of the owner again")]);
    let received = client.expect("of the owner again").await;
    assert!(!received.contains("stale"), "{received}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_lost_and_others_notice_nothing() {
    let world = World::plain(|config| config.limits.outbound_stanzas = 50).await;
    let slow = Client::bound(world.at.plain[0], "slow").await;
    let mut other = Client::bound(world.at.plain[0], "other").await;
    let bound = world.origin.session_of("slow@localhost");
    let neighbour = world.origin.session_of("other@localhost");
    let text = "x".repeat(100_000);
    let mut sent = 0;
    while world.origin.state().detaches(bound.session).is_empty() {
        world.origin.send([Origin::message(&bound, &text)]);
        world
            .origin
            .send([Origin::message(&neighbour, "still here")]);
        other.expect("still here").await;
        sent += 1;
        assert!(sent < 10_000, "nothing stops it");
    }
    assert_eq!(world.origin.detached(bound.session).await, Detached::Lost);
    drop(slow);
    assert_eq!(world.origin.state().detaches(bound.session).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_for_long_is_lost() {
    let world = World::plain(|config| {
        config.limits.outbound_stall_secs = 1;
        config.limits.outbound_bytes = 1 << 30;
        config.limits.outbound_stanzas = 1 << 20;
    })
    .await;
    let _slow = Client::bound(world.at.plain[0], "slow").await;
    let bound = world.origin.session_of("slow@localhost");
    // More than the kernel takes for a client that does not read.
    let text = "x".repeat(200_000);
    world.origin.send(
        (0..100)
            .map(|_| Origin::message(&bound, &text))
            .collect::<Vec<_>>(),
    );
    assert_eq!(world.origin.detached(bound.session).await, Detached::Lost);
}
