//! Take-over: what a room does that has just been read.
//!
//! Its former owner may have died before it had sent all it had stored, and sessions may have
//! ended of which it did not hear. So what was sent of late is sent again, from the same numbers:
//! who has it knows it. Then the sessions are asked whether they are there; by then those that
//! were on another node have been brought to its new owner too.

use couplet_proto::{Jid, Kind, Stanza, Type};

use super::archive;
use super::room::Room;
use crate::hooks::Ctx;
use crate::hooks::context::Fan;

/// How long after that the sessions are asked, in milliseconds: a slot whose owner has died is
/// owned again within six seconds, and gathers its sessions for at most two.
const PROBES_AFTER_MS: u64 = 10_000;

/// How long who entered or left may do so again, in milliseconds: his own owner may have to be
/// found first.
const DOUBT_MS: u64 = 30_000;

/// Sends again what may not have arrived; once.
pub(super) fn settle(ctx: &mut Ctx<'_>, room: &mut Room) {
    if !room.is_fresh {
        return;
    }
    room.is_fresh = false;
    archive::resume(ctx, room);
    room.doubtful_until = ctx.now.mono + DOUBT_MS;
    if room.occupants.is_empty() {
        return;
    }
    let arrived = room.history.back().map_or(0, |past| past.arrived);
    for past in room.history.iter().filter(|past| past.number > arrived) {
        let all = room.occupants.iter();
        let to = all.filter(|occupant| occupant.since < past.number);
        let to: Vec<Jid> = to.map(|occupant| occupant.jid.clone()).collect();
        ctx.fan(Fan {
            stanzas: [past.stanza.clone()].into(),
            to: to.into(),
            source: Some(room.source(past.number)),
            list: 0,
            entered: 0,
        });
    }
    // Alone there is nobody who could still bring a session.
    let after = match ctx.shared.is_clustered {
        true => PROBES_AFTER_MS,
        false => 0,
    };
    let at = ctx.now.mono + after;
    room.probes_at = Some(at);
    ctx.wake_at(at);
}

/// Asks every session whether it is there, when it is time. One that is not is answered for by its
/// account, and leaves.
pub(super) fn probe(ctx: &mut Ctx<'_>, room: &mut Room) {
    if room.probes_at.is_none_or(|at| at > ctx.now.mono) {
        return;
    }
    room.probes_at = None;
    let probe = Stanza::new(Kind::Presence, Type::Probe).from(room.jid.clone());
    for session in room.occupants.everybody().iter() {
        // Its account answers, not the session: it is no stanza to fan.
        ctx.route(probe.clone().to(session.clone()));
    }
}
