//! Shutdown: signals → drain → deadline → exit code.
//!
//! ```text
//! SIGHUP            reload certificates, tokens and the log level; open the audit log again
//! SIGTERM, SIGINT   stop accepting, tell clients, finish commits; exit code 0
//! a second one      exit at once; exit code 1. What was acknowledged is stored all the same.
//! ```
//!
//! Who was told to leave by other means is not told twice by the first signal: whatever stops
//! processes sends one after its hooks, and the hook may have been `couplet ctl drain`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Read certificates, tokens and the log level again.
    Reload,
    /// Stop in good order.
    Stop,
}

/// Who wanted this process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// A signal.
    Signal,
    /// An operator, at the admin port.
    Operator,
}

/// The signals this process listens to.
#[derive(Debug)]
pub(crate) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

// === impl Signals ===

impl Signals {
    /// Listens from now on. Until then a signal ends the process as it always does.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// The next wish. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hangup.recv() => Wish::Reload,
        }
    }

    /// Runs the drain; a second signal to stop cuts it short. Not cancel-safe.
    pub(crate) async fn guard(mut self, by: By, drain: impl Future<Output = ()>) -> ExitCode {
        let mut is_told = by == By::Signal;
        tokio::pin!(drain);
        loop {
            tokio::select! {
                () = &mut drain => return ExitCode::SUCCESS,
                wish = self.next() => match wish {
                    Wish::Stop if is_told => {
                        tracing::warn!("asked to stop again: stopping at once");
                        return ExitCode::FAILURE;
                    }
                    Wish::Stop => is_told = true,
                    Wish::Reload => {}
                },
            }
        }
    }
}
