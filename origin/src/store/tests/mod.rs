//! What every store must do, run against each implementation.
//!
//! A behaviour is a function of any store; [`suite`] makes a test of each for one store.

mod directives;
mod logs;
pub(super) mod owned;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::slot::Slot;

pub(super) use self::directives::{
    directives_are_replaced_where_they_are_as_expected, of_changes_at_once_one_is_made,
};
pub(super) use self::logs::{
    a_log_is_read_backwards_and_between_two_places, a_log_is_read_in_pages,
    an_append_repeated_changes_nothing, an_entry_is_replaced_where_there_is_one,
    truncating_removes_up_to_and_including,
};
use self::owned::{ARCHIVE, OFFLINE, Owned, ROSTER, VCARD, append, delete, jid, put, truncate};
use super::{Batch, CREDENTIALS, Error, SLEEPING, Store, Write};

/// Makes a test of every behaviour; `$open` gives an empty store and what must outlive it. Or one
/// test of all of them, where what the stores stand on takes long to begin: `$open` makes an empty
/// store there for each.
macro_rules! suite {
    ($open:expr) => {
        suite!(@list apart $open);
    };
    ($test:ident, $begin:expr, $open:path) => {
        suite!(@list together $test, $begin, $open);
    };
    (@list $($how:tt)+) => {
        suite!(@$($how)+;
            a_value_is_there_until_it_is_deleted,
            values_of_owners_tables_and_keys_are_apart,
            load_gives_resident_rows_and_log_lengths,
            a_log_is_read_in_pages,
            a_log_is_read_backwards_and_between_two_places,
            an_entry_is_replaced_where_there_is_one,
            an_append_repeated_changes_nothing,
            truncating_removes_up_to_and_including,
            erasing_leaves_nothing_of_the_owner_alone,
            writes_of_a_batch_are_applied_in_order,
            accounts_are_listed_in_order_of_their_local_part,
            an_account_is_listed_while_it_has_credentials,
            sleepers_are_listed_while_they_have_sleeping_sessions,
            a_claim_is_the_next_epoch,
            another_epoch_is_fenced,
            another_node_is_fenced,
            a_fenced_batch_changes_nothing,
            large_values_are_kept,
            what_cannot_be_stored_is_refused_alone,
            concurrent_commits_are_all_kept,
            directives_are_replaced_where_they_are_as_expected,
            of_changes_at_once_one_is_made,
        );
    };
    (@apart $open:expr; $($behaviour:ident,)+) => {
        $(
            #[tokio::test]
            async fn $behaviour() {
                let (store, _keep) = $open;
                let limit = std::time::Duration::from_secs(60);
                let test = crate::store::tests::$behaviour(&store);
                tokio::time::timeout(limit, test).await.expect("in time");
            }
        )+
    };
    (@together $test:ident, $begin:expr, $open:path; $($behaviour:ident,)+) => {
        #[tokio::test]
        async fn $test() {
            let place = $begin;
            $(
                let store = $open(&place, stringify!($behaviour)).await;
                let limit = std::time::Duration::from_secs(60);
                let test = Box::pin(crate::store::tests::$behaviour(&store));
                tokio::time::timeout(limit, test).await.expect(stringify!($behaviour));
            )+
        }
    };
}
pub(super) use suite;

pub(super) async fn a_value_is_there_until_it_is_deleted(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    assert_eq!(owned.get("a@x", ROSTER, "k").await, None);
    owned.commit("a@x", [put(ROSTER, "k", "1")]).await;
    assert_eq!(owned.get("a@x", ROSTER, "k").await, Some("1".into()));
    owned.commit("a@x", [put(ROSTER, "k", "2")]).await;
    assert_eq!(owned.get("a@x/phone", ROSTER, "k").await, Some("2".into()));
    owned
        .commit("a@x", [delete(ROSTER, "k"), delete(ROSTER, "none")])
        .await;
    assert_eq!(owned.get("a@x", ROSTER, "k").await, None);
    owned.commit("a@x", [put(ROSTER, "", "")]).await;
    assert_eq!(owned.get("a@x", ROSTER, "").await, Some(Bytes::new()));
}

