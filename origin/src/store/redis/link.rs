//! The way to Redis: one shared connection, opened again when it was lost.
//!
//! All requests go through one multiplexed connection (one per node of a cluster): they are
//! written one after another and answered in order, without waiting for each other. A connection
//! that failed or did not answer in time is left to those that still wait on it, and the next
//! request opens another; many that find none open one together.
//!
//! **Invariant:** every request ends: with an answer, or with an error when its time is over.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster::{ClusterClient, ClusterClientBuilder};
use ::redis::cluster_async::ClusterConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, Value,
};
use couplet_proto::slot::{SLOTS, Slot};
use tokio::sync::Semaphore;

use super::Options;
use super::clock::{Clock, Sample, Validity};
use super::failure;
use super::meter::Meter;
use super::script::{self, Call, Script};
use super::url::{Address, Kind};
use crate::store::Error;

/// After a failure to connect, the next attempt waits at least so long.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How often the client of a cluster repeats a request by itself, after a move or a lost node.
const CLUSTER_RETRIES: u32 = 2;

/// The longest it waits before it does, in milliseconds.
const CLUSTER_RETRY_WAIT_MAX: u64 = 200;

/// So much earlier than it is given up here a commit is refused by Redis, or a quarter of the time
/// that an answer may take, if that is less.
const MARGIN: Duration = Duration::from_millis(500);

const READ_ONLY: ErrorKind = ErrorKind::Server(ServerErrorKind::ReadOnly);

/// See the module.
pub(super) struct Link {
    target: Target,
    /// Where Redis is, for messages: without user and password.
    host: String,
    connect_timeout: Duration,
    response_timeout: Duration,
    /// So much earlier than it is given up here a commit is refused by Redis: what the clocks may
    /// drift apart, and what a script may take.
    margin: Duration,
    /// Requests that may be under way.
    room: Semaphore,
    /// Who may open a connection.
    opening: Semaphore,
    state: Mutex<State>,
    /// Of the server, or in a cluster, where each has its own, of the one that has a slot.
    clocks: Box<[Clock]>,
}

/// What a request is.
pub(super) enum Request {
    Command(Cmd),
    Script(&'static Script, Call),
    /// The script of commits, to be carried out before the deadline or never.
    Commit {
        slot: Slot,
        call: Call,
        deadline: Option<Instant>,
    },
}

enum Target {
    Server(Client, AsyncConnectionConfig),
    // It remembers Sentinels it has seen, and takes itself exclusively to ask them.
    Sentinel(tokio::sync::Mutex<SentinelClient>, AsyncConnectionConfig),
    Cluster(ClusterClient),
}

#[derive(Clone)]
enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Which connection this is, counted from the first.
    generation: u64,
    /// When the last attempt to connect failed, and why.
    failure: Option<(Instant, Error)>,
}

// === impl Link ===

impl Link {
    /// A way to what `address` names. Nothing is opened yet.
    pub(super) fn new(
        address: &Address,
        options: &Options,
        certificates: Option<Vec<u8>>,
    ) -> Result<Self, RedisError> {
        let clocks = match address.kind {
            Kind::Cluster => usize::from(SLOTS),
            Kind::Server | Kind::Sentinel(_) => 1,
        };
        Ok(Self {
            target: Target::new(address, options, certificates)?,
            host: address.to_string(),
            connect_timeout: options.connect_timeout,
            response_timeout: options.response_timeout,
            margin: MARGIN.min(options.response_timeout / 4),
            room: Semaphore::new(options.in_flight.max(1)),
            opening: Semaphore::new(1),
            state: Mutex::default(),
            clocks: (0..clocks).map(|_| Clock::default()).collect(),
        })
    }

    /// Where Redis is, for messages.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// How long a request can take that need not wait for room.
    pub(super) fn limit(&self) -> Duration {
        self.connect_timeout + self.response_timeout
    }

    /// The clock of the server that has a slot.
    pub(super) fn clock(&self, slot: Slot) -> &Clock {
        &self.clocks[slot.index() % self.clocks.len()]
    }

