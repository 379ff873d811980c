//! The edge seen from both its ends: real sockets on one side, a made-up origin on the other.

mod balanced;

mod client;

mod ending;

mod leaving;

mod limits;

mod managed;

mod moving;

mod origin;

mod ruled;

mod secure;

mod traffic;

use std::sync::Arc;
use std::time::Duration;

use couplet_edge::{Addresses, Config, Edge};

use crate::origin::Origin;

/// Nothing here takes this long, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running edge and the origin behind it.
struct World {
    edge: Edge,
    origin: Arc<Origin>,
    at: Addresses,
}

impl World {
    /// An edge without TLS, changed by `change` before it starts.
    async fn plain(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            require_tls: false,
            ..Config::default()
        };
        change(&mut config);
        Self::start(config).await
    }

    /// An edge like that whose owners may be lost.
    async fn cluster(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            require_tls: false,
            ..Config::default()
        };
        change(&mut config);
        Self::run(config, true).await
    }

    /// An edge with this configuration.
    async fn start(config: Config) -> Self {
        Self::run(config, false).await
    }

    async fn run(config: Config, is_cluster: bool) -> Self {
        let edge = Edge::new(config).expect("a sound configuration");
        let origin = Arc::new(Origin::new(edge.downlink(), is_cluster));
        let at = edge.start(Arc::clone(&origin) as _).await.expect("started");
        Self { edge, origin, at }
    }
}
