//! Link: what a node needs to reach the others.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::{Context, Result};
use couplet_edge::CertificatePaths;
use couplet_link::listen::Listeners;
use couplet_link::{Credentials, LinkConfig};
use couplet_proto::link::wire::hello::Role;
use rustls::crypto::aws_lc_rs;

use super::ensure_reachable;
use crate::config::Link;

/// This node's certificate and what it believes others by; `None` when nothing is encrypted.
pub(super) fn credentials(link: &Link, role: Role) -> Result<Option<Arc<Credentials>>> {
    let files = LinkConfig {
        ca: link.ca.clone(),
        certificate: link.identity.certificate.clone(),
        key: link.identity.key.clone(),
        ..LinkConfig::default()
    };
    Ok(Credentials::load(&files, role)?.map(Arc::new))
}

/// Reads them again, as far as they can be read.
pub(super) fn reload(credentials: Option<&Credentials>) {
    let Some(credentials) = credentials else {
        return;
    };
    match credentials.reload() {
        Ok(()) => tracing::info!("certificates of the link reloaded"),
        Err(error) => {
            tracing::error!(%error, "certificates of the link not reloaded: the old ones stay");
        }
    }
}

/// This node's certificate, so that somebody is told before it ends.
pub(super) fn watched(link: &Link, role: Role) -> Option<CertificatePaths> {
    let (certificate, key) = (
        link.identity.certificate.clone()?,
        link.identity.key.clone()?,
    );
    Some(CertificatePaths {
        domain: Some(role.server_name().to_owned()),
        certificate,
        key,
    })
}

/// What no other start of this node has.
pub(super) fn incarnation() -> Result<u64> {
    let mut bytes = [0; 8];
    let random = aws_lc_rs::default_provider().secure_random;
    let filled = random.fill(&mut bytes);
    filled.map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Opens the socket on which an origin is called.
pub(super) async fn listen(
    link: &Link,
    credentials: Option<Arc<Credentials>>,
) -> Result<Listeners> {
    let mut address = [link.listen];
    ensure_reachable(&mut address);
    let bound = Listeners::bind(&address, credentials).await;
    bound.map_err(|(address, error)| {
        anyhow::anyhow!("link.listen: cannot listen on {address}: {error}")
    })
}

/// Where others reach an origin that listens at `bound`.
pub(super) fn advertised(link: &Link, bound: SocketAddr) -> Result<String> {
    if let Some(address) = &link.advertise {
        return Ok(address.clone());
    }
    if !bound.ip().is_unspecified() {
        return Ok(bound.to_string());
    }
    let ip = own_address(bound.is_ipv6())
        .context("link.advertise: under which address do the other nodes reach this one?")?;
    let address = SocketAddr::new(ip, bound.port());
    tracing::info!(%address, "link.advertise is not set: the other nodes are told this address");
    Ok(address.to_string())
}

/// The address from which this machine would speak to others. Nothing is sent.
fn own_address(is_ipv6: bool) -> Option<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): what matters is the way that leads there.
    let by_v4 = || own_address_towards("0.0.0.0:0", "192.0.2.1:9");
    let by_v6 = || own_address_towards("[::]:0", "[2001:db8::1]:9");
    if is_ipv6 {
        by_v4().or_else(by_v6)
    } else {
        by_v4()
    }
}

fn own_address_towards(from: &str, to: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn the_address_told_is_one_to_connect_to() {
        let mut link = Settings::default().link;
        let bound = |text: &str| text.parse().expect("an address");
        let told = advertised(&link, bound("127.0.0.1:7")).expect("an address");
        assert_eq!(told, "127.0.0.1:7");
        if let Ok(told) = advertised(&link, bound("[::]:7")) {
            let told: SocketAddr = told.parse().expect("an address");
            assert!(!told.ip().is_unspecified() && told.port() == 7, "{told}");
        }
        link.advertise = Some("o1.internal:9".to_owned());
        let told = advertised(&link, bound("[::]:7")).expect("an address");
        assert_eq!(told, "o1.internal:9");
    }
}
