//! The ways a connection ends, and what the origin hears of it: always once.

use std::time::Duration;

use couplet_proto::link::frame::{Detached, ToOrigin};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Client, HEADER};
use crate::origin::State;
use crate::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_stream_is_closed_and_detached() {
    let world = World::plain(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    client.send("<presence/></stream:stream>").await;
    client.expect("</stream:stream>").await;
    client.expect_end().await;
    assert_eq!(world.origin.detached(bound.session).await, Detached::Closed);
    drop(client);
    world.edge.drain(PATIENCE).await;
    let state = world.origin.state();
    assert_eq!(state.detaches(bound.session), [Detached::Closed]);
    assert_eq!(state.numbers(bound.session), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_socket_is_lost_after_its_last_stanza() {
    let world = World::plain(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    client.send("<presence/>").await;
    client.transport.shutdown().await.expect("half closed");
    assert_eq!(world.origin.detached(bound.session).await, Detached::Lost);
    client.expect_end().await;
    let state = world.origin.state();
    assert_eq!(state.numbers(bound.session), [1]);
    assert_eq!(state.detaches(bound.session), [Detached::Lost]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detach_waits_for_room() {
    let world = World::plain(|_| {}).await;
    let client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    world.origin.set(|state| state.has_room = false);
    drop(client);
    // A second client comes and goes: the first is surely noticed by then.
    let mut second = Client::connect(world.at.plain[0]).await;
    second.send("</nonsense>").await;
    second.expect_end().await;
    assert!(world.origin.state().detaches(bound.session).is_empty());
    world.origin.set(|state| state.has_room = true);
    assert_eq!(world.origin.detached(bound.session).await, Detached::Lost);
    world.edge.drain(PATIENCE).await;
    assert_eq!(
        world.origin.state().detaches(bound.session),
        [Detached::Lost]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_bound_after_its_client_left_is_detached() {
    let world = World::plain(|_| {}).await;
    world.origin.set(|state| state.answers_bind = false);
    let mut client = Client::connect(world.at.plain[0]).await;
    client.authenticate("SCRAM-SHA-1", "n,,n=juliet,r=x").await;
    client.ask_to_bind("there").await;
    let bound = world
        .origin
        .wait("bind", |state| state.bound.first().cloned())
        .await;
    drop(client);
    world.edge.drain(Duration::ZERO).await;
    assert_eq!(world.edge.connections(), 0);
    world.origin.send([bound.answer()]);
    world.origin.detached(bound.session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_is_aborted_when_its_client_leaves() {
    let world = World::plain(|_| {}).await;
    world.origin.set(|state| state.answers_auth = false);
    let mut client = Client::connect(world.at.plain[0]).await;
    client.send(HEADER).await;
    client.expect("</stream:features>").await;
    let ns = "urn:ietf:params:xml:ns:xmpp-sasl";
    client
        .send(&format!(
            "<auth xmlns='{ns}' mechanism='SCRAM-SHA-1'>biwsbj1hLHI9eA==</auth>"
        ))
        .await;
    let connection_of = |frame: &ToOrigin| match frame {
        ToOrigin::Authenticate(connection, _) => Some(*connection),
        _ => None,
    };
    let asked = |state: &State| state.frames.iter().find_map(connection_of);
    let connection = world.origin.wait("authenticate", asked).await;
    world.origin.challenge(connection);
    client.expect("</challenge>").await;
    drop(client);
    let is_abort = |frame: &ToOrigin| matches!(frame, ToOrigin::Abort { .. });
    world
        .origin
        .wait("abort", |state| {
            state.frames.iter().any(is_abort).then_some(())
        })
        .await;
    world.edge.drain(PATIENCE).await;
    let aborts = world
        .origin
        .state()
        .frames
        .iter()
        .filter(|frame| is_abort(frame))
        .count();
    assert_eq!(aborts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_ends_every_stream_and_lets_nobody_in() {
    let world = World::plain(|_| {}).await;
    let mut bound = Client::bound(world.at.plain[0], "juliet").await;
    let mut fresh = Client::connect(world.at.plain[0]).await;
    fresh.send(HEADER).await;
    fresh.expect("</stream:features>").await;
    let session = world.origin.session_of("juliet@localhost").session;
    assert!(world.edge.is_ready());
    let clients = async {
        for client in [&mut bound, &mut fresh] {
            client.expect("<system-shutdown").await;
            client.expect_end().await;
            client.transport.shutdown().await.ok();
        }
    };
    tokio::join!(world.edge.drain(PATIENCE), clients);
    assert!(!world.edge.is_ready());
    assert_eq!(world.edge.connections(), 0);
    assert_eq!(world.origin.state().detaches(session).len(), 1);
    assert!(TcpStream::connect(world.at.plain[0]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_cuts_off_who_does_not_go() {
    let world = World::plain(|_| {}).await;
    let _client = Client::bound(world.at.plain[0], "juliet").await;
    let session = world.origin.session_of("juliet@localhost").session;
    world.edge.drain(Duration::ZERO).await;
    assert_eq!(world.edge.connections(), 0);
    assert_eq!(world.origin.state().detaches(session).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_origin_is_gone_is_told() {
    let world = World::plain(|_| {}).await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    world.origin.set(|state| state.is_gone = true);
    client.send("<presence/>").await;
    client.expect("<system-shutdown").await;
    client.expect_end().await;
}
