//! What operators have ordered.

use std::sync::Arc;

use couplet_proto::Jid;

use crate::directives::{AddedDomain, Ban, Directives, Target};
use crate::store::Store;

fn directives(version: u64) -> Directives {
    let mut directives = Directives {
        version,
        ..Directives::default()
    };
    directives.ban(Ban {
        target: Target::parse("2001:db8::/32").expect("a target"),
        reason: "spam".into(),
        by: "ops".into(),
        is_confined: true,
        since: 1,
        until: Some(version),
    });
    directives.add(AddedDomain {
        domain: Jid::parse("b.example").expect("a domain"),
        by: "ops".into(),
        since: 2,
    });
    directives
}

pub(in crate::store) async fn directives_are_replaced_where_they_are_as_expected(
    store: &impl Store,
) {
    let read = async || store.directives().await.expect("read");
    let set = async |expected, next: u64| {
        let set = store.set_directives(expected, &directives(next)).await;
        set.expect("stored or not")
    };
    assert_eq!(read().await, Directives::default());
    assert!(!set(1, 2).await);
    assert_eq!(read().await, Directives::default());
    assert!(set(0, 1).await);
    assert_eq!(read().await, directives(1));
    assert!(!set(0, 2).await);
    assert_eq!(read().await, directives(1));
    // A version is a number, not how it begins.
    assert!(set(1, 12).await);
    assert!(!set(1, 13).await);
    assert_eq!(read().await, directives(12));
}

pub(in crate::store) async fn of_changes_at_once_one_is_made(store: &impl Store) {
    let next: Arc<Directives> = Arc::new(directives(1));
    let all = (0..8).map(|_| store.set_directives(0, &next));
    let all = futures_util::future::join_all(all).await;
    let made = all.into_iter().filter(|made| matches!(made, Ok(true)));
    assert_eq!(made.count(), 1);
}
