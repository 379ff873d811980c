//! How an edge empties itself, and how it fills.

use std::time::{Duration, Instant};

use couplet_edge::Drain;
use couplet_proto::link::frame::{Detached, ToOrigin};
use couplet_proto::link::id::ConnectionId;

use crate::client::{Client, HEADER};
use crate::origin::{Origin, State};
use crate::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_counts_says_what_it_has_before_it_goes() {
    let world = World::plain(|config| {
        config.drain.see_other_host = vec!["other.example:5222".to_owned()];
    })
    .await;
    let mut client = Client::bound(world.at.plain[0], "juliet").await;
    let bound = world.origin.session_of("juliet@localhost");
    client.enable().await;
    world.origin.send([Origin::message(&bound, "one")]);
    client.expect("<r ").await;
    let leaving = async {
        // It was asked before, and is not asked again.
        client.ack(1).await;
        client
            .expect(">other.example:5222</see-other-host></stream:error></stream:stream>")
            .await;
        client.expect_end().await;
        drop(client);
    };
    tokio::join!(world.edge.drain(PATIENCE), leaving);
    world.origin.acked(bound.session, 1).await;
    assert_eq!(
        world.origin.state().detaches(bound.session),
        [Detached::Lost]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_sent_away_at_a_pace() {
    const CLIENTS: u32 = 20;
    const PER_SECOND: u32 = 20;
    let world = World::plain(|config| {
        config.drain = Drain {
            per_second: PER_SECOND,
            ..Drain::default()
        };
    })
    .await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(Client::bound(world.at.plain[0], &format!("c{number}")).await);
    }
    let started = Instant::now();
    let leave = |mut client: Client| async move {
        client.expect("<system-shutdown").await;
        let at = started.elapsed();
        client.expect_end().await;
        at
    };
    let leaving: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(leave(client)))
        .collect();
    world.edge.drain(PATIENCE).await;
    let mut times = Vec::new();
    for left in leaving {
        times.push(left.await.expect("left"));
    }
    times.sort();
    // Each has its own share of the second, of which the first two cannot be less than one apart.
    let whole = Duration::from_secs(1);
    assert!(times[CLIENTS as usize - 1] > whole / 2, "{times:?}");
    assert!(times[CLIENTS as usize / 4] < whole, "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_says_that_it_is_not_ready_before_it_closes_its_doors() {
    let world = World::plain(|config| config.drain.wait_secs = 1).await;
    let draining = world.edge.drain(Duration::ZERO);
    let coming = async {
        while world.edge.is_ready() {
            tokio::task::yield_now().await;
        }
        // A balancer that has not noticed yet still gets a client in.
        let mut client = Client::bound(world.at.plain[0], "juliet").await;
        client.expect_end().await;
    };
    tokio::join!(draining, coming);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_wait_for_their_turn() {
    let world = World::plain(|config| config.limits.logins = 1).await;
    world.origin.set(|state| state.answers_auth = false);
    let ns = "urn:ietf:params:xml:ns:xmpp-sasl";
    let auth = format!("<auth xmlns='{ns}' mechanism='SCRAM-SHA-1'>biwsbj1hLHI9eA==</auth>");
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(world.at.plain[0]).await;
        client.send(HEADER).await;
        client.expect("</stream:features>").await;
        client.send(&auth).await;
        clients.push(client);
    }
    for count in 1..=3 {
        let check = |state: &State| {
            let asked = |frame: &ToOrigin| -> Option<ConnectionId> {
                match frame {
                    ToOrigin::Authenticate(connection, _) => Some(*connection),
                    _ => None,
                }
            };
            let asked: Vec<_> = state.frames.iter().filter_map(asked).collect();
            (asked.len() >= count).then_some(asked)
        };
        let asked = world.origin.wait("a login", check).await;
        assert_eq!(asked.len(), count, "one at a time");
        world.origin.challenge(asked[count - 1]);
    }
    for client in &mut clients {
        client.expect("</challenge>").await;
    }
}
