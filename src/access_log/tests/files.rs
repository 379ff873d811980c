//! Files: when the next one begins, what stands at its head, and how many stay.

use std::fs;

use super::*;
use crate::access_log::file::{Files, Limits};

const HOUR: UnixMillis = 3_600_000;

/// A log of events in a folder, as the writer uses it.
struct Log {
    files: Files,
    shape: Shape,
}

impl Log {
    fn new(folder: &Path, format: LineFormat, limits: Limits) -> Self {
        let shape = shape(format, &["time", "x-event"]);
        let files = Files::new(folder.to_owned(), shape.clone(), limits);
        Self { files, shape }
    }

    fn write(&mut self, now: UnixMillis, event: Event) {
        let line = self.shape.line(now, &entry(event));
        if self.files.is_full(now, line.len()) {
            self.files.rotate(now).expect("rotated");
        }
        self.files.write(now, line.as_bytes()).expect("written");
    }
}

fn limits(bytes: u64, secs: u64, keep: usize) -> Limits {
    Limits { bytes, secs, keep }
}

/// What happened by each file, which must have a head of its own.
fn told(folder: &Path) -> Vec<(String, Vec<String>)> {
    let all = files(folder).into_iter().map(|(name, text)| {
        assert!(
            text.starts_with("#Version: 1.0\n#Software: couplet/"),
            "{name}: {text}"
        );
        let (directives, lines) = read_w3c(&text);
        assert!(directives.len().is_multiple_of(4), "{directives:?}");
        let lines = lines.iter().map(|line| line["x-event"].clone());
        (name, lines.collect())
    });
    all.collect()
}

fn check(folder: &Path, expected: &[(&str, &[&str])]) {
    let told = told(folder);
    let told: Vec<_> = told
        .iter()
        .map(|(name, lines)| (name.as_str(), lines.iter().map(String::as_str).collect()))
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, lines)| (*name, lines.to_vec()))
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn a_period_ends_at_a_boundary_in_utc() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut log = Log::new(folder.path(), LineFormat::W3c, limits(0, 86_400, 9));
    log.write(NOON, Event::Connect);
    log.write(NOON + 12 * HOUR - 1, Event::Bind);
    log.write(NOON + 12 * HOUR, Event::Disconnect);
    log.write(NOON + 36 * HOUR - 1, Event::Connect);
    // Three days without anything are no three files.
    log.write(NOON + 100 * HOUR, Event::Reject);
    check(
        folder.path(),
        &[
            ("access-20261129T000000.000Z.log", &["connect", "bind"]),
            (
                "access-20261202T160000.000Z.log",
                &["disconnect", "connect"],
            ),
            ("access.log", &["reject"]),
        ],
    );
}

#[test]
fn a_file_is_full_at_its_bound_and_the_oldest_go() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("access-mine.log"),
        "#Version: 1.0\n#Software: couplet/\n#\n#\n",
    )
    .expect("written");
    let head = shape(LineFormat::W3c, &["time", "x-event"])
        .header(NOON)
        .len() as u64;
    // Two lines of 21 bytes.
    let mut log = Log::new(folder.path(), LineFormat::W3c, limits(head + 45, 0, 2));
    for _ in 0..9 {
        log.write(NOON, Event::Connect);
    }
    let two: &[&str] = &["connect", "connect"];
    check(
        folder.path(),
        &[
            // In the same millisecond, and in order all the same.
            ("access-20261128T120000.002Z.log", two),
            ("access-20261128T120000.003Z.log", two),
            ("access-mine.log", &[]),
            ("access.log", &["connect"]),
        ],
    );
}

#[test]
fn a_clock_that_is_set_back_removes_no_newer_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut log = Log::new(folder.path(), LineFormat::W3c, limits(1, 0, 2));
    let events = [
        Event::Connect,
        Event::Bind,
        Event::Resume,
        Event::Disconnect,
    ];
    for (hours, event) in (0..).zip(events) {
        log.write(NOON - hours * HOUR, event);
    }
    check(
        folder.path(),
        &[
            ("access-20261128T110000.001Z.log", &["bind"]),
            ("access-20261128T110000.002Z.log", &["resume"]),
            ("access.log", &["disconnect"]),
        ],
    );
}

#[test]
fn a_line_larger_than_a_file_has_one_for_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut log = Log::new(folder.path(), LineFormat::Json, limits(10, 0, 9));
    for _ in 0..3 {
        log.write(NOON, Event::Connect);
    }
    let files = files(folder.path());
    assert_eq!(files.len(), 3);
    assert!(
        files.values().all(|text| text.lines().count() == 1),
        "{files:?}"
    );
}

#[test]
fn none_is_kept_where_none_is_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut log = Log::new(folder.path(), LineFormat::W3c, limits(0, 60, 0));
    log.write(NOON, Event::Connect);
    log.write(NOON + HOUR, Event::Bind);
    check(folder.path(), &[("access.log", &["bind"])]);
}

