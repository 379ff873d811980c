//! Presence of a room: who hears of whom, and with what (XEP-0045 §7.2.2 ff.).
//!
//! Real addresses are for moderators, or for everybody in a non-anonymous room. An occupant whose
//! role is not among those whose presence is broadcast is seen by itself and by moderators alone.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use couplet_proto::xmpp::byte_str::ByteStr;
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::affiliation::{Affiliation, Role};
use super::cards;
use super::occupant::Occupant;
use super::room::Room;
use crate::hooks::Ctx;
use crate::hooks::context::Fan;

/// What is said with a presence besides who it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    /// Status codes for everybody (§15.6.2).
    pub(super) codes: Vec<u16>,
    /// Further ones for the occupant itself; 110 is added.
    pub(super) own_codes: Vec<u16>,
    /// With 303: the nick it has from now on.
    pub(super) nick: Option<Box<str>>,
    /// Who caused it: its nick, and its bare address for those who see addresses.
    pub(super) actor: Option<(Option<Box<str>>, Jid)>,
    /// Why, in the words of whoever caused it.
    pub(super) reason: Option<String>,
    /// A further child of the `x`, such as `destroy`.
    pub(super) child: Option<Element>,
    /// Of one who leaves: what it says in going (§17.3).
    pub(super) farewell: Payload,
    /// The id of the stanza it answers, for the occupant itself (§7.2.2).
    pub(super) id: Option<ByteStr>,
}

/// Who looks at a presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Viewer {
    /// Sees the nick.
    Anybody,
    /// Sees the real address too.
    Trusted,
    /// Is the occupant.
    Itself,
}

/// Tells everybody who is to hear of it that an occupant is in the room as it is now: it has
/// entered, or its presence, role or affiliation has changed.
pub(super) fn show(ctx: &mut Ctx<'_>, room: &mut Room, jid: &Jid, said: &Said) {
    if let Some(occupant) = room.occupants.get(jid).cloned() {
        broadcast(ctx, room, &occupant, Type::Available, said);
    }
}

/// Tells one session of an occupant alone that it is in the room.
pub(super) fn show_itself(ctx: &mut Ctx<'_>, room: &Room, occupant: &Occupant, said: &Said) {
    let own = compose(ctx, room, occupant, Type::Available, said, Viewer::Itself);
    send(ctx, vec![own], vec![occupant.jid.clone()]);
}

/// Tells everybody who is to hear of it that `gone`, which is no occupant any more, has left, has
/// another nick, or was removed: then its role is none. Its other sessions under the nick stay.
pub(super) fn leave(ctx: &mut Ctx<'_>, room: &mut Room, gone: &Occupant, said: &Said) {
    room.cards.forget(&gone.nick);
    let has_others = !room.occupants.of_nick(&gone.nick).is_empty();
    if has_others && said.nick.is_none() {
        // To the others the user is still here.
        let own = compose(ctx, room, gone, Type::Unavailable, said, Viewer::Itself);
        return send(ctx, vec![own], vec![gone.jid.clone()]);
    }
    broadcast(ctx, room, gone, Type::Unavailable, said);
}

/// Tells those who may not see an occupant any more, as its role is one that is not shown, that it
/// has left.
pub(super) fn hide(ctx: &mut Ctx<'_>, room: &Room, occupant: &Occupant) {
    tell_others(ctx, room, occupant, Type::Unavailable);
}

/// Tells those who are no moderators how an occupant is seen now: what they may see of it is
/// something else than before.
pub(super) fn show_anew(ctx: &mut Ctx<'_>, room: &Room, occupant: &Occupant) {
    tell_others(ctx, room, occupant, Type::Available);
}

/// Moderators and the occupant itself see it whatever the settings are.
fn tell_others(ctx: &mut Ctx<'_>, room: &Room, occupant: &Occupant, type_: Type) {
    let all = room.occupants.iter();
    let others = all.filter(|other| other.role != Role::Moderator && other.nick != occupant.nick);
    let to: Vec<Jid> = others.map(|other| other.jid.clone()).collect();
    let viewer = viewer(room, Role::Participant);
    let said = Said::default();
    let stanza = compose(ctx, room, occupant, type_, &said, viewer);
    send_to_list(ctx, vec![stanza], to, room.list_of_viewers(false));
}

