//! Domains: what is served.

use std::sync::Arc;

use arc_swap::ArcSwap;
use couplet_proto::Jid;

/// The domains served, each the address of a virtual host.
#[derive(Debug)]
pub struct Domains {
    /// Those of the configuration. Never empty: the first one names the server where a client
    /// asked for none or for one that is not served.
    configured: Box<[Jid]>,
    /// Those that were added since, in order.
    added: ArcSwap<Vec<Jid>>,
}

// === impl Domains ===

impl Domains {
    /// Those of the configuration.
    pub fn new(configured: impl Into<Box<[Jid]>>) -> Self {
        Self {
            configured: configured.into(),
            added: ArcSwap::default(),
        }
    }

    /// Serves these besides those of the configuration, and no others.
    pub(crate) fn serve_also(&self, domains: &[Jid]) {
        let mut added = domains.to_vec();
        added.sort_unstable();
        self.added.store(Arc::new(added));
    }

    /// Whether a domain is served.
    pub(crate) fn contain(&self, domain: &Jid) -> bool {
        self.configured.contains(domain) || self.added.load().binary_search(domain).is_ok()
    }

    /// The one that speaks for the server.
    pub(crate) fn first(&self) -> Option<&Jid> {
        self.configured.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::parse(text).expect("valid")
    }

    #[test]
    fn domains_come_and_go_but_the_configured_stay() {
        let domains = Domains::new(vec![jid("a.example")]);
        domains.serve_also(&[jid("c.example"), jid("b.example"), jid("a.example")]);
        for served in ["a.example", "b.example", "c.example"] {
            assert!(domains.contain(&jid(served)), "{served}");
        }
        assert!(!domains.contain(&jid("d.example")));
        domains.serve_also(&[]);
        assert!(domains.contain(&jid("a.example")));
        assert!(!domains.contain(&jid("b.example")));
        assert_eq!(domains.first(), Some(&jid("a.example")));
    }
}
