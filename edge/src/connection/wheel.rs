//! Wheel: one timer for all connections.
//!
//! An idle connection holds no timer of its own, only an entry of eight bytes here. Whoever is
//! woken looks at its own deadlines: an entry may come early, or for nothing.

use std::sync::{Mutex, PoisonError};

use couplet_proto::link::id::ConnectionId;

/// How far apart wake-ups are.
pub(crate) const TICK_MS: u64 = 100;

/// How many ticks ahead the wheel reaches: nearly seven minutes. Later deadlines come early.
const TICKS: u64 = 4096;

/// Who is to be woken when.
#[derive(Debug)]
pub(crate) struct Wheel {
    inner: Mutex<Inner>,
}

/// Which of a connection's wake-ups are still to come, so that it asks for no more than it needs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Armed([u64; 2]);

#[derive(Debug)]
struct Inner {
    buckets: Vec<Vec<ConnectionId>>,
    /// The last tick whose bucket was emptied.
    done: u64,
}

// === impl Wheel ===

impl Wheel {
    /// A wheel with nobody in it.
    pub(crate) fn new() -> Self {
        let ticks = usize::try_from(TICKS).expect("a small number");
        Self {
            inner: Mutex::new(Inner {
                buckets: vec![Vec::new(); ticks],
                done: 0,
            }),
        }
    }

    /// Has `id` woken at the first tick after `at_ms`, or earlier if that is far away.
    pub(crate) fn arm(&self, armed: &mut Armed, id: ConnectionId, at_ms: u64) {
        let wanted = at_ms / TICK_MS + 1;
        if armed.0.iter().any(|at| *at != 0 && *at / TICK_MS <= wanted) {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let tick = wanted.clamp(inner.done + 1, inner.done + TICKS - 1);
        inner.bucket(tick).push(id);
        drop(inner);
        // Free is 0. Where none is, the later one is forgotten: it comes for nothing.
        let last = armed.0.iter_mut().max_by_key(|at| match **at {
            0 => u64::MAX,
            at => at,
        });
        if let Some(last) = last {
            *last = tick * TICK_MS;
        }
    }

    /// Takes out everyone whose time has come.
    pub(crate) fn advance(&self, now_ms: u64) -> Vec<ConnectionId> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now_ms / TICK_MS;
        let mut due = Vec::new();
        // After a long sleep one turn of the wheel is everyone.
        let first = (inner.done + 1).max(now.saturating_sub(TICKS - 1));
        for tick in first..=now {
            due.append(inner.bucket(tick));
        }
        inner.done = inner.done.max(now);
        due
    }
}

// === impl Armed ===

impl Armed {
    /// Forgets the wake-ups that have come.
    pub(crate) fn fired(&mut self, now_ms: u64) {
        for at in &mut self.0 {
            if *at <= now_ms {
                *at = 0;
            }
        }
    }
}

// === impl Inner ===

impl Inner {
    fn bucket(&mut self, tick: u64) -> &mut Vec<ConnectionId> {
        let index = usize::try_from(tick % TICKS).expect("below TICKS");
        &mut self.buckets[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ConnectionId = ConnectionId(1);

    #[test]
    fn a_connection_is_woken_after_its_time_and_once() {
        let wheel = Wheel::new();
        let mut armed = Armed::default();
        wheel.arm(&mut armed, ID, 1000);
        wheel.arm(&mut armed, ID, 1000);
        assert!(wheel.advance(1000).is_empty());
        assert_eq!(wheel.advance(1100), [ID]);
        assert!(wheel.advance(2000).is_empty());
    }

    #[test]
    fn an_earlier_time_is_added_and_a_later_one_is_not() {
        let wheel = Wheel::new();
        let mut armed = Armed::default();
        wheel.arm(&mut armed, ID, 1000);
        wheel.arm(&mut armed, ID, 500);
        wheel.arm(&mut armed, ID, 700);
        assert_eq!(wheel.advance(900), [ID]);
        armed.fired(900);
        wheel.arm(&mut armed, ID, 1200);
        assert_eq!(wheel.advance(1500), [ID]);
    }

    #[test]
    fn who_asks_again_for_ever_earlier_times_is_entered_once_for_each() {
        let wheel = Wheel::new();
        let mut armed = Armed::default();
        for at in [4000, 3000, 2000, 2000, 2000, 2500] {
            wheel.arm(&mut armed, ID, at);
        }
        assert_eq!(wheel.advance(5000), [ID; 3]);
    }

    #[test]
    fn a_time_beyond_the_wheel_or_in_the_past_comes_early_or_next() {
        let wheel = Wheel::new();
        wheel.arm(&mut Armed::default(), ID, u64::MAX / 2);
        assert_eq!(wheel.advance(TICKS * TICK_MS), [ID]);
        wheel.arm(&mut Armed::default(), ID, 5);
        assert_eq!(wheel.advance((TICKS + 1) * TICK_MS), [ID]);
        wheel.arm(&mut Armed::default(), ID, 5);
        assert_eq!(wheel.advance(TICKS * TICK_MS * 20), [ID]);
    }
}
