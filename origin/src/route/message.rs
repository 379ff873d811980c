//! Messages: which resources get them (RFC 6121 §8.5).
//!
//! To a bare address: every available resource whose priority is not negative (§8.5.2.1.1 leaves
//! the choice; a phone and a desktop both get the message, so nothing waits on the wrong one).

use std::sync::Arc;

use couplet_proto::link::id::SessionId;
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::{Jid, Stanza, Type};
use smallvec::SmallVec;

use super::bounce;
use crate::hooks::context::Effect;
use crate::hooks::{Ctx, Flow, Message, Side, Stage};

/// A client of this account sent a message.
pub fn sent(ctx: &mut Ctx<'_>, mut stanza: Arc<Stanza>, entered: u64) {
    // RFC 6120 §10.3.1: without `to` it is for the sender's own account.
    if stanza.to.is_none() {
        let own = ctx.account.jid.clone();
        Arc::make_mut(&mut stanza).to = Some(own);
    }
    let mut message = Message { stanza, entered };
    match walk(
        ctx,
        &mut message,
        Side::Sent,
        &[Stage::Screen, Stage::Stamp, Stage::Archive],
    ) {
        Ok(Flow::Continue) => {}
        Ok(Flow::Stop) => return,
        Err(error) => return bounce::bounce(ctx, &message.stanza, error),
    }
    let is_for_host = message
        .stanza
        .to
        .as_ref()
        .is_some_and(|to| to.local().is_none() && ctx.shared.is_local(to.domain()));
    if is_for_host {
        return bounce::bounce(ctx, &message.stanza, Condition::ServiceUnavailable);
    }
    ctx.effect(Effect::Route(message.stanza.clone(), entered));
    let _ = walk(
        ctx,
        &mut message,
        Side::Sent,
        &[Stage::Deliver, Stage::Copy],
    );
}

/// A message for this account or one of its sessions.
pub fn received(ctx: &mut Ctx<'_>, stanza: Arc<Stanza>, entered: u64) {
    let mut message = Message { stanza, entered };
    if !ctx.account.exists() {
        // RFC 6121 §8.5.1.
        return bounce::bounce(ctx, &message.stanza, Condition::ServiceUnavailable);
    }
    let stages = [Stage::Screen, Stage::Stamp, Stage::Archive, Stage::Deliver];
    match walk(ctx, &mut message, Side::Received, &stages) {
        Ok(Flow::Continue) => {}
        Ok(Flow::Stop) => return,
        Err(error) => return bounce::bounce(ctx, &message.stanza, error),
    }
    match choose(ctx, &message.stanza) {
        Choice::Sessions(sessions) => {
            ctx.deliver_message(&sessions, &message.stanza, entered);
            let _ = walk(ctx, &mut message, Side::Received, &[Stage::Copy]);
        }
        Choice::Nobody => match walk(ctx, &mut message, Side::Received, &[Stage::Absent]) {
            Ok(Flow::Stop) => {}
            Ok(Flow::Continue) => {
                bounce::bounce(ctx, &message.stanza, Condition::ServiceUnavailable);
            }
            Err(error) => bounce::bounce(ctx, &message.stanza, error),
        },
        Choice::Refuse => bounce::bounce(ctx, &message.stanza, Condition::ServiceUnavailable),
        Choice::Drop => {}
    }
}

/// Who takes a message.
enum Choice {
    /// These sessions.
    Sessions(SmallVec<[SessionId; 2]>),
    /// Nobody now: it may be kept.
    Nobody,
    /// Nobody ever: the sender is told.
    Refuse,
    /// Nobody, and the sender is not told.
    Drop,
}

fn choose(ctx: &Ctx<'_>, stanza: &Stanza) -> Choice {
    if let Some(session) = stanza.to.as_ref().and_then(|to| ctx.account.session_of(to)) {
        // §8.5.3.1: a resource that is there gets whatever is for it.
        return Choice::Sessions(SmallVec::from_slice(&[session]));
    }
    let is_full = stanza.to.as_ref().is_some_and(Jid::is_full);
    match (stanza.type_, is_full) {
        (Type::Chat | Type::Normal, true) if is_private_of_room(stanza) => return Choice::Refuse,
        // §8.5.2.1.1, §8.5.2.2.1, §8.5.3.2.1: not for a bare address or a resource that is gone.
        (Type::Groupchat, _) | (Type::Normal, true) => return Choice::Refuse,
        (Type::Error, _) | (Type::Headline, true) => return Choice::Drop,
        _ => {}
    }
    let willing = ctx
        .account
        .available()
        .filter(|(_, presence)| presence.priority >= 0);
    let sessions: SmallVec<[SessionId; 2]> = willing.map(|(session, _)| session.id).collect();
    match (sessions.is_empty(), stanza.type_) {
        (false, _) => Choice::Sessions(sessions),
        (true, Type::Headline) => Choice::Drop,
        (true, _) => Choice::Nobody,
    }
}

/// XEP-0045 §7.5: a private message of an occupant. It is for the session that is in the room and
/// for no other: the room hears when that is gone.
pub(super) fn is_private_of_room(stanza: &Stanza) -> bool {
    let is_of_occupant = stanza.from.as_ref().is_some_and(Jid::is_full);
    is_of_occupant && stanza.payload.find("x", ns::MUC_USER).is_some()
}

fn walk(
    ctx: &mut Ctx<'_>,
    message: &mut Message,
    side: Side,
    stages: &[Stage],
) -> Result<Flow, StanzaError> {
    let shared = ctx.shared;
    for stage in stages {
        for step in shared.pipeline.steps(side, *stage) {
            if step(ctx, message)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
    }
    Ok(Flow::Continue)
}
