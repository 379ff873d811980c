//! Mailboxes: how events reach the shards.
//!
//! Each shard has two bounded queues. The **outer** one is for edges and operators: when it is
//! full they wait, and the sockets behind them are not read. The **inner** one is for other
//! shards and for the ends of what the shard asked for: it is always emptied first. A shard with
//! stanzas that another shard's inner queue has no room for stops taking from its outer queue
//! until they are gone, so shards cannot wait for each other in a circle.

use std::sync::Arc;

use couplet_proto::Jid;
use couplet_proto::slot::Slot;
use tokio::sync::mpsc;

use super::event::Event;
use crate::admin::Request;

/// Events from edges that may wait in front of one shard.
pub(crate) const OUTER_MAX: usize = 4096;

/// Events from shards, the store and workers that may wait in front of one shard.
pub(crate) const INNER_MAX: usize = 8192;

/// The entrances of all shards of a process.
#[derive(Debug, Clone)]
pub(crate) struct Mailboxes(Arc<[Mailbox]>);

/// The entrances of one shard.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    pub(crate) outer: mpsc::Sender<Event>,
    pub(crate) inner: mpsc::Sender<Event>,
}

/// The shard's end of its mailbox.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) outer: mpsc::Receiver<Event>,
    pub(crate) inner: mpsc::Receiver<Event>,
}

// === impl Mailboxes ===

impl Mailboxes {
    /// Mailboxes for so many shards.
    pub(crate) fn new(shards: u16) -> (Self, Vec<Inbox>) {
        let pairs = (0..shards).map(|_| {
            let (outer, outer_rx) = mpsc::channel(OUTER_MAX);
            let (inner, inner_rx) = mpsc::channel(INNER_MAX);
            let inbox = Inbox {
                outer: outer_rx,
                inner: inner_rx,
            };
            (Mailbox { outer, inner }, inbox)
        });
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) = pairs.unzip();
        (Self(mailboxes.into()), inboxes)
    }

    /// Which shard runs a slot.
    pub(crate) fn shard_of(&self, slot: Slot) -> usize {
        slot.index() % self.0.len()
    }

    /// The mailbox of a shard.
    pub(crate) fn of(&self, shard: usize) -> &Mailbox {
        &self.0[shard]
    }

    /// The mailbox of the shard that runs a slot.
    pub(crate) fn of_slot(&self, slot: Slot) -> &Mailbox {
        self.of(self.shard_of(slot))
    }

    /// How many shards there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Brings an operator's request to the owner of an account.
    pub(crate) async fn admin(
        &self,
        slot: Slot,
        account: Jid,
        request: Box<Request>,
    ) -> Result<(), ()> {
        let outer = &self.of_slot(slot).outer;
        let sent = outer.send(Event::Admin(account, request)).await;
        sent.map_err(|_| ())
    }
}
