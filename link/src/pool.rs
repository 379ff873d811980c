//! Pool: lanes to every address that is wanted, dialed again whenever they end.
//!
//! ```text
//! dial ──▶ call ──▶ ended: failed, lost ──▶ back-off ──▶ dial
//!   ▲                      duplicate    ──▶ a while   ──▶ dial
//!   └── as long as the address is wanted; a lane that stands is never cut for its address
//! ```
//!
//! When a node restarts its address is wanted no longer, and wanted again a moment later, while
//! some of its lanes dial and others wait to. So no lane ends by itself: it waits until the address
//! is wanted again, and all of them end together, when none is at work.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
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
    /// Held by every lane but those that wait for the address to be wanted again.
    at_work: Arc<()>,
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
            is_wanted || target.is_at_work()
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
        let at_work = Arc::new(());
        let tasks = (0..self.lanes).map(|number| {
            let lane = Lane {
                caller: Arc::clone(&self.caller),
                dialer: self.dialer.clone(),
                address: address.to_owned(),
                number,
                rng: SmallRng::from_rng(&mut self.rng),
                at_work: Arc::downgrade(&at_work),
                backoff: Backoff::default(),
                said: String::new(),
            };
            tokio::spawn(lane.keep(wanted.clone())).abort_handle()
        });
        Target {
            tasks: tasks.collect(),
            is_wanted,
            at_work,
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

// === impl Target ===

impl Target {
    /// Whether a lane stands, or may yet.
    fn is_at_work(&self) -> bool {
        Arc::strong_count(&self.at_work) > 1
    }
}

/// One lane to one address.
struct Lane<C> {
    caller: Arc<C>,
    dialer: Dialer,
    address: String,
    number: u16,
    rng: SmallRng,
    at_work: Weak<()>,
    backoff: Backoff,
    /// Why it could not be had, as it was said last.
    said: String,
}

// === impl Lane ===

impl<C: Call> Lane<C> {
    /// Calls again and again as long as the address is wanted, until that is forgotten.
    async fn keep(mut self, mut wanted: watch::Receiver<bool>) {
        while wanted.wait_for(|is_wanted| *is_wanted).await.is_ok() {
            // Before it looks once more: whoever forgets the address sees that it is at work, or
            // it sees that the address is not wanted.
            let Some(at_work) = self.at_work.upgrade() else {
                return;
            };
            while *wanted.borrow_and_update() {
                let ended = match self.dialer.connect(&self.address).await {
                    Ok(channel) => self.caller.call(channel, self.number).await,
                    Err(error) => Ended::Failed(error.to_string()),
                };
                let pause = self.pause_after(ended);
                tokio::select! {
                    () = sleep(pause) => {}
                    // Not wanted any more, or wanted again: either way the loop decides.
                    _ = wanted.changed() => {}
                }
            }
            drop(at_work);
        }
    }

    /// How long it waits before it calls again.
    fn pause_after(&mut self, ended: Ended) -> Duration {
        let (address, lane) = (&self.address, self.number);
        match ended {
            Ended::Duplicate => {
                debug!(address, lane, "reached at another address already");
                return DUPLICATE_PAUSE;
            }
            Ended::Failed(reason) if reason == self.said => {
                // Once for each reason: attempts go on for as long as it takes.
                debug!(address, lane, reason, "no link to an origin");
            }
            Ended::Failed(reason) => {
                warn!(address, lane, reason, "no link to an origin");
                self.said = reason;
            }
            Ended::Lost(reason) => {
                warn!(address, lane, reason, "the link to an origin is lost");
                self.said.clear();
                self.backoff.reset();
            }
        }
        self.backoff.next(self.rng.random())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::{Receiver, Sender, channel};
    use tokio::sync::oneshot;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    /// Lanes that stand until the test ends them.
    struct Held(Sender<(u16, oneshot::Sender<()>)>);

    impl Call for Held {
        async fn call(&self, _: Channel, lane: u16) -> Ended {
            let (end, ended) = oneshot::channel();
            self.0.send((lane, end)).await.expect("the test looks");
            // Dropped is ended, too.
            let _ = ended.await;
            Ended::Lost("the test has ended it".to_owned())
        }
    }

    /// A pool of two lanes; the lanes that come to stand; and an address that takes connections.
    async fn pool() -> (
        Pool<Held>,
        Receiver<(u16, oneshot::Sender<()>)>,
        BTreeSet<String>,
        TcpListener,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (standing, stand) = channel(2);
        let pool = Pool::new(Arc::new(Held(standing)), Dialer::new(None), 2);
        (pool, stand, BTreeSet::from([address]), listener)
    }

    /// Waits until so many lanes to the one address are at work.
    async fn at_work(pool: &Pool<Held>, count: usize) {
        let target = pool.targets.values().next().expect("wanted before");
        while Arc::strong_count(&target.at_work) != count + 1 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_lane_that_has_ended_comes_back_while_another_stands() {
        let (mut pool, mut stand, address, _listener) = pool().await;
        pool.want(&address);
        let mut ends = [None, None];
        for _ in 0..2 {
            let (lane, end) = stand.recv().await.expect("it stands");
            ends[usize::from(lane)] = Some(end);
        }
        pool.want(&BTreeSet::new());
        drop(ends[1].take());
        at_work(&pool, 1).await;
        pool.want(&address);
        let again = timeout(Duration::from_secs(10), stand.recv()).await;
        let again = again.expect("somebody calls").map(|(lane, _)| lane);
        assert_eq!(again, Some(1));
    }

    #[tokio::test]
    async fn an_address_that_nobody_wants_is_forgotten_with_its_last_lane() {
        let (mut pool, mut stand, address, _listener) = pool().await;
        pool.want(&address);
        let ends = (stand.recv().await, stand.recv().await);
        pool.want(&BTreeSet::new());
        assert_eq!(pool.targets.len(), 1);
        drop(ends);
        at_work(&pool, 0).await;
        pool.want(&BTreeSet::new());
        assert!(pool.targets.is_empty());
        // Nobody can call any more: every lane has ended.
        drop(pool);
        assert!(stand.recv().await.is_none());
    }
}
