//! Room: what a room is, in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use couplet_proto::link::id::{LogId, SessionId, Source};
use couplet_proto::{Jid, Stanza};

use super::affiliation::{Affiliation, Role};
use super::approval::Requests;
use super::cards::Cards;
use super::hats::Hats;
use super::members::Members;
use super::occupant::Occupants;
use super::pace::Pace;
use super::service::Told;
use super::settings::Settings;
use crate::hooks::context::Shared;

/// A room.
#[derive(Debug)]
pub(super) struct Room {
    /// Its bare address.
    pub(super) jid: Jid,
    /// Names what it sends; drawn when it is created, so that another room at the same address
    /// later has another one.
    pub(super) name: SessionId,
    pub(super) settings: Settings,
    /// Until its creator has configured it nobody else may enter (§10.1.3).
    pub(super) is_locked: bool,
    pub(super) members: Members,
    pub(super) occupants: Occupants,
    pub(super) subject: Option<Subject>,
    /// What it has sent of late, oldest first.
    pub(super) history: VecDeque<Past>,
    /// The number of the last message it has sent.
    pub(super) last: u64,
    /// Makes occupant ids (XEP-0421).
    pub(super) secret: [u8; 32],
    /// The hash of its avatar (XEP-0486), if it has one.
    pub(super) avatar: Option<Box<str>>,
    pub(super) hats: Hats,
    /// Who wants to be a member, and waits for an admin (§9.9).
    pub(super) requests: Requests,
    /// It has just been read: what it sent of late may not have arrived.
    pub(super) is_fresh: bool,
    /// Until then, in monotonic milliseconds, somebody may enter or leave again who has entered or
    /// left, because a former owner died before he had told everybody.
    pub(super) doubtful_until: u64,
    /// It is no more; nothing of it is stored any longer.
    pub(super) is_destroyed: bool,
    pub(super) pace: Pace,
    /// Presences as those who enter are shown them.
    pub(super) cards: Cards,
    /// When its occupants are asked whether they are still there, in monotonic milliseconds.
    pub(super) probes_at: Option<u64>,
    /// What it has told its service of itself.
    pub(super) told: Told,
}

/// What is kept of a bare address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) affiliation: Affiliation,
    /// The nick it has registered (§7.10), prepared.
    pub(super) nick: Option<Box<str>>,
    /// Why it has this affiliation.
    pub(super) reason: Option<Box<str>>,
}

/// The subject (§8.1).
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// The message that set it, without `to`.
    pub(super) stanza: Arc<Stanza>,
    /// When, in milliseconds since 1970.
    pub(super) at: u64,
}

/// A message that was sent to everybody.
#[derive(Debug, Clone)]
pub(super) struct Past {
    /// Its number: grows with each message.
    pub(super) number: u64,
    /// Its place in the archive, whether it is kept there or not.
    pub(super) id: LogId,
    /// As it was sent, without `to`.
    pub(super) stanza: Arc<Stanza>,
    /// When, in milliseconds since 1970.
    pub(super) at: u64,
    /// The bare address of its sender.
    pub(super) by: Jid,
    /// Whether those who enter are shown it. What is not is kept for a minute only, for those it
    /// may not have reached.
    pub(super) is_shown: bool,
    /// What it came from: a client's stanza that comes again is not said again.
    pub(super) source: Option<Source>,
    /// When it was stored, everybody had the messages up to this number.
    pub(super) arrived: u64,
}

// === impl Room ===

impl Room {
    /// An open room in which nobody is and nothing was said.
    pub(super) fn new(jid: Jid, name: SessionId, secret: [u8; 32], settings: Settings) -> Self {
        Self {
            jid,
            name,
            settings,
            is_locked: false,
            members: Members::default(),
            occupants: Occupants::default(),
            subject: None,
            history: VecDeque::new(),
            last: 0,
            secret,
            avatar: None,
            hats: Hats::default(),
            requests: Requests::default(),
            is_fresh: false,
            doubtful_until: 0,
            is_destroyed: false,
            pace: Pace::default(),
            cards: Cards::default(),
            probes_at: None,
            told: Told::default(),
        }
    }

    /// What an address is to the room: the operator's admins own every room.
    pub(super) fn affiliation(&self, shared: &Shared, jid: &Jid) -> Affiliation {
        let admins = &shared.config.muc.admins;
        if admins.iter().any(|admin| *admin == *jid.bare()) {
            return Affiliation::Owner;
        }
        if let Some(known) = self.members.get(&jid.to_bare()) {
            return known.affiliation;
        }
        // §9.2: a whole domain may be banned.
        let domain = self.members.get(&jid.to_domain());
        match domain.is_some_and(|domain| domain.affiliation == Affiliation::Outcast) {
            true => Affiliation::Outcast,
            false => Affiliation::None,
        }
    }

    /// The role of somebody who enters with this affiliation (§5.1.2).
    pub(super) fn role_of(&self, affiliation: Affiliation) -> Role {
        match affiliation {
            Affiliation::Outcast => Role::None,
            Affiliation::None if self.settings.is_moderated => Role::Visitor,
            Affiliation::None | Affiliation::Member => Role::Participant,
            Affiliation::Admin | Affiliation::Owner => Role::Moderator,
        }
    }

    /// Whether nothing holds it any more: a temporary room, or one that was never unlocked, is
    /// gone with its last occupant (§10.1.1).
    pub(super) fn is_over(&self) -> bool {
        self.occupants.is_empty() && (!self.settings.is_persistent || self.is_locked)
    }

    /// The address of an occupant: `None` if the nick is no resource.
    pub(super) fn occupant_jid(&self, nick: &str) -> Option<Jid> {
        self.jid.with_resource(nick).ok()
    }

    /// Names the list of everybody on the links.
    pub(super) fn list_of_all(&self) -> u64 {
        self.name.0.max(1)
    }

    /// Names the list of those who see real addresses, or of those who do not.
    pub(super) fn list_of_viewers(&self, is_trusted: bool) -> u64 {
        self.name.0.rotate_left(16 + u32::from(is_trusted)).max(1)
    }

    /// What the message of a number comes from: the same whoever sends it again.
    pub(super) fn source(&self, number: u64) -> Source {
        Source {
            session: self.name,
            number,
            part: Source::OF_ROOM,
        }
    }
}
