//! Files: the one that is written, when it makes room for the next, and how many are kept.
//!
//! ```text
//! access.log ─ too large, or a new period ─▶ access-20261128T000000.123Z.log ─ too many ─▶ gone
//! ```
//!
//! **Invariant:** a file holds whole lines: what could be written only in part is taken back.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use couplet_proto::xmpp::time::{self, UnixMillis};

use super::line::Shape;
use crate::folder;

/// The file that is written.
const CURRENT: &str = "access.log";

/// What the names of the others begin and end with.
const OLD: (&str, &str) = ("access-", "Z.log");

/// How long the time in between is.
const STAMP: usize = "20261128T000000.123".len();

/// Seconds after which something that cannot be renamed is tried again.
const RENAME_PAUSE_MS: u64 = 60_000;

/// The folder of the log.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) folder: PathBuf,
    pub(super) shape: Shape,
    pub(super) limits: Limits,
    current: Option<Current>,
    /// Whether this process has written to a file: it may have other fields than the one before.
    has_begun: bool,
    /// Not renamed before this time.
    renamed_at: UnixMillis,
}

/// When a file is full, and how many full ones are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// 0 is any size.
    pub(super) bytes: u64,
    /// Periods begin at multiples of this, in UTC; 0 is one for ever.
    pub(super) secs: u64,
    pub(super) keep: usize,
}

#[derive(Debug)]
struct Current {
    file: File,
    bytes: u64,
    /// The period of its lines.
    period: u64,
    has_lines: bool,
}

// === impl Files ===

impl Files {
    /// A folder nothing has been looked for in.
    pub(super) fn new(folder: PathBuf, shape: Shape, limits: Limits) -> Self {
        Self {
            folder,
            shape,
            limits,
            current: None,
            has_begun: false,
            renamed_at: 0,
        }
    }

    /// Makes ready to write, if that is not so already.
    pub(super) fn open(&mut self, now: UnixMillis) -> io::Result<()> {
        if self.current.is_some() {
            return Ok(());
        }
        folder::make(&self.folder)?;
        let mut found = self.open_file()?;
        if found.has_lines && self.is_over(&found, now, 0) {
            match self.rename(now) {
                Ok(()) => {
                    found = self.open_file()?;
                    // What is left is removed with the next one.
                    let _ = self.prune();
                }
                Err(_) => self.renamed_at = now + RENAME_PAUSE_MS,
            }
        }
        found.period = self.period(now);
        if found.bytes == 0 || !self.has_begun {
            let header = self.shape.header(now);
            append(&mut found, header.as_bytes())?;
        }
        self.has_begun = true;
        self.current = Some(found);
        Ok(())
    }

    /// Ends with the present file; whoever moved it away may have it. The next line opens another.
    pub(super) fn close(&mut self) {
        self.current = None;
    }

    /// Whether so many bytes more of this time belong into another file.
    pub(super) fn is_full(&self, now: UnixMillis, more: usize) -> bool {
        let current = self.current.as_ref();
        now >= self.renamed_at
            && current.is_some_and(|found| found.has_lines && self.is_over(found, now, more))
    }

    /// Goes on with another file.
    pub(super) fn rotate(&mut self, now: UnixMillis) -> io::Result<()> {
        if let Err(error) = self.rename(now) {
            // This one is written on: better too long than none.
            self.renamed_at = now + RENAME_PAUSE_MS;
            return Err(error);
        }
        self.current = None;
        self.open(now)?;
        self.prune()
    }

    /// Adds whole lines. On error none of them is there, and the file is opened anew next time.
    pub(super) fn write(&mut self, now: UnixMillis, lines: &[u8]) -> io::Result<()> {
        self.open(now)?;
        let Some(mut current) = self.current.take() else {
            return Ok(());
        };
        append(&mut current, lines)?;
        current.has_lines = true;
        current.period = current.period.max(self.period(now));
        self.current = Some(current);
        Ok(())
    }

    fn open_file(&self) -> io::Result<Current> {
        let path = self.folder.join(CURRENT);
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            // Who came from where is not for everybody on the machine.
            options.mode(0o640);
        }
        let file = options.open(&path)?;
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(io::Error::other(
                "another process writes there: give each node a folder of its own",
            ));
        }
        let metadata = file.metadata()?;
        let changed = metadata.modified().ok();
        let changed = changed.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let changed = changed.map_or(0, |since| since.as_millis());
        let mut current = Current {
            file,
            bytes: metadata.len(),
            period: self.period(u64::try_from(changed).unwrap_or(0)),
            has_lines: metadata.len() > 0,
        };
        if metadata.is_file() && is_torn(&path, metadata.len())? {
            append(&mut current, b"\n")?;
        }
        Ok(current)
    }

    fn is_over(&self, current: &Current, now: UnixMillis, more: usize) -> bool {
        let bytes = current.bytes.saturating_add(more as u64);
        let is_large = self.limits.bytes > 0 && bytes > self.limits.bytes;
        is_large || self.period(now) > current.period
    }

    fn period(&self, now: UnixMillis) -> u64 {
        (now / 1000).checked_div(self.limits.secs).unwrap_or(0)
    }

    /// Gives the present file the name of an old one, later than that of any other: whatever the
    /// clock says, the oldest by name is the oldest.
    fn rename(&self, now: UnixMillis) -> io::Result<()> {
        let newest = self.old()?.last().and_then(|name| stamp(name));
        let at = newest.map_or(now, |newest| now.max(newest + 1));
        let old = self.folder.join(old_name(at));
        match fs::rename(self.folder.join(CURRENT), old) {
            // Somebody else has moved it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Removes the oldest of too many.
    fn prune(&self) -> io::Result<()> {
        let old = self.old()?;
        let many = old.len().saturating_sub(self.limits.keep);
        for name in &old[..many] {
            fs::remove_file(self.folder.join(name))?;
        }
        Ok(())
    }

    /// The names of the old files, in order; nothing else is ever removed.
    fn old(&self) -> io::Result<Vec<String>> {
        let mut old = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let name = name.to_str().filter(|name| stamp(name).is_some());
            old.extend(name.map(str::to_owned));
        }
        old.sort();
        Ok(old)
    }
}

/// Writes all or nothing.
fn append(current: &mut Current, bytes: &[u8]) -> io::Result<()> {
    let written = current.file.write_all(bytes);
    if written.is_err() {
        // Where that fails too, the next line begins with a line break.
        let _ = current.file.set_len(current.bytes);
    } else {
        current.bytes += bytes.len() as u64;
    }
    written
}

/// Whether the last line of a file lacks its end.
fn is_torn(path: &Path, length: u64) -> io::Result<bool> {
    if length == 0 {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// The name of a file that ended then. In order of their names they are in order of time.
fn old_name(at: UnixMillis) -> String {
    let stamp = time::format(at).replace(['-', ':', 'Z'], "");
    format!("{}{stamp}{}", OLD.0, OLD.1)
}

/// When a file of this name ended; `None` when it is not one of those.
fn stamp(name: &str) -> Option<UnixMillis> {
    let digits = name.strip_prefix(OLD.0)?.strip_suffix(OLD.1)?;
    if digits.len() != STAMP || !digits.is_ascii() {
        return None;
    }
    let (date, time) = digits.split_once('T')?;
    let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
    let (hour, minute, second) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    time::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}
