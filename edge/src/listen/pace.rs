//! Pace: how fast new connections may come from one network.
//!
//! A storm of reconnections from one place is let in one by one, so that the logins of others
//! keep their latency. Only when a connection would have to wait too long is it refused.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;

/// A connection that would have to wait longer is refused.
const WAIT_MAX_MICROS: u64 = 5_000_000;

/// Networks remembered. With more, those that are not waiting are forgotten, and if none is, all.
const NETWORKS_MAX: usize = 16_384;

/// The bucket of each network: the moment in microseconds when it is empty again.
#[derive(Debug)]
pub(super) struct Pace {
    /// Microseconds between two connections.
    interval: u64,
    /// How far ahead of the pace a burst may be.
    burst: u64,
    networks: Mutex<HashMap<[u8; 8], u64, foldhash::fast::RandomState>>,
}

// === impl Pace ===

impl Pace {
    /// So many per second and network, twice as many in a burst; 0 is no limit.
    pub(super) fn new(per_second: u32) -> Self {
        let interval = 1_000_000u64.checked_div(u64::from(per_second)).unwrap_or(0);
        Self {
            interval,
            burst: 2_000_000,
            networks: Mutex::default(),
        }
    }

    /// How long a connection from there must wait, now being the given microseconds; `None` when
    /// it is too long.
    pub(super) fn wait(&self, peer: IpAddr, now: u64) -> Option<Duration> {
        if self.interval == 0 || peer.to_canonical().is_loopback() {
            return Some(Duration::ZERO);
        }
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if networks.len() >= NETWORKS_MAX {
            networks.retain(|_, empty| *empty > now + self.burst);
            if networks.len() >= NETWORKS_MAX {
                networks.clear();
            }
        }
        let empty = networks.entry(network(peer)).or_insert(now);
        let next = (*empty).max(now) + self.interval;
        let wait = next.saturating_sub(now + self.burst);
        if wait > WAIT_MAX_MICROS {
            return None;
        }
        *empty = next;
        Some(Duration::from_micros(wait))
    }
}

/// An IPv4 /24 or an IPv6 /64.
fn network(peer: IpAddr) -> [u8; 8] {
    match peer.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            // No IPv6 network begins like this.
            [0xff, 0xff, 0xff, 0xff, 0, a, b, c]
        }
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            std::array::from_fn(|index| octets[index])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_burst_passes_then_connections_wait_then_they_are_refused() {
        let pace = Pace::new(10);
        let wait = || pace.wait(ip("192.0.2.1"), 5 * SECOND);
        for _ in 0..20 {
            assert_eq!(wait(), Some(Duration::ZERO));
        }
        assert_eq!(wait(), Some(Duration::from_millis(100)));
        assert_eq!(wait(), Some(Duration::from_millis(200)));
        let later = std::iter::from_fn(wait).count();
        assert_eq!(later, 48);
        assert_eq!(pace.wait(ip("192.0.2.99"), 5 * SECOND), None);
        assert_eq!(pace.wait(ip("192.0.3.1"), 5 * SECOND), Some(Duration::ZERO));
        let after = pace.wait(ip("192.0.2.1"), 20 * SECOND);
        assert_eq!(after, Some(Duration::ZERO));
    }

    #[test]
    fn loopback_is_exempt_and_networks_are_bounded() {
        let pace = Pace::new(1);
        for _ in 0..1000 {
            assert_eq!(pace.wait(ip("127.0.0.1"), 0), Some(Duration::ZERO));
            assert_eq!(pace.wait(ip("::ffff:127.0.0.1"), 0), Some(Duration::ZERO));
        }
        for number in 0..u32::try_from(NETWORKS_MAX).expect("small") * 2 {
            let address = IpAddr::from(std::net::Ipv4Addr::from(number << 8 | 0x0b00_0000));
            let _ = pace.wait(address, 0);
        }
        assert!(pace.networks.lock().expect("whole").len() <= NETWORKS_MAX);
    }
}
