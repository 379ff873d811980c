//! Route: RFC 6121, where a stanza goes.
//!
//! Two entrances: [`sent`] on the account of the client that sent a stanza, [`received`] on the
//! account its `to` names. What lies between is the engine's.

pub mod attach;

pub mod bounce;

pub mod iq;

pub mod lifecycle;

pub mod message;

pub mod presence;

pub mod resumption;

pub mod subscription;

use std::sync::Arc;

use couplet_proto::{Kind, Stanza};

use crate::hooks::Ctx;

/// A client of this account sent a stanza: `ctx.session_id()` is the session.
///
/// `entered` is when it did, in monotonic milliseconds.
pub fn sent(ctx: &mut Ctx<'_>, mut stanza: Arc<Stanza>, entered: u64) {
    let Some(jid) = ctx.session().map(|session| session.jid.clone()) else {
        return;
    };
    // RFC 6120 §8.1.2.1: the server stamps the full address, whatever the client wrote.
    Arc::make_mut(&mut stanza).from = Some(jid);
    match stanza.kind {
        Kind::Message => message::sent(ctx, stanza, entered),
        Kind::Presence => presence::sent(ctx, stanza),
        Kind::Iq => iq::sent(ctx, stanza),
    }
}

/// A stanza for this account or one of its sessions; `from` and `to` are set.
pub fn received(ctx: &mut Ctx<'_>, stanza: Arc<Stanza>, entered: u64) {
    if ctx.shared.is_service(ctx.account.jid.domain())
        && let Some(service) = ctx.shared.pipeline.service
    {
        return (service.received)(ctx, stanza, entered);
    }
    match stanza.kind {
        Kind::Message => message::received(ctx, stanza, entered),
        Kind::Presence => presence::received(ctx, stanza),
        Kind::Iq => iq::received(ctx, stanza),
    }
}
