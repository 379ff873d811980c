//! Drain: closing the edge in good order.
//!
//! ```text
//! not ready ─ wait ─▶ doors closed ─ clients sent away, one by one ─▶ deadline: cut off
//! ```
//!
//! Clients are sent away at a pace, so that the edges they go to are not overrun. One that counts
//! what it gets may first say what it has, and resumes elsewhere.

use std::sync::Arc;
use std::time::Duration;

use couplet_proto::journal::{Entry, Event};
use couplet_proto::link::id::ConnectionId;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::Drain;
use crate::connection::Edgewide;
use crate::listen::Door;

/// How long connections that are cut off may take to tell the origin.
const CUT_OFF: Duration = Duration::from_secs(1);

/// How often it is looked whether every owner knows.
const LOOK: Duration = Duration::from_millis(20);

/// Ends all connections; returns when they are gone, at the latest about at the deadline.
pub(crate) async fn drain(door: &Door, edge: &Arc<Edgewide>, config: &Drain, deadline: Duration) {
    info!(connections = edge.population(), "draining");
    let started = edge.clock.now_ms();
    note(edge, started, "begun");
    tokio::time::sleep(Duration::from_secs(config.wait_secs)).await;
    door.close();
    let ended = async {
        send_away(edge, config, deadline).await;
        edge.emptied().await;
    };
    if tokio::time::timeout(deadline, ended).await.is_ok() {
        info!("drained");
        note(edge, started, "done");
    } else {
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
        note(edge, started, "cut-off");
    }
    let told = tokio::time::timeout(CUT_OFF, tell(edge)).await;
    if told.is_err() {
        warn!("sessions left behind: their owners find out themselves");
    }
}

/// Has it written down how far the drain has come.
fn note(edge: &Edgewide, started: u64, outcome: &'static str) {
    edge.journal.note(|| Entry {
        outcome: Some(outcome),
        count: Some(edge.population()),
        taken_ms: Some(edge.clock.now_ms().saturating_sub(started)),
        ..Entry::new(Event::Drain)
    });
}

/// Tells each client to go, in no order they could know of, not all in the same moment.
async fn send_away(edge: &Edgewide, config: &Drain, deadline: Duration) {
    let mut ids = edge.link.table.ids();
    // The deadline leaves the last ones a quarter of the time to go.
    let longest = deadline.mul_f64(0.75).as_secs_f64();
    let seconds = match config.per_second {
        0 => 0.0,
        pace => (ids.len() as f64 / f64::from(pace)).min(longest),
    };
    edge.shuffle(&mut ids);
    let started = Instant::now();
    let step = seconds / ids.len().max(1) as f64;
    for (index, id) in ids.into_iter().enumerate() {
        if step > 0.0 {
            // Anywhere within its own share of the time.
            let at = (index as f64 + edge.draw_fraction()) * step;
            tokio::time::sleep_until(started + Duration::from_secs_f64(at)).await;
        }
        send(edge, id);
    }
    // Those that were let in while the doors closed.
    let late = edge.link.table.ids();
    late.into_iter().for_each(|id| send(edge, id));
}

fn send(edge: &Edgewide, id: ConnectionId) {
    if let Some(queue) = edge.link.table.get(id) {
        queue.signal(|signals| signals.shutdown = true);
    }
}

/// Waits until the owners of all sessions know that they have no connection.
async fn tell(edge: &Edgewide) {
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        edge.link.tell_departures(edge.clock.now_ms());
        if edge.link.departures.are_told() {
            return;
        }
    }
}
