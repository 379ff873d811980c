//! Settings: what the owners of a room have chosen (XEP-0045 §15.5.3), and how it is stored.
//!
//! `configuration` reads and writes them as a form.

use bytes::Bytes;

use super::affiliation::Role;
use super::configuration;
use crate::hooks::context::Shared;
use crate::store::codec;

/// Who may send private messages, see real addresses and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    Anyone,
    Participants,
    Moderators,
    Nobody,
}

/// What the owners have chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// `roomname`
    pub(super) name: String,
    /// `roomdesc`
    pub(super) description: String,
    /// `lang`, a language tag; empty when none is chosen.
    pub(super) lang: String,
    /// `persistentroom`: it stays when the last occupant has left.
    pub(super) is_persistent: bool,
    /// `publicroom`: it is listed.
    pub(super) is_public: bool,
    /// `moderatedroom`: who enters without an affiliation is a visitor.
    pub(super) is_moderated: bool,
    /// `membersonly`
    pub(super) is_members_only: bool,
    /// `passwordprotectedroom` and `roomsecret`
    pub(super) password: Option<String>,
    /// `whois` is `anyone`: everybody sees real addresses.
    pub(super) is_non_anonymous: bool,
    /// `allowinvites`: occupants who are no admins may invite.
    pub(super) may_invite: bool,
    /// `changesubject`: participants may change the subject.
    pub(super) may_change_subject: bool,
    /// `allowpm`
    pub(super) private_messages: Allowed,
    /// `maxusers`; 0 is as many as the server allows.
    pub(super) occupants_max: u32,
    /// `presencebroadcast`: whose presence the others are told of.
    pub(super) presence_of: Vec<Role>,
    /// `getmemberlist`: who may read the member list.
    pub(super) member_list_for: Vec<Role>,
    /// `enablelogging` (§17.2: told with status 170); the archive of XEP-0313.
    pub(super) is_archived: bool,
    /// `historylength` and `muc#maxhistoryfetch`: messages shown to who enters.
    pub(super) history_max: u32,
    /// `allowvoicerequests`: visitors may ask for voice (§7.13).
    pub(super) may_request_voice: bool,
    /// `slow_mode_duration` (XEP-0500): seconds between two messages of a participant; 0 is off.
    pub(super) slow_mode_secs: u32,
    /// `allowregister`: users may register a nick (§7.10).
    pub(super) may_register: bool,
    /// `pubsub`: the URI of a node that belongs to the room; empty when there is none.
    pub(super) pubsub: String,
}

/// The stored form. What is absent is as it is by default: a field may be added.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(string, tag = "3")]
    lang: String,
    #[prost(bool, optional, tag = "4")]
    is_persistent: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    is_public: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    is_moderated: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    is_members_only: Option<bool>,
    #[prost(string, optional, tag = "8")]
    password: Option<String>,
    #[prost(bool, optional, tag = "9")]
    is_non_anonymous: Option<bool>,
    #[prost(bool, optional, tag = "10")]
    may_invite: Option<bool>,
    #[prost(bool, optional, tag = "11")]
    may_change_subject: Option<bool>,
    #[prost(string, optional, tag = "12")]
    private_messages: Option<String>,
    #[prost(uint32, optional, tag = "13")]
    occupants_max: Option<u32>,
    /// Names of roles, with spaces between them.
    #[prost(string, optional, tag = "14")]
    presence_of: Option<String>,
    #[prost(string, optional, tag = "15")]
    member_list_for: Option<String>,
    #[prost(bool, optional, tag = "16")]
    is_archived: Option<bool>,
    #[prost(uint32, optional, tag = "17")]
    history_max: Option<u32>,
    #[prost(bool, optional, tag = "18")]
    may_request_voice: Option<bool>,
    #[prost(uint32, optional, tag = "19")]
    slow_mode_secs: Option<u32>,
    #[prost(bool, optional, tag = "20")]
    may_register: Option<bool>,
    #[prost(string, tag = "21")]
    pubsub: String,
}

/// The first version of the stored record.
const RECORD: u8 = 1;

// === impl Allowed ===

impl Allowed {
    /// Every one, from most to fewest.
    pub(super) const ALL: [Self; 4] = [
        Self::Anyone,
        Self::Participants,
        Self::Moderators,
        Self::Nobody,
    ];

    /// As the form has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Participants => "participants",
            Self::Moderators => "moderators",
            Self::Nobody => "none",
        }
    }

    /// The one of this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

// === impl Settings ===

