//! Leaving: by oneself (XEP-0045 §7.14), removed by others, or lost (§12.1, §18.1.2).

use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::{Jid, Stanza};

use super::affiliation::{Affiliation, Role};
use super::occupant::Occupant;
use super::presence::{self, Said};
use super::record;
use super::room::Room;
use crate::hooks::Ctx;

/// Bytes of what somebody says in going; a longer farewell is left out.
const FAREWELL_BYTES_MAX: usize = 4096;

/// Unavailable presence of an occupant, whatever nick it is for; of anybody else it says nothing
/// (§17.3).
pub(super) fn left(ctx: &mut Ctx<'_>, room: &mut Room, stanza: &Stanza) {
    let Some(gone) = forget(ctx, room, stanza.sender()) else {
        return left_before(ctx, room, stanza);
    };
    let farewell = stanza
        .payload
        .without(|child| !child.is("status", ns::CLIENT));
    let farewell = match farewell.len() <= FAREWELL_BYTES_MAX {
        true => farewell,
        false => Payload::default(),
    };
    let said = Said {
        farewell,
        id: stanza.id.clone(),
        ..Said::default()
    };
    presence::leave(ctx, room, &gone, &said);
    show_twin(ctx, room, &gone);
}

/// Somebody who is no occupant leaves: if that may be because it left while a former owner died,
/// not everybody may have heard of it.
fn left_before(ctx: &mut Ctx<'_>, room: &mut Room, stanza: &Stanza) {
    let nick = stanza.to.as_ref().and_then(Jid::resource);
    let Some(nick) = nick.filter(|_| ctx.now.mono < room.doubtful_until) else {
        return;
    };
    let is_known = room.affiliation(ctx.shared, stanza.sender()) != Affiliation::Outcast;
    let may = is_known && room.pace.may_enter(stanza.sender(), ctx.now.mono);
    if may && room.occupants.of_nick(nick).is_empty() {
        let gone = Occupant {
            jid: stanza.sender().clone(),
            nick: nick.into(),
            role: Role::None,
            presence: Payload::default(),
            since: 0,
        };
        presence::leave(ctx, room, &gone, &Said::default());
    }
}

/// Removes an occupant for the reasons that are said, tells everybody, and gives back what it was.
/// A user with several sessions under a nick is gone for the others with the last of them.
pub(super) fn remove(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    jid: &Jid,
    said: &Said,
) -> Option<Occupant> {
    let gone = forget(ctx, room, jid)?;
    presence::leave(ctx, room, &gone, said);
    Some(gone)
}

/// Nobody is there any more under a full address: if it is an occupant, it is removed.
pub(super) fn lost(ctx: &mut Ctx<'_>, room: &mut Room, jid: &Jid) {
    let Some(known) = room.occupants.get(jid).cloned() else {
        return;
    };
    let said = Said {
        // §12.1: not 307 too, since nobody meant it.
        codes: vec![333],
        ..Said::default()
    };
    remove(ctx, room, jid, &said);
    show_twin(ctx, room, &known);
}

/// The session that stood for its nick is gone and another does now: the others see its presence.
fn show_twin(ctx: &mut Ctx<'_>, room: &mut Room, gone: &Occupant) {
    let twin = room.occupants.first_of_nick(&gone.nick);
    let twin = twin.filter(|twin| twin.presence != gone.presence);
    if let Some(jid) = twin.map(|twin| twin.jid.clone()) {
        presence::show(ctx, room, &jid, &Said::default());
    }
}

fn forget(ctx: &mut Ctx<'_>, room: &mut Room, jid: &Jid) -> Option<Occupant> {
    let gone = room.occupants.remove(jid)?;
    room.pace.forget(jid);
    record::delete_occupant(ctx, jid, room.occupants.is_empty());
    Some(gone)
}
