//! The link of an edge in the same process: nothing is encoded, and neither end dies alone.

use std::sync::Arc;

use couplet_proto::Jid;
use couplet_proto::link::frame::{Frame, ToEdge, ToOrigin};
use couplet_proto::link::id::EdgeId;
use couplet_proto::link::{Downlink, Refused, Route, Uplink, Waiting};
use couplet_proto::slot::{Seed, Slot};
use tokio::sync::mpsc::error::TrySendError;

use super::{Lane, Owed};
use crate::clock::Clock;
use crate::cluster::map::{OwnerMap, Way};
use crate::directives::board::Board;
use crate::shard::Event;
use crate::shard::mailbox::Mailboxes;

/// Down to the edge.
pub(crate) struct Local {
    edge: Arc<dyn Downlink>,
    board: Arc<Board>,
    clock: Clock,
}

/// Up from the edge.
pub(crate) struct InProcess {
    edge: EdgeId,
    seed: Seed,
    /// This node owns every slot as long as it lives.
    owners: Arc<OwnerMap>,
    mailboxes: Mailboxes,
}

// === impl Local ===

impl Local {
    pub(crate) fn new(edge: Arc<dyn Downlink>, board: Arc<Board>, clock: Clock) -> Self {
        Self { edge, board, clock }
    }
}

impl Lane for Local {
    fn carries(&self, _: Slot) -> bool {
        true
    }

    fn send(&self, frames: &mut Vec<Frame<ToEdge>>, _: &mut Owed) -> bool {
        // Nobody else owns a slot.
        let _ = self.edge.send(frames);
        true
    }

    fn moved(&self, slot: Slot) {
        // It cannot be anybody else.
        tracing::error!(%slot, "an edge of this process speaks at another epoch");
    }

    fn tell_rules(&self) {
        let rules = self.board.directives().rules(self.clock.now().unix);
        self.edge.ruled(&Arc::new(rules));
    }
}

// === impl InProcess ===

impl InProcess {
    pub(crate) fn new(
        edge: EdgeId,
        seed: Seed,
        owners: Arc<OwnerMap>,
        mailboxes: Mailboxes,
    ) -> Self {
        Self {
            edge,
            seed,
            owners,
            mailboxes,
        }
    }
}

impl Uplink for InProcess {
    fn slot_of(&self, account: &Jid) -> Slot {
        Slot::of(self.seed, account)
    }

    fn route(&self, slot: Slot) -> Option<Route> {
        match self.owners.way(slot) {
            Way::Here(epoch) => Some(Route { epoch, link: 0 }),
            Way::Peer(..) | Way::Nowhere(_) => None,
        }
    }

    fn try_send(&self, slot: Slot, route: Route, body: ToOrigin) -> Result<(), Refused> {
        let epoch = route.epoch;
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

    fn may_lose_owners(&self) -> bool {
        false
    }
}
