//! XEP-0313: the archive of a room: what was said in it, for as long as the room exists.
//!
//! ```text
//! message ─▶ reserve ─▶ its stanza-id ─▶ keep ─▶ log "room-archive"
//!                                                  │
//! query ─▶ wanted: form and page ─▶ access ─▶ are the ids in it known? ─▶ answer: a page
//! ```
//!
//! **Invariant:** the id of an entry is its place in the log and the `stanza-id` of the message.

mod answer;

mod wanted;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Child;
use couplet_proto::{Element, Jid, Stanza, Type};

use self::wanted::Query;
use super::affiliation::{Affiliation, Role};
use super::record::MessageRecord;
use super::room::{Past, Room};
use crate::hooks::context::Shared;
use crate::hooks::{Ask, Ctx, Reply};
use crate::store::{Log, LogId, Write, codec};

/// What was said, oldest first.
const ARCHIVE: Log = Log {
    id: 2,
    name: "room-archive",
};

pub(super) const LOGS: &[Log] = &[ARCHIVE];

/// What service discovery on a room with an archive advertises.
pub(super) const FEATURES: &[&str] = &[ns::MAM, ns::MAM_EXTENDED];

/// The first version of the stored entries.
const ENTRY: u8 = 1;

/// An entry: a message as the room sent it, or what is left of it.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// Without `to`; its sender is an occupant.
    pub(super) stanza: Arc<Stanza>,
    /// The bare address of its sender.
    pub(super) by: Jid,
    /// Everybody saw addresses when it was said: who spoke where nobody did is not shown to
    /// everybody because that has changed.
    pub(super) is_open: bool,
}

/// Whose addresses somebody may see in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Everybody,
    /// Those who spoke where everybody saw them.
    Open,
    Nobody,
}

// === impl Kept ===

impl Kept {
    /// The stored form.
    pub(super) fn encode(&self) -> Bytes {
        // Its place says when it was sent.
        let mut record = MessageRecord::of(&self.stanza, 0);
        self.by.as_str().clone_into(&mut record.by);
        record.is_open = self.is_open;
        codec::encode(ENTRY, &record)
    }

    /// Reads what [`Kept::encode`] gave; `None` when it is damaged.
    pub(super) fn decode(value: &Bytes) -> Option<Self> {
        let record: MessageRecord = codec::decode(ENTRY, value).ok()?;
        Some(Self {
            stanza: record.stanza()?,
            by: Jid::parse(&record.by).ok()?,
            is_open: record.is_open,
        })
    }
}

// === impl Sight ===

impl Sight {
    fn is_of(self, kept: &Kept) -> bool {
        match self {
            Self::Everybody => true,
            Self::Open => kept.is_open,
            Self::Nobody => false,
        }
    }
}

/// Whether a room has an archive.
pub(super) fn is_on(shared: &Shared, room: &Room) -> bool {
    shared.config.muc.archive && room.settings.is_archived
}

/// Takes the place of the next message, whether it will be kept or not.
pub(super) fn reserve(ctx: &mut Ctx<'_>) -> LogId {
    ctx.reserve_log_id()
}

/// The room has just been read: places go on behind those given by another owner, whose clock may
/// have been ahead.
pub(super) fn resume(ctx: &mut Ctx<'_>, room: &Room) {
    if let Some(last) = room.history.iter().map(|past| past.id).max() {
        ctx.account.has_log_id(last);
    }
}

/// Whether a message for everybody is worth a place in the archive (§6.1.2): not what only says
/// that somebody is typing or has read something.
pub(super) fn is_kept(shared: &Shared, room: &Room, stanza: &Stanza) -> bool {
    let has = |hint| stanza.payload.find(hint, ns::HINTS).is_some();
    if !is_on(shared, room) || has("no-store") || has("no-permanent-store") {
        return false;
    }
    has("store") || stanza.payload.children().any(is_worth_keeping)
}

fn is_worth_keeping(child: Child<'_>) -> bool {
    let accompanies = [
        ns::CHAT_STATES,
        ns::CHAT_MARKERS,
        ns::RECEIPTS,
        ns::HINTS,
        ns::STANZA_ID,
        ns::OCCUPANT_ID,
        ns::DELAY,
        ns::MUC_USER,
    ];
    !child.is("thread", ns::CLIENT) && !accompanies.iter().any(|ns| child.has_ns(ns))
}

/// Keeps a message that is sent to everybody, at the place reserved for it.
pub(super) fn keep(ctx: &mut Ctx<'_>, room: &Room, id: LogId, past: &Past) {
    if !is_kept(ctx.shared, room, &past.stanza) {
        return;
    }
    let kept = Kept {
        stanza: past.stanza.clone(),
        by: past.by.clone(),
        is_open: room.settings.is_non_anonymous,
    };
    ctx.write(Write::Append {
        log: ARCHIVE,
        id,
        value: kept.encode(),
    });
}

