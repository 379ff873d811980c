//! Admin: roles and affiliations, asked for and changed as lists (XEP-0045 §8, §9, §10.3 ff.).
//!
//! A request is checked as a whole before anything is changed (§9.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Stanza};

use super::affiliation::{Affiliation, Privilege, Role};
use super::change::{self, Author, Nick, Wanted};
use super::likeness;
use super::room::{Member, Room};
use crate::hooks::{Ctx, Reply};

/// Items of one request; more are refused with `policy-violation`: each may have to be told to
/// everybody.
const ITEMS_MAX: usize = 200;

/// One change of a role.
#[derive(Debug)]
struct RoleItem {
    nick: Box<str>,
    role: Role,
    reason: Option<String>,
}

/// What a request wants: roles or affiliations, never both (§17.4).
#[derive(Debug)]
enum Items {
    Roles(Vec<RoleItem>),
    Affiliations(Vec<Wanted>),
}

/// Tells a list.
pub(super) fn read(
    ctx: &mut Ctx<'_>,
    room: &Room,
    from: &Jid,
    query: &Element,
) -> Result<Reply, StanzaError> {
    let mut items = query
        .children()
        .filter(|child| child.is("item", ns::MUC_ADMIN));
    let (Some(item), None) = (items.next(), items.next()) else {
        return Err(Condition::BadRequest.into());
    };
    let listed = match (item.get("affiliation"), item.get("role")) {
        (Some(name), None) => {
            let affiliation = Affiliation::from_name(name);
            // There is no list of those who are nothing to the room (§5.2).
            let affiliation = affiliation.filter(|wanted| *wanted != Affiliation::None);
            let affiliation = affiliation.ok_or(Condition::BadRequest)?;
            admit_to_affiliations(ctx, room, from, affiliation)?;
            affiliated(room, affiliation)
        }
        (None, Some(name)) => {
            let role = Role::from_name(name).filter(|wanted| *wanted != Role::None);
            let role = role.ok_or(Condition::BadRequest)?;
            admit_to_roles(ctx, room, from, role)?;
            with_role(ctx, room, role)
        }
        _ => return Err(Condition::BadRequest.into()),
    };
    Ok(Reply::Payload(
        Element::new("query", ns::MUC_ADMIN).children_from(listed),
    ))
}

/// Changes roles or affiliations.
pub(super) fn write(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Arc<Stanza>,
    query: &Element,
) -> Result<Reply, StanzaError> {
    let from = stanza.sender();
    let actor = change::standing(ctx, room, from);
    if actor.role != Role::Moderator && !actor.affiliation.may(Privilege::EditMembers) {
        // Whoever may change nothing is told nothing, not even who is there.
        return Err(Condition::Forbidden.into());
    }
    if query.children().count() > ITEMS_MAX {
        return Err(Condition::PolicyViolation.into());
    }
    match read_items(room, query)? {
        Items::Roles(items) => {
            check_roles(ctx, room, from, &items)?;
            apply_roles(ctx, room, stanza, items);
        }
        Items::Affiliations(items) => {
            check_affiliations(ctx, room, from, &items)?;
            apply_affiliations(ctx, room, stanza, items);
        }
    }
    Ok(Reply::Later)
}

/// Checks affiliations one after the other, each as if those before were changed, and what is left
/// in the end.
pub(super) fn check_affiliations(
    ctx: &Ctx<'_>,
    room: &Room,
    from: &Jid,
    items: &[Wanted],
) -> Result<(), StanzaError> {
    let actor = room.affiliation(ctx.shared, from);
    let mut after: BTreeMap<&Jid, Affiliation> = BTreeMap::new();
    for item in items {
        let known = after.get(&item.jid).copied();
        let known = known.unwrap_or_else(|| room.affiliation(ctx.shared, &item.jid));
        let is_self = item.jid.is_same_bare(from) || item.jid.as_str() == from.domain();
        actor.change(known, item.affiliation, is_self)?;
        let admins = &ctx.shared.config.muc.admins;
        if item.affiliation < Affiliation::Owner && admins.iter().any(|it| *it == *item.jid.bare())
        {
            // The operator's admins own every room.
            return Err(Condition::NotAllowed.into());
        }
        after.insert(&item.jid, item.affiliation);
    }
    check_nicks(room, items)?;
    keeps_owner(room, &after)?;
    let is_new = |jid: &&&Jid| !room.members.contains_key(**jid);
    let more = after.iter().filter(|(_, it)| **it != Affiliation::None);
    let more = more.map(|(jid, _)| jid).filter(is_new).count();
    let most = usize::try_from(ctx.shared.config.muc.affiliations_max).unwrap_or(usize::MAX);
    match more > 0 && room.members.len() + more > most {
        true => Err(Condition::ResourceConstraint.into()),
        false => Ok(()),
    }
}

