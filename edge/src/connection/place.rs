//! Place: a connection's entry among all connections, and what they all share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use couplet_proto::journal::Journal;
use couplet_proto::link::id::ConnectionId;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::sync::Notify;

use super::admission::Admission;
use super::wheel::Wheel;
use crate::clock::Clock;
use crate::config::Limits;
use crate::link::queue::{Bounds, Item, Queue};
use crate::link::{Link, late};
use crate::metrics::{Carrier, Metrics, Stage};
use crate::stream::Setup;

/// What all connections of the edge share.
pub(crate) struct Edgewide {
    pub(crate) limits: Limits,
    pub(crate) setup: Arc<Setup>,
    pub(crate) link: Arc<Link>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    pub(crate) journal: Journal,
    pub(crate) wheel: Wheel,
    pub(crate) admission: Admission,
    /// Connections that exist, those in a handshake included.
    population: AtomicUsize,
    /// Told when the last connection is gone.
    empty: Notify,
    /// Seeds of streams come from here.
    random: Mutex<StdRng>,
}

/// A connection's entry. It is given back when this is dropped.
pub(crate) struct Place {
    edge: Arc<Edgewide>,
    pub(crate) id: ConnectionId,
    pub(crate) queue: Arc<Queue>,
    carrier: Carrier,
    stage: Stage,
}

// === impl Edgewide ===

impl Edgewide {
    /// What an edge starts with.
    pub(crate) fn new(
        limits: Limits,
        setup: Arc<Setup>,
        link: Arc<Link>,
        clock: Clock,
        journal: Journal,
        random: StdRng,
    ) -> Self {
        Self {
            limits,
            setup,
            metrics: Arc::clone(&link.metrics),
            link,
            clock,
            journal,
            wheel: Wheel::new(),
            admission: Admission::new(&limits),
            population: AtomicUsize::new(0),
            empty: Notify::new(),
            random: Mutex::new(random),
        }
    }

    /// A random number, never drawn twice.
    pub(super) fn draw(&self) -> u128 {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.random()
    }

    /// A random number from 0 up to, but not including, 1.
    pub(crate) fn draw_fraction(&self) -> f64 {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.random()
    }

    /// Brings these into a random order.
    pub(crate) fn shuffle<T>(&self, all: &mut [T]) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        all.shuffle(&mut *random);
    }

    /// Waits until no connection exists.
    pub(crate) async fn emptied(&self) {
        loop {
            let changed = self.empty.notified();
            if self.population.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Ends the connections that no client is let in any more from: each finds out itself.
    pub(crate) fn end_banned(&self) {
        let now = self.clock.now_ms();
        self.link.table.for_each(|queue| {
            if queue
                .peer()
                .is_some_and(|peer| self.link.rules.ban(peer, now))
            {
                queue.signal(|signals| signals.banned = true);
            }
        });
    }

    /// How many connections exist.
    pub(crate) fn population(&self) -> usize {
        self.population.load(Ordering::Acquire)
    }
}

// === impl Place ===

impl Place {
    /// A place for one more connection; `None` when there are enough.
    pub(crate) fn take(edge: &Arc<Edgewide>) -> Option<Self> {
        let limits = &edge.limits;
        let enter = |count: usize| (count < limits.connections).then_some(count + 1);
        edge.population
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, enter)
            .ok()?;
        let queue = Arc::new(Queue::new(Bounds {
            bytes: limits.outbound_bytes,
            stanzas: limits.outbound_stanzas,
        }));
        let id = edge.link.table.insert(Arc::clone(&queue));
        let (carrier, stage) = (Carrier::Tcp, Stage::Negotiating);
        edge.metrics.connections(carrier, stage).increment(1);
        Some(Self {
            edge: Arc::clone(edge),
            id,
            queue,
            carrier,
            stage,
        })
    }

    /// The connection now runs over this.
    pub(crate) fn set_carrier(&mut self, carrier: Carrier) {
        self.count(|place| place.carrier = carrier);
    }

    /// How far the connection has come.
    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// The connection has come this far.
    pub(crate) fn set_stage(&mut self, stage: Stage) {
        self.count(|place| place.stage = stage);
    }

    /// Moves the connection to where it is counted after `change`.
    fn count(&mut self, change: impl FnOnce(&mut Self)) {
        let edge = Arc::clone(&self.edge);
        edge.metrics
            .connections(self.carrier, self.stage)
            .decrement(1);
        change(self);
        edge.metrics
            .connections(self.carrier, self.stage)
            .increment(1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.edge.link.table.remove(self.id);
        for item in self.queue.close() {
            // Bound in the moment the connection ended.
            if let Item::Frame(slot, _, frame) = item
                && let Some((session, reason)) = late(&frame)
            {
                self.edge.link.orphan(slot, session, self.id, reason);
            }
        }
        self.edge
            .metrics
            .connections(self.carrier, self.stage)
            .decrement(1);
        if self.edge.population.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.edge.empty.notify_waiters();
        }
    }
}
