//! Mediated invitations (XEP-0045 §7.8.2): the room invites in the name of an occupant, and tells
//! it when an invitation is declined.

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::affiliation::Affiliation;
use super::forward::{self, Purpose};
use super::message;
use super::record;
use super::room::{Member, Room};
use crate::hooks::Ctx;

/// Invitations in one message; more are refused with `policy-violation`.
const INVITES_MAX: usize = 20;

/// Bytes of the reason for an invitation or a refusal; more are refused with `policy-violation`:
/// the room would carry anything to anybody.
const REASON_BYTES_MAX: usize = 2048;

/// The element by which somebody invites or declines.
pub(super) fn find(stanza: &Stanza) -> Option<Element> {
    let x = stanza.payload.find("x", ns::MUC_USER)?.element();
    let is_it = x.find_own("invite").is_some() || x.find_own("decline").is_some();
    is_it.then_some(x)
}

/// A message with invitations, or one that declines.
pub(super) fn received(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Stanza,
    x: &Element,
) -> Result<(), StanzaError> {
    let per_second = ctx.shared.config.muc.messages_per_occupant;
    if let Some(decline) = x.find_own("decline") {
        return declined(ctx, room, stanza, decline);
    }
    let invites = x
        .children()
        .filter(|child| child.is("invite", ns::MUC_USER));
    let invites: Vec<(&Element, Jid)> = invites
        .map(|invite| Ok((invite, address(invite)?)))
        .collect::<Result<_, StanzaError>>()?;
    let is_long = |invite: &Element| reason(invite).is_some_and(|it| it.len() > REASON_BYTES_MAX);
    if invites.len() > INVITES_MAX || invites.iter().any(|(invite, _)| is_long(invite)) {
        return Err(Condition::PolicyViolation.into());
    }
    may_invite(ctx, room, stanza.sender(), &invites)?;
    for _ in &invites {
        if !room
            .pace
            .may_write(stanza.sender(), ctx.now.mono, per_second)
        {
            return Err(message::too_fast());
        }
    }
    for (invite, to) in invites {
        admit(ctx, room, &to)?;
        let invitation = invitation(room, stanza, invite, &to);
        ctx.route(invitation);
    }
    Ok(())
}

/// §7.8.2, §9.5: who is in the room may invite, unless its owners leave that to admins; nobody
/// who is banned.
fn may_invite(
    ctx: &Ctx<'_>,
    room: &Room,
    inviter: &Jid,
    invites: &[(&Element, Jid)],
) -> Result<(), StanzaError> {
    if room.occupants.get(inviter).is_none() {
        return Err(Condition::NotAcceptable.into());
    }
    let is_admin = room.affiliation(ctx.shared, inviter) >= Affiliation::Admin;
    let is_banned = |to: &Jid| room.affiliation(ctx.shared, to) == Affiliation::Outcast;
    let may = is_admin || room.settings.may_invite;
    match may && !invites.iter().any(|(_, to)| is_banned(to)) {
        true => Ok(()),
        false => Err(Condition::Forbidden.into()),
    }
}

/// §9.5: who is invited to a members-only room becomes a member.
fn admit(ctx: &mut Ctx<'_>, room: &mut Room, to: &Jid) -> Result<(), StanzaError> {
    let known = room.affiliation(ctx.shared, to);
    if !room.settings.is_members_only || known != Affiliation::None {
        return Ok(());
    }
    let affiliations_max = ctx.shared.config.muc.affiliations_max as usize;
    let to = to.to_bare();
    if room.members.len() >= affiliations_max && !room.members.contains_key(&to) {
        return Err(Condition::ResourceConstraint.into());
    }
    let former = room.members.get(&to);
    let member = Member {
        affiliation: Affiliation::Member,
        nick: former.and_then(|former| former.nick.clone()),
        reason: None,
    };
    record::save_member(ctx, &to, Some(&member));
    if room.requests.remove(&to) {
        record::save_requests(ctx, &room.requests);
    }
    room.members.insert(to, member);
    Ok(())
}

