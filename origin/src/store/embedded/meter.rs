//! What an operator can see of the embedded store.

use metrics::{Counter, Gauge, Histogram};

use crate::store::Error;

/// The store's metrics, each looked up once.
pub(super) struct Meter {
    /// From `commit` to its answer, with the wait in the queue.
    pub(super) commit: Histogram,
    /// From `load`, `get` and the like to their answer, with the wait for their turn.
    pub(super) read: Histogram,
    /// Batches made durable by one fsync.
    pub(super) group_batches: Histogram,
    /// Changes made durable by one fsync.
    pub(super) group_writes: Histogram,
    /// Batches that wait for the writer.
    pub(super) queue: Gauge,
    fenced: Counter,
    unavailable: Counter,
    corrupt: Counter,
}

// === impl Meter ===

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            commit: metrics::histogram!("couplet_store_commit_seconds"),
            read: metrics::histogram!("couplet_store_read_seconds"),
            group_batches: metrics::histogram!("couplet_store_group_batches"),
            group_writes: metrics::histogram!("couplet_store_group_writes"),
            queue: metrics::gauge!("couplet_store_queue_batches"),
            fenced: metrics::counter!("couplet_store_errors_total", "kind" => "fenced"),
            unavailable: metrics::counter!("couplet_store_errors_total", "kind" => "unavailable"),
            corrupt: metrics::counter!("couplet_store_errors_total", "kind" => "corrupt"),
        }
    }

    pub(super) fn count_error(&self, error: &Error) {
        match error {
            Error::Fenced { .. } => self.fenced.increment(1),
            Error::Unavailable(_) => self.unavailable.increment(1),
            Error::Corrupt(_) => self.corrupt.increment(1),
        }
    }
}
