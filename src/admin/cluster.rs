//! Cluster: what `couplet ctl` asks about nodes. JSON as in [`super::api`].
//!
//! | `POST /api/v1/…` | request | answer |
//! |---|---|---|
//! | `nodes` | | `nodes` |
//! | `slots` | | `slots`: ranges, in order |
//! | `sessions` | `jid`, `node`, `after`, `max`: all optional | `sessions` |
//! | `pins/list` | | `pins` |
//! | `pins/set` | `first`, `last`, `group` | 204 |
//! | `pins/clear` | `first`, `last` | 204 |

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use couplet_proto::slot::SLOTS;
use serde::{Deserialize, Serialize};

use super::api::{Answer, account, read};
use super::{Cluster, PAGE_MAX, Refusal, Shared};

/// A request that says nothing.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Empty {}

/// Whether to leave, or to stay after all.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Drain {
    /// To stay after all.
    pub(crate) undo: bool,
}

/// A sentence for the operator.
#[derive(Serialize, Deserialize)]
pub(crate) struct Told {
    /// What happens now.
    pub(crate) text: String,
}

/// An origin as the others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Its name, which a restart keeps.
    pub(crate) name: String,
    /// How it is.
    pub(crate) state: NodeState,
    /// Where the other nodes reach it; empty when there are no others.
    pub(crate) address: String,
    /// The group of origins it belongs to; may be empty.
    pub(crate) group: String,
    /// Its share, relative to the others.
    pub(crate) weight: u32,
    /// How many slots it owns.
    pub(crate) slots: u32,
    /// How many sessions it holds; `None` when it does not say.
    pub(crate) sessions: Option<u64>,
    /// Milliseconds since it last renewed its lease; `None` when there are no leases.
    pub(crate) lease_age_millis: Option<i64>,
}

/// How an origin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodeState {
    /// It renews its lease.
    Alive,
    /// It does, and gives its slots away.
    Draining,
    /// It does not: others take its slots.
    Silent,
}

/// Every origin there is.
#[derive(Serialize, Deserialize)]
pub(crate) struct Nodes {
    /// In order of their names.
    pub(crate) nodes: Vec<Node>,
}

/// A range of slots of which the same is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slots {
    /// The first.
    pub(crate) first: u16,
    /// The last.
    pub(crate) last: u16,
    /// The name of the owner, if there is one.
    pub(crate) owner: Option<String>,
    /// At which epoch it owns them.
    pub(crate) epoch: u64,
    /// How they are.
    pub(crate) state: SlotState,
    /// Who should own them, if that is another.
    pub(crate) target: Option<String>,
}

/// How a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SlotState {
    /// Its owner lives and should own it.
    Owned,
    /// Its owner lives and another should own it.
    Moving,
    /// It has no owner that lives.
    Unowned,
}

/// Who owns what.
#[derive(Serialize, Deserialize)]
pub(crate) struct SlotsTold {
    /// In order, without gaps.
    pub(crate) slots: Vec<Slots>,
}

/// Which sessions to list.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AskSessions {
    /// Of this account.
    pub(crate) jid: Option<String>,
    /// Held by the origin of this name.
    pub(crate) node: Option<String>,
    /// After this full address.
    pub(crate) after: Option<String>,
    /// At most this many; never more than [`PAGE_MAX`].
    pub(crate) max: Option<usize>,
}

/// A bound resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Serialize, Deserialize)]
pub(crate) struct Sessions {
    /// In order of their addresses; fewer than asked for after the last one.
    pub(crate) sessions: Vec<Session>,
}

/// A range of slots held to a group of origins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    /// The first slot.
    pub(crate) first: u16,
    /// The last.
    pub(crate) last: u16,
    /// The group (`cluster.group`).
    pub(crate) group: String,
}

/// A range of slots held to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unpin {
    /// The first slot.
    pub(crate) first: u16,
    /// The last.
    pub(crate) last: u16,
}

/// Every pin there is.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pins {
    /// In order of their slots.
    pub(crate) pins: Vec<Pin>,
}

