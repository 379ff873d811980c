//! Record: a session as it is kept outside of the memory of its owner, by its edge or the store.

use std::sync::Arc;

use bytes::Bytes;
use couplet_proto::link::id::{LogId, SessionId, Source};
use couplet_proto::xmpp::payload::Payload;
use couplet_proto::{Jid, Kind, Stanza, Type};

use super::former::Former;
use super::outbox::{Entry, Outbox};
use super::{Available, Managed, Session, SessionSlots};
use crate::store::codec;

/// The first version of the record of a session.
const SESSION: u8 = 1;

/// The first version of the record of a stanza.
const STANZA: u8 = 1;

/// A session whose record is larger goes without what it sent presence to directly: an edge keeps
/// it for each of its clients.
const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Writes what a feature keeps for a session; `None` when that is nothing.
pub type OnKeep = fn(&SessionSlots) -> Option<Bytes>;

/// Reads what [`OnKeep`] wrote.
pub type OnRestore = fn(&mut SessionSlots, &Bytes);

/// How what features have for a session gets into its record and out of it, by their names.
#[derive(Debug, Default)]
pub struct Keepers {
    /// Those who keep something for a session.
    pub keep: Vec<(&'static str, OnKeep)>,
    /// Those who read it.
    pub restore: Vec<(&'static str, OnRestore)>,
}

/// What a record holds beside the session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Its stanzas up to this number have taken effect.
    pub(crate) taken: u64,
    /// How many some edge was given; more may wait in rows of their own.
    pub(crate) delivered: u64,
    /// When it is over, in milliseconds since 1970; 0 while it has a connection.
    pub(crate) until_unix: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SessionRecord {
    #[prost(string, tag = "1")]
    jid: String,
    #[prost(message, optional, tag = "2")]
    presence: Option<PresenceRecord>,
    #[prost(string, repeated, tag = "4")]
    directed: Vec<String>,
    #[prost(uint64, tag = "5")]
    bound: u64,
    #[prost(message, optional, tag = "6")]
    managed: Option<ManagedRecord>,
    #[prost(message, repeated, tag = "7")]
    features: Vec<FeatureRecord>,
    #[prost(uint64, tag = "8")]
    taken: u64,
    #[prost(uint64, tag = "9")]
    delivered: u64,
    #[prost(uint64, tag = "10")]
    until_unix: u64,
    #[prost(message, repeated, tag = "11")]
    seen: Vec<SourceRecord>,
    #[prost(message, repeated, tag = "12")]
    former: Vec<FormerRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FormerRecord {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(message, optional, tag = "2")]
    presence: Option<PresenceRecord>,
    #[prost(string, repeated, tag = "3")]
    directed: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PresenceRecord {
    #[prost(message, required, tag = "1")]
    stanza: StanzaRecord,
    #[prost(sint32, tag = "2")]
    priority: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ManagedRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(uint32, tag = "2")]
    resume_secs: u32,
    #[prost(uint64, tag = "3")]
    enabled: u64,
    #[prost(uint64, tag = "4")]
    delivered: u64,
    #[prost(uint64, tag = "5")]
    generation: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FeatureRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    state: Bytes,
}

/// A stanza as it is stored.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StanzaRecord {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, optional, tag = "2")]
    type_: Option<String>,
    #[prost(string, optional, tag = "3")]
    id: Option<String>,
    #[prost(string, optional, tag = "4")]
    from: Option<String>,
    #[prost(string, optional, tag = "5")]
    to: Option<String>,
    #[prost(string, optional, tag = "6")]
    lang: Option<String>,
    #[prost(string, optional, tag = "7")]
    extra: Option<String>,
    #[prost(string, tag = "8")]
    payload: String,
    #[prost(message, optional, tag = "9")]
    source: Option<SourceRecord>,
    #[prost(uint64, optional, tag = "10")]
    log_millis: Option<u64>,
    #[prost(uint32, tag = "11")]
    log_count: u32,
}

/// A source as it is stored.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct SourceRecord {
    #[prost(fixed64, tag = "1")]
    session: u64,
    #[prost(uint64, tag = "2")]
    number: u64,
    #[prost(uint32, tag = "3")]
    part: u32,
}

