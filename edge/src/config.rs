//! What an operator may choose about the edge. Plain values; the binary reads and checks them.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::framing::Budget;
use crate::stream::Caps;

/// The edge's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The domains served, each a virtual host.
    pub domains: Vec<String>,
    /// Where to listen for plain connections that offer STARTTLS.
    pub listen: Vec<SocketAddr>,
    /// Where to listen for direct TLS (XEP-0368).
    pub tls_listen: Vec<SocketAddr>,
    /// Where balancers are: from these networks, and only from them, every connection begins with
    /// a header of the PROXY protocol, version 1 or 2.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Whether a client may authenticate only over TLS.
    pub require_tls: bool,
    /// Whether strangers may make accounts in-band (XEP-0077).
    pub registration_open: bool,
    /// Certificates; the first is shown to clients that name no domain or one without its own.
    pub certificates: Vec<CertificatePaths>,
    /// The server's entity capabilities (XEP-0115 §6.3), if they are advertised.
    pub caps: Option<Caps>,
    /// Where clients should come to resume (XEP-0198 §3), as `host:port`; without, where they came
    /// before.
    pub location: Option<String>,
    /// How the edge empties itself.
    pub drain: Drain,
    /// Bounds.
    pub limits: Limits,
}

/// How the edge empties itself before it stops.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drain {
    /// Seconds between saying that it is not ready and closing its doors, so that balancers
    /// notice.
    pub wait_secs: u64,
    /// Clients sent away per second; 0 is all at once. More, if there would not be time for all.
    pub per_second: u32,
    /// Where they are sent, as `host:port`, each to one of these in turn; without, they are told
    /// of a shutdown and look again themselves.
    pub see_other_host: Vec<String>,
}

/// Where a certificate and its key lie, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePaths {
    /// The domain it is for; `None` for the default.
    pub domain: Option<String>,
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Bounds, each with what happens when it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What a client may send before it is authenticated; `bytes` counts everything. More ends
    /// the stream with `policy-violation`.
    pub before_auth: Budget,
    /// What one stanza may hold afterwards. More ends the stream with `policy-violation`.
    pub after_auth: Budget,
    /// Seconds from accepting the socket to being authenticated, the TLS handshake included, and
    /// again from there to a bound resource; then the stream ends with `connection-timeout`.
    pub before_auth_secs: u64,
    /// Failed attempts to authenticate; then the stream ends with `policy-violation`.
    pub auth_failures: u32,
    /// Stanzas of a session that have not yet taken effect; then its socket is not read.
    pub credit_stanzas: u32,
    /// Bytes of a session's stanzas that have not yet taken effect; then its socket is not read.
    pub credit_bytes: usize,
    /// Bytes that wait for a client that does not read; then its connection ends.
    pub outbound_bytes: usize,
    /// Stanzas that wait for a client that does not read, or does not acknowledge; then its
    /// connection ends.
    pub outbound_stanzas: usize,
    /// Seconds in which a client takes none of what waits for it; then its connection ends.
    pub outbound_stall_secs: u64,
    /// Seconds of silence after which a client is asked for a sign of life (XEP-0199); 0 never.
    pub ping_after_secs: u64,
    /// Seconds in which it must give one; then its connection ends.
    pub ping_timeout_secs: u64,
    /// TLS handshakes at once, others wait; 0 is as fits the machine.
    pub tls_handshakes: usize,
    /// Logins whose first message is at an origin, others wait; 0 is as fits the machine.
    pub logins: usize,
    /// Client sockets; one more is closed at once.
    pub connections: usize,
    /// New connections per second from one IPv4 /24 or IPv6 /64, with a burst of twice as many;
    /// more wait for their turn. Loopback is exempt.
    pub new_connections_per_second: u32,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            domains: vec!["localhost".to_owned()],
            listen: Vec::new(),
            tls_listen: Vec::new(),
            proxy_protocol_from: Vec::new(),
            require_tls: true,
            registration_open: false,
            certificates: Vec::new(),
            caps: None,
            location: None,
            drain: Drain::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            before_auth: Budget::BEFORE_AUTH,
            after_auth: Budget::AFTER_AUTH,
            before_auth_secs: 20,
            auth_failures: 5,
            credit_stanzas: 64,
            credit_bytes: 256 * 1024,
            outbound_bytes: 1024 * 1024,
            outbound_stanzas: 1000,
            outbound_stall_secs: 30,
            ping_after_secs: 300,
            ping_timeout_secs: 60,
            tls_handshakes: 0,
            logins: 0,
            connections: 200_000,
            new_connections_per_second: 200,
        }
    }
}
