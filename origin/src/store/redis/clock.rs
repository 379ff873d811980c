//! What time it is at Redis, as far as it can be known here.
//!
//! A commit tells Redis between which moments it may be applied, on the clock of Redis, so that
//! what was given up here is not applied later. That clock is only seen through answers: one
//! showed a time somewhere between its question and its arrival. Counted from the arrival on the
//! monotonic clock here, the time shown is the earliest that it can be there now, so a limit
//! reckoned from it is never too late, but by what the two clocks drift apart in between.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::redis::Value;

/// How long a closer look is preferred to a newer one.
const PREFERRED_FOR: Duration = Duration::from_secs(10);

/// How long what was seen is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(30);

/// The clock of one server.
#[derive(Debug, Default)]
pub(super) struct Clock {
    sample: Mutex<Option<Sample>>,
}

/// One look at the clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Through which connection: another may lead to another server.
    pub(super) generation: u64,
    pub(super) asked: Instant,
    pub(super) answered: Instant,
    /// Milliseconds since 1970.
    pub(super) shown: u64,
}

/// When a commit may be applied: milliseconds since 1970, both ends included.
///
/// It has a beginning for a clock that is set back while the request is under way, or was since
/// it was looked at: there the end alone would be far off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: u64,
    pub(super) until: u64,
}

// === impl Clock ===

impl Clock {
    /// The earliest time that it can be there at `now`; none if that must be asked first.
    pub(super) fn earliest(&self, generation: u64, now: Instant) -> Option<u64> {
        let sample = self.sample()?;
        let is_believed = sample.generation == generation && sample.age(now) < BELIEVED_FOR;
        is_believed.then(|| sample.earliest(now))
    }

    /// Keeps what was seen, if it tells more than what is known.
    pub(super) fn see(&self, seen: Sample, now: Instant) {
        let mut known = self.lock();
        let is_better = known.is_none_or(|known| seen.is_better_than(&known, now));
        if is_better {
            *known = Some(seen);
        }
    }

    /// It did not go as reckoned: the next who needs the time asks for it.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    fn sample(&self) -> Option<Sample> {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Sample>> {
        // It is replaced as a whole.
        self.sample.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Sample ===

impl Sample {
    /// What an answer that arrives now shows, if there is a time in it.
    pub(super) fn new(generation: u64, asked: Instant, answer: &Value) -> Option<Self> {
        Some(Self {
            generation,
            asked,
            answered: Instant::now(),
            shown: shown(answer)?,
        })
    }

    /// The earliest time that it can be there at `now`.
    pub(super) fn earliest(&self, now: Instant) -> u64 {
        self.shown.saturating_add(millis(self.age(now)))
    }

    /// The latest. What was shown and what has passed were both rounded down.
    fn latest(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.asked);
        self.shown.saturating_add(millis(passed)).saturating_add(2)
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.answered)
    }

    fn round_trip(&self) -> Duration {
        self.answered.saturating_duration_since(self.asked)
    }

    fn is_better_than(&self, known: &Self, now: Instant) -> bool {
        if self.generation != known.generation {
            return self.generation > known.generation;
        }
        if self.answered < known.answered {
            return false;
        }
        if self.round_trip() <= known.round_trip() || known.age(now) >= PREFERRED_FOR {
            return true;
        }
        // Both cannot be true: the clock was set, and the newer one shows it.
        self.earliest(now) > known.latest(now) || self.latest(now) < known.earliest(now)
    }
}

// === impl Validity ===

impl Validity {
    /// While it is waited for, on a clock that shows `earliest` or later; `margin` is what may go
    /// wrong. It has ended already if the margin is all there is.
    pub(super) fn new(earliest: u64, waited_for: Duration, margin: Duration) -> Self {
        Self {
            from: earliest.saturating_sub(millis(margin)),
            until: earliest
                .saturating_add(millis(waited_for))
                .saturating_sub(millis(margin)),
        }
    }
}

/// The time in an answer: all of it, or its last part.
fn shown(answer: &Value) -> Option<u64> {
    match answer {
        Value::Int(millis) => u64::try_from(*millis).ok(),
        Value::Array(parts) => parts.last().and_then(shown),
        _ => None,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
