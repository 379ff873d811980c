//! Role: what runs in this process, and in which order it starts and stops.
//!
//! ```text
//! start:  certificate → store → origin → admin port → edge (now clients can log in)
//! stop:   edge drains → origin finishes its commits → store closes
//! ```
//!
//! The edge comes last and leaves first: while it accepts, there is somebody behind it.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use couplet_edge::stream::Caps;
use couplet_edge::{CertificatePaths, Edge};
use couplet_origin::store::Store;
use couplet_origin::store::embedded::Embedded;
use couplet_origin::{Admin, Origin};
use couplet_proto::Jid;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, spawn_blocking};

use crate::admin::{self, Backend, Refusal};
use crate::certificate;
use crate::config::{self, Format, Settings, Sources};
use crate::folder;
use crate::shutdown::{Signals, Wish};
use crate::telemetry::{self, Logging, Metrics};

/// How long the origin may take to finish its commits once the edge has drained.
const FINISH_SECS_MAX: Duration = Duration::from_secs(15);

/// A server under way.
struct Server {
    edge: Arc<Edge>,
    origin: Arc<Origin>,
    store: Arc<Embedded>,
    /// The admin port, the upkeep of the metrics, the watch over certificates; they end when this
    /// is dropped.
    tasks: JoinSet<()>,
}

/// What the admin port asks.
#[derive(Clone)]
struct Operated {
    edge: Arc<Edge>,
    origin: Arc<Origin>,
    admin: Admin,
    data: PathBuf,
}

/// Edge and origin in one process, on the embedded store.
///
/// # Errors
/// What kept it from starting, in words for the operator.
pub(crate) async fn serve(
    settings: Settings,
    sources: &Sources,
    logging: &Logging,
    metrics: Metrics,
) -> Result<ExitCode> {
    let drain = Duration::from_secs(settings.drain_secs);
    let mut signals = Signals::listen()?;
    let server = tokio::select! {
        server = Server::start(settings, metrics) => server?,
        () = stop_wished(&mut signals) => return Ok(ExitCode::SUCCESS),
    };
    while signals.next().await == Wish::Reload {
        server.reload(sources, logging);
    }
    tracing::info!(deadline_secs = drain.as_secs(), "draining");
    Ok(signals.guard(server.stop(drain)).await)
}

async fn stop_wished(signals: &mut Signals) {
    // There is nothing to reload yet.
    while signals.next().await != Wish::Stop {}
}

// === impl Server ===

impl Server {
    async fn start(mut settings: Settings, metrics: Metrics) -> Result<Self> {
        let files = raise_open_files();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            domains = settings.edge.domains.join(" "),
            data = %settings.data.display(),
            open_files_max = files,
            "starting",
        );
        let data = settings.data.clone();
        folder::make(&data)
            .with_context(|| format!("the data folder {} cannot be made", data.display()))?;
        let (folder, options) = (data.clone(), settings.store);
        let store = spawn_blocking(move || Embedded::open(&folder, options)).await??;
        let store = Arc::new(store);
        // After the store: it holds the lock of the folder the certificate is written to.
        ensure_certificate(&mut settings)?;
        ensure_reachable(&mut settings.edge.listen);
        ensure_reachable(&mut settings.edge.tls_listen);

        let caps = couplet_origin::server_caps(&settings.origin);
        settings.edge.caps = caps.map(|(node, ver)| Caps { node, ver });
        let shared: Arc<dyn Store> = Arc::<Embedded>::clone(&store);
        let origin = Arc::new(Origin::start(settings.origin, shared).await?);
        let (certificates, domains) = (
            settings.edge.certificates.clone(),
            settings.edge.domains.clone(),
        );
        let edge = Arc::new(Edge::new(settings.edge)?);
        let operated = Operated {
            edge: Arc::clone(&edge),
            origin: Arc::clone(&origin),
            admin: origin.admin(),
            data,
        };
        let address = settings.admin.listen;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("admin.listen: cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let router = admin::router(operated.clone(), metrics.clone(), &settings.admin);
        let mut tasks = JoinSet::new();
        tasks.spawn(admin::serve(listener, router));
        tasks.spawn(metrics.keep());
        tasks.spawn(certificate::watch(certificates, domains));

        let bound = edge.start(origin.attach(edge.downlink())).await?;
        tracing::info!(
            c2s = joined(&bound.plain),
            c2s_tls = joined(&bound.direct_tls),
            admin = %address,
            "ready",
        );
        if operated.has_no_accounts().await {
            hint(&operated.admin, address, settings.log.format);
        }
        Ok(Self {
            edge,
            origin,
            store,
            tasks,
        })
    }

    /// Certificates and the log level, each as far as it can be read.
    fn reload(&self, sources: &Sources, logging: &Logging) {
        match self.edge.reload_certificates() {
            Ok(()) => tracing::info!("certificates reloaded"),
            Err(error) => tracing::error!(%error, "certificates not reloaded: the old ones stay"),
        }
        let level = match config::load(sources) {
            Ok(settings) => settings.log.level,
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::error!(%mistake, "log level not reloaded: the old one stays");
                }
                return;
            }
        };
        match logging.set_level(&level) {
            Ok(()) => tracing::info!(level, "log level reloaded"),
            Err(error) => tracing::error!(%error, "log level not reloaded: the old one stays"),
        }
    }

    async fn stop(self, deadline: Duration) {
        self.edge.drain(deadline).await;
        if tokio::time::timeout(FINISH_SECS_MAX, self.origin.stop())
            .await
            .is_err()
        {
            tracing::error!("the origin did not finish in time");
        }
        let Self {
            edge,
            origin,
            store,
            tasks,
        } = self;
        drop((tasks, edge, origin));
        // Closing waits for the disk.
        if spawn_blocking(move || drop(store)).await.is_err() {
            tracing::error!("the store did not close in good order");
        }
        tracing::info!("stopped");
    }
}