/// The routes below `/api/v1` about nodes.
pub(super) fn router<B: Cluster>() -> Router<Arc<Shared<B>>> {
    Router::new()
        .route("/nodes", post(nodes::<B>))
        .route("/slots", post(slots::<B>))
        .route("/sessions", post(sessions::<B>))
        .route("/pins/list", post(pins::<B>))
        .route("/pins/set", post(set_pin::<B>))
        .route("/pins/clear", post(clear_pins::<B>))
}

async fn nodes<B: Cluster>(State(shared): State<Arc<Shared<B>>>, body: Bytes) -> Answer {
    let Empty {} = read(&body)?;
    let mut nodes = shared.backend.nodes().await?;
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Json(Nodes { nodes }).into_response())
}

async fn slots<B: Cluster>(State(shared): State<Arc<Shared<B>>>, body: Bytes) -> Answer {
    let Empty {} = read(&body)?;
    let slots = shared.backend.slots().await?;
    Ok(Json(SlotsTold { slots }).into_response())
}

async fn sessions<B: Cluster>(State(shared): State<Arc<Shared<B>>>, body: Bytes) -> Answer {
    let mut ask: AskSessions = read(&body)?;
    if let Some(jid) = &mut ask.jid {
        // As addresses are compared.
        *jid = account(jid)?.as_str().to_owned();
    }
    ask.max = Some(ask.max.unwrap_or(PAGE_MAX).min(PAGE_MAX));
    let sessions = shared.backend.sessions(ask).await?;
    Ok(Json(Sessions { sessions }).into_response())
}

async fn pins<B: Cluster>(State(shared): State<Arc<Shared<B>>>, body: Bytes) -> Answer {
    let Empty {} = read(&body)?;
    let mut pins = shared.backend.pins().await?;
    pins.sort_by_key(|pin| pin.first);
    Ok(Json(Pins { pins }).into_response())
}

async fn set_pin<B: Cluster>(State(shared): State<Arc<Shared<B>>>, body: Bytes) -> Answer {
    let pin: Pin = read(&body)?;
    let (first, last) = (pin.first, pin.last);
    check(first, last)?;
    if pin.group.is_empty() {
        let text = "the group is empty: to hold slots to nobody, clear them".to_owned();
        return Err(Refusal::Malformed(text));
    }
    let mut pins = without(shared.backend.pins().await?, first, last);
    let group = pin.group.clone();
    pins.push(pin);
    shared.backend.set_pins(pins).await?;
    tracing::info!(first, last, group, "slots pinned");
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn clear_pins<B: Cluster>(State(shared): State<Arc<Shared<B>>>, body: Bytes) -> Answer {
    let Unpin { first, last } = read(&body)?;
    check(first, last)?;
    let pins = without(shared.backend.pins().await?, first, last);
    shared.backend.set_pins(pins).await?;
    tracing::info!(first, last, "slots not pinned any more");
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn check(first: u16, last: u16) -> Result<(), Refusal> {
    if first <= last && last < SLOTS {
        return Ok(());
    }
    let max = SLOTS - 1;
    let text = format!("{first}-{last} is not a range of slots: they go from 0 to {max}");
    Err(Refusal::Malformed(text))
}

/// Pins with a hole where nothing is pinned.
fn without(pins: Vec<Pin>, first: u16, last: u16) -> Vec<Pin> {
    let mut left = Vec::new();
    for pin in pins {
        if pin.first < first {
            let last = pin.last.min(first - 1);
            left.push(Pin {
                last,
                ..pin.clone()
            });
        }
        if pin.last > last {
            let first = pin.first.max(last + 1);
            left.push(Pin { first, ..pin });
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_pin_cuts_the_ones_below_it() {
        let pin = |first, last, group: &str| Pin {
            first,
            last,
            group: group.to_owned(),
        };
        let pins = vec![pin(0, 9, "a"), pin(10, 19, "b"), pin(30, 39, "c")];
        let cut = without(pins.clone(), 5, 34);
        assert_eq!(cut, [pin(0, 4, "a"), pin(35, 39, "c")]);
        let cut = without(pins.clone(), 12, 13);
        let parts = [
            pin(0, 9, "a"),
            pin(10, 11, "b"),
            pin(14, 19, "b"),
            pin(30, 39, "c"),
        ];
        assert_eq!(cut, parts);
        assert_eq!(without(pins.clone(), 20, 29), pins);
        assert_eq!(without(pins, 0, SLOTS - 1), []);
    }
}
