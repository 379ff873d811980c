//! A case set up: a cluster, a crowd on it, and the verdict at the end.

use std::path::Path;

use crate::cluster::{Cluster, Layout};
use crate::crowd::{Crowd, Size};
use crate::verdict::{Expected, Verdict};

/// A cluster with people talking.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) crowd: Crowd,
}

// === impl Stage ===

impl Stage {
    /// Starts a cluster with its logs in `folder`; everybody is there, talks and is heard.
    pub(crate) async fn set(folder: &Path, layout: Layout, size: Size) -> Self {
        let cluster = Cluster::start(folder, layout).await;
        let crowd = Crowd::gather(&cluster, size).await;
        crowd.talk();
        let stage = Self { cluster, crowd };
        stage.crowd.arrivals(100).await;
        stage.crowd.everyone_is_heard().await;
        stage
    }

    /// The usual cluster with the usual people.
    pub(crate) async fn usual(folder: &Path) -> Self {
        Self::set(folder, Layout::default(), Size::default()).await
    }

    /// Lets everything come to rest, looks into the mailboxes and judges.
    pub(crate) async fn finish(self, expected: Expected) -> Verdict {
        let (verdict, _) = self.end(expected).await;
        verdict
    }

    /// The same, and gives the cluster back, with nobody on it.
    pub(crate) async fn end(mut self, expected: Expected) -> (Verdict, Cluster) {
        self.crowd.quiet().await;
        self.crowd.read_stored().await;
        let mut verdict = Verdict::of(&self.crowd.records(), &expected);
        for panic in self.cluster.panics() {
            verdict.complain("panic", &panic);
        }
        self.crowd.leave().await;
        (verdict, self.cluster)
    }
}
