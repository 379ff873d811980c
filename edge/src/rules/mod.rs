//! Rules: what operators have ordered while the cluster runs, as the origins have told it.
//!
//! - `bans`: where no client is let in from.
//! - `domains`: what is served: what the configuration names, and what was added since.
//!
//! They are looked at for every socket and every stream, and change hardly ever: readers take no
//! lock.

mod bans;

mod domains;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use couplet_proto::link::rules;
use tokio::sync::Notify;

use self::bans::Bans;
pub use self::domains::Domains;

/// The rules this edge follows.
#[derive(Debug)]
pub(crate) struct Rules {
    domains: Arc<Domains>,
    bans: ArcSwap<Bans>,
    changed: Notify,
}

// === impl Rules ===

impl Rules {
    /// None but what the configuration says.
    pub(crate) fn new(domains: Arc<Domains>) -> Self {
        Self {
            domains,
            bans: ArcSwap::default(),
            changed: Notify::new(),
        }
    }

    /// Follows these from now on, and no others.
    pub(crate) fn follow(&self, told: &rules::Rules, now_ms: u64) {
        self.domains.serve_also(&told.domains);
        self.bans.store(Arc::new(Bans::new(&told.bans, now_ms)));
        self.changed.notify_one();
    }

    /// Whether no client is let in from there now.
    pub(crate) fn ban(&self, peer: IpAddr, now_ms: u64) -> bool {
        self.bans.load().hold(peer, now_ms)
    }

    /// Waits until there are others: clients that are in may not have been let in by them.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
