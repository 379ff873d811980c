//! Told: the rules that each origin has told, and which of them are followed.
//!
//! Origins hear of a change one after the other, so the newest of what they say counts, as long as
//! somebody says it. Not the newest ever heard: a store that was set back to an older state begins
//! again with lower versions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use couplet_proto::link::rules::Rules;
use tokio::sync::watch;

/// What the lanes that stand have told.
#[derive(Debug)]
pub(super) struct Told {
    by_lane: Mutex<HashMap<u64, Arc<Rules>>>,
    /// The version that is followed, once there is one.
    version: watch::Sender<Option<u64>>,
}

// === impl Told ===

impl Told {
    pub(super) fn new() -> Self {
        Self {
            by_lane: Mutex::default(),
            version: watch::Sender::new(None),
        }
    }

    /// The version that is followed.
    pub(super) fn version(&self) -> watch::Receiver<Option<u64>> {
        self.version.subscribe()
    }

    /// The origin at the end of a lane tells all rules; `follow` is called with those to follow
    /// from now on, if they are others.
    pub(super) fn tell(&self, lane: u64, rules: Rules, follow: impl FnOnce(&Arc<Rules>)) {
        let mut by_lane = self.by_lane.lock().unwrap_or_else(PoisonError::into_inner);
        // Several lanes tell the same: it is kept once.
        let mut known = by_lane.values();
        let known = known.find(|known| known.version == rules.version);
        let rules = known.map_or_else(|| Arc::new(rules), Arc::clone);
        by_lane.insert(lane, rules);
        self.choose(&by_lane, follow);
    }

    /// A lane has ended. What was followed stays so until somebody says something else.
    pub(super) fn forget(&self, lane: u64, follow: impl FnOnce(&Arc<Rules>)) {
        let mut by_lane = self.by_lane.lock().unwrap_or_else(PoisonError::into_inner);
        if by_lane.remove(&lane).is_some() {
            self.choose(&by_lane, follow);
        }
    }

    /// Called under the lock, so that what is followed last is what was told last.
    fn choose(&self, by_lane: &HashMap<u64, Arc<Rules>>, follow: impl FnOnce(&Arc<Rules>)) {
        let newest = by_lane.values().max_by_key(|rules| rules.version);
        let Some(newest) = newest.filter(|newest| *self.version.borrow() != Some(newest.version))
        else {
            return;
        };
        follow(newest);
        self.version.send_replace(Some(newest.version));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(version: u64) -> Rules {
        Rules {
            version,
            ..Rules::default()
        }
    }

    #[test]
    fn the_newest_that_somebody_still_says_is_followed() {
        let told = Told::new();
        let followed = Mutex::new(Vec::new());
        let tell = |lane, version| {
            told.tell(lane, rules(version), |rules| {
                followed.lock().expect("free").push(rules.version);
            });
        };
        let forget = |lane| {
            told.forget(lane, |rules| {
                followed.lock().expect("free").push(rules.version);
            });
        };
        tell(1, 0);
        tell(2, 0);
        tell(2, 3);
        tell(1, 2);
        tell(3, 3);
        assert_eq!(*followed.lock().expect("free"), [0, 3]);
        // Nobody else says it: what the others say counts.
        forget(2);
        assert_eq!(*followed.lock().expect("free"), [0, 3]);
        forget(3);
        assert_eq!(*followed.lock().expect("free"), [0, 3, 2]);
        // With nobody left it stays; a store that was set back is believed when they come again.
        forget(1);
        tell(4, 1);
        assert_eq!(*followed.lock().expect("free"), [0, 3, 2, 1]);
        assert_eq!(*told.version().borrow(), Some(1));
    }
}
