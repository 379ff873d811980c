//! Node: what every node answers: how it is, what it was told, and that it has to leave.

use axum::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Backend;
use super::ask::Ask;
use super::operation::{Answer, Operation, Reach, told};
use crate::config::Shown;

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Health {
    /// The name of the node.
    pub(crate) node: String,
    /// `serve`, `edge` or `origin`.
    pub(crate) role: String,
    /// The version of the program.
    pub(crate) version: String,
    /// Whether clients can log in here, or by way of this node: as `/readyz` says.
    pub(crate) is_ready: bool,
    /// Whether it is leaving.
    pub(crate) is_draining: bool,
    /// How many slots it owns; of an edge `null`.
    pub(crate) slots: Option<u32>,
    /// How many sessions it holds; of an edge `null`.
    pub(crate) sessions: Option<u64>,
    /// How many clients are connected to it; of an origin `null`.
    pub(crate) connections: Option<u64>,
    /// How many origins it has a link to; of the others `null`.
    pub(crate) origins: Option<u64>,
}

/// A sentence for the operator.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Told {
    /// What happens now.
    pub(crate) text: String,
}

/// Which settings to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Only keys that begin so: `limits` or `admin.listen`.
    prefix: Option<String>,
}

/// Settings, and where they came from.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Configuration {
    /// In the order of their keys.
    pub(crate) config: Vec<Shown>,
}

/// What every node answers.
pub(super) fn operations<B: Backend>() -> Vec<Operation<B>> {
    vec![
        Operation::get("health", "/health", health)
            .says("How this node is")
            .reaches(Reach::Anybody)
            .gives::<Health>(),
        Operation::get("config", "/config", config)
            .says("The settings of this node that are in force, and where each came from")
            .asks::<Which>()
            .gives::<Configuration>(),
        Operation::new(Method::POST, "drain", "/drain", drain)
            .says("Makes this node leave: an origin gives its slots away, an edge its clients")
            .gives::<Told>()
            .answers(StatusCode::ACCEPTED),
        Operation::new(Method::POST, "drain_undo", "/drain/undo", undo)
            .says("Lets an origin that is leaving take its share of the slots again")
            .gives::<Told>()
            .answers(StatusCode::ACCEPTED),
    ]
}

async fn health<B: Backend>(ask: Ask<B>) -> Answer {
    told(&ask.node().health().await)
}

async fn config<B: Backend>(ask: Ask<B>) -> Answer {
    let Which { prefix } = ask.query()?;
    ask.server()?;
    let shown = ask.shared.access.shown();
    let config = shown
        .iter()
        .filter(|shown| prefix.as_deref().is_none_or(|key| shown.is_within(key)));
    told(&Configuration {
        config: config.cloned().collect(),
    })
}

async fn drain<B: Backend>(ask: Ask<B>) -> Answer {
    leave(&ask, false).await
}

async fn undo<B: Backend>(ask: Ask<B>) -> Answer {
    leave(&ask, true).await
}

async fn leave<B: Backend>(ask: &Ask<B>, undo: bool) -> Answer {
    let text = ask.server()?.drain(undo).await?;
    let mut response = told(&Told { text })?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
