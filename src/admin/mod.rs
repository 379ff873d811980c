//! Admin: the port for operators: health, metrics, and the API behind `couplet ctl`.
//!
//! | path | answer |
//! |---|---|
//! | `GET /healthz` | 200 while the process runs |
//! | `GET /readyz` | 200 while clients can log in, else 503 |
//! | `GET /metrics` | the text format of Prometheus |
//! | `POST /api/v1/…` | see [`api`] for accounts, [`cluster`] for nodes |
//!
//! An edge has neither accounts nor slots: of the API it answers `drain` only.
//!
//! Nobody is asked for a password here: whoever reaches the port may use it. So it listens on
//! this machine only unless told otherwise, and [`guard`] keeps web pages out that make a
//! browser on this machine ask for them.

mod api;
mod cluster;
mod guard;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::get;
use couplet_proto::Jid;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config;
use crate::telemetry::Metrics;

pub(crate) use api::{Account, Backup, Credentials, Listed, PAGE_MAX, Page, Problem};
pub(crate) use cluster::{
    AskSessions, Drain, Empty, Node, NodeState, Nodes, Pin, Pins, Session, Sessions, SlotState,
    Slots, SlotsTold, Told, Unpin,
};
pub(crate) use guard::HEADER as GUARD_HEADER;

/// How many connections are served at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 128;

/// How long a client may take to send the head of a request.
const HEAD_SECS_MAX: Duration = Duration::from_secs(10);

/// How long to wait after a failed accept: it fails again at once while no file can be opened.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the port asks of every node.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Whether clients can log in here, or by way of this node.
    fn is_ready(&self) -> bool;

    /// Makes the node leave, or stay after all; says what happens now.
    fn drain(&self, undo: bool) -> impl Future<Output = Result<String, Refusal>> + Send;
}

/// What it asks of a node with accounts.
pub(crate) trait Accounts: Backend {
    /// The domains served.
    fn domains(&self) -> Vec<String>;

    /// Makes an account.
    fn add(
        &self,
        account: Jid,
        password: String,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Removes an account and everything it has.
    fn remove(&self, account: Jid) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Gives an account another password.
    fn set_password(
        &self,
        account: Jid,
        password: String,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Accounts of a domain in order of their local part after `after`, at most `max`.
    fn list(
        &self,
        domain: Jid,
        after: Option<String>,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Jid>, Refusal>> + Send;

    /// Copies all data into a folder.
    fn backup(&self, to: PathBuf) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// What it asks of a node that owns slots, alone or among others.
pub(crate) trait Cluster: Accounts {
    /// Every origin there is.
    fn nodes(&self) -> impl Future<Output = Result<Vec<Node>, Refusal>> + Send;

    /// Who owns what, in order, without gaps.
    fn slots(&self) -> impl Future<Output = Result<Vec<Slots>, Refusal>> + Send;

    /// Sessions in order of their addresses after `after`, at most `max`.
    fn sessions(
        &self,
        ask: AskSessions,
    ) -> impl Future<Output = Result<Vec<Session>, Refusal>> + Send;

    /// Ranges of slots held to groups of origins.
    fn pins(&self) -> impl Future<Output = Result<Vec<Pin>, Refusal>> + Send;

    /// Replaces them all.
    fn set_pins(&self, pins: Vec<Pin>) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// Why the server does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// The request makes no sense: an address or a password that cannot be one.
    #[error("{0}")]
    Malformed(String),
    /// There is no such account or domain.
    #[error("{0}")]
    Unknown(String),
    /// The account exists already, or the folder is not empty.
    #[error("{0}")]
    Conflict(String),
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
}

/// What every handler may use.
#[derive(Debug)]
struct Shared<B> {
    backend: B,
    metrics: Metrics,
}

/// Everything the port of a node with accounts answers.
pub(crate) fn router<B: Cluster>(backend: B, metrics: Metrics, admin: &config::Admin) -> Router {
    let routes = api::router().merge(cluster::router()).merge(api::drain());
    port(backend, metrics, admin, routes)
}

/// Everything the port of an edge answers.
pub(crate) fn edge_router<B: Backend>(
    backend: B,
    metrics: Metrics,
    admin: &config::Admin,
) -> Router {
    port(
        backend,
        metrics,
        admin,
        api::drain().fallback(api::elsewhere),
    )
}

fn port<B: Backend>(
    backend: B,
    metrics: Metrics,
    admin: &config::Admin,
    routes: Router<Arc<Shared<B>>>,
) -> Router {
    let shared = Arc::new(Shared { backend, metrics });
    let hosts: Arc<[String]> = admin.hosts.iter().map(|host| host.to_lowercase()).collect();
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz::<B>))
        .route("/metrics", get(render::<B>))
        .nest("/api/v1", routes.layer(middleware::from_fn(guard::caller)))
        .layer(middleware::from_fn(move |request, next| {
            guard::host(Arc::clone(&hosts), request, next)
        }))
        .with_state(shared)
}

/// Serves the port, for ever. Connections end when the future is dropped.
pub(crate) async fn serve(listener: TcpListener, router: Router) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "the admin port cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let router = router.clone();
        connections.spawn(async move {
            let _permit = permit;
            answer(socket, router).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(socket: TcpStream, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_SECS_MAX);
    let service = TowerToHyperService::new(router);
    // A client that speaks something else or leaves early is its own affair.
    if let Err(error) = http.serve_connection(TokioIo::new(socket), service).await {
        tracing::debug!(%error, "a connection of the admin port failed");
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz<B: Backend>(State(shared): State<Arc<Shared<B>>>) -> (StatusCode, &'static str) {
    if shared.backend.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn render<B: Backend>(State(shared): State<Arc<Shared<B>>>) -> impl IntoResponse {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, shared.metrics.render(shared.backend.is_ready()))
}
