//! What origins say to each other: stanzas on their way to another origin's slots.

use std::sync::Arc;

use super::epoch::Epoch;
use super::frame::sourced;
use super::id::Source;
use crate::slot::Slot;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::Stanza;

/// From the origin of a stanza's sender to the owner of its receiver's slot. Those of one shard
/// and slot are handled in the order sent.
#[derive(Debug, Clone)]
pub enum ToPeer {
    /// For an account.
    Forward(Forward),
    /// For sessions of many accounts.
    Forwards(Box<Forwards>),
}

/// A stanza for an account.
#[derive(Debug, Clone)]
pub struct Forward {
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
    /// See [`super::frame::Delivery::entered`].
    pub entered: u64,
}

/// The same stanzas for sessions of many accounts, all of slots of the same lane.
#[derive(Debug, Clone)]
pub struct Forwards {
    /// Which shard of the sender.
    pub shard: u16,
    /// The stanzas, in order; `from` is set, `to` is each receiver's own address.
    pub stanzas: Arc<[Arc<Stanza>]>,
    /// What the first stanza comes from; the number of each further one is one more.
    pub source: Source,
    /// Who gets them.
    pub receivers: Vec<Addressee>,
    /// Names the list of receivers, for whoever passes them on; 0: it has no name.
    pub list: u64,
    /// See [`super::frame::Delivery::entered`].
    pub entered: u64,
}

/// A session of another origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// The sender's name for what goes there.
    pub route: u64,
    /// The slot of the account.
    pub slot: Slot,
    /// Its epoch as the sender knows it; see [`Forward::epoch`].
    pub epoch: Epoch,
    /// The full address.
    pub jid: Jid,
}

// === impl ToPeer ===

impl ToPeer {
    /// A slot of the lane it goes by.
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Self::Forward(forward) => Some(forward.slot),
            Self::Forwards(forwards) => forwards.receivers.first().map(|first| first.slot),
        }
    }

    /// When its stanzas were read off a client's socket.
    pub fn entered_mut(&mut self) -> &mut u64 {
        match self {
            Self::Forward(forward) => &mut forward.entered,
            Self::Forwards(forwards) => &mut forwards.entered,
        }
    }

    /// About how many bytes it takes on the wire.
    pub fn wire_bytes(&self) -> usize {
        const NUMBERS: usize = 48;
        match self {
            Self::Forward(forward) => NUMBERS + forward.stanza.wire_bytes(),
            Self::Forwards(forwards) => {
                let stanzas = forwards.stanzas.iter().map(|stanza| stanza.wire_bytes());
                let receivers = forwards.receivers.iter();
                let receivers = receivers.map(|receiver| 16 + receiver.jid.as_str().len());
                NUMBERS + stanzas.sum::<usize>() + receivers.sum::<usize>()
            }
        }
    }
}

// === impl Forwards ===

impl Forwards {
    /// As forwards of one stanza to one receiver each, for a node that knows no other. Only the
    /// last to a receiver says that all have taken effect.
    pub fn single(&self) -> impl Iterator<Item = Forward> {
        self.receivers.iter().flat_map(move |receiver| {
            let last = self.stanzas.len().saturating_sub(1);
            sourced(&self.stanzas, self.source)
                .enumerate()
                .map(move |(place, (stanza, source))| Forward {
                    slot: receiver.slot,
                    epoch: receiver.epoch,
                    shard: self.shard,
                    route: if place == last { receiver.route } else { 0 },
                    stanza: Arc::new((**stanza).clone().to(receiver.jid.clone())),
                    source: Some(source),
                    entered: self.entered,
                })
        })
    }
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
