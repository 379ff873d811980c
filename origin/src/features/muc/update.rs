//! Changes of an occupant: its nick (XEP-0045 §7.6) and its presence (§7.7).

use couplet_proto::Jid;
use couplet_proto::xmpp::error::{Condition, ErrorType, StanzaError};

use super::enter::Wish;
use super::occupant::Occupant;
use super::presence::{self, Said};
use super::room::Room;
use super::settings::Settings;
use super::{likeness, record};
use crate::hooks::Ctx;

/// How long a presence that comes too fast is kept, in milliseconds; a later one takes its place.
const KEPT_MS: u64 = 1000;

/// Presences, each for one receiver, that are sent at once because of other settings; the more
/// wait, so that an owner's whim costs the rooms beside it nothing they notice.
const SHOWN_AT_ONCE: usize = 20_000;

/// How long they wait, in milliseconds.
const SHOWN_EVERY_MS: u64 = 1000;

/// §7.6: an occupant takes another nick, with all its sessions under the former one.
pub(super) fn nick(ctx: &mut Ctx<'_>, room: &mut Room, wish: &Wish<'_>) -> Result<(), StanzaError> {
    if likeness::is_taken(room, wish.nick, wish.jid) {
        return Err(Condition::Conflict.into());
    }
    if !room.pace.may_change(wish.jid, ctx.now.mono) {
        let error = StanzaError::from(Condition::PolicyViolation);
        return Err(error.with_type(ErrorType::Wait));
    }
    let Some(gone) = room.occupants.remove(wish.jid) else {
        return Ok(());
    };
    let renamed = Said {
        codes: vec![303],
        nick: Some(wish.nick.into()),
        ..Said::default()
    };
    // Rows first: what is told waits for them.
    let others = room.occupants.of_nick(&gone.nick).to_vec();
    for other in others {
        if let Some(twin) = room.occupants.remove(&other) {
            rename(ctx, room, twin, wish.nick);
        }
    }
    room.pace.drop_waiting(wish.jid);
    let changed = Occupant {
        presence: wish.presence.clone(),
        ..gone.clone()
    };
    rename(ctx, room, changed, wish.nick);
    presence::leave(ctx, room, &gone, &renamed);
    presence::show(ctx, room, wish.jid, &wish.said());
    Ok(())
}

/// §7.7: an occupant changes its presence. One that does so too fast is shown as it is a moment
/// later.
pub(super) fn presence(ctx: &mut Ctx<'_>, room: &mut Room, wish: &Wish<'_>) {
    let now = ctx.now.mono;
    let is_waiting = room.pace.is_waiting(wish.jid);
    if is_waiting || !room.pace.may_change(wish.jid, now) {
        room.pace.keep(wish.jid, wish.presence.clone());
        if !is_waiting {
            ctx.wake_at(now + KEPT_MS);
        }
        return;
    }
    if let Some(occupant) = room.occupants.get_mut(wish.jid) {
        occupant.presence = wish.presence.clone();
        show(ctx, room, wish.jid, &wish.said());
    }
}

/// Shows what was kept.
pub(super) fn catch_up(ctx: &mut Ctx<'_>, room: &mut Room) {
    for (jid, presence) in room.pace.take_waiting() {
        if let Some(occupant) = room.occupants.get_mut(&jid) {
            occupant.presence = presence;
            show(ctx, room, &jid, &Said::default());
        }
    }
}

/// §10.2: who sees whom, and how, is not what it was with other settings: who is no moderator is
/// told of everybody that concerns. In a large room that takes some seconds.
pub(super) fn settings(ctx: &mut Ctx<'_>, room: &mut Room, before: &Settings) {
    let now = &room.settings;
    let is_other = now.is_non_anonymous != before.is_non_anonymous;
    let concerned = room.occupants.nicks().filter(|occupant| {
        let (was, is) = (before.shows(occupant.role), now.shows(occupant.role));
        was != is || (is && is_other)
    });
    let concerned: Vec<Box<str>> = concerned.map(|it| it.nick.clone()).collect();
    room.pace.show_anew(concerned);
    show_anew(ctx, room);
}

/// Shows those of whom that is still to be done, a part at a time.
pub(super) fn show_anew(ctx: &mut Ctx<'_>, room: &mut Room) {
    let most = (SHOWN_AT_ONCE / room.occupants.len().max(1)).max(1);
    for nick in room.pace.next_to_show(ctx.now.mono, most) {
        match room.occupants.first_of_nick(&nick) {
            Some(occupant) if room.settings.shows(occupant.role) => {
                presence::show_anew(ctx, room, occupant);
            }
            Some(occupant) => presence::hide(ctx, room, occupant),
            None => {}
        }
    }
    if room.pace.has_to_show() {
        ctx.wake_at(ctx.now.mono + SHOWN_EVERY_MS);
    }
}

fn show(ctx: &mut Ctx<'_>, room: &mut Room, jid: &Jid, said: &Said) {
    if let Some(occupant) = room.occupants.get(jid) {
        record::save_occupant(ctx, occupant, false);
    }
    presence::show(ctx, room, jid, said);
}

fn rename(ctx: &mut Ctx<'_>, room: &mut Room, occupant: Occupant, nick: &str) {
    // Sessions under one nick have one role; another session may be there already.
    let twin = room.occupants.first_of_nick(nick);
    let renamed = Occupant {
        nick: nick.into(),
        role: twin.map_or(occupant.role, |twin| twin.role),
        ..occupant
    };
    record::save_occupant(ctx, &renamed, false);
    room.occupants.insert(renamed);
}
