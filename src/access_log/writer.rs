//! Writer: the thread that has the files, and the queue in front of it.
//!
//! ```text
//! connections, shards ─ lines ─▶ queue ─▶ writer ─▶ files
//!                         └ full: dropped, counted   └ disk full: dropped, counted, tried again
//! ```
//!
//! **Invariant:** nobody waits for the log. Whoever has a line finds room for it or drops it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use couplet_proto::xmpp::time::UnixMillis;
use metrics::{Counter, counter};

use super::file::Files;

/// How many lines wait for the writer, and how many bytes; more are dropped.
const LINES_MAX: usize = 8192;
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// So many bytes are written at once, if there are as many.
const PORTION_BYTES: usize = 64 * 1024;

/// How often it is looked for something to do when nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// How long until it is tried again to write when that has failed.
const PAUSE_MS: u64 = 1000;

/// How often it is said that nothing can be written.
const COMPLAINT_MS: u64 = 60_000;

/// How long the end of the process waits for the last lines: the disk may be stuck.
const FAREWELL: Duration = Duration::from_secs(5);

/// Tells what time it is.
pub(super) type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// What is counted.
#[derive(Clone)]
pub(super) struct Counters {
    lines: Counter,
    pub(super) dropped_full: Counter,
    dropped_error: Counter,
    errors: Counter,
}

/// The way to the writer.
pub(super) struct Queue {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
    counters: Counters,
}

/// Tells when the writer has ended.
pub(super) struct Ended(Receiver<()>);

/// What both sides look at.
#[derive(Default)]
struct Shared {
    /// Bytes of the lines that wait.
    bytes: AtomicUsize,
    must_reopen: AtomicBool,
    must_end: AtomicBool,
}

enum Message {
    Line(UnixMillis, String),
    /// There is something to look at.
    Look,
}

struct Writer {
    files: Files,
    inbox: Receiver<Message>,
    shared: Arc<Shared>,
    clock: Clock,
    counters: Counters,
    /// Lines not written yet, how many, and the time of the last.
    pending: Vec<u8>,
    count: u64,
    at: UnixMillis,
    /// Nothing is written before this time.
    paused_until: UnixMillis,
    /// Whether the last attempt has failed.
    is_broken: bool,
    /// When that was last said.
    complained: Option<UnixMillis>,
}

// === impl Counters ===

impl Counters {
    /// The handles, from the recorder installed now.
    pub(super) fn new() -> Self {
        let dropped = |reason| counter!(super::DROPPED, "reason" => reason);
        Self {
            lines: counter!(super::LINES),
            dropped_full: dropped("full"),
            dropped_error: dropped("error"),
            errors: counter!(super::ERRORS),
        }
    }
}

// === impl Queue ===

impl Queue {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(files: Files, clock: Clock) -> io::Result<(Self, Ended)> {
        let (sender, inbox) = sync_channel(LINES_MAX);
        // Nothing is ever said by it: it closes when the writer has ended.
        let (alive, ended) = sync_channel::<()>(0);
        let (shared, counters) = (Arc::<Shared>::default(), Counters::new());
        let writer = Writer {
            files,
            inbox,
            shared: Arc::clone(&shared),
            clock,
            counters: counters.clone(),
            pending: Vec::new(),
            count: 0,
            at: 0,
            paused_until: 0,
            is_broken: false,
            complained: None,
        };
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                let _alive = alive;
                writer.run();
            })?;
        let queue = Self {
            sender,
            shared,
            counters,
        };
        Ok((queue, Ended(ended)))
    }

    /// Has a line written that was made then, if there is room.
    pub(super) fn push(&self, now: UnixMillis, line: String) {
        let length = line.len();
        let before = self.shared.bytes.fetch_add(length, Ordering::Relaxed);
        let is_room = before + length <= BYTES_MAX;
        if !is_room || self.sender.try_send(Message::Line(now, line)).is_err() {
            self.shared.bytes.fetch_sub(length, Ordering::Relaxed);
            self.counters.dropped_full.increment(1);
        }
    }

    /// Has the file opened anew.
    pub(super) fn reopen(&self) {
        self.shared.must_reopen.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the writer end when all that is queued is written.
    pub(super) fn end(&self) {
        self.shared.must_end.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // Where the queue is full the writer is awake.
        let _ = self.sender.try_send(Message::Look);
    }
}

