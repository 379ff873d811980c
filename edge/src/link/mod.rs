//! Link: towards the origins. Frames up through the [`Uplink`], frames down to the connections.
//!
//! - [`remote`]: the way to origins in other processes.
//! - [`fanout`]: one frame in, many clients out.
//! - [`departure`]: sessions whose connection is gone.
//! - [`routes`]: who depends on which slot's owner, and what follows when that is another.
//! - [`queue`]: what waits for one connection.
//! - [`table`]: all connections of this edge.

pub(crate) mod remote;

mod fanout;

pub(crate) mod departure;

mod departed;

pub(crate) mod routes;

pub(crate) mod queue;

mod table;

use std::sync::{Arc, OnceLock};

use couplet_proto::link::Uplink;

use self::departure::Departures;
use self::fanout::Epochs;
pub(crate) use self::fanout::late;
use self::routes::Routes;
pub(crate) use self::table::Table;
use crate::metrics::Metrics;
use crate::sampling::Sampling;

/// The edge's end of the link.
pub(crate) struct Link {
    pub(crate) table: Table,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) epochs: Epochs,
    /// Set once, before the first socket is opened.
    uplink: OnceLock<Arc<dyn Uplink>>,
    /// Which stanzas are followed, if any are.
    pub(crate) sampling: OnceLock<Sampling>,
    pub(crate) routes: Routes,
    pub(crate) departures: Departures,
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
            sampling: OnceLock::new(),
            routes: Routes::new(),
            departures: Departures::default(),
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
}
