//! A cluster and a server that is alone, with traffic and a death, and a real Prometheus on them:
//! everything that board and rules name is there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::board;
use crate::cluster::{Cluster, Cut, Layout};
use crate::deadline::{PATIENCE, comes_true, until};
use crate::harness::page;
use crate::harness::server::Server;
use crate::prometheus::{self, Prometheus};
use crate::traffic;

/// What ends the name of a series of a histogram.
const PARTS: &[&str] = &["_bucket", "_sum", "_count"];

/// However badly it goes, it ends.
const MOST: Duration = Duration::from_secs(240);

/// The metrics and recorded series an expression names.
fn names(expr: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    // Strings are values of labels, or patterns for them.
    let code = expr.split('"').step_by(2);
    let words = code.flat_map(|code| code.split(|c| !is_part(c)));
    let is_name = |word: &&str| {
        let is_ours = ["couplet_", "process_", "instance:"];
        ["up", "ALERTS"].contains(word) || is_ours.iter().any(|it| word.starts_with(it))
    };
    words.filter(is_name).map(str::to_owned).collect()
}

/// A node's own words, once it has looked at its certificates, if it has any.
async fn measured(node: SocketAddr, role: &str) -> String {
    let mut text = String::new();
    until(&format!("{role} measures"), PATIENCE, async || {
        let answer = prometheus::get(node, "/metrics").await;
        text = answer.unwrap_or_default();
        text.contains("\ncouplet_ready 1\n")
            && (role == "origin" || text.contains("couplet_certificate_expires"))
    })
    .await;
    text
}

#[test]
fn what_board_and_rules_name_has_samples_on_a_running_cluster() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("monitoring");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the target folder is ours");
    let server = Server::start(&[]);
    traffic::alone(&server);
    runtime.block_on(async {
        let watching = watch(&folder, server.admin);
        let done = tokio::time::timeout(MOST, watching).await;
        done.unwrap_or_else(|_| panic!("not over after {MOST:?}"));
    });
}

async fn watch(folder: &Path, alone: SocketAddr) {
    let layout = Layout {
        origins: 2,
        spare_origins: 0,
        edges: 2,
        cut: Cut::Nowhere,
        is_balanced: false,
    };
    let mut cluster = Cluster::start(folder, layout).await;
    for (node, role) in [(&cluster.origins[0], "origin"), (&cluster.edges[0], "edge")] {
        page::check(&measured(node.admin, role).await, role);
    }
    let nodes = cluster.origins.iter().chain(&cluster.edges);
    let mut nodes: Vec<SocketAddr> = nodes.map(|node| node.admin).collect();
    nodes.push(alone);
    let prometheus = Prometheus::start(folder, &nodes).await;
    prometheus.wait_for("count(couplet_ready == 1) == 5").await;

    traffic::prepare(&cluster).await;
    let edges = [cluster.edges[0].clients, cluster.edges[1].clients];
    traffic::scene(edges, 0).await.expect("the scene is played");
    // An origin dies and comes back.
    cluster.origins[0].kill();
    let down = "ALERTS{alertname=\"CoupletNodeDown\"}";
    prometheus.wait_for(down).await;
    prometheus
        .wait_for("couplet_slot_moves_total{cause=\"crash\"} > 0")
        .await;
    cluster.origins[0].run().await;
    prometheus
        .wait_for("couplet_slot_moves_total{cause=\"planned\"} > 0")
        .await;
    prometheus.wait_for(&format!("absent({down})")).await;

    // What is shown as a rate needs something that goes on.
    let going_on = tokio::spawn(async move {
        for round in 1.. {
            let played = traffic::scene(edges, round).await;
            played.expect("the scene is played");
        }
    });
    all_rules_are_evaluated(&prometheus).await;
    all_names_have_samples(&prometheus).await;
    all_panels_show_something(&prometheus).await;
    every_tier_measures_what_it_does(&prometheus).await;
    assert!(!going_on.is_finished(), "the scene was not played");
    going_on.abort();
    assert_eq!(cluster.panics(), Vec::<String>::new());
}

