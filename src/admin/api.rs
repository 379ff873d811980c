//! API: what `couplet ctl` asks for. JSON both ways; an error is `{"error": "…"}`.
//!
//! | `POST /api/v1/…` | request | answer |
//! |---|---|---|
//! | `account/add` | `jid`, `password` | 201 |
//! | `account/remove` | `jid` | 204 |
//! | `account/password` | `jid`, `password` | 204 |
//! | `account/list` | `domain`, `after`, `max`: all optional | `domains`, `accounts` |
//! | `backup` | `directory` | 204 |
//! | `drain` | `undo`: optional | `text` |
//!
//! Without `domain` the list holds no accounts, only the domains to ask for.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use couplet_proto::Jid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cluster::{Drain, Told};
use super::{Accounts, Backend, Refusal, Shared};

/// The most accounts in one answer.
pub(crate) const PAGE_MAX: usize = 1000;

/// An account and its password.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    /// The bare address.
    pub(crate) jid: String,
    /// In plain: it never leaves this machine.
    pub(crate) password: String,
}

/// An account.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Account {
    /// The bare address.
    pub(crate) jid: String,
}

/// Which accounts to list.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Page {
    /// Of this domain.
    pub(crate) domain: Option<String>,
    /// After this local part.
    pub(crate) after: Option<String>,
    /// At most this many; never more than [`PAGE_MAX`].
    pub(crate) max: Option<usize>,
}

/// Some accounts.
#[derive(Serialize, Deserialize)]
pub(crate) struct Listed {
    /// Every domain served.
    pub(crate) domains: Vec<String>,
    /// In order of their local parts; empty after the last one.
    pub(crate) accounts: Vec<String>,
}

/// Where a copy goes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backup {
    /// An absolute path on the server's machine.
    pub(crate) directory: PathBuf,
}

/// What went wrong.
#[derive(Serialize, Deserialize)]
pub(crate) struct Problem {
    /// For people.
    pub(crate) error: String,
}

/// What a handler answers.
pub(super) type Answer = Result<Response, Refusal>;

/// The routes below `/api/v1` for accounts.
pub(super) fn router<B: Accounts>() -> Router<Arc<Shared<B>>> {
    Router::new()
        .route("/account/add", post(add::<B>))
        .route("/account/remove", post(remove::<B>))
        .route("/account/password", post(password::<B>))
        .route("/account/list", post(list::<B>))
        .route("/backup", post(backup::<B>))
}

/// The route that every node has.
pub(super) fn drain<B: Backend>() -> Router<Arc<Shared<B>>> {
    Router::new().route("/drain", post(leave::<B>))
}

/// What an edge says to the rest.
pub(super) async fn elsewhere() -> Response {
    let text = "this is an edge: it has no accounts and no slots; ask the port of an origin";
    error(StatusCode::NOT_FOUND, text)
}

/// An answer that says what is wrong.
pub(super) fn error(status: StatusCode, text: &str) -> Response {
    let problem = Problem {
        error: text.to_owned(),
    };
    (status, Json(problem)).into_response()
}

async fn add<B: Accounts>(State(shared): State<Arc<Shared<B>>>, body: Bytes) -> Answer {
    let Credentials { jid, password } = read(&body)?;
    let account = account(&jid)?;
    shared.backend.add(account.clone(), password).await?;
    tracing::info!(%account, "account added");
    Ok(StatusCode::CREATED.into_response())
}

async fn remove<B: Accounts>(State(shared): State<Arc<Shared<B>>>, body: Bytes) -> Answer {
    let Account { jid } = read(&body)?;
    let account = account(&jid)?;
    shared.backend.remove(account.clone()).await?;
    tracing::info!(%account, "account removed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn password<B: Accounts>(State(shared): State<Arc<Shared<B>>>, body: Bytes) -> Answer {
    let Credentials { jid, password } = read(&body)?;
    let account = account(&jid)?;
    shared
        .backend
        .set_password(account.clone(), password)
        .await?;
    tracing::info!(%account, "password changed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn list<B: Accounts>(State(shared): State<Arc<Shared<B>>>, body: Bytes) -> Answer {
    let page: Page = read(&body)?;
    let domains = shared.backend.domains();
    let mut accounts = Vec::new();
    if let Some(name) = page.domain {
        let domain = Jid::parse(&name).ok();
        let Some(domain) = domain.filter(|jid| domains.iter().any(|own| own == jid.as_str()))
        else {
            let text = format!("{name:?} is not one of the domains of this server");
            return Err(Refusal::Unknown(text));
        };
        let max = page.max.unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let listed = shared.backend.list(domain, page.after, max).await?;
        accounts.extend(listed.iter().map(|jid| jid.as_str().to_owned()));
    }
    Ok(Json(Listed { domains, accounts }).into_response())
}

async fn backup<B: Accounts>(State(shared): State<Arc<Shared<B>>>, body: Bytes) -> Answer {
    let Backup { directory } = read(&body)?;
    if !directory.is_absolute() {
        let text = "the directory must be an absolute path".to_owned();
        return Err(Refusal::Malformed(text));
    }
    shared.backend.backup(directory.clone()).await?;
    tracing::info!(directory = %directory.display(), "backup written");
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn leave<B: Backend>(State(shared): State<Arc<Shared<B>>>, body: Bytes) -> Answer {
    let Drain { undo } = read(&body)?;
    let text = shared.backend.drain(undo).await?;
    tracing::info!(undo, "an operator asked for a drain");
    Ok(Json(Told { text }).into_response())
}

/// Reads the body of a request.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|wrong| Refusal::Malformed(format!("the request cannot be read: {wrong}")))
}

/// The address of an account: local part and domain, nothing else.
pub(super) fn account(text: &str) -> Result<Jid, Refusal> {
    let wrong = |why: &str| Refusal::Malformed(format!("{text:?} {why}"));
    let jid = Jid::parse(text).map_err(|_| wrong("is not an address"))?;
    if jid.local().is_none() {
        return Err(wrong(
            "has no name before the domain, as in romeo@example.org",
        ));
    }
    if jid.resource().is_some() {
        return Err(wrong(
            "names a resource; an account is only what stands before the slash",
        ));
    }
    Ok(jid)
}

// === impl Refusal ===

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        error(status, &self.to_string())
    }
}
