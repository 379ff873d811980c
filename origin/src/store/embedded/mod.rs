//! The embedded store: one folder, one process, crash-safe.
//!
//! ```text
//! commit, claim → queue (bounded) → writer thread → one group: fences, one atomic write, fsync
//! load, get, …  → a permit        → blocking pool → a snapshot of the same database
//! ```
//!
//! The folder is `<data>/store`; `<data>/lock` is held as long as the store is open, so a second
//! process is refused. What is stored and how is in `disk`; what a group is, in `writer`.
//!
//! **Invariant:** there is one writer, and it alone changes the database. So the fence it keeps in
//! memory is the stored one, and what it reads before it writes cannot change in between.

mod backup;
mod cell;
mod disk;
mod lock;
mod mend;
mod meter;
mod stage;
#[cfg(test)]
mod tests;
mod value;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::slot::{Seed, Slot};
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::cell::Cell;
use self::disk::{Disk, Drawings};
use self::lock::Lock;
use self::meter::Meter;
use self::writer::{Job, Writer};
use super::{Answer, Batch, Error, Log, LogId, Snapshot, Span, Store, Table, directives};
use crate::directives::Directives;

/// What an operator or a test may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Memory for blocks of the database that were read before. Read at each open.
    pub cache_bytes: u64,
    /// Memory for what was written and is not in sorted files yet. A part of it is read again
    /// when the store is opened, so more of it means fewer files and a slower start.
    pub memtable_bytes: u64,
    /// Batches that may wait for the writer; more wait outside.
    pub queue_batches: usize,
    /// Reads that may run at once; more wait in order.
    pub readers: usize,
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder.
    #[error(
        "another couplet{} is using the data folder {}",
        in_process(*.process),
        folder.display()
    )]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// The number of the other process, if it told.
        process: Option<u32>,
    },
    /// The folder was written by a Couplet with a newer format.
    #[error(
        "the data folder {} has format {found}, this couplet reads up to {known}: use a newer one",
        folder.display()
    )]
    Newer {
        /// The data folder.
        folder: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this Couplet reads.
        known: u32,
    },
    /// The folder holds a backup that was not finished.
    #[error("the folder {} holds an unfinished backup", folder.display())]
    Unfinished {
        /// The data folder.
        folder: PathBuf,
    },
    /// The folder cannot be read or written.
    #[error("the data folder {} cannot be used: {cause}", folder.display())]
    Unusable {
        /// The data folder.
        folder: PathBuf,
        /// The cause in words.
        cause: String,
    },
    /// What is in the folder cannot be read.
    #[error("the data folder {} is damaged: {cause}", folder.display())]
    Damaged {
        /// The data folder.
        folder: PathBuf,
        /// The cause in words.
        cause: String,
    },
}

/// The store of `couplet serve`.
///
/// Dropping it finishes what is queued and closes the folder, which takes milliseconds.
pub struct Embedded {
    drawings: Drawings,
    /// `None` only while it is being dropped: the writer ends when its queue is closed.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    cell: Arc<Cell>,
    readers: Arc<Semaphore>,
    meter: Arc<Meter>,
    /// Held until everything else is closed: fields are dropped in order.
    _lock: Lock,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            memtable_bytes: 8 << 20,
            queue_batches: 1024,
            readers: 8,
        }
    }
}

// === impl Embedded ===

