//! Simulation: an edge for a test that is a whole cluster in one thread.
//!
//! Everything of the edge but its sockets, its clock and its tasks: the test is the kernel and the
//! runtime. It opens pipes, polls connections when they are woken, and lets time pass.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::{Downlink, Uplink};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::DuplexStream;

use crate::clock::Clock;
pub use crate::clock::set_now_ms;
use crate::config::Config;
use crate::connection::{Connection, Edgewide, Place};
use crate::link::Link;
use crate::metrics::Metrics;
use crate::rules::Rules;

/// A connection at work: to be polled when it is woken.
pub type Running = Pin<Box<dyn Future<Output = ()>>>;

/// An edge without sockets, clock and tasks.
pub struct SimulatedEdge {
    edge: Arc<Edgewide>,
}

// === impl SimulatedEdge ===

impl SimulatedEdge {
    /// An edge whose stream ids come from a seed. `None` when the configuration cannot be used.
    pub fn new(config: &Config, uplink: Arc<dyn Uplink>, seed: u64) -> Option<Self> {
        let setup = Arc::new(crate::setup(config).ok()?);
        let clock = Clock::since(Instant::now());
        let rules = Rules::new(Arc::clone(&setup.domains));
        let link = Arc::new(Link::new(Arc::new(Metrics::new()), rules, clock));
        link.connect(uplink);
        let random = StdRng::seed_from_u64(seed);
        let journal = config.journal.clone();
        let edge = Edgewide::new(config.limits, setup, link, clock, journal, random);
        let edge = Arc::new(edge);
        Some(Self { edge })
    }

    /// The origins' way to this edge.
    pub fn downlink(&self) -> Arc<dyn Downlink> {
        Arc::clone(&self.edge.link) as Arc<dyn Downlink>
    }

    /// Whether a frame would be refused because its epoch, or the connection it is for, is ahead of
    /// it.
    pub fn would_refuse(&self, frame: &Frame<ToEdge>) -> bool {
        let link = &self.edge.link;
        if matches!(
            frame.body,
            ToEdge::Challenge { .. } | ToEdge::Authenticated { .. } | ToEdge::Refused { .. }
        ) {
            return false;
        }
        if !link.epochs.would_admit(frame.slot, frame.epoch) {
            return true;
        }
        let ToEdge::Deliver(delivery) = &frame.body else {
            return false;
        };
        let mut connections = delivery.connections.iter();
        connections.any(|connection| {
            let queue = link.table.get(*connection);
            queue.is_some_and(|queue| queue.would_refuse(frame.epoch))
        })
    }

    /// A client comes: its connection, and its end of the pipe. `None` when there are enough.
    pub fn accept(&self, buffer: usize) -> Option<(Running, DuplexStream)> {
        let place = Place::take(&self.edge)?;
        let (ours, theirs) = tokio::io::duplex(buffer);
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let connection = Connection::piped(Arc::clone(&self.edge), place, ours, peer);
        let running = Box::new(connection).run();
        let running = Box::pin(async move { drop(running.await) });
        Some((running, theirs))
    }

    /// What is to be done after a change of the routes.
    pub fn follow_routes(&self) {
        self.edge.link.follow_routes();
    }

    /// What is to be done ten times a second.
    pub fn sweep(&self) {
        let edge = &self.edge;
        let now = edge.clock.now_ms();
        for id in edge.wheel.advance(now) {
            if let Some(queue) = edge.link.table.get(id) {
                queue.signal(|signals| signals.timer = true);
            }
        }
        edge.link.follow_routes();
        edge.link.tell_departures(now);
    }

    /// Sends every client away.
    pub fn shut_down(&self) {
        let queues = |queue: &crate::link::queue::Queue| {
            queue.signal(|signals| signals.shutdown = true);
        };
        self.edge.link.table.for_each(queues);
    }

    /// Whether every owner knows of the sessions that have no connection any more.
    pub fn has_told(&self) -> bool {
        self.edge.link.departures.are_told()
    }
}

impl std::fmt::Debug for SimulatedEdge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedEdge").finish_non_exhaustive()
    }
}
