//! Admin: the port for operators: health, metrics, and the API behind `couplet ctl`.
//!
//! | path | answer |
//! |---|---|
//! | `GET /healthz` | 200 while the process runs |
//! | `GET /readyz` | 200 while clients can log in, else 503 |
//! | `GET /metrics` | the text format of Prometheus |
//! | `/api/v1/…` | JSON; `/api/v1/openapi.json` describes all of it |
//!
//! An edge has neither accounts nor slots: it answers what is in [`node`] only.
//!
//! ```text
//! request ─▶ guard: a name of ours? who asks? ─▶ operation: is the scope enough? ─▶ handler
//!                └── counts it, writes it into the audit log ◀── what it was about ──┘
//! ```
//!
//! - [`serving`]: its connections.
//! - [`guard`], [`access`]: who gets through, and as whom.
//! - [`operation`], [`ask`]: one thing that can be asked; one request for it.
//! - [`accounts`], [`domains`], [`bans`], [`cluster`], [`sessions`], [`trace`], [`node`]: what can
//!   be asked, by subject.
//! - [`openapi`]: the document about it, made from the operations.
//! - [`audit`], [`strangers`], [`metrics`]: what is kept of requests.

mod access;
mod accounts;
mod ask;
mod audit;
mod bans;
mod cluster;
mod domains;
mod guard;
mod metrics;
mod node;
mod openapi;
mod operation;
mod refusal;
mod serving;
mod sessions;
mod strangers;
mod trace;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use couplet_origin::clerk::Wanted;
use couplet_origin::directives::{self, Target};
use couplet_proto::Jid;

use self::operation::{Operation, Reach, told};
use self::refusal::problem;
use crate::telemetry::Metrics;

pub(crate) use access::Access;
pub(crate) use accounts::{AccountPage, Backup, NewAccount, Password};
pub(crate) use bans::{Ban, BanPage, NewBan};
pub(crate) use cluster::{Node, NodeState, Nodes, Pin, PinTo, Pins, SlotState, Slots, SlotsTold};
pub(crate) use domains::Domains;
pub(crate) use guard::HEADER as GUARD_HEADER;
pub(crate) use node::{AskNode, Configuration, Health, NodeTold, Told, here};
pub(crate) use refusal::{Problem, Refusal};
pub(crate) use serving::serve;
pub(crate) use sessions::{AskSessions, Kicked, Session, SessionPage};
pub(crate) use trace::{AskTrace, TraceBegin, Traced, TracedChild, TracedStanza, TracedWay};

/// The most accounts or sessions in one answer.
pub(crate) const PAGE_MAX: usize = 1000;

/// What the port asks of every node.
pub(crate) trait Backend: Send + Sync + 'static {
    /// The name of this node.
    fn name(&self) -> &str;

    /// Asks another node, by its name.
    fn ask_node(
        &self,
        node: &str,
        question: AskNode,
    ) -> impl Future<Output = Result<NodeTold, Refusal>> + Send;

    /// Whether clients can log in here, or by way of this node.
    fn is_ready(&self) -> bool;

    /// How the node is.
    fn health(&self) -> impl Future<Output = Health> + Send;

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

/// What it asks of a node with accounts about what operators order while it runs.
pub(crate) trait Orders: Accounts {
    /// Whether a domain is in the configuration, and so cannot be removed.
    fn is_configured(&self, domain: &Jid) -> bool;

    /// Serves one more domain.
    fn add_domain(&self, domain: Jid, by: &str)
    -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Serves a domain no longer that was added.
    fn remove_domain(
        &self,
        domain: Jid,
        removal: Removal,
        by: &str,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Bans in force, in order of their targets.
    fn bans(&self) -> Vec<directives::Ban>;

    /// Keeps somebody out.
    fn ban(&self, wanted: Wanted) -> impl Future<Output = Result<directives::Ban, Refusal>> + Send;

    /// Lets somebody in again; `is_confined` as in [`Wanted`].
    fn lift(
        &self,
        target: Target,
        by: &str,
        is_confined: bool,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Ends a session, all of an account, or all of a domain; those of a domain as far as there is
    /// time.
    fn kick(&self, jid: Jid) -> impl Future<Output = Result<Kicked, Refusal>> + Send;
}

/// What becomes of the accounts of a domain that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// There must be none.
    Empty,
    /// They stay in the store.
    Forced,
    /// They are removed first.
    WithAccounts,
}

/// What it asks of a node that owns slots, alone or among others.
pub(crate) trait Cluster: Orders {
    /// Every origin there is.
    fn nodes(&self) -> impl Future<Output = Result<Vec<Node>, Refusal>> + Send;

