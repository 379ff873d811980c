//! Proxy: what a load balancer says first about whom it brings (PROXY protocol, versions 1 and 2).
//!
//! From the networks the operator trusts every connection begins with a header, before TLS; from
//! anywhere else none is understood, so that nobody chooses his own address. What follows the
//! header belongs to the client: not a byte of it is read here.
//!
//! - [`header`]: from bytes to whom they tell of.

mod header;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::header::BYTES_MAX;
pub(super) use self::header::Header;
use crate::metrics::ProxyHeaders;

/// Connections whose header has not come yet. A balancer sends it at once, so that only one that
/// is broken, or is none, leads to so many.
const WAITING_MAX: usize = 4096;

/// Who may speak for others, and how many of them have not yet done so.
pub(super) struct Proxies {
    networks: Vec<IpNet>,
    waiting: Arc<Semaphore>,
}

/// Why a connection from a trusted network is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It is not what a balancer sends.
    #[error(transparent)]
    Header(#[from] header::Wrong),
    /// It ended before.
    #[error("ended before its PROXY header: {0}")]
    Closed(#[from] io::Error),
    /// It took too long.
    #[error("no PROXY header came in time")]
    Late,
    /// Too many others have not sent theirs.
    #[error("too many connections wait for their PROXY header")]
    Crowded,
}

// === impl Proxies ===

impl Proxies {
    /// Those in these networks.
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        Self {
            networks,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    /// Whether whoever comes from there speaks for others.
    pub(super) fn includes(&self, peer: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&peer))
    }

    /// A place among those whose header has not come yet; held until it has.
    pub(super) fn wait(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let waiting = Arc::clone(&self.waiting);
        waiting.try_acquire_owned().map_err(|_| Refusal::Crowded)
    }
}

// === impl Refusal ===

impl Refusal {
    /// Whether it may be a mere look whether the port is open.
    pub(super) fn is_ordinary(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// Counts it.
    pub(super) fn count(&self, metrics: &ProxyHeaders) {
        let counter = match self {
            Self::Header(wrong) => match wrong.version() {
                Some(version) => &metrics.malformed[version as usize],
                None => &metrics.missing,
            },
            Self::Closed(_) => &metrics.closed,
            Self::Late => &metrics.late,
            Self::Crowded => &metrics.crowded,
        };
        counter.increment(1);
    }
}

/// Takes the header off a fresh socket, and nothing else.
pub(super) async fn read(tcp: &mut TcpStream) -> Result<Header, Refusal> {
    let mut bytes = [0; BYTES_MAX];
    let mut taken = 0;
    loop {
        // Looked at first: what stands behind the header is left where it is.
        let seen = taken + tcp.peek(&mut bytes[taken..]).await?;
        if seen == taken {
            return Err(Refusal::Closed(io::ErrorKind::UnexpectedEof.into()));
        }
        let header = header::parse(&bytes[..seen])?;
        // Without an end in sight all of it belongs to the header.
        let end = header.as_ref().map_or(seen, |header| header.bytes);
        tcp.read_exact(&mut bytes[taken..end]).await?;
        taken = end;
        if let Some(header) = header {
            return Ok(header);
        }
    }
}

#[cfg(test)]
mod tests;
