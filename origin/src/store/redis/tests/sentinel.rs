//! A primary that Sentinel names, and the one it names next.

use super::server::Server;
use super::{commit_in_time, open_at};
use crate::store::tests::owned::{Owned, ROSTER, put};

#[tokio::test]
async fn the_next_primary_is_found() {
    let mut primary = Server::start();
    let port = primary.port().to_string();
    let replica = Server::start_with(&["--replicaof", "127.0.0.1", &port]);
    replica.until(&["INFO", "replication"], "master_link_status:up");
    let config = tempfile::tempdir().expect("a folder");
    let file = config.path().join("sentinel.conf");
    let lines = [
        format!("sentinel monitor main 127.0.0.1 {port} 1"),
        "sentinel down-after-milliseconds main 500".to_owned(),
        "sentinel failover-timeout main 2000".to_owned(),
    ];
    std::fs::write(&file, lines.join("\n")).expect("written");
    let file = file.to_str().expect("UTF-8").to_owned();
    let sentinel = Server::run(vec![file, "--sentinel".into()]);
    sentinel.until(&["INFO", "sentinel"], "slaves=1");
    let url = format!("redis-sentinel://127.0.0.1:{}/main", sentinel.port());
    let store = open_at(&url, "a").await;
    let owned = Owned::claim(&store).await;
    owned.commit("a@x", [put(ROSTER, "k", "1")]).await;
    primary.replicate("test");
    primary.kill();
    commit_in_time(&owned, "after").await;
    assert_eq!(owned.load("a@x").await.rows.len(), 2);
    assert!(replica.ask(&["ROLE"]).starts_with("master"));
}
