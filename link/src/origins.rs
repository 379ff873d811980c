//! Origins: the addresses behind `link.origins`, looked up again and again, so that origins come
//! and go without anybody changing a configuration.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::config::Entry;
use crate::pool::{Call, Pool};

/// How often names are looked up.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(5);

/// How long a look-up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps a pool linked to the origins of these entries. Never returns.
pub async fn follow<C: Call>(entries: Vec<Entry>, mut pool: Pool<C>) {
    let mut found = vec![BTreeSet::new(); entries.len()];
    loop {
        for (entry, addresses) in entries.iter().zip(&mut found) {
            // A name that cannot be looked up keeps what it had: the link may do without DNS.
            if let Some(current) = look_up(entry).await {
                *addresses = current;
            }
        }
        pool.want(&found.iter().flatten().cloned().collect());
        sleep(LOOKUP_INTERVAL).await;
    }
}

async fn look_up(entry: &Entry) -> Option<BTreeSet<String>> {
    let name = match entry {
        // Looked up whenever it is dialed.
        Entry::Node(address) => return Some(BTreeSet::from([address.clone()])),
        Entry::Name(name) => name,
    };
    match timeout(LOOKUP_TIMEOUT, lookup_host(name)).await {
        Ok(Ok(addresses)) => Some(addresses.map(|address| address.to_string()).collect()),
        Ok(Err(error)) => {
            warn!(name, %error, "cannot look up origins");
            None
        }
        Err(_) => {
            warn!(name, "looking up origins takes too long");
            None
        }
    }
}
