//! Record: a room in the store. Each part is a row, so that a change costs what it changes.

use std::sync::Arc;

use bytes::Bytes;
use couplet_proto::link::id::{LogId, SessionId};
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::{Jid, Kind, Stanza, Type};

use super::PerAccount;
use super::affiliation::{Affiliation, Role};
use super::approval::Requests;
use super::hats::Hats;
use super::occupant::{Occupant, Occupants};
use super::room::{Member, Past, Room, Subject};
use super::service::{self};
use super::settings::Settings;
use crate::hooks::Ctx;
use crate::session::AccountSlots;
use crate::session::record::SourceRecord;
use crate::session::sleeping::ROOM_KEY;
use crate::store::{SLEEPING, Snapshot, Table, Write, codec};

/// The room itself, and its subject.
const ROOM: Table = Table {
    id: 9,
    name: "room",
    is_resident: true,
};

/// By bare address.
const MEMBERS: Table = Table {
    id: 10,
    name: "room-members",
    is_resident: true,
};

/// By full address.
const OCCUPANTS: Table = Table {
    id: 11,
    name: "room-occupants",
    is_resident: true,
};

/// What was sent of late, by number.
const HISTORY: Table = Table {
    id: 12,
    name: "room-history",
    is_resident: true,
};

pub(super) const TABLES: &[Table] = &[ROOM, MEMBERS, OCCUPANTS, HISTORY, service::DIRECTORY];

/// The key of the room's own row.
const OWN: &str = "";
/// The key of the subject.
const SUBJECT: &str = "subject";
/// The key of the hats.
const HATS: &str = "hats";
/// The key of the requests for membership.
const REQUESTS: &str = "requests";

/// The first version of the stored records.
const RECORD: u8 = 1;

