//! What operators watch with: the board, the alert rules and the runbook fit together, and with a
//! real Prometheus and a real cluster everything they name has samples.
//!
//! Needs `prometheus`, `promtool` and `redis-server` on the path.
//!
//! - [`board`]: the dashboard.
//! - [`rules`]: the alerts, and what is said of each.
//! - [`live`]: a cluster, traffic, and Prometheus on it.
//! - [`traffic`]: what the clients do.
//! - [`prometheus`]: its process and its API.
//!
//! The cluster is that of `tests/cluster`.

mod board;
mod live;
mod prometheus;
mod rules;
mod traffic;

#[path = "../cluster/admin.rs"]
#[expect(dead_code, reason = "made for the cases of the cluster")]
mod admin;
#[path = "../cluster/balancer.rs"]
mod balancer;
#[path = "../cluster/cluster.rs"]
#[expect(dead_code, reason = "made for the cases of the cluster")]
mod cluster;
#[path = "../cluster/deadline.rs"]
#[expect(dead_code, reason = "made for the cases of the cluster")]
mod deadline;
#[path = "../cluster/proxy.rs"]
#[expect(dead_code, reason = "made for the cases of the cluster")]
mod proxy;
#[path = "../cluster/redis.rs"]
#[expect(dead_code, reason = "made for the cases of the cluster")]
mod redis;
#[path = "../cluster/stream.rs"]
#[expect(dead_code, reason = "made for the cases of the cluster")]
mod stream;
#[path = "../cluster/tally.rs"]
#[expect(dead_code, reason = "made for the cases of the cluster")]
mod tally;

#[path = "../suite/harness/mod.rs"]
#[expect(dead_code, reason = "made for the end-to-end suite")]
mod harness;

use std::path::PathBuf;

/// A file of `deploy/monitoring`.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/monitoring")
        .join(name)
}

/// What stands in it.
fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
