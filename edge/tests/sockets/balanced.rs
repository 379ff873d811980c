//! Behind a load balancer: whom it brings, and who may say so (PROXY protocol).

use std::net::{IpAddr, SocketAddr};

use couplet_edge::Config;
use couplet_proto::link::frame::ToOrigin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::World;
use crate::client::{Client, Transport};

/// Where balancers come from in these tests.
pub(crate) const BALANCER: &str = "127.0.0.2";

/// A header of version 2 that tells of 198.51.100.7:4000.
pub(crate) const SECOND: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\x0f\xa0\x14\x66";

/// One on the balancer's own behalf.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

const FIRST: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 5222\r\n";

/// Makes an edge trust the balancer.
pub(crate) fn trusting(config: &mut Config) {
    config.proxy_protocol_from = vec![BALANCER.parse::<IpAddr>().expect("an address").into()];
}

/// A connection from this address that begins with these bytes.
pub(crate) async fn connect(at: SocketAddr, from: &str, first: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from: IpAddr = from.parse().expect("an address");
    socket.bind(SocketAddr::new(from, 0)).expect("bound");
    let mut tcp = socket.connect(at).await.expect("connected");
    tcp.write_all(first).await.expect("sent");
    tcp
}

/// Where the origin was told that the client who logs in is.
pub(crate) async fn peer_told<T: Transport>(world: &World, client: &mut Client<T>) -> IpAddr {
    client.authenticate("SCRAM-SHA-1", "n,,n=juliet,r=x").await;
    let state = world.origin.state();
    let told = state.frames.iter().rev().find_map(|frame| match frame {
        ToOrigin::Authenticate(_, request) => request.channel.peer,
        _ => None,
    });
    told.expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_is_told_of_the_client_and_not_of_the_balancer() {
    let world = World::plain(trusting).await;
    for (first, expected) in [
        (FIRST, "192.0.2.7"),
        (SECOND, "198.51.100.7"),
        (LOCAL, BALANCER),
        (b"PROXY UNKNOWN\r\n", BALANCER),
    ] {
        let tcp = connect(world.at.plain[0], BALANCER, first).await;
        let peer = peer_told(&world, &mut Client::over(tcp)).await;
        assert_eq!(peer.to_string(), expected);
    }
    let mut direct = Client::connect(world.at.plain[0]).await;
    assert_eq!(
        peer_told(&world, &mut direct).await.to_string(),
        "127.0.0.1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_must_say_whom_it_brings() {
    let world = World::plain(trusting).await;
    for garbage in [
        crate::client::HEADER.as_bytes(),
        b"\x16\x03\x01\x02\x00\x01",
        b"PROXY TCP4 192.0.2.7\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        let tcp = connect(world.at.plain[0], BALANCER, garbage).await;
        // Not a word of XMPP: who is there is no client.
        assert_eq!(Client::over(tcp).expect_end().await, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_can_claim_an_address() {
    let world = World::plain(trusting).await;
    for first in [FIRST, SECOND] {
        let tcp = connect(world.at.plain[0], "127.0.0.1", first).await;
        let answer = Client::over(tcp).expect_end().await;
        assert!(answer.contains("<stream:error"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_is_not_waited_for_longer_than_a_client() {
    let world = World::plain(|config| {
        trusting(config);
        config.limits.before_auth_secs = 1;
    })
    .await;
    let tcp = connect(world.at.plain[0], BALANCER, &FIRST[..20]).await;
    assert_eq!(Client::over(tcp).expect_end().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_of_clients_have_their_pace_behind_a_balancer() {
    let world = World::plain(|config| {
        trusting(config);
        config.limits.new_connections_per_second = 1;
    })
    .await;
    // Far more than come in, or wait for their turn, from there at this pace.
    let mut all = JoinSet::new();
    for _ in 0..40 {
        let mut tcp = connect(world.at.plain[0], BALANCER, FIRST).await;
        all.spawn(async move { tcp.read(&mut [0; 16]).await.unwrap_or(0) });
    }
    // They say nothing, so only who is refused hears of an end.
    let ended = tokio::time::timeout(crate::PATIENCE, all.join_next()).await;
    assert!(matches!(ended, Ok(Some(Ok(0)))), "{ended:?}");
    // Meanwhile others are not kept waiting.
    let tcp = connect(world.at.plain[0], BALANCER, SECOND).await;
    peer_told(&world, &mut Client::over(tcp)).await;
}
