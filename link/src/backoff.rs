//! Back-off: how long to wait before another attempt.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);

/// No wait is longer.
const LAST: Duration = Duration::from_secs(2);

/// Waits that grow with every failure, each by chance up to half as long as it could be, so that
/// those who lost the same node do not come back together.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

// === impl Backoff ===

impl Backoff {
    /// Forgets the failures: an attempt has succeeded.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait now; `chance` is from 0 to 1.
    pub fn next(&mut self, chance: f64) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(10)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..7).map(|_| backoff.next(0.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(backoff.next(1.0).as_millis(), 1000);
        backoff.reset();
        assert_eq!(backoff.next(0.5).as_millis(), 75);
    }
}
