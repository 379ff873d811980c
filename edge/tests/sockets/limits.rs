//! What a client may not do, and how soon it is told.

use std::time::{Duration, Instant};

use couplet_proto::link::frame::Detached;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::World;
use crate::client::{Client, HEADER};

/// A02, A22: an error is followed by the end within a second.
const END: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn other_protocols_are_told_off_and_closed() {
    let world = World::plain(|_| {}).await;
    for greeting in [
        "GET / HTTP/1.1\r\n\r\n",
        "SSH-2.0-OpenSSH_9\r\n",
        "\u{16}\u{3}\u{1}",
    ] {
        let mut client = Client::connect(world.at.plain[0]).await;
        let started = Instant::now();
        client.send(greeting).await;
        let answer = client.expect_end().await;
        assert!(answer.contains("not-well-formed"), "{greeting:?}: {answer}");
        assert!(answer.len() < 1024, "{answer}");
        assert!(started.elapsed() < END);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_ends_the_connection_though_the_client_goes_on_sending() {
    let world = World::plain(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let session = world.origin.session_of("juliet@localhost").session;
    client.send("<!DOCTYPE x>").await;
    // Bytes nobody reads must not turn the end into a reset that eats the error.
    client.send(&" ".repeat(100_000)).await;
    let started = Instant::now();
    let answer = client.expect_end().await;
    assert!(answer.contains("<restricted-xml"), "{answer}");
    assert!(started.elapsed() < END);
    assert_eq!(world.origin.detached(session).await, Detached::Closed);
    // The client never closes its side; its place is free again all the same.
    while world.edge.connections() > 0 {
        assert!(started.elapsed() < END * 3);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_log_in_in_time_is_closed() {
    let world = World::plain(|config| config.limits.before_auth_secs = 1).await;
    let mut silent = Client::connect(world.at.plain[0]).await;
    let mut slow = Client::connect(world.at.plain[0]).await;
    slow.send(HEADER).await;
    slow.expect("</stream:features>").await;
    let mut late = Client::connect(world.at.plain[0]).await;
    late.authenticate("SCRAM-SHA-1", "n,,n=juliet,r=x").await;
    for client in [&mut silent, &mut slow, &mut late] {
        let answer = client.expect_end().await;
        assert!(answer.contains("<connection-timeout"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_asked_for_a_sign_of_life() {
    let world = World::plain(|config| {
        config.limits.ping_after_secs = 1;
        config.limits.ping_timeout_secs = 1;
    })
    .await;
    let mut alive = Client::bound(world.at.plain[0], "alive").await;
    let mut dead = Client::bound(world.at.plain[0], "dead").await;
    let session = world.origin.session_of("dead@localhost").session;
    alive.expect("urn:xmpp:ping").await;
    alive.send(" ").await;
    dead.expect_end().await;
    assert_eq!(world.origin.detached(session).await, Detached::Lost);
    alive.expect("urn:xmpp:ping").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_read_does_not_count_as_silent() {
    let world = World::plain(|config| {
        config.limits.ping_after_secs = 1;
        config.limits.ping_timeout_secs = 1;
        config.limits.credit_stanzas = 1;
    })
    .await;
    world.origin.set(|state| state.takes_stanzas = false);
    let mut held = Client::bound(world.at.plain[0], "held").await;
    let bound = world.origin.session_of("held@localhost");
    held.send("<message to='a@localhost'/>").await;
    held.expect("urn:xmpp:ping").await;
    // Its sign of life stands behind what has not taken effect. Another one that gives none goes.
    held.send(" ").await;
    Client::bound(world.at.plain[0], "dead")
        .await
        .expect_end()
        .await;
    assert!(world.origin.state().detaches(bound.session).is_empty());
    // It is read again, and asked again some time later.
    world.origin.take(&bound, 1);
    held.expect("urn:xmpp:ping").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_closed_at_once() {
    let world = World::plain(|config| config.limits.connections = 2).await;
    let mut first = Client::bound(world.at.plain[0], "first").await;
    let second = Client::bound(world.at.plain[0], "second").await;
    let mut third = TcpStream::connect(world.at.plain[0])
        .await
        .expect("connected");
    assert_eq!(third.read(&mut [0; 16]).await.unwrap_or(0), 0);
    first.send("<presence/></stream:stream>").await;
    first.expect_end().await;
    drop(first);
    let session = world.origin.session_of("first@localhost").session;
    world.origin.detached(session).await;
    while world.edge.connections() == 2 {
        tokio::task::yield_now().await;
    }
    let _fourth = Client::bound(world.at.plain[0], "fourth").await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_before_authentication_is_refused() {
    let world = World::plain(|_| {}).await;
    let mut client = Client::connect(world.at.plain[0]).await;
    client.send(HEADER).await;
    client.expect("</stream:features>").await;
    client.send(&" ".repeat(9000)).await;
    let answer = client.expect_end().await;
    assert!(answer.contains("<policy-violation"), "{answer}");
}
