//! Attach: edges bring sessions to a new owner of their slot, or to the old one through a new link.
//!
//! Three may know a session: its edge, the store, and this owner, who may have read it there or
//! have it in memory. Each is right about what it has seen last.

use couplet_proto::link::frame::{Attach, ToEdge};
use couplet_proto::link::id::{EdgeId, Source};
use couplet_proto::xmpp::error::StreamCondition;

use super::{lifecycle, presence, resumption};
use crate::features::offline;
use crate::hooks::Ctx;
use crate::hooks::context::Effect;
use crate::session::outbox::{Entry, Outbox};
use crate::session::{At, Session, record};

/// How an edge comes with a session.
#[derive(Debug, Clone, Copy)]
pub struct Comes {
    /// Whether the edge last heard of it from this very owner.
    pub is_same_owner: bool,
    /// Whether it was waited for no longer: it may have been taken for absent.
    pub is_late: bool,
    /// Whether this owner has just ended the session: that is being stored.
    pub is_ending: bool,
}

/// An edge brings a session.
pub fn attach(ctx: &mut Ctx<'_>, edge: EdgeId, attach: &Attach, comes: Comes) {
    let keepers = &ctx.shared.pipeline.keepers;
    let brought = record::decode(attach.session, &attach.state, keepers, ctx.now.mono).ok();
    let brought = brought.map(|(session, _)| session);
    if !ctx.account.exists() {
        let text = "the account has been removed";
        return refuse(ctx, edge, attach, StreamCondition::NotAuthorized, text);
    }
    let is_same_owner = comes.is_same_owner;
    if let Some(known) = ctx.account.session_mut(attach.session) {
        let generation = brought.as_ref().map_or(0, Session::generation);
        let is_newer = generation > known.generation();
        if generation < known.generation() {
            let text = "resumed by another connection";
            return refuse(ctx, edge, attach, StreamCondition::Conflict, text);
        }
        match is_same_owner {
            true => known.outbox.remember(&attach.seen),
            false => merge(known, brought, attach, is_newer),
        }
        if known.progress.taken() < attach.taken {
            known.progress.restore(attach.taken);
        }
        let (id, connection) = (attach.session, attach.connection);
        known.due = Some((edge, connection));
        ctx.effect(Effect::Reached(id, edge, connection, attach.received));
    } else if let Some(session) = brought.filter(|_| !is_same_owner && !comes.is_ending) {
        begin(ctx, edge, attach, session, comes.is_late);
    } else {
        let text = "the session has ended";
        return refuse(ctx, edge, attach, StreamCondition::Reset, text);
    }
    resumption::acked_up_to(ctx, attach.session, attach.acked);
    // A former owner may have been about to.
    offline::try_again(ctx);
}

fn refuse(
    ctx: &mut Ctx<'_>,
    edge: EdgeId,
    attach: &Attach,
    condition: StreamCondition,
    text: &'static str,
) {
    let close = ToEdge::Close {
        connection: attach.connection,
        condition,
        text: Some(text),
    };
    ctx.effect(Effect::ToEdge(edge, close));
}

/// A session that was read from the store: what its edge has had of a former owner since is newer,
/// and what this owner has added comes after that.
///
/// A newer connection (`is_newer`) knows what was given to it; what this owner has given to the one
/// before comes after that too.
fn merge(known: &mut Session, brought: Option<Session>, attach: &Attach, is_newer: bool) {
    let is_older = (known.is_away() || is_newer) && known.progress.ends_by(attach.taken);
    if let (Some(own), Some(newer)) = (&mut known.managed, &brought) {
        own.generation = own.generation.max(newer.generation());
    }
    if let Some(mut brought) = brought.filter(|_| is_older) {
        brought.go_back(attach.taken);
        let former: Vec<Source> = brought.outbox.former().collect();
        known.outbox.remember(&former);
        known.presence = brought.presence;
        known.directed = brought.directed;
        known.managed = brought.managed;
        known.slots = brought.slots;
    }
    let outbox = &mut known.outbox;
    let given = match is_newer {
        true => outbox.restored_to().min(outbox.given()),
        false => outbox.given(),
    };
    match given < attach.received {
        true => {
            outbox.give(Some(given));
            let entries = attach.unacked.iter().cloned().map(Entry::from);
            outbox.rebase(attach.received, entries, &attach.seen);
        }
        false => outbox.remember(&attach.seen),
    }
}

/// A session that only its edge knows.
fn begin(ctx: &mut Ctx<'_>, edge: EdgeId, attach: &Attach, mut session: Session, is_late: bool) {
    let id = session.id;
    session.at = At::Edge(edge, attach.connection);
    session.go_back(attach.taken);
    let entries = attach.unacked.iter().cloned().map(Entry::from);
    let former: Vec<Source> = session.outbox.former().collect();
    session.outbox = Outbox::restored(attach.received, entries);
    session.outbox.remember(&former);
    session.outbox.remember(&attach.seen);
    session.is_changed = true;
    let other = ctx.account.session_of(&session.jid);
    let other = other.and_then(|other| ctx.account.session(other));
    let other = other.map(|other| (other.id, other.bound > session.bound));
    ctx.account.sessions.push(Box::new(session));
    ctx.effect(Effect::Opened(id));
    match other {
        // It ends as the older one, and what its client has not had goes on.
        Some((_, true)) => return lifecycle::replace(ctx, id),
        Some((older, false)) => lifecycle::replace(ctx, older),
        None => {}
    }
    if is_late {
        presence::come_late(ctx, id);
    }
}
