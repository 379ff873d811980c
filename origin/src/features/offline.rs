//! XEP-0160: Offline Messages, stamped as of XEP-0203.
//!
//! ```text
//! nobody there ──▶ log ──▶ a session becomes available ──▶ flush: page by page, in order
//!                   ▲                                        │
//!                   └── what arrives meanwhile ◀─────────────┘ until the log is empty
//! ```
//!
//! **Invariant:** while the log is not empty, no message that could be kept overtakes it on the
//! way to the session that is being given the log: it is appended. So the order between a sender
//! and that session holds. Other sessions wait for nobody and get live messages at once.
//!
//! A page is removed when its reader has it: by its acknowledgement (XEP-0198), or, without
//! stream management, when its socket has taken it. Only then the next page is read, so a slow
//! reader is given no more than it takes. A crash in between repeats a page, never loses it.

use std::sync::Arc;

use bytes::Bytes;
use couplet_proto::link::frame::repeated;
use couplet_proto::link::id::{SessionId, Source};
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::xmpp::{ns, time};
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::hints;
use crate::hooks::context::Effect;
use crate::hooks::{
    Answer, Ask, Asked, Ctx, Feature, Flow, Message, PresenceChange, Reply, Spec, Stage,
};
use crate::metrics;
use crate::session::outbox::Entry;
use crate::session::record::SourceRecord;
use crate::session::{AccountSlots, Available, Session};
use crate::store::{Log, LogId, Snapshot, Span, codec};

/// What waits for the account.
#[derive(Debug, Default)]
pub struct PerAccount {
    /// Entries in the log, those on their way into it included.
    stored: u64,
    /// Those of them that were added after the last question for a page, and may not be in it.
    fresh: u64,
}

/// What a session is given of what waits.
#[derive(Debug, Default)]
pub struct PerSession {
    /// Whether a page has been asked for, to be given to this session, or given, and is not yet
    /// acknowledged: never for two of an account. A page that waits for a commit is in no outbox
    /// yet.
    is_asked: bool,
    /// From where on it has had the messages that queued up for another session: it was given them
    /// as they came.
    had_from: Option<Box<LogId>>,
}

/// The messages, oldest first.
const OFFLINE: Log = Log {
    id: 1,
    name: "offline",
};

/// The first version of the stored record.
const RECORD: u8 = 1;

/// Messages read and delivered at once.
const PAGE: usize = 100;

/// What waits for a shorter time than this, in milliseconds, was on its way while the log was
/// flushed and is not late.
const LATE_MS: u64 = 2_000;

// === impl PerAccount ===

impl PerAccount {
    /// How many messages wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> u64 {
        self.stored
    }
}

pub(super) static FEATURE: Feature = Feature {
    name: "offline",
    spec: Spec::new(
        "XEP-0160",
        "Best Practices for Handling Offline Messages",
        "1.0.1",
    ),
    also: &[Spec::new("XEP-0203", "Delayed Delivery", "2.0")],
    disco: &[ns::OFFLINE],
    received: &[(Stage::Deliver, queue_up), (Stage::Absent, keep)],
    presence: Some(changed),
    closed: Some(closed),
    logs: &[OFFLINE],
    load: Some(load),
    acknowledged: Some(acknowledged),
    ..Feature::EMPTY
};

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(string, optional, tag = "1")]
    type_: Option<String>,
    #[prost(string, optional, tag = "2")]
    id: Option<String>,
    #[prost(string, tag = "3")]
    from: String,
    #[prost(string, tag = "4")]
    to: String,
    #[prost(string, optional, tag = "5")]
    lang: Option<String>,
    #[prost(string, optional, tag = "6")]
    extra: Option<String>,
    #[prost(string, tag = "7")]
    payload: String,
    /// Somebody was there: it only queued up.
    #[prost(bool, tag = "8")]
    is_live: bool,
    #[prost(message, optional, tag = "9")]
    source: Option<SourceRecord>,
    /// The session it queued up for, if somebody was there.
    #[prost(fixed64, tag = "10")]
    receiver: u64,
}

// === impl Record ===

