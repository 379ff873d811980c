//! The account side of Couplet: owns slots, applies the routing rules, runs the features.
//!
//! In the order data passes them:
//!
//! - `link`: frames from and to edges.
//! - [`cluster`]: who is there, who owns what, and the way to whom.
//! - [`admin`]: what an operator may ask.
//! - [`shard`]: the one owner of a group of slots; events in, effects out, group commit.
//! - [`auth`]: who may become a session.
//! - [`onlook`]: the stanzas of an account, for an operator who looks on.
//! - [`route`]: where a stanza goes.
//! - [`mod@features`]: the extensions, one file each.
//! - [`hooks`]: the contract between router and features.
//! - [`session`]: what is kept in memory for whom.
//! - [`store`]: what outlives the process.
//!
//! **Invariant:** nothing but `link` sees a socket, and none of a client.

mod link;

pub mod cluster;

pub mod admin;

pub mod shard;

pub mod onlook;

pub mod route;

pub mod features;

pub mod hooks;

pub mod session;

pub mod auth;

pub mod store;

pub mod config;

pub mod clock;

pub mod metrics;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::journal::{Entry, Event};
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::{EdgeId, NodeId};
use couplet_proto::link::{Downlink, Uplink};
use couplet_proto::slot::{SLOTS, Slot};
use couplet_proto::trace::Tracer;
use rand::Rng;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

pub use admin::Admin;
pub use config::Config;
pub use link::remote::{Links, Settings as LinkSettings};

use auth::{Throttle, Tokens};
use clock::Clock;
use cluster::lease::Lease;
use cluster::map::{OwnerMap, Way};
use cluster::peers::Peers;
use cluster::{Cluster, Operator, Report};
use hooks::Spec;
use hooks::context::Shared;
use hooks::pipeline::Pipeline;
use link::{Edges, InProcess, Local};
use shard::Shard;
use shard::actor::{Actor, Surroundings};
use shard::mailbox::{Inbox, Mailboxes};
use shard::overload::Overload;
use store::{Member, Registry, Store};

/// A running origin.
pub struct Origin {
    surroundings: Surroundings,
    cluster: Option<Cluster>,
    domains: Vec<Jid>,
    tracer: Arc<OnceLock<Arc<dyn Tracer>>>,
    stop: watch::Sender<bool>,
    /// For what goes on until the shards have ended.
    halt: watch::Sender<bool>,
    shards: Mutex<JoinSet<()>>,
    keepers: Mutex<JoinSet<()>>,
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

/// An origin that has everything and does nothing yet.
struct Parts {
    config: Config,
    domains: Vec<Jid>,
    services: Vec<Jid>,
    surroundings: Surroundings,
    inboxes: Vec<Inbox>,
    fenced: mpsc::Receiver<Slot>,
}

/// Slots that may wait to be found lost: each once.
const FENCED_MAX: usize = SLOTS as usize;

/// How long the last exchanges of a leaving node may take.
const EXCHANGE_PATIENCE: Duration = Duration::from_secs(2);

/// How often they are counted.
const EXCHANGE_PAUSE: Duration = Duration::from_millis(50);

// === impl Parts ===

impl Parts {
    fn new(config: Config, store: Arc<dyn Store>) -> Result<Self, StartError> {
        let domains = parse_domains(&config.domains)?;
        let services = parse_domains(&config.muc.services)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = match config.shards {
            0 => cores * 2,
            chosen => chosen,
        };
        let shards = u16::try_from(shards.min(usize::from(SLOTS))).unwrap_or(SLOTS);
        let (mailboxes, inboxes) = Mailboxes::new(shards);
        let (fencing, fenced) = mpsc::channel(FENCED_MAX);
        let commit_timeout = Duration::from_secs(config.limits.commit_timeout_secs);
        let surroundings = Surroundings {
            mailboxes,
            edges: Arc::new(Edges::default()),
            peers: Arc::new(Peers::default()),
            owners: Arc::new(OwnerMap::new()),
            fenced: fencing,
            store,
            clock: Clock::start(),
            password_work: Arc::new(Semaphore::new(cores)),
            is_storing: Arc::new(AtomicBool::new(true)),
            under_way: Arc::new(AtomicUsize::new(0)),
            taking: Arc::new(AtomicUsize::new(usize::from(shards))),
            was_quiet: Arc::new(AtomicBool::new(false)),
            iterations: config.scram_iterations,
            overload: Arc::new(Overload::new(shards, commit_timeout)),
            commit_timeout,
            lease: None,
            journal: config.journal.clone(),
        };
        Ok(Self {
            config,
            domains,
            services,
            surroundings,
            inboxes,
            fenced,
        })
    }

