//! The edge's clock: monotonic milliseconds since the process started.

#[cfg(feature = "simulation")]
use std::cell::Cell;
use std::time::{Duration, Instant};

#[cfg(feature = "simulation")]
thread_local! {
    /// What time the clocks of this thread show in a simulation.
    static SIMULATED_MS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Reads the time since one moment that the whole process shares, so that a stanza stamped by
/// the origin's clock can be compared with the edge's.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

// === impl Clock ===

impl Clock {
    /// A clock that counts from `started`.
    pub const fn since(started: Instant) -> Self {
        Self { started }
    }

    /// Milliseconds since the start. Never 0, which frames use for "not measured".
    pub fn now_ms(self) -> u64 {
        #[cfg(feature = "simulation")]
        if let Some(now) = SIMULATED_MS.get() {
            return now;
        }
        let elapsed = self.started.elapsed().as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX).max(1)
    }

    /// Microseconds since the start.
    pub fn now_micros(self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The moment that many milliseconds after the start.
    pub fn at(self, ms: u64) -> Instant {
        self.started + Duration::from_millis(ms)
    }
}

/// What time the edges of this thread think it is, in milliseconds since their start.
#[cfg(feature = "simulation")]
pub fn set_now_ms(now: u64) {
    SIMULATED_MS.set(Some(now));
}
