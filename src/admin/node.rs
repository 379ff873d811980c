//! Node: what every node answers: how it is, what it was told, and that it has to leave.

use axum::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::Ask;
use super::operation::{Answer, Operation, Reach, told};
use super::{Access, Backend, Refusal};
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

/// What is asked of a node, by whichever one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum AskNode {
    /// How it is.
    Health,
    /// Its settings whose keys begin so.
    Config(String),
    /// To leave, or to stay after all.
    Drain {
        /// To stay.
        undo: bool,
    },
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NodeTold {
    /// How it is.
    Health(Health),
    /// Its settings.
    Config(Vec<Shown>),
    /// What happens now.
    Drain(String),
}

/// A sentence for the operator.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Told {
    /// What happens now.
    pub(crate) text: String,
}

/// Which node is meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Which {
    /// The origin of this name, asked by way of this one; without it this node itself.
    node: Option<String>,
}

/// Which settings to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct WhichSettings {
    /// Of the origin of this name, asked by way of this one; without it of this node itself.
    node: Option<String>,
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
            .says("How a node is")
            .reaches(Reach::Anybody)
            .asks::<Which>()
            .gives::<Health>(),
        Operation::get("config", "/config", config)
            .says("The settings of a node that are in force, and where each came from")
            .asks::<WhichSettings>()
            .gives::<Configuration>(),
        Operation::new(Method::POST, "drain", "/drain", drain)
            .says("Makes a node leave: an origin gives its slots away, an edge its clients")
            .asks::<Which>()
            .gives::<Told>()
            .answers(StatusCode::ACCEPTED),
        Operation::new(Method::POST, "drain_undo", "/drain/undo", undo)
            .says("Lets an origin that is leaving take its share of the slots again")
            .asks::<Which>()
            .gives::<Told>()
            .answers(StatusCode::ACCEPTED),
    ]
}

async fn health<B: Backend>(ask: Ask<B>) -> Answer {
    let Which { node } = ask.query()?;
    match at(ask.node(), &ask.shared.access, node, AskNode::Health).await? {
        NodeTold::Health(health) => told(&health),
        other => Err(strange(&other)),
    }
}

async fn config<B: Backend>(ask: Ask<B>) -> Answer {
    let WhichSettings { node, prefix } = ask.query()?;
    let question = AskNode::Config(prefix.unwrap_or_default());
    match at(ask.server()?, &ask.shared.access, node, question).await? {
        NodeTold::Config(config) => told(&Configuration { config }),
        other => Err(strange(&other)),
    }
}

async fn drain<B: Backend>(ask: Ask<B>) -> Answer {
    leave(&ask, false).await
}

async fn undo<B: Backend>(ask: Ask<B>) -> Answer {
    leave(&ask, true).await
}

async fn leave<B: Backend>(ask: &Ask<B>, undo: bool) -> Answer {
    let Which { node } = ask.query()?;
    let backend = ask.server()?;
    ask.name(node.as_deref().unwrap_or_else(|| backend.name()));
    let question = AskNode::Drain { undo };
    let text = match at(backend, &ask.shared.access, node, question).await? {
        NodeTold::Drain(text) => text,
        other => return Err(strange(&other)),
    };
    let mut response = told(&Told { text })?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Asks the node that is meant, here or elsewhere.
async fn at<B: Backend>(
    backend: &B,
    access: &Access,
    node: Option<String>,
    question: AskNode,
) -> Result<NodeTold, Refusal> {
    match node {
        Some(node) if node != backend.name() => backend.ask_node(&node, question).await,
        _ => here(backend, access, question).await,
    }
}

/// Answers for this node.
pub(crate) async fn here<B: Backend>(
    backend: &B,
    access: &Access,
    question: AskNode,
) -> Result<NodeTold, Refusal> {
    Ok(match question {
        AskNode::Health => NodeTold::Health(backend.health().await),
        AskNode::Config(prefix) => {
            let shown = access.shown();
            let shown = shown.iter().filter(|shown| shown.is_within(&prefix));
            NodeTold::Config(shown.cloned().collect())
        }
        AskNode::Drain { undo } => NodeTold::Drain(backend.drain(undo).await?),
    })
}

fn strange(told: &NodeTold) -> Refusal {
    Refusal::Unavailable(format!("the node answers something else: {told:?}"))
}
