//! Ask: one request that was let in, as its handler sees it.
//!
//! **Invariant:** a handler reaches the backend only by saying what it is about: the server as a
//! whole, a domain or an account. That is compared with the scope of the caller, after addresses
//! were prepared: however a name is spelt, the answer is the same. And it is written into the
//! audit log.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::Query;
use axum::http::Uri;
use couplet_proto::Jid;
use serde::de::DeserializeOwned;

use super::Shared;
use super::access::Caller;
use super::refusal::Refusal;
use crate::config::Scope;

/// A request.
pub(super) struct Ask<B> {
    pub(super) shared: Arc<Shared<B>>,
    pub(super) caller: Caller,
    pub(super) deed: Arc<Deed>,
    pub(super) uri: Uri,
    /// What stands in the path for `{…}`, decoded.
    pub(super) path: Vec<(String, String)>,
    pub(super) body: Bytes,
}

/// What the audit log will say of a request.
#[derive(Debug, Default)]
pub(super) struct Deed {
    /// The operation.
    pub(super) operation: OnceLock<&'static str>,
    /// What it is about.
    pub(super) subject: OnceLock<String>,
}

// === impl Ask ===

impl<B> Ask<B> {
    /// What stands in the path for `{name}`.
    pub(super) fn part(&self, name: &str) -> Result<&str, Refusal> {
        let found = self.path.iter().find(|(key, _)| key == name);
        let missing = || Refusal::Malformed(format!("there is no {name} in the path"));
        found.map(|(_, value)| value.as_str()).ok_or_else(missing)
    }

    /// What follows the `?`.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let read = Query::<T>::try_from_uri(&self.uri);
        let wrong = |wrong: axum::extract::rejection::QueryRejection| {
            Refusal::Malformed(format!("the query cannot be read: {}", root(&wrong)))
        };
        read.map(|Query(query)| query).map_err(wrong)
    }

    /// What was sent.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let wrong = |wrong| Refusal::Malformed(format!("the request cannot be read: {wrong}"));
        serde_json::from_slice(&self.body).map_err(wrong)
    }

    /// Says in the audit log what this is about. The first word counts.
    pub(super) fn name(&self, subject: impl Into<String>) {
        let _ = self.deed.subject.set(subject.into());
    }

    /// The backend, for what concerns no domain: facts about this node that anybody may know who
    /// has a token.
    pub(super) fn node(&self) -> &B {
        &self.shared.backend
    }

    /// The backend, for what concerns the server as a whole.
    pub(super) fn server(&self) -> Result<&B, Refusal> {
        match &self.caller.scope {
            Scope::Server | Scope::ReadOnly => Ok(&self.shared.backend),
            Scope::Domains(_) => Err(self.forbidden("the scope server")),
        }
    }

    /// The backend, for what concerns a domain, and the domain as addresses are compared.
    pub(super) fn domain(&self, text: &str) -> Result<(&B, Jid), Refusal> {
        self.name(text);
        let domain = Jid::parse(text).ok();
        let domain = domain.filter(|jid| jid.local().is_none() && jid.resource().is_none());
        let Some(domain) = domain else {
            return Err(Refusal::Malformed(format!("{text:?} is not a domain")));
        };
        self.may(&domain)?;
        Ok((&self.shared.backend, domain))
    }

    /// The backend, for what concerns an account, and its bare address as they are compared.
    pub(super) fn account(&self, text: &str) -> Result<(&B, Jid), Refusal> {
        self.name(text);
        let account = account(text)?;
        self.may(&account)?;
        Ok((&self.shared.backend, account))
    }

    /// The backend, for what concerns an account or one of its sessions, and the address as they
    /// are compared.
    pub(super) fn session(&self, text: &str) -> Result<(&B, Jid), Refusal> {
        self.name(text);
        let wrong = |_| Refusal::Malformed(format!("{text:?} is not an address"));
        let jid = Jid::parse(text).map_err(wrong)?;
        self.may(&jid)?;
        Ok((&self.shared.backend, jid))
    }

    /// The domains to which the caller is confined; `None` when to none.
    pub(super) fn confined(&self) -> Option<&[String]> {
        match &self.caller.scope {
            Scope::Domains(domains) => Some(domains),
            Scope::Server | Scope::ReadOnly => None,
        }
    }

    fn may(&self, jid: &Jid) -> Result<(), Refusal> {
        match self.confined() {
            Some(own) if !own.iter().any(|own| own == jid.domain()) => {
                let needed = format!("the scope server, or domain for {}", jid.domain());
                Err(self.forbidden(&needed))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn forbidden(&self, needed: &str) -> Refusal {
        forbidden(&self.caller, needed)
    }
}

/// Says which scope is needed, and which one there is.
pub(super) fn forbidden(caller: &Caller, needed: &str) -> Refusal {
    let Caller { name, scope, .. } = caller;
    Refusal::Forbidden(format!(
        "this needs a token with {needed}; the token {name:?} has {scope}"
    ))
}

/// The address of an account: local part and domain, nothing else.
fn account(text: &str) -> Result<Jid, Refusal> {
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

/// The innermost cause: the outer ones only say who passed it on.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
