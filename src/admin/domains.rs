//! Domains: what is served, and what is added to that while the server runs.

use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use couplet_proto::Jid;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::Ask;
use super::operation::{Answer, Operation, Reach, done, told};
use super::{Orders, Removal};

/// A domain of accounts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Domain {
    /// What stands behind the @.
    pub(crate) name: String,
    /// Whether it is in the configuration, and so cannot be removed while the server runs.
    #[serde(default)]
    pub(crate) is_configured: bool,
}

/// Domains.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct Domains {
    /// Those of the configuration first, as they are there.
    pub(crate) domains: Vec<Domain>,
}

/// What becomes of the accounts of a domain.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct How {
    /// Remove it although it has accounts: they stay in the store, and are there again when the
    /// domain is added again.
    #[serde(default)]
    force: bool,
    /// Remove its accounts first, with everything they have.
    #[serde(default)]
    accounts: bool,
}

/// What a node with accounts answers about domains.
pub(super) fn operations<B: Orders>() -> Vec<Operation<B>> {
    vec![
        Operation::get("domain_list", "/domains", list)
            .says("The domains of accounts; of a token of the scope domain its own")
            .reaches(Reach::Domain)
            .gives::<Domains>(),
        Operation::new(Method::PUT, "domain_add", "/domains/{domain}", add)
            .says("Serves one more domain, on every node within seconds")
            .answers(StatusCode::CREATED),
        Operation::new(Method::DELETE, "domain_remove", "/domains/{domain}", remove)
            .says("Serves a domain no longer that was added; its sessions end")
            .asks::<How>(),
    ]
}

async fn list<B: Orders>(ask: Ask<B>) -> Answer {
    let own = ask.confined();
    let backend = ask.node();
    let mut domains = backend.domains();
    domains.retain(|domain| own.is_none_or(|own| own.contains(domain)));
    let domains = domains.into_iter().map(|name| Domain {
        is_configured: Jid::parse(&name).is_ok_and(|domain| backend.is_configured(&domain)),
        name,
    });
    told(&Domains {
        domains: domains.collect(),
    })
}

async fn add<B: Orders>(ask: Ask<B>) -> Answer {
    let (backend, domain) = ask.domain(ask.part("domain")?)?;
    backend.add_domain(domain, &ask.caller.name).await?;
    Ok(StatusCode::CREATED.into_response())
}

async fn remove<B: Orders>(ask: Ask<B>) -> Answer {
    let (backend, domain) = ask.domain(ask.part("domain")?)?;
    let removal = match ask.query()? {
        How { accounts: true, .. } => Removal::WithAccounts,
        How { force: true, .. } => Removal::Forced,
        How { .. } => Removal::Empty,
    };
    backend
        .remove_domain(domain, removal, &ask.caller.name)
        .await?;
    done()
}
