//! Quarantine: a stanza that makes a handler panic may do so once more, then it is refused unread.

use std::hash::{BuildHasher, Hash, Hasher};

use couplet_proto::Stanza;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// How many kinds of poison are remembered; then all are forgotten and counted anew.
const KINDS_MAX: usize = 1024;

/// After this many panics a stanza is refused.
const PANICS: u8 = 2;

/// Stanzas that made a handler panic. Empty, and free of cost, until the first one.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    panics: HashMap<u64, u8, RandomState>,
    hasher: RandomState,
}

// === impl Quarantine ===

impl Quarantine {
    /// A handler panicked on this stanza.
    pub(super) fn record(&mut self, stanza: &Stanza) {
        if self.panics.len() >= KINDS_MAX {
            self.panics.clear();
        }
        let key = self.key(stanza);
        let panics = self.panics.entry(key).or_default();
        *panics = panics.saturating_add(1);
    }

    /// Whether this stanza is refused without being handled.
    pub(super) fn holds(&self, stanza: &Stanza) -> bool {
        let known = !self.panics.is_empty();
        known
            && self
                .panics
                .get(&self.key(stanza))
                .is_some_and(|panics| *panics >= PANICS)
    }

    /// What makes two stanzas the same poison: everything but the id.
    fn key(&self, stanza: &Stanza) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        (stanza.kind, stanza.type_, &stanza.to).hash(&mut hasher);
        hasher.write(stanza.payload.xml().as_bytes());
        hasher.finish()
    }
}
