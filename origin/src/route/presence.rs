//! Presence: broadcast, probe, directed (RFC 6121 §4).

use std::sync::Arc;

use couplet_proto::link::id::SessionId;
use couplet_proto::xmpp::error::Condition;
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::{Jid, Kind, Stanza, Type};

use super::{bounce, subscription};
use crate::features::roster;
use crate::hooks::context::{Effect, Fan, Shared};
use crate::hooks::{Ctx, PresenceChange};
use crate::session::{Available, Session};

/// Addresses one session may have sent presence to directly; more get `policy-violation`.
const DIRECTED_MAX: usize = 5000;

/// A client of this account sent presence.
pub fn sent(ctx: &mut Ctx<'_>, stanza: Arc<Stanza>) {
    let is_directed = stanza.to.is_some();
    match stanza.type_ {
        Type::Available | Type::Unavailable if !is_directed => broadcast_soon(ctx, stanza),
        Type::Available | Type::Unavailable => directed(ctx, stanza),
        Type::Subscribe | Type::Subscribed | Type::Unsubscribe | Type::Unsubscribed => {
            match is_directed {
                true => subscription::sent(ctx, &stanza),
                false => refuse(ctx, &stanza, Condition::BadRequest),
            }
        }
        // §4.3: probes are for servers; a client's is passed on and answered like one.
        _ if is_directed => ctx.effect(Effect::Route(stanza, 0)),
        _ => {}
    }
}

/// A second has passed for a session whose presence changed too fast.
pub fn catch_up(ctx: &mut Ctx<'_>, id: SessionId) {
    ctx.set_session(Some(id));
    let waiting = ctx.session().and_then(|known| known.pace.waiting.take());
    if let Some(stanza) = waiting {
        broadcast_soon(ctx, stanza);
    }
    if ctx.session().is_some_and(|known| known.is_hidden) {
        show_again(ctx, id);
    }
}

/// Presence for this account or one of its sessions.
pub fn received(ctx: &mut Ctx<'_>, stanza: Arc<Stanza>) {
    if stanza.type_ == Type::Probe {
        let prober = stanza.sender();
        let full = stanza.to.as_ref().filter(|to| to.is_full());
        if let Some(to) = full.filter(|_| ctx.shared.is_service(prober.domain())) {
            return probed_by_room(ctx, prober, to);
        }
        // §4.3.2: an account that does not exist looks like one that shows itself to nobody.
        return probed(ctx, prober);
    }
    // §8.5.1: to nobody it says nothing.
    let Some(to) = stanza.to.as_ref().filter(|_| ctx.account.exists()) else {
        return;
    };
    match stanza.type_ {
        Type::Subscribe | Type::Subscribed | Type::Unsubscribe | Type::Unsubscribed => {
            subscription::received(ctx, &stanza);
        }
        _ if to.is_full() => {
            if let Some(session) = ctx.account.session_of(to) {
                ctx.pass(session, stanza);
            }
        }
        // An error too: a request that could not be routed comes back to the bare address.
        _ => deliver_to_available(ctx, &stanza),
    }
}

/// Its contacts hear that the address of a session is gone, because an older one has ended: if it
/// is available it says so again. One that is about to, with a stanza its contacts may have had
/// before that, does so soon after.
pub fn show_again(ctx: &mut Ctx<'_>, id: SessionId) {
    let Some(session) = ctx.account.session_mut(id) else {
        return;
    };
    let presence = session.presence.as_ref();
    let presence = presence.map(|presence| presence.stanza.clone());
    session.is_hidden = presence.is_none();
    if let Some(stanza) = presence {
        broadcast(ctx, &stanza);
    }
}

/// A session was taken for gone and is there: it says so again, and asks again, because what it was
/// sent meanwhile found nobody.
pub fn come_late(ctx: &mut Ctx<'_>, id: SessionId) {
    show_again(ctx, id);
    let session = ctx.account.session(id);
    let available = session.filter(|session| session.is_available());
    if let Some(jid) = available.map(|session| session.jid.clone()) {
        probe(ctx, &jid);
    }
}

/// A session ends: everyone who saw it hears that it is unavailable.
pub fn ended(ctx: &mut Ctx<'_>, id: SessionId) {
    let Some(session) = ctx.account.session(id) else {
        return;
    };
    if session.presence.is_none() && session.directed.is_empty() {
        return;
    }
    let from = session.jid.clone();
    let stanza = Arc::new(Stanza::new(Kind::Presence, Type::Unavailable).from(from));
    leave(ctx, &stanza);
}

