//! Answer: from a query to a page: what is read, what is sent of it, and how it ends (§4.2, §4.3).
//!
//! A page that is looked for by its sender may be far: the archive is read in pieces until there
//! is something to send, each piece asked for by a request that begins where the last one ended.

use std::sync::Arc;

use bytes::Bytes;
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::xmpp::rsm::Given;
use couplet_proto::xmpp::{ns, time};
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::super::room::Room;
use super::wanted::Query;
use super::{ARCHIVE, Kept, Sight, admit, forwarded, id_text, sight};
use crate::hooks::{Answer, Ask, Asked, Ctx, Reply};
use crate::store::{LogId, Span};

/// Bytes of one page, unless one message alone is more: a client whose connection takes a
/// megabyte must be able to take it.
const PAGE_BYTES: usize = 256 * 1024;

/// Entries that are read at once to find those of one sender.
const SCAN: usize = 500;

/// How many times; then the asker has to narrow the query.
const SCANS_MAX: u32 = 40;

/// An entry and its place.
type Entry = (LogId, Bytes);

/// The part of what was read that is sent.
#[derive(Debug, Default)]
struct Page {
    messages: Vec<(LogId, Kept)>,
    /// Whether more was read than is sent.
    is_cut: bool,
}

/// Asks for what the answer to a query needs.
pub(super) fn begin(
    ctx: &mut Ctx<'_>,
    iq: &Arc<Stanza>,
    query: &Query,
) -> Result<Reply, StanzaError> {
    match query.known.is_empty() {
        true => look(ctx, iq, query),
        false => {
            let known = query.known.as_slice().into();
            Ok(ctx.ask(Ask::Entries(ARCHIVE, known), Some(iq), checked))
        }
    }
}

/// §4.1.3, §4.3.2: what the query names as known is there, or not.
fn checked(ctx: &mut Ctx<'_>, answer: Answer, asked: &Asked) -> Result<Reply, StanzaError> {
    with_room(ctx, answer, asked, |ctx, room, iq, entries| {
        let query = read(iq)?;
        let is_there = |id: &LogId| entries.iter().any(|(found, _)| found == id);
        if !query.known.iter().all(is_there) {
            return Err(Condition::ItemNotFound.into());
        }
        let Some(ids) = &query.ids else {
            return look(ctx, iq, &query);
        };
        let mut entries = entries;
        entries.retain(|(id, _)| ids.contains(id) && query.span.contains(*id));
        if query.span.is_backwards {
            entries.reverse();
        }
        let page = Page::of(ctx, room, iq, &query, &entries);
        Ok(send(ctx, room, iq, &query, page, true))
    })
}

/// Asks for the entries of a page, and for one more to see whether there are more.
fn look(ctx: &mut Ctx<'_>, iq: &Arc<Stanza>, query: &Query) -> Result<Reply, StanzaError> {
    if query.scans > SCANS_MAX {
        let text = "there is too much to look through; narrow the time";
        return Err(StanzaError::from(Condition::ResourceConstraint).with_text(text));
    }
    Ok(ctx.ask(
        Ask::Log(ARCHIVE, query.span, at_once(query)),
        Some(iq),
        found,
    ))
}

fn at_once(query: &Query) -> usize {
    match query.with {
        Some(_) => SCAN,
        None => query.max + 1,
    }
}

/// Entries are there.
fn found(ctx: &mut Ctx<'_>, answer: Answer, asked: &Asked) -> Result<Reply, StanzaError> {
    with_room(ctx, answer, asked, |ctx, room, iq, entries| {
        let query = read(iq)?;
        let is_end = entries.len() < at_once(&query);
        let page = Page::of(ctx, room, iq, &query, &entries);
        let last = entries.last().map(|(id, _)| *id);
        match last.filter(|_| page.is_empty() && !is_end) {
            Some(last) => {
                let next = behind(iq, &query, last);
                let query = read(&next)?;
                look(ctx, &next, &query)
            }
            None => Ok(send(ctx, room, iq, &query, page, is_end)),
        }
    })
}

