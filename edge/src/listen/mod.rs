//! Listen: sockets in; each becomes a connection with a task of its own.
//!
//! ```text
//! accept → place? → [from a balancer: PROXY header] → banned? → pace
//!        → [direct TLS: handshake] → connection ⇄ handshake (STARTTLS)
//! ```
//!
//! - `tcp`: listening sockets, and what is set on each accepted one.
//! - `proxy`: what a balancer says about whom it brings.
//! - [`tls`]: certificates and handshakes.
//! - `pace`: how fast new connections may come from one network.
//!
//! A handshake runs in a task of its own: its state is large, and the task of a connection lives
//! on for hours.

mod pace;

mod proxy;

mod tcp;

pub mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use couplet_proto::journal::{Entry, Event};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use self::pace::Pace;
use self::proxy::{Proxies, Refusal};
use self::tls::{CertificateError, Tls, Way};
use crate::config::CertificatePaths;
use crate::connection::admission::HANDSHAKE_HOLD;
use crate::connection::{Connection, Edgewide, Outcome, Place};

/// A pause after a failed accept, which most often means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why nobody is let in any more, in the journal.
const DRAINING: &str = "draining";

/// Everything that lets clients in.
pub(crate) struct Door {
    edge: Arc<Edgewide>,
    tls: ArcSwapOption<Tls>,
    pace: Pace,
    proxies: Proxies,
    /// True once nobody is let in any more.
    closed: watch::Sender<bool>,
}

/// A fresh socket with a place.
struct Newcomer {
    place: Place,
    tcp: TcpStream,
    /// Where the client is, as far as is known.
    peer: SocketAddr,
    /// Whether a balancer speaks for itself. Bans are of clients, so none is of it.
    is_balancer: bool,
    is_direct: bool,
}

// === impl Door ===

impl Door {
    /// A door that still leads nowhere. From these networks come balancers, which say for whom.
    pub(crate) fn new(edge: Arc<Edgewide>, balancers: Vec<IpNet>) -> Self {
        let pace = Pace::new(edge.limits.new_connections_per_second);
        Self {
            edge,
            tls: ArcSwapOption::empty(),
            pace,
            proxies: Proxies::new(balancers),
            closed: watch::Sender::new(false),
        }
    }

    /// Loads the certificates, again if there were some. On error those stay.
    pub(crate) fn load(&self, paths: &[CertificatePaths]) -> Result<(), CertificateError> {
        self.tls.store(Some(Arc::new(Tls::load(paths)?)));
        Ok(())
    }

    /// Opens the listening sockets and lets clients in. Returns the addresses bound: first the
    /// plain ones, then those of direct TLS.
    pub(crate) fn open(
        self: &Arc<Self>,
        plain: &[SocketAddr],
        direct: &[SocketAddr],
        tasks: &mut Vec<JoinHandle<()>>,
    ) -> Result<(Vec<SocketAddr>, Vec<SocketAddr>), (SocketAddr, io::Error)> {
        let all: Vec<_> = plain.iter().chain(direct).copied().collect();
        let bind = |address: &SocketAddr| {
            let has_v4 = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
            let only_v6 = address.port() != 0 && all.iter().any(has_v4);
            let listener = tcp::bind(*address, only_v6)?;
            Ok((listener.local_addr()?, listener))
        };
        let bind_all = |addresses: &[SocketAddr]| -> Result<Vec<_>, (SocketAddr, io::Error)> {
            let each = addresses.iter();
            each.map(|address| bind(address).map_err(|error| (*address, error)))
                .collect()
        };
        // All or none: nobody is let in before every socket is open.
        let (plain, direct) = (bind_all(plain)?, bind_all(direct)?);
        let mut start = |listeners: Vec<(SocketAddr, TcpListener)>, is_direct| {
            let each = listeners.into_iter().map(|(address, listener)| {
                let door = Arc::clone(self);
                tasks.push(tokio::spawn(door.accept_all(listener, is_direct)));
                address
            });
            each.collect()
        };
        Ok((start(plain, false), start(direct, true)))
    }

