//! Registration: a user becomes a member and has a nick of its own (XEP-0045 §7.10, XEP-0077).
//!
//! In a members-only room only admins make members: a registration that nobody approves would let
//! everybody in.

use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::form::{Field, Form, Submitted};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Stanza};

use super::affiliation::Affiliation;
use super::change::{self, Author, Nick, Wanted};
use super::room::Room;
use super::{admin, likeness};
use crate::hooks::{Ctx, Reply};

/// The field that is asked for.
const ROOM_NICK: &str = "muc#register_roomnick";

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
    let instructions = "Choose the nickname that is to be yours in this room.";
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
        Some(_) => removed(room, from, affiliation)?,
        None => registered(ctx, room, from, affiliation, query)?,
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

fn registered(
    ctx: &Ctx<'_>,
    room: &Room,
    from: &Jid,
    affiliation: Affiliation,
    query: &Element,
) -> Result<Wanted, StanzaError> {
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
    if likeness::is_taken(room, &nick, from) {
        return Err(Condition::Conflict.into());
    }
    let muc = &ctx.shared.config.muc;
    let is_known = room.members.contains_key(&from.to_bare());
    if !is_known && room.members.len() >= muc.affiliations_max as usize {
        return Err(Condition::ResourceConstraint.into());
    }
    Ok(wanted(
        from,
        affiliation.max(Affiliation::Member),
        Nick::Is(nick),
    ))
}

/// Who is a member already may choose another nick whatever the room allows others.
fn admit(room: &Room, affiliation: Affiliation) -> Result<(), StanzaError> {
    let is_open = room.settings.may_register && !room.settings.is_members_only;
    match affiliation {
        Affiliation::Outcast => Err(Condition::NotAllowed.into()),
        Affiliation::None if !is_open => Err(Condition::NotAllowed.into()),
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