impl Record {
    fn of(stanza: &Stanza, receiver: Option<SessionId>, source: Option<Source>) -> Self {
        let text = |text: &str| text.to_owned();
        Self {
            type_: stanza.type_.attribute().map(text),
            id: stanza.id.as_deref().map(text),
            from: text(stanza.sender().as_str()),
            to: text(stanza.to.as_ref().map_or("", Jid::as_str)),
            lang: stanza.lang.as_deref().map(text),
            extra: stanza.extra.as_deref().map(text),
            payload: text(stanza.payload.xml()),
            is_live: receiver.is_some(),
            receiver: receiver.map_or(0, |receiver| receiver.0),
            source: source.map(SourceRecord::from),
        }
    }

    fn read(value: &Bytes) -> Option<Self> {
        codec::decode(RECORD, value).ok()
    }

    fn stanza(&self) -> Option<Stanza> {
        Some(Stanza {
            kind: Kind::Message,
            type_: Type::from_attribute(Kind::Message, self.type_.as_deref())?,
            id: self.id.as_deref().map(Into::into),
            from: Some(Jid::parse(&self.from).ok()?),
            to: Some(Jid::parse(&self.to).ok()?),
            lang: self.lang.as_deref().map(Into::into),
            extra: self.extra.as_deref().map(Into::into),
            payload: Payload::read(&self.payload)?,
            trace: None,
        })
    }
}

/// Behind what waits, a message waits too, although somebody is there.
fn queue_up(ctx: &mut Ctx<'_>, message: &mut Message) -> Result<Flow, StanzaError> {
    if ctx.account.slots.offline.stored == 0 || !hints::is_kept(&message.stanza) {
        return Ok(Flow::Continue);
    }
    let flushing = flushing(ctx);
    let Some(receiver) = flushing.or_else(|| newest_willing(ctx)) else {
        return Ok(Flow::Continue);
    };
    let to = message.stanza.to.as_ref();
    let named = to.and_then(|to| ctx.account.session_of(to));
    if named.is_some_and(|named| named != receiver) {
        // For another session that is there, none of the log is.
        return Ok(Flow::Continue);
    }
    let id = append(ctx, &message.stanza, Some(receiver))?;
    if named.is_none() {
        // The others wait for nobody: RFC 6121 §8.5.2.1.1.
        copy(ctx, receiver, id, message);
    }
    if flushing.is_none() {
        // What waits could not be read when somebody came.
        ask(ctx, receiver, None);
    }
    Ok(Flow::Stop)
}

/// A message that an ended session was given and did not take waits for the next. False when it
/// is none that waits.
///
/// # Errors
/// When too many wait already.
pub(crate) fn put_back(
    ctx: &mut Ctx<'_>,
    stanza: &Stanza,
    source: Option<Source>,
) -> Result<bool, StanzaError> {
    if !hints::is_kept(stanza) {
        return Ok(false);
    }
    let former = std::mem::replace(&mut ctx.source, source);
    let appended = append(ctx, stanza, None);
    ctx.source = former;
    appended?;
    try_again(ctx);
    Ok(true)
}

/// "Process Flow": nobody is there.
fn keep(ctx: &mut Ctx<'_>, message: &mut Message) -> Result<Flow, StanzaError> {
    let stanza = &message.stanza;
    if hints::is_kept(stanza) {
        append(ctx, stanza, None)?;
        return Ok(Flow::Stop);
    }
    // What nobody would miss disappears; a text that must not be stored is refused.
    Ok(match stanza.payload.find("body", ns::CLIENT) {
        Some(_) => Flow::Continue,
        None => Flow::Stop,
    })
}

fn append(
    ctx: &mut Ctx<'_>,
    stanza: &Stanza,
    receiver: Option<SessionId>,
) -> Result<LogId, StanzaError> {
    let most = u64::from(ctx.shared.config.limits.offline_messages);
    if ctx.account.slots.offline.stored >= most {
        metrics::offline("refused");
        let text = "too many messages wait for this account";
        return Err(StanzaError::from(Condition::ServiceUnavailable).with_text(text));
    }
    // What a shard made may overtake it, and so has no place in the order of what shards make.
    let source = ctx.source.filter(|source| source.is_of_client());
    let record = Record::of(stanza, receiver, source);
    let id = ctx.append(OFFLINE, codec::encode(RECORD, &record));
    ctx.account.slots.offline.stored += 1;
    ctx.account.slots.offline.fresh += 1;
    metrics::offline("stored");
    Ok(id)
}