/// §9.3: nobody is given a nick that is another's, or could be taken for it.
fn check_nicks(room: &Room, items: &[Wanted]) -> Result<(), StanzaError> {
    // By this very request.
    let mut reserved: BTreeMap<Box<str>, &Jid> = BTreeMap::new();
    for item in items {
        let Nick::Is(nick) = &item.nick else {
            continue;
        };
        let mut present = room.occupants.like(nick);
        let is_used = present.any(|other| !other.jid.is_same_bare(&item.jid))
            || room.members.is_reserved(nick, &item.jid);
        let keys = likeness::keys(nick);
        let mut known = keys.iter().filter_map(|key| reserved.get(key));
        if is_used || known.any(|by| **by != item.jid) {
            return Err(Condition::Conflict.into());
        }
        reserved.extend(keys.into_iter().map(|key| (key, &item.jid)));
    }
    Ok(())
}

/// §10.4: a room that has owners keeps one.
fn keeps_owner(room: &Room, after: &BTreeMap<&Jid, Affiliation>) -> Result<(), StanzaError> {
    let is_owner = |(_, member): &(&Jid, &Member)| member.affiliation == Affiliation::Owner;
    let mut owners = room.members.iter().filter(is_owner).peekable();
    let had_one = owners.peek().is_some();
    let has_one = owners.any(|(jid, _)| after.get(jid).is_none_or(|it| *it == Affiliation::Owner))
        || after.values().any(|it| *it == Affiliation::Owner);
    match had_one && !has_one {
        true => Err(Condition::Conflict.into()),
        false => Ok(()),
    }
}

fn check_roles(
    ctx: &Ctx<'_>,
    room: &Room,
    from: &Jid,
    items: &[RoleItem],
) -> Result<(), StanzaError> {
    let actor = change::standing(ctx, room, from);
    for item in items {
        let target = room.occupants.first_of_nick(&item.nick);
        let target = target.ok_or(Condition::ItemNotFound)?;
        let is_self = target.jid.is_same_bare(from);
        let mut standing = change::standing(ctx, room, &target.jid);
        standing.role = target.role;
        actor.change(standing, item.role, is_self)?;
    }
    Ok(())
}

fn apply_roles(ctx: &mut Ctx<'_>, room: &mut Room, stanza: &Arc<Stanza>, items: Vec<RoleItem>) {
    let author = Author::of(room, stanza.sender());
    let mut before = Vec::with_capacity(items.len());
    for item in &items {
        before.push(change::write_role(ctx, room, &item.nick, item.role));
    }
    ctx.route(stanza.result(None));
    for (item, before) in items.into_iter().zip(before) {
        let reason = item.reason.as_deref();
        match item.role {
            Role::None => change::kick(ctx, room, &item.nick, &author.said(&[307], reason)),
            _ => {
                let said = author.said(&[], reason);
                change::tell_role(ctx, room, &item.nick, before, &said);
            }
        }
    }
}

fn apply_affiliations(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Arc<Stanza>,
    items: Vec<Wanted>,
) {
    let author = Author::of(room, stanza.sender());
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        all.push(change::write_affiliation(ctx, room, item));
    }
    ctx.route(stanza.result(None));
    change::tell_affiliations(ctx, room, &all, &author);
}

fn read_items(room: &Room, query: &Element) -> Result<Items, StanzaError> {
    let (mut roles, mut affiliations) = (Vec::new(), Vec::new());
    for item in query
        .children()
        .filter(|child| child.is("item", ns::MUC_ADMIN))
    {
        let reason = item.find_own("reason").map(Element::content);
        let reason = reason.filter(|reason| !reason.is_empty());
        match (item.get("affiliation"), item.get("role")) {
            (Some(name), None) => {
                let affiliation = Affiliation::from_name(name).ok_or(Condition::BadRequest)?;
                let (jid, nick) = affiliation_target(room, item, affiliation)?;
                affiliations.push(Wanted {
                    jid,
                    affiliation,
                    nick,
                    reason,
                });
            }
            (None, Some(name)) => roles.push(RoleItem {
                role: Role::from_name(name).ok_or(Condition::BadRequest)?,
                nick: role_target(room, item)?,
                reason,
            }),
            // §17.4.
            _ => return Err(Condition::BadRequest.into()),
        }
    }
    match (roles.is_empty(), affiliations.is_empty()) {
        (false, true) => Ok(Items::Roles(roles)),
        (true, false) => Ok(Items::Affiliations(affiliations)),
        _ => Err(Condition::BadRequest.into()),
    }
}

/// Whose affiliation is meant: §9 has its bare address; who knows only the nick of an occupant may
/// name that. With both, the nick is the one to reserve (§9.3).
fn affiliation_target(
    room: &Room,
    item: &Element,
    affiliation: Affiliation,
) -> Result<(Jid, Nick), StanzaError> {
    let nick = item.get("nick");
    let Some(jid) = item.get("jid") else {
        let nick = prepared(room, nick.ok_or(Condition::BadRequest)?)?;
        let occupant = room.occupants.first_of_nick(&nick);
        let occupant = occupant.ok_or(Condition::ItemNotFound)?;
        return Ok((occupant.jid.to_bare(), Nick::Stays));
    };
    let jid = Jid::parse(jid)
        .map_err(|_| Condition::JidMalformed)?
        .to_bare();
    if jid.local().is_none() && !matches!(affiliation, Affiliation::Outcast | Affiliation::None) {
        // §9.2: a domain may be banned, but nobody there is a person by that.
        return Err(Condition::JidMalformed.into());
    }
    let nick = match nick {
        None => Nick::Stays,
        Some("") => Nick::Goes,
        Some(nick) => Nick::Is(prepared(room, nick)?),
    };
    Ok((jid, nick))
}

