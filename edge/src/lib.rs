//! The client side of Couplet: sockets in, stanzas out.
//!
//! The modules stand in the order data passes them; each imports only from those below it.
//!
//! - `simulation`: an edge for a test that is a whole cluster in one thread; not in the product.
//! - `drain`: closing in good order.
//! - [`listen`]: sockets in, TLS.
//! - `connection`: the task that owns one socket.
//! - [`config`]: what an operator may choose.
//! - [`stream`]: negotiation and session, without I/O.
//! - [`framing`]: bytes in, whole elements out.
//! - `link`: towards the origins; what waits for each connection.
//! - [`sampling`]: which stanzas are followed.
//! - [`rules`]: what operators have ordered while the cluster runs.
//! - [`metrics`]: what is counted.
//! - [`clock`]: what time it is.
//!
//! **Invariant:** the edge knows sockets, framing and negotiation; it holds no account data, keeps
//! nothing on disk and never sees a password verifier.

#[cfg(feature = "simulation")]
pub mod simulation;

mod drain;

pub mod listen;

mod connection;

pub mod config;

pub mod stream;

pub mod framing;

mod link;

pub mod sampling;

pub mod rules;

pub mod metrics;

pub mod clock;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use couplet_proto::Jid;
use couplet_proto::link::{Downlink, Uplink};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

pub use crate::config::{CertificatePaths, Config, Drain, Limits};
pub use crate::link::remote::{Remote, Settings as RemoteSettings};
pub use crate::sampling::Sampling;

use crate::clock::Clock;
use crate::connection::{Edgewide, TICK_MS};
use crate::link::Link;
use crate::listen::Door;
use crate::listen::tls::CertificateError;
use crate::metrics::Metrics;
use crate::rules::{Domains, Rules};
use crate::stream::Setup;

/// The running edge.
pub struct Edge {
    config: Config,
    edge: Arc<Edgewide>,
    door: Arc<Door>,
    is_ready: AtomicBool,
    /// Accept loops and the sweeper; ended when this is dropped.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The addresses an edge listens on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Plain connections that offer STARTTLS.
    pub plain: Vec<SocketAddr>,
    /// Direct TLS.
    pub direct_tls: Vec<SocketAddr>,
}

/// Why an edge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No domain is served.
    #[error("no domain to serve")]
    NoDomain,
    /// A domain is no address.
    #[error("not a domain: {0}")]
    Domain(String),
    /// Certificates cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Clients can never log in: TLS is required and there is no certificate.
    #[error("TLS is required, but there is no certificate")]
    NoTls,
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// It was started before.
    #[error("the edge is running already")]
    Running,
}

// === impl Edge ===

impl Edge {
    /// An edge whose sockets are not open yet. Loads the certificates. Metrics go to the recorder
    /// installed now.
    ///
    /// # Errors
    /// When a domain or a certificate cannot be used.
    pub fn new(config: Config) -> Result<Self, StartError> {
        Self::since(config, Instant::now())
    }

    /// Likewise, with a clock that counts from `started`: with an origin in the same process both
    /// must count from one moment, because frames between them carry times.
    ///
    /// # Errors
    /// See [`Edge::new`].
    pub fn since(config: Config, started: Instant) -> Result<Self, StartError> {
        let has_certificates = !config.certificates.is_empty();
        if !has_certificates && (config.require_tls || !config.tls_listen.is_empty()) {
            return Err(StartError::NoTls);
        }
        let setup = Arc::new(setup(&config)?);
        let clock = Clock::since(started);
        let rules = Rules::new(Arc::clone(&setup.domains));
        let link = Arc::new(Link::new(Arc::new(Metrics::new()), rules, clock));
        let random = rand::make_rng();
        let journal = config.journal.clone();
        let edge = Edgewide::new(config.limits, setup, link, clock, journal, random);
        let edge = Arc::new(edge);
        let door = Arc::new(Door::new(
            Arc::clone(&edge),
            config.proxy_protocol_from.clone(),
        ));
        if has_certificates {
            door.load(&config.certificates)?;
        }
        Ok(Self {
            config,
            edge,
            door,
            is_ready: AtomicBool::new(false),
            tasks: Mutex::default(),
        })
    }

    /// What it says of times on its links.
    pub fn clock(&self) -> Clock {
        self.edge.clock
    }

