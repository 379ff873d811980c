//! Change: notices that files have been replaced, for those who renew them and send no SIGHUP.

use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(30);

/// Files that are looked at again and again.
#[derive(Debug)]
pub(crate) struct Changes {
    files: Vec<PathBuf>,
    ticks: Interval,
    /// What was in them.
    seen: [u8; 32],
}

// === impl Changes ===

impl Changes {
    /// Of these files, as they are now.
    pub(crate) async fn new(files: Vec<PathBuf>) -> Self {
        Self::with_period(files, PERIOD).await
    }

    async fn with_period(files: Vec<PathBuf>, period: Duration) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let seen = look(&files).await.unwrap_or_default();
        Self { files, ticks, seen }
    }

    /// Waits until something else is in them. Cancel-safe: what was not seen is seen the next time.
    pub(crate) async fn next(&mut self) {
        loop {
            self.ticks.tick().await;
            let Some(now) = look(&self.files).await else {
                continue;
            };
            if std::mem::replace(&mut self.seen, now) != now {
                return;
            }
        }
    }
}

/// A digest, so that no key lies about in memory; `None` when the runtime is ending.
async fn look(files: &[PathBuf]) -> Option<[u8; 32]> {
    let files = files.to_vec();
    spawn_blocking(move || digest(&files)).await.ok()
}

fn digest(files: &[PathBuf]) -> [u8; 32] {
    let mut all = Sha256::new();
    for file in files {
        // One that is not there just now counts as another content.
        match std::fs::read(file) {
            Ok(bytes) => all.update(Sha256::digest(bytes)),
            Err(_) => all.update([0]),
        }
    }
    all.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_change_is_noticed_once_and_nothing_else_is_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        fs::write(&one, "first").expect("written");
        let mut changes =
            Changes::with_period(vec![one.clone(), two.clone()], Duration::from_millis(1)).await;
        // It is looked at, many times.
        let quiet = tokio::time::timeout(Duration::from_millis(50), changes.next()).await;
        assert!(quiet.is_err(), "nothing has changed");
        for (file, text) in [(&one, "second"), (&two, "new"), (&one, "third")] {
            fs::write(file, text).expect("written");
            let seen = tokio::time::timeout(SOON, changes.next()).await;
            seen.expect("a change");
        }
        fs::write(&one, "third").expect("written");
        let quiet = tokio::time::timeout(Duration::from_millis(50), changes.next()).await;
        assert!(quiet.is_err(), "the same was written again");
    }
}
