//! The fence: repeated, late and foreign commits; taking slots.

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::NodeId;
use couplet_proto::slot::Slot;

use super::{open, open_at, refusal};
use crate::store::redis::{link, read, script};
use crate::store::tests::owned::{OFFLINE, Owned, ROSTER, append, jid, put, truncate};
use crate::store::{Error, Owner, Registry, Store, Write};

fn node(name: &str) -> NodeId {
    NodeId(name.into())
}

fn slots(range: std::ops::Range<u16>) -> Vec<Slot> {
    range.filter_map(Slot::new).collect()
}

#[tokio::test]
async fn a_request_that_comes_twice_or_late_changes_nothing() {
    let (store, _server) = open().await;
    let owned = Owned::claim(&store).await;
    let slot = owned.slot(&jid("a@x"));
    let request = |writes: Vec<Write>| {
        let writes = writes
            .into_iter()
            .map(|write| (jid("a@x"), write))
            .collect();
        store.request(slot, owned.epoch, writes)
    };
    let first = || request(vec![put(ROSTER, "k", "1"), append(OFFLINE, 1)]);
    let (late, first) = (first(), first());
    let erase = request(vec![
        Write::Erase,
        put(ROSTER, "k", "2"),
        append(OFFLINE, 2),
    ]);
    let clear = request(vec![truncate(OFFLINE, 2), put(ROSTER, "k", "3")]);
    let run = async |call: &script::Call| {
        let call = script::Call {
            keys: call.keys.clone(),
            validity: None,
            arguments: call.arguments.clone(),
        };
        let request = link::Request::Commit {
            slot,
            call,
            deadline: None,
        };
        let answer = store.link.ask(&store.meter, request).await;
        let (outcome, _) = read::<(i64, i64)>(answer.expect("answers")).expect("two numbers");
        outcome
    };
    assert_eq!(run(&first).await, 1);
    assert_eq!(run(&first).await, 2);
    assert_eq!(run(&late).await, 3);
    assert_eq!(run(&erase).await, 1);
    assert_eq!(run(&first).await, 3);
    assert_eq!(run(&erase).await, 2);
    assert_eq!(owned.get("a@x", ROSTER, "k").await, Some("2".into()));
    assert_eq!(owned.log("a@x", OFFLINE, None, 9).await, [2]);
    assert_eq!(run(&clear).await, 1);
    assert_eq!(run(&erase).await, 3);
    assert_eq!(owned.get("a@x", ROSTER, "k").await, Some("3".into()));
    assert!(owned.logs("a@x").await.is_empty());
    // The next of the store itself is a later one.
    owned.commit("a@x", [put(ROSTER, "k", "4")]).await;
    assert_eq!(run(&clear).await, 3);
    // And none of them is anything to the next owner.
    store.claim("b", vec![slot]).await.expect("claimed");
    assert_eq!(run(&clear).await, 0);
    assert_eq!(owned.get("a@x", ROSTER, "k").await, Some("4".into()));
}

#[tokio::test]
async fn of_two_nodes_one_commits() {
    let (a, server) = open().await;
    let b = open_at(&server.url(), "b").await;
    let owned = Owned::claim(&a).await;
    let slot = owned.slot(&jid("a@x"));
    let ours = Owner {
        node: node("a"),
        epoch: owned.epoch,
    };
    let taken = b.take(&node("b"), vec![(slot, Some(ours))]).await;
    let theirs = Owner {
        node: node("b"),
        epoch: owned.epoch.next(),
    };
    assert_eq!(taken.expect("taken"), [(slot, theirs.clone())]);
    let batch = owned.batch("a@x", [put(ROSTER, "k", "1")]);
    let mut theirs = batch.clone();
    let refused = a.commit(batch.clone()).await;
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    let refused = b.commit(batch).await;
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    theirs.epoch = owned.epoch.next();
    b.commit(theirs).await.expect("committed");
    assert_eq!(owned.get("a@x", ROSTER, "k").await, Some("1".into()));
}

#[tokio::test]
async fn taking_is_compare_and_swap() {
    let (a, server) = open().await;
    let b = open_at(&server.url(), "b").await;
    let all = slots(0..700);
    let nobodys: Vec<_> = all.iter().map(|slot| (*slot, None)).collect();
    let (one, other) = (node("a"), node("b"));
    let before = version(&a).await;
    let (by_a, by_b) = tokio::join!(a.take(&one, nobodys.clone()), b.take(&other, nobodys));
    let (by_a, by_b) = (by_a.expect("taken"), by_b.expect("taken"));
    // Both were told the same owner of each, at the first epoch.
    assert_eq!(by_a, by_b);
    assert!(by_a.iter().all(|(_, owner)| owner.epoch == Epoch(1)));
    assert_eq!(by_a.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), all);
    assert!(version(&a).await > before);
    let owners = b.owners().await.expect("read");
    for (slot, owner) in &by_a {
        assert_eq!(owners[slot.index()].as_ref(), Some(owner));
    }
    assert_eq!(owners[700], None);
    // Who expects another than there is takes nothing.
    let (slot, owner) = by_a[0].clone();
    let wrong = [
        None,
        Some(Owner {
            epoch: owner.epoch.next(),
            ..owner.clone()
        }),
        Some(Owner {
            node: node("c"),
            ..owner.clone()
        }),
    ];
    for expected in wrong {
        let taken = a.take(&node("c"), vec![(slot, expected)]).await;
        assert_eq!(taken.expect("answered"), [(slot, owner.clone())]);
    }
    // Repeated, because the answer was lost: it is ours once.
    let expected = vec![(slot, Some(owner.clone()))];
    let once = a.take(&node("c"), expected.clone()).await.expect("taken");
    assert_eq!(once[0].1.epoch, owner.epoch.next());
    let twice = a.take(&node("c"), expected).await.expect("answered");
    assert_eq!(twice, once);
}

