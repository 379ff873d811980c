//! XEP-0425: Moderated Message Retraction.

use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::{ns, time};
use couplet_proto::{Element, Stanza};

use super::affiliation::Role;
use super::archive::{self, Kept};
use super::occupant::Occupant;
use super::room::Room;
use super::{announce, presence, record};
use crate::hooks::{Answer, Asked, Ctx, Reply};
use crate::store::LogId;

/// Characters of a reason that everybody is told.
const REASON_CHARS: usize = 1024;

/// What a moderator wants gone, and why.
struct Verdict<'a> {
    moderator: Occupant,
    /// Its id, as text and as a place.
    text: &'a str,
    id: LogId,
    reason: Option<String>,
}

/// §4: a moderator takes back what somebody has said. What is kept of it is a tombstone (§5).
pub(super) fn received(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Arc<Stanza>,
    moderate: &Element,
) -> Result<Reply, StanzaError> {
    let verdict = read(room, stanza, moderate)?;
    let mut history = room.history.iter_mut();
    let Some(past) = history.find(|past| past.id == verdict.id) else {
        // Older than what those who enter are shown.
        return match archive::is_on(ctx.shared, room) {
            true => Ok(ctx.ask(archive::entry(verdict.id), Some(stanza), found)),
            false => Err(Condition::ItemNotFound.into()),
        };
    };
    if !is_said(&past.stanza) {
        return Err(Condition::ItemNotFound.into());
    }
    let kept = Kept {
        stanza: past.stanza.clone(),
        by: past.by.clone(),
        // It is not known of it; what is left of it need not say whose it was.
        is_open: false,
    };
    let stone = bury(ctx, room, kept, &verdict);
    let mut history = room.history.iter_mut();
    if let Some(past) = history.find(|past| past.id == verdict.id) {
        past.stanza = stone.stanza;
        record::save_past(ctx, past);
    }
    tell(ctx, room, stanza, &verdict);
    Ok(Reply::Later)
}

/// The entry of the archive is there, if there is one.
fn found(ctx: &mut Ctx<'_>, answer: Answer, asked: &Asked) -> Result<Reply, StanzaError> {
    let Answer::Log(entries) = answer else {
        return Err(Condition::InternalServerError.into());
    };
    let kept = entries.first().and_then(|(_, value)| Kept::decode(value));
    let kept = kept.filter(|kept| is_said(&kept.stanza));
    let kept = kept.ok_or(Condition::ItemNotFound)?;
    let stanza = asked.request.as_ref().ok_or(Condition::BadRequest)?;
    let moderate = stanza.first().ok_or(Condition::BadRequest)?.element();
    // Taken out, as for any handler.
    let mut room = ctx
        .account
        .slots
        .muc
        .0
        .take()
        .ok_or(Condition::ItemNotFound)?;
    let read = read(&room, stanza, &moderate);
    if let Ok(verdict) = &read {
        bury(ctx, &room, kept, verdict);
        tell(ctx, &mut room, stanza, verdict);
    }
    ctx.account.slots.muc.0 = Some(room);
    read.map(|_| Reply::Later)
}

fn read<'a>(
    room: &Room,
    stanza: &Stanza,
    moderate: &'a Element,
) -> Result<Verdict<'a>, StanzaError> {
    let bare = stanza.sender().to_bare();
    let is_moderator = |occupant: &&Occupant| occupant.role == Role::Moderator;
    let moderator = room.occupants.of_user(&bare).find(is_moderator).cloned();
    let Some(moderator) = moderator else {
        let text = "Only moderators are allowed to moderate other participants' messages";
        return Err(StanzaError::from(Condition::Forbidden).with_text(text));
    };
    let text = moderate.get("id").ok_or(Condition::BadRequest)?;
    if moderate.find("retract", ns::RETRACT).is_none() {
        // §1: there may be other kinds one day.
        return Err(Condition::FeatureNotImplemented.into());
    }
    let reason = moderate.find_own("reason").map(Element::content);
    let reason = reason.map(|reason| reason.chars().take(REASON_CHARS).collect::<String>());
    Ok(Verdict {
        moderator,
        text,
        id: archive::read_id(text).ok_or(Condition::ItemNotFound)?,
        reason: reason.filter(|reason| !reason.is_empty()),
    })
}

/// Whether it is what somebody has said, and was not taken back already.
fn is_said(stanza: &Stanza) -> bool {
    stanza.payload.find("body", ns::CLIENT).is_some()
}

/// The moderator has its answer, and everybody hears of it.
fn tell(ctx: &mut Ctx<'_>, room: &mut Room, stanza: &Stanza, verdict: &Verdict<'_>) {
    let Verdict {
        moderator, reason, ..
    } = verdict;
    ctx.route(stanza.result(None));
    let retract = said(room, "retract", moderator, reason.as_deref()).attr("id", verdict.text);
    announce::child(ctx, room, &retract, &moderator.jid, true);
}

/// §5: nothing of what was said stays, only who said it. What stands in its place.
fn bury(ctx: &mut Ctx<'_>, room: &Room, kept: Kept, verdict: &Verdict<'_>) -> Kept {
    let stamp = time::format(ctx.now.unix);
    let reason = verdict.reason.as_deref();
    let retracted = said(room, "retracted", &verdict.moderator, reason).attr("stamp", stamp);
    let mut stone = Stanza::clone(&kept.stanza);
    stone.payload = stone
        .payload
        .without(|child| !child.has_ns(ns::OCCUPANT_ID) && !child.is("stanza-id", ns::STANZA_ID))
        .with(&retracted);
    let stone = Kept {
        stanza: Arc::new(stone),
        by: kept.by,
        is_open: kept.is_open,
    };
    archive::replace(ctx, verdict.id, &stone);
    stone
}

/// Who has taken it back, and why: the same in the message (§4.1) and in the tombstone (§5).
fn said(room: &Room, name: &'static str, moderator: &Occupant, reason: Option<&str>) -> Element {
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