// === impl SourceRecord ===

impl From<Source> for SourceRecord {
    fn from(source: Source) -> Self {
        Self {
            session: source.session.0,
            number: source.number,
            part: source.part,
        }
    }
}

impl From<SourceRecord> for Source {
    fn from(record: SourceRecord) -> Self {
        Self {
            session: SessionId(record.session),
            number: record.number,
            part: record.part,
        }
    }
}

// === impl PresenceRecord ===

impl PresenceRecord {
    fn of(presence: &Available) -> Self {
        Self {
            stanza: StanzaRecord::of(&presence.stanza),
            priority: i32::from(presence.priority),
        }
    }

    fn read(&self, now: u64) -> Result<Available, String> {
        let stanza = self.stanza.stanza();
        Ok(Available {
            stanza: Arc::new(stanza.ok_or("the presence of a session is none")?),
            priority: i8::try_from(self.priority).unwrap_or_default(),
            since: now,
        })
    }
}

// === impl FormerRecord ===

impl FormerRecord {
    fn of(former: &Former) -> Self {
        Self {
            number: former.number,
            presence: former.presence.as_ref().map(PresenceRecord::of),
            directed: texts(&former.directed),
        }
    }

    fn read(&self, now: u64) -> Result<Former, String> {
        let presence = self.presence.as_ref();
        Ok(Former {
            number: self.number,
            presence: presence.map(|known| known.read(now)).transpose()?,
            directed: jids(&self.directed),
        })
    }
}

// === impl StanzaRecord ===

impl StanzaRecord {
    /// The stored form of a stanza.
    pub(crate) fn of(stanza: &Stanza) -> Self {
        let text = |text: &str| text.to_owned();
        Self {
            kind: match stanza.kind {
                Kind::Message => 0,
                Kind::Presence => 1,
                Kind::Iq => 2,
            },
            type_: stanza.type_.attribute().map(text),
            id: stanza.id.as_deref().map(text),
            from: stanza.from.as_ref().map(|jid| text(jid.as_str())),
            to: stanza.to.as_ref().map(|jid| text(jid.as_str())),
            lang: stanza.lang.as_deref().map(text),
            extra: stanza.extra.as_deref().map(text),
            payload: text(stanza.payload.xml()),
            source: None,
            log_millis: None,
            log_count: 0,
        }
    }

    /// The stanza; `None` when it is none.
    pub(crate) fn stanza(&self) -> Option<Stanza> {
        let kind = match self.kind {
            0 => Kind::Message,
            1 => Kind::Presence,
            2 => Kind::Iq,
            _ => return None,
        };
        let jid = |text: &Option<String>| match text {
            Some(text) => Jid::parse(text).ok().map(Some),
            None => Some(None),
        };
        Some(Stanza {
            kind,
            type_: Type::from_attribute(kind, self.type_.as_deref())?,
            id: self.id.as_deref().map(Into::into),
            from: jid(&self.from)?,
            to: jid(&self.to)?,
            lang: self.lang.as_deref().map(Into::into),
            extra: self.extra.as_deref().map(Into::into),
            payload: Payload::read(&self.payload)?,
            trace: None,
        })
    }
}

/// The stored form of a stanza that waits for a session.
pub(crate) fn encode_entry(entry: &Entry) -> Bytes {
    let mut record = StanzaRecord::of(&entry.stanza);
    record.source = entry.source.map(SourceRecord::from);
    if let Some(log) = entry.log {
        record.log_millis = Some(log.millis);
        record.log_count = log.count;
    }
    codec::encode(STANZA, &record)
}

/// Reads what [`encode_entry`] gave.
///
/// # Errors
/// In words, when it is damaged.
pub(crate) fn decode_entry(value: &Bytes) -> Result<Entry, String> {
    let record: StanzaRecord =
        codec::decode(STANZA, value).map_err(|error| format!("a waiting stanza: {error}"))?;
    let stanza = record.stanza().ok_or("a waiting stanza is none")?;
    let log = record.log_millis.map(|millis| LogId {
        millis,
        count: record.log_count,
    });
    Ok(Entry {
        stanza: Arc::new(stanza),
        source: record.source.map(Source::from),
        log,
        twins: None,
    })
}

