//! Transport: the bytes of one client, plain or through TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A TCP socket that counts, so that progress is seen below TLS as well.
#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    bytes_read: u64,
    bytes_written: u64,
}

/// What carries a client's bytes.
#[derive(Debug)]
pub(crate) enum Transport {
    /// A plain socket.
    Tcp(Socket),
    /// TLS; boxed, so that a plain connection does not pay for it.
    Tls(Box<TlsStream<Socket>>),
    /// A pipe within the process.
    #[cfg(feature = "simulation")]
    Pipe(tokio::io::DuplexStream),
    /// Closed, or lent to a handshake.
    Gone,
}

// === impl Socket ===

impl Socket {
    /// Counts from now on.
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            bytes_read: 0,
            bytes_written: 0,
        }
    }

    /// Bytes read and written so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.bytes_read, self.bytes_written)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        self.bytes_read += (buffer.filled().len() - before) as u64;
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &result {
            self.bytes_written += *written as u64;
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(written)) = &result {
            self.bytes_written += *written as u64;
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

// === impl Transport ===

impl Transport {
    /// Bytes read and written on the socket so far, TLS included.
    pub(crate) fn counts(&self) -> (u64, u64) {
        match self {
            Self::Tcp(socket) => socket.counts(),
            Self::Tls(tls) => tls.get_ref().0.counts(),
            #[cfg(feature = "simulation")]
            Self::Pipe(_) => (0, 0),
            Self::Gone => (0, 0),
        }
    }

    /// The address of ours that the client came to; `None` when that cannot be seen.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.tcp.local_addr().ok(),
            Self::Tls(tls) => tls.get_ref().0.tcp.local_addr().ok(),
            #[cfg(feature = "simulation")]
            Self::Pipe(_) => None,
            Self::Gone => None,
        }
    }

    /// The plain socket, leaving nothing; `None` when there is none.
    pub(crate) fn take_tcp(&mut self) -> Option<Socket> {
        match std::mem::replace(self, Self::Gone) {
            Self::Tcp(socket) => Some(socket),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Reads into `buffer`; 0 at the end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let result = match self {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, &mut buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, &mut buffer),
            #[cfg(feature = "simulation")]
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, &mut buffer),
            Self::Gone => Poll::Ready(Ok(())),
        };
        result.map_ok(|()| buffer.filled().len())
    }

    /// Writes a part of `bytes`. With TLS it may still need [`Transport::poll_flush`].
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
            #[cfg(feature = "simulation")]
            Self::Pipe(pipe) => Pin::new(pipe).poll_write(cx, bytes),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Hands everything written to the kernel. Without it the last TLS record may stay behind.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            #[cfg(feature = "simulation")]
            Self::Pipe(_) => Poll::Ready(Ok(())),
            Self::Tcp(_) | Self::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Ends our side: with TLS a `close_notify`, then no more bytes.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            #[cfg(feature = "simulation")]
            Self::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

/// The version of TLS and the cipher suite that were agreed.
pub(super) fn names(tls: &ServerConnection) -> Option<(&'static str, &'static str)> {
    let version = tls.protocol_version()?.as_str()?;
    let suite = tls.negotiated_cipher_suite()?.suite().as_str()?;
    Some((version, suite))
}
