//! Announce: what the room itself says to everybody.

use std::sync::Arc;

use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::room::{Past, Room};
use super::{archive, message};
use crate::hooks::Ctx;

/// §10.2.1: tells everybody that the room is another one, in numbers.
pub(super) fn codes(ctx: &mut Ctx<'_>, room: &mut Room, codes: &[u16], by: &Jid) {
    let status = |code: &u16| Element::new("status", ns::MUC_USER).attr("code", code.to_string());
    let x = Element::new("x", ns::MUC_USER).children_from(codes.iter().map(status));
    child(ctx, room, &x, by, false);
}

/// A message of the room; `is_shown` to those who enter later too.
pub(super) fn child(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    element: &Element,
    by: &Jid,
    is_shown: bool,
) {
    let id = archive::reserve(ctx);
    let mut stanza = Stanza::new(Kind::Message, Type::Groupchat)
        .id(ctx.random_id())
        .from(room.jid.clone())
        .child(element);
    archive::identify(ctx.shared, room, &mut stanza, id);
    let past = Past {
        number: room.last + 1,
        id,
        stanza: Arc::new(stanza),
        at: ctx.now.unix,
        by: by.to_bare(),
        is_shown,
        source: None,
        arrived: message::arrived(ctx, room),
    };
    message::broadcast(ctx, room, past, 0);
}