/// The record of a session.
pub(crate) fn encode(session: &Session, keepers: &Keepers, until_unix: u64) -> Bytes {
    let mut directed: Vec<&Jid> = session.directed.iter().collect();
    directed.sort_unstable();
    let bytes: usize = directed.iter().map(|jid| jid.as_str().len() + 2).sum();
    if bytes > RECORD_BYTES_MAX {
        directed.clear();
    }
    let managed = session.managed.as_ref().map(|managed| ManagedRecord {
        id: managed.id.to_string(),
        resume_secs: managed.resume_secs,
        enabled: managed.enabled,
        delivered: managed.delivered,
        generation: managed.generation,
    });
    let features = keepers.keep.iter().filter_map(|(name, keep)| {
        let state = keep(&session.slots)?;
        Some(FeatureRecord {
            name: (*name).to_owned(),
            state,
        })
    });
    let taken = session.progress.taken();
    let former = session.former.iter().filter(|former| former.number > taken);
    let record = SessionRecord {
        jid: session.jid.as_str().to_owned(),
        presence: session.presence.as_ref().map(PresenceRecord::of),
        directed: texts(directed),
        bound: session.bound,
        managed,
        features: features.collect(),
        taken,
        delivered: session.outbox.given(),
        until_unix,
        // An edge knows itself what its connection has been given.
        seen: match until_unix {
            0 => session.outbox.former().map(SourceRecord::from).collect(),
            _ => session.outbox.seen().map(SourceRecord::from).collect(),
        },
        former: former.map(FormerRecord::of).collect(),
    };
    codec::encode(SESSION, &record)
}

/// The session of a record, without a connection and with nothing that waits; `now` is
/// monotonic.
///
/// # Errors
/// In words, when it is damaged.
pub(crate) fn decode(
    id: SessionId,
    value: &Bytes,
    keepers: &Keepers,
    now: u64,
) -> Result<(Session, Counts), String> {
    let record: SessionRecord =
        codec::decode(SESSION, value).map_err(|error| format!("a session: {error}"))?;
    let jid = Jid::parse(&record.jid).map_err(|_| "a session without an address")?;
    let mut session = Session::new(id, jid, record.bound);
    let presence = record.presence.as_ref();
    session.presence = presence.map(|known| known.read(now)).transpose()?;
    let former = record.former.iter().map(|former| former.read(now));
    session.former = former.collect::<Result<_, _>>()?;
    session.directed = jids(&record.directed).into_iter().collect();
    session.managed = record.managed.map(|managed| {
        Box::new(Managed {
            id: managed.id.into(),
            resume_secs: managed.resume_secs,
            enabled: managed.enabled,
            delivered: managed.delivered,
            generation: managed.generation,
        })
    });
    for feature in &record.features {
        let restore = keepers
            .restore
            .iter()
            .find(|(name, _)| *name == feature.name);
        if let Some((_, restore)) = restore {
            restore(&mut session.slots, &feature.state);
        }
    }
    let counts = Counts {
        taken: record.taken,
        delivered: record.delivered,
        until_unix: record.until_unix,
    };
    session.progress.restore(counts.taken);
    session.outbox = Outbox::restored(counts.delivered, []);
    let seen: Vec<Source> = record.seen.into_iter().map(Source::from).collect();
    session.outbox.remember(&seen);
    Ok((session, counts))
}

fn texts<'a>(jids: impl IntoIterator<Item = &'a Jid>) -> Vec<String> {
    let texts = jids.into_iter().map(|jid| jid.as_str().to_owned());
    texts.collect()
}

fn jids(texts: &[String]) -> Vec<Jid> {
    let jids = texts.iter().filter_map(|text| Jid::parse(text).ok());
    jids.collect()
}
