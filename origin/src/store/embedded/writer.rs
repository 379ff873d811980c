//! The writer: one thread that makes batches durable in groups.
//!
//! While a group is written and synchronised the next batches gather in the queue; then all of
//! them are the next group, up to a bound. So one batch alone never waits for company, and many
//! share one fsync. A group is one atomic write: all its batches are answered alike, but for
//! those refused before (fenced, or not storable), which are not in it.
//!
//! ```text
//!          write fails                     a second passed, the disk takes writes
//! working ─────────────▶ broken (waiting) ────────────────────────────────────────▶ working
//!    └── fsync fails ──▶ broken (for good: the process has to be started again)
//! ```
//!
//! While it is broken every commit is refused with the cause; reads go on.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::slot::{SLOTS, Slot};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::Options;
use super::cell::Cell;
use super::disk::{Disk, FOLDER, Failure};
use super::meter::Meter;
use super::stage::Stage;
use super::value::Owner;
use crate::store::{Batch, Error, Write};

/// Changes after which a group is full.
const GROUP_WRITES: usize = 256;

/// Bytes of values after which a group is full.
const GROUP_BYTES: usize = 4 << 20;

/// How often it is tried to get out of the broken state.
const CURE_EVERY: Duration = Duration::from_secs(1);

/// What is written to see whether the disk takes writes.
const PROBE_FILE: &str = "probe";

/// How much of it: more than a few commits need.
const PROBE_BYTES: usize = 1 << 20;

/// What the writer is asked for.
pub(super) enum Job {
    /// Make a batch durable.
    Commit {
        batch: Batch,
        queued: Instant,
        answer: oneshot::Sender<Result<(), Error>>,
    },
    /// Make a node the owner of slots.
    Claim {
        node: Box<str>,
        slots: Vec<Slot>,
        answer: oneshot::Sender<Result<Vec<(Slot, Epoch)>, Error>>,
    },
    /// Put another document in the place of the directives of this version.
    Direct {
        expected: u64,
        value: Bytes,
        answer: oneshot::Sender<Result<bool, Error>>,
    },
}

/// See the module.
pub(super) struct Writer {
    folder: PathBuf,
    options: Options,
    cell: Arc<Cell>,
    jobs: mpsc::Receiver<Job>,
    meter: Arc<Meter>,
    broken: Option<Broken>,
    /// The stored owner of each slot, by its number.
    owners: Vec<Option<Owner>>,
    /// Who we are: the node that claimed last.
    node: Option<Box<str>>,
}

/// A write failed.
struct Broken {
    failure: Failure,
    /// When it failed or was last tried again.
    at: Instant,
}

struct Waiting {
    queued: Instant,
    answer: oneshot::Sender<Result<(), Error>>,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(
        folder: &Path,
        options: Options,
        cell: Arc<Cell>,
        jobs: mpsc::Receiver<Job>,
        meter: Arc<Meter>,
    ) -> Result<Self, Error> {
        let owners = read_owners(&*cell.disk()?)?;
        Ok(Self {
            folder: folder.into(),
            options,
            cell,
            jobs,
            meter,
            broken: None,
            owners,
            node: None,
        })
    }

    /// Works until nobody can ask any more and everything asked is done.
    pub(super) fn run(mut self) {
        let mut next = None;
        loop {
            let Some(job) = next.take().or_else(|| self.jobs.blocking_recv()) else {
                return;
            };
            match job {
                Job::Claim {
                    node,
                    slots,
                    answer,
                } => {
                    let claimed = self.claim(node, &slots);
                    let _ = answer.send(claimed);
                }
                Job::Direct {
                    expected,
                    value,
                    answer,
                } => {
                    let directed = self.direct(expected, value);
                    let _ = answer.send(directed);
                }
                Job::Commit {
                    batch,
                    queued,
                    answer,
                } => {
                    let mut group = vec![(batch, Waiting { queued, answer })];
                    next = self.gather(&mut group);
                    self.commit(group);
                }
            }
        }
    }

    /// Fills the group with what waits now. Gives back what cannot be in it.
    fn gather(&mut self, group: &mut Vec<(Batch, Waiting)>) -> Option<Job> {
        let (mut writes, mut bytes) = (0, 0);
        for (batch, _) in group.iter() {
            writes += batch.writes.len();
            bytes += value_bytes(batch);
        }
        while group.len() < GROUP_WRITES && writes < GROUP_WRITES && bytes < GROUP_BYTES {
            match self.jobs.try_recv() {
                Ok(Job::Commit {
                    batch,
                    queued,
                    answer,
                }) => {
                    writes += batch.writes.len();
                    bytes += value_bytes(&batch);
                    group.push((batch, Waiting { queued, answer }));
                }
                Ok(other) => return Some(other),
                Err(_) => return None,
            }
        }
        None
    }

    fn commit(&mut self, group: Vec<(Batch, Waiting)>) {
        let disk = match self.disk() {
            Ok(disk) => disk,
            Err(error) => {
                for (_, waiting) in group {
                    self.answer(waiting, Err(error.clone()));
                }
                return;
            }
        };
        let mut stage = Stage::new(&disk);
        let mut taken = Vec::with_capacity(group.len());
        let mut writes = 0;
        for (batch, waiting) in group {
            let count = batch.writes.len();
            let added = match self.fence(&batch) {
                Ok(()) => guarded(|| stage.add(batch)),
                Err(error) => Err(error),
            };
            match added {
                Ok(()) => {
                    writes += count;
                    taken.push(waiting);
                }
                Err(error) => self.answer(waiting, Err(error)),
            }
        }
        if taken.is_empty() {
            return;
        }
        self.meter.group_batches.record(count(taken.len()));
        self.meter.group_writes.record(count(writes));
        let written = self.write(&disk, stage);
        for waiting in taken {
            self.answer(waiting, written.clone());
        }
    }

