//! Origins die, sleep, leave and come. No client is disconnected by any of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::Layout;
use crate::crowd::Size;
use crate::deadline::{PATIENCE, lasting, until};
use crate::ownership;
use crate::stage::Stage;
use crate::verdict::{Expected, Verdict};

/// How long the paused one sleeps: longer than any lease.
const SLEEP: Duration = Duration::from_secs(10);

/// A planned move may not take longer for anyone; generous, the machine may be busy.
pub(super) const PLANNED: Duration = Duration::from_secs(5);

pub(super) async fn killed(folder: PathBuf) -> Verdict {
    let mut stage = Stage::usual(&folder).await;
    stage.cluster.origins[0].kill();
    stage.crowd.everyone_is_heard().await;
    stage.cluster.origins[0].run().await;
    stage.crowd.everyone_is_heard().await;
    stage.finish(Expected::default()).await
}

pub(super) async fn paused(folder: PathBuf) -> Verdict {
    let stage = Stage::usual(&folder).await;
    stage.cluster.origins[0].signal("STOP");
    lasting(SLEEP).await;
    stage.cluster.origins[0].signal("CONT");
    stage.crowd.everyone_is_heard().await;
    // What the sleeper wrote late would come by now.
    stage.crowd.arrivals(200).await;
    stage.finish(Expected::default()).await
}

pub(super) async fn drained(folder: PathBuf) -> Verdict {
    let mut stage = Stage::usual(&folder).await;
    let status = stage.cluster.origins[0].drain().await;
    stage.crowd.everyone_is_heard().await;
    let expected = Expected {
        pause_max: PLANNED,
        ..Expected::default()
    };
    let mut verdict = stage.finish(expected).await;
    if !status.success() {
        verdict.complain("drain", &format!("the origin ended with {status}"));
    }
    verdict
}

pub(super) async fn added(folder: PathBuf) -> Verdict {
    let mut stage = with_spare(&folder).await;
    stage.cluster.origins[3].run().await;
    let redis = &stage.cluster.redis;
    until("the new origin owns its share", PATIENCE, async || {
        // A quarter of all, but for the bounds of the ring.
        ownership::count(redis, "o4") >= 600
    })
    .await;
    stage.crowd.everyone_is_heard().await;
    let expected = Expected {
        pause_max: PLANNED,
        ..Expected::default()
    };
    stage.finish(expected).await
}

pub(super) async fn killed_while_slots_move(folder: PathBuf) -> Verdict {
    let mut stage = with_spare(&folder).await;
    some_slots_moved(&mut stage).await;
    stage.cluster.origins[0].kill();
    stage.crowd.everyone_is_heard().await;
    stage.finish(Expected::default()).await
}

pub(super) async fn newcomer_killed(folder: PathBuf) -> Verdict {
    let mut stage = with_spare(&folder).await;
    some_slots_moved(&mut stage).await;
    stage.cluster.origins[3].kill();
    stage.crowd.everyone_is_heard().await;
    stage.finish(Expected::default()).await
}

/// A cluster with an origin that can be added.
async fn with_spare(folder: &std::path::Path) -> Stage {
    let layout = Layout {
        spare_origins: 1,
        ..Layout::default()
    };
    Stage::set(folder, layout, Size::default()).await
}

/// Starts the new origin and waits until slots are on their way to it.
async fn some_slots_moved(stage: &mut Stage) {
    stage.cluster.origins[3].spawn();
    let redis = &stage.cluster.redis;
    until("slots move to the new origin", PATIENCE, async || {
        ownership::count(redis, "o4") > 0
    })
    .await;
}
