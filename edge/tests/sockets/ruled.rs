//! What operators order while the edge runs: who is let in, and for which domains.

use std::net::SocketAddr;
use std::sync::Arc;

use couplet_proto::Jid;
use couplet_proto::link::frame::Detached;
use couplet_proto::link::rules::{NetworkBan, Rules, parse_network};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::client::{Client, HEADER};
use crate::{PATIENCE, World};

impl World {
    fn rule(&self, version: u64, bans: &[(&str, Option<u64>)], domains: &[&str]) {
        let ban = |(network, left_ms): &(&str, Option<u64>)| NetworkBan {
            network: parse_network(network).expect("a network"),
            left_ms: *left_ms,
        };
        let domain = |name: &&str| Jid::parse(name).expect("a domain");
        self.edge.downlink().ruled(&Arc::new(Rules {
            version,
            bans: bans.iter().map(ban).collect(),
            domains: domains.iter().map(domain).collect(),
        }));
    }
}

/// A socket of a client at this address of the machine.
async fn from(address: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let here = SocketAddr::new(address.parse().expect("an address"), 0);
    socket.bind(here).expect("bound");
    socket.connect(to).await.expect("connected")
}

/// Whether a client at this address is let in: it hears something, or nothing at all.
async fn is_let_in(address: &str, to: SocketAddr) -> bool {
    let mut socket = from(address, to).await;
    // It may have been closed already.
    let _ = socket.write_all(HEADER.as_bytes()).await;
    let read = tokio::time::timeout(PATIENCE, socket.read(&mut [0; 1])).await;
    read.expect("an answer or an end in time").unwrap_or(0) > 0
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_banned_is_put_out_and_stays_out() {
    let world = World::plain(|_| {}).await;
    let at = world.at.plain[0];
    let mut bound = Client::over(from("127.0.0.2", at).await);
    bound.authenticate("SCRAM-SHA-1", "n,,n=juliet,r=x").await;
    bound.bind("there").await;
    let mut fresh = Client::over(from("127.0.0.2", at).await);
    fresh.send(HEADER).await;
    fresh.expect("</stream:features>").await;
    let mut other = Client::over(from("127.0.0.3", at).await);
    other.send(HEADER).await;
    other.expect("</stream:features>").await;

    world.rule(1, &[("127.0.0.2", None)], &[]);
    for client in [&mut bound, &mut fresh] {
        let said = client.expect_end().await;
        assert!(said.contains("<policy-violation "), "{said}");
        assert!(said.ends_with("</stream:stream>"), "{said}");
    }
    let session = world.origin.session_of("juliet@localhost").session;
    assert_eq!(world.origin.detached(session).await, Detached::Closed);
    assert!(!is_let_in("127.0.0.2", at).await);
    assert!(is_let_in("127.0.0.3", at).await);
    other.send("</stream:stream>").await;
    other.expect("</stream:stream>").await;

    world.rule(2, &[], &[]);
    assert!(is_let_in("127.0.0.2", at).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_ends_by_itself() {
    let world = World::plain(|_| {}).await;
    let at = world.at.plain[0];
    world.rule(1, &[("127.0.0.0/30", Some(3_600_000))], &[]);
    assert!(!is_let_in("127.0.0.2", at).await);
    world.rule(2, &[("127.0.0.0/30", Some(300))], &[]);
    let started = Instant::now();
    while !is_let_in("127.0.0.2", at).await {
        assert!(started.elapsed() < PATIENCE, "still banned");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_banned_with_everybody_on_this_machine() {
    let world = World::plain(|_| {}).await;
    world.rule(1, &[("0.0.0.0/0", None), ("::/0", None)], &[]);
    assert!(is_let_in("127.0.0.1", world.at.plain[0]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_served_from_when_it_is_added() {
    let world = World::plain(|_| {}).await;
    let open = HEADER.replace("localhost", "new.example");
    let begin = async || {
        let mut client = Client::connect(world.at.plain[0]).await;
        client.send(&open).await;
        client.send("</stream:stream>").await;
        client.expect_end().await
    };
    let said = begin().await;
    assert!(said.contains("<host-unknown "), "{said}");
    world.rule(1, &[], &["new.example"]);
    let said = begin().await;
    assert!(said.contains("from='new.example'"), "{said}");
    assert!(said.contains("</stream:features>"), "{said}");
    world.rule(2, &[], &[]);
    let said = begin().await;
    assert!(said.contains("<host-unknown "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_balancer_clients_are_banned_and_not_the_balancer() {
    let world = World::plain(|config| {
        let balancers = ["127.0.0.2", "198.51.100.0/24"];
        config.proxy_protocol_from = balancers
            .map(|text| parse_network(text).expect("a network"))
            .to_vec();
    })
    .await;
    let brought = async |header: &str| {
        let mut socket = from("127.0.0.2", world.at.plain[0]).await;
        // It may be closed as soon as it is known whom it brings.
        let _ = socket.write_all(header.as_bytes()).await;
        let _ = socket.write_all(HEADER.as_bytes()).await;
        let read = tokio::time::timeout(PATIENCE, socket.read(&mut [0; 1])).await;
        read.expect("an answer or an end in time").unwrap_or(0) > 0
    };
    let mut clients = Vec::new();
    for first in [
        "PROXY TCP4 198.51.100.7 127.0.0.1 1111 5222\r\n",
        "PROXY UNKNOWN\r\n",
    ] {
        let mut socket = from("127.0.0.2", world.at.plain[0]).await;
        socket.write_all(first.as_bytes()).await.expect("sent");
        let mut client = Client::over(socket);
        client.send(HEADER).await;
        client.expect("</stream:features>").await;
        clients.push(client);
    }
    let bans = ["192.0.2.7", "127.0.0.2", "198.51.100.7"];
    world.rule(1, &bans.map(|ban| (ban, None)), &[]);
    // That a client is where balancers could be as well does not help it.
    let said = clients[0].expect_end().await;
    assert!(said.contains("<policy-violation "), "{said}");
    assert!(!brought("PROXY TCP4 198.51.100.7 127.0.0.1 1111 5222\r\n").await);
    clients[1].send("</stream:stream>").await;
    let said = clients[1].expect_end().await;
    assert!(!said.contains("<policy-violation "), "{said}");
    assert!(!brought("PROXY TCP4 192.0.2.7 127.0.0.1 1111 5222\r\n").await);
    assert!(brought("PROXY TCP4 192.0.2.8 127.0.0.1 1111 5222\r\n").await);
    // It asks for itself whether the edge is well.
    assert!(brought("PROXY UNKNOWN\r\n").await);
}
