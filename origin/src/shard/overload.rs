//! Overload: how near its bounds an origin is, over all shards of the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Gauge, gauge};

use super::mailbox::Mailboxes;

/// What the shards say of their work, and how that is shown.
pub(crate) struct Overload {
    /// When each shard's commit in flight began, in monotonic milliseconds; 0: there is none.
    began: Box<[AtomicU64]>,
    /// After so long a commit is given up.
    commit_max: Duration,
    mailbox: Gauge,
    commit: Gauge,
}

// === impl Overload ===

impl Overload {
    pub(crate) fn new(shards: u16, commit_max: Duration) -> Self {
        let level = |resource| gauge!("couplet_origin_overload_level", "resource" => resource);
        Self {
            began: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            commit_max,
            mailbox: level("mailbox"),
            commit: level("commit"),
        }
    }

    /// A shard's commit begins.
    pub(super) fn commit_begins(&self, shard: usize, now_ms: u64) {
        self.began[shard].store(now_ms.max(1), Ordering::Relaxed);
    }

    /// It has ended, this way or that.
    pub(super) fn commit_ends(&self, shard: usize) {
        self.began[shard].store(0, Ordering::Relaxed);
    }

    /// Shows what holds now.
    pub(super) fn measure(&self, mailboxes: &Mailboxes, now_ms: u64) {
        let all = 0..mailboxes.len();
        let fullest = all
            .map(|shard| mailboxes.of(shard).fill())
            .fold(0.0, f64::max);
        self.mailbox.set(fullest);
        self.commit.set(self.commit_part(now_ms));
    }

    /// For which part of the time it may take the oldest commit has been under way.
    fn commit_part(&self, now_ms: u64) -> f64 {
        let began = self.began.iter().map(|began| began.load(Ordering::Relaxed));
        let oldest = began.filter(|began| *began != 0).min().unwrap_or(now_ms);
        let elapsed = Duration::from_millis(now_ms.saturating_sub(oldest));
        let most = self.commit_max.max(Duration::from_millis(1));
        elapsed.div_duration_f64(most).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_commit_counts() {
        let overload = Overload::new(2, Duration::from_secs(10));
        assert!(overload.commit_part(5_000) == 0.0);
        overload.commit_begins(0, 4_000);
        overload.commit_begins(1, 1_000);
        assert!(overload.commit_part(6_000) == 0.5);
        overload.commit_ends(1);
        assert!(overload.commit_part(6_000) == 0.2);
        assert!(overload.commit_part(60_000) == 1.0);
    }
}
