//! From an entry to the disk: queue, thread, trouble with the disk, and the end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use couplet_proto::journal::Journal;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;
use crate::access_log::{AccessLog, DROPPED, ERRORS, LINES};
use crate::config;

fn settings(format: LineFormat) -> config::AccessLog {
    config::AccessLog {
        folder: None,
        format,
        fields: vec![Field::Event, Field::Reason],
        rotate_bytes: 0,
        rotate_secs: 0,
        keep: 3,
    }
}

/// A log at work, and what it counts.
struct Stage {
    folder: PathBuf,
    log: AccessLog,
    journal: Journal,
    hand: Hand,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
}

impl Stage {
    fn new(folder: &Path, settings: &config::AccessLog) -> Self {
        Self::with_gate(folder, settings, &Arc::default())
    }

    /// A log whose writer stands still as long as somebody holds the gate.
    fn with_gate(folder: &Path, settings: &config::AccessLog, gate: &Arc<Mutex<()>>) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let hand = Hand::at(NOON);
        let (time, gate) = (hand.clock(), Arc::clone(gate));
        let clock = Arc::new(move || {
            // The writer asks for the time before it does anything.
            if thread::current().name() == Some("access-log") {
                drop(gate.lock());
            }
            time()
        });
        let log = metrics::with_local_recorder(&recorder, || {
            AccessLog::in_folder(folder.to_owned(), settings, "node", clock)
        });
        let log = log.expect("a thread");
        Self {
            folder: folder.to_owned(),
            journal: log.journal(),
            log,
            hand,
            metrics,
        }
    }

    fn note(&self, event: Event) {
        self.journal.note(|| entry(event));
    }

    fn counted(&self, name: &str) -> u64 {
        let text = self.metrics.render();
        let lines = text.lines().filter(|line| line.starts_with(name));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }

    /// What happened, as the file says.
    fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("access.log")).unwrap_or_default();
        let (_, lines) = read_w3c(&text);
        lines.iter().map(|line| line["x-event"].clone()).collect()
    }
}

#[test]
fn everything_queued_is_written_at_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let gate = Arc::<Mutex<()>>::default();
    let closed = gate.lock().expect("nobody has panicked");
    let stage = Stage::with_gate(folder.path(), &settings(LineFormat::W3c), &gate);
    for _ in 0..1000 {
        stage.note(Event::Connect);
    }
    // Somebody may still know the log when it ends.
    let journal = stage.journal.clone();
    let (path, metrics) = (stage.folder.join("access.log"), stage.metrics.clone());
    drop(closed);
    drop(stage);
    let (_, lines) = read_w3c(&fs::read_to_string(path).expect("read"));
    assert_eq!(lines.len(), 1000);
    assert!(metrics.render().contains(&format!("{LINES} 1000")));
    journal.note(|| entry(Event::Connect));
    assert!(metrics.render().contains("reason=\"full\"} 1"));
}

#[test]
fn a_file_is_there_before_anything_happens_and_goes_when_it_is_moved() {
    let folder = tempfile::tempdir().expect("a folder");
    let stage = Stage::new(folder.path(), &settings(LineFormat::W3c));
    let (current, moved) = (
        folder.path().join("access.log"),
        folder.path().join("moved"),
    );
    until("there is a head", || {
        fs::read_to_string(&current).is_ok_and(|text| text.ends_with("x-event x-reason\n"))
    });
    stage.note(Event::Connect);
    until("it is written", || stage.events() == ["connect"]);
    fs::rename(&current, &moved).expect("renamed");
    stage.log.reopen();
    until("there is another", || current.exists());
    stage.note(Event::Bind);
    until("it is written there", || stage.events() == ["bind"]);
    assert_eq!(
        read_w3c(&fs::read_to_string(moved).expect("read")).1.len(),
        1
    );
}

#[test]
fn a_period_ends_although_nothing_happens() {
    let folder = tempfile::tempdir().expect("a folder");
    let daily = config::AccessLog {
        rotate_secs: 86_400,
        ..settings(LineFormat::W3c)
    };
    let stage = Stage::new(folder.path(), &daily);
    stage.note(Event::Connect);
    until("it is written", || stage.events() == ["connect"]);
    stage.hand.set(NOON + 86_400_000);
    until("there is another file", || files(folder.path()).len() == 2);
    assert_eq!(stage.events(), [""; 0]);
}

#[test]
fn a_full_disk_costs_lines_until_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let current = folder.path().join("access.log");
    // Everything can be opened there and nothing be written.
    symlink("/dev/full", &current).expect("a link");
    let stage = Stage::new(folder.path(), &settings(LineFormat::Json));
    stage.note(Event::Connect);
    until("it is counted", || {
        stage.counted(ERRORS) > 0 && stage.counted(DROPPED) == 1
    });
    // Not tried for every line.
    let errors = stage.counted(ERRORS);
    for _ in 0..100 {
        stage.note(Event::Connect);
    }
    until("they are counted", || stage.counted(DROPPED) == 101);
    assert_eq!(stage.counted(ERRORS), errors);
    fs::remove_file(&current).expect("removed");
    stage.hand.set(NOON + 2000);
    stage.note(Event::Bind);
    until("it is written", || {
        fs::read_to_string(&current).is_ok_and(|text| text == "{\"x-event\":\"bind\"}\n")
    });
    assert_eq!(stage.counted(LINES), 1);
}

#[test]
fn a_folder_that_cannot_be_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("file");
    fs::write(&inner, "no folder").expect("written");
    let stage = Stage::new(&inner, &settings(LineFormat::W3c));
    stage.note(Event::Connect);
    until("it is counted", || stage.counted(DROPPED) == 1);
    fs::remove_file(&inner).expect("removed");
    stage.hand.set(NOON + 2000);
    stage.note(Event::Bind);
    until("it is written", || stage.events() == ["bind"]);
}

#[test]
fn nobody_waits_for_a_disk_that_does_not_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    // Opening it waits for a reader, who does not come.
    let current = folder.path().join("access.log");
    let made = std::process::Command::new("mkfifo").arg(&current).status();
    assert!(made.expect("mkfifo").success());
    let stage = Stage::new(folder.path(), &settings(LineFormat::Json));
    for _ in 0..20_000 {
        stage.note(Event::Connect);
    }
    assert!(
        stage.counted(DROPPED) >= 20_000 - 8192 - 1,
        "{}",
        stage.metrics.render()
    );
    assert_eq!(stage.counted(ERRORS), 0);
    // Somebody comes: what was kept is there, in whole lines.
    let reader = thread::spawn(move || fs::read_to_string(current).expect("read"));
    drop(stage);
    let text = reader.join().expect("it reads");
    assert!(text.lines().count() >= 8000, "{}", text.lines().count());
    assert!(text.lines().all(|line| line == "{\"x-event\":\"connect\"}"));
}