/// Goes on with the room, if it is still there and the asker may still read what is in it.
fn with_room(
    ctx: &mut Ctx<'_>,
    answer: Answer,
    asked: &Asked,
    then: impl FnOnce(&mut Ctx<'_>, &Room, &Arc<Stanza>, Vec<Entry>) -> Result<Reply, StanzaError>,
) -> Result<Reply, StanzaError> {
    let (Answer::Log(entries), Some(iq)) = (answer, &asked.request) else {
        return Err(Condition::InternalServerError.into());
    };
    let room = ctx.account.slots.muc.0.take();
    let replied = match &room {
        None => Err(Condition::ItemNotFound.into()),
        Some(room) => {
            admit(ctx.shared, room, iq.sender()).and_then(|()| then(ctx, room, iq, entries))
        }
    };
    ctx.account.slots.muc.0 = room;
    replied
}

fn read(iq: &Stanza) -> Result<Query, StanzaError> {
    let payload = iq.first().ok_or(Condition::BadRequest)?;
    Query::read(&payload.element())
}

/// The same request, beginning behind what was looked through.
fn behind(iq: &Stanza, query: &Query, last: LogId) -> Arc<Stanza> {
    let place = match query.span.is_backwards {
        true => "before",
        false => "after",
    };
    let set = Element::new("set", ns::RSM)
        .text_child("max", query.max.to_string())
        .text_child(place, id_text(last));
    let former = iq.first().map(|payload| payload.element());
    let kept = former.iter().flat_map(Element::children);
    let kept = kept.filter(|child| !child.is("set", ns::RSM)).cloned();
    let next = Element::new("query", ns::MAM)
        .attr_opt("queryid", query.id.as_deref())
        .attr("scan", (query.scans + 1).to_string())
        .children_from(kept)
        .child(set);
    let mut stanza = iq.clone();
    stanza.payload = Payload::from_elements([&next]);
    Arc::new(stanza)
}

// === impl Page ===

impl Page {
    /// What of these entries, in the order in which they were read, is sent.
    fn of(ctx: &Ctx<'_>, room: &Room, iq: &Stanza, query: &Query, entries: &[Entry]) -> Self {
        let sight = sight(ctx.shared, room, iq.sender());
        let mut page = Self::default();
        let mut bytes = 0;
        for (id, value) in entries {
            let Some(kept) = Kept::decode(value) else {
                tracing::error!(room = %room.jid, "an entry of the archive is damaged");
                continue;
            };
            let with = query.with.as_ref();
            if !with.is_none_or(|with| is_by(room, &kept, with, sight)) {
                continue;
            }
            bytes += value.len();
            let is_full = page.messages.len() >= query.max;
            if is_full || (bytes > PAGE_BYTES && !page.messages.is_empty()) {
                page.is_cut = true;
                break;
            }
            page.messages.push((*id, kept));
        }
        page
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty() && !self.is_cut
    }
}

/// §4.1.1: the publisher of an item is its occupant, and for those who may know, its address.
fn is_by(room: &Room, kept: &Kept, with: &Jid, sight: Sight) -> bool {
    if with.is_same_bare(&room.jid) {
        return with.is_bare() || with == kept.stanza.sender();
    }
    sight.is_of(kept) && *with == kept.by
}

/// Sends a page, and after it the end (§4.2).
fn send(
    ctx: &mut Ctx<'_>,
    room: &Room,
    iq: &Stanza,
    query: &Query,
    mut page: Page,
    is_end: bool,
) -> Reply {
    if query.span.is_backwards {
        page.messages.reverse();
    }
    let messages = &page.messages;
    let ends = messages.first().zip(messages.last());
    let given = Given {
        ends: ends.map(|((first, _), (last, _))| (id_text(*first), id_text(*last))),
        ..Given::default()
    };
    if query.is_flipped {
        page.messages.reverse();
    }
    let sight = sight(ctx.shared, room, iq.sender());
    for (id, kept) in &page.messages {
        let message = forwarded(ctx.shared, room, kept, sight);
        let result = result(query, *id, message);
        let mut stanza = Stanza::new(Kind::Message, Type::Normal)
            .id(ctx.random_id())
            .child(&result)
            // Nobody but the asker is waiting for it.
            .child(&Element::new("no-store", ns::HINTS));
        stanza.from = Some(room.jid.clone());
        stanza.to = Some(iq.sender().clone());
        ctx.route(stanza);
    }
    let is_complete = is_end && !page.is_cut;
    let fin = Element::new("fin", ns::MAM)
        .attr_opt("complete", is_complete.then_some("true"))
        .child(given.to_element());
    Reply::Payload(fin)
}

fn result(query: &Query, id: LogId, message: Element) -> Element {
    let delay = Element::new("delay", ns::DELAY).attr("stamp", time::format(id.millis));
    let forwarded = Element::new("forwarded", ns::FORWARD)
        .child(delay)
        .child(message);
    Element::new("result", ns::MAM)
        .attr_opt("queryid", query.id.as_deref())
        .attr("id", id_text(id))
        .child(forwarded)
}

/// §5: which the first and last entries are.
pub(super) fn metadata(ctx: &mut Ctx<'_>, iq: &Arc<Stanza>) -> Reply {
    ctx.ask(Ask::Log(ARCHIVE, Span::ALL, 1), Some(iq), started)
}

/// The first is known: it goes along in the request while the last is asked for.
fn started(ctx: &mut Ctx<'_>, answer: Answer, asked: &Asked) -> Result<Reply, StanzaError> {
    with_room(ctx, answer, asked, |ctx, _, iq, entries| {
        let Some((first, _)) = entries.first() else {
            return Ok(Reply::Payload(Element::new("metadata", ns::MAM)));
        };
        let metadata = Element::new("metadata", ns::MAM).child(end("start", *first));
        let mut next = (**iq).clone();
        next.payload = Payload::from_elements([&metadata]);
        let span = Span {
            is_backwards: true,
            ..Span::ALL
        };
        Ok(ctx.ask(Ask::Log(ARCHIVE, span, 1), Some(&Arc::new(next)), ended))
    })
}

fn ended(ctx: &mut Ctx<'_>, answer: Answer, asked: &Asked) -> Result<Reply, StanzaError> {
    with_room(ctx, answer, asked, |_, _, iq, entries| {
        let metadata = iq.first().ok_or(Condition::BadRequest)?.element();
        let last = entries.first().map(|(last, _)| end("end", *last));
        Ok(Reply::Payload(metadata.children_from(last)))
    })
}

fn end(name: &'static str, id: LogId) -> Element {
    Element::new(name, ns::MAM)
        .attr("id", id_text(id))
        .attr("timestamp", time::format(id.millis))
}
