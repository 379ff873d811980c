//! What an operator can see of Redis from here. The names are those of the embedded store.

use std::time::Instant;

use metrics::{Counter, Gauge, Histogram};

use crate::store::Error;

/// The store's metrics, each looked up once.
pub(super) struct Meter {
    commit: Histogram,
    read: Histogram,
    in_flight: Gauge,
    fenced: Counter,
    unavailable: Counter,
    corrupt: Counter,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Commit,
    Read,
    /// Owners, leases and the like: only its errors are counted.
    Registry,
}

/// A request under way; it ends when this is dropped, answered or not.
pub(super) struct InFlight<'a>(&'a Gauge);

// === impl Meter ===

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            commit: metrics::histogram!("couplet_store_commit_seconds"),
            read: metrics::histogram!("couplet_store_read_seconds"),
            in_flight: metrics::gauge!("couplet_store_in_flight"),
            fenced: metrics::counter!("couplet_store_errors_total", "kind" => "fenced"),
            unavailable: metrics::counter!("couplet_store_errors_total", "kind" => "unavailable"),
            corrupt: metrics::counter!("couplet_store_errors_total", "kind" => "corrupt"),
        }
    }

    /// Waits for an answer and counts it.
    pub(super) async fn of<T>(
        &self,
        act: Act,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let answer = work.await;
        match act {
            Act::Commit => self.commit.record(started.elapsed()),
            Act::Read => self.read.record(started.elapsed()),
            Act::Registry => {}
        }
        match &answer {
            Ok(_) => {}
            Err(Error::Fenced { .. }) => self.fenced.increment(1),
            Err(Error::Unavailable(_)) => self.unavailable.increment(1),
            Err(Error::Corrupt(_)) => self.corrupt.increment(1),
        }
        answer
    }

    /// A request goes out.
    pub(super) fn request(&self) -> InFlight<'_> {
        self.in_flight.increment(1.0);
        InFlight(&self.in_flight)
    }
}

// === impl InFlight ===

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