// === impl Operated ===

impl Operated {
    async fn has_no_accounts(&self) -> bool {
        for domain in self.admin.domains() {
            let first = self.admin.account_list(domain, None, 1).await;
            // When the store cannot tell, a hint would be wrong more often than right.
            if !first.is_ok_and(|accounts| accounts.is_empty()) {
                return false;
            }
        }
        true
    }
}

impl Backend for Operated {
    fn is_ready(&self) -> bool {
        self.edge.is_ready() && self.origin.is_ready()
    }

    fn domains(&self) -> Vec<String> {
        let domains = self.admin.domains().iter();
        domains.map(|domain| domain.as_str().to_owned()).collect()
    }

    async fn add(&self, account: Jid, password: String) -> Result<(), Refusal> {
        Ok(self.admin.account_add(account, password).await?)
    }

    async fn remove(&self, account: Jid) -> Result<(), Refusal> {
        Ok(self.admin.account_remove(account).await?)
    }

    async fn set_password(&self, account: Jid, password: String) -> Result<(), Refusal> {
        Ok(self.admin.account_set_password(account, password).await?)
    }

    async fn list(
        &self,
        domain: Jid,
        after: Option<String>,
        max: usize,
    ) -> Result<Vec<Jid>, Refusal> {
        Ok(self
            .admin
            .account_list(&domain, after.as_deref(), max)
            .await?)
    }

    async fn backup(&self, to: PathBuf) -> Result<(), Refusal> {
        self.admin.backup(&to).await?;
        let (from, to) = (self.data.join("tls"), to.join("tls"));
        let copied = spawn_blocking(move || folder::copy(&from, &to)).await;
        match copied {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Refusal::Unavailable(format!(
                "the store is copied, but not the self-signed certificate: {error}"
            ))),
            Err(error) => Err(Refusal::Unavailable(error.to_string())),
        }
    }
}

// === impl Refusal ===

impl From<couplet_origin::admin::Error> for Refusal {
    fn from(error: couplet_origin::admin::Error) -> Self {
        use couplet_origin::admin::Error;

        let text = error.to_string();
        match error {
            Error::Exists(_) => Self::Conflict(text),
            Error::Missing(_) | Error::NotServed(_) => Self::Unknown(text),
            Error::NotAnAccount(_) | Error::BadPassword => Self::Malformed(text),
            Error::Store(_) | Error::Stopping => Self::Unavailable(text),
        }
    }
}

fn joined(addresses: &[SocketAddr]) -> String {
    let words: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    words.join(" ")
}

/// Puts a self-signed certificate where no other is.
fn ensure_certificate(settings: &mut Settings) -> Result<()> {
    if settings.tls.default.certificate.is_some() {
        return Ok(());
    }
    let made = certificate::ensure_self_signed(&settings.data.join("tls"), &settings.edge.domains)?;
    tracing::warn!(
        certificate = %made.certificate.display(),
        is_new = made.is_new,
        "no tls.certificate is set: using one that nobody has signed, so clients will warn",
    );
    let default = CertificatePaths {
        domain: None,
        certificate: made.certificate,
        key: made.key,
    };
    settings.edge.certificates.insert(0, default);
    Ok(())
}

/// On a machine without IPv6 "every address" can only mean IPv4.
fn ensure_reachable(addresses: &mut [SocketAddr]) {
    for address in addresses {
        if address.ip() == Ipv6Addr::UNSPECIFIED && UdpSocket::bind("[::]:0").is_err() {
            tracing::warn!(%address, "there is no IPv6 here: listening on IPv4 only");
            address.set_ip(Ipv4Addr::UNSPECIFIED.into());
        }
    }
}

/// As many open files as the system lets us have; each client needs one.
fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
    telemetry::open_files_max()
}

/// Tells what to do next: in the log, and to a person at a terminal.
fn hint(admin: &Admin, address: SocketAddr, format: Format) {
    let Some(domain) = admin.domains().first() else {
        return;
    };
    let server = match address.port() {
        5290 if address.ip() == Ipv4Addr::LOCALHOST => String::new(),
        _ => format!(" --server http://{address}"),
    };
    let command = format!("{} ctl{server} account add yourname@{domain}", program());
    tracing::info!(command, "there are no accounts yet");
    if format == Format::Text {
        let _ = writeln!(
            io::stderr(),
            "\nThere are no accounts yet. Add one from another terminal:\n\n    {command}\n"
        );
    }
}

/// This program as it was called, so that the hint can be typed as it stands.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let called = Path::new(&called);
    // Found by the shell, or started by cargo: then its own file is the surest name.
    called.to_str().unwrap_or("couplet").to_owned()
}