    /// Starts the shards, as owners of slots at these epochs.
    fn run(self, epochs: &[Option<Epoch>]) -> Result<(Origin, mpsc::Receiver<Slot>), StartError> {
        let Self {
            config,
            domains,
            services,
            surroundings,
            inboxes,
            fenced,
        } = self;
        let throttle = Throttle::new(
            config.limits.auth_failures_per_minute,
            config.registration.per_hour_per_address,
        );
        let shared = Arc::new(Shared {
            domains: domains.clone(),
            services,
            pipeline: Pipeline::new(features::FEATURES)?,
            throttle,
            started_unix: surroundings.clock.now().unix,
            is_clustered: surroundings.lease.is_some(),
            tokens: Tokens::new(surroundings.store.secret()),
            tracer: Arc::default(),
            watched: Arc::default(),
            config,
        });
        let tracer = Arc::clone(&shared.tracer);
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut rng = admin::system_rng();
        let shards = u16::try_from(inboxes.len()).unwrap_or(SLOTS);
        for (id, inbox) in (0..shards).zip(inboxes) {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            let cluster = surroundings.store.seed();
            let mut shard = Shard::new(id, shards, cluster, shared.clone(), seed);
            shard.own(epochs);
            shard.wake_sleepers();
            let actor = Actor::new(id, shard, inbox, surroundings.clone());
            tasks.spawn(actor.run(stopping.clone()));
        }
        tracing::info!(shards, slots = SLOTS, "origin started");
        let origin = Origin {
            surroundings,
            cluster: None,
            domains,
            tracer,
            stop,
            halt: watch::Sender::new(false),
            shards: Mutex::new(tasks),
            keepers: Mutex::new(JoinSet::new()),
        };
        Ok((origin, fenced))
    }
}

// === impl Origin ===

impl Origin {
    /// Claims every slot for this node, the only one there is, and starts its shards.
    ///
    /// # Errors
    /// [`StartError`], in words for the operator.
    pub async fn start(config: Config, store: Arc<dyn Store>) -> Result<Self, StartError> {
        let parts = Parts::new(config, store)?;
        let Surroundings { store, owners, .. } = &parts.surroundings;
        let epochs = claim(&parts.config.node, &**store).await?;
        for slot in Slot::all() {
            if let Some(epoch) = epochs[slot.index()] {
                owners.learn(slot, Way::Here(epoch));
            }
        }
        // Nobody else can own a slot: what would be told here cannot happen.
        let (origin, _) = parts.run(&epochs)?;
        Ok(origin)
    }

    /// Joins a cluster as one of its members, and takes its share of the slots, and of those of
    /// members that die, by and by. `store` commits as the process of `member`.
    ///
    /// # Errors
    /// [`StartError`], in words for the operator. A registry that cannot be reached is none: the
    /// origin is not ready until it can.
    pub fn start_clustered(
        config: Config,
        settings: config::Cluster,
        store: Arc<dyn Store>,
        registry: Arc<dyn Registry>,
        member: Member,
    ) -> Result<Self, StartError> {
        let mut parts = Parts::new(config, store)?;
        let lease = Arc::new(Lease::new(parts.surroundings.clock));
        parts.surroundings.lease = Some(Arc::clone(&lease));
        let (mut origin, fenced) = parts.run(&[])?;
        let start = cluster::Start {
            member,
            settings,
            registry,
            surroundings: origin.surroundings.clone(),
            lease,
            fenced,
        };
        let halting = origin.halt.subscribe();
        let cluster = Cluster::start(start, &halting, origin.keepers.get_mut());
        origin.cluster = Some(cluster);
        Ok(origin)
    }

    /// Attaches an edge of the same process. Only to an origin that is alone.
    pub fn attach(&self, edge: Arc<dyn Downlink>) -> Arc<dyn Uplink> {
        let id = self.surroundings.edges.attach(Arc::new(Local(edge)));
        let Surroundings {
            mailboxes,
            store,
            owners,
            ..
        } = &self.surroundings;
        Arc::new(InProcess::new(
            id,
            store.seed(),
            owners.clone(),
            mailboxes.clone(),
        ))
    }

    /// Since when it counts time: an edge in the same process must count alike.
    pub fn started(&self) -> Instant {
        self.surroundings.clock.started()
    }