#[test]
fn a_file_moved_away_is_replaced_when_it_is_opened_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut log = Log::new(folder.path(), LineFormat::W3c, limits(0, 0, 9));
    log.write(NOON, Event::Connect);
    let path = |name: &str| folder.path().join(name);
    fs::rename(path("access.log"), path("elsewhere")).expect("renamed");
    log.write(NOON, Event::Bind);
    log.files.close();
    log.write(NOON, Event::Disconnect);
    check(
        folder.path(),
        &[
            ("access.log", &["disconnect"]),
            ("elsewhere", &["connect", "bind"]),
        ],
    );
    // Opened anew without being moved it goes on without another head.
    log.files.close();
    log.write(NOON, Event::Connect);
    check(
        folder.path(),
        &[
            ("access.log", &["disconnect", "connect"]),
            ("elsewhere", &["connect", "bind"]),
        ],
    );
}

#[test]
fn a_file_of_an_earlier_process_goes_on_after_another_head() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let new = || Log::new(folder.path(), LineFormat::W3c, limits(0, 0, 9));
    new().write(NOON, Event::Connect);
    // It died while it wrote.
    let mut text = fs::read_to_string(&path).expect("read");
    text.push_str("12:00:00.000 bi");
    fs::write(&path, &text).expect("written");
    new().write(NOON, Event::Disconnect);
    let text = fs::read_to_string(&path).expect("read");
    assert!(text.contains("bi\n#Version"), "{text}");
    assert_eq!(text.matches("#Fields").count(), 2);
    assert!(text.ends_with(" disconnect\n"), "{text}");
}

#[test]
fn an_old_file_of_an_earlier_process_makes_room() {
    let folder = tempfile::tempdir().expect("a folder");
    // The file is of today; the lines are of a later day.
    let new = || Log::new(folder.path(), LineFormat::W3c, limits(0, 86_400, 9));
    new().write(NOON, Event::Connect);
    let later = NOON + 50 * 365 * 24 * HOUR;
    new().write(later, Event::Bind);
    let told = told(folder.path());
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1], ("access.log".to_owned(), vec!["bind".to_owned()]));
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut log = Log::new(folder.path(), LineFormat::W3c, limits(0, 0, 9));
    log.write(NOON, Event::Connect);
    let mut other = Log::new(folder.path(), LineFormat::W3c, limits(0, 0, 9));
    let error = other.files.open(NOON).expect_err("it is taken");
    assert!(error.to_string().contains("a folder of its own"), "{error}");
    drop(log);
    other.files.open(NOON).expect("it is free");
}

#[cfg(target_os = "linux")]
#[test]
fn others_on_the_machine_cannot_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("a/b");
    let mut log = Log::new(&inner, LineFormat::W3c, limits(0, 0, 9));
    log.write(NOON, Event::Connect);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode();
    assert_eq!(mode(&inner.join("access.log")) & 0o007, 0);
    assert_eq!(mode(&inner) & 0o077, 0);
}

/// Names the folder of a small disk to the test that needs one.
const SMALL_DISK: &str = "COUPLET_TEST_SMALL_DISK";

#[cfg(target_os = "linux")]
#[test]
fn a_disk_becomes_full_and_is_emptied() {
    let folder = tempfile::tempdir().expect("a folder");
    // In a mount namespace of its own, for which one must be root; elsewhere `flow` has a device
    // that is always full.
    let script = "mount -t tmpfs -o size=16k none \"$0\" || exit 77; exec \"$@\"";
    let output = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(folder.path())
        .arg(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "access_log::tests::files::on_a_small_disk",
            "--ignored",
        ])
        .env(SMALL_DISK, folder.path())
        .output();
    let Ok(output) = output else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => assert!(text.contains("1 passed"), "{text}"),
        Some(1 | 77) if !text.contains("running") => {}
        _ => panic!("{text}"),
    }
}

#[test]
#[ignore = "another test runs it where there is a small disk"]
fn on_a_small_disk() {
    let Some(folder) = std::env::var_os(SMALL_DISK) else {
        return;
    };
    let path = Path::new(&folder).join("access.log");
    let mut log = Log::new(Path::new(&folder), LineFormat::W3c, limits(0, 0, 9));
    let line = log.shape.line(NOON, &entry(Event::Connect));
    let mut written = 0;
    let error = loop {
        match log.files.write(NOON, line.as_bytes()) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let lines = || read_w3c(&fs::read_to_string(&path).expect("read")).1.len();
    // What had room for a part of it only is not there in part.
    assert!(written > 100);
    assert_eq!(lines(), written);
    log.files
        .write(NOON, line.as_bytes())
        .expect_err("it is still full");
    assert_eq!(lines(), written);
    // Somebody makes room by moving the file to another disk.
    fs::remove_file(&path).expect("removed");
    log.files.close();
    log.files
        .write(NOON, line.as_bytes())
        .expect("there is room");
    assert_eq!(lines(), 1);
}
