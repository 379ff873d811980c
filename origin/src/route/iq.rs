//! Requests: look up in the pipeline, answer, or pass on to the resource (RFC 6121 §8.5).

use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::{Jid, Stanza};

use super::bounce;
use crate::hooks::context::Effect;
use crate::hooks::{Ctx, Iq, OnIq, Reply, Target};

/// A client of this account sent an IQ.
pub fn sent(ctx: &mut Ctx<'_>, mut stanza: Arc<Stanza>) {
    // RFC 6120 §10.3.3: without `to` it is for the sender's own account.
    if stanza.to.is_none() {
        let own = ctx.account.jid.clone();
        Arc::make_mut(&mut stanza).to = Some(own);
    }
    match stanza.to.as_ref() {
        Some(to) if *to == ctx.account.jid => received(ctx, stanza),
        Some(to) if to.local().is_none() && ctx.shared.is_local(to.domain()) => {
            let is_whole_host = to.is_bare();
            if stanza.is_request() {
                match is_whole_host {
                    true => answer(ctx, &stanza, &[Target::Host]),
                    false => bounce::bounce(ctx, &stanza, Condition::ServiceUnavailable),
                }
            }
        }
        // An answer to the server's own request ends here; everything else has a receiver.
        _ => ctx.effect(Effect::Route(stanza, 0)),
    }
}

/// An IQ for this account or one of its sessions.
pub fn received(ctx: &mut Ctx<'_>, stanza: Arc<Stanza>) {
    let Some(to) = stanza.to.as_ref() else {
        return;
    };
    if to.is_full() {
        if let Some(reply) = screen(ctx, &stanza) {
            return conclude(ctx, &stanza, reply);
        }
        let Some(to) = stanza.to.as_ref() else {
            return;
        };
        match ctx.account.session_of(to) {
            Some(session) => ctx.pass(session, stanza),
            // RFC 6121 §8.5.3.2.3.
            None => bounce::bounce(ctx, &stanza, Condition::ServiceUnavailable),
        }
        return;
    }
    if !stanza.is_request() {
        return;
    }
    if !ctx.account.exists() {
        // RFC 6121 §8.5.1: as for an account that knows no such request.
        return bounce::bounce(ctx, &stanza, Condition::ServiceUnavailable);
    }
    answer(ctx, &stanza, &[Target::Account, Target::AnyAccount]);
}

/// Answers a request from what a handler or its continuation says.
pub fn conclude(ctx: &mut Ctx<'_>, request: &Stanza, reply: Result<Reply, StanzaError>) {
    match reply {
        Ok(Reply::Empty) => ctx.route(request.result(None)),
        Ok(Reply::Payload(element)) => ctx.route(request.result(Some(&element))),
        Ok(Reply::Later | Reply::Pass) => {}
        Err(error) => bounce::bounce(ctx, request, error),
    }
}

/// Asks who stands before the sessions of an account; `None` lets the request pass.
fn screen(ctx: &mut Ctx<'_>, stanza: &Arc<Stanza>) -> Option<Result<Reply, StanzaError>> {
    let payload = stanza.first().filter(|_| stanza.is_request())?;
    let pipeline = &ctx.shared.pipeline;
    let (target, ns) = (Target::Resource, payload.ns());
    let handler = pipeline.iq(stanza.type_, target, &ns, payload.name())?;
    let reply = ctx
        .account
        .exists()
        .then(|| handler(ctx, &Iq { stanza, payload }))?;
    (reply != Ok(Reply::Pass)).then_some(reply)
}

/// Finds who answers, asked of the first of `targets` that has somebody.
fn answer(ctx: &mut Ctx<'_>, stanza: &Arc<Stanza>, targets: &[Target]) {
    let Some(payload) = stanza.first() else {
        return bounce::bounce(ctx, stanza, Condition::BadRequest);
    };
    let ns = payload.ns();
    let shared = ctx.shared;
    let owner = targets.iter().find_map(|target| {
        let handler = shared
            .pipeline
            .iq(stanza.type_, *target, &ns, payload.name())?;
        Some((*target, handler))
    });
    let reply = match owner {
        None => Err(Condition::ServiceUnavailable.into()),
        Some((target, handler)) => run(ctx, stanza, target, handler),
    };
    conclude(ctx, stanza, reply);
}

fn run(
    ctx: &mut Ctx<'_>,
    stanza: &Arc<Stanza>,
    target: Target,
    handler: OnIq,
) -> Result<Reply, StanzaError> {
    if target == Target::Account && !is_own(&ctx.account.jid, stanza.sender()) {
        return Err(Condition::Forbidden.into());
    }
    let payload = stanza.first().ok_or(Condition::BadRequest)?;
    handler(ctx, &Iq { stanza, payload })
}

fn is_own(account: &Jid, sender: &Jid) -> bool {
    account.is_same_bare(sender)
}
