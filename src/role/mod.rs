//! Role: what runs in this process, and in which order it starts and stops.
//!
//! - [`serve`]: edge and origin in one process, on the embedded store.
//! - [`edge`]: clients' connections, and links to every origin.
//! - [`origin`]: accounts, on Redis, among other origins.
//! - [`accounts`]: what the port for operators asks of an origin, wherever that runs.
//! - [`orders`]: bans, domains and kicks, likewise.
//! - [`forward`]: what an origin asks another for an operator.
//! - [`onlook`]: what passes an account, as operators read it.
//! - [`view`]: what an origin knows, as operators read it.
//! - [`link`]: what a node needs to reach the others.

mod accounts;
mod edge;
mod forward;
mod link;
mod onlook;
mod orders;
mod origin;
mod serve;
mod view;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use couplet_edge::{CertificatePaths, Edge, Sampling};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::access_log::AccessLog;
use crate::admin::{self, Access};
use crate::certificate::{self, Changes};
use crate::config::{self, Role, Settings, Shown, Sources};
use crate::shutdown::{By, Signals, Wish};
use crate::telemetry::{self, Logging, Metrics, Spans};

/// A node under way.
trait Running {
    /// Reads certificates again.
    fn reload(&self);

    /// Leaves in good order, and ends; what is still under way at the deadline is cut off.
    fn stop(self, deadline: Duration) -> impl Future<Output = ()> + Send;
}

/// What the operator said.
pub(crate) struct Given<'a> {
    /// All of it together.
    pub(crate) settings: Settings,
    /// Where each part came from.
    pub(crate) shown: Vec<Shown>,
    /// Where to look again.
    pub(crate) sources: &'a Sources,
}

/// What every node is started with.
struct Start {
    settings: Settings,
    /// Who may use the port for operators.
    access: Arc<Access>,
    metrics: Metrics,
    /// Which stanzas are followed, if any are.
    sampling: Option<Sampling>,
    /// Told when an operator wants the node to leave, by other means than a signal.
    leave: Arc<Notify>,
}

/// Runs a role until it is told to stop.
///
/// # Errors
/// What kept it from starting, in words for the operator.
pub(crate) async fn run(
    role: Role,
    given: Given<'_>,
    (logging, access_log): (&Logging, &AccessLog),
    metrics: Metrics,
) -> Result<ExitCode> {
    let Given {
        settings,
        shown,
        sources,
    } = given;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %role,
        node = settings.node,
        domains = settings.edge.domains.join(" "),
        open_files_max = raise_open_files(),
        "starting",
    );
    warn_of_unserved(&settings);
    let access = Arc::new(Access::new(&settings.admin, shown)?);
    let reload = || {
        reload(role, sources, logging, &access);
        access_log.reopen();
    };
    let deadline = Duration::from_secs(settings.drain_secs);
    let leave = Arc::new(Notify::new());
    let spans = Spans::start(&settings.trace, &settings.node, role)?;
    let files = files_of(&settings);
    let start = Start {
        settings,
        access: Arc::clone(&access),
        metrics,
        sampling: spans.sampling(),
        leave: Arc::clone(&leave),
    };
    let mut changes = Changes::new(files).await;
    let changes = &mut changes;
    let ended = match role {
        Role::Serve => {
            live(
                serve::Server::start(start),
                reload,
                changes,
                deadline,
                &leave,
            )
            .await
        }
        Role::Edge => {
            live(
                edge::Server::start(start),
                reload,
                changes,
                deadline,
                &leave,
            )
            .await
        }
        Role::Origin => {
            let start = Box::pin(origin::Server::start(start));
            live(start, reload, changes, deadline, &leave).await
        }
    };
    spans.finish().await;
    access.close();
    ended
}

