//! Access log: who came, as whom, what they moved and why they went; and where slots went.
//!
//! ```text
//! edge, origin ─ Entry ─▶ line ─▶ writer's queue ─▶ file ─▶ access.log, access-….log
//! ```
//!
//! - [`field`]: what a line can say.
//! - [`mod@line`]: an entry in the fields and the format that were chosen.
//! - [`escape`]: what clients choose cannot be taken for anything else.
//! - [`writer`]: the thread that writes, and the queue in front of it.
//! - [`mod@file`]: the files; when the next one begins, and how many are kept.
//!
//! **Invariant:** the service never waits for its log: a full disk or a slow one costs lines, which
//! are counted.

mod escape;
mod field;
mod file;
mod line;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use couplet_origin::clock;
use couplet_proto::journal::{Entry, Journal, Scribe};

pub(crate) use self::field::Field;
use self::file::{Files, Limits};
use self::line::Shape;
use self::writer::{Clock, Ended, Queue};
use crate::config;

/// Lines written.
const LINES: &str = "couplet_access_log_lines_total";

/// Lines lost, by `reason`.
const DROPPED: &str = "couplet_access_log_lines_dropped_total";

/// Failures to open, write or rename a file.
const ERRORS: &str = "couplet_access_log_errors_total";

/// The log of a process. When it is dropped, all that is queued is written.
pub(crate) struct AccessLog(Option<(Arc<Desk>, Ended)>);

/// Where entries become lines.
struct Desk {
    shape: Shape,
    clock: Clock,
    queue: Queue,
}

// === impl AccessLog ===

impl AccessLog {
    /// Starts the log, if there is a folder for it. Must come after the recorder of metrics.
    ///
    /// # Errors
    /// When no thread can be started. A folder that cannot be written is no error: the log tries
    /// again until it can.
    pub(crate) fn start(settings: &config::AccessLog, node: &str) -> io::Result<Self> {
        let Some(folder) = &settings.folder else {
            return Ok(Self(None));
        };
        let started = clock::Clock::start();
        let clock: Clock = Arc::new(move || started.now().unix);
        Self::in_folder(folder.clone(), settings, node, clock)
    }

    fn in_folder(
        folder: PathBuf,
        settings: &config::AccessLog,
        node: &str,
        clock: Clock,
    ) -> io::Result<Self> {
        let shape = Shape {
            format: settings.format,
            fields: settings.fields.clone(),
            node: node.to_owned(),
        };
        let limits = Limits {
            bytes: settings.rotate_bytes,
            secs: settings.rotate_secs,
            keep: settings.keep,
        };
        let files = Files::new(folder, shape.clone(), limits);
        let (queue, ended) = Queue::start(files, Arc::clone(&clock))?;
        let desk = Desk {
            shape,
            clock,
            queue,
        };
        Ok(Self(Some((Arc::new(desk), ended))))
    }

    /// Where edge and origin say what happens.
    pub(crate) fn journal(&self) -> Journal {
        match &self.0 {
            Some((desk, _)) => Journal::kept_by(Arc::<Desk>::clone(desk)),
            None => Journal::default(),
        }
    }

    /// Opens the file anew: somebody may have moved it away.
    pub(crate) fn reopen(&self) {
        if let Some((desk, _)) = &self.0 {
            desk.queue.reopen();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some((desk, ended)) = &self.0 {
            desk.queue.end();
            ended.wait();
        }
    }
}

// === impl Desk ===

impl Scribe for Desk {
    fn note(&self, entry: &Entry<'_>) {
        let now = (self.clock)();
        self.queue.push(now, self.shape.line(now, entry));
    }
}
