//! Identifiers that cross the link.

use std::fmt;

/// A client socket on one edge; never reused while the edge lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A bound resource. Drawn at random by the origin when the resource is bound; it outlives
/// connections and moves with its slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Which stanza of which session something comes from. Grows for one session and receiver, so
/// that the last one seen tells whether another is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The session of the client that sent it.
    pub session: SessionId,
    /// The stanza's number in that session.
    pub number: u64,
    /// Which of the stanzas that came of it: one presence may go to a thousand contacts.
    pub part: u32,
}

// === impl Source ===

impl Source {
    /// The part of a stanza that no client sent: `session` is the shard that made it, `number` its
    /// name there.
    pub const OF_SHARD: u32 = u32::MAX;

    /// The part of what a stanza brings to sessions of its own account.
    pub const OWN: u32 = u32::MAX - 1;

    /// The part of what a room sends: `session` is the room's name, `number` grows with each
    /// stanza. Whoever has had a number has had all before it.
    pub const OF_ROOM: u32 = u32::MAX - 2;

    /// The number of the end of a session, which comes after all it sent.
    pub const END: u64 = u64::MAX;

    /// Whether a room sent it: then the same goes to many, and each session knows what it has had.
    pub const fn is_of_room(self) -> bool {
        self.part == Self::OF_ROOM
    }

    /// Whether a client sent it.
    pub const fn is_of_client(self) -> bool {
        !matches!(self.part, Self::OF_SHARD | Self::OF_ROOM)
    }
}

/// Where an entry stands in a log: the time it was made in milliseconds, then a count, so that
/// ids grow and a repeated append is the same entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogId {
    /// Milliseconds since 1970.
    pub millis: u64,
    /// Order within the millisecond.
    pub count: u32,
}

/// An origin process among all there were: its name and what no other start of it has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub Box<str>);

/// An edge's lane as one origin knows it: given when its link is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeId(pub u32);

/// A link to or from another origin; never the same for two links of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

// === impl SessionId ===

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
