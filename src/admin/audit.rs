//! Audit: who changed what, and who was refused: one event each.
//!
//! Always in the log, under the target `audit`; besides, when `admin.audit_file` is set, as a line
//! of JSON in that file. It is written by a thread of its own: a disk that is full or slow loses
//! lines, which are counted in `couplet_admin_audit_lines_dropped_total`, and stops nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result};
use couplet_origin::clock::Clock;
use couplet_proto::xmpp::time;
use serde::Serialize;

use crate::telemetry;

/// How many lines wait for the disk; more are lost.
const LINES_MAX: usize = 4096;

/// How long the end of the process waits for the last lines.
const FAREWELL: Duration = Duration::from_secs(2);

/// One thing somebody did, or was not let do.
#[derive(Debug, Serialize)]
pub(super) struct Event<'a> {
    /// The name of a token, `loopback`, or `nobody`.
    pub(super) who: &'a str,
    /// The address of the other end.
    pub(super) from: &'a str,
    /// The id of the operation; `-` when there is none such.
    pub(super) operation: &'a str,
    /// What it was about: an address, a domain, slots, a folder, a path that leads nowhere.
    pub(super) subject: &'a str,
    /// `done`, or why not.
    pub(super) outcome: &'a str,
    /// The status of the answer.
    pub(super) status: u16,
}

/// A line of the file.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

/// The way of the events out.
#[derive(Debug)]
pub(super) struct Audit {
    clock: Clock,
    queue: Option<SyncSender<Job>>,
}

/// What the thread has to do.
#[derive(Debug)]
enum Job {
    Write(Vec<u8>),
    Reopen,
    /// Say so when everything before is written.
    Tell(SyncSender<()>),
}

/// What the thread writes to.
struct Writer {
    path: PathBuf,
    file: File,
    /// Whether the line before may have been cut short.
    is_torn: bool,
}

// === impl Audit ===

impl Audit {
    /// Starts the thread, if there is a file.
    pub(super) fn start(path: Option<&Path>) -> Result<Self> {
        let queue = match path {
            Some(path) => Some(Writer::open(path)?.start()?),
            None => None,
        };
        Ok(Self {
            clock: Clock::start(),
            queue,
        })
    }

    /// Writes an event down.
    pub(super) fn tell(&self, event: &Event<'_>) {
        let Event {
            who,
            from,
            operation,
            subject,
            outcome,
            status,
        } = event;
        match *outcome {
            "done" => tracing::info!(
                target: "audit",
                who, from, operation, subject, outcome, status, "done for an operator"
            ),
            // Somebody may be trying keys.
            "unauthenticated" | "forbidden" => tracing::warn!(
                target: "audit",
                who, from, operation, subject, outcome, status, "kept out"
            ),
            _ => tracing::info!(
                target: "audit",
                who, from, operation, subject, outcome, status, "not done for an operator"
            ),
        }
        let Some(queue) = &self.queue else { return };
        let line = Line {
            time: time::format(self.clock.now().unix),
            event,
        };
        let line = serde_json::to_string(&line).expect("plain structs are always JSON");
        let line = telemetry::escaped(&line, telemetry::Escape::Json);
        if queue.try_send(Job::Write(line.into_bytes())).is_err() {
            lost();
        }
    }

    /// Opens the file again, which may have been moved away.
    pub(super) fn reopen(&self) {
        self.send(Job::Reopen);
    }

    /// Waits a little until everything is written.
    pub(super) fn close(&self) {
        let (told, written) = sync_channel(1);
        if self.send(Job::Tell(told)) {
            let _ = written.recv_timeout(FAREWELL);
        }
    }

    fn send(&self, job: Job) -> bool {
        let Some(queue) = &self.queue else {
            return false;
        };
        match queue.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

// === impl Writer ===

impl Writer {
    fn open(path: &Path) -> Result<Self> {
        let file = open(path).with_context(|| {
            let path = path.display();
            format!("admin.audit_file: {path} cannot be opened for appending")
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            is_torn: false,
        })
    }

    fn start(mut self) -> Result<SyncSender<Job>> {
        let (queue, jobs) = sync_channel(LINES_MAX);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || self.work(&jobs))?;
        Ok(queue)
    }

    fn work(&mut self, jobs: &Receiver<Job>) {
        for job in jobs {
            match job {
                Job::Write(line) => self.write(&line),
                Job::Reopen => match open(&self.path) {
                    Ok(file) => self.file = file,
                    Err(error) => tracing::error!(
                        %error,
                        path = %self.path.display(),
                        "the audit log is not opened again: the old file stays"
                    ),
                },
                Job::Tell(told) => {
                    let _ = told.try_send(());
                }
            }
        }
    }

    fn write(&mut self, line: &[u8]) {
        let was_torn = self.is_torn;
        let ended = if was_torn {
            // What is left of the line before must not swallow this one.
            self.file.write_all(b"\n")
        } else {
            Ok(())
        };
        let written = ended.and_then(|()| self.file.write_all(line));
        self.is_torn = written.is_err();
        if let Err(error) = written {
            lost();
            if !was_torn {
                tracing::error!(
                    %error,
                    path = %self.path.display(),
                    "the audit log cannot be written: lines are lost until it can"
                );
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o640);
    }
    options.open(path)
}

fn lost() {
    metrics::counter!("couplet_admin_audit_lines_dropped_total").increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'a>(subject: &'a str) -> Event<'a> {
        Event {
            who: "ops",
            from: "127.0.0.1:7",
            operation: "account_add",
            subject,
            outcome: "done",
            status: 201,
        }
    }

    #[test]
    fn nobody_can_forge_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let audit = Audit::start(Some(&path)).expect("a file");
        let hostile = "a\r\n{\"who\":\"forged\"}\u{2028}\x1b[2J\u{9b}\u{202e}\"";
        audit.tell(&event(hostile));
        audit.tell(&event("b"));
        audit.close();
        let text = std::fs::read_to_string(&path).expect("written");
        assert_eq!(text.lines().count(), 2, "{text}");
        let controls =
            |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{2028}'..='\u{202e}'));
        assert!(!text.chars().any(controls), "{text:?}");
        let line: serde_json::Value =
            serde_json::from_str(text.lines().next().expect("two")).expect("JSON");
        assert_eq!(line["subject"], hostile);
        assert_eq!(line["who"], "ops");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let audit = Audit::start(Some(&path)).expect("a file");
        audit.tell(&event("a"));
        audit.close();
        std::fs::rename(&path, folder.path().join("audit.log.1")).expect("moved");
        audit.reopen();
        audit.tell(&event("b"));
        audit.close();
        let text = std::fs::read_to_string(&path).expect("made again");
        assert!(text.contains("\"b\"") && !text.contains("\"a\""), "{text}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_stops_nothing() {
        let audit = Audit::start(Some(Path::new("/dev/full"))).expect("it opens");
        for _ in 0..2 * LINES_MAX {
            audit.tell(&event("a"));
        }
        audit.close();
    }
}
