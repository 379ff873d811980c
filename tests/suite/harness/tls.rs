//! TLS as a client that trusts anyone: the server's certificate is its own.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};
use sha2::{Digest, Sha256};

use super::sasl::Binding;

/// A TLS connection over TCP.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Which version of TLS the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// TLS 1.2 alone.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

/// How to speak TLS.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// The version.
    pub(crate) version: Version,
    /// The ALPN protocols offered.
    pub(crate) alpn: Vec<Vec<u8>>,
    /// The name asked for by SNI.
    pub(crate) name: String,
}

/// Accepts every certificate.
#[derive(Debug)]
struct TrustsAnyone(Arc<CryptoProvider>);

// === impl Wish ===

impl Wish {
    /// TLS 1.3 for this domain, as XEP-0368 wants it.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            version: Version::Tls13,
            alpn: vec![b"xmpp-client".to_vec()],
            name: name.to_owned(),
        }
    }

    /// The client's side of it.
    pub(crate) fn config(&self) -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let version = match self.version {
            Version::Tls12 => &TLS12,
            Version::Tls13 => &TLS13,
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .expect("the provider knows both")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustsAnyone(provider)))
            .with_no_client_auth();
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }

    /// Shakes hands over `socket`.
    pub(crate) fn handshake(&self, mut socket: TcpStream) -> std::io::Result<Stream> {
        let name = ServerName::try_from(self.name.clone()).expect("a host name");
        let mut connection =
            ClientConnection::new(Arc::new(self.config()), name).expect("the config is complete");
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }
}

/// RFC 9266: what TLS itself derives for this connection.
pub(crate) fn exporter(stream: &Stream) -> Binding {
    let data = stream
        .conn
        .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None)
        .expect("the handshake is done");
    Binding::Bound("tls-exporter", data.to_vec())
}

/// RFC 5929 §4: the hash of the server's certificate, which here is always signed with SHA-256.
pub(crate) fn end_point(stream: &Stream) -> Binding {
    let hash = Sha256::digest(certificate(stream));
    Binding::Bound("tls-server-end-point", hash.to_vec())
}

/// The server's certificate.
pub(crate) fn certificate(stream: &Stream) -> Vec<u8> {
    let chain = stream.conn.peer_certificates().expect("a certificate");
    chain[0].to_vec()
}

// === impl TrustsAnyone ===

impl ServerCertVerifier for TrustsAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
