//! Desk: what is read from the store goes up on the board, and everybody is told.
//!
//! **Invariant:** what the store has taken is put up, also when whoever ordered it does not wait
//! for that any more. Where nobody knows whether it was taken, it is read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::directives::Directives;
use crate::metrics;
use crate::shard::Event;
use crate::shard::actor::Surroundings;
use crate::store;

/// How long the store may take for an answer.
const STORE_PATIENCE: Duration = Duration::from_secs(3);

/// How long an answer is looked out for after whoever asked was told that there was none.
const LATEST: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Desk {
    pub(super) surroundings: Surroundings,
    /// Whether the store may have another version.
    is_due: AtomicBool,
    due: Notify,
}

// === impl Desk ===

impl Desk {
    pub(super) fn new(surroundings: Surroundings) -> Self {
        Self {
            surroundings,
            is_due: AtomicBool::new(false),
            due: Notify::new(),
        }
    }

    /// The store may have another version than is known here.
    pub(super) fn set_due(&self) {
        self.is_due.store(true, Ordering::Release);
        self.due.notify_one();
    }

    /// As [`Desk::set_due`], but there is time.
    pub(super) fn set_due_later(&self) {
        self.is_due.store(true, Ordering::Release);
    }

    /// Waits until the store may have another version.
    pub(super) async fn due(&self) {
        self.due.notified().await;
    }

    /// Whether it may; whoever asks sees to it.
    pub(super) fn take_due(&self) -> bool {
        self.is_due.swap(false, Ordering::AcqRel)
    }

    /// What is in the store.
    pub(super) async fn read(&self) -> Result<Directives, store::Error> {
        in_time(self.surroundings.store.directives()).await
    }

    /// Stores a document in the place of another version, and puts it up; false when the store has
    /// not that version.
    pub(super) async fn put(
        self: &Arc<Self>,
        expected: u64,
        next: Directives,
    ) -> Result<bool, store::Error> {
        let (tell, told) = oneshot::channel();
        let desk = Arc::clone(self);
        // A task of its own: it goes on where this is cut short.
        let putting = tokio::spawn(async move {
            let store = &desk.surroundings.store;
            let answered = timeout(LATEST, store.set_directives(expected, &next)).await;
            let stored = answered.unwrap_or_else(|_| Err(silent()));
            let is_stored = matches!(stored, Ok(true));
            if stored.is_err() {
                desk.set_due();
            }
            // Whoever asked may have given up.
            let _ = tell.send(stored);
            if is_stored {
                desk.post_all(next).await;
            }
        });
        let answer = async { told.await.unwrap_or_else(|_| Err(silent())) };
        let is_stored = in_time(answer).await?;
        // It does not panic, and nobody ends it but the runtime.
        let _ = putting.await;
        Ok(is_stored)
    }

    /// Puts a document up and tells everybody, unless a newer one is known.
    pub(super) async fn post(self: &Arc<Self>, directives: Directives) {
        let desk = Arc::clone(self);
        let posting = tokio::spawn(async move { desk.post_all(directives).await });
        let _ = posting.await;
    }

    /// Only in a task of its own: what is put up and not told is told to nobody later.
    async fn post_all(&self, directives: Directives) {
        let board = &self.surroundings.board;
        let Some(former) = board.post(directives) else {
            return;
        };
        let served = Arc::clone(&board.served());
        let (networks, accounts) = served.counts();
        let Directives {
            version, domains, ..
        } = served.directives();
        metrics::directives(networks, accounts, domains.len(), *version);
        tracing::debug!(
            version,
            networks,
            accounts,
            domains = domains.len(),
            "rules"
        );
        self.surroundings.edges.ruled();
        if served.bars_more_than(&former) {
            for shard in 0..self.surroundings.mailboxes.len() {
                self.surroundings.bring(shard, Event::Directed).await;
            }
        }
    }
}

/// What the store answers, as long as that is waited for.
pub(super) async fn in_time<T>(
    answer: impl Future<Output = Result<T, store::Error>>,
) -> Result<T, store::Error> {
    let answered = timeout(STORE_PATIENCE, answer).await;
    answered.unwrap_or_else(|_| Err(silent()))
}

fn silent() -> store::Error {
    store::Error::Unavailable("it does not answer".to_owned())
}
