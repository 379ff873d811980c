//! Entering: available presence for a room (XEP-0045 §7.2, §10.1).
//!
//! ```text
//!                    ┌ no room ──────▶ created, entered
//! available presence ┤ no occupant ──▶ refused, or entered
//!                    └ an occupant ──┬ another nick ─▶ `update::nick`
//!                                    ├ asks to join ─▶ told everything again
//!                                    └ otherwise ────▶ `update::presence`
//! ```
//!
//! Who enters gets, in this order: the others, itself, history, subject, and then what happens
//! (§7.1). Who does not ask to join, and is not in the room, is told so (§7.2.1).

use couplet_proto::link::id::SessionId;
use couplet_proto::xmpp::byte_str::ByteStr;
use couplet_proto::xmpp::error::{Condition, ErrorType, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};
use rand::Rng;

use super::affiliation::{Affiliation, Role};
use super::occupant::Occupant;
use super::presence::{self, Said};
use super::room::{Member, Room};
use super::settings::Settings;
use super::{archive, avatar, history, likeness, record, update};
use crate::config::RoomCreation;
use crate::hooks::Ctx;
use crate::metrics;

/// Bytes one presence may take in a room; more get `policy-violation`: everybody is sent it, and
/// whoever enters later.
const PRESENCE_BYTES_MAX: usize = 8192;

/// Admins and owners who may enter a full room, beyond its limit (§7.2.9).
const ADMINS_BEYOND_MAX: usize = 50;

/// What somebody wants who sends presence.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub(super) jid: &'a Jid,
    pub(super) nick: &'a str,
    pub(super) presence: Payload,
    pub(super) id: Option<ByteStr>,
    /// The element by which a client asks to join.
    pub(super) join: Option<Element>,
}

// === impl Wish ===

impl<'a> Wish<'a> {
    fn read(stanza: &'a Stanza) -> Result<Self, StanzaError> {
        let nick = stanza.to.as_ref().and_then(Jid::resource);
        let nick = nick.filter(|nick| !nick.trim().is_empty());
        let presence = presence::cleaned(&stanza.payload);
        if presence.len() > PRESENCE_BYTES_MAX {
            return Err(Condition::PolicyViolation.into());
        }
        Ok(Self {
            jid: stanza.sender(),
            // §7.2.1, §17.1: no nick, or one nobody can see.
            nick: nick.ok_or(Condition::JidMalformed)?,
            presence,
            id: stanza.id.clone(),
            join: stanza.payload.find("x", ns::MUC).map(|x| x.element()),
        })
    }

    /// What is said with the answer to it.
    pub(super) fn said(&self) -> Said {
        Said {
            id: self.id.clone(),
            ..Said::default()
        }
    }
}

/// Available presence for a room or an occupant.
pub(super) fn present(
    ctx: &mut Ctx<'_>,
    slot: &mut Option<Box<Room>>,
    stanza: &Stanza,
) -> Result<(), StanzaError> {
    let done = seen_to(ctx, slot, stanza);
    if done.is_err() {
        metrics::room_join("refused");
    }
    done
}

fn seen_to(
    ctx: &mut Ctx<'_>,
    slot: &mut Option<Box<Room>>,
    stanza: &Stanza,
) -> Result<(), StanzaError> {
    if stanza.sender().is_bare() {
        // Only sessions are in rooms.
        return Ok(());
    }
    let wish = Wish::read(stanza)?;
    let room = slot.as_ref();
    if wish.join.is_none() && room.is_none_or(|room| room.occupants.get(wish.jid).is_none()) {
        not_here(ctx, stanza);
        return Ok(());
    }
    let Some(room) = slot else {
        let mut room = Box::new(create(ctx, &wish)?);
        metrics::room_join("created");
        enter(ctx, &mut room, &wish, &[201]);
        *slot = Some(room);
        return Ok(());
    };
    let Some(known) = room.occupants.get(wish.jid) else {
        refuse(ctx, room, &wish)?;
        metrics::room_join("entered");
        enter(ctx, room, &wish, &[]);
        return Ok(());
    };
    let has_other_nick = *known.nick != *wish.nick;
    // To be told everything again costs as much as entering, and the others may hear of it.
    if wish.join.is_some() && !room.pace.may_enter(wish.jid, ctx.now.mono) {
        return Err(too_often());
    }
    if has_other_nick {
        update::nick(ctx, room, &wish)?;
    }
    match wish.join {
        Some(_) => {
            tell_again(ctx, room, &wish);
            if ctx.now.mono < room.doubtful_until {
                // It may be the first time, and a former owner died before he had told the others.
                presence::show(ctx, room, wish.jid, &Said::default());
            }
        }
        None if has_other_nick => {}
        None => update::presence(ctx, room, &wish),
    }
    Ok(())
}