/// Whose role is meant: that of an occupant by nick; by full address too (§5.1).
fn role_target(room: &Room, item: &Element) -> Result<Box<str>, StanzaError> {
    if let Some(nick) = item.get("nick") {
        return prepared(room, nick);
    }
    let jid = item.get("jid").ok_or(Condition::BadRequest)?;
    let jid = Jid::parse(jid).map_err(|_| Condition::JidMalformed)?;
    let occupant = room.occupants.get(&jid).ok_or(Condition::ItemNotFound)?;
    Ok(occupant.nick.clone())
}

/// A nick as occupants have it.
pub(super) fn prepared(room: &Room, nick: &str) -> Result<Box<str>, StanzaError> {
    let jid = room.occupant_jid(nick).ok_or(Condition::JidMalformed)?;
    Ok(jid.resource().unwrap_or_default().into())
}

/// Who may read a list of affiliations: §9.2 and §9.5 bans and members, §10.5 and §10.8 the others.
fn admit_to_affiliations(
    ctx: &Ctx<'_>,
    room: &Room,
    from: &Jid,
    list: Affiliation,
) -> Result<(), StanzaError> {
    let actor = change::standing(ctx, room, from);
    let may_edit = match list {
        Affiliation::Outcast | Affiliation::None => Privilege::Ban,
        Affiliation::Member => Privilege::EditMembers,
        Affiliation::Admin => Privilege::EditAdmins,
        Affiliation::Owner => Privilege::EditOwners,
    };
    if actor.affiliation.may(may_edit) {
        return Ok(());
    }
    // A member who is not there counts as if it were (§9.5).
    let role = match (actor.role, actor.affiliation) {
        (Role::None, Affiliation::Member | Affiliation::Admin) => room.role_of(actor.affiliation),
        (role, _) => role,
    };
    // §5.2.1: the list has real addresses.
    let sees_addresses = room.settings.is_non_anonymous || role == Role::Moderator;
    let is_chosen = room.settings.member_list_for.contains(&role);
    let may = match list {
        Affiliation::Outcast | Affiliation::None => false,
        Affiliation::Member => sees_addresses && is_chosen,
        // In a non-anonymous room they are no secret.
        Affiliation::Admin | Affiliation::Owner => room.settings.is_non_anonymous && is_chosen,
    };
    match may {
        true => Ok(()),
        false => Err(Condition::Forbidden.into()),
    }
}

/// §8.5: moderators read the voice list; §9.8: admins that of moderators.
fn admit_to_roles(ctx: &Ctx<'_>, room: &Room, from: &Jid, list: Role) -> Result<(), StanzaError> {
    let actor = change::standing(ctx, room, from);
    let is_admin = actor.affiliation.may(Privilege::EditModerators);
    match is_admin || (list != Role::Moderator && actor.role == Role::Moderator) {
        true => Ok(()),
        false => Err(Condition::Forbidden.into()),
    }
}

/// §17.4: with bare address and nick, without role.
fn affiliated(room: &Room, affiliation: Affiliation) -> Vec<Element> {
    let listed = room.members.iter();
    let listed = listed.filter(|(_, member)| member.affiliation == affiliation);
    let item = |(jid, member): (&Jid, &Member)| {
        let present = room.occupants.of_user(jid).next();
        let nick = member.nick.as_deref();
        let nick = nick.or_else(|| present.map(|occupant| &*occupant.nick));
        let nick = nick.filter(|_| affiliation != Affiliation::Outcast);
        let item = Element::new("item", ns::MUC_ADMIN)
            .attr("affiliation", affiliation.name())
            .attr("jid", jid.as_str())
            .attr_opt("nick", nick);
        match member.reason.as_deref() {
            Some(reason) => item.text_child("reason", reason),
            None => item,
        }
    };
    listed.map(item).collect()
}

/// §17.4: with nick, role, affiliation and full address.
fn with_role(ctx: &Ctx<'_>, room: &Room, role: Role) -> Vec<Element> {
    let listed = room
        .occupants
        .nicks()
        .filter(|occupant| occupant.role == role);
    let item = |occupant: &super::occupant::Occupant| {
        let affiliation = room.affiliation(ctx.shared, &occupant.jid);
        Element::new("item", ns::MUC_ADMIN)
            .attr("affiliation", affiliation.name())
            .attr("jid", occupant.jid.as_str())
            .attr("nick", occupant.nick.as_ref())
            .attr("role", role.name())
    };
    listed.map(item).collect()
}
