//! Changes of an occupant: its nick (XEP-0045 §7.6) and its presence (§7.7).

use couplet_proto::Jid;
use couplet_proto::xmpp::error::{Condition, ErrorType, StanzaError};

use super::enter::Wish;
use super::occupant::Occupant;
use super::presence::{self, Said};
use super::room::Room;
use super::{likeness, record};
use crate::hooks::Ctx;

/// How long a presence that comes too fast is kept, in milliseconds; a later one takes its place.
const KEPT_MS: u64 = 1000;

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
    // Its other sessions are still there under the former nick: they hear that it is theirs.
    presence::leave(ctx, room, &gone, &renamed);
    let others = room.occupants.of_nick(&gone.nick).to_vec();
    for other in others {
        if let Some(twin) = room.occupants.remove(&other) {
            rename(ctx, room, twin, wish.nick);
        }
    }
    room.pace.drop_waiting(wish.jid);
    let changed = Occupant {
        presence: wish.presence.clone(),
        ..gone
    };
    rename(ctx, room, changed, wish.nick);
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

fn show(ctx: &mut Ctx<'_>, room: &mut Room, jid: &Jid, said: &Said) {
    if let Some(occupant) = room.occupants.get(jid) {
        record::save_occupant(ctx, occupant, false);
    }
    presence::show(ctx, room, jid, said);
}

fn rename(ctx: &mut Ctx<'_>, room: &mut Room, occupant: Occupant, nick: &str) {
    let renamed = Occupant {
        nick: nick.into(),
        ..occupant
    };
    record::save_occupant(ctx, &renamed, false);
    room.occupants.insert(renamed);
}
