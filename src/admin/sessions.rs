//! Sessions: who is connected where, or asleep.

use axum::http::Method;
use couplet_proto::Jid;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::Ask;
use super::operation::{Answer, Operation, Reach, told};
use super::{Cluster, PAGE_MAX, Refusal};

/// Which sessions to list.
#[derive(Debug, Clone, Serialize, Deserialize, Default, IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AskSessions {
    /// Of this account.
    pub(crate) jid: Option<String>,
    /// Of this domain. A token of the scope domain needs this or `jid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) domain: Option<String>,
    /// Held by the origin of this name.
    pub(crate) node: Option<String>,
    /// After this full address: `next` of the page before.
    pub(crate) after: Option<String>,
    /// At most this many; never more than 1000.
    pub(crate) max: Option<usize>,
}

/// A bound resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Session {
    /// Its full address.
    pub(crate) jid: String,
    /// The name of the origin that holds it.
    pub(crate) node: String,
    /// The name of the edge its client is connected to; `None` while it sleeps.
    pub(crate) edge: Option<String>,
    /// Since when it has been so, in seconds since 1970.
    pub(crate) since: u64,
    /// Whether it can be resumed.
    pub(crate) is_resumable: bool,
}

/// Some sessions.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct SessionPage {
    /// In order of their addresses.
    pub(crate) sessions: Vec<Session>,
    /// Where the next page begins; `null` after the last one.
    pub(crate) next: Option<String>,
}

/// How sessions are ended.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Kick {
    /// Why, for the audit log.
    reason: Option<String>,
}

/// What came of ending sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Kicked {
    /// How many have ended.
    pub(crate) ended: u64,
    /// Whether there was no time to end all of a domain: ask again.
    pub(crate) are_left: bool,
}

/// What a node that holds sessions answers about them.
pub(super) fn operations<B: Cluster>() -> Vec<Operation<B>> {
    vec![
        Operation::get("session_list", "/sessions", list)
            .says("Sessions of the whole cluster, page by page")
            .reaches(Reach::Domain)
            .asks::<AskSessions>()
            .gives::<SessionPage>(),
        Operation::new(Method::DELETE, "session_kick", "/sessions/{jid}", kick)
            .says("Ends the session of a full address, or all of an account or a domain")
            .reaches(Reach::Domain)
            .asks::<Kick>()
            .gives::<Kicked>(),
    ]
}

async fn list<B: Cluster>(ask: Ask<B>) -> Answer {
    let mut which: AskSessions = ask.query()?;
    let mut backend = None;
    // As addresses are compared.
    if let Some(domain) = &mut which.domain {
        let (some, jid) = ask.domain(domain)?;
        *domain = jid.as_str().to_owned();
        backend = Some(some);
    }
    if let Some(account) = &mut which.jid {
        let (some, jid) = ask.account(account)?;
        *account = jid.as_str().to_owned();
        backend = Some(some);
    }
    let backend = match backend {
        Some(backend) => backend,
        None => ask.server()?,
    };
    let max = which.max.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    which.max = Some(max);
    let sessions = backend.sessions(which).await?;
    let next = sessions.last().filter(|_| sessions.len() >= max);
    told(&SessionPage {
        next: next.map(|session| session.jid.clone()),
        sessions,
    })
}

async fn kick<B: Cluster>(ask: Ask<B>) -> Answer {
    let text = ask.part("jid")?;
    let Kick { reason } = ask.query()?;
    match &reason {
        Some(reason) => ask.name(format!("{text}: {reason}")),
        None => ask.name(text),
    }
    let wrong = |_| Refusal::Malformed(format!("{text:?} is not an address"));
    let jid = Jid::parse(text).map_err(wrong)?;
    let backend = match jid.local() {
        Some(_) => ask.account(jid.bare())?.0,
        None => ask.domain(jid.as_str())?.0,
    };
    told(&backend.kick(jid).await?)
}
