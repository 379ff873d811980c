//! The store of a cluster: Redis, or what speaks its protocol.
//!
//! ```text
//! commit → its slot's turn → one script: fence, repeat, time, all writes ─┐
//! load, get, … → one command ─────────────────────────────────────────────┼→ link → Redis
//! take, beat, … → one script for each slot, or for all members ───────────┘
//! ```
//!
//! What is stored and how is in `key`, each atomic act in `lua`. The URLs an operator may write
//! are in `url`: one server, the primary that Sentinels name, or Redis Cluster. Redis 6.2 or
//! later, or Valkey. The user of an ACL needs `~couplet:*` and `+@all -@dangerous -@admin +info`,
//! in a cluster `+cluster|slots` too.
//!
//! **What survives.** A commit survives what Redis survives. With `appendonly yes` and
//! `appendfsync always` that is a loss of power, with `everysec` all but its last second, without
//! an append-only file everything since the last snapshot is lost. A fail-over loses what the
//! replica had not got yet; `min-replicas-to-write` makes that window small. `maxmemory-policy`
//! must be `noeviction`, or Redis throws accounts away.
//!
//! **Invariant:** of each slot one commit is under way at a time, and each has a higher number
//! than the one before. So a request that Redis gets twice, or long after it was given up, is
//! never applied over a later one.
//!
//! **Invariant:** a commit that was given up here is not applied afterwards. Each tells Redis
//! until when it is waited for, and what comes later is refused there (`clock`). This trusts the
//! clock of Redis to go on while a request waits: a machine that is paused together with its
//! clock carries out what lay before it. That a commit was applied in time and only its answer
//! was lost cannot be excluded.

mod registry;

mod directives;

mod commit;

mod read;

mod link;

mod script;

mod clock;

mod failure;

mod meter;

mod value;

mod key;

mod url;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::redis::{FromRedisValue, Value, cmd};
use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::NodeId;
use couplet_proto::slot::{SLOTS, Seed, Slot};
use rand::TryRng;
use tokio::sync::Semaphore;
use tracing::warn;

use self::key::{Keys, Shared};
use self::link::{Link, Request};
use self::meter::{Act, Meter};
use self::script::{Call, Script};
pub use self::url::UrlError;
use self::url::{Address, Kind};
use super::{Answer, Batch, Error, Log, LogId, Snapshot, Span, Store, Table};
use crate::directives::Directives;

/// The version of all keys and values together.
const FORMAT: u32 = 1;

/// Slots that are asked about at once.
const SLOTS_AT_ONCE: usize = 256;

/// What an operator or a test may choose.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// Where Redis is: `redis://user:password@host:port/database`, or with `redis-sentinel://` or
    /// `redis-cluster://` several hosts, separated by commas. With `rediss` through TLS.
    pub url: String,
    /// The certificates, in PEM, of those who may sign the certificate of Redis; those the system
    /// trusts if there is none.
    pub ca_file: Option<PathBuf>,
    /// What every key begins with, so that others can use the same Redis.
    pub key_prefix: String,
    /// Requests that may wait for their answer at once; more wait in order.
    pub in_flight: usize,
    /// How long an answer may take.
    pub response_timeout: Duration,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not understood.
    #[error("the URL of the store: {0}")]
    Url(#[from] UrlError),
    /// The prefix of the keys has a brace.
    #[error("the key prefix `{0}` has a brace: Redis Cluster would read it as a hash tag")]
    Prefix(String),
    /// The file of certificates cannot be read.
    #[error("the certificates in {} cannot be read: {cause}", file.display())]
    Certificates {
        /// The file.
        file: PathBuf,
        /// The cause in words.
        cause: String,
    },
    /// What is stored was written by a Couplet with a newer format.
    #[error(
        "Redis at {host} holds the data of a couplet with format {found}, \
         this one reads up to {known}: use a newer one"
    )]
    Newer {
        /// Where.
        host: String,
        /// Its format.
        found: u32,
        /// The newest format this Couplet reads.
        known: u32,
    },
    /// Redis did not do what it was asked for.
    #[error(transparent)]
    Store(#[from] Error),
}

