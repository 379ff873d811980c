//! Messages for a room (XEP-0045 §7.4, §8.1).
//!
//! A message to everybody has a number. It is stored before it is sent, and sent from its number,
//! so that a new owner of the room can send it again and nobody gets it twice.

use std::sync::Arc;

use couplet_proto::xmpp::error::{Condition, ErrorType, StanzaError};
use couplet_proto::xmpp::form::Submitted;
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::affiliation::Role;
use super::occupant::Occupant;
use super::room::{Past, Room, Subject};
use super::{approval, archive, invite, presence, private, record, voice};
use crate::hooks::Ctx;
use crate::hooks::context::Fan;
use crate::metrics;
use crate::store::LogId;

/// How long a message is kept for those it may not have reached, in milliseconds.
pub(super) const KEPT_MS: u64 = 60_000;

/// Messages kept for that reason alone; of more the oldest go sooner.
const KEPT_MAX: usize = 2000;

/// Bytes of all that is kept, about; of more the oldest go, though they would be shown: what
/// somebody says who enters many rooms and says long things may not fill the memory of the node.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// So many messages from one look for what need not be kept to the next.
const TRIM_EVERY: u64 = 16;

/// A message for the room or an occupant.
pub(super) fn received(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Stanza,
    entered: u64,
) -> Result<(), StanzaError> {
    if room.is_locked {
        // §17.2: as one that does not exist.
        return Err(Condition::ItemNotFound.into());
    }
    if stanza.to.as_ref().is_some_and(Jid::is_full) {
        return private::received(ctx, room, stanza);
    }
    if stanza.type_ == Type::Groupchat {
        let sent = to_all(ctx, room, stanza, entered);
        let outcome = if sent.is_ok() { "sent" } else { "refused" };
        metrics::room_message(outcome);
        return sent;
    }
    if let Some(x) = invite::find(stanza) {
        return invite::received(ctx, room, stanza, &x);
    }
    let form = form(stanza);
    match form.as_ref().map(|form| (form.value("FORM_TYPE"), form)) {
        Some((Some(ns::MUC_REQUEST), form)) => voice::received(ctx, room, stanza, form),
        Some((Some(ns::MUC_REGISTER), form)) => approval::answered(ctx, room, stanza, form),
        _ if room.occupants.get(stanza.sender()).is_none() => Err(Condition::NotAcceptable.into()),
        // §17.2: it is not for everybody, and for nobody else.
        _ => Err(Condition::BadRequest.into()),
    }
}

/// The form by which somebody asks for something, or answers.
fn form(stanza: &Stanza) -> Option<Submitted> {
    let x = stanza.payload.find("x", ns::DATA_FORMS)?.element();
    Submitted::in_child_of(&Element::new("message", ns::CLIENT).child(x))
}

/// Everybody has the messages up to this number.
pub(super) fn arrived(ctx: &Ctx<'_>, room: &Room) -> u64 {
    let before = || room.history.back().map_or(0, |past| past.arrived);
    ctx.arrived.unwrap_or_else(before)
}

/// What a client says in a message, without what only a room may say. Its own `origin-id` stays
/// (XEP-0359 §3).
pub(super) fn cleaned(payload: &Payload) -> Payload {
    payload.without(|child| {
        child.has_ns(ns::MUC)
            || child.has_ns(ns::MUC_USER)
            || child.has_ns(ns::OCCUPANT_ID)
            || child.is("stanza-id", ns::STANZA_ID)
            || child.is("delay", ns::DELAY)
            || child.is("x", "jabber:x:delay")
    })
}

/// The error for one who writes too fast.
pub(super) fn too_fast() -> StanzaError {
    StanzaError::from(Condition::PolicyViolation).with_type(ErrorType::Wait)
}

/// §7.4: a message to everybody.
fn to_all(
    ctx: &mut Ctx<'_>,
    room: &mut Room,
    stanza: &Stanza,
    entered: u64,
) -> Result<(), StanzaError> {
    let sender = room.occupants.get(stanza.sender());
    let sender = sender.ok_or(Condition::NotAcceptable)?.clone();
    let has = |name| stanza.payload.find(name, ns::CLIENT).is_some();
    // §8.1: only then; with a body or a thread it is a message like others.
    let is_subject = has("subject") && !has("body") && !has("thread");
    may_say(room, &sender, is_subject)?;
    paced(ctx, room, &sender, has("body"))?;
    let id = archive::reserve(ctx);
    let sent = reflection(ctx, room, &sender, stanza, id);
    let past = Past {
        number: room.last + 1,
        id,
        stanza: Arc::new(sent),
        at: ctx.now.unix,
        by: sender.jid.to_bare(),
        is_shown: has("body"),
        source: ctx.source,
        arrived: arrived(ctx, room),
    };
    if is_subject {
        let subject = Subject {
            stanza: past.stanza.clone(),
            at: past.at,
        };
        record::save_subject(ctx, &subject);
        room.subject = Some(subject);
    }
    broadcast(ctx, room, past, entered);
    Ok(())
}