/// The account goes: its contacts hear that every agreement with it is over.
pub fn account_removed(ctx: &mut Ctx<'_>) {
    for (contact, item) in roster::snapshot(ctx.account) {
        subscription::removed(ctx, &contact, &item);
    }
}

/// Sends the presence of every available session to somebody who may see it now.
pub fn show_all(ctx: &mut Ctx<'_>, contact: &Jid) {
    let shown: Vec<_> = ctx
        .account
        .available()
        .map(|(_, presence)| presence.stanza.clone())
        .collect();
    for stanza in shown {
        send_to(ctx, &stanza, contact.clone());
    }
}

/// Tells somebody who may not see it any more that every available session is unavailable.
pub fn hide_all(ctx: &mut Ctx<'_>, contact: &Jid) {
    let hidden: Vec<Jid> = ctx
        .account
        .available()
        .map(|(session, _)| session.jid.clone())
        .collect();
    for from in hidden {
        let gone = Stanza::new(Kind::Presence, Type::Unavailable)
            .from(from)
            .to(contact.clone());
        ctx.route(gone);
    }
}

/// Delivers to every available session: one shared stanza.
pub fn deliver_to_available(ctx: &mut Ctx<'_>, stanza: &Arc<Stanza>) {
    for session in available_sessions(ctx) {
        ctx.pass(session, stanza.clone());
    }
}

fn available_sessions(ctx: &Ctx<'_>) -> Vec<SessionId> {
    let available = ctx.account.available();
    available.map(|(session, _)| session.id).collect()
}

/// Broadcasts a presence, or keeps it while the session changes its presence too fast: then only
/// the latest counts.
fn broadcast_soon(ctx: &mut Ctx<'_>, stanza: Arc<Stanza>) {
    let is_unavailable = stanza.type_ == Type::Unavailable;
    let Some(priority) = priority_of(&stanza).or(is_unavailable.then_some(0)) else {
        return refuse(ctx, &stanza, Condition::BadRequest);
    };
    let now = ctx.now.mono;
    let Some(session) = ctx.session() else {
        return;
    };
    let pace = &mut session.pace;
    if pace.waiting.is_some() {
        pace.waiting = Some(stanza);
        return;
    }
    if !pace.admit(now) {
        pace.waiting = Some(stanza);
        let paced = Effect::Paced(session.id);
        return ctx.effect(paced);
    }
    match is_unavailable {
        true => unavailable(ctx, &stanza),
        false => available(ctx, stanza, priority),
    }
}

/// §4.2, §4.4: a session becomes available or changes its presence.
fn available(ctx: &mut Ctx<'_>, stanza: Arc<Stanza>, priority: i8) {
    let (now, source) = (ctx.now.mono, ctx.source);
    let Some(session) = ctx.session() else {
        return;
    };
    let since = session.presence.as_ref().map(|presence| presence.since);
    let was_available = since.is_some();
    session.is_changed = true;
    let former = session.presence.replace(Available {
        stanza: stanza.clone(),
        priority,
        since: since.unwrap_or(now),
    });
    session.was(source, former, &[]);
    let (own, is_hidden) = (session.id, session.is_hidden);
    if is_hidden {
        ctx.effect(Effect::Paced(own));
    }
    broadcast(ctx, &stanza);
    if !was_available {
        greet(ctx, own);
    }
    announce(ctx, stanza, was_available, priority);
}

/// §4.5: a session becomes unavailable.
fn unavailable(ctx: &mut Ctx<'_>, stanza: &Arc<Stanza>) {
    let session = ctx.session().filter(|session| session.is_available());
    let own = session.map(|session| session.id);
    leave(ctx, stanza);
    if let Some(own) = own {
        // §4.5.2: the session that leaves hears it too.
        let mut echo = (**stanza).clone();
        echo.to = Some(ctx.account.jid.clone());
        ctx.deliver(own, Arc::new(echo));
    }
}

