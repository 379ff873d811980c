//! What origins say to each other: stanzas on their way to another origin's slots.

use std::sync::Arc;

use super::epoch::Epoch;
use super::id::Source;
use crate::slot::Slot;
use crate::xmpp::stanza::Stanza;

/// From the origin of a stanza's sender to the owner of its receiver's slot. Those of one shard
/// and slot are handled in the order sent.
#[derive(Debug, Clone)]
pub struct ToPeer {
    /// The receiver's slot.
    pub slot: Slot,
    /// Its epoch as the sender knows it; another is answered by nothing: the sender learns of the
    /// new owner and sends again.
    pub epoch: Epoch,
    /// Names it in the answer: which shard of the sender,
    pub shard: u16,
    /// and which of its routes.
    pub route: u64,
    /// The stanza; `from` and `to` are set.
    pub stanza: Arc<Stanza>,
    /// Which stanza of which session it is, when a client sent it.
    pub source: Option<Source>,
}

/// The answer: these routes of the sender's shard have taken effect, and what had to be is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Which shard of the sender.
    pub shard: u16,
    /// Which of its routes.
    pub routes: Vec<u64>,
}

/// What an origin tells everyone who is linked to it, first of all and with every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owned {
    /// Which slot.
    pub slot: Slot,
    /// At which epoch it owned it last.
    pub epoch: Epoch,
    /// Whether it owns it now.
    pub is_owner: bool,
}

/// Slots an origin asks another to leave, and which of them that one has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leave {
    /// The asking origin's name for the request; the answer has it too.
    pub request: u64,
    /// The slots.
    pub slots: Vec<Slot>,
}