pub(super) async fn values_of_owners_tables_and_keys_are_apart(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    // Keys that would be one if the parts were only put side by side.
    let places = [
        ("a@x", ROSTER, "bk"),
        ("a@xb", ROSTER, "k"),
        ("a@x", VCARD, "bk"),
        ("a@x", ROSTER, "b"),
        ("a@x", ROSTER, ""),
        ("x", ROSTER, "bk"),
    ];
    for (number, (owner, table, key)) in places.iter().enumerate() {
        owned
            .commit(owner, [put(*table, key, &number.to_string())])
            .await;
    }
    for (number, (owner, table, key)) in places.iter().enumerate() {
        let value = owned.get(owner, *table, key).await;
        assert_eq!(value, Some(number.to_string().into()), "{owner} {key}");
    }
}

pub(super) async fn load_gives_resident_rows_and_log_lengths(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    let empty = owned.load("a@x").await;
    assert!(empty.rows.is_empty() && empty.logs.is_empty());
    let writes = [
        put(ROSTER, "r1", "1"),
        put(ROSTER, "r2", "2"),
        put(VCARD, "", "big"),
        append(OFFLINE, 1),
        append(OFFLINE, 2),
        append(ARCHIVE, 1),
    ];
    owned.commit("a@x", writes).await;
    owned.commit("b@x", [put(ROSTER, "r3", "3")]).await;
    let loaded = owned.load("a@x").await;
    let row = |key: &str, value: &str| (ROSTER.id, key.into(), Bytes::from(value.to_owned()));
    assert_eq!(loaded.rows, [row("r1", "1"), row("r2", "2")]);
    assert_eq!(loaded.logs, [(OFFLINE.id, 2), (ARCHIVE.id, 1)]);
}

pub(super) async fn erasing_leaves_nothing_of_the_owner_alone(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    for owner in ["a@x", "a@xy", "ab@x"] {
        let writes = [
            put(CREDENTIALS, "", "secret"),
            put(ROSTER, "k", "1"),
            put(VCARD, "", "big"),
            append(OFFLINE, 1),
        ];
        owned.commit(owner, writes).await;
    }
    owned
        .commit("a@x", [put(ROSTER, "late", "1"), Write::Erase])
        .await;
    assert!(owned.load("a@x").await.rows.is_empty());
    assert!(owned.logs("a@x").await.is_empty());
    assert_eq!(owned.get("a@x", VCARD, "").await, None);
    assert_eq!(owned.log("a@x", OFFLINE, None, 10).await, [0; 0]);
    assert_eq!(owned.accounts("x", None, 10).await, ["ab@x"]);
    assert_eq!(owned.load("ab@x").await.rows.len(), 2);
    assert_eq!(owned.log("a@xy", OFFLINE, None, 10).await, [1]);
    // The address can be used again.
    owned.commit("a@x", [append(OFFLINE, 7)]).await;
    assert_eq!(owned.logs("a@x").await, [(OFFLINE.id, 1)]);
}

pub(super) async fn writes_of_a_batch_are_applied_in_order(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    let writes = [
        put(ROSTER, "k", "1"),
        Write::Erase,
        put(ROSTER, "k", "2"),
        put(ROSTER, "gone", "2"),
        delete(ROSTER, "gone"),
        append(OFFLINE, 1),
        truncate(OFFLINE, 1),
        append(OFFLINE, 1),
    ];
    owned.commit("a@x", writes).await;
    assert_eq!(owned.get("a@x", ROSTER, "k").await, Some("2".into()));
    assert_eq!(owned.get("a@x", ROSTER, "gone").await, None);
    assert_eq!(owned.logs("a@x").await, [(OFFLINE.id, 1)]);
}

pub(super) async fn accounts_are_listed_in_order_of_their_local_part(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    for owner in ["romeo@x", "juliet@x", "nurse@x", "j@x", "juliet@y", "x"] {
        owned.commit(owner, [put(CREDENTIALS, "", "secret")]).await;
    }
    let all = ["j@x", "juliet@x", "nurse@x", "romeo@x"];
    assert_eq!(owned.accounts("x", None, 10).await, all);
    assert_eq!(owned.accounts("x", None, 2).await, all[..2]);
    assert_eq!(owned.accounts("x", Some("j"), 2).await, all[1..3]);
    assert_eq!(owned.accounts("x", Some("k"), 2).await, all[2..]);
    assert_eq!(owned.accounts("x", Some("romeo"), 2).await, [""; 0]);
    assert_eq!(owned.accounts("y", None, 10).await, ["juliet@y"]);
    assert_eq!(owned.accounts("z", None, 10).await, [""; 0]);
}

