//! Bans: who is kept out, by address or by account.

use axum::Json;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use couplet_origin::clerk::Wanted;
use couplet_origin::directives::{self, Target};
use couplet_proto::Jid;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::Ask;
use super::operation::{Answer, Operation, Reach, done, told};
use super::{Orders, PAGE_MAX, Refusal};

/// Who is to be kept out.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBan {
    /// An address, a network such as `192.0.2.0/24`, or the bare address of an account.
    pub(crate) target: String,
    /// Why, for other operators; may be left out.
    #[serde(default)]
    pub(crate) reason: String,
    /// After how many seconds it ends by itself; may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secs: Option<u64>,
}

/// Who is kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Ban {
    /// An address, a network, or the bare address of an account.
    pub(crate) target: String,
    /// Why; may be empty.
    pub(crate) reason: String,
    /// The name of the token by which it was ordered, or `loopback`.
    pub(crate) by: String,
    /// Since when, in seconds since 1970.
    pub(crate) since: u64,
    /// When it ends by itself, in seconds since 1970; `null` for never.
    pub(crate) until: Option<u64>,
}

/// Some bans.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct BanPage {
    /// Those of networks first, each kind in order.
    pub(crate) bans: Vec<Ban>,
    /// Where the next page begins; `null` after the last one.
    pub(crate) next: Option<String>,
}

/// Which bans to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Which {
    /// After this target: `next` of the page before.
    after: Option<String>,
    /// At most this many; never more than 1000.
    max: Option<usize>,
}

/// What a node with accounts answers about bans.
pub(super) fn operations<B: Orders>() -> Vec<Operation<B>> {
    vec![
        Operation::get("ban_list", "/bans", list)
            .says("Bans in force; of a token of the scope domain those of its accounts")
            .reaches(Reach::Domain)
            .asks::<Which>()
            .gives::<BanPage>(),
        Operation::new(Method::POST, "ban_add", "/bans", add)
            .says("Keeps an address, a network or an account out, and ends what it has here")
            .reaches(Reach::Domain)
            .takes::<NewBan>()
            .gives::<Ban>()
            .answers(StatusCode::CREATED),
        Operation::new(Method::DELETE, "ban_remove", "/bans/{target}", remove)
            .says("Lets an address, a network or an account in again")
            .reaches(Reach::Domain),
    ]
}

async fn list<B: Orders>(ask: Ask<B>) -> Answer {
    let Which { after, max } = ask.query()?;
    let after = after.map(|text| target(&text)).transpose()?;
    let max = max.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let own = ask.confined();
    let mut bans = ask.node().bans();
    bans.retain(|ban| {
        let is_own = own.is_none_or(|own| is_of(&ban.target, own));
        is_own && after.as_ref().is_none_or(|after| ban.target > *after)
    });
    let are_more = bans.len() > max;
    bans.truncate(max);
    let bans: Vec<Ban> = bans.iter().map(shown).collect();
    let next = bans.last().filter(|_| are_more);
    told(&BanPage {
        next: next.map(|ban| ban.target.clone()),
        bans,
    })
}

async fn add<B: Orders>(ask: Ask<B>) -> Answer {
    let NewBan {
        target,
        reason,
        secs,
    } = ask.body()?;
    let (backend, target) = about(&ask, &target)?;
    let wanted = Wanted {
        target,
        reason: reason.into(),
        by: ask.caller.name.as_str().into(),
        is_confined: ask.confined().is_some(),
        secs,
    };
    let ban = shown(&backend.ban(wanted).await?);
    let escaped = utf8_percent_encode(&ban.target, NON_ALPHANUMERIC);
    let location = [(header::LOCATION, format!("/api/v1/bans/{escaped}"))];
    Ok((StatusCode::CREATED, location, Json(ban)).into_response())
}

async fn remove<B: Orders>(ask: Ask<B>) -> Answer {
    let (backend, target) = about(&ask, ask.part("target")?)?;
    let is_confined = ask.confined().is_some();
    backend.lift(target, &ask.caller.name, is_confined).await?;
    done()
}

/// The backend, for what concerns a target, and the target as they are compared.
fn about<'a, B>(ask: &'a Ask<B>, text: &str) -> Result<(&'a B, Target), Refusal> {
    ask.name(text);
    let target = target(text)?;
    let backend = match &target {
        Target::Account(jid) => ask.account(jid.as_str())?.0,
        Target::Network(_) => ask.server()?,
    };
    Ok((backend, target))
}

fn target(text: &str) -> Result<Target, Refusal> {
    Target::parse(text).map_err(|wrong| Refusal::Malformed(format!("{text:?} {wrong}")))
}

/// Whether it concerns one of these domains and nobody else.
fn is_of(target: &Target, domains: &[String]) -> bool {
    let domain = match target {
        Target::Account(jid) => Jid::domain(jid),
        Target::Network(_) => return false,
    };
    domains.iter().any(|own| own == domain)
}

fn shown(ban: &directives::Ban) -> Ban {
    Ban {
        target: ban.target.to_string(),
        reason: ban.reason.to_string(),
        by: ban.by.to_string(),
        since: ban.since / 1000,
        until: ban.until.map(|until| until.div_ceil(1000)),
    }
}
