//! Affiliations and roles: who may do what (XEP-0045 §5), as tables.

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
