//! Lines: each event of the log becomes exactly one line, written by a thread of its own.
//!
//! What clients send ends up in log fields. A line break in it would forge a line, an escape
//! sequence would act on the terminal of whoever reads the log: both leave as visible escapes.
//!
//! A log nobody reads fast enough must not stop the server: the queue holds [`LINES_MAX`] lines,
//! what comes on top is dropped and counted in `couplet_log_lines_dropped_total`.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How many lines wait for the writer; more are dropped.
const LINES_MAX: usize = 8192;

/// How a character that controls something is written instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    /// As Rust writes it: `\n`, `\u{1b}`.
    Text,
    /// As JSON writes it: `\u001b`.
    Json,
}

/// How long the end of the process waits for the last lines: whoever reads them may be stuck.
const FAREWELL: Duration = Duration::from_secs(2);

/// Gives the log its lines' way out.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    escape: Escape,
    queue: SyncSender<Vec<u8>>,
}

/// Ends the writer, after it has written what is queued.
#[derive(Debug)]
pub(super) struct Guard {
    queue: SyncSender<Vec<u8>>,
    /// Says nothing, ever: it closes when the writer has ended.
    ended: Receiver<()>,
}

/// Starts the thread that writes lines to `out`.
///
/// # Errors
/// When no thread can be started.
pub(super) fn writer(
    escape: Escape,
    mut out: impl Write + Send + 'static,
) -> io::Result<(Lines, Guard)> {
    let (queue, lines) = sync_channel::<Vec<u8>>(LINES_MAX);
    let (alive, ended) = sync_channel::<()>(0);
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            let _alive = alive;
            // An empty line is the guard's farewell: the log itself never makes one.
            for line in lines.iter().take_while(|line| !line.is_empty()) {
                // Nobody is left to tell when the log itself cannot be written.
                let _ = out.write_all(&line);
            }
            let _ = out.flush();
        })?;
    let guard = Guard {
        queue: queue.clone(),
        ended,
    };
    Ok((Lines { escape, queue }, guard))
}

// === impl Lines ===

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Lines {
    /// Takes one whole event: the log hands each over in one piece, with its line break.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = escaped(text.strip_suffix('\n').unwrap_or(&text), self.escape);
        if self.queue.try_send(line.into_bytes()).is_err() {
            metrics::counter!("couplet_log_lines_dropped_total").increment(1);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Guard ===

impl Drop for Guard {
    fn drop(&mut self) {
        // A queue still full now means that nobody reads: then the last lines are lost.
        if self.queue.try_send(Vec::new()).is_ok() {
            let _ = self.ended.recv_timeout(FAREWELL);
        }
    }
}

/// The line with its line break, and with no other character that controls anything.
pub(crate) fn escaped(text: &str, escape: Escape) -> String {
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match escape {
            _ if !controls(c) => line.push(c),
            Escape::Text => line.extend(c.escape_default()),
            Escape::Json => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    line.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    line.push('\n');
    line
}

/// Whether a character acts on the reader's terminal: control characters, line and paragraph
/// separators, and what reorders text on screen.
fn controls(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no writer panicked")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the log holds after two events with hostile fields.
    fn log(escape: Escape) -> String {
        let out = Shared::default();
        let (lines, guard) = writer(escape, out.clone()).expect("a thread");
        let format = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(lines);
        let hostile = "a\r\n2026 ERROR forged \x1b[2J\u{9b}31m\u{202e}\u{7f}";
        let events = || {
            tracing::info!(jid = hostile, "first");
            tracing::info!(jid = %hostile, "second {hostile}");
        };
        let registry = tracing_subscriber::registry();
        match escape {
            Escape::Text => tracing::subscriber::with_default(registry.with(format), events),
            Escape::Json => {
                tracing::subscriber::with_default(registry.with(format.json()), events);
            }
        }
        drop(guard);
        let bytes = out.0.lock().expect("no writer panicked").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_client_cannot_forge_a_line() {
        let text = log(Escape::Text);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.chars().any(|c| c != '\n' && controls(c)), "{text:?}");
        assert!(text.contains("forged"), "{text}");
    }

    #[test]
    fn json_says_what_was_sent_without_control_characters() {
        let text = log(Escape::Json);
        assert!(!text.chars().any(|c| c != '\n' && controls(c)), "{text:?}");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), 2);
        let jid = lines[0]["fields"]["jid"].as_str().expect("a field");
        assert!(jid.starts_with("a\r\n2026 ERROR forged"), "{jid:?}");
    }
}