    /// Lets nobody in any more; handshakes under way end.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Whether nobody is let in any more.
    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Accepts until the door is closed.
    async fn accept_all(self: Arc<Self>, listener: TcpListener, is_direct: bool) {
        let mut closed = self.closed.subscribe();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => self.admit(tcp, peer, is_direct),
                Err(error) => {
                    warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Gives a fresh socket a task, if there is a place for it.
    fn admit(self: &Arc<Self>, tcp: TcpStream, peer: SocketAddr, is_direct: bool) {
        // On a socket for both families an IPv4 client comes with an IPv6 address.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let metrics = &self.edge.metrics;
        metrics.accepted.increment(1);
        let Some(place) = Place::take(&self.edge) else {
            metrics.refused_full.increment(1);
            self.note_rejected(&tcp, peer, "full");
            warn!(%peer, "too many connections: one refused");
            return;
        };
        let newcomer = Newcomer {
            place,
            tcp,
            peer,
            is_balancer: false,
            is_direct,
        };
        if self.proxies.includes(peer.ip()) {
            tokio::spawn(Arc::clone(self).introduce(newcomer));
        } else {
            self.pace(newcomer);
        }
    }

    /// Hears from a balancer whom it brings; from here on that is the peer.
    async fn introduce(self: Arc<Self>, mut newcomer: Newcomer) {
        let balancer = newcomer.peer;
        let metrics = &self.edge.metrics;
        let deadline = Duration::from_secs(self.edge.limits.before_auth_secs);
        let header = async {
            let _waiting = self.proxies.wait()?;
            let reading = proxy::read(&mut newcomer.tcp);
            let in_time = tokio::time::timeout(deadline, reading).await;
            in_time.map_err(|_| Refusal::Late)?
        };
        match self.unless_closed(header).await {
            Some(Ok(header)) => {
                let version = header.version as usize;
                match header.client {
                    Some(client) => {
                        metrics.proxy_headers.accepted[version].increment(1);
                        debug!(peer = %client, %balancer, "brought by a balancer");
                        newcomer.peer = client;
                    }
                    None => {
                        metrics.proxy_headers.local[version].increment(1);
                        newcomer.is_balancer = true;
                    }
                }
                self.pace(newcomer);
            }
            Some(Err(refusal)) => {
                refusal.count(&metrics.proxy_headers);
                self.note_rejected(&newcomer.tcp, balancer, "proxy-header");
                if refusal.is_ordinary() {
                    debug!(%balancer, %refusal, "a balancer's connection closed");
                } else {
                    warn!(%balancer, %refusal, "a balancer's connection closed");
                }
            }
            None => {
                metrics.refused_draining.increment(1);
                self.note_rejected(&newcomer.tcp, balancer, DRAINING);
            }
        }
    }

    /// Has a socket wait for its turn, if it must and if its client may come in.
    fn pace(self: &Arc<Self>, newcomer: Newcomer) {
        let peer = newcomer.peer;
        if !newcomer.is_balancer && self.refuses(peer.ip()) {
            return self.note_rejected(&newcomer.tcp, peer, "banned");
        }
        let metrics = &self.edge.metrics;
        let Some(wait) = self.pace.wait(peer.ip(), self.edge.clock.now_micros()) else {
            metrics.refused_pace.increment(1);
            self.note_rejected(&newcomer.tcp, peer, "pace");
            debug!(%peer, "too many connections from one network: one refused");
            return;
        };
        let unacked = Duration::from_secs(self.edge.limits.outbound_stall_secs);
        if let Err(error) = tcp::prepare(&newcomer.tcp, unacked) {
            // The client is gone already.
            debug!(%peer, %error, "cannot prepare a socket");
            return;
        }
        let door = Arc::clone(self);
        if wait > Duration::ZERO {
            metrics.paced.increment(1);
            tokio::spawn(async move {
                // Closed meanwhile, it is turned away.
                door.unless_closed(tokio::time::sleep(wait)).await;
                door.begin(newcomer);
            });
        } else {
            door.begin(newcomer);
        }
    }

    /// Whether no client is let in from there; then it is counted.
    fn refuses(&self, peer: IpAddr) -> bool {
        let is_banned = self.edge.link.rules.ban(peer, self.edge.clock.now_ms());
        if is_banned {
            self.edge.metrics.refused_banned.increment(1);
            debug!(%peer, "no client is let in from there: one refused");
        }
        is_banned
    }

    /// Starts a connection on a socket whose turn it is.
    fn begin(self: Arc<Self>, newcomer: Newcomer) {
        if self.is_closed() {
            self.edge.metrics.refused_draining.increment(1);
            self.note_rejected(&newcomer.tcp, newcomer.peer, DRAINING);
            return;
        }
        let Newcomer {
            place,
            tcp,
            peer,
            is_balancer,
            is_direct,
        } = newcomer;
        let mut connection = Box::new(Connection::new(Arc::clone(&self.edge), place, tcp, peer));
        if !is_balancer {
            connection.stand_where_it_is();
        }
        connection.note_connect(is_direct);
        if is_direct {
            tokio::spawn(self.secure(connection, Way::Direct));
        } else {
            tokio::spawn(self.run(connection));
        }
    }

    /// A client is turned away that has no connection yet.
    fn note_rejected(&self, tcp: &TcpStream, peer: SocketAddr, reason: &'static str) {
        self.edge.journal.note(|| Entry {
            client: Some(peer),
            server: tcp.local_addr().ok(),
            reason: Some(reason),
            ..Entry::new(Event::Reject)
        });
    }

    /// Runs a connection until its end, or until it goes on in the task of a handshake.
    async fn run(self: Arc<Self>, connection: Box<Connection>) {
        match connection.run().await {
            Outcome::Over => {}
            Outcome::StartTls(connection) => self.start_tls(connection),
        }
    }

    fn start_tls(self: Arc<Self>, connection: Box<Connection>) {
        tokio::spawn(self.secure(connection, Way::StartTls));
    }

    /// Does a TLS handshake, then gives the connection a fresh, small task.
    async fn secure(self: Arc<Self>, mut connection: Box<Connection>, way: Way) {
        let peer = connection.peer();
        let (Some(tls), Some(socket)) = (self.tls.load_full(), connection.take_socket()) else {
            return;
        };
        let metrics = &self.edge.metrics;
        let permit = match self.edge.admission.handshake() {
            Ok(permit) => Some(permit),
            Err(turn) => {
                metrics.handshakes_waited.increment(1);
                let permit = self.unless_closed(turn).await;
                connection.restart_login();
                permit.flatten()
            }
        };
        let deadline = connection.login_deadline();
        let started = self.edge.clock.now_micros();
        let accept = TlsAcceptor::from(tls.config(way)).accept(socket);
        let mut accept = Box::pin(tokio::time::timeout_at(deadline.into(), accept));
        let accept = async move {
            if let Ok(done) = tokio::time::timeout(HANDSHAKE_HOLD, &mut accept).await {
                return done;
            }
            // Others need not wait for a client that takes its time.
            drop(permit);
            accept.await
        };
        let stream = match self.unless_closed(accept).await {
            Some(Ok(Ok(stream))) => stream,
            Some(Ok(Err(error))) => {
                metrics.handshake_failures.increment(1);
                debug!(%peer, %error, "TLS handshake failed");
                connection.note_rejected("tls-failure");
                return;
            }
            Some(Err(_)) => {
                metrics.handshake_failures.increment(1);
                debug!(%peer, "TLS handshake took too long");
                connection.note_rejected("tls-timeout");
                return;
            }
            None => {
                metrics.refused_draining.increment(1);
                connection.note_rejected(DRAINING);
                return;
            }
        };
        let micros = self.edge.clock.now_micros().saturating_sub(started);
        metrics.handshakes.increment(1);
        metrics.handshake_seconds.record(micros as f64 / 1e6);
        let secured = tls.secured(stream.get_ref().1);
        connection.secured(Box::new(stream), secured);
        tokio::spawn(self.run(connection));
    }

    /// Awaits something, unless the door closes meanwhile.
    async fn unless_closed<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut closed = self.closed.subscribe();
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => None,
            value = future => Some(value),
        }
    }
}
