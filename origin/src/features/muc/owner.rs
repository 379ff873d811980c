//! Owner: the configuration of a room, and its end (XEP-0045 §10.1, §10.2, §10.9).

use std::collections::BTreeMap;
use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::form::Submitted;
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::affiliation::{Affiliation, Privilege, Role};
use super::change::{self, Author, Nick, Wanted};
use super::room::Room;
use super::settings::Settings;
use super::{admin, announce, configuration, leave, presence, record, update};
use crate::hooks::{Ctx, Reply};

/// §10.1.3, §10.2: the form.
pub(super) fn read(
    ctx: &mut Ctx<'_>,
    room: &Room,
    from: &Jid,
    query: &Element,
) -> Result<Reply, StanzaError> {
    admit(ctx, room, from, Privilege::Configure)?;
    if query.children().next().is_some() {
        return Err(Condition::BadRequest.into());
    }
    let form = configuration::form(room, &ctx.shared.config.muc);
    Ok(Reply::Payload(
        Element::new("query", ns::MUC_OWNER).child(form.into_element()),
    ))
}

/// A form that was filled in or not, or the wish to destroy the room.
pub(super) fn write(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Arc<Stanza>,
    query: &Element,
) -> Result<Reply, StanzaError> {
    let from = stanza.sender();
    if let Some(wish) = query.find_own("destroy") {
        admit(ctx, room, from, Privilege::Destroy)?;
        let wish = copy_of(wish)?;
        destroy(ctx, room, wish);
        return Ok(Reply::Empty);
    }
    admit(ctx, room, from, Privilege::Configure)?;
    let form = query
        .find("x", ns::DATA_FORMS)
        .ok_or(Condition::BadRequest)?;
    match form.get("type") {
        Some("cancel") if room.is_locked => {
            destroy(ctx, room, Element::new("destroy", ns::MUC_USER));
            Ok(Reply::Empty)
        }
        Some("cancel") => Ok(Reply::Empty),
        Some("submit") => {
            let form = Submitted::in_child_of(query).ok_or(Condition::BadRequest)?;
            submit(ctx, room, stanza, &form)
        }
        _ => Err(Condition::BadRequest.into()),
    }
}

/// §10.9: the room is no more, and everybody in it is told once. `wish` is the `destroy` that they
/// are given; the caller forgets the room.
pub(super) fn destroy(ctx: &mut Ctx<'_>, room: &mut Room, wish: Element) {
    record::erase(ctx);
    let item = Element::new("item", ns::MUC_USER)
        .attr("affiliation", Affiliation::None.name())
        .attr("role", Role::None.name());
    let own = Element::new("status", ns::MUC_USER).attr("code", "110");
    let x = Element::new("x", ns::MUC_USER)
        .child(item)
        .child(wish)
        .child(own);
    for occupant in room.occupants.iter() {
        let mut stanza = Stanza::new(Kind::Presence, Type::Unavailable).child(&x);
        stanza.from = room.occupant_jid(&occupant.nick);
        presence::send(ctx, vec![Arc::new(stanza)], vec![occupant.jid.clone()]);
    }
    room.is_destroyed = true;
    tracing::info!(room = %room.jid, "room destroyed");
}

fn admit(ctx: &Ctx<'_>, room: &Room, from: &Jid, privilege: Privilege) -> Result<(), StanzaError> {
    match room.affiliation(ctx.shared, from).may(privilege) {
        true => Ok(()),
        false => Err(Condition::Forbidden.into()),
    }
}

/// What occupants are told of a wish to destroy the room: what the specification has, no more.
fn copy_of(wish: &Element) -> Result<Element, StanzaError> {
    let mut copy = Element::new("destroy", ns::MUC_USER);
    if let Some(venue) = wish.get("jid") {
        let venue = Jid::parse(venue).map_err(|_| Condition::JidMalformed)?;
        copy.set_attr("jid", venue.as_str());
    }
    for name in ["password", "reason"] {
        if let Some(child) = wish.find_own(name) {
            copy = copy.text_child(name, child.content());
        }
    }
    Ok(copy)
}

