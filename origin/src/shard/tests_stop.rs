//! A stop finishes what was taken.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::event::Event;
use super::mailbox::INNER_MAX;
use super::rig::jid;
use crate::admin::Error;
use crate::store::embedded::{Embedded, Options};
use crate::{Config, Origin};

/// Each request needs its account to be read: when the stop begins, some have been taken and wait
/// for the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_before_a_stop_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Embedded::open(folder.path(), Options::default()).expect("opens");
    let config = Config {
        domains: vec!["x".to_owned()],
        shards: 3,
        ..Config::default()
    };
    let origin = Origin::start(config, Arc::new(store)).await;
    let origin = origin.expect("starts");
    let admin = origin.admin();
    let requests = (0..500).map(|number| {
        let account = jid(&format!("nobody{number}@x"));
        let admin = admin.clone();
        tokio::spawn(async move { admin.account_remove(account).await })
    });
    let requests = requests.collect::<Vec<_>>();
    tokio::task::yield_now().await;
    origin.stop().await;
    for answer in join_all(requests).await {
        let answer = answer.expect("no panic");
        let is_told = matches!(answer, Err(Error::Missing(_) | Error::Stopping));
        assert!(is_told, "{answer:?}");
    }
}

/// Another origin may send while some shards have ended and others have not.
#[tokio::test]
async fn no_shard_waits_for_one_that_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Embedded::open(folder.path(), Options::default()).expect("opens");
    let origin = Origin::start(Config::default(), Arc::new(store)).await;
    let origin = origin.expect("starts");
    let surroundings = origin.surroundings.clone();
    assert!(!surroundings.is_quiet());
    origin.stop().await;
    // What is meant for one that has ended is never taken.
    surroundings.under_way.fetch_add(1, Ordering::SeqCst);
    assert!(surroundings.is_quiet());
}

/// A stop would wait for it in vain.
#[tokio::test]
async fn what_nobody_brings_any_more_is_not_under_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Embedded::open(folder.path(), Options::default()).expect("opens");
    let parts = crate::Parts::new(Config::default(), Arc::new(store)).expect("sound");
    let surroundings = &parts.surroundings;
    for _ in 0..INNER_MAX {
        surroundings.bring(0, Event::Directed).await;
    }
    let cut = surroundings.bring(0, Event::Directed).now_or_never();
    assert_eq!(cut, None);
    assert_eq!(surroundings.under_way.load(Ordering::SeqCst), INNER_MAX);
}
