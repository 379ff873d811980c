//! What an operator may choose about origins. Plain values; the binary reads and checks them.

use std::collections::BTreeMap;

use couplet_proto::journal::Journal;

/// The origin's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The domains served, prepared.
    pub domains: Vec<String>,
    /// The name under which this node owns slots.
    pub node: String,
    /// In-band registration (XEP-0077).
    pub registration: Registration,
    /// Contact addresses (XEP-0157): field name, such as `abuse-addresses`, to URIs.
    pub contact: BTreeMap<String, Vec<String>>,
    /// Rounds of PBKDF2 for new passwords; at least 4096.
    pub scram_iterations: u32,
    /// How many shards run; 0 means two for each core.
    pub shards: usize,
    /// Multi-user chat (XEP-0045).
    pub muc: Muc,
    /// Bounds.
    pub limits: Limits,
    /// Who is told of sessions that wait, and of slots that come and go.
    pub journal: Journal,
}

/// Multi-user chat (XEP-0045).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Muc {
    /// The domains of rooms, prepared; none of them is among the domains of accounts.
    pub services: Vec<String>,
    /// Who may create rooms.
    pub creation: RoomCreation,
    /// Bare addresses that are owners of every room.
    pub admins: Vec<String>,
    /// What a new room is like; by domain of the service, or for all others under `""`. The names
    /// are those of XEP-0045 §15.5.3 without `muc#roomconfig_`.
    pub defaults: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// Messages a room keeps for those who enter.
    pub history_max: u32,
    /// Occupants of one room; one more is refused with `service-unavailable` (XEP-0045 §7.2.9).
    pub occupants_max: u32,
    /// Rooms one session may be in; one more is refused with `resource-constraint`.
    pub rooms_per_session: u32,
    /// Entries in the affiliation lists of one room; one more is refused with
    /// `resource-constraint`.
    pub affiliations_max: u32,
    /// How many may enter one room in a second; more are told to `wait`.
    pub joins_per_second: u32,
    /// Messages one room takes in a second; more are refused with `policy-violation`.
    pub messages_per_second: u32,
    /// Messages one occupant may send to a room in a second.
    pub messages_per_occupant: u32,
    /// Whether rooms keep an archive (XEP-0313), where their owners have it.
    pub archive: bool,
}

/// A field of a room's configuration that the operator may choose a default for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomField {
    /// As in XEP-0045 §15.5.3, without `muc#roomconfig_`.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
    /// What it holds where nobody has chosen, as in a form.
    pub default: &'static [&'static str],
}

/// What a field of a room's configuration holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// `0` or `1`.
    Truth,
    /// A language tag; may be empty.
    Language,
    /// A whole number up to this one.
    Number(u32),
    /// A whole number from 1 up to this one, or `none`.
    NumberOrNone(u32),
    /// One of these.
    One(&'static [&'static str]),
    /// Any of these, each once.
    Some(&'static [&'static str]),
}

/// The roles of XEP-0045 §5.1 that an occupant can have.
const ROLES: &[&str] = &["moderator", "participant", "visitor"];

/// Every field of a room's configuration that has a default an operator may choose. What only one
/// room can have, as its name and its password, has none.
pub const ROOM_FIELDS: &[RoomField] = &[
    field("allowinvites", FieldKind::Truth, &["1"]),
    field(
        "allowpm",
        FieldKind::One(&["anyone", "participants", "moderators", "none"]),
        &["anyone"],
    ),
    field("allowregister", FieldKind::Truth, &["1"]),
    field("allowvoicerequests", FieldKind::Truth, &["1"]),
    field("changesubject", FieldKind::Truth, &["0"]),
    field("enablelogging", FieldKind::Truth, &["1"]),
    field("getmemberlist", FieldKind::Some(ROLES), ROLES),
    field("historylength", FieldKind::Number(10_000), &["20"]),
    field("lang", FieldKind::Language, &[""]),
    field("maxusers", FieldKind::NumberOrNone(1_000_000), &["none"]),
    field("membersonly", FieldKind::Truth, &["0"]),
    field("moderatedroom", FieldKind::Truth, &["0"]),
    field("persistentroom", FieldKind::Truth, &["0"]),
    field("presencebroadcast", FieldKind::Some(ROLES), ROLES),
    field("publicroom", FieldKind::Truth, &["1"]),
    field("slow_mode_duration", FieldKind::Number(86_400), &["0"]),
    field(
        "whois",
        FieldKind::One(&["moderators", "anyone"]),
        &["moderators"],
    ),
];

