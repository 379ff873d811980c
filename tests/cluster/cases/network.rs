//! The network between two nodes drops everything for a while, then refuses for a while. Nobody
//! is disconnected: both ends live.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::{Cut, Layout};
use crate::crowd::Size;
use crate::deadline::lasting;
use crate::proxy::State;
use crate::stage::Stage;
use crate::verdict::{Expected, Verdict};

/// How long nothing passes: longer than it takes to notice.
const SILENT: Duration = Duration::from_secs(8);

/// How long connections are refused.
const REFUSING: Duration = Duration::from_secs(2);

pub(super) async fn edge_cut(folder: PathBuf) -> Verdict {
    cut(&folder, Cut::EdgeToOrigin).await
}

pub(super) async fn origin_cut(folder: PathBuf) -> Verdict {
    cut(&folder, Cut::OriginsToOrigin).await
}

async fn cut(folder: &Path, cut: Cut) -> Verdict {
    let layout = Layout {
        cut,
        ..Layout::default()
    };
    let stage = Stage::set(folder, layout, Size::default()).await;
    for (state, time) in [(State::Silent, SILENT), (State::Refusing, REFUSING)] {
        stage.cluster.path().set(state);
        lasting(time).await;
        stage.cluster.path().set(State::Open);
        stage.crowd.everyone_is_heard().await;
    }
    let was_used = stage.cluster.path().was_used();
    let expected = Expected {
        pause_max: SILENT * 2,
        ..Expected::default()
    };
    let mut verdict = stage.finish(expected).await;
    if !was_used {
        verdict.complain("cut", "nothing went by the path that was cut");
    }
    verdict
}
