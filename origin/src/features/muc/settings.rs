//! Settings: what the owners of a room have chosen (XEP-0045 §15.5.3), stored and as a form.

use bytes::Bytes;

use super::affiliation::Role;
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
        }
    }
}

impl Settings {
    /// Whether the others are told of the presence of occupants in this role.
    pub(super) fn shows(&self, role: Role) -> bool {
        self.presence_of.contains(&role)
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(string, tag = "1")]
    name: String,
}

impl Settings {
    /// The stored form.
    pub(super) fn encode(&self) -> Bytes {
        codec::encode(
            1,
            &Record {
                name: self.name.clone(),
            },
        )
    }

    /// Reads what [`Settings::encode`] gave.
    ///
    /// # Errors
    /// In words, when it is damaged.
    pub(super) fn decode(value: &Bytes) -> Result<Self, String> {
        let record: Record =
            codec::decode(1, value).map_err(|it| format!("room settings: {it}"))?;
        Ok(Self {
            name: record.name,
            ..Self::default()
        })
    }
}
