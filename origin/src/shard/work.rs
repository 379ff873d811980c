//! What an account does with an event that is addressed to it, and who hears when it fails.

use std::sync::Arc;

use couplet_proto::link::frame::{Detached, ToEdge};
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId, Source};
use couplet_proto::xmpp::error::{
    Condition, ErrorType, SaslCondition, StanzaError, StreamCondition,
};
use couplet_proto::{Jid, Stanza};

use super::debts::DebtId;
use super::event::{Answered, FannedStanzas, Receipt, Work};
use super::login::Login;
use super::output::Output;
use super::residents::Resident;
use super::state::Shard;
use crate::admin::{Action, Answering, Error, Request};
use crate::features::offline;
use crate::hooks::context::Effect;
use crate::hooks::{Answer, Ctx};
use crate::route::{self, attach, bounce, iq, lifecycle, presence, resumption};
use crate::session::outbox::Entry;
use crate::session::{At, Session};
use crate::store::{self, CREDENTIALS};

/// Runs `work` on the account of `ctx`.
pub(super) fn perform(ctx: &mut Ctx<'_>, login: &mut Login, work: Work) {
    match work {
        Work::Stanza {
            session,
            number,
            stanza,
            entered,
        } => {
            ctx.set_session(Some(session));
            ctx.source = Some(Source {
                session,
                number,
                part: Source::OWN,
            });
            route::sent(ctx, stanza, since(ctx, entered));
        }
        Work::Answer {
            session, answer, ..
        } => ctx.deliver(session, answer),
        Work::Routed(routed) => {
            ctx.source = routed.source;
            route::received(ctx, routed.stanza, routed.entered);
        }
        Work::Fanned(to, stanzas, _) => fanned(ctx, &to, &stanzas),
        Work::Acked(session, count) => resumption::acked_up_to(ctx, session, count),
        Work::Enable {
            session,
            number,
            resume_secs,
        } => resumption::enable(ctx, session, number, resume_secs),
        Work::Attach(edge, brought, comes) => attach::attach(ctx, edge, &brought, comes),
        Work::Resume(edge, connection, request, may_come) => {
            super::login::resume(ctx, edge, connection, &request, may_come);
        }
        Work::Detach(session, from, reason) => detach(ctx, session, from, reason),
        Work::EdgeLost(session, edge) => edge_lost(ctx, session, edge),
        Work::Expire(session) => expire(ctx, session),
        Work::Sleep(session) => resumption::sleep(ctx, session),
        Work::Store(session) => resumption::store(ctx, session),
        Work::Kept(session, by) => resumption::kept(ctx, session, by),
        Work::Pay(debt) => ctx.effect(Effect::Pay(debt)),
        Work::Wake | Work::Alarm => alarm(ctx),
        Work::CatchUp(session) => {
            presence::catch_up(ctx, session);
            offline::try_again(ctx);
        }
        Work::Astray(entry, _) => lifecycle::pass_on(ctx, &entry),
        Work::Authenticate(edge, connection, request) => {
            login.authenticate(ctx, edge, connection, &request);
        }
        Work::Respond(edge, connection, data) => login.respond(ctx, edge, connection, &data),
        Work::Abort(edge, connection) => login.abort(edge, connection),
        Work::Register(edge, connection, request) => {
            login.register(ctx, edge, connection, &request);
        }
        Work::Bind(edge, connection, request) => {
            super::login::bind(ctx, edge, connection, &request);
        }
        Work::Answered(answered) => self::answered(ctx, *answered),
        Work::Verified(verified) => {
            login.verified(ctx, verified.edge, verified.connection, verified.step);
        }
        Work::Admin(request) => admin(ctx, *request),
    }
}

/// When a stanza began its way; an edge of an older version does not say.
fn since(ctx: &Ctx<'_>, entered: u64) -> u64 {
    match entered {
        0 => ctx.now.mono.max(1),
        entered => entered,
    }
}

