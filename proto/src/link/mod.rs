//! Link: what edges and origins say to each other, whatever carries it.
//!
//! In `couplet serve` a link is a pair of queues in one process and nothing is encoded; between
//! processes it is a gRPC stream. Both implement [`Uplink`] and [`Downlink`].
//!
//! ```text
//! edge ──Uplink──▶ Frame<ToOrigin> ──▶ the slot's owner
//! edge ◀─Downlink─ Frame<ToEdge>  ◀── the slot's owner
//! ```
//!
//! - [`age`]: how long a stanza has been under way.
//!
//! **Invariant:** frames of one slot between one edge and one origin arrive in the order sent.

pub mod id;

pub mod epoch;

pub mod frame;

pub mod age;

pub mod peer;

pub mod rules;

pub mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use epoch::Epoch;
use frame::{Frame, ToEdge, ToOrigin};
use rules::Rules;

use crate::slot::Slot;

/// A future that a link returns where it must wait.
pub type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A way to a slot's owner: while it stays the same, what is sent arrives in order and nothing is
/// lost. A session that has come by another one must attach before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The link to it; never the same for two links of one edge.
    pub link: u64,
}

/// The edge's way to the owners of the slots.
pub trait Uplink: Send + Sync + 'static {
    /// The slot of an account; needs the cluster's seed, which the link knows.
    fn slot_of(&self, account: &crate::Jid) -> Slot;

    /// The way to a slot's owner as it is now; `None` while there is no owner, or none that can
    /// be reached. The edge hears of every change by [`Downlink::rerouted`].
    fn route(&self, slot: Slot) -> Option<Route>;

    /// Queues a frame for the slot's owner.
    ///
    /// # Errors
    /// Gives the frame back when the way is not `route` any more ([`Refused::Moved`]), when the
    /// owner's queue is full ([`Refused::Full`]: wait for [`Uplink::room`] and try again) or when
    /// the process is stopping ([`Refused::Gone`]).
    fn try_send(&self, slot: Slot, route: Route, frame: ToOrigin) -> Result<(), Refused>;

    /// Waits until the slot's owner may have room again, or is another.
    fn room(&self, slot: Slot) -> Waiting<'_>;

    /// Whether the owner of a slot can die while this edge lives: only then need an edge keep what
    /// a new owner would ask for.
    fn may_lose_owners(&self) -> bool;
}

/// Why an uplink did not take a frame; the frame comes back.
#[derive(Debug)]
pub enum Refused {
    /// The owner's queue is full: back-pressure, not an error.
    Full(ToOrigin),
    /// The slot's owner is reached by another way now, or by none.
    Moved(ToOrigin),
    /// Nobody owns the slot and nobody will soon: the process is stopping.
    Gone(ToOrigin),
}

/// An origin's way to one edge. Never waits: each edge and each connection bounds its own queue
/// and says what happens when it is full.
pub trait Downlink: Send + Sync + 'static {
    /// Hands over frames in order, leaving `frames` empty. What is not refused for its epoch is
    /// now the edge's; the slots and epochs of what was are returned: their sender owns them no
    /// longer, and must not take anything it sent for them as received.
    fn send(&self, frames: &mut Vec<Frame<ToEdge>>) -> Vec<(Slot, Epoch)>;

    /// The ways to these slots' owners have changed. The edge's sessions of each attach by the
    /// new one, if there is one, and [`ToOrigin::Expect`] comes before them.
    fn rerouted(&self, slots: &[Slot]);

    /// From now on these are the rules, instead of those before.
    fn ruled(&self, _rules: &Arc<Rules>) {}
}