    /// The origin's way to this edge.
    pub fn downlink(&self) -> Arc<dyn Downlink> {
        Arc::clone(&self.edge.link) as Arc<dyn Downlink>
    }

    /// Follows some of the stanzas from now on; false when it does so already. Connections that
    /// exist go on without.
    pub fn follow(&self, sampling: Sampling) -> bool {
        self.edge.link.sampling.set(sampling).is_ok()
    }

    /// Opens the sockets and lets clients in. Returns the addresses bound, which differ from
    /// those configured where a port is 0.
    ///
    /// # Errors
    /// When an address cannot be listened on, or when it was called before.
    #[expect(
        clippy::unused_async,
        reason = "spawns: must be called within the runtime"
    )]
    pub async fn start(&self, uplink: Arc<dyn Uplink>) -> Result<Addresses, StartError> {
        if !self.edge.link.connect(uplink) {
            return Err(StartError::Running);
        }
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(tokio::spawn(sweep(Arc::clone(&self.edge))));
        let Config {
            listen, tls_listen, ..
        } = &self.config;
        let (plain, direct_tls) = self
            .door
            .open(listen, tls_listen, &mut tasks)
            .map_err(|(address, source)| StartError::Listen { address, source })?;
        self.is_ready.store(true, Ordering::Release);
        Ok(Addresses { plain, direct_tls })
    }

    /// Loads the certificates again. Connections keep theirs; on error everything stays as it is.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn reload_certificates(&self) -> Result<(), StartError> {
        if self.config.certificates.is_empty() {
            return Ok(());
        }
        Ok(self.door.load(&self.config.certificates)?)
    }

    /// Whether clients are let in.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire) && !self.door.is_closed()
    }

    /// How many client connections exist.
    pub fn connections(&self) -> usize {
        self.edge.population()
    }

    /// Says that it is not ready, waits as configured, then lets nobody in any more and sends every
    /// client away at the configured pace. Returns when all connections are gone, at the latest
    /// about so long after the wait.
    pub async fn drain(&self, deadline: Duration) {
        self.is_ready.store(false, Ordering::Release);
        drain::drain(&self.door, &self.edge, &self.config.drain, deadline).await;
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.door.close();
        for task in self
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            task.abort();
        }
    }
}

/// What every stream must know.
fn setup(config: &Config) -> Result<Setup, StartError> {
    let domain = |domain: &String| {
        let jid = Jid::parse(domain)
            .ok()
            .filter(|jid| jid.as_str() == jid.domain());
        jid.ok_or_else(|| StartError::Domain(domain.clone()))
    };
    let domains = config
        .domains
        .iter()
        .map(domain)
        .collect::<Result<Vec<_>, _>>()?;
    if domains.is_empty() {
        return Err(StartError::NoDomain);
    }
    let see_other_host = &config.drain.see_other_host;
    let idle = config.limits.ping_after_secs;
    Ok(Setup {
        domains: Arc::new(Domains::new(domains)),
        offers_tls: !config.certificates.is_empty(),
        require_tls: config.require_tls,
        registration_open: config.registration_open,
        auth_failures: config.limits.auth_failures,
        after_auth: config.limits.after_auth,
        idle_secs: (idle != 0).then_some(idle),
        location: config.location.clone(),
        see_other_host: see_other_host
            .iter()
            .map(|host| host.as_str().into())
            .collect(),
        caps: config.caps.clone(),
    })
}

/// Shows how near its bounds the edge is.
fn measure(edge: &Edgewide) {
    let (handshakes, logins) = edge.admission.taken();
    edge.metrics.overload_handshakes.set(handshakes);
    edge.metrics.overload_logins.set(logins);
}

/// Wakes connections whose time has come, and tells origins of sessions left behind.
async fn sweep(edge: Arc<Edgewide>) {
    let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = tick.tick() => measure(&edge),
            () = edge.link.routes.woken() => edge.link.follow_routes(),
            () = edge.link.rules.changed() => edge.end_banned(),
        }
        for id in edge.wheel.advance(edge.clock.now_ms()) {
            if let Some(queue) = edge.link.table.get(id) {
                queue.signal(|signals| signals.timer = true);
            }
        }
        edge.link.follow_routes();
        edge.link.tell_departures(edge.clock.now_ms());
    }
}