/// §10.1.2, §10.1.3, §10.2: everything is checked before anything is changed.
fn submit(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Arc<Stanza>,
    form: &Submitted,
) -> Result<Reply, StanzaError> {
    if form
        .value("FORM_TYPE")
        .is_some_and(|type_| type_ != ns::MUC_CONFIG)
    {
        return Err(Condition::BadRequest.into());
    }
    let fields = form.fields();
    let fields = fields.filter_map(|(var, values)| Some((configuration::name_of(var)?, values)));
    let changed = configuration::changed(&room.settings, fields, &ctx.shared.config.muc);
    let changed =
        changed.map_err(|why| StanzaError::from(Condition::NotAcceptable).with_text(why))?;
    let wanted = wanted_affiliations(room, form, &changed)?;
    admin::check_affiliations(ctx, room, stanza.sender(), &wanted)?;
    let before = std::mem::replace(&mut room.settings, changed);
    room.is_locked = false;
    record::save(ctx, room);
    let mut affiliations = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        affiliations.push(change::write_affiliation(ctx, room, wanted));
    }
    ctx.route(stanza.result(None));
    let author = Author::of(room, stanza.sender());
    change::tell_affiliations(ctx, room, &affiliations, &author);
    tell(ctx, room, &before, &author);
    Ok(Reply::Later)
}

/// §10.2: what follows from other settings.
fn tell(ctx: &mut Ctx<'_>, room: &mut Room, before: &Settings, author: &Author) {
    let codes = codes(before, &room.settings);
    if !codes.is_empty() {
        announce::codes(ctx, room, &codes, &author.jid);
    }
    if before.is_moderated && !room.settings.is_moderated {
        give_voice(ctx, room);
    }
    if room.settings.is_members_only && !before.is_members_only {
        remove_strangers(ctx, room, author);
    }
    update::settings(ctx, room, before);
}

/// §10.2.1.
fn codes(before: &Settings, now: &Settings) -> Vec<u16> {
    let mut codes = Vec::new();
    match (before.is_archived, now.is_archived) {
        (false, true) => codes.push(170),
        (true, false) => codes.push(171),
        _ => {}
    }
    match (before.is_non_anonymous, now.is_non_anonymous) {
        (false, true) => codes.push(172),
        (true, false) => codes.push(173),
        _ => {}
    }
    let otherwise = Settings {
        is_archived: now.is_archived,
        is_non_anonymous: now.is_non_anonymous,
        ..before.clone()
    };
    if otherwise != *now {
        codes.insert(0, 104);
    }
    codes
}

/// §4.2: in an unmoderated room everybody may speak.
fn give_voice(ctx: &mut Ctx<'_>, room: &mut Room) {
    let silent = room
        .occupants
        .nicks()
        .filter(|occupant| occupant.role == Role::Visitor);
    let silent: Vec<Box<str>> = silent.map(|occupant| occupant.nick.clone()).collect();
    for nick in &silent {
        change::write_role(ctx, room, nick, Role::Participant);
    }
    for nick in &silent {
        change::tell_role(ctx, room, nick, Role::Visitor, &presence::Said::default());
    }
}

/// §10.2: nobody but members stays in a room that is now for members only.
fn remove_strangers(ctx: &mut Ctx<'_>, room: &mut Room, author: &Author) {
    let all = room.occupants.everybody();
    let said = author.said(&[322], None);
    for jid in all.iter() {
        if room.affiliation(ctx.shared, jid) < Affiliation::Member {
            leave::remove(ctx, room, jid, &said);
        }
    }
}

/// §10.5 and §10.8, notes: the form has the whole lists of admins and owners. Who is on neither any
/// more is a member where only members may enter.
fn wanted_affiliations(
    room: &Room,
    form: &Submitted,
    settings: &Settings,
) -> Result<Vec<Wanted>, StanzaError> {
    let mut wanted: BTreeMap<Jid, Affiliation> = BTreeMap::new();
    let lists = [
        ("muc#roomconfig_roomadmins", Affiliation::Admin),
        ("muc#roomconfig_roomowners", Affiliation::Owner),
    ];
    for (var, affiliation) in lists {
        let Some(listed) = form.values(var) else {
            continue;
        };
        let known = room.members.iter();
        for (jid, _) in known.filter(|(_, member)| member.affiliation == affiliation) {
            let lost = match settings.is_members_only {
                true => Affiliation::Member,
                false => Affiliation::None,
            };
            wanted.entry(jid.clone()).or_insert(lost);
        }
        for jid in listed.iter().filter(|jid| !jid.trim().is_empty()) {
            let jid = Jid::parse(jid.trim())
                .ok()
                .filter(|jid| jid.local().is_some());
            let Some(jid) = jid else {
                let text = format!("{var}: not the address of a user");
                return Err(StanzaError::from(Condition::NotAcceptable).with_text(text));
            };
            wanted.insert(jid.to_bare(), affiliation);
        }
    }
    let is_change = |(jid, affiliation): &(Jid, Affiliation)| {
        let known = room.members.get(jid);
        known.map_or(Affiliation::None, |known| known.affiliation) != *affiliation
    };
    let wanted = wanted.into_iter().filter(is_change);
    Ok(wanted
        .map(|(jid, affiliation)| Wanted {
            jid,
            affiliation,
            nick: Nick::Stays,
            reason: None,
        })
        .collect())
}