/// A message that queues up for one session goes to the others at once.
fn copy(ctx: &mut Ctx<'_>, receiver: SessionId, id: LogId, message: &Message) {
    let others: Vec<SessionId> = willing(ctx).map(|(session, _)| session.id).collect();
    for other in others.into_iter().filter(|other| *other != receiver) {
        if let Some(session) = ctx.account.session_mut(other) {
            session.slots.offline.had_from.get_or_insert(Box::new(id));
        }
        // That the log has it is the receiver's affair alone; should this one end, it is there.
        let entry = Entry {
            source: ctx.source,
            twins: Some(Arc::new(true.into())),
            ..Entry::plain(message.stanza.clone())
        };
        ctx.deliver_entry(other, entry, message.entered);
    }
}

/// A session becomes able to take messages.
fn changed(ctx: &mut Ctx<'_>, change: &PresenceChange) {
    let is_wanted = change.is_available && change.priority >= 0;
    if !is_wanted && let Some(session) = ctx.session() {
        session.slots.offline.had_from = None;
    }
    if !is_wanted || ctx.account.slots.offline.stored == 0 || flushing(ctx).is_some() {
        return;
    }
    if let Some(session) = ctx.session_id() {
        ask(ctx, session, None);
    }
}

/// A session is gone: what it has not been given is for the next.
fn closed(ctx: &mut Ctx<'_>) {
    let session = ctx.session();
    let was_flushing = session.is_some_and(|session| {
        let was_asked = std::mem::take(&mut session.slots.offline.is_asked);
        was_asked || session.outbox.logged() > 0
    });
    if was_flushing {
        hand_over(ctx);
    }
}

/// Gives what waits to a session that takes it, if it is being given to none.
pub(crate) fn try_again(ctx: &mut Ctx<'_>) {
    if flushing(ctx).is_none() {
        hand_over(ctx);
    }
}

/// Gives what waits to another session, if there is one that takes it.
fn hand_over(ctx: &mut Ctx<'_>) {
    let next = newest_willing(ctx).filter(|_| ctx.account.slots.offline.stored > 0);
    if let Some(next) = next {
        ask(ctx, next, None);
    }
}

/// Asks for a page. It is read after everything that is on its way into the log.
fn ask(ctx: &mut Ctx<'_>, session: SessionId, after: Option<LogId>) {
    let Some(known) = ctx.account.session_mut(session) else {
        return;
    };
    known.slots.offline.is_asked = true;
    ctx.account.slots.offline.fresh = 0;
    let caller = ctx.session_id();
    ctx.set_session(Some(session));
    ctx.ask(Ask::Log(OFFLINE, Span::after(after), PAGE), None, page);
    ctx.set_session(caller);
}

/// A page is there: delivers it.
fn page(ctx: &mut Ctx<'_>, answer: Answer, _: &Asked) -> Result<Reply, StanzaError> {
    let Some(session) = ctx.session() else {
        // It ended: the messages stay.
        return Ok(Reply::Later);
    };
    let receiver = session.id;
    session.slots.offline.is_asked = false;
    let Answer::Log(entries) = answer else {
        // The store does not answer.
        ctx.effect(Effect::Paced(receiver));
        return Ok(Reply::Later);
    };
    if !is_willing(ctx, receiver) {
        hand_over(ctx);
        return Ok(Reply::Later);
    }
    let mut given = 0;
    for (id, value) in &entries {
        match Record::read(value) {
            Some(record) => given += u64::from(deliver(ctx, receiver, *id, &record)),
            None => tracing::error!(account = %ctx.account.jid, "an offline message is damaged"),
        }
    }
    let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    match entries.last().map(|(last, _)| *last) {
        // Everything that was there before the question would be in it.
        None => {
            let offline = &mut ctx.account.slots.offline;
            offline.stored = offline.fresh;
            go_on(ctx, receiver, None);
        }
        // Nobody will acknowledge what cannot be read.
        Some(last) if given == 0 => acknowledged(ctx, last, count),
        Some(_) => {
            if let Some(session) = ctx.session() {
                session.slots.offline.is_asked = true;
            }
        }
    }
    Ok(Reply::Later)
}

