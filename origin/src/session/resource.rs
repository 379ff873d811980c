//! Resources: names, conflicts, limits (RFC 6120 §7).

use couplet_proto::Jid;
use couplet_proto::xmpp::error::{Condition, ErrorType, StanzaError};
use couplet_proto::{Element, xmpp::ns};

use super::Account;

/// The full address for a request to bind, prepared; `fallback` is the resource for a client that
/// leaves the choice to the server.
///
/// # Errors
/// `bad-request` when the wish cannot be prepared (RFC 6120 §7.7.2.1); `resource-constraint` when
/// the account has as many sessions as it may and the wish would add one (§7.6.2.1).
pub fn choose(
    account: &Account,
    wish: Option<&str>,
    fallback: &str,
    sessions_max: u32,
) -> Result<Jid, StanzaError> {
    let resource = wish.unwrap_or(fallback);
    let jid = account.jid.with_resource(resource).map_err(|_| {
        StanzaError::from(Condition::BadRequest).with_text("this resource is not allowed")
    })?;
    let replaces = account.session_of(&jid).is_some();
    let sessions = u32::try_from(account.sessions.len()).unwrap_or(u32::MAX);
    if !replaces && sessions >= sessions_max {
        let limit = Element::new("resource-limit-exceeded", ns::ERRORS);
        return Err(StanzaError::from(Condition::ResourceConstraint)
            .with_type(ErrorType::Wait)
            .with_application(limit));
    }
    Ok(jid)
}
