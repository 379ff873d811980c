//! Service: what stands at the domain of rooms itself: it says what it is, and lists the public
//! rooms (XEP-0045 §6.2, §6.3; XEP-0433).
//!
//! ```text
//! room: listed facts changed ─▶ note ─▶ message to the domain ─▶ told ─▶ directory
//!                                                                          │
//! user ─▶ received ─▶ disco#items, search ◀────────────────────────────────┘
//! ```
//!
//! A room's slot and the service's may belong to different nodes, so a room tells what is to be
//! listed by a message. Nobody else can: only a room has a bare address at a service.
//!
//! **Invariant:** what is in the directory was public when its room told so; hidden and locked
//! rooms take themselves out.

mod directory;

mod search;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::rsm::{Given, Wanted};
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

pub(super) use self::directory::{DIRECTORY, Directory, Listing, load};
use super::room::Room;
use crate::features::caps::{Identity, Info};
use crate::features::disco;
use crate::hooks::{Ctx, Reply};

/// How services are called.
pub(in crate::features) const NAME: &str = "Chatrooms";

/// Rooms in one page of a list.
const PAGE_MAX: usize = 200;

/// How long the number of occupants may be out of date, in milliseconds.
const COUNT_PAUSE_MS: u64 = 10_000;

/// What a room has told its service.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What was said last, and when in monotonic milliseconds; `None` while that is not known.
    last: Option<(Option<Listing>, u64)>,
}

/// Answers what is for the address of the service itself.
pub(super) fn received(ctx: &mut Ctx<'_>, stanza: &Arc<Stanza>) -> Result<Reply, StanzaError> {
    match stanza.kind {
        Kind::Iq if stanza.is_request() => asked(ctx, stanza),
        Kind::Message if stanza.type_ != Type::Error => match is_of_room(ctx, stanza) {
            true => Ok(told(ctx, stanza)),
            false => Err(Condition::ServiceUnavailable.into()),
        },
        // It has no presence and wants none.
        Kind::Iq | Kind::Message | Kind::Presence => Ok(Reply::Later),
    }
}

fn asked(ctx: &mut Ctx<'_>, iq: &Stanza) -> Result<Reply, StanzaError> {
    let is_whole = iq.to.as_ref().is_some_and(Jid::is_bare);
    let payload = iq.first().filter(|_| is_whole);
    let payload = payload.ok_or(Condition::ServiceUnavailable)?;
    let is_get = iq.type_ == Type::Get;
    match &*payload.ns() {
        ns::DISCO_INFO if is_get && payload.name() == "query" => info(&payload.element()),
        ns::DISCO_ITEMS if is_get && payload.name() == "query" => items(ctx, &payload.element()),
        ns::CHANNEL_SEARCH if payload.name() == "search" => {
            let directory = ctx.account.slots.muc.1.as_deref();
            search::answer(directory, &ctx.account.jid, &payload.element()).map(Reply::Payload)
        }
        ns::PING if is_get && payload.name() == "ping" => Ok(Reply::Empty),
        _ => Err(Condition::ServiceUnavailable.into()),
    }
}

/// XEP-0045 §6.2.
fn info(query: &Element) -> Result<Reply, StanzaError> {
    if query.get("node").is_some() {
        return Err(Condition::ItemNotFound.into());
    }
    let info = Info {
        identity: Identity {
            category: "conference",
            type_: "text",
            name: NAME,
        },
        features: vec![
            ns::DISCO_INFO,
            ns::DISCO_ITEMS,
            ns::MUC,
            ns::RSM,
            ns::CHANNEL_SEARCH,
            ns::PING,
        ],
        forms: Vec::new(),
    };
    Ok(Reply::Payload(disco::answer(&info, None)))
}

/// XEP-0045 §6.3: the public rooms, page by page if there are many.
fn items(ctx: &Ctx<'_>, query: &Element) -> Result<Reply, StanzaError> {
    if query.get("node").is_some() {
        return Err(Condition::ItemNotFound.into());
    }
    let wanted = Wanted::read(query).map_err(|_| Condition::BadRequest)?;
    let directory = ctx.account.slots.muc.1.as_deref();
    let rooms: Vec<_> = directory.into_iter().flat_map(Directory::iter).collect();
    let names: Vec<&str> = rooms.iter().map(|(name, _)| *name).collect();
    let part = wanted.choose(&names, PAGE_MAX);
    let items = rooms[part.clone()].iter().filter_map(|(name, entry)| {
        let jid = Jid::from_parts(Some(name), ctx.account.jid.domain(), None).ok()?;
        let title = Some(entry.listing.name.as_str()).filter(|title| !title.is_empty());
        let item = Element::new("item", ns::DISCO_ITEMS).attr("jid", jid.as_str());
        Some(item.attr("name", title.unwrap_or(name)))
    });
    let answer = Element::new("query", ns::DISCO_ITEMS).children_from(items);
    let is_partial = part.len() < names.len() || query.find("set", ns::RSM).is_some();
    let given = is_partial.then(|| Given::of(&names, &part).to_element());
    Ok(Reply::Payload(answer.children_from(given)))
}

/// Whether a room of this service says something.
fn is_of_room(ctx: &Ctx<'_>, stanza: &Stanza) -> bool {
    let from = stanza.sender();
    let is_room = from.is_bare() && from.local().is_some();
    is_room
        && from.domain() == ctx.account.jid.domain()
        && stanza.payload.children().len() == 1
        && stanza
            .first()
            .is_some_and(|said| said.has_ns(ns::ROOM_LISTING))
}

/// A room says how it is to be listed, or that it is not.
fn told(ctx: &mut Ctx<'_>, stanza: &Stanza) -> Reply {
    let said = stanza.first().map(|said| said.element());
    if let (Some(name), Some(said)) = (stanza.sender().local(), said) {
        directory::change(ctx, name, Listing::read(&said));
    }
    Reply::Later
}

/// Tells the service what is to be listed of a room, if that has changed; called after whatever
/// may change it, and when a time comes that was asked for here.
pub(super) fn note(ctx: &mut Ctx<'_>, room: &mut Room) {
    let listing = Listing::of(room);
    if let Some((last, at)) = &room.told.last {
        if *last == listing {
            return;
        }
        let due = at.saturating_add(COUNT_PAUSE_MS);
        let is_count = listing.as_ref().zip(last.as_ref());
        let is_count = is_count.is_some_and(|(now, before)| now.differs_in_count(before));
        if is_count && ctx.now.mono < due {
            return ctx.wake_at(due);
        }
    }
    tell(ctx, &room.jid, listing.as_ref());
    room.told.last = Some((listing, ctx.now.mono));
}

/// Tells the service that a room is no more.
pub(super) fn note_gone(ctx: &mut Ctx<'_>, room: &Room) {
    tell(ctx, &room.jid, None);
}

/// Tells the service that there is no room at this address: called when somebody asks for one, who
/// may have it from a list that a node which died could not mend.
pub(super) fn note_absent(ctx: &mut Ctx<'_>) {
    let jid = ctx.account.jid.clone();
    tell(ctx, &jid, None);
}

fn tell(ctx: &mut Ctx<'_>, room: &Jid, listing: Option<&Listing>) {
    let said = match listing {
        Some(listing) => listing.to_element(),
        None => Element::new("gone", ns::ROOM_LISTING),
    };
    let stanza = Stanza::new(Kind::Message, Type::Normal)
        .from(room.to_bare())
        .to(room.to_domain())
        .child(&said);
    ctx.route(stanza);
}