    fn claim(&mut self, node: Box<str>, slots: &[Slot]) -> Result<Vec<(Slot, Epoch)>, Error> {
        let disk = self.disk()?;
        let mut stage = Stage::new(&disk);
        let mut claimed: BTreeMap<Slot, Owner> = BTreeMap::new();
        for slot in slots {
            let stored = self.owners[slot.index()].as_ref();
            let owner = Owner {
                epoch: stored.map_or(Epoch::default(), Owner::epoch).next().0,
                node: node.as_ref().into(),
            };
            stage.set_owner(*slot, &owner);
            claimed.insert(*slot, owner);
        }
        self.write(&disk, stage)
            .inspect_err(|error| self.meter.count_error(error))?;
        // Only what is stored is the fence.
        self.node = Some(node);
        let epochs = claimed.iter().map(|(slot, owner)| (*slot, owner.epoch()));
        let epochs = epochs.collect();
        for (slot, owner) in claimed {
            self.owners[slot.index()] = Some(owner);
        }
        Ok(epochs)
    }

    fn direct(&mut self, expected: u64, value: Bytes) -> Result<bool, Error> {
        let disk = self.disk()?;
        if guarded(|| disk.directives())?.version != expected {
            return Ok(false);
        }
        let mut stage = Stage::new(&disk);
        stage.set_directives(value);
        let written = self.write(&disk, stage);
        written.inspect_err(|error| self.meter.count_error(error))?;
        Ok(true)
    }

    /// Refuses a batch of any but the stored owner at exactly the stored epoch.
    fn fence(&self, batch: &Batch) -> Result<(), Error> {
        let owner = self.owners[batch.slot.index()].as_ref();
        let is_ours = owner.is_some_and(|owner| {
            owner.epoch() == batch.epoch && self.node.as_deref() == Some(owner.node.as_str())
        });
        match is_ours {
            true => Ok(()),
            false => Err(Error::Fenced { slot: batch.slot }),
        }
    }

    fn write(&mut self, disk: &Disk, stage: Stage<'_>) -> Result<(), Error> {
        let changes = stage.finish();
        let written = catch_unwind(AssertUnwindSafe(|| disk.write(changes)));
        let written = written.unwrap_or_else(|_| {
            Err(Failure {
                error: Error::Corrupt("writing it ended in a panic".into()),
                is_final: false,
            })
        });
        let Err(failure) = written else { return Ok(()) };
        error!(error = %failure.error, "a write to the store failed: it takes none for now");
        let error = failure.error.clone();
        let at = Instant::now();
        self.broken = Some(Broken { failure, at });
        Err(error)
    }

    /// The database, if it can be written; tries to cure it if it is time.
    fn disk(&mut self) -> Result<Arc<Disk>, Error> {
        let Some(broken) = &mut self.broken else {
            return self.cell.disk();
        };
        if broken.failure.is_final || broken.at.elapsed() < CURE_EVERY {
            return Err(broken.failure.error.clone());
        }
        match cure(&self.folder, &self.cell, self.options) {
            Ok((disk, owners)) => {
                info!("the store takes writes again");
                self.owners = owners;
                self.broken = None;
                Ok(disk)
            }
            Err(error) => {
                broken.at = Instant::now();
                broken.failure.error = error.clone();
                Err(error)
            }
        }
    }

    fn answer(&self, waiting: Waiting, answer: Result<(), Error>) {
        if let Err(error) = &answer {
            self.meter.count_error(error);
        }
        self.meter.commit.record(waiting.queued.elapsed());
        self.meter.queue.set(count(self.jobs.len()));
        // Whoever asked may be gone; the batch is durable all the same.
        let _ = waiting.answer.send(answer);
    }
}

/// Opens the database again if the disk takes writes. Whether the last claim was stored is known
/// only then.
fn cure(
    folder: &Path,
    cell: &Cell,
    options: Options,
) -> Result<(Arc<Disk>, Vec<Option<Owner>>), Error> {
    // Tried beside the database, so that it stays readable until there is hope.
    let probe = folder.join(PROBE_FILE);
    let probed = std::fs::write(&probe, vec![0xa5; PROBE_BYTES])
        .and_then(|()| std::fs::File::open(&probe)?.sync_all());
    let removed = std::fs::remove_file(&probe);
    probed.and(removed)?;
    let disk = cell.reopen(&folder.join(FOLDER), options)?;
    let owners = read_owners(&disk)?;
    Ok((disk, owners))
}

fn read_owners(disk: &Disk) -> Result<Vec<Option<Owner>>, Error> {
    let mut owners = vec![None; usize::from(SLOTS)];
    for (slot, owner) in disk.owners()? {
        owners[slot.index()] = Some(owner);
    }
    Ok(owners)
}

/// The database asserts some of what it reads; that must not end the writer.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::Corrupt("using it ended in a panic".into())))
}

fn value_bytes(batch: &Batch) -> usize {
    let bytes = batch.writes.iter().map(|(_, write)| match write {
        Write::Put { value, .. } | Write::Append { value, .. } | Write::Replace { value, .. } => {
            value.len()
        }
        Write::Delete { .. } | Write::Truncate { .. } | Write::Erase => 0,
    });
    bytes.sum()
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
