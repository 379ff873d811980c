//! The suite on the embedded store, and what only a folder has.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::disk::{self, Disk};
use super::{Embedded, OpenError, Options};
use crate::store::key;
use crate::store::tests::owned::{ARCHIVE, OFFLINE, Owned, ROSTER, VCARD, append, jid, put};
use crate::store::tests::suite;
use crate::store::{CREDENTIALS, Error, Store, Write};

suite!(open());

/// Small enough that a test goes through everything the database does with its files.
const SMALL: Options = Options {
    cache_bytes: 1 << 20,
    memtable_bytes: 64 << 10,
    queue_batches: 8,
    readers: 2,
};

fn open() -> (Embedded, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_in(folder.path());
    (store, folder)
}

fn open_in(folder: &Path) -> Embedded {
    Embedded::open(folder, SMALL).expect("opens")
}

fn refused(folder: &Path) -> OpenError {
    Embedded::open(folder, SMALL).expect_err("refused")
}

#[test]
fn a_second_couplet_is_refused() {
    let (store, folder) = open();
    let refused = refused(folder.path());
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused:?}");
    let expected = format!(
        "another couplet (process {}) is using the data folder {}",
        std::process::id(),
        folder.path().display()
    );
    assert_eq!(refused.to_string(), expected);
    drop(store);
    open_in(folder.path());
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let (store, folder) = open();
    let seed = store.seed();
    let owned = Owned::claim(&store).await;
    let value = "v".repeat(1000);
    for number in 0..300u64 {
        let key = number.to_string();
        let writes = [put(ROSTER, &key, &value), append(ARCHIVE, number)];
        owned.commit("a@x", writes).await;
    }
    owned.commit("a@x", [put(CREDENTIALS, "", "secret")]).await;
    let epoch = owned.epoch;
    drop(store);
    let store = open_in(folder.path());
    assert_eq!(store.seed(), seed);
    assert!(matches!(
        store.commit(owned_batch(&store, epoch)).await,
        Err(Error::Fenced { .. })
    ));
    let owned = Owned::claim(&store).await;
    assert_eq!(owned.epoch, epoch.next());
    let loaded = owned.load("a@x").await;
    assert_eq!(loaded.rows.len(), 301);
    assert_eq!(loaded.logs, [(ARCHIVE.id, 300)]);
    assert_eq!(owned.log("a@x", ARCHIVE, None, 1000).await.len(), 300);
    assert_eq!(owned.accounts("x", None, 10).await, ["a@x"]);
}

fn owned_batch(store: &Embedded, epoch: couplet_proto::link::epoch::Epoch) -> super::Batch {
    super::Batch {
        slot: couplet_proto::slot::Slot::of(store.seed(), &jid("a@x")),
        epoch,
        writes: vec![(jid("a@x"), put(ROSTER, "late", "1"))],
    }
}

#[tokio::test]
async fn a_backup_is_of_one_moment_and_can_be_opened() {
    let (store, _folder) = open();
    let owned = Owned::claim(&store).await;
    let value = "v".repeat(4000);
    for number in 0..400u64 {
        let key = number.to_string();
        owned
            .commit("a@x", [put(ROSTER, &key, &value), append(ARCHIVE, number)])
            .await;
    }
    owned.commit("a@x", [put(CREDENTIALS, "", "secret")]).await;
    let place = tempfile::tempdir().expect("a folder");
    let to = place.path().join("new/copy");
    // Each round leaves the log as long as the roster: a copy of one moment has both alike.
    let meanwhile = async {
        for number in 1000..1100u64 {
            let key = number.to_string();
            owned
                .commit("a@x", [put(ROSTER, &key, &value), append(ARCHIVE, number)])
                .await;
        }
    };
    let (copied, ()) = tokio::join!(store.backup(&to), meanwhile);
    copied.expect("copied");
    let seed = store.seed();
    assert!(matches!(
        store.backup(&to).await,
        Err(Error::Unavailable(_))
    ));

    let copy = open_in(&to);
    assert_eq!(copy.seed(), seed);
    let restored = Owned::claim(&copy).await;
    assert_eq!(restored.epoch, owned.epoch.next());
    let loaded = restored.load("a@x").await;
    let roster = loaded.rows.iter().filter(|row| row.0 == ROSTER.id).count();
    assert!(roster >= 400, "{roster}");
    assert_eq!(loaded.logs, [(ARCHIVE.id, roster as u64)]);
    assert_eq!(restored.log("a@x", ARCHIVE, None, 1000).await.len(), roster);
    assert_eq!(restored.accounts("x", None, 10).await, ["a@x"]);
    restored.commit("a@x", [put(ROSTER, "after", "1")]).await;
}

