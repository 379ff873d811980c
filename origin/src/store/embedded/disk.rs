//! The database in its folder: how it is opened, what is asked of it.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::slot::{Seed, Slot};
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use rand::TryRng;

use super::lock::make_folder;
use super::value::{Drawn, Format, Length, Owner, Value};
use super::{OpenError, Options, backup, mend};
use crate::directives::Directives;
use crate::store::key::{self, Key, Loaded};
use crate::store::{Error, Log, LogId, Snapshot, Span, Table, directives};

/// The version of all keys and values together.
const FORMAT: u32 = 1;

/// Where the database is, in the data folder.
pub(super) const FOLDER: &str = "store";

/// A database that is being made for the first time; nothing in it was promised to anyone.
const NEW_FOLDER: &str = "store.new";

const KEYSPACE: &str = "couplet";

/// Bytes of journals after which the database writes them into sorted files: the least it takes.
const JOURNAL_BYTES: u64 = 64 << 20;

/// Written parts of memory that wait for their file, after which writes wait.
const SEALED_MAX: usize = 3;

/// Files not sorted into one another yet, after which writes wait. Below the 20 at which the
/// database begins to slow them down itself.
const RUNS_MAX: usize = 18;

/// How long a write may wait for that.
const BEHIND_MAX: Duration = Duration::from_secs(10);

/// What a database was given when it was made.
pub(super) struct Drawings {
    pub(super) seed: Seed,
    pub(super) secret: [u8; 32],
}

/// The open database.
pub(super) struct Disk {
    database: Database,
    rows: Keyspace,
    options: Options,
}

/// Why a write failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What to tell.
    pub(super) error: Error,
    /// Whether the database must not be used any more. When a file could not be synchronised,
    /// the system may have thrown away what it held and show it as written all the same: a
    /// journal that goes on after such a hole would lose what comes after it.
    pub(super) is_final: bool,
}

/// What the file system's error means to whoever asked.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        match error.kind() {
            InvalidData | UnexpectedEof => Self::Corrupt(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// What the database's error means to whoever asked.
impl From<fjall::Error> for Error {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
                error.into()
            }
            fjall::Error::Poisoned => Self::Unavailable("an earlier write failed".into()),
            fjall::Error::Locked => Self::Unavailable("another process has its files open".into()),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

/// Opens the database of a data folder that is locked for us, and makes it if there is none.
pub(super) fn open(folder: &Path, options: Options) -> Result<(Disk, Drawings), OpenError> {
    let path = folder.join(FOLDER);
    if folder.join(backup::UNFINISHED_FOLDER).exists() {
        return Err(OpenError::Unfinished {
            folder: folder.into(),
        });
    }
    if !path.exists() {
        create(folder, options).map_err(|error| open_error(folder, error))?;
    }
    let disk = Disk::open(&path, options).map_err(|error| open_error(folder, error))?;
    let found = disk.format().map_err(|error| open_error(folder, error))?;
    if found > FORMAT {
        return Err(OpenError::Newer {
            folder: folder.into(),
            found,
            known: FORMAT,
        });
    }
    let drawings = disk.drawings().map_err(|error| open_error(folder, error))?;
    Ok((disk, drawings))
}

/// Why the data folder cannot be opened.
pub(super) fn open_error(folder: &Path, error: Error) -> OpenError {
    let folder = folder.into();
    match error {
        Error::Corrupt(cause) => OpenError::Damaged { folder, cause },
        Error::Unavailable(cause) => OpenError::Unusable { folder, cause },
        Error::Fenced { .. } => OpenError::Unusable {
            folder,
            cause: error.to_string(),
        },
    }
}

/// Makes the database beside its place and moves it there when it is whole, so that a crash in
/// between leaves nothing half made.
fn create(folder: &Path, options: Options) -> Result<(), Error> {
    let path = folder.join(NEW_FOLDER);
    if path.exists() {
        std::fs::remove_dir_all(&path)?;
    }
    let seed = draw::<16>()?;
    let disk = Disk::open(&path, options)?;
    disk.write([
        (key::format(), Some(Format { number: FORMAT }.to_value())),
        (key::seed(), Some(drawn(&seed).to_value())),
    ])
    .map_err(|failure| failure.error)?;
    drop(disk);
    settle(&path, &folder.join(FOLDER))
}

/// Moves a whole database to its place, durably.
pub(super) fn settle(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to)?;
    // Only a folder that is opened can be synchronised; some systems cannot, and need not.
    #[cfg(unix)]
    if let Some(folder) = to.parent() {
        std::fs::File::open(folder)?.sync_all()?;
        // The folder may be new itself. That above it need not be ours to open.
        if let Some(above) = folder.parent().filter(|above| *above != Path::new("")) {
            let _ = std::fs::File::open(above).and_then(|above| above.sync_all());
        }
    }
    Ok(())
}

