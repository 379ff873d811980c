//! Announce: what the room itself says to everybody.

use std::sync::Arc;

use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::record;
use super::room::{Past, Room};
use crate::hooks::Ctx;
use crate::hooks::context::Fan;

/// §10.2.1: tells everybody that the room is another one, in numbers.
pub(super) fn codes(ctx: &mut Ctx<'_>, room: &mut Room, codes: &[u16], by: &Jid) {
    let status = |code: &u16| Element::new("status", ns::MUC_USER).attr("code", code.to_string());
    let x = Element::new("x", ns::MUC_USER).children_from(codes.iter().map(status));
    message(ctx, room, &x, by, false);
}

/// A message of the room; `is_shown` to those who enter later too.
pub(super) fn message(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    child: &Element,
    by: &Jid,
    is_shown: bool,
) {
    let stanza = Stanza::new(Kind::Message, Type::Groupchat)
        .id(ctx.random_id())
        .from(room.jid.clone())
        .child(child);
    let stanza = Arc::new(stanza);
    room.last += 1;
    let past = Past {
        number: room.last,
        stanza: stanza.clone(),
        at: ctx.now.unix,
        by: by.to_bare(),
        is_shown,
    };
    record::save_past(ctx, &past);
    room.history.push_back(past);
    ctx.fan(Fan {
        stanzas: vec![stanza].into(),
        to: room.occupants.everybody(),
        source: Some(room.source(room.last)),
        entered: 0,
    });
}