/// The store of a cluster.
pub struct Redis {
    link: Link,
    keys: Keys,
    seed: Seed,
    secret: [u8; 32],
    /// Who commits: who opened the store, or claimed last.
    node: Mutex<Box<str>>,
    /// What tells the requests of this store from those of any other.
    asker: String,
    /// The number of the last request.
    number: AtomicU64,
    /// Of each slot, one commit at a time.
    turns: Box<[Semaphore]>,
    /// The highest epoch that was ever seen of each slot.
    seen: Box<[AtomicU64]>,
    /// When the view of owners was last held against the truth.
    checked: Mutex<Option<Instant>>,
    meter: Meter,
}

// === impl Options ===

impl Options {
    /// What is usual, for a Redis at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ca_file: None,
            key_prefix: "couplet:".into(),
            in_flight: 1024,
            response_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(2),
        }
    }
}

impl std::fmt::Debug for Options {
    /// Without the URL, in which there may be a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("key_prefix", &self.key_prefix)
            .finish_non_exhaustive()
    }
}

// === impl Redis ===

impl Redis {
    /// Opens the store for `node`, and makes it if there is none. The slots are not `node`'s yet.
    ///
    /// # Errors
    /// [`OpenError`] says what an operator can do about it. While Redis is not there it is
    /// [`Error::Unavailable`]: to be tried again.
    pub async fn open(options: Options, node: NodeId) -> Result<Self, OpenError> {
        let address = Address::parse(&options.url)?;
        if options.key_prefix.contains(['{', '}']) {
            return Err(OpenError::Prefix(options.key_prefix));
        }
        let certificates = match &options.ca_file {
            Some(file) => Some(read_certificates(file).await?),
            None => None,
        };
        let link = Link::new(&address, &options, certificates);
        let link = link.map_err(|error| {
            let waited = options.connect_timeout;
            failure::explain(&address.to_string(), waited, &error)
        })?;
        let meter = Meter::new();
        let keys = Keys::new(&options.key_prefix);
        let (seed, secret) = made(&link, &keys, &meter).await?;
        if address.kind != Kind::Cluster {
            warn_of_loss(&link, &meter).await;
        }
        let slots = usize::from(SLOTS);
        Ok(Self {
            link,
            keys,
            seed: Seed(seed),
            secret,
            node: Mutex::new(node.0),
            asker: hex(&draw::<8>()?),
            number: AtomicU64::new(0),
            turns: (0..slots).map(|_| Semaphore::new(1)).collect(),
            seen: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            checked: Mutex::new(None),
            meter,
        })
    }

    async fn command(&self, command: ::redis::Cmd) -> Result<Value, Error> {
        self.link.ask(&self.meter, Request::Command(command)).await
    }

    async fn run(&self, script: &'static Script, call: Call) -> Result<Value, Error> {
        self.link
            .ask(&self.meter, Request::Script(script, call))
            .await
    }

    fn node(&self) -> std::sync::MutexGuard<'_, Box<str>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Store for Redis {
    fn seed(&self) -> Seed {
        self.seed
    }

    fn secret(&self) -> [u8; 32] {
        self.secret
    }

    fn claim<'a>(&'a self, node: &'a str, slots: Vec<Slot>) -> Answer<'a, Vec<(Slot, Epoch)>> {
        Box::pin(self.meter.of(Act::Registry, self.claim_all(node, slots)))
    }

