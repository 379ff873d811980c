//! The open database, shared by the writer and the readers.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::Options;
use super::disk::Disk;
use crate::store::Error;

/// How long readers may keep the database from being closed.
const READERS_MAX: Duration = Duration::from_secs(2);

/// The database as readers find it; the writer may close and open it again.
pub(super) struct Cell(RwLock<Result<Arc<Disk>, String>>);

// === impl Cell ===

impl Cell {
    pub(super) fn new(disk: Disk) -> Self {
        Self(RwLock::new(Ok(Arc::new(disk))))
    }

    /// The database, if it is open now.
    pub(super) fn disk(&self) -> Result<Arc<Disk>, Error> {
        let cell = self.0.read().unwrap_or_else(PoisonError::into_inner);
        cell.clone().map_err(Error::Unavailable)
    }

    /// Closes the database and opens it again: what cures it after a failed write.
    pub(super) fn reopen(&self, path: &Path, options: Options) -> Result<Arc<Disk>, Error> {
        if let Ok(disk) = self.swap(Err("it is being opened again".into())) {
            self.close(disk)?;
        }
        match Disk::open(path, options) {
            Ok(disk) => {
                let disk = Arc::new(disk);
                // Nobody could have put one there: only the writer opens.
                let _ = self.swap(Ok(Arc::clone(&disk)));
                Ok(disk)
            }
            Err(error) => {
                let _ = self.swap(Err(error.to_string()));
                Err(error)
            }
        }
    }

    /// Waits for its readers, then closes it.
    fn close(&self, mut disk: Arc<Disk>) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            match Arc::try_unwrap(disk) {
                Ok(disk) => {
                    drop(disk);
                    return Ok(());
                }
                Err(shared) if started.elapsed() > READERS_MAX => {
                    let _ = self.swap(Ok(shared));
                    return Err(Error::Unavailable("it is still being read".into()));
                }
                Err(shared) => disk = shared,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn swap(&self, next: Result<Arc<Disk>, String>) -> Result<Arc<Disk>, String> {
        let mut cell = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *cell, next)
    }
}
