//! Redis dies with what it wrote, or stops answering. No session is dropped, and nothing is
//! acknowledged that is not stored.

use std::path::PathBuf;
use std::time::Duration;

use crate::deadline::lasting;
use crate::stage::Stage;
use crate::verdict::{Expected, Verdict};

/// How long the dead one stays dead.
const DEAD: Duration = Duration::from_secs(1);

/// How long the paused one does not answer: longer than leases and patience.
const PAUSED: Duration = Duration::from_secs(20);

pub(super) async fn killed(folder: PathBuf) -> Verdict {
    let mut stage = Stage::usual(&folder).await;
    stage.cluster.redis.kill();
    lasting(DEAD).await;
    stage.cluster.redis.run().await;
    stage.crowd.everyone_is_heard().await;
    stage.finish(Expected::default()).await
}

pub(super) async fn paused(folder: PathBuf) -> Verdict {
    let stage = Stage::usual(&folder).await;
    stage.cluster.redis.signal("STOP");
    lasting(PAUSED).await;
    stage.cluster.redis.signal("CONT");
    stage.crowd.everyone_is_heard().await;
    let expected = Expected {
        pause_max: PAUSED * 2,
        refusals: &["resource-constraint"],
        ..Expected::default()
    };
    stage.finish(expected).await
}
