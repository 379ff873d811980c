//! Accounts: who has one; and a copy of all of it.

use std::path::PathBuf;

use axum::Json;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use couplet_proto::Jid;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::Ask;
use super::operation::{Answer, Operation, Reach, done, told};
use super::{Accounts, PAGE_MAX, Refusal};

/// An account and its password.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAccount {
    /// The bare address.
    pub(crate) jid: String,
    /// In plain: only its keys are stored.
    pub(crate) password: String,
}

/// A password.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Password {
    /// In plain: only its keys are stored.
    pub(crate) password: String,
}

/// An account.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Account {
    /// The bare address.
    pub(crate) jid: String,
}

/// Which accounts to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Of this domain.
    domain: String,
    /// After this local part: `next` of the page before.
    after: Option<String>,
    /// At most this many; never more than 1000.
    max: Option<usize>,
}

/// Some accounts of a domain.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct AccountPage {
    /// In order of their local parts.
    pub(crate) accounts: Vec<Account>,
    /// Where the next page begins; `null` after the last one.
    pub(crate) next: Option<String>,
}

/// Where a copy goes.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backup {
    /// An absolute path on the server's machine.
    #[schema(value_type = String)]
    pub(crate) directory: PathBuf,
}

/// What a node with accounts answers about them.
pub(super) fn operations<B: Accounts>() -> Vec<Operation<B>> {
    vec![
        Operation::get("account_list", "/accounts", list)
            .says("Accounts of a domain, page by page")
            .reaches(Reach::Domain)
            .asks::<Which>()
            .gives::<AccountPage>(),
        Operation::new(Method::POST, "account_add", "/accounts", add)
            .says("Makes an account")
            .reaches(Reach::Domain)
            .takes::<NewAccount>()
            .gives::<Account>()
            .answers(StatusCode::CREATED),
        Operation::new(Method::DELETE, "account_remove", "/accounts/{jid}", remove)
            .says("Removes an account and everything it has; its sessions end")
            .reaches(Reach::Domain),
        Operation::new(
            Method::PUT,
            "account_set_password",
            "/accounts/{jid}/password",
            set_password,
        )
        .says("Gives an account another password; its sessions stay")
        .reaches(Reach::Domain)
        .takes::<Password>(),
        Operation::new(Method::POST, "backup", "/backup", backup)
            .says("Copies all data into a folder on the server's machine")
            .takes::<Backup>(),
    ]
}

async fn list<B: Accounts>(ask: Ask<B>) -> Answer {
    let Which { domain, after, max } = ask.query()?;
    let (backend, domain) = ask.domain(&domain)?;
    if !backend.domains().iter().any(|own| own == domain.as_str()) {
        let text = format!("{domain} is not one of the domains of this server");
        return Err(Refusal::Unknown(text));
    }
    let max = max.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let listed = backend.list(domain, after, max).await?;
    let next = listed.last().filter(|_| listed.len() == max);
    told(&AccountPage {
        next: next.and_then(Jid::local).map(str::to_owned),
        accounts: listed.iter().map(named).collect(),
    })
}

async fn add<B: Accounts>(ask: Ask<B>) -> Answer {
    let NewAccount { jid, password } = ask.body()?;
    let (backend, jid) = ask.account(&jid)?;
    backend.add(jid.clone(), password).await?;
    let escaped = utf8_percent_encode(jid.as_str(), NON_ALPHANUMERIC);
    let location = [(header::LOCATION, format!("/api/v1/accounts/{escaped}"))];
    Ok((StatusCode::CREATED, location, Json(named(&jid))).into_response())
}

async fn remove<B: Accounts>(ask: Ask<B>) -> Answer {
    let (backend, jid) = ask.account(ask.part("jid")?)?;
    backend.remove(jid).await?;
    done()
}

async fn set_password<B: Accounts>(ask: Ask<B>) -> Answer {
    let (backend, jid) = ask.account(ask.part("jid")?)?;
    let Password { password } = ask.body()?;
    backend.set_password(jid, password).await?;
    done()
}

async fn backup<B: Accounts>(ask: Ask<B>) -> Answer {
    let Backup { directory } = ask.body()?;
    ask.name(directory.display().to_string());
    let backend = ask.server()?;
    if !directory.is_absolute() {
        let text = "the directory must be an absolute path".to_owned();
        return Err(Refusal::Malformed(text));
    }
    backend.backup(directory).await?;
    done()
}

fn named(jid: &Jid) -> Account {
    Account {
        jid: jid.as_str().to_owned(),
    }
}