    fn sleepers(&self, slot: Slot) -> Answer<'_, Vec<Jid>> {
        Box::pin(self.meter.of(Act::Read, self.read_sleepers(slot)))
    }

    fn load(&self, slot: Slot, owner: Jid) -> Answer<'_, Snapshot> {
        Box::pin(self.meter.of(Act::Read, self.read_rows(slot, owner)))
    }

    fn get(
        &self,
        slot: Slot,
        owner: Jid,
        table: Table,
        key: Box<str>,
    ) -> Answer<'_, Option<Bytes>> {
        let read = self.read_row(slot, owner, table, key);
        Box::pin(self.meter.of(Act::Read, read))
    }

    fn read_log(
        &self,
        slot: Slot,
        owner: Jid,
        log: Log,
        span: Span,
        max: usize,
    ) -> Answer<'_, Vec<(LogId, Bytes)>> {
        let read = self.read_entries(slot, owner, log, span, max);
        Box::pin(self.meter.of(Act::Read, read))
    }

    fn commit(&self, batch: Batch) -> Answer<'_, ()> {
        Box::pin(self.meter.of(Act::Commit, self.apply(batch, None)))
    }

    fn commit_until(&self, batch: Batch, deadline: Instant) -> Answer<'_, ()> {
        let applied = self.apply(batch, Some(deadline));
        Box::pin(self.meter.of(Act::Commit, applied))
    }

    fn accounts(
        &self,
        domain: Box<str>,
        after: Option<Box<str>>,
        max: usize,
    ) -> Answer<'_, Vec<Jid>> {
        let read = self.read_accounts(domain, after, max);
        Box::pin(self.meter.of(Act::Read, read))
    }

    fn directives(&self) -> Answer<'_, Directives> {
        Box::pin(self.meter.of(Act::Registry, self.read_directives()))
    }

    fn set_directives<'a>(&'a self, expected: u64, next: &'a Directives) -> Answer<'a, bool> {
        let swapped = self.swap_directives(expected, next);
        Box::pin(self.meter.of(Act::Registry, swapped))
    }

    fn backup<'a>(&'a self, _to: &'a Path) -> Answer<'a, ()> {
        let host = self.link.host();
        let text = "is backed up by its own means: `BGSAVE`, then copy its RDB file";
        Box::pin(std::future::ready(Err(failure::unavailable(host, text))))
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

/// The seed and the secret there are, made if there are none.
async fn made(link: &Link, keys: &Keys, meter: &Meter) -> Result<([u8; 16], [u8; 32]), OpenError> {
    let call =
        Call::new([Shared::Format, Shared::Seed, Shared::Secret].map(|key| keys.shared(key)))
            .with(FORMAT.to_string())
            .with(draw::<16>()?.to_vec())
            .with(draw::<32>()?.to_vec());
    let answer = link
        .ask(meter, Request::Script(&script::OPEN, call))
        .await?;
    let (format, seed, secret): (String, Option<Vec<u8>>, Option<Vec<u8>>) = read(answer)?;
    let damaged = |what: &str| Error::Corrupt(format!("Redis at {}: {what}", link.host()));
    let found = format.parse();
    let found = found.map_err(|_| damaged(&format!("the format is `{format}`")))?;
    if found > FORMAT {
        return Err(OpenError::Newer {
            host: link.host().into(),
            found,
            known: FORMAT,
        });
    }
    let seed = seed.and_then(|seed| seed.try_into().ok());
    let secret = secret.and_then(|secret| secret.try_into().ok());
    Ok((
        seed.ok_or_else(|| damaged("there is a format, but no seed of 16 bytes"))?,
        secret.ok_or_else(|| damaged("the secret is not 32 bytes"))?,
    ))
}

/// Tells the operator of settings with which Redis loses what it was given. Where it does not
/// tell its settings, nobody can.
async fn warn_of_loss(link: &Link, meter: &Meter) {
    let Ok(answer) = link.ask(meter, Request::Command(cmd("INFO"))).await else {
        return;
    };
    let info: String = read(answer).unwrap_or_default();
    let host = link.host();
    if info.contains("aof_enabled:0") {
        warn!(
            host,
            "Redis has no append-only file: when it ends, the last minutes are lost"
        );
    }
    if info.contains("maxmemory_policy:") && !info.contains("maxmemory_policy:noeviction") {
        warn!(
            host,
            "Redis throws data away when its memory is full: set `noeviction`"
        );
    }
}

async fn read_certificates(file: &Path) -> Result<Vec<u8>, OpenError> {
    let at = file.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read(at)).await;
    let read = read.unwrap_or_else(|ended| Err(std::io::Error::other(ended)));
    read.map_err(|error| OpenError::Certificates {
        file: file.into(),
        cause: error.to_string(),
    })
}

/// An answer as what it should be.
fn read<T: FromRedisValue>(answer: Value) -> Result<T, Error> {
    T::from_redis_value(answer).map_err(|error| failure::unexpected(&error))
}

fn draw<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| Error::Unavailable(format!("no randomness: {error}")))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