/// §4.5.2, §4.6.3: everyone who saw the session hears that it is gone.
fn leave(ctx: &mut Ctx<'_>, stanza: &Arc<Stanza>) {
    let source = ctx.source;
    let Some(session) = ctx.session() else {
        return;
    };
    session.is_changed = true;
    let former = session.presence.take();
    let was_available = former.is_some();
    let mut directed: Vec<Jid> = std::mem::take(&mut session.directed).into_iter().collect();
    // The same events give the same outputs: not in the order of a hash table.
    directed.sort_unstable();
    session.was(source, former, &directed);
    if was_available {
        broadcast(ctx, stanza);
    }
    for contact in directed {
        // §4.6.3: those who saw it otherwise have heard already.
        let is_told = was_available
            && roster::item(ctx.account, &contact).is_some_and(|item| item.state.is_seen());
        if !is_told {
            send_to(ctx, stanza, contact);
        }
    }
    announce(ctx, stanza.clone(), was_available, 0);
}

/// §4.6: presence for somebody in particular.
fn directed(ctx: &mut Ctx<'_>, stanza: Arc<Stanza>) {
    let (Some(to), is_available) = (stanza.to.clone(), stanza.type_ == Type::Available) else {
        return;
    };
    let shared = ctx.shared;
    let Some(session) = ctx.session() else {
        return;
    };
    let is_new = is_available && !session.directed.contains(&to);
    if is_new && session.directed.len() >= DIRECTED_MAX {
        return refuse(ctx, &stanza, Condition::PolicyViolation);
    }
    let is_room = shared.is_service(to.domain()) && to.local().is_some();
    if is_available && is_room && is_in_enough_rooms(session, shared, &to) {
        return refuse(ctx, &stanza, Condition::ResourceConstraint);
    }
    if is_room {
        // A session has one nick in a room: one that has changed it is not there under both.
        session.directed.retain(|other| !other.is_same_bare(&to));
    }
    match is_available {
        true => session.directed.insert(to),
        false => session.directed.remove(&to),
    };
    session.is_changed = true;
    ctx.effect(Effect::Route(stanza, 0));
}

/// Whether a session that wants to enter a room is in as many others as it may be.
fn is_in_enough_rooms(session: &Session, shared: &Shared, to: &Jid) -> bool {
    let rooms_max = shared.config.muc.rooms_per_session as usize;
    let rooms = session.directed.iter().filter(|other| {
        let is_room = shared.is_service(other.domain()) && other.local().is_some();
        is_room && !other.is_same_bare(to)
    });
    rooms.count() >= rooms_max
}

/// To everyone who may see the account, and to its own available sessions.
fn broadcast(ctx: &mut Ctx<'_>, stanza: &Arc<Stanza>) {
    let contacts = roster::contacts(ctx.account, |state| state.is_seen());
    let mut contacts: Vec<Jid> = contacts.into_iter().collect();
    match contacts.len() {
        0 | 1 => contacts
            .drain(..)
            .for_each(|contact| send_to(ctx, stanza, contact)),
        // One for each node that has some of them, not one for each of them.
        _ => ctx.fan(Fan {
            stanzas: [stanza.clone()].into(),
            to: contacts.into(),
            source: None,
            list: 0,
            entered: 0,
        }),
    }
    let mut own = (**stanza).clone();
    own.to = Some(ctx.account.jid.clone());
    deliver_to_available(ctx, &Arc::new(own));
}

/// §4.2.2, §4.3.1, §3.1.3: what a session that has just become available must learn.
fn greet(ctx: &mut Ctx<'_>, own: SessionId) {
    let Some(jid) = ctx.account.session(own).map(|session| session.jid.clone()) else {
        return;
    };
    let others: Vec<Arc<Stanza>> = ctx
        .account
        .available()
        .filter(|(session, _)| session.id != own)
        .map(|(_, presence)| presence.stanza.clone())
        .collect();
    for other in others {
        let mut copy = (*other).clone();
        copy.to = Some(jid.clone());
        ctx.deliver(own, Arc::new(copy));
    }
    probe(ctx, &jid);
    for (contact, item) in roster::snapshot(ctx.account) {
        if let Some(request) = item.request.filter(|_| item.state.is_pending_in()) {
            let mut asked = Stanza::new(Kind::Presence, Type::Subscribe)
                .from(contact)
                .to(ctx.account.jid.clone());
            asked.payload = roster::request_payload(&request);
            ctx.deliver(own, Arc::new(asked));
        }
    }
}

/// §4.3.1: a session asks whom it may see.
fn probe(ctx: &mut Ctx<'_>, from: &Jid) {
    for contact in roster::contacts(ctx.account, |state| state.sees()) {
        let probe = Stanza::new(Kind::Presence, Type::Probe);
        ctx.route(probe.from(from.clone()).to(contact));
    }
}

