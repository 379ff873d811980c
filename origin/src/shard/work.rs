//! What an account does with an event that is addressed to it, and who hears when it fails.

use std::sync::Arc;

use couplet_proto::link::frame::ToEdge;
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId};
use couplet_proto::xmpp::error::{Condition, ErrorType, SaslCondition, StanzaError};
use couplet_proto::{Jid, Stanza};

use super::event::{Answered, Receipt, Work};
use super::login::Login;
use super::output::Output;
use super::residents::Resident;
use super::state::Shard;
use crate::admin::{Action, Answering, Error, Request};
use crate::hooks::context::Effect;
use crate::hooks::{Answer, Ctx};
use crate::route::{self, bounce, iq, lifecycle, presence};
use crate::store::{self, CREDENTIALS};

/// Runs `work` on the account of `ctx`.
pub(super) fn perform(ctx: &mut Ctx<'_>, login: &mut Login, work: Work) {
    match work {
        Work::Stanza {
            session, stanza, ..
        } => {
            ctx.set_session(Some(session));
            let entered = ctx.now.mono.max(1);
            route::sent(ctx, stanza, entered);
        }
        Work::Routed(routed) => route::received(ctx, routed.stanza, routed.entered),
        // Without stream management a session lives as long as its connection.
        Work::Detach(session, reason) => {
            tracing::debug!(account = %ctx.account.jid, %session, ?reason, "session ended");
            lifecycle::end(ctx, session);
        }
        Work::CatchUp(session) => presence::catch_up(ctx, session),
        Work::Authenticate(edge, connection, request) => {
            login.authenticate(ctx, edge, connection, &request);
        }
        Work::Respond(edge, connection, data) => login.respond(ctx, edge, connection, &data),
        Work::Abort(edge, connection) => login.abort(edge, connection),
        Work::Register(edge, connection, request) => {
            login.register(ctx, edge, connection, &request);
        }
        Work::Bind(edge, connection, request) => login.bind(ctx, edge, connection, &request),
        Work::Answered(answered) => self::answered(ctx, *answered),
        Work::Verified(verified) => {
            login.verified(ctx, verified.edge, verified.connection, verified.step);
        }
        Work::Admin(request) => admin(ctx, *request),
    }
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
    Routed(Arc<Stanza>, Option<Receipt>),
    /// A connection that authenticates.
    Exchange(EdgeId, ConnectionId),
    /// A connection that registers.
    Registration(EdgeId, ConnectionId, Arc<Stanza>),
    /// A connection that binds.
    Binding(EdgeId, ConnectionId),
    /// A request that waited for an answer.
    Request(Arc<Stanza>, Option<Receipt>),
    /// Nobody.
    Nobody,
}

// === impl Cause ===

impl Cause {
    pub(super) fn of(work: &Work) -> Self {
        match work {
            Work::Stanza {
                session,
                number,
                stanza,
            } => Self::Client(*session, *number, stanza.clone()),
            Work::Routed(routed) => Self::Routed(routed.stanza.clone(), routed.receipt),
            Work::Authenticate(edge, connection, _) | Work::Respond(edge, connection, _) => {
                Self::Exchange(*edge, *connection)
            }
            Work::Verified(verified) => Self::Exchange(verified.edge, verified.connection),
            Work::Register(edge, connection, request) => {
                Self::Registration(*edge, *connection, request.request.clone())
            }
            Work::Bind(edge, connection, _) => Self::Binding(*edge, *connection),
            Work::Answered(answered) => {
                match (&answered.asked.request, answered.asked.connection) {
                    (Some(request), Some((edge, connection))) => {
                        Self::Registration(edge, connection, request.clone())
                    }
                    (Some(request), None) => Self::Request(request.clone(), answered.receipt),
                    (None, _) => Self::Nobody,
                }
            }
            Work::Detach(..) | Work::CatchUp(_) | Work::Abort(..) | Work::Admin(_) => Self::Nobody,
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
            Some(frame) => vec![Output::ToEdge(edge, frame)],
            None => Vec::new(),
        };
        match self {
            Self::Client(session, number, stanza) => {
                let mut stanza = (**stanza).clone();
                stanza.from = resident
                    .account
                    .session(*session)
                    .map(|known| known.jid.clone());
                stanza.to = stanza.to.or_else(|| Some(resident.account.jid.clone()));
                let mut outputs = refusal(shard, &stanza, &error);
                outputs.push(Output::Finish(shard.receipt(*session, *number)));
                outputs
            }
            Self::Routed(stanza, receipt) | Self::Request(stanza, receipt) => {
                let mut outputs = refusal(shard, stanza, &error);
                outputs.extend(receipt.map(Output::Settle));
                outputs
            }
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
            Self::Nobody => Vec::new(),
        }
    }
}

fn refusal(shard: &Shard, stanza: &Stanza, error: &StanzaError) -> Vec<Output> {
    let to_local = |to: &Jid| shard.shared.is_local(to.domain());
    let reply =
        bounce::reply(stanza, error).filter(|reply| reply.to.as_ref().is_some_and(to_local));
    let route = reply.map(|reply| shard.route_output(Arc::new(reply), 0, None));
    route.into_iter().collect()
}