/// Tells a session that is no moderator any more that those have left whom only moderators see.
pub(super) fn hide_unseen(ctx: &mut Ctx<'_>, room: &Room, from: &Occupant) {
    let others = room.occupants.nicks();
    let unseen = others.filter(|other| !room.settings.shows(other.role));
    let unseen = unseen.filter(|other| other.nick != from.nick);
    let (viewer, said) = (viewer(room, from.role), Said::default());
    let gone = unseen.map(|other| compose(ctx, room, other, Type::Unavailable, &said, viewer));
    let gone: Vec<_> = gone.collect();
    send(ctx, gone, vec![from.jid.clone()]);
}

/// What somebody who enters is told of those who are there: one presence for each nick but its
/// own.
pub(super) fn roster(ctx: &mut Ctx<'_>, room: &mut Room, to: &Occupant) {
    let (viewer, said) = (viewer(room, to.role), Said::default());
    // Taken out while the room is looked at.
    let mut cards = std::mem::take(&mut room.cards);
    let is_large = room.occupants.nick_count() >= cards::WORTH_IT;
    let mut all = Vec::new();
    for other in room.occupants.nicks() {
        let is_seen = room.settings.shows(other.role) || to.role == Role::Moderator;
        if other.nick != to.nick && is_seen {
            let compose = || compose(ctx, room, other, Type::Available, &said, viewer);
            all.push(match is_large {
                true => cards.of(other, viewer == Viewer::Trusted, compose),
                false => compose(),
            });
        }
    }
    room.cards = cards;
    if is_large && let Some(at) = room.cards.used(ctx.now.mono) {
        ctx.wake_at(at);
    }
    send(ctx, all, vec![to.jid.clone()]);
}

/// What is kept of a large room for those who enter is forgotten when nobody does.
pub(super) fn tidy(ctx: &mut Ctx<'_>, room: &mut Room) {
    if let Some(at) = room.cards.look(ctx.now.mono) {
        ctx.wake_at(at);
    }
}

/// Sends stanzas to sessions.
pub(super) fn send(ctx: &mut Ctx<'_>, stanzas: Vec<Arc<Stanza>>, to: Vec<Jid>) {
    send_to_list(ctx, stanzas, to, 0);
}

/// Sends stanzas to sessions that are much the same each time, under the name of their list.
fn send_to_list(ctx: &mut Ctx<'_>, stanzas: Vec<Arc<Stanza>>, to: Vec<Jid>, list: u64) {
    ctx.fan(Fan {
        stanzas: stanzas.into(),
        to: to.into(),
        source: None,
        list,
        entered: 0,
    });
}

/// XEP-0421 §4: the same for a user whatever its nick and session, and different in every room.
pub(super) fn occupant_id(room: &Room, jid: &Jid) -> Element {
    let mac = Hmac::<Sha256>::new_from_slice(&room.secret);
    let mut mac = mac.expect("a key of any length will do");
    mac.update(jid.bare().as_bytes());
    let id = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Element::new("occupant-id", ns::OCCUPANT_ID).attr("id", id)
}

/// What a client says of itself, without what only a room may say (§17.3, XEP-0421 §4).
pub(super) fn cleaned(payload: &Payload) -> Payload {
    payload.without(|child| {
        child.has_ns(ns::MUC)
            || child.has_ns(ns::MUC_USER)
            || child.has_ns(ns::OCCUPANT_ID)
            || child.has_ns(ns::HATS)
            || child.has_ns(ns::STANZA_ID)
            || child.is("delay", ns::DELAY)
    })
}

