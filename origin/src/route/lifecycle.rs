//! Lifecycle: how sessions and accounts begin and end, and in which order features hear of it.
//!
//! ```text
//! bind ──▶ open: the session stands in the account, features hear `opened`
//!  │          │ stanzas
//!  │          ▼
//!  └─ conflict, detach, removal ──▶ end: unavailable is sent, features hear `closed`,
//!                                        the session leaves the account
//! ```

use std::sync::Arc;

use couplet_proto::link::frame::ToEdge;
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId};
use couplet_proto::xmpp::error::StreamCondition;
use couplet_proto::{Jid, Stanza};

use super::presence;
use crate::hooks::Ctx;
use crate::hooks::context::Effect;
use crate::session::{Pace, Progress, Session, SessionSlots};
use crate::store::Write;

/// A resource is bound: `jid` is its full address, chosen by [`crate::session::resource`].
///
/// RFC 6120 §7.7.2.2: of two sessions with one resource the newer stays; the older is told.
pub fn open(ctx: &mut Ctx<'_>, edge: EdgeId, connection: ConnectionId, jid: Jid, id: SessionId) {
    let older = ctx.account.session_of(&jid);
    let session = Session {
        id,
        jid: jid.clone(),
        edge,
        connection,
        presence: None,
        pace: Pace::default(),
        directed: Default::default(),
        bound: ctx.now.mono,
        progress: Progress::default(),
        slots: SessionSlots::default(),
    };
    ctx.account.sessions.push(Box::new(session));
    // After that: the account is not left without a session in between.
    if let Some(older) = older {
        let text = Some("replaced by a new connection");
        ctx.close(older, StreamCondition::Conflict, text);
        end(ctx, older);
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

/// A session is gone for good, however it ended.
pub fn end(ctx: &mut Ctx<'_>, id: SessionId) {
    if ctx.account.session(id).is_none() {
        return;
    }
    ctx.set_session(Some(id));
    presence::ended(ctx, id);
    let shared = ctx.shared;
    for closed in &shared.pipeline.closed {
        closed(ctx);
    }
    ctx.account.sessions.retain(|session| session.id != id);
    ctx.set_session(None);
    ctx.effect(Effect::Ended(id));
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
        ctx.deliver(session, answer);
    }
    // Before the sessions end: nothing of the account may be written any more, and the contacts
    // have heard everything.
    ctx.account.credentials = None;
    ctx.account.slots = Default::default();
    for session in sessions {
        let text = Some("the account has been removed");
        ctx.close(session, StreamCondition::NotAuthorized, text);
        end(ctx, session);
    }
}