/// Stores a message and sends it to everybody.
pub(super) fn broadcast(ctx: &mut Ctx<'_>, room: &mut Room, past: Past, entered: u64) {
    record::save_past(ctx, &past);
    archive::keep(ctx, room, past.id, &past);
    room.last = past.number;
    let fan = Fan {
        stanzas: [past.stanza.clone()].into(),
        to: room.occupants.everybody(),
        source: Some(room.source(past.number)),
        list: room.list_of_all(),
        entered,
    };
    room.history.push_back(past);
    if room.last.is_multiple_of(TRIM_EVERY) {
        trim(ctx, room);
    }
    ctx.fan(fan);
}

/// Whether an occupant may speak, or change the subject, by its role.
fn may_say(room: &Room, sender: &Occupant, is_subject: bool) -> Result<(), StanzaError> {
    let settings = &room.settings;
    let may_speak = sender.role > Role::Visitor || !settings.is_moderated;
    let may_change = sender.role == Role::Moderator
        || (settings.may_change_subject && sender.role == Role::Participant);
    match if is_subject { may_change } else { may_speak } {
        true => Ok(()),
        false => Err(Condition::Forbidden.into()),
    }
}

/// Whether an occupant may write now: the operator's limits, and the owners' (XEP-0500).
fn paced(
    ctx: &Ctx<'_>,
    room: &mut Room,
    sender: &Occupant,
    has_body: bool,
) -> Result<(), StanzaError> {
    let (muc, now) = (&ctx.shared.config.muc, ctx.now.mono);
    let is_slow = has_body && sender.role != Role::Moderator && room.settings.slow_mode_secs > 0;
    let wait_secs = room.settings.slow_mode_secs;
    let pace = &mut room.pace;
    if !pace.may_write(&sender.jid, now, muc.messages_per_occupant)
        || !pace.messages.admit(now, muc.messages_per_second)
    {
        return Err(too_fast());
    }
    if is_slow && !pace.may_speak(&sender.jid, now, wait_secs) {
        let text =
            format!("This room is in slow mode: wait {wait_secs} seconds between two messages.");
        return Err(too_fast().with_text(text));
    }
    Ok(())
}

/// The message as everybody gets it.
fn reflection(
    ctx: &mut Ctx<'_>,
    room: &Room,
    sender: &Occupant,
    stanza: &Stanza,
    id: LogId,
) -> Stanza {
    let mut sent = Stanza::new(Kind::Message, Type::Groupchat);
    sent.from = room.occupant_jid(&sender.nick);
    // §7.4: all copies of one message have one id.
    let given = stanza.id.clone();
    sent.id = given.or_else(|| Some(ctx.random_id().into()));
    sent.lang = stanza.lang.clone();
    sent.extra = stanza.extra.clone();
    let occupant_id = presence::occupant_id(room, &sender.jid);
    sent.payload = cleaned(&stanza.payload).with(&occupant_id);
    archive::identify(ctx.shared, room, &mut sent, id);
    sent
}

/// Forgets what need not be kept: shown messages beyond the limit and others, once they are old
/// enough to have reached everybody.
fn trim(ctx: &mut Ctx<'_>, room: &mut Room) {
    let shown_max = ctx.shared.config.muc.history_max;
    let shown_max = shown_max.max(room.settings.history_max) as usize;
    let old_at = ctx.now.unix.saturating_sub(KEPT_MS);
    let shown = room.history.iter().filter(|past| past.is_shown).count();
    let mut shown_excess = shown.saturating_sub(shown_max);
    let mut excess = room.history.len().saturating_sub(shown_max + KEPT_MAX);
    let bytes = room.history.iter().map(|past| past.stanza.wire_bytes());
    let mut bytes_excess = bytes.sum::<usize>().saturating_sub(KEPT_BYTES_MAX);
    let (last, arrived) = (room.last, arrived(ctx, room));
    room.history.retain(|past| {
        let is_extra = !past.is_shown || shown_excess > 0;
        // The last one tells a new owner which number comes next.
        let may_go = past.number < last && past.number <= arrived;
        let is_due = is_extra && (past.at <= old_at || excess > 0);
        let goes = may_go && (is_due || bytes_excess > 0);
        if goes {
            record::delete_past(ctx, past.number);
            excess = excess.saturating_sub(1);
            shown_excess = shown_excess.saturating_sub(usize::from(past.is_shown));
            bytes_excess = bytes_excess.saturating_sub(past.stanza.wire_bytes());
        }
        !goes
    });
}