/// §4.3.2: somebody's server asks who is there.
fn probed(ctx: &mut Ctx<'_>, prober: &Jid) {
    let contact = prober.to_bare();
    let may_see = roster::may_see(ctx.account, &contact);
    let own = ctx.account.jid.clone();
    if !may_see {
        let refused = Stanza::new(Kind::Presence, Type::Unsubscribed);
        return ctx.route(refused.from(own).to(contact));
    }
    let shown: Vec<_> = ctx
        .account
        .available()
        .map(|(_, presence)| presence.stanza.clone())
        .collect();
    if shown.is_empty() {
        let gone = Stanza::new(Kind::Presence, Type::Unavailable);
        return ctx.route(gone.from(own).to(prober.clone()));
    }
    for stanza in shown {
        send_to(ctx, &stanza, prober.clone());
    }
}

/// XEP-0045 §18.1.2: a room asks whether a session that is in it is there. Only one that is not is
/// answered for: it had no way to leave.
fn probed_by_room(ctx: &mut Ctx<'_>, room: &Jid, session: &Jid) {
    if ctx.account.session_of(session).is_none() {
        let gone = Stanza::new(Kind::Presence, Type::Unavailable);
        ctx.route(gone.from(session.clone()).to(room.clone()));
    }
}

fn announce(ctx: &mut Ctx<'_>, stanza: Arc<Stanza>, was_available: bool, priority: i8) {
    let change = PresenceChange {
        is_available: stanza.type_ == Type::Available,
        was_available,
        priority,
        stanza,
    };
    let shared = ctx.shared;
    for hook in &shared.pipeline.presence {
        hook(ctx, &change);
    }
}

/// A copy for `to`; the payload is shared.
fn send_to(ctx: &mut Ctx<'_>, stanza: &Arc<Stanza>, to: Jid) {
    let mut copy = (**stanza).clone();
    copy.to = Some(to);
    ctx.route(copy);
}

/// An error for the client's own presence; one without `to` was for its own account.
fn refuse(ctx: &mut Ctx<'_>, stanza: &Stanza, condition: Condition) {
    let mut addressed = stanza.clone();
    addressed.to = addressed.to.or_else(|| Some(ctx.account.jid.clone()));
    bounce::bounce(ctx, &addressed, condition);
}

/// §4.7.2.3: an integer between -128 and 127; absent means 0, anything else is no presence.
fn priority_of(stanza: &Stanza) -> Option<i8> {
    priority_in(&stanza.payload)
}

fn priority_in(payload: &Payload) -> Option<i8> {
    match payload.find("priority", ns::CLIENT) {
        None => Some(0),
        Some(child) => child.content().trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use crate::shard::rig::Rig;

    /// A session enters a room by directed presence: XEP-0045 §7.2.
    #[test]
    fn a_session_is_in_so_many_rooms_and_no_more() {
        let mut rig = Rig::with(1, &["romeo@x", "juliet@x"], |config| {
            config.muc.rooms_per_session = 2;
        });
        let mut romeo = rig.online("romeo@x/r");
        let mut send = |rig: &mut Rig, to: &str, more: &str| {
            rig.send(&mut romeo, &format!("<presence to='{to}'{more}/>"));
            let refused = rig.received(&romeo);
            refused.iter().any(|it| it.contains("<resource-constraint"))
        };
        assert!(!send(&mut rig, "a@rooms.x/nick", ""));
        assert!(!send(&mut rig, "b@rooms.x/nick", ""));
        assert!(send(&mut rig, "c@rooms.x/nick", ""));
        // Neither another nick nor another user is another room.
        assert!(!send(&mut rig, "b@rooms.x/other", ""));
        assert!(!send(&mut rig, "juliet@x", ""));
        assert!(!send(&mut rig, "a@rooms.x/nick", " type='unavailable'"));
        assert!(!send(&mut rig, "c@rooms.x/nick", ""));
        let account = rig.account("romeo@x").expect("in memory");
        let directed = account.sessions[0].directed.iter();
        let mut directed: Vec<String> = directed.map(ToString::to_string).collect();
        directed.sort_unstable();
        assert_eq!(directed, ["b@rooms.x/other", "c@rooms.x/nick", "juliet@x"]);
    }
}