/// What the invitee gets. Older clients look for XEP-0249's element, which says the same.
fn invitation(room: &Room, stanza: &Stanza, invite: &Element, to: &Jid) -> Stanza {
    let continues = invite.find_own("continue");
    let thread = continues.and_then(|continues| continues.get("thread"));
    let reason = reason(invite);
    let password = room.settings.password.as_deref();
    let mut passed = Element::new("invite", ns::MUC_USER).attr("from", stanza.sender().bare());
    let mut direct = Element::new("x", ns::CONFERENCE).attr("jid", room.jid.as_str());
    if let Some(reason) = &reason {
        passed = passed.text_child("reason", reason.as_str());
        direct.set_attr("reason", reason.as_str());
    }
    if continues.is_some() {
        passed = passed.child(Element::new("continue", ns::MUC_USER).attr_opt("thread", thread));
        direct.set_attr("continue", "true");
    }
    let mut x = Element::new("x", ns::MUC_USER).child(passed);
    if let Some(password) = password {
        x = x.text_child("password", password);
    }
    let direct = direct
        .attr_opt("thread", thread)
        .attr_opt("password", password);
    let invitation = Stanza::new(Kind::Message, Type::Normal).from(room.jid.clone());
    let mut invitation = invitation.child(&x).child(&direct);
    // By this an answer that there is no such user finds the inviter.
    let nick = room.occupants.get(stanza.sender()).map(|it| &*it.nick);
    let id = stanza.id.as_deref().unwrap_or_default();
    let sealed = nick.map(|nick| {
        let both = (stanza.sender(), to);
        forward::sealed(room, Purpose::Invitation, both, nick, id)
    });
    invitation.id = sealed.map(Into::into);
    invitation.to(to.clone())
}

/// An invitee, who need not be in the room, does not come. Only to those who may have invited.
fn declined(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Stanza,
    decline: &Element,
) -> Result<(), StanzaError> {
    let reason = reason(decline);
    if reason
        .as_ref()
        .is_some_and(|it| it.len() > REASON_BYTES_MAX)
    {
        return Err(Condition::PolicyViolation.into());
    }
    let (sender, to) = (stanza.sender(), address(decline)?);
    let inviters = inviters(ctx, room, &to);
    if inviters.is_empty() || room.affiliation(ctx.shared, sender) == Affiliation::Outcast {
        return Err(Condition::ItemNotFound.into());
    }
    let per_second = ctx.shared.config.muc.messages_per_occupant;
    if !room.pace.may_write(sender, ctx.now.mono, per_second) {
        return Err(message::too_fast());
    }
    let mut passed = Element::new("decline", ns::MUC_USER).attr("from", sender.bare());
    if let Some(reason) = reason {
        passed = passed.text_child("reason", reason);
    }
    let x = Element::new("x", ns::MUC_USER).child(passed);
    let told = Stanza::new(Kind::Message, Type::Normal).from(room.jid.clone());
    let mut told = told.child(&x);
    told.id = stanza.id.clone();
    for inviter in inviters {
        ctx.route(told.clone().to(inviter));
    }
    Ok(())
}

/// Where somebody who may have invited is found: in the room, by nick or address, or at home if it
/// belongs to the room.
fn inviters(ctx: &Ctx<'_>, room: &Room, to: &Jid) -> Vec<Jid> {
    if to.is_same_bare(&room.jid) {
        let nick = to.resource().unwrap_or_default();
        return room.occupants.of_nick(nick).to_vec();
    }
    let user = to.to_bare();
    let sessions = room.occupants.of_user(&user);
    let sessions: Vec<Jid> = sessions.map(|session| session.jid.clone()).collect();
    match sessions.is_empty() && room.affiliation(ctx.shared, &user) >= Affiliation::Member {
        true => vec![user],
        false => sessions,
    }
}

fn address(element: &Element) -> Result<Jid, StanzaError> {
    let to = element.get("to").ok_or(Condition::BadRequest)?;
    let to = Jid::parse(to).map_err(|_| Condition::JidMalformed)?;
    match to.local() {
        Some(_) => Ok(to),
        None => Err(Condition::JidMalformed.into()),
    }
}

fn reason(element: &Element) -> Option<String> {
    element.find_own("reason").map(Element::content)
}
