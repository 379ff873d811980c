//! Login: exchanges under way, registration, binding.
//!
//! ```text
//! Authenticate ─▶ exchange ─▶ Challenge ⇄ Respond ─▶ Authenticated (a token) ─▶ Bind ─▶ session
//!       └───────▶ Verify, off the shard ────────────────┘
//! ```

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::link::frame::{
    AuthToken, Authenticate, Bind, Register, Resume, ResumeError, ToEdge,
};
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId};
use couplet_proto::slot::Seed;
use couplet_proto::xmpp::error::{Condition, SaslCondition, StanzaError};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use rand::Rng;
use sha2::{Digest, Sha256};

use crate::auth::{Context, Exchange, NONCE_BYTES, Step};
use crate::clock::Now;
use crate::directives::board::Bar;
use crate::hooks::context::{Effect, Shared};
use crate::hooks::{Answer, Ask, Asked, Ctx, Reply};
use crate::metrics;
use crate::route::{lifecycle, resumption};
use crate::session::resource;
use crate::store::CREDENTIALS;

/// How long an exchange may wait for the client, in milliseconds.
const PATIENCE_MS: u64 = 60_000;

/// How many exchanges one shard keeps; more are refused with `temporary-auth-failure`.
const PENDING_MAX: usize = 100_000;

/// Who is logging in.
#[derive(Debug)]
pub(super) struct Login {
    exchanges: HashMap<(EdgeId, ConnectionId), Pending, RandomState>,
    fake_salt_key: [u8; 32],
    iterations: u32,
}

/// An exchange that waits for the client or for a password check.
#[derive(Debug)]
struct Pending {
    /// `None` while a password is being checked.
    exchange: Option<Exchange>,
    account: Jid,
    peer: Option<IpAddr>,
    since: u64,
}

// === impl Login ===

