//! Requests to a room itself: who answers which.

use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::{Stanza, Type};

use super::affiliation::Affiliation;
use super::room::Room;
use super::{admin, archive, avatar, commands, info, moderation, owner, registration};
use crate::hooks::{Ctx, Reply};

/// Answers a request to the bare address of a room, or of where one could be.
///
/// # Errors
/// What the sender is told; `item-not-found` where there is no room (yet).
pub(super) fn received(
    ctx: &mut Ctx<'_>,
    room: Option<&mut Room>,
    stanza: &Arc<Stanza>,
) -> Result<Reply, StanzaError> {
    let child = stanza.first().ok_or(Condition::BadRequest)?;
    let room = room.ok_or(Condition::ItemNotFound)?;
    let from = stanza.sender();
    let affiliation = room.affiliation(ctx.shared, from);
    if room.is_locked && affiliation != Affiliation::Owner {
        // §10.1.1: officially there is no room before it is configured.
        return Err(Condition::ItemNotFound.into());
    }
    let query = || child.element();
    match (stanza.type_, &*child.ns(), child.name()) {
        (Type::Get, ns::DISCO_INFO, "query") => info::info(ctx, room, from, &query()),
        (Type::Get, ns::DISCO_ITEMS, "query") => info::items(ctx, room, from, &query()),
        (Type::Get, ns::MUC_ADMIN, "query") => admin::read(ctx, room, from, &query()),
        (Type::Set, ns::MUC_ADMIN, "query") => admin::write(ctx, room, stanza, &query()),
        (Type::Get, ns::MUC_OWNER, "query") => owner::read(ctx, room, from, &query()),
        (Type::Set, ns::MUC_OWNER, "query") => owner::write(ctx, room, stanza, &query()),
        (Type::Get, ns::REGISTER, "query") => registration::read(ctx, room, from),
        (Type::Set, ns::REGISTER, "query") => registration::write(ctx, room, stanza, &query()),
        (Type::Get, ns::VCARD, "vCard") => Ok(avatar::read(ctx, stanza)),
        (Type::Set, ns::VCARD, "vCard") => avatar::write(ctx, room, stanza, child, affiliation),
        (Type::Set, ns::MODERATE, "moderate") => moderation::received(ctx, room, stanza, &query()),
        (Type::Set, ns::COMMANDS, "command") => commands::received(ctx, room, stanza, &query()),
        (_, ns::MAM, _) => archive::query(ctx, room, stanza),
        (Type::Get, ns::PING, "ping") => Ok(Reply::Empty),
        _ => Err(Condition::ServiceUnavailable.into()),
    }
}
