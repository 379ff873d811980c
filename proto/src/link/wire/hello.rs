//! Hello: who is at the other end, and which version of the link both speak.

use bytes::Bytes;

use super::v1;
use crate::link::id::NodeId;
use crate::slot::Seed;

/// The newest version this node speaks.
pub const VERSION: u32 = 2;

/// The oldest version this node understands: the one before [`VERSION`], or the first.
pub const OLDEST: u32 = 1;

/// What a node says of itself before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The newest version it speaks.
    pub version: u32,
    /// The oldest version it understands.
    pub oldest: u32,
    /// Its name.
    pub node: NodeId,
    /// What no other start of it has.
    pub incarnation: u64,
    /// What it is.
    pub role: Role,
    /// Which of `lanes` lanes this is.
    pub lane: u16,
    /// How many lanes the two nodes have; slot `s` goes by lane `s % lanes`.
    pub lanes: u16,
    /// The cluster's seed, if it is an origin.
    pub seed: Option<Seed>,
}

/// What a node is, and what its certificate has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It holds clients' connections.
    Edge,
    /// It owns slots.
    Origin,
}

/// Why two nodes cannot talk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The first message is no greeting, or one that cannot be.
    #[error("no valid hello")]
    Invalid,
    /// One of the two is too old for the other.
    #[error(
        "it speaks versions {oldest} to {version} of the link, this node {OLDEST} to {VERSION}"
    )]
    Version {
        /// The oldest it understands.
        oldest: u32,
        /// The newest it speaks.
        version: u32,
    },
    /// It is something else than it has to be here.
    #[error("it is an {0} and may not be here")]
    Role(Role),
}

// === impl Hello ===

impl Hello {
    /// The greeting of this program for the only lane there is.
    pub fn new(role: Role, node: NodeId, incarnation: u64) -> Self {
        Self {
            version: VERSION,
            oldest: OLDEST,
            node,
            incarnation,
            role,
            lane: 0,
            lanes: 1,
            seed: None,
        }
    }

    /// For lane `lane` of `lanes`.
    #[must_use]
    pub fn on_lane(mut self, lane: u16, lanes: u16) -> Self {
        self.lane = lane;
        self.lanes = lanes;
        self
    }

    /// With the cluster's seed.
    #[must_use]
    pub fn with_seed(mut self, seed: Seed) -> Self {
        self.seed = Some(seed);
        self
    }

    /// As the first message holds it.
    pub fn encode(&self) -> v1::Hello {
        let role = match self.role {
            Role::Edge => v1::Role::Edge,
            Role::Origin => v1::Role::Origin,
        };
        let seed = self.seed.as_ref();
        v1::Hello {
            version: self.version,
            oldest: self.oldest,
            node: self.node.0.to_string(),
            incarnation: self.incarnation,
            role: role.into(),
            lane: self.lane.into(),
            lanes: self.lanes.into(),
            seed: seed.map_or_else(Bytes::new, |seed| Bytes::copy_from_slice(&seed.0)),
        }
    }

    /// Reads the greeting of another node, which must be a `role`.
    ///
    /// # Errors
    /// When the two cannot talk.
    pub fn decode(message: Option<v1::Hello>, role: Role) -> Result<Self, Mismatch> {
        let message = message.ok_or(Mismatch::Invalid)?;
        let (oldest, version) = (message.oldest, message.version);
        if version < OLDEST || oldest > VERSION {
            return Err(Mismatch::Version { oldest, version });
        }
        let theirs = match message.role() {
            v1::Role::Edge => Role::Edge,
            v1::Role::Origin => Role::Origin,
            v1::Role::Unspecified => return Err(Mismatch::Invalid),
        };
        if theirs != role {
            return Err(Mismatch::Role(theirs));
        }
        let short = |number: u32| u16::try_from(number).map_err(|_| Mismatch::Invalid);
        let (lane, lanes) = (short(message.lane)?, short(message.lanes)?);
        if lane >= lanes || message.node.is_empty() {
            return Err(Mismatch::Invalid);
        }
        let seed = match message.seed.is_empty() {
            true => None,
            false => Some(Seed(
                message.seed[..].try_into().map_err(|_| Mismatch::Invalid)?,
            )),
        };
        Ok(Self {
            version,
            oldest,
            node: NodeId(message.node.into()),
            incarnation: message.incarnation,
            role: theirs,
            lane,
            lanes,
            seed,
        })
    }

    /// Whether the two speak of fans: stanzas for many receivers at once.
    pub fn knows_fans(&self) -> bool {
        self.spoken() >= 2
    }

    /// The version the two speak.
    pub fn spoken(&self) -> u32 {
        self.version.min(VERSION)
    }
}

// === impl Role ===

impl Role {
    /// The DNS name that a certificate of this role is valid for.
    pub const fn server_name(self) -> &'static str {
        match self {
            Self::Edge => "edge.couplet",
            Self::Origin => "origin.couplet",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Edge => "edge",
            Self::Origin => "origin",
        })
    }
}
