//! Leave: somebody is not in the room any more.

use couplet_proto::Jid;

use super::presence::{self, Said};
use super::record;
use super::room::Room;
use crate::hooks::Ctx;

/// Removes an occupant and tells everybody.
pub(super) fn remove(ctx: &mut Ctx<'_>, room: &mut Room, jid: &Jid, said: &Said) {
    let Some(gone) = room.occupants.remove(jid) else {
        return;
    };
    record::delete_occupant(ctx, jid, room.occupants.is_empty());
    presence::leave(ctx, room, &gone, said);
}