    /// Asks Redis. A request that met a connection already lost is repeated once, so it must be
    /// harmless twice.
    pub(super) async fn ask(&self, meter: &Meter, request: Request) -> Result<Value, Error> {
        let room = tokio::time::timeout(self.response_timeout, self.room.acquire()).await;
        let Ok(_room) = room else {
            let text = "does not answer: too many requests wait for it already";
            return Err(failure::unavailable(&self.host, text));
        };
        let _in_flight = meter.request();
        let asked = Instant::now();
        let limit = match &request {
            Request::Commit {
                deadline: Some(deadline),
                ..
            } => self.limit().min(deadline.saturating_duration_since(asked)),
            _ => self.limit(),
        };
        if limit <= self.margin {
            let text = "has no time left to answer: the deadline has come";
            return Err(failure::unavailable(&self.host, text));
        }
        tokio::time::timeout(limit, self.ask_twice(request, asked + limit))
            .await
            .unwrap_or_else(|_| Err(failure::timed_out(&self.host, limit)))
    }

    /// Asks, and once more if need be. It is given up at `end`.
    async fn ask_twice(&self, mut request: Request, end: Instant) -> Result<Value, Error> {
        let mut is_again = false;
        loop {
            let (mut connection, generation) = self.connection().await?;
            let answer = match &mut request {
                Request::Command(command) => connection.send(command).await,
                Request::Script(script, call) => connection.run(script, call).await,
                Request::Commit { slot, call, .. } => {
                    let clock = self.clock(*slot);
                    self.commit(&mut connection, generation, clock, call, end)
                        .await
                }
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if connection.is_lost(&error) {
                self.forget(generation);
            }
            if is_again || !error.is_connection_dropped() {
                return Err(failure::explain(&self.host, self.response_timeout, &error));
            }
            is_again = true;
        }
    }

    /// Commits, as long as the answer is waited for.
    async fn commit(
        &self,
        connection: &mut Connection,
        generation: u64,
        clock: &Clock,
        call: &mut Call,
        end: Instant,
    ) -> Result<Value, RedisError> {
        let earliest = match clock.earliest(generation, Instant::now()) {
            Some(earliest) => earliest,
            None => {
                let question = Call::new([call.keys[0].clone()]);
                let asked = Instant::now();
                let answer = connection.run(&script::TIME, &question).await?;
                let sample = Sample::new(generation, asked, &answer);
                let no_time = || (ErrorKind::UnexpectedReturnType, "there is no time in it");
                let sample = sample.ok_or_else(no_time)?;
                let now = Instant::now();
                clock.see(sample, now);
                sample.earliest(now)
            }
        };
        let asked = Instant::now();
        let waited_for = end
            .saturating_duration_since(asked)
            .min(self.response_timeout);
        call.validity = Some(Validity::new(earliest, waited_for, self.margin));
        let answer = connection.run(&script::COMMIT, call).await?;
        if let Some(sample) = Sample::new(generation, asked, &answer) {
            clock.see(sample, Instant::now());
        }
        Ok(answer)
    }

    async fn connection(&self) -> Result<(Connection, u64), Error> {
        let asked = Instant::now();
        if let Some(open) = self.current() {
            return Ok(open);
        }
        let turn = self.opening.acquire().await;
        let _turn = turn.expect("the semaphore is never closed");
        if let Some(open) = self.current() {
            return Ok(open);
        }
        if let Some(error) = self.failed_after(asked) {
            return Err(error);
        }
        let opened = tokio::time::timeout(self.connect_timeout, self.target.connect()).await;
        let opened = match opened {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(failure::explain(&self.host, self.connect_timeout, &error)),
            Err(_) => Err(failure::timed_out(&self.host, self.connect_timeout)),
        };
        let mut state = self.state();
        match opened {
            Ok(connection) => {
                state.generation += 1;
                state.connection = Some(connection.clone());
                state.failure = None;
                Ok((connection, state.generation))
            }
            Err(error) => {
                state.failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn current(&self) -> Option<(Connection, u64)> {
        let state = self.state();
        let connection = state.connection.clone()?;
        Some((connection, state.generation))
    }

    /// Why an attempt failed that ended after `asked`, or a moment ago.
    fn failed_after(&self, asked: Instant) -> Option<Error> {
        let state = self.state();
        let (at, error) = state.failure.as_ref()?;
        (*at >= asked || at.elapsed() < AGAIN_AFTER).then(|| error.clone())
    }

    /// The next request opens another connection than this one.
    fn forget(&self, generation: u64) {
        let mut state = self.state();
        if state.generation == generation {
            state.connection = None;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing in it is ever half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Target ===

impl Target {
    fn new(
        address: &Address,
        options: &Options,
        certificates: Option<Vec<u8>>,
    ) -> Result<Self, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.response_timeout))
            .set_concurrency_limit(options.in_flight.max(1));
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: certificates,
        };
        let nodes = address
            .hosts
            .iter()
            .map(|(host, port)| addr(address, host, *port));
        match &address.kind {
            Kind::Server => {
                let node = info(address, nodes.into_iter().next().unwrap_or_else(nowhere))?;
                let client = match address.is_tls {
                    true => Client::build_with_tls(node, certificates)?,
                    false => Client::open(node)?,
                };
                Ok(Self::Server(client, config))
            }
            Kind::Cluster => {
                let nodes: Vec<_> = nodes
                    .map(|node| info(address, node))
                    .collect::<Result<_, _>>()?;
                let builder = ClusterClientBuilder::new(nodes)
                    .retries(CLUSTER_RETRIES)
                    .max_retry_wait(CLUSTER_RETRY_WAIT_MAX)
                    .connection_timeout(options.connect_timeout)
                    .response_timeout(options.response_timeout)
                    .connection_concurrency_limit(options.in_flight.max(1))
                    .tcp_settings(tcp());
                let client = match address.is_tls {
                    true => builder.certs(certificates).build()?,
                    false => builder.build()?,
                };
                Ok(Self::Cluster(client))
            }
            Kind::Sentinel(name) => {
                let client = sentinel(address, name, nodes.collect(), certificates)?;
                Ok(Self::Sentinel(tokio::sync::Mutex::new(client), config))
            }
        }
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        match self {
            Self::Server(client, config) => {
                let opened = client.get_multiplexed_async_connection_with_config(config);
                Ok(Connection::Server(opened.await?))
            }
            Self::Sentinel(client, config) => {
                let primary = client.lock().await.async_get_client().await?;
                let opened = primary.get_multiplexed_async_connection_with_config(config);
                Ok(Connection::Server(opened.await?))
            }
            Self::Cluster(client) => Ok(Connection::Cluster(client.get_async_connection().await?)),
        }
    }
}

// === impl Connection ===

impl Connection {
    async fn run(&mut self, script: &Script, call: &Call) -> Result<Value, RedisError> {
        match self.send(&script.by_hash(call)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.send(&script.in_full(call)).await
            }
            answer => answer,
        }
    }

    /// Whether another connection may do better.
    fn is_lost(&self, error: &RedisError) -> bool {
        match self {
            // A replica that was the primary stays one on this connection.
            Self::Server(_) if error.kind() == READ_ONLY => true,
            Self::Server(_) => error.is_io_error() || error.is_unrecoverable_error(),
            // It finds lost nodes by itself, and the others must not wait for that.
            Self::Cluster(_) => error.kind() == ErrorKind::ClusterConnectionNotFound,
        }
    }

    async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Server(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

fn addr(address: &Address, host: &str, port: u16) -> ConnectionAddr {
    let host = host.to_owned();
    match address.is_tls {
        true => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
        false => ConnectionAddr::Tcp(host, port),
    }
}

/// Where a URL without hosts leads, which is refused before.
fn nowhere() -> ConnectionAddr {
    ConnectionAddr::Tcp(String::new(), 0)
}

fn info(address: &Address, node: ConnectionAddr) -> Result<ConnectionInfo, RedisError> {
    let mut settings = RedisConnectionInfo::default().set_db(address.database);
    if let Some(user) = &address.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &address.password {
        settings = settings.set_password(password);
    }
    let info = node.into_connection_info()?.set_redis_settings(settings);
    Ok(info.set_tcp_settings(tcp()))
}

fn sentinel(
    address: &Address,
    name: &str,
    nodes: Vec<ConnectionAddr>,
    certificates: TlsCertificates,
) -> Result<SentinelClient, RedisError> {
    let mut builder = SentinelClientBuilder::new(nodes, name, SentinelServerType::Master)?
        .set_client_to_redis_db(address.database)
        .set_client_to_redis_tcp_settings(tcp())
        .set_client_to_sentinel_tcp_settings(tcp());
    if let Some(user) = &address.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &address.password {
        builder = builder.set_client_to_redis_password(password);
    }
    if address.is_tls {
        builder = builder
            .set_client_to_redis_tls_mode(::redis::TlsMode::Secure)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    builder.build()
}

/// Requests are small and each is waited for.
fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}