/// §7.2.1: a client that thinks it is in the room. It is told, and may enter.
fn not_here(ctx: &mut Ctx<'_>, stanza: &Stanza) {
    let item = Element::new("item", ns::MUC_USER)
        .attr("affiliation", Affiliation::None.name())
        .attr("role", Role::None.name())
        .text_child("reason", "You are not in the room.");
    let codes = [110, 307, 333]
        .map(|code: u16| Element::new("status", ns::MUC_USER).attr("code", code.to_string()));
    let x = Element::new("x", ns::MUC_USER)
        .child(item)
        .children_from(codes);
    let mut kick = Stanza::new(Kind::Presence, Type::Unavailable).child(&x);
    kick.id = stanza.id.clone();
    kick.from = stanza.to.clone();
    kick.to = stanza.from.clone();
    ctx.route(kick);
}

/// A new room, which does not know anybody but its owner yet.
fn create(ctx: &mut Ctx<'_>, wish: &Wish<'_>) -> Result<Room, StanzaError> {
    let muc = &ctx.shared.config.muc;
    let is_admin = muc.admins.iter().any(|admin| *admin == *wish.jid.bare());
    let may = match muc.creation {
        RoomCreation::Anyone => true,
        RoomCreation::Local => is_admin || ctx.shared.is_local(wish.jid.domain()),
        RoomCreation::Admins => is_admin,
    };
    if !may {
        // §10.1.1.
        return Err(Condition::NotAllowed.into());
    }
    let mut secret = [0; 32];
    ctx.rng().fill_bytes(&mut secret);
    let owner = Member {
        affiliation: Affiliation::Owner,
        nick: None,
        reason: None,
    };
    let jid = ctx.account.jid.clone();
    let settings = Settings::of_service(ctx.shared, jid.domain());
    let name = SessionId(ctx.rng().next_u64());
    let room = Room {
        is_locked: wish.join.is_some(),
        members: [(wish.jid.to_bare(), owner)].into_iter().collect(),
        // The messages of a later room at this address have greater numbers.
        last: ctx.now.unix << 10,
        ..Room::new(jid, name, secret, settings)
    };
    record::save(ctx, &room);
    for (jid, member) in room.members.iter() {
        record::save_member(ctx, jid, Some(member));
    }
    Ok(room)
}

/// Whether somebody may not enter, and why (§7.2.16).
fn refuse(ctx: &Ctx<'_>, room: &mut Room, wish: &Wish<'_>) -> Result<(), StanzaError> {
    let affiliation = room.affiliation(ctx.shared, wish.jid);
    let settings = &room.settings;
    if room.is_locked && affiliation != Affiliation::Owner {
        return Err(Condition::ItemNotFound.into());
    }
    if affiliation == Affiliation::Outcast {
        return Err(Condition::Forbidden.into());
    }
    if settings.is_members_only && affiliation == Affiliation::None {
        return Err(Condition::RegistrationRequired.into());
    }
    if let Some(wanted) = &settings.password {
        let given = wish.join.as_ref().and_then(|x| x.find_own("password"));
        if given.map(Element::content).as_ref() != Some(wanted) {
            return Err(Condition::NotAuthorized.into());
        }
    }
    if likeness::is_taken(room, wish.nick, wish.jid) {
        return Err(Condition::Conflict.into());
    }
    if is_full(ctx, room, wish, affiliation) {
        let error = StanzaError::from(Condition::ServiceUnavailable);
        return Err(error.with_type(ErrorType::Wait));
    }
    let joins_per_second = ctx.shared.config.muc.joins_per_second;
    let may = room.pace.may_enter(wish.jid, ctx.now.mono)
        && room.pace.joins.admit(ctx.now.mono, joins_per_second);
    match may {
        true => Ok(()),
        false => Err(too_often()),
    }
}

