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
//! **Invariant:** frames of one slot between one edge and one origin arrive in the order sent.

pub mod id;

pub mod epoch;

pub mod frame;

use std::future::Future;
use std::pin::Pin;

use frame::{Frame, ToEdge, ToOrigin};

use crate::slot::Slot;

/// A future that a link returns where it must wait.
pub type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The edge's way to the owners of the slots.
pub trait Uplink: Send + Sync + 'static {
    /// The slot of an account; needs the cluster's seed, which the link knows.
    fn slot_of(&self, account: &crate::Jid) -> Slot;

    /// Queues a frame for the slot's owner, stamped with the epoch the edge knows.
    ///
    /// # Errors
    /// Gives the frame back when the owner's queue is full ([`Refused::Full`]: wait for
    /// [`Uplink::room`] and try again) or there is no owner ([`Refused::Gone`]).
    fn try_send(&self, slot: Slot, frame: ToOrigin) -> Result<(), Refused>;

    /// Waits until the slot's owner may have room again.
    fn room(&self, slot: Slot) -> Waiting<'_>;

    /// The present time on the clock that stamps [`frame::ToEdge::Deliver`]'s `entered`, so that
    /// an edge in the same process can measure the way of a stanza; `None` when the clocks of
    /// the two ends cannot be compared.
    fn now_ms(&self) -> Option<u64> {
        None
    }
}

/// Why an uplink did not take a frame; the frame comes back.
#[derive(Debug)]
pub enum Refused {
    /// The owner's queue is full: back-pressure, not an error.
    Full(ToOrigin),
    /// Nobody owns the slot and nobody will soon: the process is stopping.
    Gone(ToOrigin),
}

/// An origin's way to one edge. Never waits: each edge and each connection bounds its own queue
/// and says what happens when it is full.
pub trait Downlink: Send + Sync + 'static {
    /// Hands over frames in order, leaving `frames` empty.
    fn send(&self, frames: &mut Vec<Frame<ToEdge>>);
}
