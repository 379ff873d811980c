//! What every store must do with logs.

use bytes::Bytes;

use super::owned::{ARCHIVE, OFFLINE, Owned, append, id, replace, truncate};
use crate::store::{LogId, Span, Store, Write};

pub(in crate::store) async fn a_log_is_read_in_pages(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    // Not in order, and of lengths whose text would sort otherwise.
    let entries = [1, 9, 10, 300, 2, 70_000, 256];
    owned
        .commit("a@x", entries.map(|millis| append(ARCHIVE, millis)))
        .await;
    owned.commit("a@x", [append(OFFLINE, 5)]).await;
    let all = [1, 2, 9, 10, 256, 300, 70_000];
    assert_eq!(owned.log("a@x", ARCHIVE, None, 100).await, all);
    assert_eq!(owned.log("a@x", ARCHIVE, None, 3).await, all[..3]);
    assert_eq!(owned.log("a@x", ARCHIVE, Some(id(9)), 3).await, all[3..6]);
    let before_second = LogId {
        millis: 9,
        count: u32::MAX,
    };
    assert_eq!(
        owned.log("a@x", ARCHIVE, Some(before_second), 1).await,
        [10]
    );
    assert_eq!(owned.log("a@x", ARCHIVE, Some(id(70_000)), 3).await, [0; 0]);
    let last = LogId {
        millis: u64::MAX,
        count: u32::MAX,
    };
    assert_eq!(owned.log("a@x", ARCHIVE, Some(last), 3).await, [0; 0]);
    assert_eq!(owned.log("a@x", ARCHIVE, None, 0).await, [0; 0]);
}

pub(in crate::store) async fn a_log_is_read_backwards_and_between_two_places(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    let entries = [1, 2, 9, 10, 256, 300, 70_000];
    owned
        .commit("a@x", entries.map(|millis| append(ARCHIVE, millis)))
        .await;
    // What stands before and behind it belongs to other logs.
    owned.commit("a@x", [append(OFFLINE, 5)]).await;
    owned.commit("a@y", [append(ARCHIVE, 5)]).await;
    let span = |after: Option<u64>, before: Option<u64>, is_backwards| Span {
        after: after.map(id),
        before: before.map(id),
        is_backwards,
    };
    let cases: &[(Span, usize, &[u64])] = &[
        (span(None, None, true), 3, &[70_000, 300, 256]),
        (span(None, Some(256), true), 2, &[10, 9]),
        (span(None, Some(256), false), 2, &[1, 2]),
        (span(Some(2), Some(256), true), 9, &[10, 9]),
        (span(Some(2), Some(256), false), 9, &[9, 10]),
        (span(Some(9), None, true), 9, &[70_000, 300, 256, 10]),
        (span(Some(9), Some(10), true), 9, &[]),
        (span(Some(256), Some(2), true), 9, &[]),
        (span(Some(256), Some(2), false), 9, &[]),
        (span(None, Some(1), true), 9, &[]),
        (span(None, None, true), 0, &[]),
        (Span::only(id(9)), 9, &[9]),
        (Span::only(id(8)), 9, &[]),
    ];
    for (span, max, expected) in cases {
        let found = owned.span("a@x", ARCHIVE, *span, *max).await;
        assert_eq!(found, *expected, "{span:?}");
    }
}

pub(in crate::store) async fn an_entry_is_replaced_where_there_is_one(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    let writes = [
        append(ARCHIVE, 1),
        append(ARCHIVE, 2),
        append(OFFLINE, 2),
        replace(ARCHIVE, 2, "gone"),
        replace(ARCHIVE, 3, "never there"),
    ];
    owned.commit("a@x", writes).await;
    owned.commit("a@x", [replace(ARCHIVE, 1, "")]).await;
    let stored = owned.entries("a@x", ARCHIVE, Span::ALL, 9).await;
    let expected = [(id(1), Bytes::new()), (id(2), "gone".into())];
    assert_eq!(stored, expected);
    let only = owned.entries("a@x", ARCHIVE, Span::only(id(1)), 9).await;
    assert_eq!(only, expected[..1]);
    assert_eq!(owned.log("a@x", OFFLINE, None, 9).await, [2]);
    assert_eq!(owned.logs("a@x").await, [(OFFLINE.id, 1), (ARCHIVE.id, 2)]);
}

pub(in crate::store) async fn an_append_repeated_changes_nothing(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    let again = Write::Append {
        log: OFFLINE,
        id: id(1),
        value: "other".into(),
    };
    owned
        .commit("a@x", [append(OFFLINE, 1), again.clone()])
        .await;
    owned.commit("a@x", [again, append(OFFLINE, 2)]).await;
    assert_eq!(owned.log("a@x", OFFLINE, None, 10).await, [1, 2]);
    assert_eq!(owned.logs("a@x").await, [(OFFLINE.id, 2)]);
}

pub(in crate::store) async fn truncating_removes_up_to_and_including(store: &dyn Store) {
    let owned = Owned::claim(store).await;
    owned
        .commit("a@x", (1..=5).map(|millis| append(OFFLINE, millis)))
        .await;
    owned.commit("a@x", [append(ARCHIVE, 1)]).await;
    owned.commit("a@x", [truncate(OFFLINE, 2)]).await;
    assert_eq!(owned.log("a@x", OFFLINE, None, 10).await, [3, 4, 5]);
    assert_eq!(owned.logs("a@x").await, [(OFFLINE.id, 3), (ARCHIVE.id, 1)]);
    // Twice is once; and what the same batch appended before goes too.
    owned
        .commit(
            "a@x",
            [
                truncate(OFFLINE, 2),
                append(OFFLINE, 6),
                truncate(OFFLINE, 6),
            ],
        )
        .await;
    assert_eq!(owned.log("a@x", OFFLINE, None, 10).await, [0; 0]);
    assert_eq!(owned.logs("a@x").await, [(ARCHIVE.id, 1)]);
}
