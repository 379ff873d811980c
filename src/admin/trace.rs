//! Trace: the stanzas of an account as they pass, for an operator who looks on.
//!
//! `POST /trace` begins, and stands in the audit log; `GET /trace` tells what has passed since, and
//! waits a moment when that is nothing. Whoever does not ask for fifteen seconds has to begin
//! again, and so has everybody when the account goes to another origin.
//!
//! What stands in the stanzas is told only to a token with `bodies = true`.

use axum::http::Method;
use couplet_proto::Jid;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Cluster;
use super::ask::Ask;
use super::operation::{Answer, Operation, Reach, told};
use super::refusal::Refusal;
use crate::config::Scope;

/// Whose stanzas to trace.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TraceBegin {
    /// An account, or the full address of one of its sessions.
    pub(crate) jid: String,
    /// Whether stanzas are told whole; needs a token with `bodies = true`.
    #[serde(default)]
    pub(crate) bodies: bool,
}

/// What has passed since.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct TraceSince {
    /// As when it was begun.
    pub(crate) jid: String,
    /// `cursor` of the answer before.
    pub(crate) cursor: String,
    /// Whether stanzas are told whole, if that was so when it was begun.
    #[serde(default)]
    pub(crate) bodies: bool,
}

/// A question for the owner of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AskTrace {
    /// Whose stanzas.
    pub(crate) jid: String,
    /// Since when; `None` begins.
    pub(crate) cursor: Option<String>,
    /// Whether stanzas are told whole.
    pub(crate) bodies: bool,
}

/// Stanzas that have passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Traced {
    /// Where to go on; `null` when the trace has ended: begin again. Between the two, stanzas may
    /// have passed unseen.
    pub(crate) cursor: Option<String>,
    /// How many have passed that are not kept any more, because more came than were asked for.
    pub(crate) skipped: u64,
    /// The others, in order.
    pub(crate) stanzas: Vec<TracedStanza>,
}

/// A stanza that has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TracedStanza {
    /// When, as in XEP-0082.
    pub(crate) time: String,
    /// Which way.
    pub(crate) way: TracedWay,
    /// The session's full address; of a stanza that no session gets, whom it was for.
    pub(crate) session: String,
    /// `message`, `presence` or `iq`.
    pub(crate) kind: String,
    /// Its type; the default one is named too.
    #[serde(rename = "type")]
    pub(crate) type_: String,
    /// Its id.
    pub(crate) id: Option<String>,
    /// Its sender; `null` where a client leaves that to the server.
    pub(crate) from: Option<String>,
    /// Its receiver; `null` for the account itself, and where many get the same.
    pub(crate) to: Option<String>,
    /// About how many bytes it has.
    pub(crate) size: usize,
    /// Its children.
    pub(crate) children: Vec<TracedChild>,
    /// All of it, when that was asked for and may be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) xml: Option<String>,
}

/// The way of a stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TracedWay {
    /// The session sent it.
    FromSession,
    /// The session gets it.
    ToSession,
    /// It came for the account, and none of its sessions gets it: it is answered, kept for later,
    /// refused or dropped.
    ForAccount,
}

/// A child of a stanza.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TracedChild {
    /// Its name.
    pub(crate) name: String,
    /// Its namespace.
    pub(crate) ns: String,
}

/// What a node that owns accounts answers about their stanzas.
pub(super) fn operations<B: Cluster>() -> Vec<Operation<B>> {
    vec![
        Operation::new(Method::POST, "trace_begin", "/trace", begin)
            .says("Begins to trace the stanzas of an account or session")
            .reaches(Reach::Domain)
            .takes::<TraceBegin>()
            .gives::<Traced>(),
        Operation::get("trace", "/trace", since)
            .says("What has passed since, waiting about a second for something")
            .reaches(Reach::Domain)
            .asks::<TraceSince>()
            .gives::<Traced>(),
    ]
}

async fn begin<B: Cluster>(ask: Ask<B>) -> Answer {
    let TraceBegin { jid, bodies } = ask.body()?;
    trace(&ask, &jid, None, bodies).await
}

async fn since<B: Cluster>(ask: Ask<B>) -> Answer {
    let TraceSince {
        jid,
        cursor,
        bodies,
    } = ask.query()?;
    if ask.caller.scope == Scope::ReadOnly {
        // It cannot have begun.
        return Err(ask.forbidden("the scope server or domain"));
    }
    trace(&ask, &jid, Some(cursor), bodies).await
}

async fn trace<B: Cluster>(
    ask: &Ask<B>,
    jid: &str,
    cursor: Option<String>,
    bodies: bool,
) -> Answer {
    if bodies {
        // Before the address is: the audit log says what was asked for.
        ask.name(format!("{jid} with bodies"));
        if !ask.caller.sees_bodies {
            return Err(ask.forbidden("the scope server and bodies = true"));
        }
    }
    let (backend, jid) = ask.session(jid)?;
    if jid.local().is_none() {
        let text = format!("{jid} is not an account: use name@domain, or a full address");
        return Err(Refusal::Malformed(text));
    }
    let asked = AskTrace {
        jid: Jid::as_str(&jid).to_owned(),
        cursor,
        bodies,
    };
    told(&backend.trace(asked).await?)
}
