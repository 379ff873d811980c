//! The lock on a data folder: one couplet at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::OpenError;

const FILE: &str = "lock";

/// A data folder that is ours. The system takes the lock back when the process ends, however it
/// ends.
pub(super) struct Lock {
    _file: File,
}

// === impl Lock ===

impl Lock {
    /// Makes the folder if there is none, readable for its owner alone: it will hold
    /// credentials.
    pub(super) fn take(folder: &Path) -> Result<Self, OpenError> {
        let unusable = |error: std::io::Error| OpenError::Unusable {
            folder: folder.into(),
            cause: error.to_string(),
        };
        make_folder(folder).map_err(unusable)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(FILE))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let process = match file.read_to_string(&mut text) {
                    Ok(_) => text.trim().parse().ok(),
                    Err(_) => None,
                };
                return Err(OpenError::InUse {
                    folder: folder.into(),
                    process,
                });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        // The number is a courtesy to whoever is refused: on a full disk we go on without.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

/// Makes a folder and those above it for this user alone; no error if it is there.
pub(super) fn make_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
