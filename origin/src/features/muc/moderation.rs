//! XEP-0425: Moderated Message Retraction.

use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::{ns, time};
use couplet_proto::{Element, Stanza};

use super::affiliation::Role;
use super::occupant::Occupant;
use super::room::{Past, Room};
use super::{announce, message, presence, record};
use crate::hooks::{Ctx, Reply};

/// Characters of a reason that everybody is told.
const REASON_CHARS: usize = 1024;

/// §4: a moderator takes back what somebody has said. What is kept of it is a tombstone (§5).
pub(super) fn received(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Arc<Stanza>,
    moderate: &Element,
) -> Result<Reply, StanzaError> {
    let bare = stanza.sender().to_bare();
    let is_moderator = |occupant: &&Occupant| occupant.role == Role::Moderator;
    let moderator = room.occupants.of_user(&bare).find(is_moderator).cloned();
    let Some(moderator) = moderator else {
        let text = "Only moderators are allowed to moderate other participants' messages";
        return Err(StanzaError::from(Condition::Forbidden).with_text(text));
    };
    let id = moderate.get("id").ok_or(Condition::BadRequest)?;
    if moderate.find("retract", ns::RETRACT).is_none() {
        // §1: there may be other kinds one day.
        return Err(Condition::FeatureNotImplemented.into());
    }
    let reason = moderate.find_own("reason").map(Element::content);
    let reason = reason.map(|reason| reason.chars().take(REASON_CHARS).collect::<String>());
    let reason = reason.filter(|reason| !reason.is_empty());
    let number = find(room, id).ok_or(Condition::ItemNotFound)?;
    bury(ctx, room, number, &moderator, reason.as_deref());
    ctx.route(stanza.result(None));
    let retract = verdict(room, "retract", &moderator, reason.as_deref()).attr("id", id);
    announce::child(ctx, room, &retract, &moderator.jid, true);
    Ok(Reply::Later)
}

/// The number of the message that has this id from the room; only what somebody has said, not what
/// was taken back already.
fn find(room: &Room, id: &str) -> Option<u64> {
    let mut history = room.history.iter();
    let is_meant = |past: &&Past| message::stanza_id(room, past.number) == id;
    let past = history.find(is_meant)?;
    let is_said = past.stanza.payload.find("body", ns::CLIENT).is_some();
    is_said.then_some(past.number)
}

/// §5: nothing of what was said stays, only who said it.
fn bury(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    number: u64,
    moderator: &Occupant,
    reason: Option<&str>,
) {
    let stamp = time::format(ctx.now.unix);
    let retracted = verdict(room, "retracted", moderator, reason).attr("stamp", stamp);
    let mut history = room.history.iter_mut();
    let Some(past) = history.find(|past| past.number == number) else {
        return;
    };
    let mut stone = Stanza::clone(&past.stanza);
    stone.payload = stone
        .payload
        .without(|child| !child.has_ns(ns::OCCUPANT_ID) && !child.is("stanza-id", ns::STANZA_ID))
        .with(&retracted);
    past.stanza = Arc::new(stone);
    record::save_past(ctx, past);
}

/// Who has taken it back, and why: the same in the message (§4.1) and in the tombstone (§5).
fn verdict(room: &Room, name: &'static str, moderator: &Occupant, reason: Option<&str>) -> Element {
    let by = room.occupant_jid(&moderator.nick);
    let moderated = Element::new("moderated", ns::MODERATE)
        .attr_opt("by", by.as_ref().map(|by| by.as_str()))
        .child(presence::occupant_id(room, &moderator.jid));
    let verdict = Element::new(name, ns::RETRACT).child(moderated);
    match reason {
        Some(reason) => verdict.text_child("reason", reason),
        None => verdict,
    }
}