/// Every rule has been evaluated, without an error.
async fn all_rules_are_evaluated(prometheus: &Prometheus) {
    let mut unwell = Vec::new();
    let are_well = comes_true(PATIENCE * 2, async || {
        let data = prometheus.api("rules").await;
        let rules = rules(&data);
        let not_well = rules.iter().filter(|rule| rule["health"] != "ok");
        unwell = not_well
            .map(|rule| format!("{}: {}", rule["name"], rule["lastError"]))
            .collect();
        unwell.is_empty() && rules.len() > 30
    });
    assert!(are_well.await, "{unwell:#?}");
}

fn rules(data: &Value) -> Vec<Value> {
    let groups = data["groups"].as_array().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
    rules.collect()
}

/// Every metric that a rule or a panel names is there.
async fn all_names_have_samples(prometheus: &Prometheus) {
    let data = prometheus.api("rules").await;
    let rules = rules(&data).into_iter();
    let rules = rules.map(|rule| rule["query"].as_str().expect("a query").to_owned());
    let panels = board::queries().into_iter().map(|query| query.expr);
    let named: BTreeSet<String> = rules.chain(panels).flat_map(|expr| names(&expr)).collect();
    assert!(named.len() > 60, "{named:?}");
    for name in &named {
        // It exists while an alert is pending or firing.
        if name != "ALERTS" {
            prometheus
                .wait_for(&format!("count({{__name__=\"{name}\"}})"))
                .await;
        }
    }
    // The other way round: what is measured can be seen, or is told of.
    for name in page::rows().keys() {
        let is_named = |part: &str| named.contains(&format!("{name}{part}"));
        let is_shown = is_named("") || PARTS.iter().any(|part| is_named(part));
        assert!(
            is_shown || UNSHOWN.contains(&name.as_str()),
            "{name} is on no panel"
        );
    }
}

/// What nobody needs on the board.
const UNSHOWN: &[&str] = &[
    // Only of those who follow stanzas.
    "couplet_trace_spans_total",
    "process_threads",
    "process_virtual_memory_bytes",
];

/// Every query of the board yields something.
async fn all_panels_show_something(prometheus: &Prometheus) {
    let mut empty = Vec::new();
    let show = comes_true(PATIENCE * 2, async || {
        empty.clear();
        for query in board::queries() {
            if !prometheus.knows(&query.expr).await {
                empty.push(format!("{}: {}", query.panel, query.expr));
            }
        }
        empty.is_empty()
    });
    assert!(show.await, "{empty:#?}");
}

/// What the clients did is in the figures of those who did it for them.
async fn every_tier_measures_what_it_does(prometheus: &Prometheus) {
    for expr in [
        "sum(couplet_logins_total{outcome=\"success\"}) > 5",
        "sum(couplet_logins_total{outcome=\"failure\"}) > 0",
        "sum(couplet_binds_total{outcome=\"success\"}) > 5",
        "sum(couplet_resumptions_total{outcome=\"success\"}) > 0",
        "sum(couplet_client_stanzas_total{kind=\"message\", direction=\"in\"}) > 5",
        "sum(couplet_stream_errors_total) > 0",
        "sum(couplet_edge_stanza_errors_total{condition=\"bad-request\"}) > 0",
        "sum(couplet_origin_stanza_errors_total{condition=\"service-unavailable\"}) > 0",
        "sum(couplet_origin_offline_messages_total{outcome=\"stored\"}) > 0",
        "sum(couplet_origin_room_messages_total{outcome=\"sent\"}) > 0",
        "sum(couplet_origin_room_joins_total{outcome=\"created\"}) > 0",
        "sum(couplet_origin_commit_seconds_count) > 0",
        "sum(couplet_origin_commit_writes_sum) > 0",
        "sum(couplet_origin_fan_receivers_count) > 0",
        "sum(couplet_slot_unowned_seconds_count) > 0",
        "sum(couplet_slot_pause_seconds_count) > 0",
        "sum(couplet_tls_handshakes_total{outcome=\"success\"}) > 0",
        // Within one process, and across edge, origin, origin and edge; none compares clocks of
        // two processes, which would show as hours or as nothing.
        "count(couplet_delivery_seconds_count > 0) == 3",
        "absent(couplet_delivery_seconds_sum / couplet_delivery_seconds_count > 10)",
        "sum(couplet_delivery_seconds_sum) > 0",
    ] {
        prometheus.wait_for(expr).await;
    }
}
