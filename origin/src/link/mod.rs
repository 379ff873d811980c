//! Link: frames from and to edges.
//!
//! An attached edge gets an id. What it says enters the mailbox of the slot's shard; what the
//! shards say to it goes through its [`Downlink`].

use std::sync::{Arc, PoisonError, RwLock};

use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Frame, ToEdge, ToOrigin};
use couplet_proto::link::id::EdgeId;
use couplet_proto::link::{Downlink, Refused, Uplink, Waiting};
use couplet_proto::slot::{Seed, Slot};
use tokio::sync::mpsc::error::TrySendError;

use crate::clock::Clock;
use crate::shard::Event;
use crate::shard::mailbox::Mailboxes;

/// The edges attached to this origin, by id.
#[derive(Default)]
pub(crate) struct Edges {
    attached: RwLock<Vec<Arc<dyn Downlink>>>,
}

/// The link of an edge in the same process: nothing is encoded.
pub(crate) struct InProcess {
    edge: EdgeId,
    seed: Seed,
    epochs: Arc<[Option<Epoch>]>,
    mailboxes: Mailboxes,
    clock: Clock,
}

// === impl Edges ===

impl Edges {
    /// Gives an edge its id.
    pub(crate) fn attach(&self, edge: Arc<dyn Downlink>) -> EdgeId {
        let mut attached = self
            .attached
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let id = u32::try_from(attached.len()).expect("edges are few");
        attached.push(edge);
        EdgeId(id)
    }

    /// Hands frames to an edge.
    pub(crate) fn send(&self, edge: EdgeId, frames: &mut Vec<Frame<ToEdge>>) {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        let known = attached.get(edge.0 as usize).cloned();
        drop(attached);
        if let Some(edge) = known {
            edge.send(frames);
        }
    }
}

// === impl InProcess ===

impl InProcess {
    pub(crate) fn new(
        edge: EdgeId,
        seed: Seed,
        epochs: Arc<[Option<Epoch>]>,
        mailboxes: Mailboxes,
        clock: Clock,
    ) -> Self {
        Self {
            edge,
            seed,
            epochs,
            mailboxes,
            clock,
        }
    }
}

impl Uplink for InProcess {
    fn slot_of(&self, account: &Jid) -> Slot {
        Slot::of(self.seed, account)
    }

    fn try_send(&self, slot: Slot, body: ToOrigin) -> Result<(), Refused> {
        let Some(epoch) = self.epochs.get(slot.index()).copied().flatten() else {
            return Err(Refused::Gone(body));
        };
        let event = Event::FromEdge(self.edge, Frame { slot, epoch, body });
        let taken_back = |event| match event {
            Event::FromEdge(_, frame) => frame.body,
            _ => unreachable!("it is the event that was sent"),
        };
        match self.mailboxes.of_slot(slot).outer.try_send(event) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(event)) => Err(Refused::Full(taken_back(event))),
            Err(TrySendError::Closed(event)) => Err(Refused::Gone(taken_back(event))),
        }
    }

    fn room(&self, slot: Slot) -> Waiting<'_> {
        Box::pin(self.mailboxes.of_slot(slot).room())
    }

    fn now_ms(&self) -> Option<u64> {
        Some(self.clock.now().mono)
    }
}
