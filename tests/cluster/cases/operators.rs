//! What operators ask and do at any node while people talk. Nobody notices but whose edge leaves.

use std::path::PathBuf;

use serde_json::Value;

use super::edges::{all_resumed, ends, in_order};
use crate::admin::ctl;
use crate::cluster::Cluster;
use crate::deadline::{PATIENCE, until};
use crate::stage::Stage;
use crate::verdict::Verdict;

pub(super) async fn work(folder: PathBuf) -> Verdict {
    let mut stage = Stage::usual(&folder).await;
    let mut wrong = Vec::new();
    ask(&stage.cluster, &mut wrong).await;
    ask_about_nodes(&stage.cluster, &mut wrong).await;

    let origin = &stage.cluster.origins[0];
    let drained = ctl(origin.admin, &["drain", "--wait", "60"]).await;
    expect(
        &mut wrong,
        "an origin drains",
        &drained,
        0,
        "nothing is left",
    );
    let left = slots(origin.admin).await;
    if left != Some(0) {
        wrong.push(format!(
            "after `drain --wait` the origin owns {left:?} slots"
        ));
    }
    stage.crowd.everyone_is_heard().await;
    let origin = &stage.cluster.origins[0];
    let another = stage.cluster.origins[1].admin;
    let undone = ctl(another, &["drain", "--undo", "--node", "o1"]).await;
    expect(
        &mut wrong,
        "an origin stays",
        &undone,
        0,
        "the origin o1 takes its share",
    );
    until("the origin has slots again", PATIENCE, async || {
        slots(origin.admin).await > Some(0)
    })
    .await;

    let edge = &mut stage.cluster.edges[0];
    let drained = ctl(edge.admin, &["drain", "--wait", "60"]).await;
    expect(&mut wrong, "an edge drains", &drained, 0, "nothing is left");
    let status = edge.end().await;
    edge.run().await;
    stage.crowd.everyone_is_heard().await;
    let mut verdict = stage.finish(ends(&[0])).await;
    for complaint in wrong {
        verdict.complain("operator", &complaint);
    }
    all_resumed(in_order(verdict, &[status]), 8)
}

/// Asks each origin for what all of them can tell.
async fn ask(cluster: &Cluster, wrong: &mut Vec<String>) {
    let [first, second, third] = [0, 1, 2].map(|index| cluster.origins[index].admin);
    for origin in [first, second, third] {
        let nodes = ctl(origin, &["nodes"]).await;
        for name in ["o1", "o2", "o3"] {
            expect(wrong, "an origin names all", &nodes, 0, name);
        }
    }
    let add = [
        "account",
        "add",
        "nurse@localhost",
        "--password",
        "angelica",
    ];
    let added = ctl(first, &add).await;
    expect(wrong, "an account is added", &added, 0, "added");
    let listed = ctl(second, &["account", "list", "localhost"]).await;
    expect(wrong, "it is there", &listed, 0, "nurse@localhost\n");
    let again = ctl(third, &add).await;
    expect(wrong, "it is there for all", &again, 1, "exists already");

    let of = |sessions: &(i32, String)| -> Value {
        let page: Value = serde_json::from_str(&sessions.1).unwrap_or_default();
        page["sessions"].clone()
    };
    let count = of(&ctl(first, &["sessions", "--json"]).await);
    let here = of(&ctl(second, &["sessions", "--domain", "LOCALHOST", "--json"]).await);
    let nobody = of(&ctl(third, &["sessions", "--domain", "elsewhere", "--json"]).await);
    let length = |sessions: &Value| sessions.as_array().map_or(0, Vec::len);
    if length(&count) < 10 || length(&here) != length(&count) || length(&nobody) != 0 {
        wrong.push(format!("sessions: {count} {here} {nobody}"));
    }
}

/// Asks nodes how others are, and an edge what only origins know.
async fn ask_about_nodes(cluster: &Cluster, wrong: &mut Vec<String>) {
    let second = cluster.origins[1].admin;
    let edge = cluster.edges[0].admin;
    let health = ctl(second, &["health", "--node", "o1"]).await;
    expect(
        wrong,
        "an origin tells how another is",
        &health,
        0,
        "o1    origin  ready",
    );
    let nobody = ctl(second, &["health", "--node", "o9"]).await;
    expect(
        wrong,
        "an origin knows the others",
        &nobody,
        1,
        "no origin \"o9\"",
    );
    let config = ctl(second, &["config", "node", "--node", "o1"]).await;
    expect(
        wrong,
        "an origin shows another's settings",
        &config,
        0,
        "\"o1\"",
    );
    let health = ctl(edge, &["health"]).await;
    expect(wrong, "an edge is well", &health, 0, "ready");
    let config = ctl(edge, &["config", "link.origins"]).await;
    expect(
        wrong,
        "an edge shows its settings",
        &config,
        0,
        "config.toml:",
    );
    for words in [["nodes"].as_slice(), &["account", "list"], &["sessions"]] {
        let refused = ctl(edge, words).await;
        expect(
            wrong,
            "an edge knows who knows",
            &refused,
            1,
            "ask the port of an origin",
        );
    }
}

/// How many slots an origin says that it owns.
async fn slots(admin: std::net::SocketAddr) -> Option<u64> {
    let (_, health) = ctl(admin, &["health", "--json"]).await;
    let health = health.lines().next().unwrap_or_default();
    let health: Value = serde_json::from_str(health).unwrap_or_default();
    health["slots"].as_u64()
}

/// That a command ended with this code and said this.
fn expect(wrong: &mut Vec<String>, what: &str, said: &(i32, String), code: i32, part: &str) {
    if said.0 != code || !said.1.contains(part) {
        wrong.push(format!("{what}: {} {}", said.0, said.1));
    }
}