// === impl Disk ===

impl Disk {
    /// Opens the database in this very folder, making it if there is none.
    pub(super) fn open(path: &Path, options: Options) -> Result<Self, Error> {
        make_folder(path)?;
        let opened = match open_files(path, options) {
            Err(fjall::Error::JournalRecovery(_)) if mend::cut_torn_end(path)? => {
                open_files(path, options)
            }
            opened => opened,
        };
        let (database, rows) = opened?;
        Ok(Self {
            database,
            rows,
            options,
        })
    }

    /// Makes changes durable, all or none.
    pub(super) fn write(
        &self,
        changes: impl IntoIterator<Item = (Key, Option<Bytes>)>,
    ) -> Result<(), Failure> {
        let again = |error| Failure {
            error,
            is_final: false,
        };
        self.wait_for_room().map_err(again)?;
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.rows, key, &value[..]),
                None => batch.remove(&self.rows, key),
            }
        }
        batch.commit().map_err(|error| again(error.into()))?;
        let synced = self.database.persist(PersistMode::SyncAll);
        synced.map_err(|error| Failure {
            error: error.into(),
            is_final: true,
        })
    }

    /// Waits while the files are behind the writes. The database waits by itself when it gets
    /// worse, but then without end, even if its files cannot be written at all.
    fn wait_for_room(&self) -> Result<(), Error> {
        let started = Instant::now();
        let is_behind = || {
            self.rows.sealed_memtable_count() >= SEALED_MAX
                || self.rows.l0_table_count() >= RUNS_MAX
        };
        while is_behind() {
            if started.elapsed() > BEHIND_MAX {
                return Err(Error::Unavailable(
                    "its files cannot be written in time".into(),
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The owners of all slots that have one.
    pub(super) fn owners(&self) -> Result<Vec<(Slot, Owner)>, Error> {
        let mut owners = Vec::new();
        for item in self.rows.range(key::owners()) {
            let (key, value) = item.into_inner()?;
            let slot = key::read_owner(&key).ok_or_else(|| corrupt_key(&key))?;
            owners.push((slot, Owner::from_value(&copy(&value))?));
        }
        Ok(owners)
    }

    /// Whether there is such a key.
    pub(super) fn has(&self, key: &[u8]) -> Result<bool, Error> {
        Ok(self.rows.contains_key(key)?)
    }

    /// The value of a key.
    pub(super) fn value(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        // The database ends the process on a longer key, and nothing is stored under one.
        if key.len() > key::KEY_BYTES_MAX {
            return Ok(None);
        }
        let value = self.rows.get(key)?;
        Ok(value.map(|value| copy(&value)))
    }

    /// The keys in `range`, in order.
    pub(super) fn keys(&self, range: Range<Key>) -> Result<Vec<Key>, Error> {
        let keys = self.rows.range(range).map(|item| item.key());
        keys.map(|key| Ok(key?.to_vec())).collect()
    }

    pub(super) fn load(&self, slot: Slot, jid: &Jid) -> Result<Snapshot, Error> {
        let mut snapshot = Snapshot::default();
        for item in self
            .database
            .snapshot()
            .range(&self.rows, key::loaded(slot, jid))
        {
            let (key, value) = item.into_inner()?;
            match key::read_loaded(jid, &key).ok_or_else(|| corrupt_key(&key))? {
                Loaded::Row(table, name) => {
                    snapshot.rows.push((table, name.into(), copy(&value)));
                }
                Loaded::Length(log) => {
                    let length = Length::from_value(&copy(&value))?;
                    snapshot.logs.push((log, length.entries));
                }
            }
        }
        Ok(snapshot)
    }

    pub(super) fn get(
        &self,
        slot: Slot,
        jid: &Jid,
        table: Table,
        name: &str,
    ) -> Result<Option<Bytes>, Error> {
        self.value(&key::row(slot, jid, table, name))
    }

    pub(super) fn read_log(
        &self,
        slot: Slot,
        jid: &Jid,
        log: Log,
        span: Span,
        max: usize,
    ) -> Result<Vec<(LogId, Bytes)>, Error> {
        let range = key::entries_in(slot, jid, log, span);
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let items = self.rows.range(range);
        match span.is_backwards {
            true => read_entries(items.rev().take(max)),
            false => read_entries(items.take(max)),
        }
    }

    pub(super) fn accounts(
        &self,
        domain: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<Jid>, Error> {
        let range = key::accounts(domain, after);
        let mut accounts = Vec::new();
        if range.is_empty() {
            return Ok(accounts);
        }
        for item in self.rows.range(range).take(max) {
            let key = item.key()?;
            let jid = key::read_account(domain, &key)
                .and_then(|local| Jid::from_parts(Some(local), domain, None).ok());
            accounts.push(jid.ok_or_else(|| corrupt_key(&key))?);
        }
        Ok(accounts)
    }

    /// What operators have ordered.
    pub(super) fn directives(&self) -> Result<Directives, Error> {
        let value = self.value(&key::directives())?;
        value.map_or_else(
            || Ok(Directives::default()),
            |value| directives::decode(&value),
        )
    }

    pub(super) fn sleepers(&self, slot: Slot) -> Result<Vec<Jid>, Error> {
        let keys = self.keys(key::sleepers(slot))?;
        let jids = keys.iter().map(|key| {
            let jid = key::read_sleeper(key).and_then(|bare| Jid::parse(bare).ok());
            jid.ok_or_else(|| corrupt_key(key))
        });
        jids.collect()
    }

    /// Every key and value at one moment, in order, while everything goes on.
    pub(super) fn everything(&self) -> impl Iterator<Item = Result<(Bytes, Bytes), Error>> {
        let items = self.database.snapshot().iter(&self.rows);
        items.map(|item| {
            let (key, value) = item.into_inner()?;
            Ok((copy(&key), copy(&value)))
        })
    }

    /// Fills an empty database with keys in order, straight into its sorted files.
    pub(super) fn fill(
        &self,
        items: impl Iterator<Item = Result<(Bytes, Bytes), Error>>,
    ) -> Result<(), Error> {
        let mut files = self.rows.start_ingestion()?;
        for item in items {
            let (key, value) = item?;
            files.write(&key[..], &value[..])?;
        }
        Ok(files.finish()?)
    }

    /// What it was opened with.
    pub(super) fn options(&self) -> Options {
        self.options
    }

    #[cfg(test)]
    pub(super) fn set_format(&self, number: u32) {
        let format = (key::format(), Some(Format { number }.to_value()));
        self.write([format]).expect("written");
    }

    fn format(&self) -> Result<u32, Error> {
        let value = self.value(&key::format())?;
        let value = value.ok_or_else(|| Error::Corrupt("there is no format in it".into()))?;
        Ok(Format::from_value(&value)?.number)
    }

    fn drawings(&self) -> Result<Drawings, Error> {
        let seed = self.drawing(&key::seed())?;
        let seed = seed.ok_or_else(|| Error::Corrupt("there is no seed in it".into()))?;
        let secret = match self.drawing(&key::secret())? {
            Some(secret) => secret,
            // A folder from before there was one.
            None => self.draw_secret()?,
        };
        Ok(Drawings {
            seed: Seed(seed),
            secret,
        })
    }

    fn draw_secret(&self) -> Result<[u8; 32], Error> {
        let secret = draw()?;
        let row = (key::secret(), Some(drawn(&secret).to_value()));
        self.write([row]).map_err(|failure| failure.error)?;
        Ok(secret)
    }

    fn drawing<const N: usize>(&self, key: &[u8]) -> Result<Option<[u8; N]>, Error> {
        let Some(value) = self.value(key)? else {
            return Ok(None);
        };
        let bytes = Drawn::from_value(&value)?.bytes;
        let bytes = <[u8; N]>::try_from(&bytes[..]);
        let short = |_| Error::Corrupt(format!("the seed or the secret is not {N} bytes"));
        bytes.map(Some).map_err(short)
    }
}

fn draw<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| Error::Unavailable(format!("no randomness: {error}")))?;
    Ok(bytes)
}

fn drawn(bytes: &[u8]) -> Drawn {
    Drawn {
        bytes: Bytes::copy_from_slice(bytes),
    }
}

fn open_files(path: &Path, options: Options) -> fjall::Result<(Database, Keyspace)> {
    // It asserts what it reads at some places; a damaged folder must not end the process.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            .max_journaling_size(JOURNAL_BYTES)
            .manual_journal_persist(true)
            .worker_threads(1)
            .open()?;
        let rows = database.keyspace(KEYSPACE, || {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                .max_memtable_size(options.memtable_bytes)
        })?;
        Ok((database, rows))
    }));
    opened.unwrap_or(Err(fjall::Error::Unrecoverable))
}

fn corrupt_key(key: &[u8]) -> Error {
    Error::Corrupt(format!("the key {:?}", key.escape_ascii().to_string()))
}

fn read_entries(items: impl Iterator<Item = Guard>) -> Result<Vec<(LogId, Bytes)>, Error> {
    let entries = items.map(|item| {
        let (key, value) = item.into_inner()?;
        let id = key::read_entry(&key).ok_or_else(|| corrupt_key(&key))?;
        Ok((id, copy(&value)))
    });
    entries.collect()
}

/// Copied, because a value of the database keeps the whole block around it in memory.
fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
