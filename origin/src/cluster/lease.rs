//! Lease: whether this node may act as the owner of its slots, and the beat that keeps it so.
//!
//! A process can be stopped for a while and go on without noticing. Meanwhile its lease has run
//! out and its slots are another's. So a shard looks before it handles anything:
//!
//! ```text
//!           last certainty less than 3 s ago
//! certain ──────────────────────────────────▶ shards go on
//!    ▲    3 s without ─▶ shards wait
//!    ├── a beat is answered, and the slots that were lost are known
//!    └── a beat fails in the usual time: the store cannot be reached, by others neither
//! ```
//!
//! This is for the sake of those who are connected. What is stored is safe without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use couplet_proto::slot::Slot;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::time::timeout;

use super::keeper::{Message, stopped};
use super::map::{OwnerMap, Way};
use super::plan;
use crate::clerk::Clerk;
use crate::clock::Clock;
use crate::config::Cluster as Settings;
use crate::metrics;
use crate::store::{Member, Owner, Registry};

/// How long a beat may take, in milliseconds.
const BEAT_MAX_MS: u64 = 1000;

/// A beat that failed after longer has failed because this process stood still, which says nothing
/// about the store.
const PROMPT_MS: u64 = 1500;

/// After so many milliseconds without certainty nothing is handled. Less than a lease lasts.
const CERTAIN_MS: u64 = 3000;

/// Whether this node may act. See the module.
#[derive(Debug)]
pub(crate) struct Lease {
    clock: Clock,
    /// Until when it is certain, in monotonic milliseconds.
    until: AtomicU64,
    /// When the beat was sent that was answered last.
    renewed: AtomicU64,
    /// How often shards have to look what they have lost.
    gaps: AtomicU64,
    /// This node is leaving: nothing is waited for any more.
    is_over: AtomicBool,
    changed: Notify,
    /// Held while a beat is under way: one that is late must not undo a resignation.
    beating: Mutex<()>,
}

/// Beats as long as the node lives.
pub(super) struct Heart {
    pub(super) lease: Arc<Lease>,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) owners: Arc<OwnerMap>,
    /// What this node says it is.
    pub(super) member: watch::Receiver<Member>,
    pub(super) keeper: mpsc::Sender<Message>,
    pub(super) settings: Settings,
    /// Keeps what operators have ordered.
    pub(super) clerk: Arc<Clerk>,
    /// There was a gap, and what was lost in it is not known yet.
    pub(super) is_doubtful: bool,
}

// === impl Lease ===

impl Lease {
    /// Not certain yet.
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            until: AtomicU64::new(clock.now().mono + CERTAIN_MS),
            renewed: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            changed: Notify::new(),
            beating: Mutex::new(()),
        }
    }

    /// Whether what is owned may be acted on now.
    pub(crate) fn is_certain(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        self.clock.now().mono < until || self.is_over.load(Ordering::Relaxed)
    }

    /// Waits until it may.
    pub(crate) async fn certain(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_certain() {
                return;
            }
            changed.await;
        }
    }

    /// How many gaps there were. To be looked at after [`Lease::is_certain`].
    pub(crate) fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Acquire)
    }

    /// How many milliseconds ago the store has answered; `None` if it never has.
    pub(super) fn age_ms(&self) -> Option<u64> {
        let renewed = self.renewed.load(Ordering::Relaxed);
        (renewed > 0).then(|| self.clock.now().mono.saturating_sub(renewed))
    }

    /// This node leaves, by what is done in `leaving`: no beat follows, and what is still to be
    /// finished is finished.
    pub(super) async fn give_up<T>(&self, leaving: impl Future<Output = T>) -> T {
        let _beating = self.beating.lock().await;
        self.is_over.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
        leaving.await
    }

    fn assure(&self, at: u64) {
        self.until.fetch_max(at + CERTAIN_MS, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// As after a long sleep.
    #[cfg(test)]
    pub(super) fn doubt(&self) {
        self.until.store(0, Ordering::Release);
    }
}

// === impl Heart ===

impl Heart {
    /// Beats until told to stop.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut every = tokio::time::interval(Duration::from_millis(self.settings.beat_ms));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                _ = every.tick() => {}
                // What this node is has changed: the others are to know at once.
                Ok(()) = self.member.changed() => {}
            }
            let lease = Arc::clone(&self.lease);
            let _beating = lease.beating.lock().await;
            if lease.is_over.load(Ordering::Relaxed) {
                return;
            }
            self.beat().await;
            let age = self.lease.age_ms().unwrap_or(0);
            metrics::lease_age(Duration::from_millis(age).as_secs_f64());
        }
    }

    pub(super) async fn beat(&mut self) {
        let clock = self.lease.clock;
        let sent = clock.now().mono;
        self.is_doubtful |= sent >= self.lease.until.load(Ordering::Relaxed);
        let member = self.member.borrow_and_update().clone();
        let beat = self.registry.beat(&member, self.settings.lease_ms);
        let view = match timeout(Duration::from_millis(BEAT_MAX_MS), beat).await {
            Ok(Ok(view)) => view,
            Ok(Err(error)) => return self.failed(sent, &error.to_string()),
            Err(_) => return self.failed(sent, "it does not answer"),
        };
        self.clerk.heard(view.directives);
        // No slot is taken, and nobody logs in, before it is known who may.
        if let Err(error) = self.clerk.ensure_known().await {
            return self.failed(sent, &error.to_string());
        }
        // From when it was sent, not from when the answer was seen: that may be long after.
        self.lease.renewed.store(sent.max(1), Ordering::Relaxed);
        if self.is_doubtful && !self.find_lost().await {
            // Others may have been able to take what was ours: nothing goes on.
            return self.tell(plan::Event::Missed);
        }
        self.lease.assure(sent);
        self.tell(plan::Event::Beaten(view));
    }

    /// Learns which slots were lost in a gap. False when the store did not say.
    async fn find_lost(&mut self) -> bool {
        let read = timeout(Duration::from_millis(BEAT_MAX_MS), self.registry.owners());
        let Ok(Ok(owners)) = read.await else {
            return false;
        };
        for (slot, owner) in Slot::all().zip(owners) {
            if let Some(Owner { epoch, .. }) = owner
                && matches!(self.owners.way(slot), Way::Here(here) if here < epoch)
            {
                self.owners.learn(slot, Way::Nowhere(epoch));
            }
        }
        self.is_doubtful = false;
        self.lease.gaps.fetch_add(1, Ordering::Release);
        tracing::warn!("this process has stood still; it looked what it has lost meanwhile");
        true
    }

    /// A beat has failed after so many milliseconds.
    pub(super) fn failed_after(&self, took_ms: u64, cause: &str) {
        metrics::failed_beat();
        tracing::warn!(cause, took_ms, "the lease could not be renewed");
        if took_ms < PROMPT_MS {
            self.lease.assure(self.lease.clock.now().mono);
        }
        self.tell(plan::Event::Missed);
    }

    fn failed(&self, sent: u64, cause: &str) {
        let now = self.lease.clock.now().mono;
        self.failed_after(now.saturating_sub(sent), cause);
    }

    /// Never waits: with a full queue the keeper hears of the next beat.
    fn tell(&self, event: plan::Event) {
        let _ = self.keeper.try_send(Message::Plan(event));
    }
}
