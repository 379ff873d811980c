//! Access: who may use the API, and for what.
//!
//! | scope | what it opens |
//! |---|---|
//! | server | everything |
//! | read-only | everything that changes nothing |
//! | domain | accounts and sessions of its own domains |
//!
//! Where no token is configured, whoever is on this machine may do everything; the check of the
//! configuration refuses to listen beyond it then.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use axum::http::{HeaderMap, header};

use super::audit::{Audit, Event};
use super::strangers::{self, Strangers};
use crate::config::{Admin, Grant, Scope, Shown};
use crate::token::{self, Digest};

/// Who may ask what, where it is written down, and the configuration that says so.
pub(crate) struct Access {
    policy: ArcSwap<Policy>,
    shown: ArcSwap<Vec<Shown>>,
    pub(super) audit: Audit,
    strangers: Strangers,
}

/// What a reload replaces as a whole.
struct Policy {
    /// Names besides `localhost`, in lower case.
    hosts: Vec<String>,
    tokens: Vec<Token>,
}

/// A token, and whose it is.
struct Token {
    grant: Grant,
    /// `None` while its file has none: then it opens nothing, and yet the port is guarded.
    digest: Option<Digest>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The name of the token, or [`LOOPBACK`].
    pub(super) name: String,
    /// What it opens.
    pub(super) scope: Scope,
    /// Whether it opens what stands in stanzas too.
    pub(super) sees_bodies: bool,
}

/// Why nobody knows who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    /// There is no token in the request.
    Silent,
    /// There is one, and it is nobody's.
    Wrong,
}

/// Who asks where no token is configured.
pub(super) const LOOPBACK: &str = "loopback";

/// Keys that a reload changes, and sections of them.
const RELOADED: &[&str] = &[
    "admin.hosts",
    "admin.token_file",
    "admin.tokens.",
    "log.level",
];

// === impl Access ===

impl Access {
    /// What the configuration says.
    ///
    /// # Errors
    /// A file of a token or the audit log that cannot be used.
    pub(crate) fn new(admin: &Admin, shown: Vec<Shown>) -> Result<Self> {
        Ok(Self {
            policy: ArcSwap::from_pointee(Policy::read(admin)?),
            shown: ArcSwap::from_pointee(shown),
            audit: Audit::start(admin.audit_file.as_deref())?,
            strangers: Strangers::default(),
        })
    }

    /// What the configuration says now: tokens and names; the audit log is opened again.
    pub(crate) fn reload(&self, admin: &Admin, shown: Vec<Shown>) {
        self.audit.reopen();
        self.policy.store(Arc::new(Policy {
            hosts: hosts(admin),
            tokens: admin.grants.iter().map(Token::read_again).collect(),
        }));
        let is_reloaded = |shown: &Shown| RELOADED.iter().any(|key| shown.is_within(key));
        let before = self.shown.load();
        let mut after: Vec<Shown> = shown.into_iter().filter(is_reloaded).collect();
        after.extend(before.iter().filter(|shown| !is_reloaded(shown)).cloned());
        after.sort_by(|a, b| a.key.cmp(&b.key));
        self.shown.store(Arc::new(after));
    }

    /// Reads the tokens again that are in force, for when the configuration has mistakes: whoever
    /// takes a token away must not have to mend those first.
    pub(crate) fn reload_tokens(&self) {
        self.audit.reopen();
        let policy = self.policy.load();
        let tokens = policy.tokens.iter();
        self.policy.store(Arc::new(Policy {
            hosts: policy.hosts.clone(),
            tokens: tokens
                .map(|token| Token::read_again(&token.grant))
                .collect(),
        }));
    }

    /// Writes down that somebody was refused whom nobody knows, or counts it for a line that sums
    /// up a second.
    pub(super) fn tell_stranger(self: &Arc<Self>, from: Option<SocketAddr>, event: &Event<'_>) {
        let Some(key) = self.strangers.count(from) else {
            return;
        };
        self.audit.tell(event);
        let (access, operation) = (Arc::clone(self), "-");
        let (outcome, status) = (event.outcome.to_owned(), event.status);
        // As many as there are addresses to count.
        tokio::spawn(async move {
            tokio::time::sleep(strangers::WINDOW).await;
            let more = access.strangers.forget(key);
            if more > 0 {
                access.audit.tell(&Event {
                    who: "nobody",
                    from: &key.to_string(),
                    operation,
                    subject: &format!("{more} more within a second"),
                    outcome: &outcome,
                    status,
                });
            }
        });
    }

    /// Waits a little for the audit log to be written.
    pub(crate) fn close(&self) {
        self.audit.close();
    }

    /// The configuration in force.
    pub(super) fn shown(&self) -> Arc<Vec<Shown>> {
        self.shown.load_full()
    }

    /// Whether the port may be asked under this name, which is in lower case.
    pub(super) fn knows_host(&self, host: &str) -> bool {
        self.policy.load().hosts.iter().any(|ours| ours == host)
    }

    /// Who asks.
    pub(super) fn identify(
        &self,
        headers: &HeaderMap,
        from: Option<SocketAddr>,
    ) -> Result<Caller, Stranger> {
        let policy = self.policy.load();
        if policy.tokens.is_empty() {
            // Nobody else should be able to connect; if somebody can, nothing is open.
            return match from {
                Some(from) if from.ip().to_canonical().is_loopback() => Ok(Caller {
                    name: LOOPBACK.to_owned(),
                    scope: Scope::Server,
                    // That is asked for by name.
                    sees_bodies: false,
                }),
                _ => Err(Stranger::Silent),
            };
        }
        let given = Digest::of(bearer(headers).ok_or(Stranger::Silent)?);
        let mut found = None;
        // All are compared, so that the time it takes does not tell which one is close.
        for token in &policy.tokens {
            if token.digest.is_some_and(|digest| digest.is(&given)) {
                found = Some(token);
            }
        }
        found.map(Token::caller).ok_or(Stranger::Wrong)
    }
}

// === impl Policy ===

impl Policy {
    fn read(admin: &Admin) -> Result<Self> {
        let tokens = admin.grants.iter().map(|grant| {
            let digest = Some(digest(&grant.file)?);
            let grant = grant.clone();
            Ok(Token { grant, digest })
        });
        Ok(Self {
            hosts: hosts(admin),
            tokens: tokens.collect::<Result<_>>()?,
        })
    }
}

fn hosts(admin: &Admin) -> Vec<String> {
    let hosts = admin.hosts.iter().map(|host| host.to_lowercase());
    hosts.collect()
}

fn digest(file: &Path) -> Result<Digest> {
    let token = token::read(file).map_err(anyhow::Error::msg);
    let token = token.with_context(|| format!("the token in {}", file.display()))?;
    if token::is_open_to_all(file) {
        tracing::warn!(
            file = %file.display(),
            "everybody on this machine may read this token: chmod o-r"
        );
    }
    Ok(Digest::of(&token))
}

// === impl Token ===

impl Token {
    /// What is in the file now. What is no token opens nothing until it is one again.
    fn read_again(grant: &Grant) -> Self {
        let digest = digest(&grant.file).inspect_err(|error| {
            let error = format!("{error:#}");
            tracing::error!(name = grant.name, error, "a token opens nothing any more");
        });
        Self {
            grant: grant.clone(),
            digest: digest.ok(),
        }
    }

    fn caller(&self) -> Caller {
        Caller {
            name: self.grant.name.clone(),
            scope: self.grant.scope.clone(),
            sees_bodies: self.grant.bodies,
        }
    }
}

/// The token in the header `Authorization: Bearer …` (RFC 6750 §2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
