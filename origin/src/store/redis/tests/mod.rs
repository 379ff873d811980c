//! The suite on a real Redis, and what only Redis has.

mod cluster;
mod deadline;
mod faults;
mod fence;
mod members;
mod security;
mod sentinel;
mod server;

use std::time::{Duration, Instant};

use couplet_proto::link::id::NodeId;

use self::server::{BETWEEN, IN_TIME, Server};
use super::{OpenError, Options, Redis};
use crate::store::tests::owned::{Owned, ROSTER, put};
use crate::store::tests::suite;
use crate::store::{Error, Store};

suite!(open().await);

async fn open() -> (Redis, Server) {
    let server = Server::start();
    let store = open_at(&server.url(), "a").await;
    (store, server)
}

/// What a test on a machine with much to do waits for.
fn patient(url: &str) -> Options {
    Options {
        response_timeout: Duration::from_secs(10),
        ..Options::new(url)
    }
}

async fn open_at(url: &str, node: &str) -> Redis {
    open_with(patient(url), node).await.expect("opens")
}

async fn open_with(options: Options, node: &str) -> Result<Redis, OpenError> {
    Redis::open(options, NodeId(node.into())).await
}

/// Commits until it is taken.
async fn commit_in_time(owned: &Owned<'_>, key: &str) {
    let started = Instant::now();
    loop {
        let batch = owned.batch("a@x", [put(ROSTER, key, "1")]);
        let Err(error) = owned.store.commit(batch).await else {
            return;
        };
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        assert!(started.elapsed() < IN_TIME, "{error}");
        tokio::time::sleep(BETWEEN).await;
    }
}

/// The words of an error of the kind that passes.
fn words(error: Error) -> String {
    match error {
        Error::Unavailable(words) => words,
        other => panic!("{other:?}"),
    }
}

async fn refusal(owned: &Owned<'_>, key: &str) -> String {
    let batch = owned.batch("a@x", [put(ROSTER, key, "1")]);
    words(owned.store.commit(batch).await.expect_err("refused"))
}

#[tokio::test]
async fn a_store_is_made_once() {
    let (store, server) = open().await;
    let again = open_at(&server.url(), "b").await;
    assert_eq!(again.seed(), store.seed());
    assert_eq!(again.secret(), store.secret());
    let other = Options {
        key_prefix: "other:".into(),
        ..patient(&server.url())
    };
    let other = open_with(other, "a").await.expect("opens");
    assert_ne!(other.seed(), store.seed());
    assert_ne!(other.secret(), store.secret());
}

#[tokio::test]
async fn a_newer_format_is_refused_and_a_lost_seed_too() {
    let (_, server) = open().await;
    server.ask(&["SET", "couplet:{cluster}:format", "2"]);
    let refused = open_with(patient(&server.url()), "a").await;
    let refused = refused.expect_err("refused");
    assert!(
        matches!(refused, OpenError::Newer { found: 2, .. }),
        "{refused}"
    );
    for (key, value) in [("format", "x"), ("format", "0x1"), ("seed", "short")] {
        server.ask(&["SET", "couplet:{cluster}:format", "1"]);
        server.ask(&["SET", &format!("couplet:{{cluster}}:{key}"), value]);
        let refused = open_with(patient(&server.url()), "a").await;
        let refused = refused.expect_err("refused");
        let is_damage = matches!(refused, OpenError::Store(Error::Corrupt(_)));
        assert!(is_damage, "{refused}");
    }
    server.ask(&["DEL", "couplet:{cluster}:format"]);
    let refused = open_with(patient(&server.url()), "a").await;
    let refused = refused.expect_err("refused").to_string();
    assert!(
        refused.contains("there is a seed, but no format"),
        "{refused}"
    );
}

#[tokio::test]
async fn what_cannot_be_opened_is_said() {
    let brace = Options {
        key_prefix: "{x}".into(),
        ..patient("redis://127.0.0.1")
    };
    let refused = open_with(brace, "a").await.expect_err("refused");
    assert!(matches!(refused, OpenError::Prefix(_)), "{refused}");
    let refused = open_with(patient("http://x"), "a").await;
    let refused = refused.expect_err("refused");
    assert!(matches!(refused, OpenError::Url(_)), "{refused}");
    let url = format!("redis://127.0.0.1:{}", server::free_port());
    let refused = open_with(patient(&url), "a").await.expect_err("refused");
    let refused = refused.to_string();
    assert!(refused.contains("refuses the connection"), "{refused}");
}

#[tokio::test]
async fn accounts_of_many_slots_are_one_list() {
    let (store, _server) = open().await;
    let owned = Owned::claim(&store).await;
    let mut names: Vec<String> = (0..300).map(|number| format!("user{number}")).collect();
    for name in &names {
        let write = put(crate::store::CREDENTIALS, "", "secret");
        owned.commit(&format!("{name}@x"), [write]).await;
    }
    names.sort_unstable();
    let mut after: Option<String> = None;
    let mut listed = Vec::new();
    loop {
        let page = owned.accounts("x", after.as_deref(), 70).await;
        let locals = page.iter().map(|jid| jid.trim_end_matches("@x").to_owned());
        listed.extend(locals);
        match page.len() {
            70 => after = listed.last().cloned(),
            _ => break,
        }
    }
    assert_eq!(listed, names);
}