    /// Lets edges and other origins call, and calls the others; `None` for an origin that is
    /// alone. Must be called within the runtime.
    pub fn link(&self, settings: LinkSettings) -> Option<Links> {
        let cluster = self.cluster.clone()?;
        let name = cluster.node();
        Some(Links::start(settings, name, cluster, &self.surroundings))
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

    /// What is done with stanzas that are followed is told to `tracer` from now on; false when it
    /// is told to another already.
    pub fn follow(&self, tracer: Arc<dyn Tracer>) -> bool {
        self.tracer.set(tracer).is_ok()
    }

    /// From now on `operator` answers what the operators of other origins ask of this one.
    pub fn answer_with(&self, operator: Arc<dyn Operator>) {
        self.surroundings.peers.answer_with(operator);
    }

    /// Asks another origin, which its `operator` answers; `None` when it cannot be reached.
    pub async fn ask(&self, node: &NodeId, question: Bytes) -> Option<Bytes> {
        let link = self.surroundings.peers.to_node(node)?;
        link.ask(question).await
    }

    /// The name of an edge that is linked to this origin.
    pub fn edge_name(&self, edge: EdgeId) -> Option<String> {
        self.surroundings.edges.name(edge)
    }

    /// Whether it owns its slots and the store takes its commits.
    pub fn is_ready(&self) -> bool {
        let is_settled = self.cluster.as_ref().is_none_or(Cluster::is_ready);
        let is_storing = self.surroundings.is_storing.load(Ordering::Relaxed);
        !*self.stop.borrow() && is_storing && is_settled
    }

    /// What this origin knows of its cluster; `None` when it is alone, or stopping.
    pub async fn report(&self) -> Option<Report> {
        self.cluster.as_ref()?.report().await
    }

    /// Gives the slots of a clustered origin to the others, or takes its share again.
    pub fn set_draining(&self, is_draining: bool) {
        if let Some(cluster) = &self.cluster
            && cluster.set_draining(is_draining)
        {
            self.note_drain(if is_draining { "begun" } else { "undone" }, None);
        }
    }

    /// Has it written down how far the drain has come.
    fn note_drain(&self, outcome: &'static str, since: Option<u64>) {
        let Surroundings { journal, clock, .. } = &self.surroundings;
        journal.note(|| Entry {
            outcome: Some(outcome),
            count: self.cluster.as_ref().map(|cluster| cluster.standing().held),
            taken_ms: since.map(|since| clock.now().mono.saturating_sub(since)),
            ..Entry::new(Event::Drain)
        });
    }

    /// Gives every slot to the others, waits until they have them or the time is up, and for the
    /// clients that are authenticating. Then only [`Origin::stop`] is left to do. Without others
    /// it keeps its slots.
    pub async fn drain(&self, patience: Duration) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        let since = self.surroundings.clock.now().mono;
        self.set_draining(true);
        if tokio::time::timeout(patience, cluster.drained())
            .await
            .is_err()
        {
            let left = cluster.standing().held;
            tracing::warn!(left, "slots are left when the time to drain is up");
        }
        let is_empty = cluster.standing().held == 0;
        self.note_drain(if is_empty { "done" } else { "cut-off" }, Some(since));
        let exchanges = async {
            let listing = admin::Listing::default();
            let admin = self.admin();
            while let Ok(listed) = admin.sessions(listing.clone()).await {
                if listed.exchanges == 0 {
                    return;
                }
                tokio::time::sleep(EXCHANGE_PAUSE).await;
            }
        };
        // Those who take longer begin again elsewhere.
        let _ = tokio::time::timeout(EXCHANGE_PATIENCE, exchanges).await;
    }

    /// Takes nothing more, makes durable what was taken, and ends. A clustered origin leaves the
    /// cluster: what it still owns is taken over at once.
    pub async fn stop(&self) {
        self.set_draining(true);
        self.stop.send_replace(true);
        end(&self.shards).await;
        if let Some(cluster) = &self.cluster {
            cluster.resign().await;
        }
        self.halt.send_replace(true);
        end(&self.keepers).await;
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

fn parse_domains(domains: &[String]) -> Result<Vec<Jid>, StartError> {
    let parsed = domains.iter().map(|domain| match Jid::parse(domain) {
        Ok(jid) if jid.is_bare() && jid.local().is_none() => Ok(jid),
        _ => Err(StartError::Domain(domain.clone())),
    });
    parsed.collect()
}

/// Waits until all tasks have ended.
async fn end(tasks: &Mutex<JoinSet<()>>) {
    let mut tasks = tasks.lock().await;
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a task did not end well");
        }
    }
}

async fn claim(node: &str, store: &dyn Store) -> Result<Vec<Option<Epoch>>, store::Error> {
    let claimed = store.claim(node, Slot::all().collect()).await?;
    let mut epochs = vec![None; usize::from(SLOTS)];
    for (slot, epoch) in claimed {
        epochs[slot.index()] = Some(epoch);
    }
    Ok(epochs)
}
