//! Drain: closing the edge in good order.
//!
//! Nobody is let in any more, every stream ends with `system-shutdown`, and who is still there at
//! the deadline is cut off.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::connection::Edgewide;
use crate::listen::Door;

/// How long connections that are cut off may take to tell the origin.
const CUT_OFF: Duration = Duration::from_secs(1);

/// Ends all connections; returns when they are gone, at the latest about at the deadline.
pub(crate) async fn drain(door: &Door, edge: &Arc<Edgewide>, deadline: Duration) {
    info!(connections = edge.population(), "draining");
    door.close();
    edge.link
        .table
        .for_each(|queue| queue.signal(|signals| signals.shutdown = true));
    if tokio::time::timeout(deadline, edge.emptied()).await.is_ok() {
        info!("drained");
        return;
    }
    warn!(
        connections = edge.population(),
        "not drained in time: cutting off"
    );
    edge.link
        .table
        .for_each(|queue| queue.signal(|signals| signals.abort = true));
    if tokio::time::timeout(CUT_OFF, edge.emptied()).await.is_err() {
        warn!(connections = edge.population(), "connections left behind");
    }
    edge.link.detach_orphans();
}