/// The lane of the edge a session is at is gone, unless it is at another by now.
fn edge_lost(ctx: &mut Ctx<'_>, session: SessionId, edge: EdgeId) {
    let known = ctx.account.session(session).map(Session::whereabouts);
    if matches!(known, Some(At::Edge(at, _)) if at == edge) {
        resumption::lose(ctx, session);
    }
}

/// A time has come, or the slot has a new owner: it matters to the addresses of services.
fn alarm(ctx: &mut Ctx<'_>) {
    let service = ctx.shared.pipeline.service;
    if let Some(service) = service
        && ctx.shared.is_service(ctx.account.jid.domain())
    {
        (service.alarm)(ctx);
    }
}

/// Stanzas of a room for a session of this account. A room has looked at what it sends: they pass
/// no stage.
fn fanned(ctx: &mut Ctx<'_>, to: &Jid, fanned: &FannedStanzas) {
    match ctx.account.session_of(to) {
        Some(session) => {
            for (stanza, source) in fanned.each() {
                let entry = Entry {
                    source: Some(source),
                    ..Entry::plain(Arc::clone(stanza))
                };
                ctx.deliver_entry(session, entry, fanned.entered);
            }
        }
        None => {
            if let Some(refused) = super::fan::refusal(&fanned.stanzas, to) {
                ctx.route(refused);
            }
        }
    }
}

/// A session's connection is gone.
fn detach(ctx: &mut Ctx<'_>, session: SessionId, from: (EdgeId, ConnectionId), reason: Detached) {
    tracing::debug!(account = %ctx.account.jid, %session, ?reason, "session detached");
    let known = ctx.account.session(session);
    let Some(known) = known else {
        return;
    };
    if !is_at(known.whereabouts(), from) {
        // Resumed by another connection meanwhile, or asleep already: until the other edge, or the
        // store, has it, this one keeps it.
        return ctx.effect(Effect::Follow(session));
    }
    let managed = known.managed.as_ref();
    let is_resumable = managed.is_some_and(|managed| managed.resume_secs > 0);
    match reason == Detached::Lost && is_resumable {
        true => resumption::lose(ctx, session),
        false => lifecycle::end(ctx, session),
    }
}

/// Nobody has come back for a session in time.
fn expire(ctx: &mut Ctx<'_>, session: SessionId) {
    let known = ctx.account.session(session);
    let is_over = known.is_some_and(|known| match known.whereabouts() {
        At::Nowhere(until) => until <= ctx.now.mono,
        At::Edge(..) => false,
    });
    if !is_over {
        // It has come back meanwhile.
        return;
    }
    tracing::debug!(account = %ctx.account.jid, %session, "session expired");
    lifecycle::end(ctx, session);
}

/// Whether a session has this connection. An edge of the version before names none.
fn is_at(at: At, (edge, connection): (EdgeId, ConnectionId)) -> bool {
    at == At::Edge(edge, connection)
        || (connection.0 == 0 && matches!(at, At::Edge(of, _) if of == edge))
}

fn answered(ctx: &mut Ctx<'_>, answered: Answered) {
    let Answered {
        answer,
        asked,
        then,
        ..
    } = answered;
    // The session may have ended meanwhile; the account goes on.
    ctx.set_session(
        asked
            .session
            .filter(|id| ctx.account.session(*id).is_some()),
    );
    let reply = match answer {
        Ok(answer) => then(ctx, answer, &asked),
        Err(error) if asked.request.is_some() => Err(unanswered(&error)),
        Err(error) => {
            unanswered(&error);
            then(ctx, Answer::Failed, &asked)
        }
    };
    if let Some(request) = &asked.request {
        iq::conclude(ctx, request, reply);
    }
}

fn unanswered(error: &store::Error) -> StanzaError {
    tracing::error!(%error, "the store did not answer");
    match error {
        store::Error::Corrupt(_) => Condition::InternalServerError.into(),
        store::Error::Fenced { .. } | store::Error::Unavailable(_) => {
            StanzaError::from(Condition::ResourceConstraint).with_type(ErrorType::Wait)
        }
    }
}

