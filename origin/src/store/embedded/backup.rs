//! A copy of the store into another folder, while everything goes on.
//!
//! The copy is of one moment: a batch is in it whole or not at all. It is written beside its
//! place and moved there at the end, so a folder whose backup was cut short is never taken for
//! a data folder.

use std::path::Path;

use super::disk::{Disk, FOLDER, settle};
use super::lock::make_folder;
use crate::store::Error;

/// A backup that is being written.
pub(super) const UNFINISHED_FOLDER: &str = "store.unfinished";

/// Writes the copy. `to` must be empty or absent.
pub(super) fn write(disk: &Disk, to: &Path) -> Result<(), Error> {
    make_folder(to)?;
    let mut inside = std::fs::read_dir(to)?;
    if inside.next().is_some() {
        let to = to.display();
        return Err(Error::Unavailable(format!("the folder {to} is not empty")));
    }
    let path = to.join(UNFINISHED_FOLDER);
    let copy = Disk::open(&path, disk.options())?;
    copy.fill(disk.everything())?;
    drop(copy);
    settle(&path, &to.join(FOLDER))
}