    /// Who owns what, in order, without gaps.
    fn slots(&self) -> impl Future<Output = Result<Vec<Slots>, Refusal>> + Send;

    /// Sessions in order of their addresses after `after`, at most `max`.
    fn sessions(
        &self,
        ask: AskSessions,
    ) -> impl Future<Output = Result<Vec<Session>, Refusal>> + Send;

    /// Stanzas of an account, as they pass its owner.
    fn trace(&self, ask: AskTrace) -> impl Future<Output = Result<Traced, Refusal>> + Send;

    /// Ranges of slots held to groups of origins.
    fn pins(&self) -> impl Future<Output = Result<Vec<Pin>, Refusal>> + Send;

    /// Replaces them all.
    fn set_pins(&self, pins: Vec<Pin>) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// What every handler may use.
struct Shared<B> {
    backend: B,
    metrics: Metrics,
    access: Arc<Access>,
    /// What the API is, as JSON.
    document: serde_json::Value,
}

/// Everything the port of a node with accounts answers.
pub(crate) fn router<B: Cluster>(backend: B, metrics: Metrics, access: Arc<Access>) -> Router {
    port(backend, metrics, access, operations(), nowhere)
}

/// Everything the port of an edge answers.
pub(crate) fn edge_router<B: Backend>(backend: B, metrics: Metrics, access: Arc<Access>) -> Router {
    port(backend, metrics, access, edge_operations(), elsewhere)
}

/// What a node with accounts can be asked.
fn operations<B: Cluster>() -> Vec<Operation<B>> {
    let mut operations = edge_operations();
    operations.extend(accounts::operations());
    operations.extend(domains::operations());
    operations.extend(bans::operations());
    operations.extend(sessions::operations());
    operations.extend(trace::operations());
    operations.extend(cluster::operations());
    operations
}

/// What every node can be asked.
fn edge_operations<B: Backend>() -> Vec<Operation<B>> {
    let mut operations = node::operations();
    operations.push(
        Operation::get("openapi", "/openapi.json", async |ask: ask::Ask<B>| {
            told(&ask.shared.document)
        })
        .says("This document")
        .reaches(Reach::Anybody)
        .gives::<serde_json::Value>(),
    );
    operations
}

fn port<B: Backend>(
    backend: B,
    metrics: Metrics,
    access: Arc<Access>,
    operations: Vec<Operation<B>>,
    fallback: fn() -> Response,
) -> Router {
    let document = openapi::document(&operations);
    let shared = Arc::new(Shared {
        backend,
        metrics,
        access: Arc::clone(&access),
        document: serde_json::to_value(&document).expect("a document is JSON"),
    });
    let api = operations
        .into_iter()
        .fold(Router::new(), |router, operation| operation.route(router));
    let known = Arc::clone(&access);
    let api = api
        .fallback(move || async move { fallback() })
        .method_not_allowed_fallback(|| async {
            let text = "this path does not take this method; see /api/v1/openapi.json";
            problem(StatusCode::METHOD_NOT_ALLOWED, text)
        })
        .layer(middleware::from_fn(move |request, next| {
            guard::caller(Arc::clone(&known), request, next)
        }));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz::<B>))
        .route("/metrics", get(render::<B>))
        .nest("/api/v1", api)
        .layer(middleware::from_fn(move |request, next| {
            guard::host(Arc::clone(&access), request, next)
        }))
        .with_state(shared)
}

fn nowhere() -> Response {
    let text = "there is no such path; see /api/v1/openapi.json";
    problem(StatusCode::NOT_FOUND, text)
}

/// What an edge says to what others answer.
fn elsewhere() -> Response {
    let text = "this is an edge: it has no accounts and no slots; ask the port of an origin";
    problem(StatusCode::NOT_FOUND, text)
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
