//! Private messages: from one occupant to another (XEP-0045 §7.5).

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::affiliation::Role;
use super::message;
use super::presence;
use super::room::Room;
use super::settings::Allowed;
use crate::hooks::Ctx;

/// A message for an occupant: every session under the nick gets it.
pub(super) fn received(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Stanza,
) -> Result<(), StanzaError> {
    let sender = room.occupants.get(stanza.sender());
    let sender = sender.ok_or(Condition::NotAcceptable)?.clone();
    if stanza.type_ == Type::Groupchat {
        return Err(Condition::BadRequest.into());
    }
    let nick = stanza.to.as_ref().and_then(Jid::resource);
    let receivers = room.occupants.of_nick(nick.unwrap_or_default()).to_vec();
    if receivers.is_empty() {
        return Err(Condition::ItemNotFound.into());
    }
    if !may_send(room.settings.private_messages, sender.role) {
        return Err(Condition::Forbidden.into());
    }
    let per_second = ctx.shared.config.muc.messages_per_occupant;
    if !room.pace.may_write(&sender.jid, ctx.now.mono, per_second) {
        return Err(message::too_fast());
    }
    let mut sent = Stanza::new(Kind::Message, stanza.type_);
    sent.id = stanza.id.clone();
    sent.from = room.occupant_jid(&sender.nick);
    sent.lang = stanza.lang.clone();
    sent.extra = stanza.extra.clone();
    // By this a receiver's carbons are known to be of a room (XEP-0280 §6.1).
    let x = Element::new("x", ns::MUC_USER);
    let occupant_id = presence::occupant_id(room, &sender.jid);
    let payload = message::cleaned(&stanza.payload);
    sent.payload = payload.with(&x).with(&occupant_id);
    for receiver in receivers {
        ctx.route(sent.clone().to(receiver));
    }
    Ok(())
}

/// `allowpm`: who may send them.
fn may_send(allowed: Allowed, role: Role) -> bool {
    match allowed {
        Allowed::Anyone => true,
        Allowed::Participants => role >= Role::Participant,
        Allowed::Moderators => role == Role::Moderator,
        Allowed::Nobody => false,
    }
}
