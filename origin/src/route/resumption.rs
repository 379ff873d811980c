//! Resumption: sessions that outlive their connections (XEP-0198), and their owners.
//!
//! ```text
//! enable ─▶ counted ─▶ connection lost ─▶ asleep: what it is sent is stored
//!                           ▲                │            │
//!   resume, attach ─────────┴────────────────┘            └─▶ not back in time: ended
//! ```
//!
//! A session without stream management sleeps too, for a short while: its edge may only have
//! lost its way to us and comes back with it.

use couplet_proto::link::frame::{Resume, ResumeError, ToEdge};
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId};
use couplet_proto::xmpp::error::StreamCondition;
use subtle::ConstantTimeEq;

use crate::hooks::Ctx;
use crate::hooks::context::Effect;
use crate::metrics;
use crate::session::marks::MARKS;
use crate::session::sleeping::{entry_key, session_key};
use crate::session::{At, Epitaphs, Managed, Session, record};
use crate::store::SLEEPING;

/// How long a session that cannot be resumed waits for its edge, in milliseconds.
const GRACE_MS: u64 = 10_000;

/// A client enables stream management (§3).
pub fn enable(ctx: &mut Ctx<'_>, id: SessionId, number: u64, resume_secs: Option<u32>) {
    let most = ctx.shared.config.limits.resume_secs;
    let resume_secs = match resume_secs {
        None => 0,
        Some(0) => most,
        Some(wanted) => wanted.min(most),
    };
    let secret = ctx.random_id();
    let Some(session) = ctx.account.session_mut(id) else {
        return;
    };
    let At::Edge(edge, connection) = session.whereabouts() else {
        return;
    };
    let known = session.managed.get_or_insert_with(|| {
        Box::new(Managed {
            id: secret.into(),
            resume_secs,
            enabled: number,
            delivered: 0,
            generation: 0,
        })
    });
    let enabled = ToEdge::Enabled {
        connection,
        id: (known.resume_secs > 0).then(|| known.id.clone()),
        max_secs: known.resume_secs,
    };
    session.is_changed = true;
    // What is delivered from here on is what the client counts: noted when this leaves.
    ctx.effect(Effect::Enabled(id));
    ctx.effect(Effect::ToEdge(edge, enabled));
}

/// A client wants its session back, and has proved that it may (§5). While an edge may still come
/// with it, one that is not known is not refused: its client is to try again.
pub fn resume(
    ctx: &mut Ctx<'_>,
    edge: EdgeId,
    connection: ConnectionId,
    request: &Resume,
    may_come: bool,
) {
    let refuse = |ctx: &mut Ctx<'_>, why, h| {
        metrics::resumption("refused");
        let refused = ToEdge::ResumeRefused { connection, why, h };
        ctx.effect(Effect::ToEdge(edge, refused));
    };
    let now = ctx.now.unix;
    let wanted = request.previous.as_bytes();
    let is_wanted = |managed: &Managed| bool::from(managed.id.as_bytes().ct_eq(wanted));
    let found = ctx.account.sessions.iter_mut().find(|session| {
        let managed = session.managed.as_deref();
        managed.is_some_and(|managed| managed.resume_secs > 0 && is_wanted(managed))
    });
    let Some(session) = found else {
        let h = ctx.account.epitaphs.get(&request.previous);
        if may_come && h.is_none() {
            metrics::resumption("deferred");
            let close = ToEdge::Close {
                connection,
                condition: StreamCondition::ResourceConstraint,
                text: Some("the session may still be found, try again"),
            };
            return ctx.effect(Effect::ToEdge(edge, close));
        }
        return refuse(ctx, ResumeError::NotFound, h);
    };
    let before = session.whereabouts();
    let Some(managed) = session.managed.as_mut() else {
        return;
    };
    // The client counts modulo 2^32, and not back.
    let counted = session.outbox.acked().saturating_sub(managed.delivered);
    let sent = session.outbox.delivered().saturating_sub(managed.delivered);
    let more = u64::from(request.h.wrapping_sub(low(counted)));
    if counted + more > sent {
        let why = ResumeError::HandledTooHigh { sent: low(sent) };
        return refuse(ctx, why, None);
    }
    // Above that of any other connection, also of one that only its edge knows.
    managed.generation = (managed.generation + 1).max(now);
    let acked = managed.delivered + counted + more;
    session.due = Some((edge, connection));
    let resumed = ToEdge::Resumed {
        connection,
        session: session.id,
        jid: session.jid.clone(),
        taken: session.progress.taken(),
        enabled: managed.enabled,
        acked,
        acked_enabled: managed.delivered,
    };
    let id = session.id;
    metrics::resumption("resumed");
    let former = match before {
        At::Edge(edge, connection) => Some((edge, connection)),
        At::Nowhere(_) => None,
    };
    ctx.effect(Effect::Resumed(edge, resumed, former));
    ctx.effect(Effect::Reached(id, edge, connection, acked));
    // Last: what follows a write waits for the store.
    acked_up_to(ctx, id, acked);
    if let Some(session) = ctx.account.session_mut(id) {
        session.outbox.change_hands();
    }
}

