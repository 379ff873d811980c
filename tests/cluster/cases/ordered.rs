//! What operators order at one origin is so at every edge, whoever dies: bans, an added domain,
//! sessions that end. Those who talk notice nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::task::spawn_blocking;

use super::edges::ends;
use crate::admin::{add_account, ctl};
use crate::cluster::Cluster;
use crate::deadline::{PATIENCE, until};
use crate::harness::client::{Client, header};
use crate::harness::reading::Incoming;
use crate::harness::sasl::Binding;
use crate::stage::Stage;
use crate::stream::PASSWORD;
use crate::verdict::Verdict;

const BANNED: &str = "127.0.0.66";
const TYBALT: &str = "tybalt@localhost";
const ROMEO: &str = "romeo@mantua.lit";

pub(super) async fn everywhere(folder: PathBuf) -> Verdict {
    let mut stage = Stage::usual(&folder).await;
    let edges: Vec<SocketAddr> = stage.cluster.edges.iter().map(|it| it.clients).collect();
    let admins: Vec<SocketAddr> = stage.cluster.origins.iter().map(|it| it.admin).collect();
    add_account(admins[0], TYBALT, PASSWORD).await;
    add_account(admins[1], "nurse@localhost", PASSWORD).await;
    let to = edges.clone();
    let mut sessions = within(move || {
        let mut banned = Client::connect_from(BANNED.parse().expect("an address"), to[0]);
        banned.enter("nurse@localhost", PASSWORD);
        [banned, Client::login(to[1], TYBALT, PASSWORD)]
    })
    .await;

    order(admins[0], &["ban", "add", BANNED, "--reason", "duels"]).await;
    order(admins[0], &["ban", "add", TYBALT]).await;
    order(admins[0], &["domain", "add", "mantua.lit"]).await;
    add_account(admins[0], ROMEO, PASSWORD).await;
    within(move || {
        for session in &mut sessions {
            session.ends_with("policy-violation");
        }
    })
    .await;
    in_force(&stage.cluster).await;
    stage.crowd.everyone_is_heard().await;

    stage.cluster.origins[0].kill();
    stage.crowd.everyone_is_heard().await;
    in_force(&stage.cluster).await;
    // One that has just come knows before it lets anybody in.
    stage.cluster.edges[1].kill();
    stage.cluster.edges[1].run().await;
    let edge = edges[1];
    let wrong = within(move || standing(edge)).await;
    assert_eq!(wrong, None, "at an edge that has just come");
    stage.cluster.origins[0].run().await;
    in_force(&stage.cluster).await;
    let listed = order(admins[0], &["ban", "list"]).await;
    assert!(
        listed.contains(BANNED) && listed.contains(TYBALT),
        "{listed}"
    );
    stage.crowd.everyone_is_heard().await;

    kick_and_remove(&admins, &edges).await;
    stage.finish(ends(&[1])).await
}

/// Another origin ends a session, lifts a ban and takes the domain away.
async fn kick_and_remove(admins: &[SocketAddr], edges: &[SocketAddr]) {
    let at = edges[1];
    let mut kicked = within(move || Client::login(at, ROMEO, PASSWORD)).await;
    let told = order(admins[1], &["kick", ROMEO, "--reason", "a test"]).await;
    assert_eq!(told, "1 session ended\n");
    within(move || kicked.ends_with("policy-violation")).await;
    let mut all = within(move || Client::login(at, ROMEO, PASSWORD)).await;
    let told = order(admins[2], &["kick", "mantua.lit"]).await;
    assert_eq!(told, "1 session ended\n");
    within(move || all.ends_with("policy-violation")).await;

    let mut gone = within(move || Client::login(at, ROMEO, PASSWORD)).await;
    order(admins[2], &["ban", "remove", BANNED]).await;
    order(admins[1], &["domain", "remove", "mantua.lit", "--force"]).await;
    within(move || gone.ends_with("host-gone")).await;
    for edge in edges.iter().copied() {
        until(
            "the ban is lifted and the domain gone",
            PATIENCE,
            async || {
                within(move || is_let_in(BANNED, edge) && !is_served("mantua.lit", edge)).await
            },
        )
        .await;
    }
}

/// Waits until all that was ordered is so at every edge.
async fn in_force(cluster: &Cluster) {
    for edge in &cluster.edges {
        let at = edge.clients;
        let what = format!("bans and the domain are known at {}", edge.name);
        until(&what, PATIENCE, async || {
            within(move || standing(at)).await.is_none()
        })
        .await;
    }
}

/// What is not as it was ordered at an edge.
fn standing(edge: SocketAddr) -> Option<String> {
    if is_let_in(BANNED, edge) {
        return Some(format!("{BANNED} is let in"));
    }
    if !is_let_in("127.0.0.7", edge) {
        return Some("somebody else is not let in".to_owned());
    }
    match log_in(edge, TYBALT) {
        Err(refusal) if refusal.contains("account-disabled") => {}
        other => return Some(format!("{TYBALT}: {other:?}")),
    }
    log_in(edge, ROMEO)
        .err()
        .map(|why| format!("{ROMEO}: {why}"))
}

/// Whether somebody at this address of the machine gets an answer.
fn is_let_in(host: &str, edge: SocketAddr) -> bool {
    let mut client = Client::connect_from(host.parse().expect("an address"), edge);
    let sent = client.send_bytes(header("localhost").as_bytes());
    sent.is_ok() && !matches!(client.incoming(), Incoming::Eof)
}

fn is_served(domain: &str, edge: SocketAddr) -> bool {
    let mut client = Client::connect(edge);
    client.send(&header(domain));
    client.send("</stream:stream>");
    client.read_to_end().is_none()
}

/// Authenticates; why not.
fn log_in(edge: SocketAddr, jid: &str) -> Result<(), String> {
    let (user, domain) = jid.split_once('@').expect("an account");
    if !is_served(domain, edge) {
        return Err("its domain is not served".to_owned());
    }
    let mut client = Client::connect(edge);
    client.open(domain);
    let entered = client.authenticate("SCRAM-SHA-1", user, PASSWORD, &Binding::None);
    entered.map_err(|failure| failure.to_string())
}

/// Has `couplet ctl` do something; what it says.
async fn order(admin: SocketAddr, words: &[&str]) -> String {
    let (code, said) = ctl(admin, words).await;
    assert_eq!(code, 0, "{words:?}: {said}");
    said
}

/// Does what blocks.
async fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.expect("it goes well")
}
