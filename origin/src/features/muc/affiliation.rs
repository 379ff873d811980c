//! Affiliations and roles: who may do what (XEP-0045 §5), as tables and pure functions.
//!
//! Two kinds of refusal (§8, §9, §10): who has no business to change such a thing at all is
//! `forbidden`; who has, but not with this user, is told that it is `not-allowed`.

use couplet_proto::xmpp::error::Condition;

/// The long-lived relation of a bare address to a room (§5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Affiliation {
    /// May not enter.
    Outcast,
    /// None in particular.
    None,
    /// May enter a members-only room.
    Member,
    /// May manage members and moderators.
    Admin,
    /// May do everything.
    Owner,
}

/// What an occupant may do while it is in a room (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Role {
    /// Is not in the room.
    None,
    /// Reads.
    Visitor,
    /// Speaks.
    Participant,
    /// Keeps order.
    Moderator,
}

/// What somebody is to a room, and in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) affiliation: Affiliation,
    /// The highest of its sessions' roles; none when it is not in the room.
    pub(super) role: Role,
}

/// What comes with an affiliation alone (§5.2.1). What depends on the room is decided by
/// [`Standing`] or the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privilege {
    Ban,
    EditMembers,
    EditModerators,
    EditAdmins,
    EditOwners,
    Configure,
    Destroy,
}

// === impl Affiliation ===

impl Affiliation {
    /// Every one, from least to most.
    pub(super) const ALL: [Self; 5] = [
        Self::Outcast,
        Self::None,
        Self::Member,
        Self::Admin,
        Self::Owner,
    ];

    /// As attributes have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Outcast => "outcast",
            Self::None => "none",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The one of this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// §5.2.1.
    pub(super) fn may(self, privilege: Privilege) -> bool {
        self >= match privilege {
            Privilege::Ban | Privilege::EditMembers | Privilege::EditModerators => Self::Admin,
            Privilege::EditAdmins
            | Privilege::EditOwners
            | Privilege::Configure
            | Privilege::Destroy => Self::Owner,
        }
    }

    /// The privilege that giving or taking this affiliation needs; `None` for having none.
    fn privilege(self) -> Option<Privilege> {
        match self {
            Self::Outcast => Some(Privilege::Ban),
            Self::None => None,
            Self::Member => Some(Privilege::EditMembers),
            Self::Admin => Some(Privilege::EditAdmins),
            Self::Owner => Some(Privilege::EditOwners),
        }
    }

    /// Whether somebody with this affiliation may change that of another, or its own, from `known`
    /// to `wanted` (§5.2.2, §9, §10). That a room keeps an owner is checked where the owners are.
    ///
    /// # Errors
    /// - `forbidden`: it does not manage such a list;
    /// - `not-allowed`: an admin bans an admin or owner (§9.1);
    /// - `conflict`: somebody bans itself (§9.1).
    pub(super) fn change(self, known: Self, wanted: Self, is_self: bool) -> Result<(), Condition> {
        if !self.may(Privilege::EditMembers) {
            return Err(Condition::Forbidden);
        }
        if wanted == Self::Outcast && is_self {
            return Err(Condition::Conflict);
        }
        let lists = [known.privilege(), wanted.privilege()];
        let may = lists
            .into_iter()
            .flatten()
            .all(|privilege| self.may(privilege));
        match wanted {
            _ if may => Ok(()),
            Self::Outcast => Err(Condition::NotAllowed),
            _ => Err(Condition::Forbidden),
        }
    }
}

// === impl Role ===

impl Role {
    /// Every one, from least to most.
    pub(super) const ALL: [Self; 4] = [
        Self::None,
        Self::Visitor,
        Self::Participant,
        Self::Moderator,
    ];

    /// As attributes have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Visitor => "visitor",
            Self::Participant => "participant",
            Self::Moderator => "moderator",
        }
    }

    /// The one of this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

// === impl Standing ===

impl Standing {
    /// Whether this one may change the role of `target`, which is in the room, to `wanted`
    /// (§5.1.3, §8, §9.6 ff.).
    ///
    /// # Errors
    /// - `forbidden`: it may not change such roles at all;
    /// - `not-allowed`: not that of this user;
    /// - `conflict`: it kicks itself (§8.2).
    pub(super) fn change(self, target: Self, wanted: Role, is_self: bool) -> Result<(), Condition> {
        let is_moderator = self.role == Role::Moderator;
        let is_admin = self.affiliation.may(Privilege::EditModerators);
        match (target.role, wanted) {
            _ if !is_moderator && !is_admin => Err(Condition::Forbidden),
            (known, wanted) if known == wanted => Ok(()),
            (_, Role::Moderator) => allowed_if(is_admin, Condition::Forbidden),
            (_, Role::None) => self.kick(target, is_self),
            // §9.7: of a member or somebody unaffiliated only.
            (Role::Moderator, _) if !is_admin => Err(Condition::Forbidden),
            (Role::Moderator, _) => allowed_if(
                !target.affiliation.may(Privilege::EditModerators),
                Condition::NotAllowed,
            ),
            _ if !is_moderator => Err(Condition::Forbidden),
            (_, Role::Participant) => Ok(()),
            (_, Role::Visitor) => allowed_if(self.may_silence(target), Condition::NotAllowed),
        }
    }

    /// §8.2, and §5.1.3 for moderators, whom only admins kick.
    fn kick(self, target: Self, is_self: bool) -> Result<(), Condition> {
        if self.role != Role::Moderator {
            return Err(Condition::Forbidden);
        }
        if is_self {
            return Err(Condition::Conflict);
        }
        let is_admin = self.affiliation.may(Privilege::EditModerators);
        let is_kickable = target.role != Role::Moderator || is_admin;
        let may = is_kickable && target.affiliation <= self.affiliation;
        allowed_if(may, Condition::NotAllowed)
    }

    /// §8.4: nobody takes the voice of an admin or owner, nor of somebody at or above one's own
    /// affiliation. To have none is no affiliation: without this a moderator by grant could
    /// silence nobody.
    fn may_silence(self, target: Self) -> bool {
        let is_below = target.affiliation < self.affiliation;
        target.affiliation <= Affiliation::None
            || (is_below && target.affiliation < Affiliation::Admin)
    }
}

fn allowed_if(may: bool, otherwise: Condition) -> Result<(), Condition> {
    match may {
        true => Ok(()),
        false => Err(otherwise),
    }
}