pub(super) async fn an_account_is_listed_while_it_has_credentials(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    owned.commit("a@x", [put(ROSTER, "k", "1")]).await;
    assert_eq!(owned.accounts("x", None, 10).await, [""; 0]);
    owned
        .commit(
            "a@x",
            [put(CREDENTIALS, "", "1"), put(CREDENTIALS, "other", "1")],
        )
        .await;
    owned.commit("a@x", [delete(CREDENTIALS, "")]).await;
    assert_eq!(owned.accounts("x", None, 10).await, ["a@x"]);
    owned.commit("a@x", [delete(CREDENTIALS, "other")]).await;
    assert_eq!(owned.accounts("x", None, 10).await, [""; 0]);
}

pub(super) async fn sleepers_are_listed_while_they_have_sleeping_sessions(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    let slot = owned.slot(&jid("a@x"));
    owned.commit("a@x", [put(ROSTER, "k", "1")]).await;
    assert_eq!(owned.sleepers(slot).await, [""; 0]);
    let two = [put(SLEEPING, "1", "a"), put(SLEEPING, "2", "b")];
    owned.commit("a@x", two).await;
    owned.commit("a@x", [put(SLEEPING, "2", "c")]).await;
    // Every slot lists its own alone, whatever the address.
    let mut others = ["x", "b@x", "a@xy"].into_iter();
    let other = others.find(|other| owned.slot(&jid(other)) != slot);
    let other = other.expect("three addresses are hardly ever in one slot");
    owned.commit(other, [put(SLEEPING, "1", "a")]).await;
    assert_eq!(owned.sleepers(slot).await, ["a@x"]);
    assert_eq!(owned.sleepers(owned.slot(&jid(other))).await, [other]);
    owned.commit("a@x", [delete(SLEEPING, "1")]).await;
    assert_eq!(owned.sleepers(slot).await, ["a@x"]);
    let none = [delete(SLEEPING, "2"), delete(SLEEPING, "none")];
    owned.commit("a@x", none).await;
    assert_eq!(owned.sleepers(slot).await, [""; 0]);
    owned.commit("a@x", [put(SLEEPING, "1", "a")]).await;
    assert_eq!(owned.sleepers(slot).await, ["a@x"]);
    owned.commit("a@x", [Write::Erase]).await;
    assert_eq!(owned.sleepers(slot).await, [""; 0]);
}

pub(super) async fn a_claim_is_the_next_epoch(store: &dyn Store) {
    let slots: Vec<_> = [5, 6].into_iter().filter_map(Slot::new).collect();
    let first = store.claim("a", slots.clone()).await.expect("claimed");
    assert_eq!(
        first.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(),
        slots
    );
    let second = store
        .claim("b", slots[1..].to_vec())
        .await
        .expect("claimed");
    assert_eq!(second, [(slots[1], first[1].1.next())]);
    let third = store.claim("a", slots).await.expect("claimed");
    assert_eq!(third[0].1, first[0].1.next());
    assert_eq!(third[1].1, second[0].1.next());
}

pub(super) async fn another_epoch_is_fenced(store: &dyn Store) {
    let unowned = Batch {
        slot: Slot::of(store.seed(), &jid("a@x")),
        epoch: Epoch::default(),
        writes: vec![(jid("a@x"), put(ROSTER, "k", "1"))],
    };
    let refused = store.commit(unowned).await;
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    let old = Owned::claim(store).await;
    let new = Owned::claim(store).await;
    let stale = store
        .commit(old.batch("a@x", [put(ROSTER, "k", "1")]))
        .await;
    assert!(matches!(stale, Err(Error::Fenced { .. })), "{stale:?}");
    let mut early = new.batch("a@x", [put(ROSTER, "k", "1")]);
    early.epoch = early.epoch.next();
    let early = store.commit(early).await;
    assert!(matches!(early, Err(Error::Fenced { .. })), "{early:?}");
    assert_eq!(new.get("a@x", ROSTER, "k").await, None);
    new.commit("a@x", [put(ROSTER, "k", "2")]).await;
}

