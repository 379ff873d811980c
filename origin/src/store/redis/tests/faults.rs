//! What Redis refuses or does not answer: the words of it, and that it passes.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::server::{BETWEEN, IN_TIME, Server};
use super::{commit_in_time, open, open_with, patient, refusal, words};
use crate::store::redis::{OpenError, Options, Redis};
use crate::store::tests::owned::{OFFLINE, Owned, ROSTER, append, jid, put, truncate};
use crate::store::{Error, Store, Write};

/// With this, what does not answer is soon said not to.
fn impatient(url: &str) -> Options {
    Options {
        response_timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_millis(300),
        ..Options::new(url)
    }
}

/// Opens one of that sort; a machine with much to do may take longer than it waits.
async fn open_impatient(url: &str) -> Redis {
    let started = Instant::now();
    loop {
        match open_with(impatient(url), "a").await {
            Ok(store) => return store,
            Err(error) => assert!(started.elapsed() < IN_TIME, "{error}"),
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let (store, mut server) = open().await;
    let owned = Owned::claim(&store).await;
    for number in 0..50 {
        let writes = [
            put(ROSTER, &number.to_string(), "1"),
            append(OFFLINE, number),
        ];
        owned.commit("a@x", writes).await;
    }
    server.kill();
    let refused = refusal(&owned, "k").await;
    let is_told = refused.contains("refuses the connection") || refused.contains("closed the");
    assert!(is_told, "{refused}");
    server.restart();
    // By itself, on the same store: at once, or after its short wait.
    commit_in_time(&owned, "after").await;
    assert_eq!(owned.load("a@x").await.rows.len(), 51);
    assert_eq!(owned.logs("a@x").await, [(OFFLINE.id, 50)]);
    assert_eq!(owned.log("a@x", OFFLINE, None, 100).await.len(), 50);
}

#[tokio::test]
async fn a_connection_that_is_cut_again_and_again_loses_and_doubles_nothing() {
    let (store, server) = open().await;
    let owned = Owned::claim(&store).await;
    let cuts = Arc::new(AtomicU32::new(0));
    let cut = Arc::new(AtomicBool::new(true));
    let port = server.port().to_string();
    let (count, go_on) = (Arc::clone(&cuts), Arc::clone(&cut));
    let cutter = std::thread::spawn(move || {
        while go_on.load(Ordering::Relaxed) {
            let mut cli = Command::new("redis-cli");
            cli.args(["-p", &port, "CLIENT", "KILL", "TYPE", "normal"]);
            let is_cut = cli.output().is_ok_and(|output| output.status.success());
            count.fetch_add(u32::from(is_cut), Ordering::Relaxed);
        }
    });
    let mut last = 0;
    // As many as it takes: how often it is cut meanwhile depends on what else the machine does.
    while last < 500 || cuts.load(Ordering::Relaxed) <= 10 {
        let number = last + 1;
        // Each takes back what the one before appended, so one that came late would show.
        let writes = [
            put(ROSTER, "k", &number.to_string()),
            append(OFFLINE, number),
            truncate(OFFLINE, number - 1),
        ];
        let started = Instant::now();
        while let Err(error) = store.commit(owned.batch("a@x", writes.clone())).await {
            assert!(matches!(error, Error::Unavailable(_)), "{error}");
            assert!(started.elapsed() < IN_TIME, "{error}");
        }
        last = number;
    }
    cut.store(false, Ordering::Relaxed);
    cutter.join().expect("ends");
    commit_in_time(&owned, "other").await;
    assert_eq!(
        owned.get("a@x", ROSTER, "k").await,
        Some(last.to_string().into())
    );
    assert_eq!(owned.log("a@x", OFFLINE, None, 9).await, [last]);
    assert_eq!(owned.logs("a@x").await, [(OFFLINE.id, 1)]);
}

#[tokio::test]
async fn a_redis_that_reads_its_data_is_waited_for() {
    // A slow start: each key takes a while, and it answers in between.
    let slow = ["--save", "3600 1", "--key-load-delay", "10000"];
    let often = ["--loading-process-events-interval-bytes", "1024"];
    let arguments = slow.iter().chain(&often).map(ToString::to_string);
    let mut server = Server::run(arguments.collect());
    let store = open_with(patient(&server.url()), "a").await.expect("opens");
    let owned = Owned::claim(&store).await;
    owned.commit("a@x", [put(ROSTER, "k", "1")]).await;
    assert_eq!(server.ask(&["SAVE"]), "OK");
    server.kill();
    server.restart_loading();
    let refused = refusal(&owned, "k").await;
    assert!(
        refused.contains("is reading its data from disk"),
        "{refused}"
    );
    let opened = open_with(patient(&server.url()), "b").await;
    let Err(OpenError::Store(error)) = opened else {
        panic!("{opened:?}");
    };
    assert!(words(error).contains("is reading its data from disk"));
    server.ask(&["CONFIG", "SET", "key-load-delay", "0"]);
    let started = Instant::now();
    while server.ask(&["PING"]).contains("LOADING") {
        assert!(started.elapsed() < IN_TIME);
        tokio::time::sleep(BETWEEN).await;
    }
    commit_in_time(&owned, "k").await;
}

#[tokio::test]
async fn a_replica_takes_no_commits_until_it_is_the_primary_again() {
    let (store, server) = open().await;
    let owned = Owned::claim(&store).await;
    owned.commit("a@x", [put(ROSTER, "k", "1")]).await;
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    let refused = refusal(&owned, "k").await;
    assert!(refused.contains("is a replica"), "{refused}");
    assert_eq!(owned.load("a@x").await.rows.len(), 1);
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    commit_in_time(&owned, "k").await;
}

#[tokio::test]
async fn without_memory_only_what_frees_some_is_taken() {
    let (store, server) = open().await;
    let owned = Owned::claim(&store).await;
    owned
        .commit("a@x", [put(ROSTER, "k", "1"), append(OFFLINE, 1)])
        .await;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = refusal(&owned, "k").await;
    assert!(refused.contains("all the memory it may"), "{refused}");
    owned.commit("a@x", [truncate(OFFLINE, 1)]).await;
    assert_eq!(owned.logs("a@x").await, []);
    owned.commit("a@x", [Write::Erase]).await;
    assert!(owned.load("a@x").await.rows.is_empty());
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    commit_in_time(&owned, "k").await;
}

#[tokio::test]
async fn a_disk_that_takes_no_writes_is_told() {
    let mut arguments = vec!["--save", "3600 1"];
    arguments.extend(["--stop-writes-on-bgsave-error", "yes"]);
    let server = Server::run(arguments.iter().map(ToString::to_string).collect());
    let store = open_with(patient(&server.url()), "a").await.expect("opens");
    let owned = Owned::claim(&store).await;
    // Where the snapshot would go there is a folder.
    let blocked = server.folder().join("dump.rdb");
    std::fs::create_dir(&blocked).expect("made");
    server.ask(&["BGSAVE"]);
    server.until(&["INFO", "persistence"], "rdb_last_bgsave_status:err");
    let refused = refusal(&owned, "k").await;
    assert!(refused.contains("cannot write to its disk"), "{refused}");
    std::fs::remove_dir(&blocked).expect("removed");
    server.ask(&["BGSAVE"]);
    server.until(&["INFO", "persistence"], "rdb_last_bgsave_status:ok");
    commit_in_time(&owned, "k").await;
}

#[tokio::test]
async fn too_few_replicas_are_told() {
    let (store, server) = open().await;
    let owned = Owned::claim(&store).await;
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let refused = refusal(&owned, "k").await;
    assert!(refused.contains("not enough replicas"), "{refused}");
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    commit_in_time(&owned, "k").await;
}

#[tokio::test]
async fn a_redis_that_stands_still_is_not_waited_for_without_end() {
    let server = Server::start();
    let store = open_impatient(&server.url()).await;
    let patient = open_with(patient(&server.url()), "a").await.expect("opens");
    let claimed = Owned::claim(&patient).await;
    let owned = Owned {
        store: &store,
        epoch: claimed.epoch,
    };
    commit_in_time(&owned, "before").await;
    server.signal("-STOP");
    let started = Instant::now();
    // What was given up is not lost to the server: it lies in its socket.
    let given_up = owned.batch("a@x", [put(ROSTER, "k", "given up")]);
    let refused = words(store.commit(given_up).await.expect_err("refused"));
    assert!(refused.contains("did not answer within"), "{refused}");
    let refused = refusal(&owned, "other").await;
    assert!(refused.contains("did not answer within"), "{refused}");
    let loaded = store.load(owned.slot(&jid("a@x")), jid("a@x")).await;
    assert!(matches!(loaded, Err(Error::Unavailable(_))), "{loaded:?}");
    assert!(started.elapsed() < IN_TIME);
    server.signal("-CONT");
    let started = Instant::now();
    while let Err(error) = store
        .commit(owned.batch("a@x", [put(ROSTER, "k", "last")]))
        .await
    {
        assert!(started.elapsed() < IN_TIME, "{error}");
        tokio::time::sleep(BETWEEN).await;
    }
    server.until(&["PING"], "PONG");
    assert_eq!(claimed.get("a@x", ROSTER, "k").await, Some("last".into()));
}

#[tokio::test]
async fn more_requests_than_may_be_under_way_wait_for_their_turn() {
    let server = Server::start();
    let narrow = Options {
        in_flight: 2,
        ..patient(&server.url())
    };
    let store = open_with(narrow, "a").await.expect("opens");
    let owned = Owned::claim(&store).await;
    let owned = &owned;
    let commits = (0..100).map(async |number| {
        let owner = format!("user{number}@x");
        owned.commit(&owner, [put(ROSTER, "k", "1")]).await;
        owned.load(&owner).await.rows.len()
    });
    let loaded = futures_util::future::join_all(commits).await;
    assert_eq!(loaded, [1; 100]);
}