impl Login {
    pub(super) fn new(seed: Seed, shared: &Shared) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"couplet salts of accounts that do not exist");
        hash.update(seed.0);
        Self {
            exchanges: HashMap::default(),
            fake_salt_key: hash.finalize().into(),
            iterations: shared.config.scram_iterations,
        }
    }

    pub(super) fn authenticate(
        &mut self,
        ctx: &mut Ctx<'_>,
        edge: EdgeId,
        connection: ConnectionId,
        request: &Authenticate,
    ) {
        let peer = request.channel.peer;
        // A second exchange of one connection replaces the first: the edge has ended it.
        self.exchanges.remove(&(edge, connection));
        let full = self.exchanges.len() >= PENDING_MAX;
        let admitted = ctx
            .shared
            .throttle
            .admit(&request.account, peer, ctx.now.mono);
        let (exchange, step) = match admitted {
            _ if full => (None, temporary_failure()),
            // Or it was added just now, and this node has not heard of it.
            _ if is_gone(ctx, &request.account) => (None, not_served()),
            Err(refusal) => (None, refusal),
            Ok(()) => {
                let mut nonce = [0; NONCE_BYTES];
                ctx.rng().fill_bytes(&mut nonce);
                let context = Context {
                    fake_salt_key: &self.fake_salt_key,
                    iterations: self.iterations,
                };
                Exchange::start(request, ctx.account.credentials.as_deref(), &context, nonce)
            }
        };
        let pending = Pending {
            exchange,
            account: request.account.clone(),
            peer,
            since: ctx.now.mono,
        };
        self.proceed(ctx, edge, connection, pending, step);
    }

    pub(super) fn respond(
        &mut self,
        ctx: &mut Ctx<'_>,
        edge: EdgeId,
        connection: ConnectionId,
        data: &[u8],
    ) {
        let pending = self.exchanges.remove(&(edge, connection));
        let ours = pending.filter(|pending| pending.account.is_same_bare(&ctx.account.jid));
        let Some(mut pending) = ours else {
            return refuse(ctx, edge, connection, SaslCondition::NotAuthorized, None);
        };
        let Some(exchange) = pending.exchange.take() else {
            return refuse(ctx, edge, connection, SaslCondition::MalformedRequest, None);
        };
        let (exchange, step) = exchange.respond(data);
        pending.exchange = exchange;
        self.proceed(ctx, edge, connection, pending, step);
    }

    pub(super) fn verified(
        &mut self,
        ctx: &mut Ctx<'_>,
        edge: EdgeId,
        connection: ConnectionId,
        step: Step,
    ) {
        // Aborted meanwhile: nobody waits, or something else does.
        let key = (edge, connection);
        let waits = self.exchanges.get(&key).is_some_and(|pending| {
            pending.exchange.is_none() && pending.account.is_same_bare(&ctx.account.jid)
        });
        if waits && let Some(pending) = self.exchanges.remove(&key) {
            self.proceed(ctx, edge, connection, pending, step);
        }
    }

    pub(super) fn abort(&mut self, edge: EdgeId, connection: ConnectionId) {
        self.exchanges.remove(&(edge, connection));
    }

    /// Sends what a step says and keeps what goes on.
    fn proceed(
        &mut self,
        ctx: &mut Ctx<'_>,
        edge: EdgeId,
        connection: ConnectionId,
        pending: Pending,
        step: Step,
    ) {
        let throttle = &ctx.shared.throttle;
        match throttle.judge(&pending.account, pending.peer, step, ctx.now.mono) {
            Step::Challenge(data) => {
                self.exchanges.insert((edge, connection), pending);
                let challenge = ToEdge::Challenge { connection, data };
                ctx.effect(Effect::ToEdge(edge, challenge));
            }
            Step::Verify(check) => {
                self.exchanges.insert((edge, connection), pending);
                ctx.effect(Effect::Verify(edge, connection, check));
            }
            Step::Success { data } => succeed(ctx, edge, connection, data),
            Step::Failure { condition, text } => {
                tracing::info!(
                    account = %pending.account,
                    peer = ?pending.peer,
                    condition = condition.name(),
                    "login refused"
                );
                refuse(ctx, edge, connection, condition, text);
            }
        }
    }

    /// XEP-0077 §3.1: an account for a client that has none.
    pub(super) fn register(
        &mut self,
        ctx: &mut Ctx<'_>,
        edge: EdgeId,
        connection: ConnectionId,
        request: &Register,
    ) {
        let registration = &ctx.shared.config.registration;
        let throttle = &ctx.shared.throttle;
        let refusal = if !registration.open {
            Some(Condition::NotAllowed.into())
        } else if !throttle.admit_registration(request.peer, ctx.now.mono) {
            let text = "too many registrations from this address, try again later";
            Some(StanzaError::from(Condition::ResourceConstraint).with_text(text))
        } else if ctx.account.exists() || is_barred(ctx) {
            // After the throttle: a conflict tells who has an account here.
            Some(Condition::Conflict.into())
        } else {
            None
        };
        if let Some(error) = refusal {
            metrics::registration("refused");
            let answer = request.request.error(&error);
            return registered(ctx, edge, connection, answer);
        }
        let asked = Asked {
            request: Some(request.request.clone()),
            session: None,
            connection: Some((edge, connection)),
        };
        let ask = Ask::Derive(request.password.clone());
        ctx.effect(Effect::Ask(ask, asked, create));
    }

    /// How many exchanges are under way.
    pub(super) fn len(&self) -> usize {
        self.exchanges.len()
    }

    pub(super) fn edge_gone(&mut self, gone: EdgeId) {
        self.exchanges.retain(|(edge, _), _| *edge != gone);
    }

    /// The account is gone: what was proven of it is not proven of one that takes its name.
    pub(super) fn forget(&mut self, gone: &Jid) {
        self.exchanges
            .retain(|_, pending| !pending.account.is_same_bare(gone));
    }

    /// Forgets what has waited too long.
    pub(super) fn tick(&mut self, now: Now) {
        let is_fresh = |since: u64| now.mono.saturating_sub(since) < PATIENCE_MS;
        self.exchanges.retain(|_, pending| is_fresh(pending.since));
    }
}

fn succeed(ctx: &mut Ctx<'_>, edge: EdgeId, connection: ConnectionId, data: Option<Bytes>) {
    // Only whoever has the password learns of it (RFC 6120 §6.5.1).
    if let Some(Bar::Banned) = ctx.shared.bar(&ctx.account.jid, ctx.now) {
        tracing::info!(account = %ctx.account.jid, "login refused: the account is banned");
        let text = Some("the account is disabled");
        return refuse(ctx, edge, connection, SaslCondition::AccountDisabled, text);
    }
    // The account may have been removed while the exchange ran.
    let Some(credentials) = &ctx.account.credentials else {
        return refuse(ctx, edge, connection, SaslCondition::NotAuthorized, None);
    };
    let (tokens, account) = (&ctx.shared.tokens, ctx.account.jid.clone());
    let authenticated = ToEdge::Authenticated {
        connection,
        token: tokens.issue(&account, credentials, ctx.now.unix),
        account,
        data,
    };
    ctx.effect(Effect::ToEdge(edge, authenticated));
}

