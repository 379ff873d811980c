//! Remote: the way to origins in other processes.
//!
//! ```text
//! connection ─try_send─▶ owners ─▶ lane ─▶ queue ─▶ messages ─▶ gRPC ─▶ origin
//! connection ◀─ fan-out ◀──────── call ◀───────── messages ◀─ gRPC ◀─ origin
//! ```
//!
//! - `call`: one lane as it lives, from greeting to loss.
//! - `owners`: which lane leads to which slot's owner.
//! - `lane`: what waits for one origin.
//! - `told`: what operators have ordered, as each origin tells it.
//!
//! Every lane is a link of its own: when one is lost, only its slots have no way until an origin
//! announces them on another.

mod call;

mod owners;

mod lane;

mod told;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use couplet_link::config::Entry;
use couplet_link::dial::Dialer;
use couplet_link::{Credentials, Pool, follow};
use couplet_proto::Jid;
use couplet_proto::link::frame::ToOrigin;
use couplet_proto::link::id::NodeId;
use couplet_proto::link::{Downlink, Refused, Route, Uplink, Waiting};
use couplet_proto::slot::{Seed, Slot};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::call::{Caller, Reached};
use self::owners::Owners;
use crate::clock::Clock;

/// How long rules are waited for: origins of the version before tell none.
const RULES_PATIENCE: Duration = Duration::from_secs(2);

/// What an edge needs to find its origins.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of this edge.
    pub node: NodeId,
    /// Drawn at random when the process started.
    pub incarnation: u64,
    /// Where the origins are.
    pub origins: Vec<Entry>,
    /// Connections to each of them.
    pub lanes: u16,
    /// What this edge shows; without, nothing is encrypted.
    pub credentials: Option<Arc<Credentials>>,
    /// The edge's clock: its connections say by it when a stanza came.
    pub clock: Clock,
}

/// The links to all origins. When it is dropped, all of them end.
#[derive(Debug)]
pub struct Remote {
    seed: Seed,
    owners: Arc<Owners>,
    /// The version of the rules that are followed.
    ruled: watch::Receiver<Option<u64>>,
    /// The lanes that stand.
    reached: Arc<Mutex<HashSet<Reached>>>,
    pool: Dialing,
}

/// The task that dials; it ends with its owner.
#[derive(Debug)]
struct Dialing(JoinHandle<()>);

// === impl Remote ===

impl Remote {
    /// Dials all origins and waits until one has answered: only origins know the cluster's seed,
    /// without which no account's slot is known. May be dropped while it waits.
    pub async fn start(settings: Settings, downlink: Arc<dyn Downlink>) -> Self {
        let owners = Arc::new(Owners::new(settings.lanes));
        let caller = Arc::new(Caller::new(&settings, Arc::clone(&owners), downlink));
        let (mut seed, ruled) = (caller.seed(), caller.ruled());
        let reached = caller.reached();
        let dialer = Dialer::new(settings.credentials);
        let pool = Pool::new(caller, dialer, settings.lanes);
        let pool = Dialing(tokio::spawn(follow(settings.origins, pool)));
        let known = seed.wait_for(Option::is_some).await;
        let seed = known.ok().and_then(|seed| *seed);
        Self {
            seed: seed.expect("waited for, and the pool holds its sender"),
            owners,
            ruled,
            reached,
            pool,
        }
    }

    /// Waits until an origin has told what operators have ordered, and not for long.
    pub async fn ruled(&self) {
        let mut ruled = self.ruled.clone();
        let told = timeout(RULES_PATIENCE, ruled.wait_for(Option::is_some));
        if told.await.is_err() {
            tracing::info!("no origin has told rules: going on without");
        }
    }

    /// How many origins it has a link to.
    pub fn origins(&self) -> usize {
        let all = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let origins: HashSet<_> = all.iter().map(|(origin, _)| origin).collect();
        origins.len()
    }

    /// How many slots have an owner that can be reached.
    pub fn reachable(&self) -> usize {
        Slot::all()
            .filter(|slot| self.route(*slot).is_some())
            .count()
    }
}

impl Uplink for Remote {
    fn slot_of(&self, account: &Jid) -> Slot {
        Slot::of(self.seed, account)
    }

    fn route(&self, slot: Slot) -> Option<Route> {
        self.owners.route(slot)
    }

    fn try_send(&self, slot: Slot, route: Route, frame: ToOrigin) -> Result<(), Refused> {
        if self.pool.0.is_finished() {
            return Err(Refused::Gone(frame));
        }
        // An exchange goes on where it began, whoever owns the slot now.
        let lane = match &frame {
            ToOrigin::Respond { .. } | ToOrigin::Abort { .. } => self.owners.lane(route.link),
            _ => self.owners.lane_by(slot, route),
        };
        match lane {
            Some(lane) => lane.push(slot, route.epoch, frame),
            None => Err(Refused::Moved(frame)),
        }
    }

    fn room(&self, slot: Slot) -> Waiting<'_> {
        Box::pin(self.owners.room(slot))
    }

    fn may_lose_owners(&self) -> bool {
        true
    }
}

// === impl Dialing ===

impl Drop for Dialing {
    fn drop(&mut self) {
        self.0.abort();
    }
}