fn admin(ctx: &mut Ctx<'_>, request: Request) {
    let Request { action, reply } = request;
    let exists = ctx.account.exists();
    let jid = ctx.account.jid.clone();
    let result = match (action, exists) {
        (Action::Add(_), true) => Err(Error::Exists(jid)),
        (Action::SetPassword(_) | Action::Remove, false) => Err(Error::Missing(jid)),
        (Action::Add(credentials) | Action::SetPassword(credentials), _) => {
            ctx.put(CREDENTIALS, "", credentials.encode());
            ctx.account.credentials = Some(credentials);
            Ok(())
        }
        (Action::Remove, true) => {
            lifecycle::remove_account(ctx, None);
            Ok(())
        }
    };
    ctx.effect(Effect::Reply(Answering { reply, result }));
}

/// Who caused a handler to run: who is told when it has taken effect, or when it has failed.
#[derive(Debug, Clone)]
pub(super) enum Cause {
    /// A client's stanza, by number.
    Client(SessionId, u64, Arc<Stanza>),
    /// A stanza from another account.
    Routed(Arc<Stanza>, Option<Source>, Receipt),
    /// A room, which has nothing to hear of it but that it has taken effect.
    Fanned(Receipt),
    /// A connection that authenticates.
    Exchange(EdgeId, ConnectionId),
    /// A connection that registers.
    Registration(EdgeId, ConnectionId, Arc<Stanza>),
    /// A connection that binds.
    Binding(EdgeId, ConnectionId),
    /// A connection that takes up a session.
    Resumption(EdgeId, ConnectionId),
    /// A request that waited for an answer, or a stanza whose session had ended, and what waits for
    /// it.
    Request(Arc<Stanza>, Option<DebtId>),
    /// A connection that is gone.
    Departure(EdgeId, ConnectionId),
    /// Nobody.
    Nobody,
}

// === impl Cause ===

impl Cause {
    pub(super) fn of(work: &Work) -> Self {
        match work {
            Work::Detach(_, (edge, connection), _) => Self::Departure(*edge, *connection),
            Work::Stanza {
                session,
                number,
                stanza,
                ..
            } => Self::Client(*session, *number, stanza.clone()),
            Work::Answer {
                session,
                number,
                answer,
            } => Self::Client(*session, *number, answer.clone()),
            Work::Routed(routed) => {
                Self::Routed(routed.stanza.clone(), routed.source, routed.receipt)
            }
            Work::Fanned(_, _, receipt) => Self::Fanned(*receipt),
            Work::Authenticate(edge, connection, _) | Work::Respond(edge, connection, _) => {
                Self::Exchange(*edge, *connection)
            }
            Work::Verified(verified) => Self::Exchange(verified.edge, verified.connection),
            Work::Register(edge, connection, request) => {
                Self::Registration(*edge, *connection, request.request.clone())
            }
            Work::Bind(edge, connection, _) => Self::Binding(*edge, *connection),
            Work::Resume(edge, connection, ..) => Self::Resumption(*edge, *connection),
            Work::Answered(answered) => {
                match (&answered.asked.request, answered.asked.connection) {
                    (Some(request), Some((edge, connection))) => {
                        Self::Registration(edge, connection, request.clone())
                    }
                    (Some(request), None) => Self::Request(request.clone(), answered.debt),
                    (None, _) => Self::Nobody,
                }
            }
            Work::Astray(entry, debt) => Self::Request(entry.stanza.clone(), *debt),
            Work::Acked(..)
            | Work::Enable { .. }
            | Work::Attach(..)
            | Work::EdgeLost(..)
            | Work::Expire(_)
            | Work::Kept(..)
            | Work::Sleep(_)
            | Work::Store(_)
            | Work::Pay(_)
            | Work::Wake
            | Work::Alarm
            | Work::CatchUp(_)
            | Work::Abort(..)
            | Work::Admin(_) => Self::Nobody,
        }
    }

