//! Pool: lanes to every address that is wanted, dialed again whenever they end.
//!
//! ```text
//! dial ──▶ call ──▶ ended: failed, lost ──▶ back-off ──▶ dial
//!   ▲                      duplicate    ──▶ a while   ──▶ dial
//!   └── as long as the address is wanted; a lane that stands is never cut for its address
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tonic::transport::Channel;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::dial::Dialer;

/// How long until an address is tried again that has led to a node already linked.
const DUPLICATE_PAUSE: Duration = Duration::from_secs(5);

/// What is done with a connection.
pub trait Call: Send + Sync + 'static {
    /// Speaks on one lane until it ends. Dropped when the pool is.
    fn call(&self, channel: Channel, lane: u16) -> impl Future<Output = Ended> + Send;
}

/// How a lane ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It never stood; and why.
    Failed(String),
    /// It stood, and was lost; and why.
    Lost(String),
    /// The node has been reached at another address before.
    Duplicate,
}

/// The lanes. When it is dropped, all of them end.
#[derive(Debug)]
pub struct Pool<C> {
    caller: Arc<C>,
    dialer: Dialer,
    lanes: u16,
    /// Chance for the back-off.
    rng: SmallRng,
    targets: HashMap<String, Target>,
}

/// One address.
#[derive(Debug)]
struct Target {
    is_wanted: watch::Sender<bool>,
    tasks: Vec<AbortHandle>,
}

// === impl Pool ===

impl<C: Call> Pool<C> {
    /// No lanes yet.
    pub fn new(caller: Arc<C>, dialer: Dialer, lanes: u16) -> Self {
        Self {
            caller,
            dialer,
            lanes,
            rng: rand::make_rng(),
            targets: HashMap::new(),
        }
    }

    /// From now on these addresses (`host:port`) are wanted and no others. Must be called within
    /// the runtime.
    pub fn want(&mut self, addresses: &BTreeSet<String>) {
        self.targets.retain(|address, target| {
            let is_wanted = addresses.contains(address);
            target
                .is_wanted
                .send_if_modified(|was| std::mem::replace(was, is_wanted) != is_wanted);
            // One that is wanted again while its lanes are ending is begun afresh.
            let has_ended = target.tasks.iter().all(AbortHandle::is_finished);
            !has_ended
        });
        for address in addresses {
            if !self.targets.contains_key(address) {
                let target = self.begin(address);
                self.targets.insert(address.clone(), target);
            }
        }
    }

    fn begin(&mut self, address: &str) -> Target {
        info!(address, lanes = self.lanes, "linking to an origin");
        let (is_wanted, wanted) = watch::channel(true);
        let tasks = (0..self.lanes).map(|number| {
            let lane = Lane {
                caller: Arc::clone(&self.caller),
                dialer: self.dialer.clone(),
                address: address.to_owned(),
                number,
                rng: SmallRng::from_rng(&mut self.rng),
            };
            tokio::spawn(lane.keep(wanted.clone())).abort_handle()
        });
        Target {
            tasks: tasks.collect(),
            is_wanted,
        }
    }
}

impl<C> Drop for Pool<C> {
    fn drop(&mut self) {
        let targets = self.targets.values();
        targets
            .flat_map(|target| &target.tasks)
            .for_each(AbortHandle::abort);
    }
}

/// One lane to one address.
struct Lane<C> {
    caller: Arc<C>,
    dialer: Dialer,
    address: String,
    number: u16,
    rng: SmallRng,
}

// === impl Lane ===

impl<C: Call> Lane<C> {
    /// Calls again and again, as long as the address is wanted.
    async fn keep(mut self, mut wanted: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        let mut said = String::new();
        while *wanted.borrow_and_update() {
            let ended = match self.dialer.connect(&self.address).await {
                Ok(channel) => self.caller.call(channel, self.number).await,
                Err(error) => Ended::Failed(error.to_string()),
            };
            let (address, lane) = (&self.address, self.number);
            let pause = match ended {
                Ended::Duplicate => {
                    debug!(address, lane, "reached at another address already");
                    DUPLICATE_PAUSE
                }
                Ended::Failed(reason) => {
                    // Once for each reason: attempts go on for as long as it takes.
                    if reason == said {
                        debug!(address, lane, reason, "no link to an origin");
                    } else {
                        warn!(address, lane, reason, "no link to an origin");
                        said = reason;
                    }
                    backoff.next(self.rng.random())
                }
                Ended::Lost(reason) => {
                    warn!(address, lane, reason, "the link to an origin is lost");
                    said.clear();
                    backoff.reset();
                    backoff.next(self.rng.random())
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                // Not wanted any more, or wanted again: either way the loop decides.
                _ = wanted.changed() => {}
            }
        }
    }
}
