//! Registration: a user becomes a member and has a nick of its own (XEP-0045 §7.10, XEP-0077).
//!
//! In a members-only room only admins make members: a registration that nobody approves would let
//! everybody in. So they are asked (`approval`).

use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::form::{Field, Form, Submitted};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Stanza};

use super::affiliation::Affiliation;
use super::change::{self, Author, Nick, Wanted};
use super::room::Room;
use super::{admin, approval, likeness, record};
use crate::hooks::{Ctx, Reply};

/// The field that is asked for.
pub(super) const ROOM_NICK: &str = "muc#register_roomnick";

/// What is needed, or what is known already.
pub(super) fn read(ctx: &mut Ctx<'_>, room: &Room, from: &Jid) -> Result<Reply, StanzaError> {
    let affiliation = room.affiliation(ctx.shared, from);
    let query = Element::new("query", ns::REGISTER);
    if affiliation >= Affiliation::Member {
        let mut query = query.child(Element::new("registered", ns::REGISTER));
        let member = room.members.get(&from.to_bare());
        if let Some(nick) = member.and_then(|member| member.nick.as_deref()) {
            query = query.text_child("username", nick);
        }
        return Ok(Reply::Payload(query));
    }
    admit(room, affiliation)?;
    let instructions = match needs_approval(room, affiliation) {
        true => "Choose the nickname that is to be yours in this room. An admin decides.",
        false => "Choose the nickname that is to be yours in this room.",
    };
    let title = format!("{} Registration", room.jid.local().unwrap_or_default());
    let nick = Field::new(ROOM_NICK, "text-single", "Desired Nickname").required();
    let form = Form::to_fill_in(ns::MUC_REGISTER, &title, instructions).with(nick);
    let query = query.text_child("instructions", instructions);
    Ok(Reply::Payload(query.child(form.into_element())))
}

/// The form, filled in; or the wish not to be registered any more.
pub(super) fn write(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Arc<Stanza>,
    query: &Element,
) -> Result<Reply, StanzaError> {
    let from = stanza.sender();
    let affiliation = room.affiliation(ctx.shared, from);
    let wanted = match query.find_own("remove") {
        Some(_) if query.children().count() != 1 => return Err(Condition::BadRequest.into()),
        Some(_) if room.requests.remove(&from.to_bare()) => {
            record::save_requests(ctx, &room.requests);
            return Ok(Reply::Empty);
        }
        Some(_) => removed(room, from, affiliation)?,
        None => {
            let nick = chosen_nick(room, from, affiliation, query)?;
            has_place(ctx, room, from)?;
            if needs_approval(room, affiliation) {
                approval::ask(ctx, room, stanza, nick)?;
                return Ok(Reply::Later);
            }
            registered(room, from, nick)
        }
    };
    let changed = change::write_affiliation(ctx, room, wanted);
    ctx.route(stanza.result(None));
    let author = Author::of(room, from);
    change::tell_affiliations(ctx, room, &[changed], &author);
    Ok(Reply::Later)
}

/// XEP-0077 §3.2. Who manages the room stays what it is, without a nick.
fn removed(room: &Room, from: &Jid, affiliation: Affiliation) -> Result<Wanted, StanzaError> {
    let affiliation = match affiliation {
        Affiliation::Outcast | Affiliation::None => {
            return Err(Condition::RegistrationRequired.into());
        }
        Affiliation::Member => Affiliation::None,
        // One who owns the room for being the operator's admin may be nothing else to it.
        managing => room
            .members
            .get(&from.to_bare())
            .map_or(managing, |it| it.affiliation),
    };
    Ok(wanted(from, affiliation, Nick::Goes))
}

/// Who is something to the room already stays that. One who owns it for being the operator's admin
/// only is a member to it.
fn registered(room: &Room, from: &Jid, nick: Box<str>) -> Wanted {
    let known = room.members.get(&from.to_bare());
    let known = known.map_or(Affiliation::None, |member| member.affiliation);
    wanted(from, known.max(Affiliation::Member), Nick::Is(nick))
}

fn chosen_nick(
    room: &Room,
    from: &Jid,
    affiliation: Affiliation,
    query: &Element,
) -> Result<Box<str>, StanzaError> {
    admit(room, affiliation)?;
    let form = Submitted::in_child_of(query).ok_or(Condition::BadRequest)?;
    if form.value("FORM_TYPE") != Some(ns::MUC_REGISTER) {
        return Err(Condition::BadRequest.into());
    }
    let nick = form
        .value(ROOM_NICK)
        .map(str::trim)
        .filter(|nick| !nick.is_empty());
    let nick = admin::prepared(room, nick.ok_or(Condition::BadRequest)?)?;
    match likeness::is_taken(room, &nick, from) {
        true => Err(Condition::Conflict.into()),
        false => Ok(nick),
    }
}

/// Whether there is a place for one more in the lists.
pub(super) fn has_place(ctx: &Ctx<'_>, room: &Room, user: &Jid) -> Result<(), StanzaError> {
    let most = ctx.shared.config.muc.affiliations_max as usize;
    let is_known = room.members.contains_key(&user.to_bare());
    match is_known || room.members.len() < most {
        true => Ok(()),
        false => Err(Condition::ResourceConstraint.into()),
    }
}

fn needs_approval(room: &Room, affiliation: Affiliation) -> bool {
    room.settings.is_members_only && affiliation < Affiliation::Member
}

/// Who is a member already may choose another nick whatever the room allows others.
fn admit(room: &Room, affiliation: Affiliation) -> Result<(), StanzaError> {
    match affiliation {
        Affiliation::Outcast => Err(Condition::NotAllowed.into()),
        Affiliation::None if !room.settings.may_register => Err(Condition::NotAllowed.into()),
        _ => Ok(()),
    }
}

fn wanted(from: &Jid, affiliation: Affiliation, nick: Nick) -> Wanted {
    Wanted {
        jid: from.to_bare(),
        affiliation,
        nick,
        reason: None,
    }
}
