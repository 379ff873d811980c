//! Table: which queue belongs to which connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use couplet_proto::link::id::ConnectionId;
use hashbrown::HashMap;

use super::queue::Queue;

/// Parts of the table, each under its own lock: origin and connection tasks on many threads
/// rarely meet.
const PARTS: usize = 64;

type Part = HashMap<u64, Arc<Queue>, foldhash::fast::RandomState>;

/// All connections of this edge.
#[derive(Debug)]
pub(crate) struct Table {
    parts: Box<[Mutex<Part>]>,
    next: AtomicU64,
}

// === impl Table ===

impl Table {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            next: AtomicU64::new(1),
        }
    }

    /// Enters a connection under an id that was never used.
    pub(crate) fn insert(&self, queue: Arc<Queue>) -> ConnectionId {
        let id = ConnectionId(self.next.fetch_add(1, Ordering::Relaxed));
        self.part(id).insert(id.0, queue);
        id
    }

    /// Forgets a connection.
    pub(crate) fn remove(&self, id: ConnectionId) {
        let queue = self.part(id).remove(&id.0);
        // What still waits is dropped outside the lock.
        drop(queue);
    }

    /// Does something with a connection's queue, if it is still there.
    pub(crate) fn with<T>(&self, id: ConnectionId, act: impl FnOnce(&Queue) -> T) -> Option<T> {
        self.part(id).get(&id.0).map(|queue| act(queue))
    }

    /// A connection's queue, if it is still there.
    pub(crate) fn get(&self, id: ConnectionId) -> Option<Arc<Queue>> {
        self.part(id).get(&id.0).cloned()
    }

    /// Does something with every queue. Meant for shutting down.
    pub(crate) fn for_each(&self, mut act: impl FnMut(&Queue)) {
        for part in &self.parts {
            let queues: Vec<_> = lock(part).values().cloned().collect();
            for queue in queues {
                act(&queue);
            }
        }
    }

    /// Every connection there is now.
    pub(crate) fn ids(&self) -> Vec<ConnectionId> {
        let mut ids = Vec::new();
        for part in &self.parts {
            ids.extend(lock(part).keys().copied().map(ConnectionId));
        }
        ids
    }

    fn part(&self, id: ConnectionId) -> MutexGuard<'_, Part> {
        let index = usize::try_from(id.0 % PARTS as u64).expect("below PARTS");
        lock(&self.parts[index])
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
