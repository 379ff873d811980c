//! The suite on the embedded store, and what only a folder has.

use tempfile::TempDir;

use super::{Embedded, OpenError, Options};
use crate::store::tests::suite;

suite!(open());

fn open() -> (Embedded, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Embedded::open(folder.path(), Options::default()).expect("opens");
    (store, folder)
}

#[test]
fn a_second_couplet_is_refused() {
    let (store, folder) = open();
    let refused = Embedded::open(folder.path(), Options::default()).expect_err("in use");
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused:?}");
    let expected = format!(
        "another couplet (process {}) is using the data folder {}",
        std::process::id(),
        folder.path().display()
    );
    assert_eq!(refused.to_string(), expected);
    drop(store);
    Embedded::open(folder.path(), Options::default()).expect("free again");
}
