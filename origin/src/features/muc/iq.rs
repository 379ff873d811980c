//! Requests to a room itself.

use couplet_proto::Stanza;
use couplet_proto::xmpp::error::{Condition, StanzaError};

use super::room::Room;
use crate::hooks::{Ctx, Reply};

/// A request to the bare address of a room, which need not exist.
pub(super) fn received(
    _ctx: &mut Ctx<'_>,
    room: Option<&mut Room>,
    _stanza: &Stanza,
) -> Result<Reply, StanzaError> {
    match room {
        None => Err(Condition::ItemNotFound.into()),
        Some(_) => Err(Condition::ServiceUnavailable.into()),
    }
}