#[derive(Clone, PartialEq, prost::Message)]
struct RoomRecord {
    #[prost(fixed64, tag = "1")]
    name: u64,
    #[prost(bytes = "bytes", tag = "2")]
    secret: Bytes,
    #[prost(bool, tag = "3")]
    is_locked: bool,
    #[prost(bytes = "bytes", tag = "4")]
    settings: Bytes,
    #[prost(string, optional, tag = "5")]
    avatar: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MemberRecord {
    #[prost(string, tag = "1")]
    affiliation: String,
    #[prost(string, optional, tag = "2")]
    nick: Option<String>,
    #[prost(string, optional, tag = "3")]
    reason: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OccupantRecord {
    #[prost(string, tag = "1")]
    nick: String,
    #[prost(string, tag = "2")]
    role: String,
    #[prost(string, tag = "3")]
    presence: String,
    #[prost(uint64, tag = "4")]
    since: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MessageRecord {
    #[prost(string, tag = "1")]
    from: String,
    #[prost(string, optional, tag = "2")]
    id: Option<String>,
    #[prost(string, optional, tag = "3")]
    lang: Option<String>,
    #[prost(string, optional, tag = "4")]
    extra: Option<String>,
    #[prost(string, tag = "5")]
    payload: String,
    #[prost(uint64, tag = "6")]
    pub(super) at: u64,
    #[prost(string, tag = "7")]
    pub(super) by: String,
    #[prost(bool, tag = "8")]
    is_shown: bool,
    #[prost(uint64, tag = "9")]
    place_millis: u64,
    #[prost(uint32, tag = "10")]
    place_count: u32,
    #[prost(message, optional, tag = "11")]
    source: Option<SourceRecord>,
    #[prost(uint64, tag = "12")]
    arrived: u64,
    /// In an archive.
    #[prost(bool, tag = "13")]
    pub(super) is_open: bool,
}

// === impl MessageRecord ===

impl MessageRecord {
    pub(super) fn of(stanza: &Stanza, at: u64) -> Self {
        let text = |text: &str| text.to_owned();
        Self {
            from: text(stanza.sender().as_str()),
            id: stanza.id.as_deref().map(text),
            lang: stanza.lang.as_deref().map(text),
            extra: stanza.extra.as_deref().map(text),
            payload: text(stanza.payload.xml()),
            at,
            ..Self::default()
        }
    }

    pub(super) fn stanza(&self) -> Option<Arc<Stanza>> {
        let mut stanza = Stanza::new(Kind::Message, Type::Groupchat);
        stanza.id = self.id.as_deref().map(Into::into);
        stanza.from = Some(Jid::parse(&self.from).ok()?);
        stanza.lang = self.lang.as_deref().map(Into::into);
        stanza.extra = self.extra.as_deref().map(Into::into);
        stanza.payload = Payload::read(&self.payload)?;
        Some(Arc::new(stanza))
    }
}

/// Stores the room itself.
pub(super) fn save(ctx: &mut Ctx<'_>, room: &Room) {
    let record = RoomRecord {
        name: room.name.0,
        secret: Bytes::copy_from_slice(&room.secret),
        is_locked: room.is_locked,
        settings: room.settings.encode(),
        avatar: room.avatar.as_deref().map(str::to_owned),
    };
    ctx.put(ROOM, OWN, codec::encode(RECORD, &record));
}

/// Stores the subject.
pub(super) fn save_subject(ctx: &mut Ctx<'_>, subject: &Subject) {
    let record = MessageRecord::of(&subject.stanza, subject.at);
    ctx.put(ROOM, SUBJECT, codec::encode(RECORD, &record));
}

/// Stores the hats and who wears them.
pub(super) fn save_hats(ctx: &mut Ctx<'_>, hats: &Hats) {
    ctx.put(ROOM, HATS, hats.encode());
}

/// Stores who wants to be a member.
pub(super) fn save_requests(ctx: &mut Ctx<'_>, requests: &Requests) {
    ctx.put(ROOM, REQUESTS, requests.encode());
}

/// Stores what is kept of a bare address; of one that is nothing, nothing.
pub(super) fn save_member(ctx: &mut Ctx<'_>, jid: &Jid, member: Option<&Member>) {
    match member {
        None => ctx.delete(MEMBERS, jid.as_str()),
        Some(member) => {
            let record = MemberRecord {
                affiliation: member.affiliation.name().to_owned(),
                nick: member.nick.as_deref().map(str::to_owned),
                reason: member.reason.as_deref().map(str::to_owned),
            };
            ctx.put(MEMBERS, jid.as_str(), codec::encode(RECORD, &record));
        }
    }
}

/// Stores an occupant that has entered or changed. `is_first`: there was none before.
pub(super) fn save_occupant(ctx: &mut Ctx<'_>, occupant: &Occupant, is_first: bool) {
    let record = OccupantRecord {
        nick: occupant.nick.to_string(),
        role: occupant.role.name().to_owned(),
        presence: occupant.presence.xml().to_string(),
        since: occupant.since,
    };
    let key = occupant.jid.as_str();
    ctx.put(OCCUPANTS, key, codec::encode(RECORD, &record));
    if is_first {
        // A new owner of the slot is to look at the room.
        ctx.put(SLEEPING, ROOM_KEY, Bytes::new());
    }
}

/// Forgets an occupant that has left. `is_last`: there is none any more.
pub(super) fn delete_occupant(ctx: &mut Ctx<'_>, jid: &Jid, is_last: bool) {
    ctx.delete(OCCUPANTS, jid.as_str());
    if is_last {
        ctx.delete(SLEEPING, ROOM_KEY);
    }
}

/// Stores a message that is sent to everybody.
pub(super) fn save_past(ctx: &mut Ctx<'_>, past: &Past) {
    let record = MessageRecord {
        by: past.by.as_str().to_owned(),
        is_shown: past.is_shown,
        place_millis: past.id.millis,
        place_count: past.id.count,
        source: past.source.map(SourceRecord::from),
        arrived: past.arrived,
        ..MessageRecord::of(&past.stanza, past.at)
    };
    let key = history_key(past.number);
    ctx.put(HISTORY, &key, codec::encode(RECORD, &record));
}

/// Forgets a message.
pub(super) fn delete_past(ctx: &mut Ctx<'_>, number: u64) {
    ctx.delete(HISTORY, &history_key(number));
}

/// The room is no more: nothing of it stays.
pub(super) fn erase(ctx: &mut Ctx<'_>) {
    ctx.write(Write::Erase);
}

/// Reads the room of an address, if there is one.
pub(super) fn load(jid: &Jid, stored: &Snapshot, slots: &mut AccountSlots) -> Result<(), String> {
    let mut room = None;
    let mut subject = None;
    let mut hats = Hats::default();
    let mut requests = Requests::default();
    let mut members = Vec::new();
    let mut occupants = Occupants::default();
    let mut history = Vec::new();
    for (table, key, value) in &stored.rows {
        match *table {
            id if id == ROOM.id && **key == *OWN => room = Some(read_room(jid, value)?),
            id if id == ROOM.id && **key == *SUBJECT => subject = Some(read_subject(value)?),
            id if id == ROOM.id && **key == *HATS => hats = Hats::decode(value)?,
            id if id == ROOM.id && **key == *REQUESTS => requests = Requests::decode(value)?,
            id if id == MEMBERS.id => members.push(read_member(key, value)?),
            id if id == OCCUPANTS.id => occupants.insert(read_occupant(key, value)?),
            id if id == HISTORY.id => history.push(read_past(key, value)?),
            _ => {}
        }
    }
    let room = room.map(|mut room| {
        history.sort_unstable_by_key(|past: &Past| past.number);
        let since = occupants.iter().map(|occupant| occupant.since).max();
        let last = history.last().map(|past| past.number);
        room.last = last.max(since).unwrap_or(0);
        room.members = members.into_iter().collect();
        room.occupants = occupants;
        room.subject = subject;
        room.hats = hats;
        room.requests = requests;
        room.history = history.into();
        Box::new(room)
    });
    slots.muc = PerAccount(room, service::load(stored)?);
    Ok(())
}

fn read_room(jid: &Jid, value: &Bytes) -> Result<Room, String> {
    let record: RoomRecord = codec::decode(RECORD, value).map_err(|it| format!("room: {it}"))?;
    let secret = <[u8; 32]>::try_from(&*record.secret);
    let secret = secret.map_err(|_| "room: a secret of another length")?;
    let settings = Settings::decode(&record.settings)?;
    Ok(Room {
        is_locked: record.is_locked,
        avatar: record.avatar.map(Into::into),
        is_fresh: true,
        ..Room::new(jid.clone(), SessionId(record.name), secret, settings)
    })
}

fn read_subject(value: &Bytes) -> Result<Subject, String> {
    let record: MessageRecord =
        codec::decode(RECORD, value).map_err(|it| format!("subject: {it}"))?;
    let stanza = record.stanza().ok_or("subject: not a message")?;
    Ok(Subject {
        stanza,
        at: record.at,
    })
}

fn read_member(key: &str, value: &Bytes) -> Result<(Jid, Member), String> {
    let record: MemberRecord =
        codec::decode(RECORD, value).map_err(|it| format!("room member: {it}"))?;
    let jid = Jid::parse(key).map_err(|_| format!("room member: {key} is no address"))?;
    let affiliation = Affiliation::from_name(&record.affiliation)
        .ok_or_else(|| format!("room member: affiliation {}", record.affiliation))?;
    let member = Member {
        affiliation,
        nick: record.nick.map(Into::into),
        reason: record.reason.map(Into::into),
    };
    Ok((jid, member))
}

fn read_occupant(key: &str, value: &Bytes) -> Result<Occupant, String> {
    let record: OccupantRecord =
        codec::decode(RECORD, value).map_err(|it| format!("occupant: {it}"))?;
    let jid = Jid::parse(key).map_err(|_| format!("occupant: {key} is no address"))?;
    let role = Role::from_name(&record.role);
    Ok(Occupant {
        jid,
        nick: record.nick.into(),
        role: role.ok_or_else(|| format!("occupant: role {}", record.role))?,
        presence: Payload::read(&record.presence).ok_or("occupant: no presence")?,
        since: record.since,
    })
}

fn read_past(key: &str, value: &Bytes) -> Result<Past, String> {
    let record: MessageRecord =
        codec::decode(RECORD, value).map_err(|it| format!("room history: {it}"))?;
    let number = u64::from_str_radix(key, 16).map_err(|_| format!("room history: key {key}"))?;
    Ok(Past {
        number,
        id: LogId {
            millis: record.place_millis,
            count: record.place_count,
        },
        source: record.source.map(Into::into),
        arrived: record.arrived,
        stanza: record.stanza().ok_or("room history: not a message")?,
        at: record.at,
        by: Jid::parse(&record.by).map_err(|_| "room history: nobody's")?,
        is_shown: record.is_shown,
    })
}

fn history_key(number: u64) -> String {
    format!("{number:016x}")
}