/// A client that has proved who it is wants a resource.
pub(super) fn bind(ctx: &mut Ctx<'_>, edge: EdgeId, connection: ConnectionId, request: &Bind) {
    let chosen = match is_proved(ctx, request.token) {
        false => Err(StanzaError::from(Condition::NotAuthorized)),
        true => {
            let most = ctx.shared.config.limits.resources_per_account;
            let fallback = format!("couplet-{:016x}", ctx.rng().next_u64());
            resource::choose(ctx.account, request.resource.as_deref(), &fallback, most)
        }
    };
    match chosen {
        Ok(jid) => {
            let id = SessionId(ctx.rng().next_u64());
            lifecycle::open(ctx, edge, connection, jid, id);
        }
        Err(error) => {
            metrics::stanza_error(error.condition);
            let refused = ToEdge::BindRefused { connection, error };
            ctx.effect(Effect::ToEdge(edge, refused));
        }
    }
}

/// A client that has proved who it is wants a former session back (XEP-0198 §5).
pub(super) fn resume(
    ctx: &mut Ctx<'_>,
    edge: EdgeId,
    connection: ConnectionId,
    request: &Resume,
    may_come: bool,
) {
    if is_proved(ctx, request.token) {
        return resumption::resume(ctx, edge, connection, request, may_come);
    }
    let refused = ToEdge::ResumeRefused {
        connection,
        why: ResumeError::NotAuthorized,
        h: None,
    };
    ctx.effect(Effect::ToEdge(edge, refused));
}

/// Whether a client is who it says, and may be here.
fn is_proved(ctx: &Ctx<'_>, token: AuthToken) -> bool {
    let account = &*ctx.account;
    if is_barred(ctx) {
        return false;
    }
    account.credentials.as_ref().is_some_and(|credentials| {
        let tokens = &ctx.shared.tokens;
        tokens.check(token, &account.jid, credentials, ctx.now.unix)
    })
}

/// The keys of a new account's password are there.
fn create(ctx: &mut Ctx<'_>, answer: Answer, asked: &Asked) -> Result<Reply, StanzaError> {
    let (Some(request), Some((edge, connection))) = (&asked.request, asked.connection) else {
        return Ok(Reply::Later);
    };
    let answer = match answer {
        // Somebody else may have been faster, or an operator.
        Answer::Derived(Some(_)) if ctx.account.exists() || is_barred(ctx) => {
            request.error(&Condition::Conflict.into())
        }
        Answer::Derived(Some(credentials)) => {
            ctx.put(CREDENTIALS, "", credentials.encode());
            ctx.account.credentials = Some(credentials);
            metrics::registration("created");
            tracing::info!(account = %ctx.account.jid, "account registered");
            request.result(None)
        }
        _ => {
            let text = "the password is empty or has characters that are not allowed";
            request.error(&StanzaError::from(Condition::NotAcceptable).with_text(text))
        }
    };
    registered(ctx, edge, connection, answer);
    Ok(Reply::Later)
}

fn registered(
    ctx: &mut Ctx<'_>,
    edge: EdgeId,
    connection: ConnectionId,
    answer: couplet_proto::Stanza,
) {
    let answer = Arc::new(answer);
    let registered = ToEdge::Registered { connection, answer };
    ctx.effect(Effect::ToEdge(edge, registered));
}

fn refuse(
    ctx: &mut Ctx<'_>,
    edge: EdgeId,
    connection: ConnectionId,
    condition: SaslCondition,
    text: Option<&'static str>,
) {
    let refused = ToEdge::Refused {
        connection,
        condition,
        text,
    };
    ctx.effect(Effect::ToEdge(edge, refused));
}

/// Whether nobody may have an account of this name, or not any more. To strangers it looks as if
/// somebody had it.
fn is_barred(ctx: &Ctx<'_>) -> bool {
    ctx.shared.bar(&ctx.account.jid, ctx.now).is_some()
}

fn is_gone(ctx: &Ctx<'_>, account: &Jid) -> bool {
    ctx.shared.bar(account, ctx.now) == Some(Bar::Gone)
}

fn not_served() -> Step {
    Step::Failure {
        condition: SaslCondition::TemporaryAuthFailure,
        text: None,
    }
}

fn temporary_failure() -> Step {
    Step::Failure {
        condition: SaslCondition::TemporaryAuthFailure,
        text: Some("too many logins at once, try again later"),
    }
}