impl Default for Settings {
    /// An instant room (§10.1.2): temporary, public, open, unmoderated, semi-anonymous.
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            lang: String::new(),
            is_persistent: false,
            is_public: true,
            is_moderated: false,
            is_members_only: false,
            password: None,
            is_non_anonymous: false,
            may_invite: true,
            may_change_subject: false,
            private_messages: Allowed::Anyone,
            occupants_max: 0,
            presence_of: vec![Role::Moderator, Role::Participant, Role::Visitor],
            member_list_for: vec![Role::Moderator, Role::Participant, Role::Visitor],
            is_archived: true,
            history_max: 20,
            may_request_voice: true,
            slow_mode_secs: 0,
            may_register: true,
            pubsub: String::new(),
        }
    }
}

impl Settings {
    /// Whether the others are told of the presence of occupants in this role.
    pub(super) fn shows(&self, role: Role) -> bool {
        self.presence_of.contains(&role)
    }

    /// Whether everybody is told of everybody.
    pub(super) fn shows_all(&self) -> bool {
        let roles = [Role::Moderator, Role::Participant, Role::Visitor];
        roles.into_iter().all(|role| self.shows(role))
    }

    /// What a new room of this domain is like: as the operator has it.
    pub(super) fn of_service(shared: &Shared, domain: &str) -> Self {
        let muc = &shared.config.muc;
        let mut settings = Self {
            is_archived: muc.archive,
            history_max: Self::default().history_max.min(muc.history_max),
            ..Self::default()
        };
        for chosen in ["", domain].iter().filter_map(|of| muc.defaults.get(*of)) {
            let fields = chosen.iter();
            let fields = fields.map(|(name, values)| (name.as_str(), values.as_slice()));
            match configuration::changed(&settings, fields, muc) {
                Ok(changed) => settings = changed,
                Err(why) => tracing::warn!(domain, why, "the defaults for rooms are ignored"),
            }
        }
        settings
    }

    /// The stored form.
    pub(super) fn encode(&self) -> Bytes {
        let record = Record {
            name: self.name.clone(),
            description: self.description.clone(),
            lang: self.lang.clone(),
            is_persistent: Some(self.is_persistent),
            is_public: Some(self.is_public),
            is_moderated: Some(self.is_moderated),
            is_members_only: Some(self.is_members_only),
            password: self.password.clone(),
            is_non_anonymous: Some(self.is_non_anonymous),
            may_invite: Some(self.may_invite),
            may_change_subject: Some(self.may_change_subject),
            private_messages: Some(self.private_messages.name().to_owned()),
            occupants_max: Some(self.occupants_max),
            presence_of: Some(names(&self.presence_of)),
            member_list_for: Some(names(&self.member_list_for)),
            is_archived: Some(self.is_archived),
            history_max: Some(self.history_max),
            may_request_voice: Some(self.may_request_voice),
            slow_mode_secs: Some(self.slow_mode_secs),
            may_register: Some(self.may_register),
            pubsub: self.pubsub.clone(),
        };
        codec::encode(RECORD, &record)
    }

    /// Reads what [`Settings::encode`] gave.
    ///
    /// # Errors
    /// In words, when it is damaged.
    pub(super) fn decode(value: &Bytes) -> Result<Self, String> {
        let it: Record =
            codec::decode(RECORD, value).map_err(|it| format!("room settings: {it}"))?;
        let base = Self::default();
        let private = it.private_messages.as_deref().map(Allowed::from_name);
        let roles = |names: Option<String>, otherwise: Vec<Role>| match names {
            Some(names) => names
                .split_whitespace()
                .filter_map(Role::from_name)
                .collect(),
            None => otherwise,
        };
        Ok(Self {
            name: it.name,
            description: it.description,
            lang: it.lang,
            is_persistent: it.is_persistent.unwrap_or(base.is_persistent),
            is_public: it.is_public.unwrap_or(base.is_public),
            is_moderated: it.is_moderated.unwrap_or(base.is_moderated),
            is_members_only: it.is_members_only.unwrap_or(base.is_members_only),
            password: it.password,
            is_non_anonymous: it.is_non_anonymous.unwrap_or(base.is_non_anonymous),
            may_invite: it.may_invite.unwrap_or(base.may_invite),
            may_change_subject: it.may_change_subject.unwrap_or(base.may_change_subject),
            private_messages: private.flatten().unwrap_or(base.private_messages),
            occupants_max: it.occupants_max.unwrap_or(base.occupants_max),
            presence_of: roles(it.presence_of, base.presence_of),
            member_list_for: roles(it.member_list_for, base.member_list_for),
            is_archived: it.is_archived.unwrap_or(base.is_archived),
            history_max: it.history_max.unwrap_or(base.history_max),
            may_request_voice: it.may_request_voice.unwrap_or(base.may_request_voice),
            slow_mode_secs: it.slow_mode_secs.unwrap_or(base.slow_mode_secs),
            may_register: it.may_register.unwrap_or(base.may_register),
            pubsub: it.pubsub,
        })
    }
}

/// Names of roles, with spaces between them.
fn names(roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    names.join(" ")
}
