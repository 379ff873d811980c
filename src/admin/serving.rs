//! Serving: the connections of the port: how many there may be, how long each may last, and that
//! what one has begun ends without it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::Response;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a client may take to send the head of a request.
const HEAD_SECS_MAX: Duration = Duration::from_secs(10);

/// The largest head of a request: a token and a path fit many times.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How many changes are under way at once; more wait, and are nobody's when their client leaves.
const BEGUN_MAX: usize = 128;

/// How long to wait after a failed accept: it fails again at once while no file can be opened.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection, and all together, may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How many are served at once; more wait to be accepted.
    pub(super) connections: usize,
    /// How many of them one other machine may have; more are closed.
    pub(super) each: usize,
    /// How long a client may take nothing of what is sent to it.
    pub(super) unacked: Duration,
    /// After so long no other request is taken.
    pub(super) life: Duration,
    /// So long the last one may still take.
    pub(super) farewell: Duration,
}

/// The other end of a connection, and the place for what it begins.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) begun: Begun,
}

/// Changes under way. They end when the port does, not when a client leaves.
#[derive(Clone)]
pub(super) struct Begun {
    permits: Arc<Semaphore>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// How many connections other machines have.
#[derive(Debug, Clone, Default)]
struct Machines(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of a machine.
struct Seat {
    machines: Machines,
    of: IpAddr,
}

/// Serves the port, for ever. Connections end when the future is dropped.
pub(crate) async fn serve(listener: TcpListener, router: Router) {
    serve_within(listener, router, Limits::default()).await;
}

pub(super) async fn serve_within(listener: TcpListener, router: Router, limits: Limits) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let machines = Machines::default();
    let begun = Begun::new();
    let mut connections = JoinSet::new();
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin port cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let Some(seat) = machines.seat(address.ip(), limits.each) else {
            tracing::debug!(%address, "a machine has too many connections to the admin port");
            continue;
        };
        let begun = begun.clone();
        let router = router.clone().layer(Extension(Peer { address, begun }));
        connections.spawn(async move {
            let _held = (permit, seat);
            // A client that speaks something else or leaves early is its own affair.
            if let Err(error) = answer(socket, router, limits).await {
                tracing::debug!(%error, "a connection of the admin port failed");
            }
        });
    }
}

async fn answer(socket: TcpStream, router: Router, limits: Limits) -> anyhow::Result<()> {
    prepare(&socket, limits.unacked)?;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_SECS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
    if let Ok(ended) = timeout(limits.life, connection.as_mut()).await {
        return Ok(ended?);
    }
    connection.as_mut().graceful_shutdown();
    Ok(timeout(limits.farewell, connection).await??)
}

/// The kernel gives up on a client that vanished, or that takes nothing.
fn prepare(socket: &TcpStream, unacked: Duration) -> io::Result<()> {
    socket.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(socket).set_tcp_user_timeout(Some(unacked))?;
    #[cfg(not(target_os = "linux"))]
    let _ = unacked;
    Ok(())
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            each: 32,
            unacked: Duration::from_secs(30),
            life: Duration::from_secs(600),
            farewell: Duration::from_secs(300),
        }
    }
}

// === impl Begun ===

impl Begun {
    fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(BEGUN_MAX)),
            tasks: Arc::default(),
        }
    }

    /// What comes of `work`, which goes on when this future is dropped; `None` when it is cut off.
    pub(super) async fn run(
        self,
        work: impl Future<Output = Response> + Send + 'static,
    ) -> Option<Response> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let (tell, told) = oneshot::channel();
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                let _permit = permit;
                // Nobody listens when the client has left.
                let _ = tell.send(work.await);
            });
        }
        told.await.ok()
    }
}

// === impl Machines ===

impl Machines {
    /// A place for one more connection of a machine. This one has as many as it likes: balancers
    /// and probes stand here.
    fn seat(&self, from: IpAddr, max: usize) -> Option<Seat> {
        let of = from.to_canonical();
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(of).or_default();
        if *count >= max && !of.is_loopback() {
            return None;
        }
        *count += 1;
        let machines = self.clone();
        Some(Seat { machines, of })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let taken = self.machines.0.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        let count = taken.get_mut(&self.of).map(|count| {
            *count -= 1;
            *count
        });
        if count == Some(0) {
            taken.remove(&self.of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_so_many_connections() {
        let machines = Machines::default();
        let seat = |address: &str| machines.seat(address.parse().expect("an address"), 2);
        let held = (seat("192.0.2.7"), seat("::ffff:192.0.2.7"));
        assert!(held.0.is_some() && held.1.is_some());
        assert!(seat("192.0.2.7").is_none());
        assert!(seat("192.0.2.8").is_some());
        let local: Vec<_> = (0..3).map(|_| seat("127.0.0.1")).collect();
        assert!(local.iter().all(Option::is_some));
        drop((held, local));
        assert!(machines.0.lock().expect("not poisoned").is_empty());
        assert!(seat("192.0.2.7").is_some());
    }
}
