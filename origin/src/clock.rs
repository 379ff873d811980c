//! Time as the shards see it: an argument, so that a test can drive it.

use std::time::Instant;

use couplet_proto::xmpp::time::UnixMillis;

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds since the process started; never goes back. For waits and limits.
    pub mono: u64,
    /// Milliseconds since 1970; may jump. For stamps that people read.
    pub unix: UnixMillis,
}

/// Where the process reads both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

// === impl Clock ===

impl Clock {
    /// A clock that starts at zero now.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// When it began to count.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// This moment.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    pub fn now(&self) -> Now {
        let unix = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        Now {
            mono: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            unix: u64::try_from(unix).unwrap_or(u64::MAX),
        }
    }
}