/// A session's connection, or its edge, is lost.
pub fn lose(ctx: &mut Ctx<'_>, id: SessionId) {
    let now = ctx.now.mono;
    let Some(session) = ctx.account.session_mut(id) else {
        return;
    };
    if matches!(session.whereabouts(), At::Nowhere(_)) {
        return;
    }
    let until = now + patience(session);
    session.due = None;
    session.at = At::Nowhere(until);
    ctx.effect(Effect::Sleeps(id, until));
    store(ctx, id);
}

/// What could not be stored of a session without a connection is stored again.
pub fn sleep(ctx: &mut Ctx<'_>, id: SessionId) {
    if ctx.account.session(id).is_some_and(Session::is_away) {
        store(ctx, id);
    }
}

/// How long a session is kept without a connection, in milliseconds.
fn patience(session: &Session) -> u64 {
    match session.managed.as_ref().map(|managed| managed.resume_secs) {
        None | Some(0) => GRACE_MS,
        Some(secs) => u64::from(secs) * 1000,
    }
}

/// Stores a session without a connection, or one whose edge may die before it has told a new owner
/// of it, and all that waits for it.
pub fn store(ctx: &mut Ctx<'_>, id: SessionId) {
    let Some(session) = ctx.account.session(id) else {
        return;
    };
    let until = match session.at {
        At::Nowhere(until) => until,
        At::Edge(..) => ctx.now.mono + patience(session),
    };
    let until_unix = ctx.now.unix + until.saturating_sub(ctx.now.mono);
    let state = record::encode(session, &ctx.shared.pipeline.keepers, until_unix);
    let entries = session.outbox.unacked();
    let rows: Vec<_> = entries
        .map(|(number, entry)| (number, record::encode_entry(entry)))
        .collect();
    let asleep = std::mem::take(&mut ctx.account.asleep);
    let (own, mut asleep): (Vec<_>, Vec<_>) =
        asleep.into_iter().partition(|(known, _)| *known == id);
    asleep.push((id, None));
    asleep.extend(rows.iter().map(|(number, _)| (id, Some(*number))));
    ctx.account.asleep = asleep;
    // Those its client has acknowledged since it was stored the last time.
    let is_gone = |number: &u64| rows.iter().all(|(known, _)| known != number);
    let gone = own.into_iter().filter_map(|(_, number)| number);
    for number in gone.filter(is_gone) {
        ctx.delete(SLEEPING, &entry_key(id, number));
    }
    ctx.put(SLEEPING, &session_key(id), state);
    // The next owner must know what is in the queue of those stanzas already.
    let marks = ctx.account.marks.encode(ctx.now.unix);
    ctx.put(MARKS, "", marks);
    for (number, value) in rows {
        ctx.put(SLEEPING, &entry_key(id, number), value);
    }
}

/// The client has the first `count` of what the session was delivered.
pub fn acked_up_to(ctx: &mut Ctx<'_>, id: SessionId, count: u64) {
    let Some(session) = ctx.account.session_mut(id) else {
        return;
    };
    let freed = session.outbox.ack(count);
    let Some(log) = freed.log else {
        return;
    };
    let caller = ctx.session_id();
    ctx.set_session(Some(id));
    let shared = ctx.shared;
    for hook in &shared.pipeline.acknowledged {
        hook(ctx, log, freed.logged);
    }
    ctx.set_session(caller);
}

/// The edge of a connection keeps what a new owner of its session would need.
pub fn kept(ctx: &mut Ctx<'_>, id: SessionId, (edge, connection): (EdgeId, ConnectionId)) {
    let session = ctx.account.session(id);
    // One that has another connection by now may be on its way to that edge.
    if session.is_some_and(|session| session.at == At::Edge(edge, connection)) {
        wake(ctx, id);
    }
}

/// What was stored of a session while it slept is not needed any more.
pub fn wake(ctx: &mut Ctx<'_>, id: SessionId) {
    let stored = std::mem::take(&mut ctx.account.asleep);
    let (gone, kept): (Vec<_>, Vec<_>) = stored.into_iter().partition(|(known, _)| *known == id);
    ctx.account.asleep = kept;
    if gone.is_empty() {
        return;
    }
    ctx.delete(SLEEPING, &session_key(id));
    for number in gone.into_iter().filter_map(|(_, number)| number) {
        ctx.delete(SLEEPING, &entry_key(id, number));
    }
}

/// A session that could be resumed has ended: its client may still ask.
pub fn remember(epitaphs: &mut Epitaphs, session: &Session) {
    let Some(managed) = session
        .managed
        .as_ref()
        .filter(|known| known.resume_secs > 0)
    else {
        return;
    };
    let h = low(session.progress.taken().saturating_sub(managed.enabled));
    epitaphs.add(managed.id.clone(), h);
}

/// A count as the client counts it, modulo 2^32.
#[expect(clippy::cast_possible_truncation, reason = "that is the point")]
fn low(count: u64) -> u32 {
    count as u32
}