/// Puts what is left of a message in its place (XEP-0424 §5, XEP-0425 §5).
pub(super) fn replace(ctx: &mut Ctx<'_>, id: LogId, kept: &Kept) {
    ctx.write(Write::Replace {
        log: ARCHIVE,
        id,
        value: kept.encode(),
    });
}

/// What asks for the entry at a place: the answer is a log of it alone, or of none.
pub(super) fn entry(id: LogId) -> Ask {
    Ask::Entries(ARCHIVE, [id].into())
}

/// A place as an id.
pub(super) fn id_text(id: LogId) -> String {
    format!("{:x}-{:08x}", id.millis, id.count)
}

/// XEP-0359: tells a message's place. Where there is an archive, only of what is in it: clients ask
/// for what came after the last id they know, and one that leads nowhere is refused (§4.3).
pub(super) fn identify(shared: &Shared, room: &Room, stanza: &mut Stanza, id: LogId) {
    if is_on(shared, room) && !is_kept(shared, room, stanza) {
        return;
    }
    let own = Element::new("stanza-id", ns::STANZA_ID)
        .attr("by", room.jid.as_str())
        .attr("id", id_text(id));
    stanza.payload = stanza.payload.with(&own);
}

/// The place of an id; `None` when it is none that was ever given.
pub(super) fn read_id(text: &str) -> Option<LogId> {
    let (millis, count) = text.split_once('-')?;
    let id = LogId {
        millis: u64::from_str_radix(millis, 16).ok()?,
        count: u32::from_str_radix(count, 16).ok()?,
    };
    // One text only for each place.
    (id_text(id) == text).then_some(id)
}

/// Answers a request in the namespace of archives: for a page, for the form of a query, or for
/// what there is.
pub(super) fn query(
    ctx: &mut Ctx<'_>,
    room: &Room,
    iq: &Arc<Stanza>,
) -> Result<Reply, StanzaError> {
    if !is_on(ctx.shared, room) {
        return Err(Condition::ServiceUnavailable.into());
    }
    admit(ctx.shared, room, iq.sender())?;
    let payload = iq.first().ok_or(Condition::BadRequest)?;
    match (iq.type_, payload.name()) {
        (Type::Set, "query") => answer::begin(ctx, iq, &Query::read(&payload.element())?),
        (Type::Get, "query") => Ok(Reply::Payload(wanted::form())),
        (Type::Get, "metadata") => Ok(answer::metadata(ctx, iq)),
        _ => Err(Condition::BadRequest.into()),
    }
}

/// §6.1.2, §8.1: who may enter the room at this time may read what was said in it.
fn admit(shared: &Shared, room: &Room, asker: &Jid) -> Result<(), StanzaError> {
    let affiliation = room.affiliation(shared, asker);
    let is_occupant = room.occupants.get(asker).is_some();
    let needs_password = room.settings.password.is_some() && affiliation < Affiliation::Admin;
    let may = match affiliation {
        Affiliation::Outcast => false,
        Affiliation::Owner => true,
        _ if room.is_locked => false,
        _ if is_occupant => true,
        Affiliation::None if room.settings.is_members_only => false,
        _ => !needs_password,
    };
    match may {
        true => Ok(()),
        false => Err(Condition::Forbidden.into()),
    }
}

/// Whose addresses somebody may know.
fn sight(shared: &Shared, room: &Room, asker: &Jid) -> Sight {
    let is_admin = room.affiliation(shared, asker) >= Affiliation::Admin;
    let occupant = room.occupants.get(asker);
    let is_moderator = occupant.is_some_and(|occupant| occupant.role == Role::Moderator);
    match is_admin || is_moderator {
        true => Sight::Everybody,
        false if room.settings.is_non_anonymous => Sight::Open,
        false => Sight::Nobody,
    }
}

/// The message of an entry as it is forwarded (§6.1.2): from the occupant, to nobody.
fn forwarded(shared: &Shared, room: &Room, kept: &Kept, sight: Sight) -> Element {
    let stanza = &kept.stanza;
    let children = stanza.payload.children();
    // What it says of addresses is for the room to say, and was for others.
    let children = children.filter(|child| !child.is("x", ns::MUC_USER));
    let message = Element::new("message", ns::CLIENT)
        .attr("from", stanza.sender().as_str())
        .attr_opt("id", stanza.id.as_deref())
        .attr("type", "groupchat")
        .attr_opt("xml:lang", stanza.lang.as_deref())
        .children_from(children.map(Child::element));
    if !sight.is_of(kept) {
        return message;
    }
    let affiliation = room.affiliation(shared, &kept.by);
    let item = Element::new("item", ns::MUC_USER)
        .attr("affiliation", affiliation.name())
        .attr("jid", kept.by.as_str());
    message.child(Element::new("x", ns::MUC_USER).child(item))
}
