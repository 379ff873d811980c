//! The account side of Couplet: owns slots, applies the routing rules, runs the features.
//!
//! In the order data passes them:
//!
//! - `link`: frames from and to edges.
//! - [`admin`]: what an operator may ask.
//! - [`shard`]: the one owner of a group of slots; events in, effects out, group commit.
//! - [`auth`]: who may become a session.
//! - [`route`]: where a stanza goes.
//! - [`mod@features`]: the extensions, one file each.
//! - [`hooks`]: the contract between router and features.
//! - [`session`]: what is kept in memory for whom.
//! - [`store`]: what outlives the process.
//!
//! **Invariant:** nothing here sees a socket.

mod link;

pub mod admin;

pub mod shard;

pub mod route;

pub mod features;

pub mod hooks;

pub mod session;

pub mod auth;

pub mod store;

pub mod config;

pub mod clock;

pub mod metrics;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::{Downlink, Uplink};
use couplet_proto::slot::{SLOTS, Slot};
use rand::Rng;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinSet;

pub use admin::Admin;
pub use config::Config;

use auth::Throttle;
use clock::Clock;
use hooks::Spec;
use hooks::context::Shared;
use hooks::pipeline::Pipeline;
use link::{Edges, InProcess};
use shard::Shard;
use shard::actor::{Actor, Surroundings};
use shard::mailbox::Mailboxes;
use store::Store;

/// A running origin.
pub struct Origin {
    epochs: Arc<[Option<Epoch>]>,
    surroundings: Surroundings,
    domains: Vec<Jid>,
    stop: watch::Sender<bool>,
    shards: Mutex<JoinSet<()>>,
}

/// Why an origin did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A domain is not one.
    #[error("domains: `{0}` is not a domain")]
    Domain(String),
    /// Two features claim the same thing: a mistake of ours.
    #[error(transparent)]
    Features(#[from] hooks::pipeline::Clash),
    /// The store did not give the slots.
    #[error("the slots cannot be claimed: {0}")]
    Claim(#[from] store::Error),
}

// === impl Origin ===

impl Origin {
    /// Claims every slot for this node and starts its shards.
    ///
    /// # Errors
    /// [`StartError`], in words for the operator.
    pub async fn start(config: Config, store: Arc<dyn Store>) -> Result<Self, StartError> {
        let parsed = config
            .domains
            .iter()
            .map(|domain| match Jid::parse(domain) {
                Ok(jid) if jid.is_bare() && jid.local().is_none() => Ok(jid),
                _ => Err(StartError::Domain(domain.clone())),
            });
        let domains: Vec<Jid> = parsed.collect::<Result<_, _>>()?;
        let epochs = claim(&config.node, &*store).await?;
        let clock = Clock::start();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = match config.shards {
            0 => cores * 2,
            chosen => chosen,
        };
        let shards = u16::try_from(shards.min(usize::from(SLOTS))).unwrap_or(SLOTS);
        let (mailboxes, inboxes) = Mailboxes::new(shards);
        let surroundings = Surroundings {
            mailboxes,
            edges: Arc::new(Edges::default()),
            store,
            clock,
            password_work: Arc::new(Semaphore::new(cores)),
            is_storing: Arc::new(AtomicBool::new(true)),
            under_way: Arc::new(AtomicUsize::new(0)),
            taking: Arc::new(AtomicUsize::new(usize::from(shards))),
            iterations: config.scram_iterations,
            commit_timeout: Duration::from_secs(config.limits.commit_timeout_secs),
        };
        let throttle = Throttle::new(
            config.limits.auth_failures_per_minute,
            config.registration.per_hour_per_address,
        );
        let shared = Arc::new(Shared {
            domains: domains.clone(),
            pipeline: Pipeline::new(features::FEATURES)?,
            throttle,
            started_unix: clock.now().unix,
            config,
        });
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut rng = admin::system_rng();
        for (id, inbox) in (0..shards).zip(inboxes) {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            let cluster = surroundings.store.seed();
            let shard = Shard::new(id, shards, cluster, epochs.clone(), shared.clone(), seed);
            let actor = Actor::new(id, shard, inbox, surroundings.clone());
            tasks.spawn(actor.run(stopping.clone()));
        }
        tracing::info!(shards, slots = SLOTS, "origin started");
        Ok(Self {
            epochs,
            surroundings,
            domains,
            stop,
            shards: Mutex::new(tasks),
        })
    }

    /// Attaches an edge of the same process.
    pub fn attach(&self, edge: Arc<dyn Downlink>) -> Arc<dyn Uplink> {
        let id = self.surroundings.edges.attach(edge);
        let Surroundings {
            mailboxes,
            store,
            clock,
            ..
        } = &self.surroundings;
        let epochs = self.epochs.clone();
        Arc::new(InProcess::new(
            id,
            store.seed(),
            epochs,
            mailboxes.clone(),
            *clock,
        ))
    }

    /// The operator's entrance.
    pub fn admin(&self) -> Admin {
        Admin::new(
            self.surroundings.store.clone(),
            self.surroundings.mailboxes.clone(),
            self.domains.clone(),
            self.surroundings.iterations,
        )
    }

    /// Whether it owns its slots and the store takes its commits.
    pub fn is_ready(&self) -> bool {
        !*self.stop.borrow() && self.surroundings.is_storing.load(Ordering::Relaxed)
    }

    /// Takes nothing more, makes durable what was taken, and ends.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut shards = self.shards.lock().await;
        while let Some(ended) = shards.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a shard did not end well");
            }
        }
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").finish_non_exhaustive()
    }
}

/// Every feature's name and a document it implements, in the order of the list.
pub fn features() -> Vec<(&'static str, Spec)> {
    let features = features::FEATURES.iter();
    let documents = features.flat_map(|feature| {
        let specs = [feature.spec]
            .into_iter()
            .chain(feature.also.iter().copied());
        specs.map(|spec| (feature.name, spec))
    });
    documents.collect()
}

/// The server's entity capabilities (XEP-0115): the node and the verification string.
pub fn server_caps(config: &Config) -> Option<(String, String)> {
    // Features that clash keep the origin from starting, and there is nothing to advertise.
    let pipeline = Pipeline::new(features::FEATURES).ok()?;
    let info = features::caps::Info::of_server(&pipeline, config);
    Some((features::caps::NODE.to_owned(), info.ver()))
}

async fn claim(node: &str, store: &dyn Store) -> Result<Arc<[Option<Epoch>]>, store::Error> {
    let claimed = store.claim(node, Slot::all().collect()).await?;
    let mut epochs = vec![None; usize::from(SLOTS)];
    for (slot, epoch) in claimed {
        epochs[slot.index()] = Some(epoch);
    }
    Ok(epochs.into())
}
