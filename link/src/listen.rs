//! Listening: sockets in, for the service of an origin.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tracing::{debug, warn};

use crate::tls::{Credentials, Identity};
use crate::wire::Wire;
use crate::{CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, KEEPALIVE, STREAM_WINDOW_BYTES};

/// Handshakes at once; more wait in the kernel.
const HANDSHAKES_MAX: usize = 64;

/// How long to wait when no socket can be accepted, for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Sockets on which nodes may call.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
    credentials: Option<Arc<Credentials>>,
}

// === impl Listeners ===

impl Listeners {
    /// Opens sockets at these addresses.
    ///
    /// # Errors
    /// With the address that cannot be had.
    pub async fn bind(
        addresses: &[SocketAddr],
        credentials: Option<Arc<Credentials>>,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut sockets = Vec::new();
        for address in addresses {
            let socket = TcpListener::bind(address).await;
            sockets.push(socket.map_err(|error| (*address, error))?);
        }
        Ok(Self {
            sockets,
            credentials,
        })
    }

    /// The addresses bound, which differ from those asked for where a port was 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.sockets.iter().map(TcpListener::local_addr);
        addresses.filter_map(Result::ok).collect()
    }

    /// The connections that have passed their handshake, until the stream is dropped.
    pub fn accept(self) -> ReceiverStream<io::Result<Wire>> {
        let (sender, accepted) = mpsc::channel(HANDSHAKES_MAX);
        for socket in self.sockets {
            tokio::spawn(accept(socket, self.credentials.clone(), sender.clone()));
        }
        ReceiverStream::new(accepted)
    }
}

/// A gRPC server with the settings of the link.
pub fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
}

async fn accept(
    socket: TcpListener,
    credentials: Option<Arc<Credentials>>,
    sender: mpsc::Sender<io::Result<Wire>>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut handshakes = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = sender.closed() => return,
        };
        while handshakes.try_join_next().is_some() {}
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a node");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let credentials = credentials.clone();
        let sender = sender.clone();
        handshakes.spawn(async move {
            let shaken = timeout(CONNECT_TIMEOUT, shake(stream, address, credentials)).await;
            drop(place);
            match shaken {
                // Nobody takes it any more only when the server is stopping.
                Ok(Ok(wire)) => drop(sender.send(Ok(wire)).await),
                Ok(Err(error)) => warn!(%address, %error, "a node was refused"),
                Err(_) => debug!(%address, "a node did not finish its handshake in time"),
            }
        });
    }
}

async fn shake(
    stream: TcpStream,
    address: SocketAddr,
    credentials: Option<Arc<Credentials>>,
) -> io::Result<Wire> {
    // The server cannot do it: it does not know the sockets it is given.
    stream.set_nodelay(true)?;
    let Some(credentials) = credentials else {
        return Ok(Wire::plain(stream, address));
    };
    let acceptor = TlsAcceptor::from(credentials.server());
    let stream = acceptor.accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates();
    let identity = shown.and_then(|chain| chain.first()).map(Identity::of);
    let identity = identity.ok_or_else(|| io::Error::other("no certificate"))?;
    Ok(Wire::tls(stream.into(), address, identity))
}