/// Starts a node, keeps it until somebody wants it to stop, and stops it.
async fn live<N: Running>(
    start: impl Future<Output = Result<N>>,
    reload: impl Fn(),
    changes: &mut Changes,
    deadline: Duration,
    leave: &Notify,
) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let mut is_stale = false;
    let node = tokio::select! {
        node = start => node?,
        () = stop_wished(&mut signals, &mut is_stale) => return Ok(ExitCode::SUCCESS),
    };
    if is_stale {
        node.reload();
        reload();
    }
    let by = loop {
        let wish = tokio::select! {
            wish = signals.next() => wish,
            () = changes.next() => {
                tracing::info!("certificates or tokens have changed");
                Wish::Reload
            }
            () = leave.notified() => break By::Operator,
        };
        match wish {
            Wish::Reload => {
                node.reload();
                reload();
            }
            Wish::Stop => break By::Signal,
        }
    };
    tracing::info!(deadline_secs = deadline.as_secs(), "draining");
    let stopped = async {
        node.stop(deadline).await;
        tracing::info!("stopped");
    };
    Ok(signals.guard(by, stopped).await)
}

/// Every file that is read again when it has changed: certificates and their keys, for clients and
/// for the link, and tokens.
fn files_of(settings: &Settings) -> Vec<PathBuf> {
    let link = &settings.link;
    let clients = settings.edge.certificates.iter();
    let clients = clients.flat_map(|paths| [paths.certificate.clone(), paths.key.clone()]);
    let links = [&link.ca, &link.identity.certificate, &link.identity.key];
    let tokens = settings.admin.grants.iter();
    clients
        .chain(links.into_iter().flatten().cloned())
        .chain(tokens.map(|grant| grant.file.clone()))
        .collect()
}

/// Waits for a wish to stop. Others have to wait until there is something to reload.
async fn stop_wished(signals: &mut Signals, is_stale: &mut bool) {
    while signals.next().await != Wish::Stop {
        *is_stale = true;
    }
}

/// The log level and who may use the port for operators, as far as the sources can be read; if not,
/// only what is in the files of tokens.
fn reload(role: Role, sources: &Sources, logging: &Logging, access: &Access) {
    let (settings, shown) = match config::load_shown(sources, role) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            for mistake in mistakes {
                tracing::error!(%mistake, "settings not reloaded: the old ones stay");
            }
            access.reload_tokens();
            return;
        }
    };
    let level = settings.log.level;
    match logging.set_level(&level) {
        Ok(()) => tracing::info!(level, "log level reloaded"),
        Err(error) => tracing::error!(%error, "log level not reloaded: the old one stays"),
    }
    access.reload(&settings.admin, shown);
    tracing::info!(tokens = settings.admin.grants.len(), "tokens reloaded");
}

/// Certificates for clients, as far as they can be read.
fn reload_certificates(edge: &Edge) {
    match edge.reload_certificates() {
        Ok(()) => tracing::info!("certificates reloaded"),
        Err(error) => tracing::error!(%error, "certificates not reloaded: the old ones stay"),
    }
}

/// Opens the port for operators; returns where.
async fn open_admin(
    address: SocketAddr,
    router: Router,
    tasks: &mut JoinSet<()>,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("admin.listen: cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    tasks.spawn(admin::serve(listener, router));
    Ok(address)
}

fn joined(addresses: &[SocketAddr]) -> String {
    let words: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    words.join(" ")
}

/// Puts a self-signed certificate where no other is, and addresses where others would not work.
fn ready_for_clients(settings: &mut Settings) -> Result<()> {
    ensure_reachable(&mut settings.edge.listen);
    ensure_reachable(&mut settings.edge.tls_listen);
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

/// A certificate for a domain that nobody serves waits for one, or there is a slip.
fn warn_of_unserved(settings: &Settings) {
    let domains = &settings.edge.domains;
    let named = settings.edge.certificates.iter();
    let named = named.filter_map(|paths| paths.domain.as_ref());
    for domain in named.filter(|domain| !domains.contains(domain)) {
        tracing::warn!(
            domain,
            "tls.domains names a domain that is not in `domains`: its certificate is shown once \
             the domain is added while the server runs",
        );
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