impl Embedded {
    /// Opens the store in the data folder `path`, and makes both if there are none. Reads what
    /// was not in sorted files when the store was last used, so it can take a second: not for a
    /// task of the runtime.
    ///
    /// # Errors
    /// [`OpenError`] says what an operator can do about it.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let lock = Lock::take(path)?;
        let (disk, drawings) = disk::open(path, options)?;
        let meter = Arc::new(Meter::new());
        let cell = Arc::new(Cell::new(disk));
        let (jobs, queue) = mpsc::channel(options.queue_batches.max(1));
        let writer = Writer::new(path, options, Arc::clone(&cell), queue, Arc::clone(&meter))
            .map_err(|error| disk::open_error(path, error))?;
        let writer = std::thread::Builder::new()
            .name("store writer".into())
            .spawn(move || writer.run())
            .map_err(|error| OpenError::Unusable {
                folder: path.into(),
                cause: format!("no thread: {error}"),
            })?;
        Ok(Self {
            drawings,
            jobs: Some(jobs),
            writer: Some(writer),
            cell,
            readers: Arc::new(Semaphore::new(options.readers.max(1))),
            meter,
            _lock: lock,
        })
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Job,
    ) -> Result<T, Error> {
        let ended = || Error::Unavailable("its writer has ended".into());
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(job(answer)).await.map_err(|_| ended())?;
        self.meter.queue.set(depth(jobs));
        answered.await.map_err(|_| ended())?
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Disk) -> Result<T, Error> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move {
            let started = Instant::now();
            let answer = self.on_pool(read).await;
            self.meter.read.record(started.elapsed());
            answer
        })
    }

    /// Works on the database when it is its turn, off the runtime's own threads.
    async fn on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.readers).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let cell = Arc::clone(&self.cell);
        let task = tokio::task::spawn_blocking(move || {
            let answer = cell.disk().and_then(|disk| work(&disk));
            drop(permit);
            answer
        });
        let answer = match task.await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => {
                Err(Error::Corrupt("reading it ended in a panic".into()))
            }
            Err(_) => Err(Error::Unavailable("the runtime is shutting down".into())),
        };
        answer.inspect_err(|error| self.meter.count_error(error))
    }
}

impl Store for Embedded {
    fn seed(&self) -> Seed {
        self.drawings.seed
    }

    fn secret(&self) -> [u8; 32] {
        self.drawings.secret
    }

    fn claim<'a>(&'a self, node: &'a str, slots: Vec<Slot>) -> Answer<'a, Vec<(Slot, Epoch)>> {
        let node = node.into();
        Box::pin(self.ask(|answer| Job::Claim {
            node,
            slots,
            answer,
        }))
    }

    fn sleepers(&self, slot: Slot) -> Answer<'_, Vec<Jid>> {
        self.read(move |disk| disk.sleepers(slot))
    }

    fn load(&self, slot: Slot, owner: Jid) -> Answer<'_, Snapshot> {
        self.read(move |disk| disk.load(slot, &owner))
    }

    fn get(
        &self,
        slot: Slot,
        owner: Jid,
        table: Table,
        key: Box<str>,
    ) -> Answer<'_, Option<Bytes>> {
        self.read(move |disk| disk.get(slot, &owner, table, &key))
    }

    fn read_log(
        &self,
        slot: Slot,
        owner: Jid,
        log: Log,
        span: Span,
        max: usize,
    ) -> Answer<'_, Vec<(LogId, Bytes)>> {
        self.read(move |disk| disk.read_log(slot, &owner, log, span, max))
    }

    fn commit(&self, batch: Batch) -> Answer<'_, ()> {
        let queued = Instant::now();
        Box::pin(self.ask(move |answer| Job::Commit {
            batch,
            queued,
            answer,
        }))
    }

    fn accounts(
        &self,
        domain: Box<str>,
        after: Option<Box<str>>,
        max: usize,
    ) -> Answer<'_, Vec<Jid>> {
        self.read(move |disk| disk.accounts(&domain, after.as_deref(), max))
    }

    fn directives(&self) -> Answer<'_, Directives> {
        self.read(Disk::directives)
    }

    fn set_directives<'a>(&'a self, expected: u64, next: &'a Directives) -> Answer<'a, bool> {
        let value = directives::encode(next);
        Box::pin(self.ask(move |answer| Job::Direct {
            expected,
            value,
            answer,
        }))
    }

    fn backup<'a>(&'a self, to: &'a Path) -> Answer<'a, ()> {
        let to = to.to_path_buf();
        Box::pin(self.on_pool(move |disk| backup::write(disk, &to)))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // A panic in it was told when it happened.
            let _ = writer.join();
        }
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

fn depth<T>(queue: &mpsc::Sender<T>) -> f64 {
    let depth = queue.max_capacity() - queue.capacity();
    f64::from(u32::try_from(depth).unwrap_or(u32::MAX))
}

fn in_process(process: Option<u32>) -> String {
    process.map_or_else(String::new, |number| format!(" (process {number})"))
}
