//! Edges die and leave. Their clients come back at another and go on where they were.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::cluster::Layout;
use crate::crowd::Size;
use crate::stage::Stage;
use crate::tally;
use crate::verdict::{Expected, Verdict};

pub(super) async fn killed(folder: PathBuf) -> Verdict {
    let mut stage = Stage::usual(&folder).await;
    stage.cluster.edges[0].kill();
    stage.crowd.everyone_is_heard().await;
    stage.cluster.edges[0].run().await;
    stage.crowd.everyone_is_heard().await;
    let verdict = stage.finish(ends(&[0])).await;
    all_resumed(verdict, 8)
}

pub(super) async fn drained(folder: PathBuf) -> Verdict {
    let mut stage = Stage::usual(&folder).await;
    let status = stage.cluster.edges[0].drain().await;
    stage.crowd.everyone_is_heard().await;
    let verdict = stage.finish(ends(&[0])).await;
    all_resumed(in_order(verdict, &[status]), 8)
}

pub(super) async fn killed_with_origin(folder: PathBuf) -> Verdict {
    let mut stage = Stage::usual(&folder).await;
    stage.cluster.edges[0].kill();
    // Some are back by now, some are not.
    stage.crowd.arrivals(30).await;
    stage.cluster.origins[1].kill();
    stage.crowd.everyone_is_heard().await;
    let verdict = stage.finish(ends(&[0])).await;
    all_resumed(verdict, 8)
}

pub(super) async fn rolling(folder: PathBuf) -> Verdict {
    let mut stage = Stage::usual(&folder).await;
    let statuses = restart_all(&mut stage).await;
    let verdict = stage.finish(ends(&[0, 1])).await;
    all_resumed(in_order(verdict, &statuses), 16)
}

/// Drains and starts again every node in turn; how each ended.
async fn restart_all(stage: &mut Stage) -> Vec<ExitStatus> {
    let mut statuses = Vec::new();
    for index in 0..stage.cluster.origins.len() {
        statuses.push(stage.cluster.origins[index].drain().await);
        stage.cluster.origins[index].run().await;
        stage.crowd.everyone_is_heard().await;
    }
    for index in 0..stage.cluster.edges.len() {
        statuses.push(stage.cluster.edges[index].drain().await);
        stage.cluster.edges[index].run().await;
        stage.crowd.everyone_is_heard().await;
    }
    statuses
}

/// As [`rolling`], with the clients behind HAProxy: all of them come back by the same door. What
/// the edges wrote down of them must add up.
pub(super) async fn rolling_behind_balancer(folder: PathBuf) -> Verdict {
    tally::begin();
    let layout = Layout {
        origins: 2,
        is_balanced: true,
        ..Layout::default()
    };
    let mut stage = Stage::set(&folder, layout, Size::default()).await;
    let statuses = restart_all(&mut stage).await;
    // Both edges are one door.
    let expected = Expected {
        edge_ends: BTreeMap::from([(0, 2)]),
        ..Expected::default()
    };
    let (verdict, mut cluster) = stage.end(expected).await;
    let mut verdict = all_resumed(in_order(verdict, &statuses), 16);
    for edge in &mut cluster.edges {
        // With its end everything is written.
        edge.drain().await;
    }
    let (wrong, connections) = tally::compare(&cluster);
    for text in wrong {
        verdict.complain("access log", &text);
    }
    if connections < 40 {
        verdict.complain("access log", &format!("only {connections} connections"));
    }
    verdict
}

/// These edges end once each.
pub(super) fn ends(edges: &[usize]) -> Expected {
    let edge_ends: BTreeMap<_, _> = edges.iter().map(|edge| (*edge, 1)).collect();
    Expected {
        edge_ends,
        ..Expected::default()
    }
}

/// Everybody with stream management who was at the edge has resumed; otherwise nothing was shown.
pub(super) fn all_resumed(mut verdict: Verdict, least: usize) -> Verdict {
    let resumed = verdict.resumed;
    if resumed < least {
        verdict.complain("resumption", &format!("only {resumed} of {least}"));
    }
    verdict
}

/// Every node that was told to stop has done so in good order.
pub(super) fn in_order(mut verdict: Verdict, statuses: &[ExitStatus]) -> Verdict {
    for status in statuses.iter().filter(|status| !status.success()) {
        verdict.complain("drain", &format!("a node ended with {status}"));
    }
    verdict
}
