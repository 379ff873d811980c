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
use tokio::sync::{Notify, mpsc, oneshot};

use super::event::{Event, WatchRequest};
use crate::admin::{Error, Listed, Listing, Request};
use crate::onlook::{Watch, Watched};

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
    room: Arc<Notify>,
}

/// The shard's end of its mailbox.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) outer: mpsc::Receiver<Event>,
    pub(crate) inner: mpsc::Receiver<Event>,
    room: Arc<Notify>,
}

// === impl Mailboxes ===

impl Mailboxes {
    /// Mailboxes for so many shards.
    pub(crate) fn new(shards: u16) -> (Self, Vec<Inbox>) {
        let pairs = (0..shards).map(|_| {
            let (outer, outer_rx) = mpsc::channel(OUTER_MAX);
            let (inner, inner_rx) = mpsc::channel(INNER_MAX);
            let room = Arc::new(Notify::new());
            let inbox = Inbox {
                outer: outer_rx,
                inner: inner_rx,
                room: Arc::clone(&room),
            };
            (Mailbox { outer, inner, room }, inbox)
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

    /// Lets an operator look on at an account; `None` when its shard has ended.
    pub(crate) async fn watch(&self, slot: Slot, watch: Watch) -> Option<Result<Watched, Error>> {
        let (reply, watched) = oneshot::channel();
        let event = Event::Watch(Box::new(WatchRequest { watch, reply }));
        self.of_slot(slot).outer.send(event).await.ok()?;
        watched.await.ok()
    }

    /// Asks a shard for its sessions; `None` when it has ended.
    pub(crate) async fn list(&self, shard: usize, listing: Listing) -> Option<Listed> {
        let (reply, listed) = oneshot::channel();
        let event = Event::List(Box::new(listing), reply);
        self.of(shard).outer.send(event).await.ok()?;
        listed.await.ok()
    }
}

// === impl Mailbox ===

impl Mailbox {
    /// Which part of it is taken, from 0 to 1: the fuller of the two queues counts.
    pub(crate) fn fill(&self) -> f64 {
        let part = |queue: &mpsc::Sender<Event>| {
            let taken = queue.max_capacity() - queue.capacity();
            taken as f64 / queue.max_capacity() as f64
        };
        part(&self.outer).max(part(&self.inner))
    }

    /// Waits until the outer queue may have room, or is closed.
    ///
    /// Reserves none: a place handed from one who waits to the next is never free for either.
    pub(crate) async fn room(&self) {
        loop {
            let mut notified = std::pin::pin!(self.room.notified());
            notified.as_mut().enable();
            if self.outer.capacity() > 0 || self.outer.is_closed() {
                return;
            }
            notified.await;
        }
    }
}

// === impl Inbox ===

impl Inbox {
    /// So many events have left the outer queue: as many of those who wait may try again.
    pub(crate) fn took(&self, events: usize) {
        if self.outer.is_empty() {
            // One who was told before may have gone away without trying.
            self.room.notify_waiters();
        } else {
            (0..events).for_each(|_| self.room.notify_one());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::mpsc::error::TrySendError;
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn the_fuller_queue_says_how_full_a_mailbox_is() {
        let (mailboxes, mut inboxes) = Mailboxes::new(1);
        assert!(mailboxes.of(0).fill() == 0.0);
        for _ in 0..INNER_MAX {
            let _ = mailboxes.of(0).inner.try_send(Event::Tick);
        }
        let _ = mailboxes.of(0).outer.try_send(Event::Tick);
        assert!(mailboxes.of(0).fill() == 1.0);
        for _ in 0..INNER_MAX / 2 {
            inboxes[0].inner.recv().await.expect("open");
        }
        assert!(mailboxes.of(0).fill() == 0.5);
    }

    /// More wait than the queue has places.
    #[tokio::test]
    async fn everyone_who_waits_for_room_gets_it() {
        const SENDERS: usize = 3 * OUTER_MAX;
        let (mailboxes, mut inboxes) = Mailboxes::new(1);
        let mut inbox = inboxes.pop().expect("one");
        let mut senders = JoinSet::new();
        let waits = Arc::new(AtomicUsize::new(0));
        for _ in 0..SENDERS {
            let (mailbox, waits) = (mailboxes.of(0).clone(), Arc::clone(&waits));
            senders.spawn(async move {
                while let Err(TrySendError::Full(_)) = mailbox.outer.try_send(Event::Tick) {
                    waits.fetch_add(1, Ordering::Relaxed);
                    mailbox.room().await;
                }
            });
        }
        let receive_all = async {
            while waits.load(Ordering::Relaxed) < SENDERS - OUTER_MAX {
                tokio::task::yield_now().await;
            }
            let mut received = 0;
            while received < SENDERS {
                inbox.outer.recv().await.expect("open");
                let mut taken = 1;
                while taken < 64 && inbox.outer.try_recv().is_ok() {
                    taken += 1;
                }
                inbox.took(taken);
                received += taken;
            }
            senders.join_all().await;
        };
        let all = tokio::time::timeout(Duration::from_secs(20), receive_all);
        all.await.expect("everyone has sent");
    }
}