fn too_often() -> StanzaError {
    StanzaError::from(Condition::ResourceConstraint).with_type(ErrorType::Wait)
}

/// §7.2.9. A user's further session under a nick counts for the server's limit only.
fn is_full(ctx: &Ctx<'_>, room: &Room, wish: &Wish<'_>, affiliation: Affiliation) -> bool {
    let beyond = match affiliation {
        Affiliation::Admin | Affiliation::Owner => ADMINS_BEYOND_MAX,
        _ => 0,
    };
    let sessions_max = ctx.shared.config.muc.occupants_max as usize;
    let nicks_max = match room.settings.occupants_max {
        0 => sessions_max,
        chosen => chosen as usize,
    };
    let is_new = room.occupants.of_nick(wish.nick).is_empty();
    room.occupants.len() >= sessions_max + beyond
        || (is_new && room.occupants.nick_count() >= nicks_max + beyond)
}

/// Somebody is in the room from now on; `codes` are for it alone.
fn enter(ctx: &mut Ctx<'_>, room: &mut Room, wish: &Wish<'_>, codes: &[u16]) {
    let affiliation = room.affiliation(ctx.shared, wish.jid);
    // Sessions under one nick have one role.
    let twin = room.occupants.first_of_nick(wish.nick);
    let occupant = Occupant {
        jid: wish.jid.clone(),
        nick: wish.nick.into(),
        role: twin.map_or_else(|| room.role_of(affiliation), |twin| twin.role),
        presence: wish.presence.clone(),
        since: room.last,
    };
    record::save_occupant(ctx, &occupant, room.occupants.is_empty());
    room.occupants.insert(occupant.clone());
    greet(ctx, room, &occupant);
    let said = greeting(ctx, room, wish, codes);
    presence::show(ctx, room, wish.jid, &said);
    history::send(ctx, room, &occupant, wish.join.as_ref());
}

/// §7.2.1: a client that asks to join where it is has lost what it knew. The others hear of it
/// only if its presence is another (§17.3).
fn tell_again(ctx: &mut Ctx<'_>, room: &mut Room, wish: &Wish<'_>) {
    let Some(occupant) = room.occupants.get_mut(wish.jid) else {
        return;
    };
    let is_changed = occupant.presence != wish.presence;
    occupant.presence = wish.presence.clone();
    let occupant = occupant.clone();
    room.pace.drop_waiting(wish.jid);
    if is_changed {
        record::save_occupant(ctx, &occupant, false);
    }
    greet(ctx, room, &occupant);
    let said = greeting(ctx, room, wish, &[]);
    match is_changed {
        true => presence::show(ctx, room, wish.jid, &said),
        false => presence::show_itself(ctx, room, &occupant, &said),
    }
    history::send(ctx, room, &occupant, wish.join.as_ref());
}

/// Shows the others, and the picture of the room if it has one (XEP-0486 §4.1).
fn greet(ctx: &mut Ctx<'_>, room: &mut Room, occupant: &Occupant) {
    presence::roster(ctx, room, occupant);
    if room.avatar.is_some() {
        let picture = avatar::shown(room);
        presence::send(ctx, vec![picture.into()], vec![occupant.jid.clone()]);
    }
}

/// What somebody who enters must know of the room (§7.2.3, §7.2.12).
fn greeting(ctx: &Ctx<'_>, room: &Room, wish: &Wish<'_>, codes: &[u16]) -> Said {
    let mut own_codes = codes.to_vec();
    if room.settings.is_non_anonymous {
        own_codes.push(100);
    }
    if archive::is_on(ctx.shared, room) {
        own_codes.push(170);
    }
    Said {
        own_codes,
        ..wish.said()
    }
}
