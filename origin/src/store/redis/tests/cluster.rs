//! A real Redis Cluster: three primaries, and a replica of each.

use std::process::Command;
use std::time::Instant;

use super::server::{BETWEEN, IN_TIME, Server};
use super::{commit_in_time, open_with, patient, refusal, suite};
use crate::store::redis::{Options, Redis};
use crate::store::tests::owned::{Owned, ROSTER, jid, put};
use crate::store::{CREDENTIALS, Registry};

/// The nodes of a cluster.
struct Cluster {
    nodes: Vec<Server>,
}

suite!(the_suite, Cluster::start(0), open);

async fn open(cluster: &Cluster, prefix: &str) -> Redis {
    let options = Options {
        key_prefix: format!("{prefix}:"),
        ..patient(&cluster.url())
    };
    open_with(options, "a").await.expect("opens")
}

// === impl Cluster ===

impl Cluster {
    /// Three primaries with so many replicas each.
    fn start(replicas: usize) -> Self {
        let arguments = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-port",
            "CLUSTERBUS",
        ];
        let node = |_| {
            let bus = super::server::free_port().to_string();
            let filled = arguments.map(|argument| argument.replace("CLUSTERBUS", &bus));
            let filled: Vec<&str> = filled.iter().map(String::as_str).collect();
            Server::start_with(&filled)
        };
        let nodes: Vec<Server> = (0..3 * (1 + replicas)).map(node).collect();
        let cluster = Self { nodes };
        let mut cli = Command::new("redis-cli");
        cli.args(["--cluster", "create"]).args(cluster.hosts());
        cli.args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"]);
        let output = cli.output().expect("there is a redis-cli");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        for node in &cluster.nodes {
            node.until(&["CLUSTER", "INFO"], "cluster_state:ok");
            let known = format!("cluster_known_nodes:{}", cluster.nodes.len());
            node.until(&["CLUSTER", "INFO"], &known);
        }
        cluster
    }

    fn hosts(&self) -> Vec<String> {
        let nodes = self.nodes.iter();
        nodes
            .map(|node| format!("127.0.0.1:{}", node.port()))
            .collect()
    }

    fn url(&self) -> String {
        format!("redis-cluster://{}", self.hosts().join(","))
    }

    /// The primary that has a key.
    fn holder(&mut self, key: &str) -> &mut Server {
        let slot = self.nodes[0].ask(&["CLUSTER", "KEYSLOT", key]);
        let slot: u16 = slot.parse().expect("a number");
        let nodes = self.nodes[0].ask(&["CLUSTER", "NODES"]);
        let has_slot = |line: &&str| {
            line.split(' ').skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let bounds = (first.parse::<u16>(), last.parse::<u16>());
                matches!(bounds, (Ok(first), Ok(last)) if (first..=last).contains(&slot))
            })
        };
        let line = nodes.lines().find(has_slot).expect("a primary has it");
        let is_named = |node: &&mut Server| line.contains(&format!("127.0.0.1:{}@", node.port()));
        self.nodes.iter_mut().find(is_named).expect("it is ours")
    }
}

#[tokio::test]
async fn what_a_replica_had_survives_its_primary() {
    let mut cluster = Cluster::start(1);
    let store = open(&cluster, "couplet").await;
    let owned = Owned::claim(&store).await;
    owned
        .commit(
            "a@x",
            [put(CREDENTIALS, "", "secret"), put(ROSTER, "k", "1")],
        )
        .await;
    let key = store.keys.own(owned.slot(&jid("a@x")));
    let primary = cluster.holder(&key);
    primary.replicate(&key);
    primary.kill();
    commit_in_time(&owned, "after").await;
    assert_eq!(owned.load("a@x").await.rows.len(), 3);
    assert_eq!(owned.accounts("x", None, 9).await, ["a@x"]);
    let owners = store.owners().await.expect("read");
    assert!(owners.iter().all(Option::is_some));
    let started = Instant::now();
    let me = super::members::member("juliet");
    while let Err(error) = store.beat(&me, 4000).await {
        assert!(started.elapsed() < IN_TIME, "{error}");
        tokio::time::sleep(BETWEEN).await;
    }
    // And if all of it goes and comes back.
    for node in &mut cluster.nodes {
        node.kill();
    }
    refusal(&owned, "gone").await;
    for node in &mut cluster.nodes {
        node.restart();
    }
    commit_in_time(&owned, "back").await;
    assert_eq!(owned.load("a@x").await.rows.len(), 4);
}

#[tokio::test]
async fn a_server_of_a_cluster_is_not_taken_for_one_alone() {
    let cluster = Cluster::start(0);
    let mut answers = Vec::new();
    for node in &cluster.nodes {
        match open_with(patient(&node.url()), "a").await {
            Ok(_) => answers.push(String::new()),
            Err(error) => answers.push(error.to_string()),
        }
    }
    let told = answers
        .iter()
        .filter(|words| words.contains("redis-cluster://"));
    assert_eq!(told.count(), 2, "{answers:?}");
}
