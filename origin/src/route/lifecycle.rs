//! Lifecycle: how sessions and accounts begin and end, and in which order features hear of it.
//!
//! ```text
//! bind ──▶ open: the session stands in the account, features hear `opened`
//!  │          │ stanzas; its connection may be lost and come back: `resumption`
//!  │          ▼
//!  └─ conflict, close, expiry, removal ──▶ end: unavailable is sent, features hear `closed`,
//!                           the session leaves the account, what it has not had goes elsewhere
//! ```

use std::sync::Arc;

use couplet_proto::link::frame::ToEdge;
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId, Source};
use couplet_proto::xmpp::error::{Condition, StreamCondition};
use couplet_proto::{Jid, Kind, Stanza, Type};

use super::{bounce, message, presence, resumption};
use crate::features::offline;
use crate::hooks::Ctx;
use crate::hooks::context::Effect;
use crate::session::outbox::{Entry, Outbox};
use crate::session::{At, Session};
use crate::store::Write;

/// A resource is bound: `jid` is its full address, chosen by [`crate::session::resource`].
///
/// RFC 6120 §7.7.2.2: of two sessions with one resource the newer stays; the older is told.
pub fn open(ctx: &mut Ctx<'_>, edge: EdgeId, connection: ConnectionId, jid: Jid, id: SessionId) {
    let older = ctx.account.session_of(&jid);
    let mut session = Session::new(id, jid.clone(), ctx.now.unix);
    session.at = At::Edge(edge, connection);
    session.is_changed = true;
    ctx.account.sessions.push(Box::new(session));
    // After that: the account is not left without a session in between.
    if let Some(older) = older {
        replace(ctx, older);
    }
    ctx.set_session(Some(id));
    let shared = ctx.shared;
    for opened in &shared.pipeline.opened {
        opened(ctx);
    }
    ctx.effect(Effect::Opened(id));
    let bound = ToEdge::Bound {
        connection,
        session: id,
        jid,
    };
    ctx.effect(Effect::ToEdge(edge, bound));
}

/// A session makes place for a newer one of the same resource.
pub fn replace(ctx: &mut Ctx<'_>, older: SessionId) {
    let text = "replaced by a new connection";
    expel(ctx, older, StreamCondition::Conflict, text);
}

/// A session is ended by us, and its client is told why.
pub fn expel(ctx: &mut Ctx<'_>, id: SessionId, condition: StreamCondition, text: &'static str) {
    ctx.close(id, condition, Some(text));
    end(ctx, id);
}

/// A session is gone for good, however it ended.
pub fn end(ctx: &mut Ctx<'_>, id: SessionId) {
    if ctx.account.session(id).is_none() {
        return;
    }
    ctx.set_session(Some(id));
    let of_end = Source {
        session: id,
        number: Source::END,
        part: Source::OWN,
    };
    let shown = ctx
        .session()
        .map(|known| (known.presence.clone(), known.directed.clone()));
    let former = ctx.source.replace(of_end);
    ctx.effect(Effect::Ending(Some(id)));
    presence::ended(ctx, id);
    ctx.effect(Effect::Ending(None));
    ctx.source = former;
    let shared = ctx.shared;
    for closed in &shared.pipeline.closed {
        closed(ctx);
    }
    let place = ctx.account.sessions.iter().position(|known| known.id == id);
    let session = place.map(|place| ctx.account.sessions.remove(place));
    ctx.set_session(None);
    let Some(mut session) = session else {
        return;
    };
    resumption::remember(&mut ctx.account.epitaphs, &session);
    let delivered = session.outbox.delivered();
    let mut entries = session.outbox.take();
    for entry in &mut entries {
        pass_on(ctx, entry);
        entry.twins = None;
    }
    resumption::wake(ctx, id);
    if let Some(newer) = ctx.account.session_of(&session.jid) {
        presence::show_again(ctx, newer);
    }
    // As it was, should the end not be stored.
    session.outbox = Outbox::restored(delivered, entries);
    (session.presence, session.directed) = shown.unwrap_or_default();
    ctx.effect(Effect::Ended(session));
}

/// A stanza that an ended session has not had goes where it would have gone without the session
/// (XEP-0198 §4: another resource, offline storage, or back to its sender).
pub fn pass_on(ctx: &mut Ctx<'_>, entry: &Entry) {
    if entry.is_elsewhere() {
        return;
    }
    let Some(stanza) = elsewhere(&ctx.account.jid, entry) else {
        return;
    };
    let is_message = stanza.kind == Kind::Message && stanza.type_ != Type::Error;
    if !is_message {
        return ctx.effect(Effect::Route(stanza, 0));
    }
    // In the log first: it may be the store alone that has it, and must not lose it in between.
    if ctx.account.exists() {
        match offline::put_back(ctx, &stanza, entry.source) {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => return bounce::bounce(ctx, &stanza, error),
        }
    }
    let former = std::mem::replace(&mut ctx.source, entry.source);
    message::received(ctx, stanza, 0);
    ctx.source = former;
}

/// What is sent instead of a stanza whose session has ended: to whoever else the account has, or
/// back; nothing where it would help nobody.
pub(crate) fn elsewhere(account: &Jid, entry: &Entry) -> Option<Arc<Stanza>> {
    let stanza = &entry.stanza;
    match (stanza.kind, stanza.type_) {
        _ if entry.log.is_some() => None,
        (Kind::Message, Type::Normal | Type::Chat) if message::is_private_of_room(stanza) => {
            let error = Condition::RecipientUnavailable.into();
            bounce::reply(stanza, &error).map(Arc::new)
        }
        (Kind::Message, Type::Normal | Type::Chat) => {
            let mut stanza = (**stanza).clone();
            stanza.to = Some(account.clone());
            Some(Arc::new(stanza))
        }
        (Kind::Message, Type::Groupchat) | (Kind::Iq, Type::Get | Type::Set) => {
            let error = Condition::RecipientUnavailable.into();
            bounce::reply(stanza, &error).map(Arc::new)
        }
        _ => None,
    }
}

/// The account goes, with everything it has: its contacts are told that the subscriptions are
/// over, its sessions are closed.
///
/// `farewell` goes to one of them before: the answer to its request.
pub fn remove_account(ctx: &mut Ctx<'_>, farewell: Option<(SessionId, Arc<Stanza>)>) {
    let sessions: Vec<SessionId> = ctx.account.sessions.iter().map(|known| known.id).collect();
    // The sessions end, also if the removal cannot be stored.
    for session in &sessions {
        ctx.set_session(Some(*session));
        presence::ended(ctx, *session);
    }
    ctx.write(Write::Erase);
    presence::account_removed(ctx);
    if let Some((session, answer)) = farewell {
        ctx.deliver_last(session, answer);
    }
    // Before the sessions end: nothing of the account may be written any more, and the contacts
    // have heard everything.
    ctx.account.credentials = None;
    ctx.account.slots = Default::default();
    for session in sessions {
        let text = "the account has been removed";
        expel(ctx, session, StreamCondition::NotAuthorized, text);
    }
}
