//! Two origins believe to own the same slot, because somebody wrote what only an owner may. Never
//! do both write, and what was under way ends well.

use std::path::PathBuf;
use std::time::Duration;

use crate::deadline::{PATIENCE, comes_true, until};
use crate::ownership::{self, Owner};
use crate::stage::Stage;
use crate::verdict::{Expected, Verdict};

/// For how long the lease is taken away again and again: until the others have acted on it.
const WITHOUT_LEASE: Duration = Duration::from_secs(3);

pub(super) async fn owner_forged(folder: PathBuf) -> Verdict {
    let stage = Stage::usual(&folder).await;
    let redis = &stage.cluster.redis;
    let owners = ownership::owners(redis);
    let other = owners.values().find(|owner| owner.is("o2"));
    let other = other.expect("it owns something").node.clone();
    let mut forged = 0;
    for slot in ownership::inhabited(redis) {
        let Some(owner) = owners.get(&slot).filter(|owner| owner.is("o1")) else {
            continue;
        };
        let claim = Owner {
            epoch: owner.epoch + 1,
            node: other.clone(),
        };
        ownership::forge(redis, slot, &claim);
        forged += 1;
    }
    assert!(forged > 0, "nobody lives with the first origin");
    stage.crowd.everyone_is_heard().await;
    stage.crowd.arrivals(200).await;
    stage.finish(Expected::default()).await
}

pub(super) async fn lease_forged(folder: PathBuf) -> Verdict {
    let stage = Stage::usual(&folder).await;
    let redis = &stage.cluster.redis;
    let owners = ownership::owners(redis);
    let first = owners.values().find(|owner| owner.is("o1"));
    let first = first.expect("it owns something").node.clone();
    // It renews, so once would not be noticed.
    let _ = comes_true(WITHOUT_LEASE, async || {
        ownership::end_lease(redis, &first);
        false
    })
    .await;
    let before = owners.len();
    until("every slot has an owner again", PATIENCE, async || {
        ownership::owners(redis).len() == before
    })
    .await;
    stage.crowd.everyone_is_heard().await;
    stage.finish(Expected::default()).await
}