pub(super) async fn another_node_is_fenced(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    let batch = owned.batch("a@x", [put(ROSTER, "k", "1")]);
    let other = Slot::new(batch.slot.number() ^ 1).expect("as large as another");
    store.claim("b", vec![other]).await.expect("claimed");
    let slot = batch.slot;
    let refused = store.commit(batch).await;
    assert!(
        matches!(refused, Err(Error::Fenced { slot: of }) if of == slot),
        "{refused:?}"
    );
    assert_eq!(owned.get("a@x", ROSTER, "k").await, None);
}

pub(super) async fn a_fenced_batch_changes_nothing(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    let mut stale = owned.batch("a@x", [put(CREDENTIALS, "", "1"), append(OFFLINE, 1)]);
    stale.epoch = Epoch(0);
    let good = owned.batch("a@x", [put(ROSTER, "k", "1")]);
    let (refused, taken) = tokio::join!(store.commit(stale), store.commit(good));
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    taken.expect("committed");
    assert_eq!(owned.load("a@x").await.rows.len(), 1);
    assert_eq!(owned.logs("a@x").await, []);
    assert_eq!(owned.accounts("x", None, 10).await, [""; 0]);
}

pub(super) async fn large_values_are_kept(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    // Not to be compressed away: as a picture is.
    let mut state = 1u32;
    let mut noise = |bytes: usize| -> Bytes {
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..bytes).map(next).collect()
    };
    let values: Vec<_> = [1, 4096, 65_536, 1 << 20, 6 << 20].map(&mut noise).into();
    for (number, value) in values.iter().enumerate() {
        let write = Write::Put {
            table: VCARD,
            key: number.to_string().into(),
            value: value.clone(),
        };
        owned.commit("a@x", [write]).await;
    }
    for (number, value) in values.iter().enumerate() {
        let stored = owned.get("a@x", VCARD, &number.to_string()).await;
        assert!(stored.as_ref() == Some(value), "value {number}");
    }
}

pub(super) async fn what_cannot_be_stored_is_refused_alone(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    let long = "k".repeat(70_000);
    let bad = owned.batch("a@x", [put(ROSTER, "first", "1"), put(ROSTER, &long, "1")]);
    let good = owned.batch("a@x", [put(ROSTER, "k", "1")]);
    let (refused, taken) = tokio::join!(store.commit(bad), store.commit(good));
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    taken.expect("committed");
    assert_eq!(owned.load("a@x").await.rows.len(), 1);
    assert_eq!(owned.get("a@x", ROSTER, &long).await, None);
    owned.commit("a@x", [delete(ROSTER, &long)]).await;
}

pub(super) async fn concurrent_commits_are_all_kept(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    let commits = (0..50u64).map(|number| {
        let owner = format!("user{}@x", number % 5);
        let writes = [
            put(ROSTER, &number.to_string(), "1"),
            append(OFFLINE, number),
        ];
        store.commit(owned.batch(&owner, writes))
    });
    let mut running: Vec<_> = commits.collect();
    // All are under way before the first is done: each is polled in turn.
    let all = std::future::poll_fn(|cx| {
        running.retain_mut(|commit| match commit.as_mut().poll(cx) {
            std::task::Poll::Ready(answer) => {
                answer.expect("committed");
                false
            }
            std::task::Poll::Pending => true,
        });
        match running.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    });
    tokio::time::timeout(Duration::from_secs(30), all)
        .await
        .expect("in time");
    let mut keys = BTreeSet::new();
    for user in 0..5u64 {
        let owner = format!("user{user}@x");
        assert_eq!(owned.logs(&owner).await, [(OFFLINE.id, 10)]);
        let expected: Vec<_> = (0..10).map(|round| round * 5 + user).collect();
        assert_eq!(owned.log(&owner, OFFLINE, None, 100).await, expected);
        keys.extend(owned.load(&owner).await.rows.into_iter().map(|row| row.1));
    }
    assert_eq!(keys.len(), 50);
}