async fn version(store: &dyn Registry) -> u64 {
    let me = super::members::member("watcher");
    store.beat(&me, 4000).await.expect("beats").version
}

#[tokio::test]
async fn a_view_left_behind_is_put_right() {
    let (store, server) = open().await;
    let owned = Owned::claim(&store).await;
    let slot = Slot::new(7).expect("below SLOTS");
    let ours = store.owners().await.expect("read")[7]
        .clone()
        .expect("ours");
    // A node took the slot and ended before it showed that.
    let theirs = Owner {
        node: node("ghost"),
        epoch: ours.epoch.next(),
    };
    server.ask(&[
        "SET",
        "couplet:{s0007}:own",
        &format!("{} ghost", theirs.epoch),
    ]);
    assert_eq!(store.owners().await.expect("read")[7], Some(ours.clone()));
    let found = store.take(&node("b"), vec![(slot, Some(ours))]).await;
    assert_eq!(found.expect("answered"), [(slot, theirs.clone())]);
    assert_eq!(store.owners().await.expect("read")[7], Some(theirs.clone()));
    // A gap sends everybody to the truth, and the truth into the view.
    server.ask(&["HDEL", "couplet:{cluster}:owners", "7", "8"]);
    assert_eq!(store.owners().await.expect("read")[7], Some(theirs));
    let shown = server.ask(&["HGET", "couplet:{cluster}:owners", "7"]);
    assert!(shown.ends_with("ghost"), "{shown}");
    // What Redis has lost goes from the view; whoever takes it is above what was ever told.
    server.ask(&["DEL", "couplet:{s0007}:own"]);
    server.ask(&["HDEL", "couplet:{cluster}:owners", "8"]);
    assert_eq!(store.owners().await.expect("read")[7], None);
    let taken = store
        .take(&node("b"), vec![(slot, None)])
        .await
        .expect("taken");
    assert_eq!(taken[0].1.epoch, owned.epoch.next().next());
    // Also of what only another node has told.
    let told = Epoch(taken[0].1.epoch.0 + 5);
    store.heard(slot, told);
    let expected = Some(taken[0].1.clone());
    let taken = store.take(&node("c"), vec![(slot, expected)]).await;
    assert_eq!(taken.expect("taken")[0].1.epoch, told.next());
}

#[tokio::test]
async fn a_foreign_value_stops_a_batch_before_its_first_write() {
    let (store, server) = open().await;
    let owned = Owned::claim(&store).await;
    let slot = owned.slot(&jid("a@x"));
    let key = format!("couplet:{{{slot}}}:logs:b@x");
    server.ask(&["SET", &key, "foreign"]);
    let mut batch = owned.batch("a@x", [put(ROSTER, "k", "1")]);
    batch.writes.push((jid("b@x"), append(OFFLINE, 1)));
    let refused = store.commit(batch).await;
    let Err(Error::Corrupt(words)) = refused else {
        panic!("{refused:?}");
    };
    assert!(words.contains("logs:b@x is a string"), "{words}");
    assert_eq!(owned.get("a@x", ROSTER, "k").await, None);
    let own = format!("couplet:{{{slot}}}:own");
    server.ask(&["SET", &own, "garbage"]);
    let read = store.claim("a", vec![slot]).await;
    assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
}

#[tokio::test]
async fn a_script_that_was_forgotten_is_sent_again() {
    let (store, server) = open().await;
    let owned = Owned::claim(&store).await;
    owned.commit("a@x", [put(ROSTER, "k", "1")]).await;
    assert_eq!(server.ask(&["SCRIPT", "FLUSH"]), "OK");
    owned.commit("a@x", [put(ROSTER, "k", "2")]).await;
    assert_eq!(owned.get("a@x", ROSTER, "k").await, Some("2".into()));
    server.ask(&["SCRIPT", "FLUSH"]);
    // Not the slot of the account: it would be somebody else's afterwards.
    let mut others = slots(0..300);
    others.retain(|slot| *slot != owned.slot(&jid("a@x")));
    let count = others.len();
    let claimed = store.claim("a", others).await.expect("claimed");
    assert_eq!(claimed.len(), count);
    // What Redis refuses is told in its words, not as a missing script.
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(refusal(&owned, "k").await.contains("memory"));
}
