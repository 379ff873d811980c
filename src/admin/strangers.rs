//! Strangers: refused requests of those nobody knows. Anybody can send any number of them: of each
//! address the first in a second is written down, and then how many more there were.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long further ones are only counted.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// How many addresses are told apart at once; the others are counted together.
const ADDRESSES_MAX: usize = 256;

/// How many more there were since the one that was written down.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<HashMap<IpAddr, u64>>);

// === impl Strangers ===

impl Strangers {
    /// Counts one. If it is to be written down: under which key [`Self::forget`] has to be called
    /// after the [`WINDOW`].
    pub(super) fn count(&self, from: Option<SocketAddr>) -> Option<IpAddr> {
        let others = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let mut key = from.map_or(others, |from| from.ip().to_canonical());
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= ADDRESSES_MAX && !seen.contains_key(&key) {
            key = others;
        }
        if let Some(more) = seen.get_mut(&key) {
            *more += 1;
            return None;
        }
        seen.insert(key, 0);
        Some(key)
    }

    /// How many more there were.
    pub(super) fn forget(&self, key: IpAddr) -> u64 {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(&key).unwrap_or_default()
    }
}