/// The reader has so many more of the log, up to a place: they are removed, and the next page is
/// read when it has all of this one.
fn acknowledged(ctx: &mut Ctx<'_>, through: LogId, count: u64) {
    let Some(session) = ctx.session() else {
        return;
    };
    let (receiver, has_page) = (session.id, session.outbox.logged() > 0);
    session.slots.offline.is_asked &= has_page;
    let offline = &mut ctx.account.slots.offline;
    offline.stored = offline.stored.saturating_sub(count).max(offline.fresh);
    if !has_page {
        go_on(ctx, receiver, Some(through));
    }
    ctx.truncate(OFFLINE, through);
}

/// Asks for the next page, if anything is left.
fn go_on(ctx: &mut Ctx<'_>, receiver: SessionId, after: Option<LogId>) {
    if ctx.account.slots.offline.stored == 0 {
        return;
    }
    match is_willing(ctx, receiver) {
        true => ask(ctx, receiver, after),
        false => hand_over(ctx),
    }
}

/// "Server Delivers Message".
///
/// Says whether this place in the log will be acknowledged.
fn deliver(ctx: &mut Ctx<'_>, receiver: SessionId, id: LogId, record: &Record) -> bool {
    let Some(mut stanza) = record.stanza() else {
        tracing::error!(account = %ctx.account.jid, "an offline message cannot be read");
        return false;
    };
    if !record.is_live || ctx.now.unix.saturating_sub(id.millis) > LATE_MS {
        let delay = Element::new("delay", ns::DELAY)
            .attr("from", ctx.account.jid.domain())
            .attr("stamp", time::format(id.millis));
        stanza.payload = stanza.payload.with(&delay);
    }
    metrics::offline("delivered");
    let stanza = Arc::new(stanza);
    let is_had = is_had(ctx, receiver, id, record);
    let session = ctx.account.session(receiver);
    let stanza = match session.filter(|_| is_had) {
        // It is to be acknowledged all the same.
        Some(session) => Arc::new(repeated(&session.jid)),
        None => stanza,
    };
    let entry = Entry {
        stanza,
        source: record.source.map(Source::from).filter(|_| !is_had),
        log: Some(id),
        twins: None,
    };
    ctx.deliver_entry(receiver, entry, 0);
    true
}

/// Whether a session has had a message while it queued up for another one.
fn is_had(ctx: &Ctx<'_>, receiver: SessionId, id: LogId, record: &Record) -> bool {
    let session = ctx.account.session(receiver);
    let had_from = session.and_then(|session| session.slots.offline.had_from.as_deref());
    let is_for_all = record.is_live && record.receiver != receiver.0 && !record.to.contains('/');
    is_for_all && had_from.is_some_and(|from| id >= *from)
}

/// The session that is being given what waits.
fn flushing(ctx: &Ctx<'_>) -> Option<SessionId> {
    let mut sessions = ctx.account.sessions.iter();
    let found =
        sessions.find(|session| session.slots.offline.is_asked || session.outbox.logged() > 0);
    found.map(|session| session.id)
}

fn is_willing(ctx: &Ctx<'_>, session: SessionId) -> bool {
    let session = ctx.account.session(session);
    let presence = session.and_then(|session| session.presence.as_ref());
    presence.is_some_and(|presence| presence.priority >= 0)
}

fn newest_willing(ctx: &Ctx<'_>) -> Option<SessionId> {
    let newest = willing(ctx).max_by_key(|(_, presence)| presence.since);
    newest.map(|(session, _)| session.id)
}

fn willing<'a>(ctx: &'a Ctx<'_>) -> impl Iterator<Item = (&'a Session, &'a Available)> {
    let available = ctx.account.available();
    available.filter(|(_, presence)| presence.priority >= 0)
}

fn load(_: &Jid, stored: &Snapshot, slots: &mut AccountSlots) -> Result<(), String> {
    let log = stored.logs.iter().find(|(log, _)| *log == OFFLINE.id);
    let stored = log.map_or(0, |(_, entries)| *entries);
    // Should a question be under way (the account is read again), nobody knows what is in it.
    slots.offline = PerAccount {
        stored,
        fresh: stored,
    };
    Ok(())
}

#[cfg(test)]
mod tests;
