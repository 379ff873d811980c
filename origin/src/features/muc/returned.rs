//! Returned: errors that answer what the room has sent.
//!
//! - To a private message (XEP-0045 §7.5): its sender is told, as the room tells everything.
//! - To an invitation (§7.8.2): the inviter is told that nobody can be found there.
//! - To whatever, that nobody is there any more (§12.1): the occupant is removed.
//!
//! Of an error only its condition and type are passed on: the rest may name real addresses.

use couplet_proto::xmpp::error::{Condition, ErrorType, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::forward::{self, Purpose};
use super::leave;
use super::room::Room;
use crate::hooks::Ctx;
use crate::route::bounce;

/// Conditions by which an answer says that its sender is not there any more.
const GONE: [Condition; 7] = [
    Condition::Gone,
    Condition::ItemNotFound,
    Condition::RecipientUnavailable,
    Condition::Redirect,
    Condition::RemoteServerNotFound,
    Condition::RemoteServerTimeout,
    Condition::ServiceUnavailable,
];

/// Conditions by which an answer says that there is nobody of this name, or nobody who may be
/// known.
const UNKNOWN: [Condition; 4] = [
    Condition::Gone,
    Condition::ItemNotFound,
    Condition::RemoteServerNotFound,
    Condition::ServiceUnavailable,
];

/// An error has come for the room or an occupant.
pub(super) fn received(ctx: &mut Ctx<'_>, room: &mut Room, stanza: &Stanza) {
    let Some(error) = read(stanza) else {
        return;
    };
    let nick = stanza.to.as_ref().and_then(Jid::resource);
    match nick {
        Some(nick) if stanza.kind == Kind::Message => private(ctx, room, stanza, nick, &error),
        None if stanza.kind == Kind::Message => invitation(ctx, room, stanza, &error),
        _ => {}
    }
    if is_gone(&error) {
        leave::lost(ctx, room, stanza.sender());
    }
}

/// An occupant's client could not take a private message of whoever is `nick`.
fn private(ctx: &mut Ctx<'_>, room: &mut Room, stanza: &Stanza, nick: &str, error: &StanzaError) {
    let (Some(by), Some(id)) = (room.occupants.get(stanza.sender()), &stanza.id) else {
        return;
    };
    // Of a message to everybody nobody wants to hear how one of them liked it.
    let is_same = |said: &Stanza| said.id.as_ref() == Some(id) && said.from == stanza.to;
    if room.history.iter().any(|past| is_same(&past.stanza)) {
        return;
    }
    if is_gone(error) && room.occupants.of_nick(&by.nick).len() > 1 {
        // Another session of its has the message.
        return;
    }
    let (by, address) = (by.jid.clone(), room.occupant_jid(&by.nick));
    let per_second = ctx.shared.config.muc.messages_per_occupant;
    if !room.pace.may_write(&by, ctx.now.mono, per_second) {
        return;
    }
    for author in room.occupants.of_nick(nick) {
        let mut sent = Stanza::new(Kind::Message, Type::Chat).id(id.to_string());
        sent.from = Some(author.clone());
        sent.to.clone_from(&address);
        bounce::bounce(ctx, &sent, error.clone());
    }
}

/// Whoever was invited cannot be found.
fn invitation(ctx: &mut Ctx<'_>, room: &mut Room, stanza: &Stanza, error: &StanzaError) {
    let id = stanza.id.as_deref().unwrap_or_default();
    let invitee = stanza.sender();
    let inviter = forward::opened(room, Purpose::Invitation, invitee, None, id);
    let Some((inviter, id)) = inviter.filter(|_| UNKNOWN.contains(&error.condition)) else {
        return;
    };
    let per_second = ctx.shared.config.muc.messages_per_occupant;
    if !room.pace.may_write(invitee, ctx.now.mono, per_second) {
        return;
    }
    let sent = Stanza::new(Kind::Message, Type::Normal).from(inviter);
    let mut sent = sent.to(room.jid.clone());
    // One without an id was sealed as one with an empty one.
    sent.id = Some(id).filter(|id| !id.is_empty()).map(Into::into);
    let text = format!("{} cannot be invited.", invitee.bare());
    let error = StanzaError::from(Condition::ItemNotFound).with_text(text);
    bounce::bounce_by(ctx, &sent, &error, &room.jid, &[]);
}

fn is_gone(error: &StanzaError) -> bool {
    GONE.contains(&error.condition)
}

fn read(stanza: &Stanza) -> Option<StanzaError> {
    let error = stanza.payload.find("error", ns::CLIENT)?.element();
    let known = error.children().filter(|child| child.ns() == ns::STANZAS);
    let condition = known.map(Element::name).find_map(Condition::from_name)?;
    let given = error.get("type").and_then(ErrorType::from_name);
    let error = StanzaError::from(condition);
    Some(match given {
        Some(type_) => error.with_type(type_),
        None => error,
    })
}
