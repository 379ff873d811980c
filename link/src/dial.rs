//! Dialing: one connection to an origin.

use std::io;
use std::sync::Arc;

use couplet_proto::link::wire::hello::Role;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::tls::{Credentials, name_of};
use crate::wire::Wire;
use crate::{
    CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, KEEPALIVE, STREAM_WINDOW_BYTES, tls::Identity,
};

/// Makes connections to origins.
#[derive(Debug, Clone)]
pub struct Dialer {
    credentials: Option<Arc<Credentials>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// There is nobody, or it is not who it has to be.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// It does not speak HTTP/2.
    #[error(transparent)]
    Http(#[from] tonic::transport::Error),
}

// === impl Dialer ===

impl Dialer {
    /// One that shows these credentials; without them, nothing is encrypted.
    pub fn new(credentials: Option<Arc<Credentials>>) -> Self {
        Self { credentials }
    }

    /// Connects to the origin at `host:port`.
    ///
    /// # Errors
    /// When that fails or takes longer than [`CONNECT_TIMEOUT`].
    pub async fn connect(&self, address: &str) -> Result<Channel, Error> {
        let connecting = async {
            let wire = self.open(address).await?;
            channel(wire).await
        };
        timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| Error::Timeout)?
    }

    async fn open(&self, address: &str) -> Result<Wire, io::Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?;
        let Some(credentials) = &self.credentials else {
            return Ok(Wire::plain(stream, peer));
        };
        let connector = TlsConnector::from(credentials.client());
        // The certificate must be an origin's, whatever the address.
        let stream = connector.connect(name_of(Role::Origin), stream).await?;
        let identity = Identity::Certified {
            is_edge: false,
            is_origin: true,
        };
        Ok(Wire::tls(stream.into(), peer, identity))
    }
}

/// HTTP/2 over one connection; when that ends, so does the channel.
async fn channel(wire: Wire) -> Result<Channel, Error> {
    // The address is known to the wire alone; this one only names the authority.
    let endpoint = Endpoint::from_static("http://origin.couplet")
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let mut wire = Some(TokioIo::new(wire));
    let connector = tower::service_fn(move |_| {
        let wire = wire.take();
        async { wire.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    Ok(endpoint.connect_with_connector(connector).await?)
}