#[test]
fn an_unfinished_backup_is_no_data_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join(super::backup::UNFINISHED_FOLDER)).expect("made");
    let refused = refused(folder.path());
    assert!(
        matches!(refused, OpenError::Unfinished { .. }),
        "{refused:?}"
    );
}

#[test]
fn a_first_start_that_was_cut_short_is_begun_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let half = folder.path().join("store.new");
    std::fs::create_dir(&half).expect("made");
    std::fs::write(half.join("0.jnl"), "half").expect("written");
    open_in(folder.path());
}

#[test]
fn a_newer_format_is_refused() {
    let (store, folder) = open();
    drop(store);
    let path = folder.path().join(disk::FOLDER);
    let newer = Disk::open(&path, SMALL).expect("opens");
    newer.set_format(2);
    drop(newer);
    let refused = refused(folder.path());
    let expected = matches!(
        refused,
        OpenError::Newer {
            found: 2,
            known: 1,
            ..
        }
    );
    assert!(expected, "{refused:?}");
}

#[test]
fn a_damaged_folder_is_refused_in_words() {
    let (store, folder) = open();
    drop(store);
    let marker = folder.path().join(disk::FOLDER).join("version");
    std::fs::write(&marker, "not a version").expect("written");
    let refused = refused(folder.path());
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
}

/// What power lost in the middle of a commit can leave: its last block, but not one before.
#[tokio::test]
async fn a_batch_torn_by_a_loss_of_power_does_not_keep_the_store_closed() {
    let (store, folder) = open();
    let owned = Owned::claim(&store).await;
    let batch = |first: u64| {
        let write = move |number: u64| put(ROSTER, &number.to_string(), &"v".repeat(1000));
        (first..first + 20).map(write)
    };
    owned.commit("a@x", batch(0)).await;
    owned.commit("a@x", batch(100)).await;
    drop(store);
    let journal = folder.path().join(disk::FOLDER).join("0.jnl");
    let whole = std::fs::read(&journal).expect("read");
    let (mut values, mut at) = (Vec::new(), 0);
    while let Some(found) = whole[at..]
        .windows(1000)
        .position(|bytes| bytes == [b'v'; 1000])
    {
        values.push(at + found);
        at += found + 1000;
    }
    assert_eq!(values.len(), 40);
    let tear = |number: usize| {
        let mut torn = whole.clone();
        torn[values[number]..][..512].fill(0);
        std::fs::write(&journal, torn).expect("written");
    };

    // In the first batch it is damage: the second was written, so the first had been stored.
    tear(10);
    let damaged = refused(folder.path());
    assert!(matches!(damaged, OpenError::Damaged { .. }), "{damaged:?}");

    tear(30);
    let store = open_in(folder.path());
    let owned = Owned::claim(&store).await;
    assert_eq!(owned.load("a@x").await.rows.len(), 20);
    owned.commit("a@x", batch(200)).await;
    drop(store);
    let store = open_in(folder.path());
    let owned = Owned::claim(&store).await;
    assert_eq!(owned.load("a@x").await.rows.len(), 40);
    assert!(journal.with_extension("torn").exists());
}

#[tokio::test]
async fn a_damaged_value_is_told_and_stops_no_other() {
    let (store, _folder) = open();
    let owned = Owned::claim(&store).await;
    owned.commit("a@x", [append(OFFLINE, 1)]).await;
    let slot = owned.slot(&jid("a@x"));
    let length = key::length(slot, &jid("a@x"), OFFLINE);
    let disk = store.cell.disk().expect("open");
    disk.write([(length, Some("\u{1}no message".into()))])
        .expect("written");
    drop(disk);
    let loaded = store.load(slot, jid("a@x")).await;
    assert!(matches!(loaded, Err(Error::Corrupt(_))), "{loaded:?}");
    let bad = store.commit(owned.batch("a@x", [put(ROSTER, "k", "1"), append(OFFLINE, 2)]));
    let good = store.commit(owned.batch("b@x", [append(OFFLINE, 2)]));
    let (bad, good) = tokio::join!(bad, good);
    assert!(matches!(bad, Err(Error::Corrupt(_))), "{bad:?}");
    good.expect("committed");
    assert_eq!(owned.get("a@x", ROSTER, "k").await, None);
    // What is left of it can be removed.
    owned.commit("a@x", [Write::Erase]).await;
    assert!(owned.load("a@x").await.logs.is_empty());
}

#[test]
fn a_folder_that_cannot_be_made_is_refused_in_words() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let refused = refused(&file.path().join("data"));
    assert!(matches!(refused, OpenError::Unusable { .. }), "{refused:?}");
}