    /// The stanza it was run for.
    pub(super) fn stanza(&self) -> Option<&Arc<Stanza>> {
        match self {
            Self::Client(_, _, stanza)
            | Self::Routed(stanza, ..)
            | Self::Registration(_, _, stanza)
            | Self::Request(stanza, _) => Some(stanza),
            Self::Fanned(_)
            | Self::Exchange(..)
            | Self::Binding(..)
            | Self::Resumption(..)
            | Self::Departure(..)
            | Self::Nobody => None,
        }
    }

    /// What the `part`th stanza that comes of this comes from.
    pub(super) fn source(&self, part: u32) -> Option<Source> {
        match self {
            Self::Client(session, number, _) => Some(Source {
                session: *session,
                number: *number,
                part,
            }),
            _ => None,
        }
    }

    /// What a stanza from another account comes from, if a client sent it.
    pub(super) fn routed_source(&self) -> Option<Source> {
        match self {
            Self::Routed(_, source, _) => source.filter(|source| !source.is_of_room()),
            _ => None,
        }
    }

    /// Who is told of a failure when what was written is lost. A session that has been taken up
    /// stays so.
    pub(super) fn of_write(&self) -> Self {
        match self {
            Self::Resumption(..) => Self::Nobody,
            other => other.clone(),
        }
    }

    /// What to send instead when it cannot be done.
    pub(super) fn failure(
        &self,
        resident: &Resident,
        shard: &Shard,
        condition: Condition,
    ) -> Vec<Output> {
        let error = StanzaError::from(condition).with_type(match condition {
            Condition::ResourceConstraint => ErrorType::Wait,
            _ => condition.default_type(),
        });
        let to_edge = |edge, body| match shard.frame(resident.slot, body) {
            Some(frame) => vec![Output::ToEdge(edge, frame, None)],
            None => Vec::new(),
        };
        match self {
            Self::Client(session, _, stanza) => {
                let mut stanza = (**stanza).clone();
                stanza.from = resident
                    .account
                    .session(*session)
                    .map(|known| known.jid.clone());
                stanza.to = stanza.to.or_else(|| Some(resident.account.jid.clone()));
                refusal(shard, &stanza, &error)
            }
            Self::Routed(stanza, ..) | Self::Request(stanza, _) => refusal(shard, stanza, &error),
            Self::Exchange(edge, connection) => {
                let refused = ToEdge::Refused {
                    connection: *connection,
                    condition: SaslCondition::TemporaryAuthFailure,
                    text: None,
                };
                to_edge(*edge, refused)
            }
            Self::Registration(edge, connection, stanza) => {
                let registered = ToEdge::Registered {
                    connection: *connection,
                    answer: Arc::new(stanza.error(&error)),
                };
                to_edge(*edge, registered)
            }
            Self::Binding(edge, connection) => {
                let refused = ToEdge::BindRefused {
                    connection: *connection,
                    error,
                };
                to_edge(*edge, refused)
            }
            // The session may be there: the client is to come again, not to give it up.
            Self::Resumption(edge, connection) => {
                let close = ToEdge::Close {
                    connection: *connection,
                    condition: StreamCondition::ResourceConstraint,
                    text: Some("the session cannot be read now, try again"),
                };
                to_edge(*edge, close)
            }
            Self::Departure(..) | Self::Fanned(_) | Self::Nobody => Vec::new(),
        }
    }
}

fn refusal(shard: &Shard, stanza: &Stanza, error: &StanzaError) -> Vec<Output> {
    let to_local = |to: &Jid| shard.shared.serves(to.domain());
    let reply =
        bounce::reply(stanza, error).filter(|reply| reply.to.as_ref().is_some_and(to_local));
    let send = reply.map(|reply| Output::Send(Arc::new(reply), 0, None, None));
    send.into_iter().collect()
}
