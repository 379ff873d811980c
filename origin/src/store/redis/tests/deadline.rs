//! What was given up is not applied later, whatever the clocks show.

use std::time::{Duration, Instant};

use ::redis::Value;
use couplet_proto::slot::Slot;

use super::server::{IN_TIME, Server};
use super::{commit_in_time, open, open_with, patient, refusal, words};
use crate::store::redis::clock::{Clock, Sample, Validity};
use crate::store::redis::{Options, Redis};
use crate::store::tests::owned::{OFFLINE, Owned, ROSTER, append, jid, put};
use crate::store::{Batch, Store};

/// Has a batch given up while Redis stands still, by the store or after `patience`, and lets Redis
/// find it when it goes on.
async fn give_up(store: &Redis, server: &Server, batch: Batch, patience: Option<Duration>) {
    assert_eq!(server.ask(&["CONFIG", "RESETSTAT"]), "OK");
    server.signal("-STOP");
    let refused = match patience {
        Some(patience) => store.commit_until(batch, Instant::now() + patience).await,
        None => store.commit(batch).await,
    };
    server.signal("-CONT");
    let refused = words(refused.expect_err("refused"));
    assert!(refused.contains("did not answer within"), "{refused}");
    // It was not lost on the way: here Redis carries out the script.
    server.until(&["INFO", "commandstats"], "cmdstat_evalsha:calls=1,");
}

#[tokio::test]
async fn a_commit_given_up_is_not_applied_when_redis_wakes() {
    let server = Server::start();
    let options = Options {
        response_timeout: Duration::from_secs(2),
        ..patient(&server.url())
    };
    let store = open_with(options, "a").await.expect("opens");
    let owned = Owned::claim(&store).await;
    commit_in_time(&owned, "before").await;
    let lost = || owned.batch("a@x", [put(ROSTER, "lost", "1"), append(OFFLINE, 1)]);
    give_up(&store, &server, lost(), None).await;
    assert_eq!(owned.get("a@x", ROSTER, "lost").await, None);
    assert!(owned.logs("a@x").await.is_empty());
    commit_in_time(&owned, "after").await;
    assert_eq!(owned.load("a@x").await.rows.len(), 2);
}

#[tokio::test]
async fn a_commit_is_not_applied_after_the_deadline_of_who_asked() {
    let (store, server) = open().await;
    let owned = Owned::claim(&store).await;
    commit_in_time(&owned, "before").await;
    // Long before the store itself would give it up.
    let patience = Duration::from_secs(2);
    let lost = owned.batch("a@x", [put(ROSTER, "lost", "1")]);
    give_up(&store, &server, lost, Some(patience)).await;
    assert_eq!(owned.get("a@x", ROSTER, "lost").await, None);
    // The connection is the same, and the next goes through it.
    owned.commit("a@x", [put(ROSTER, "after", "1")]).await;
    let batch = owned.batch("a@x", [put(ROSTER, "in time", "1")]);
    let deadline = Instant::now() + IN_TIME;
    store.commit_until(batch, deadline).await.expect("stored");
    assert_eq!(owned.load("a@x").await.rows.len(), 3);
    // One that has come already is not even tried.
    let batch = owned.batch("a@x", [put(ROSTER, "never", "1")]);
    let refused = store.commit_until(batch, Instant::now()).await;
    let refused = words(refused.expect_err("refused"));
    assert!(refused.contains("no time left"), "{refused}");
    assert_eq!(owned.get("a@x", ROSTER, "never").await, None);
}

#[tokio::test]
async fn a_clock_that_was_set_costs_one_refusal() {
    let (store, server) = open().await;
    let owned = Owned::claim(&store).await;
    let slot = owned.slot(&jid("a@x"));
    for wrong in [-3_600_000, -20_000, 20_000, 3_600_000] {
        owned.commit("a@x", [put(ROSTER, "k", "1")]).await;
        believe(&store, &server, slot, wrong);
        let refused = refusal(&owned, "lost").await;
        assert!(refused.contains("too late"), "{wrong}: {refused}");
        assert_eq!(owned.get("a@x", ROSTER, "lost").await, None);
        owned.commit("a@x", [put(ROSTER, "k", "2")]).await;
        assert_eq!(owned.get("a@x", ROSTER, "k").await, Some("2".into()));
    }
}

/// Makes a store believe that the clock of Redis is wrong by so many milliseconds.
fn believe(store: &Redis, server: &Server, slot: Slot, wrong: i64) {
    let answer = server.ask(&["TIME"]);
    let seconds = answer.lines().next().expect("two lines");
    let seconds: i64 = seconds.parse().expect("a number");
    let clock = store.link.clock(slot);
    clock.forget();
    let shown = Value::Int(seconds * 1000 + wrong);
    let sample = Sample::new(1, Instant::now(), &shown).expect("a time");
    clock.see(sample, Instant::now());
}

#[test]
fn the_closest_look_counts_until_it_is_old_or_refuted() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let look = |asked, answered, shown| Sample {
        generation: 1,
        asked: at(asked),
        answered: at(answered),
        shown,
    };
    let clock = Clock::default();
    assert_eq!(clock.earliest(1, start), None);
    clock.see(look(0, 100, 5_000), at(100));
    assert_eq!(clock.earliest(1, at(150)), Some(5_050));
    // Closer, and it was not that early.
    clock.see(look(200, 210, 5_190), at(210));
    assert_eq!(clock.earliest(1, at(210)), Some(5_190));
    // Less close, and both may be true.
    clock.see(look(300, 500, 5_380), at(500));
    assert_eq!(clock.earliest(1, at(500)), Some(5_480));
    // Less close, but the clock was set: forth, and back.
    clock.see(look(600, 700, 9_000), at(700));
    assert_eq!(clock.earliest(1, at(700)), Some(9_000));
    clock.see(look(700, 900, 2_000), at(900));
    assert_eq!(clock.earliest(1, at(900)), Some(2_000));
    // One from before that comes late changes nothing.
    clock.see(look(500, 800, 8_800), at(900));
    assert_eq!(clock.earliest(1, at(900)), Some(2_000));
    // What is old gives way, and is not believed for ever.
    clock.see(look(10_900, 11_400, 12_300), at(11_400));
    assert_eq!(clock.earliest(1, at(11_400)), Some(12_300));
    assert_eq!(clock.earliest(1, at(41_400)), None);
    // Another connection may lead elsewhere.
    assert_eq!(clock.earliest(2, at(11_400)), None);
    let elsewhere = Sample {
        generation: 2,
        ..look(11_400, 12_000, 100)
    };
    clock.see(elsewhere, at(12_000));
    assert_eq!(clock.earliest(2, at(12_000)), Some(100));
    clock.see(look(12_000, 12_000, 13_000), at(12_000));
    assert_eq!(clock.earliest(2, at(12_000)), Some(100));
}

#[test]
fn a_commit_is_valid_for_less_than_it_is_waited_for() {
    let (second, margin) = (Duration::from_secs(1), Duration::from_millis(500));
    let validity = |from, until| Validity { from, until };
    assert_eq!(
        Validity::new(9_000, 2 * second, margin),
        validity(8_500, 10_500)
    );
    assert_eq!(
        Validity::new(9_000, margin / 2, margin),
        validity(8_500, 8_750)
    );
}
