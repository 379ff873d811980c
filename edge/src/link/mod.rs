//! Link: towards the origins. Frames up through the [`Uplink`], frames down to the connections.
//!
//! - [`table`]: all connections of this edge.
//! - [`queue`]: what waits for one of them.
//! - [`fanout`]: one frame in, many clients out.

mod fanout;

pub(crate) mod queue;

mod table;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use couplet_proto::link::frame::{Detached, ToOrigin};
use couplet_proto::link::id::SessionId;
use couplet_proto::link::{Refused, Uplink};
use couplet_proto::slot::Slot;
use tracing::error;

use self::fanout::Epochs;
pub(crate) use self::table::Table;
use crate::metrics::Metrics;

/// Sessions whose connection is gone and whose owner has not been told. Beyond this the owner
/// finds out when it delivers to them.
const ORPHANS_MAX: usize = 65_536;

/// The edge's end of the link.
pub(crate) struct Link {
    pub(crate) table: Table,
    pub(crate) metrics: Arc<Metrics>,
    epochs: Epochs,
    /// Set once, before the first socket is opened.
    uplink: OnceLock<Arc<dyn Uplink>>,
    orphans: Mutex<VecDeque<(Slot, SessionId, Detached)>>,
}

// === impl Link ===

impl Link {
    /// A link that leads nowhere yet.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            table: Table::new(),
            metrics,
            epochs: Epochs::new(),
            uplink: OnceLock::new(),
            orphans: Mutex::default(),
        }
    }

    /// Gives the link its way up; false if it has one.
    pub(crate) fn connect(&self, uplink: Arc<dyn Uplink>) -> bool {
        self.uplink.set(uplink).is_ok()
    }

    /// The way up.
    pub(crate) fn uplink(&self) -> &Arc<dyn Uplink> {
        self.uplink
            .get()
            .expect("set before the first socket is opened")
    }

    /// Notes a session whose connection is already gone: its owner is told with the next
    /// [`Link::detach_orphans`]. Not at once, because this may be called from within the owner.
    pub(crate) fn orphan(&self, slot: Slot, session: SessionId, reason: Detached) {
        let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        if orphans.len() < ORPHANS_MAX {
            orphans.push_back((slot, session, reason));
        } else {
            drop(orphans);
            self.metrics.frames_orphaned.increment(1);
            error!(%session, "too many sessions without a connection: one is not detached");
        }
    }

    /// Tells the owners of orphaned sessions, as far as they have room.
    pub(crate) fn detach_orphans(&self) {
        let Some(uplink) = self.uplink.get() else {
            return;
        };
        let mut waiting = {
            let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *orphans)
        };
        waiting.retain(|(slot, session, reason)| {
            let detach = ToOrigin::Detach {
                session: *session,
                reason: *reason,
            };
            matches!(uplink.try_send(*slot, detach), Err(Refused::Full(_)))
        });
        if !waiting.is_empty() {
            let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.append(&mut orphans);
            *orphans = waiting;
        }
    }
}