fn broadcast(ctx: &mut Ctx<'_>, room: &mut Room, occupant: &Occupant, type_: Type, said: &Said) {
    room.cards.forget(&occupant.nick);
    // Of one who left before a take-over it is not known whether it was seen: it is said again.
    let is_shown = room.settings.shows(occupant.role) || occupant.role == Role::None;
    let is_nick_of_its = |nick: &str| *nick == *occupant.nick || Some(nick) == said.nick.as_deref();
    let is_for_all = room.settings.is_non_anonymous;
    let (mut trusted, mut others, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for other in room.occupants.iter() {
        let is_own = other.jid == occupant.jid
            || (is_nick_of_its(&other.nick) && other.jid.is_same_bare(&occupant.jid));
        match other.role == Role::Moderator {
            _ if is_own => own.push(other.jid.clone()),
            true => trusted.push(other.jid.clone()),
            false if is_shown && is_for_all => trusted.push(other.jid.clone()),
            false if is_shown => others.push(other.jid.clone()),
            false => {}
        }
    }
    if !own.contains(&occupant.jid) {
        own.push(occupant.jid.clone());
    }
    for (viewer, to) in [
        (Viewer::Trusted, trusted),
        (Viewer::Anybody, others),
        (Viewer::Itself, own),
    ] {
        if !to.is_empty() {
            let stanza = compose(ctx, room, occupant, type_, said, viewer);
            let list = match viewer {
                Viewer::Trusted => room.list_of_viewers(true),
                Viewer::Anybody => room.list_of_viewers(false),
                Viewer::Itself => 0,
            };
            send_to_list(ctx, vec![stanza], to, list);
        }
    }
}

/// How somebody in a role sees others.
fn viewer(room: &Room, role: Role) -> Viewer {
    match room.settings.is_non_anonymous || role == Role::Moderator {
        true => Viewer::Trusted,
        false => Viewer::Anybody,
    }
}

fn compose(
    ctx: &Ctx<'_>,
    room: &Room,
    occupant: &Occupant,
    type_: Type,
    said: &Said,
    viewer: Viewer,
) -> Arc<Stanza> {
    let affiliation = room.affiliation(ctx.shared, &occupant.jid);
    let x = said_of(occupant, affiliation, type_, said, viewer);
    let mut stanza = Stanza::new(Kind::Presence, type_);
    stanza.from = room.occupant_jid(&occupant.nick);
    stanza.payload = match type_ {
        Type::Available => occupant.presence.clone(),
        _ => said.farewell.clone(),
    };
    if let Some(hats) = room
        .hats
        .of(&occupant.jid)
        .filter(|_| type_ == Type::Available)
    {
        stanza.payload = stanza.payload.with(&hats);
    }
    if viewer == Viewer::Itself {
        stanza.id = said.id.clone();
    }
    stanza.payload = stanza
        .payload
        .with(&x)
        .with(&occupant_id(room, &occupant.jid));
    Arc::new(stanza)
}

fn said_of(
    occupant: &Occupant,
    affiliation: Affiliation,
    type_: Type,
    said: &Said,
    viewer: Viewer,
) -> Element {
    let role = match type_ {
        Type::Unavailable if said.nick.is_none() => Role::None,
        _ => occupant.role,
    };
    let mut item = Element::new("item", ns::MUC_USER)
        .attr("affiliation", affiliation.name())
        .attr("role", role.name());
    if viewer != Viewer::Anybody {
        item.set_attr("jid", occupant.jid.as_str());
    }
    if let Some(nick) = &said.nick {
        item.set_attr("nick", nick.as_ref());
    }
    if let Some((nick, jid)) = &said.actor {
        let sees = viewer == Viewer::Trusted;
        // Of one who is not in the room there is nothing to tell those who see no addresses.
        if sees || nick.is_some() {
            let actor = Element::new("actor", ns::MUC_USER).attr_opt("nick", nick.as_deref());
            item = item.child(actor.attr_opt("jid", sees.then(|| jid.bare())));
        }
    }
    if let Some(reason) = &said.reason {
        item = item.text_child("reason", reason.as_str());
    }
    let mut codes = said.codes.clone();
    if viewer == Viewer::Itself {
        codes.extend(&said.own_codes);
        codes.push(110);
    }
    codes.sort_unstable();
    codes.dedup();
    let codes = codes
        .into_iter()
        .map(|code| Element::new("status", ns::MUC_USER).attr("code", code.to_string()));
    Element::new("x", ns::MUC_USER)
        .child(item)
        .children_from(said.child.clone())
        .children_from(codes)
}
