//! Admission: how many clients may be on their way in at once.
//!
//! After a power cut or the loss of an edge everybody comes at the same time. Those who are in
//! must notice nothing, so the rest waits its turn: paced, in order, not refused. The time spent
//! waiting does not count against a client.
//!
//! - A TLS handshake waits for a permit, and gives it back when it is done or after a while:
//!   clients that are slow to answer cost memory, not time.
//! - A login waits before its first message goes to the origin, and only there. What follows
//!   never waits: who has begun comes before who has not, and a client that resumes, known for
//!   one only after it has authenticated, passes straight on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// A handshake that takes longer goes on without its permit.
pub(crate) const HANDSHAKE_HOLD: Duration = Duration::from_secs(2);

/// Handshakes at once for each core: their sums wait for one another anyway.
const HANDSHAKES_PER_CORE: usize = 32;

/// First messages of logins at origins at once, for each core of the edge.
const LOGINS_PER_CORE: usize = 64;

/// A permit on its way.
pub(crate) type Turn = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// The permits there are.
#[derive(Debug)]
pub(crate) struct Admission {
    handshakes: Arc<Semaphore>,
    handshakes_max: usize,
    logins: Arc<Semaphore>,
    logins_max: usize,
}

// === impl Admission ===

impl Admission {
    /// As many permits as the operator wants, or as fit the machine.
    pub(crate) fn new(limits: &Limits) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = |wanted: usize, per_core: usize| {
            let count = match wanted {
                0 => per_core * cores,
                wanted => wanted,
            };
            count.min(Semaphore::MAX_PERMITS)
        };
        let handshakes_max = count(limits.tls_handshakes, HANDSHAKES_PER_CORE);
        let logins_max = count(limits.logins, LOGINS_PER_CORE);
        Self {
            handshakes: Arc::new(Semaphore::new(handshakes_max)),
            handshakes_max,
            logins: Arc::new(Semaphore::new(logins_max)),
            logins_max,
        }
    }

    /// Which part of the permits for handshakes and for logins is taken, from 0 to 1.
    pub(crate) fn taken(&self) -> (f64, f64) {
        let part = |permits: &Semaphore, most: usize| {
            let taken = most.saturating_sub(permits.available_permits());
            taken as f64 / most.max(1) as f64
        };
        (
            part(&self.handshakes, self.handshakes_max),
            part(&self.logins, self.logins_max),
        )
    }

    /// A turn for a handshake: at once, or when it comes.
    pub(crate) fn handshake(&self) -> Result<OwnedSemaphorePermit, Turn> {
        turn(&self.handshakes)
    }

    /// A turn for a login.
    pub(crate) fn login(&self) -> Result<OwnedSemaphorePermit, Turn> {
        turn(&self.logins)
    }
}

fn turn(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Turn> {
    let permits = Arc::clone(permits);
    match Arc::clone(&permits).try_acquire_owned() {
        Ok(permit) => Ok(permit),
        Err(_) => Err(Box::pin(async move { permits.acquire_owned().await.ok() })),
    }
}
