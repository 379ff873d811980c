//! Edges die and leave. Their clients come back at another and go on where they were.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::stage::Stage;
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
    let verdict = stage.finish(ends(&[0, 1])).await;
    all_resumed(in_order(verdict, &statuses), 16)
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