/// `COUPLET_SMALL_DISK` names a folder on a file system of about 16 MiB that holds nothing else.
#[tokio::test]
#[ignore = "needs a small file system"]
async fn a_full_disk_refuses_writes_until_there_is_room() {
    let small = std::env::var("COUPLET_SMALL_DISK").expect("set");
    let small = Path::new(&small);
    let store = open_in(&small.join("data"));
    let owned = Owned::claim(&store).await;
    owned.commit("a@x", [put(ROSTER, "first", "1")]).await;
    let ballast = small.join("ballast");
    let _ = std::fs::write(&ballast, vec![1; 64 << 20]);
    let mut noise = 1u64;
    let mut written = 0u64;
    let error = loop {
        let value: String = (0..500)
            .map(|_| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                noise.to_string()
            })
            .collect();
        let write = [put(ROSTER, &written.to_string(), &value)];
        match store.commit(owned.batch("a@x", write)).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000);
    };
    assert!(
        matches!(&error, Error::Unavailable(cause) if cause.contains("No space")),
        "{error}"
    );
    // Refused, but readable.
    assert_eq!(owned.get("a@x", ROSTER, "first").await, Some("1".into()));
    std::fs::remove_file(&ballast).expect("removed");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while let Err(error) = store
        .commit(owned.batch("a@x", [put(ROSTER, "last", "1")]))
        .await
    {
        assert!(std::time::Instant::now() < deadline, "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for number in 0..written {
        let value = owned.get("a@x", ROSTER, &number.to_string()).await;
        assert!(value.is_some(), "{number}");
    }
    drop(store);
    let store = open_in(&small.join("data"));
    let owned = Owned::claim(&store).await;
    assert_eq!(owned.get("a@x", ROSTER, "last").await, Some("1".into()));
}

/// Set for the process that is killed: the folder it writes to.
const VICTIM: &str = "COUPLET_STORE_VICTIM";

const ACKNOWLEDGED: &str = "acknowledged ";

/// Writers of the victim; each has an account and counts its batches.
const WRITERS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_acknowledged() {
    if let Ok(folder) = std::env::var(VICTIM) {
        return write_until_killed(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = BTreeMap::<u64, u64>::new();
    for until in [1, 50, 400] {
        let mut victim = victim(folder.path());
        let output = victim.stdout.take().expect("piped");
        let mut count = 0;
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8(line.expect("read")).expect("text");
            // Behind what the test harness may have begun the line with.
            let Some((_, words)) = line.split_once(ACKNOWLEDGED) else {
                continue;
            };
            let (writer, number) = words.split_once(' ').expect("two numbers");
            let number = number.parse().expect("a number");
            acknowledged.insert(writer.parse().expect("a number"), number);
            count += 1;
            if count == until {
                // SIGKILL: it gets no chance to finish anything. What it printed before it died
                // is still read.
                victim.kill().expect("killed");
            }
        }
        victim.wait().expect("waited for");
        assert!(count >= until, "{count} of {until}");
        check_after_kill(folder.path(), &acknowledged).await;
    }
}

fn victim(folder: &Path) -> Child {
    Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "--nocapture"])
        .arg("store::embedded::tests::a_killed_process_loses_nothing_acknowledged")
        .env(VICTIM, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started")
}

/// Every batch is one row in each of two tables and one entry in a log.
async fn write_until_killed(folder: &Path) {
    let store = Arc::new(open_in(folder));
    let epoch = Owned::claim(&*store).await.epoch;
    let writers = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let owned = Owned {
                store: &*store,
                epoch,
            };
            let owner = format!("user{writer}@x");
            let begun = owned.load(&owner).await.rows.len() as u64;
            let value = "v".repeat(300);
            for number in begun.. {
                let key = number.to_string();
                let writes = [
                    put(ROSTER, &key, &value),
                    append(OFFLINE, number),
                    put(VCARD, &key, &value),
                ];
                owned.commit(&owner, writes).await;
                let line = format!("{ACKNOWLEDGED}{writer} {number}\n");
                std::io::stdout()
                    .write_all(line.as_bytes())
                    .expect("written");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("runs until killed");
    }
}

async fn check_after_kill(folder: &Path, acknowledged: &BTreeMap<u64, u64>) {
    let store = open_in(folder);
    let owned = Owned::claim(&store).await;
    for writer in 0..WRITERS {
        let owner = format!("user{writer}@x");
        let rows = owned.load(&owner).await.rows.len() as u64;
        let last = acknowledged.get(&writer);
        assert!(
            last.is_none_or(|last| rows > *last),
            "{owner}: {last:?} lost, {rows} rows"
        );
        // Atomic: what is there is there three times, and so is what is not.
        let entries = owned.log(&owner, OFFLINE, None, usize::MAX).await;
        assert_eq!(entries, (0..rows).collect::<Vec<_>>(), "{owner}");
        for number in 0..=rows {
            let key = number.to_string();
            let expected = number < rows;
            assert_eq!(owned.get(&owner, ROSTER, &key).await.is_some(), expected);
            assert_eq!(owned.get(&owner, VCARD, &key).await.is_some(), expected);
        }
    }
}