/// Who may create rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomCreation {
    /// Whoever can reach the service.
    Anyone,
    /// Accounts of the served domains.
    Local,
    /// Those of [`Muc::admins`].
    Admins,
}

/// How this node takes part in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// How often the lease is renewed, in milliseconds.
    pub beat_ms: u64,
    /// How long it lasts without, in milliseconds. The same on every node; more than 3000.
    pub lease_ms: u64,
    /// Slots that may be on their way from living owners to this node at once.
    pub moves_max: usize,
    /// For how long after it has joined no slots are asked of living owners who stay, in
    /// milliseconds: as long as a name server may take to tell of this node.
    pub join_wait_ms: u64,
}

/// In-band registration (XEP-0077).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// Whether anyone may create an account.
    pub open: bool,
    /// How many accounts one address may create in an hour.
    pub per_hour_per_address: u32,
}

/// Bounds, each with what happens when it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of one account; one more is refused with `resource-constraint`.
    pub resources_per_account: u32,
    /// Items in one roster; one more is refused with `resource-constraint`.
    pub roster_items: u32,
    /// Messages kept for an absent account; one more is refused with `service-unavailable`.
    pub offline_messages: u32,
    /// Bytes of one private XML element (XEP-0049); more is refused with `policy-violation`.
    pub private_bytes: u32,
    /// Bytes of a vCard (XEP-0054); more is refused with `policy-violation`.
    pub vcard_bytes: u32,
    /// Distinct addresses outside the roster a session may write to in a minute; one more is
    /// refused with `unexpected-request` (XEP-0205).
    pub recipients_per_minute: u32,
    /// Failed logins to one account from one address in a minute; then the answer is
    /// `temporary-auth-failure` for the rest of it.
    pub auth_failures_per_minute: u32,
    /// Seconds after which an account without sessions leaves memory.
    pub account_idle_secs: u64,
    /// Seconds a session is kept for its client after its connection is lost (XEP-0198), unless
    /// the client asks for fewer.
    pub resume_secs: u32,
    /// Stanzas that wait for a session without a connection; with one more it ends, and they go
    /// where they would have gone without it.
    pub asleep_stanzas: usize,
    /// Bytes that wait for it; as for stanzas.
    pub asleep_bytes: usize,
    /// Seconds a write may wait for the store; then its sender gets `resource-constraint`.
    pub commit_timeout_secs: u64,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            domains: vec!["localhost".to_owned()],
            node: "local".to_owned(),
            registration: Registration::default(),
            contact: BTreeMap::new(),
            scram_iterations: 10_000,
            shards: 0,
            muc: Muc::default(),
            limits: Limits::default(),
            journal: Journal::default(),
        }
    }
}

impl Default for Muc {
    fn default() -> Self {
        Self {
            services: Vec::new(),
            creation: RoomCreation::Local,
            admins: Vec::new(),
            defaults: BTreeMap::new(),
            history_max: 100,
            occupants_max: 10_000,
            rooms_per_session: 200,
            affiliations_max: 20_000,
            joins_per_second: 1000,
            messages_per_second: 2000,
            messages_per_occupant: 100,
            archive: true,
        }
    }
}

impl RoomField {
    /// The field of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        ROOM_FIELDS.iter().find(|field| field.name == name)
    }
}

const fn field(name: &'static str, kind: FieldKind, default: &'static [&'static str]) -> RoomField {
    RoomField {
        name,
        kind,
        default,
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            beat_ms: 500,
            lease_ms: 4000,
            moves_max: 16,
            join_wait_ms: 0,
        }
    }
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            open: false,
            per_hour_per_address: 10,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resources_per_account: 50,
            roster_items: 5000,
            offline_messages: 1000,
            private_bytes: 65_536,
            vcard_bytes: 262_144,
            recipients_per_minute: 3000,
            auth_failures_per_minute: 5,
            account_idle_secs: 60,
            resume_secs: 300,
            asleep_stanzas: 1000,
            asleep_bytes: 1024 * 1024,
            commit_timeout_secs: 10,
        }
    }
}
