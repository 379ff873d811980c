//! Voice: a visitor asks to speak (XEP-0045 §7.13), a moderator approves (§8.6).

use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::form::{Form, Submitted};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::affiliation::Role;
use super::occupant::Occupant;
use super::presence::{self, Said};
use super::room::Room;
use super::{message, record};
use crate::hooks::Ctx;

/// A message with the form by which somebody asks for voice, or answers.
pub(super) fn received(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Stanza,
    form: &Submitted,
) -> Result<(), StanzaError> {
    let sender = room.occupants.get(stanza.sender());
    let sender = sender.ok_or(Condition::NotAcceptable)?.clone();
    match form.value("muc#request_allow") {
        Some(allow) => answered(ctx, room, &sender, form, matches!(allow, "true" | "1")),
        None => asked(ctx, room, &sender, form),
    }
}

/// §7.13: the moderators are asked.
fn asked(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    sender: &Occupant,
    form: &Submitted,
) -> Result<(), StanzaError> {
    if form.value("muc#role") != Some(Role::Participant.name()) || sender.role != Role::Visitor {
        return Err(Condition::BadRequest.into());
    }
    if !room.settings.may_request_voice {
        return Err(Condition::Forbidden.into());
    }
    if !room.pace.may_ask(&sender.jid, ctx.now.mono) {
        return Err(message::too_fast());
    }
    let moderators = room.occupants.iter();
    let moderators = moderators.filter(|occupant| occupant.role == Role::Moderator);
    let moderators: Vec<Jid> = moderators.map(|occupant| occupant.jid.clone()).collect();
    let mut stanza = Stanza::new(Kind::Message, Type::Normal).from(room.jid.clone());
    stanza.id = Some(ctx.random_id().into());
    let stanza = stanza.child(&approval_form(sender));
    presence::send(ctx, vec![Arc::new(stanza)], moderators);
    Ok(())
}

/// §8.6: a moderator has looked at the form. One who is not in the room any more, or speaks
/// already, needs nothing.
fn answered(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    moderator: &Occupant,
    form: &Submitted,
    is_allowed: bool,
) -> Result<(), StanzaError> {
    if moderator.role != Role::Moderator {
        return Err(Condition::Forbidden.into());
    }
    let jid = form.value("muc#jid").ok_or(Condition::BadRequest)?;
    let jid = Jid::parse(jid).map_err(|_| Condition::BadRequest)?;
    if form.value("muc#role") != Some(Role::Participant.name()) {
        return Err(Condition::BadRequest.into());
    }
    let visitor = room.occupants.get(&jid).filter(|_| is_allowed);
    let Some(visitor) = visitor.filter(|visitor| visitor.role == Role::Visitor) else {
        return Ok(());
    };
    let sessions = room.occupants.of_nick(&visitor.nick).to_vec();
    for session in sessions {
        if let Some(occupant) = room.occupants.get_mut(&session) {
            occupant.role = Role::Participant;
            record::save_occupant(ctx, occupant, false);
        }
    }
    presence::show(ctx, room, &jid, &Said::default());
    Ok(())
}

fn approval_form(asker: &Occupant) -> Element {
    let field = |var: &str, type_: &str, label: &str, value: &str| {
        Element::new("field", ns::DATA_FORMS)
            .attr("var", var)
            .attr("type", type_)
            .attr("label", label)
            .text_child("value", value)
    };
    let instructions = "To approve this request for voice, select the \"Grant voice to this \
                        person?\" checkbox and click OK. To skip this request, click the cancel \
                        button.";
    let form = Form::to_fill_in(ns::MUC_REQUEST, "Voice request", instructions);
    let role = Role::Participant.name();
    form.into_element().children_from([
        field("muc#role", "list-single", "Requested role", role),
        field("muc#jid", "jid-single", "User ID", asker.jid.as_str()),
        field("muc#roomnick", "text-single", "Room Nickname", &asker.nick),
        field(
            "muc#request_allow",
            "boolean",
            "Grant voice to this person?",
            "false",
        ),
    ])
}