// === impl Ended ===

impl Ended {
    /// Waits until everything queued is written, as long as that is worth it.
    pub(super) fn wait(&self) {
        let _ = self.0.recv_timeout(FAREWELL);
    }
}

// === impl Writer ===

impl Writer {
    fn run(mut self) {
        // Whoever reads the log should find a file, and whoever set it up a mistake, right away.
        let opened = self.files.open((self.clock)());
        self.heed(opened, "cannot be opened: lines are dropped until it can");
        loop {
            // Before the look into the queue: what was sent before the end is in it.
            let must_end = self.shared.must_end.load(Ordering::Acquire);
            match self
                .inbox
                .recv_timeout(if must_end { Duration::ZERO } else { TICK })
            {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) if !must_end => self.turn_page(),
                Err(_) => return,
            }
            // Not for ever: somebody may want the file opened anew, or the end.
            for _ in 0..LINES_MAX {
                let Ok(message) = self.inbox.try_recv() else {
                    break;
                };
                self.take(message);
            }
            self.flush();
            if self.shared.must_reopen.swap(false, Ordering::AcqRel) {
                self.files.close();
                let opened = self.files.open((self.clock)());
                self.heed(
                    opened,
                    "cannot be opened again: lines are dropped until it can",
                );
            }
        }
    }

    fn take(&mut self, message: Message) {
        let Message::Line(at, line) = message else {
            return;
        };
        self.shared.bytes.fetch_sub(line.len(), Ordering::Relaxed);
        if self.files.is_full(at, self.pending.len() + line.len()) {
            self.flush();
            let rotated = self.files.rotate(at);
            self.heed(rotated, "cannot begin a new file: the old one goes on");
        }
        self.pending.extend_from_slice(line.as_bytes());
        self.count += 1;
        self.at = at;
        if self.pending.len() >= PORTION_BYTES {
            self.flush();
        }
    }

    /// A period ends although nothing happens.
    fn turn_page(&mut self) {
        // Lines of the last moments may still be on their way.
        let now = (self.clock)().saturating_sub(PAUSE_MS);
        if self.files.is_full(now, 0) {
            let rotated = self.files.rotate(now);
            self.heed(rotated, "cannot begin a new file: the old one goes on");
        }
    }

    /// Writes what is pending, or drops it.
    fn flush(&mut self) {
        if self.count == 0 {
            return;
        }
        let count = std::mem::take(&mut self.count);
        if (self.clock)() < self.paused_until {
            self.counters.dropped_error.increment(count);
        } else {
            let written = self.files.write(self.at, &self.pending);
            if written.is_ok() {
                self.counters.lines.increment(count);
                if std::mem::take(&mut self.is_broken) {
                    tracing::info!("the access log is written again");
                }
            } else {
                self.counters.dropped_error.increment(count);
                self.paused_until = (self.clock)() + PAUSE_MS;
                self.is_broken = true;
            }
            self.heed(written, "cannot be written: lines are dropped until it can");
        }
        self.pending.clear();
        self.pending.shrink_to(PORTION_BYTES);
    }

    /// Counts a failure, and says so now and then.
    fn heed(&mut self, done: io::Result<()>, what: &str) {
        let Err(error) = done else {
            return;
        };
        self.counters.errors.increment(1);
        let now = (self.clock)();
        let since = self.complained.map(|at| now.saturating_sub(at));
        if since.is_none_or(|since| since >= COMPLAINT_MS) {
            self.complained = Some(now);
            let folder = self.files.folder.display();
            tracing::error!(%folder, %error, "the access log {what}; see access_log.folder");
        }
    }
}
