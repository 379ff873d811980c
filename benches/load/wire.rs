//! One client connection: just enough XMPP to log in with SCRAM and to see messages arrive.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use memchr::memmem;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls;

/// Where users log in, and as whom.
#[derive(Clone)]
pub(crate) struct Target {
    /// The addresses of the listeners; users are spread over them.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The domain of the users.
    pub(crate) domain: String,
    /// Their names, with `{}` for the number.
    pub(crate) user_pattern: String,
    /// The password of all of them.
    pub(crate) password: String,
    /// How to do TLS; nothing for plaintext.
    pub(crate) tls: Option<TlsConnector>,
}

/// A socket with what was read from it and not used yet.
pub(crate) struct Connection {
    socket: Box<dyn Socket>,
    buffer: Vec<u8>,
    /// The full address after login; empty for a relay.
    pub(crate) full: String,
}

/// Anything bytes go through both ways.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

// === impl Target ===

impl Target {
    /// The name of user `index`, without the domain.
    pub(crate) fn user(&self, index: usize) -> String {
        self.user_pattern.replace("{}", &index.to_string())
    }
}

// === impl Connection ===

impl Connection {
    /// Wraps an open socket.
    pub(crate) fn new(socket: Box<dyn Socket>, full: String) -> Self {
        Self {
            socket,
            buffer: Vec::new(),
            full,
        }
    }

    /// The socket; what was read and not used is dropped.
    pub(crate) fn into_socket(self) -> Box<dyn Socket> {
        self.socket
    }

    /// Opens the transport and the first stream for user `index`; its features have been read.
    pub(crate) async fn open(target: &Target, index: usize) -> Result<(Self, String)> {
        let address = target.addresses[index % target.addresses.len()];
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let socket: Box<dyn Socket> = match &target.tls {
            Some(connector) => {
                let name = target.domain.clone().try_into()?;
                Box::new(connector.connect(name, stream).await?)
            }
            None => Box::new(stream),
        };
        let mut connection = Self::new(socket, String::new());
        let features = connection.open_stream(&target.domain).await?;
        Ok((connection, features))
    }

    /// Logs user `index` in: SCRAM-SHA-256, a resource, initial presence. Returns when the server
    /// has reflected the presence, so everything before it is done.
    pub(crate) async fn log_in(target: &Target, index: usize) -> Result<Self> {
        let user = target.user(index);
        let (mut connection, features) = Self::open(target, index).await?;
        ensure!(
            features.contains("SCRAM-SHA-256<"),
            "SCRAM-SHA-256 is not offered: {features}"
        );
        connection.authenticate(&user, &target.password).await?;
        connection.open_stream(&target.domain).await?;
        let bind = "<iq type='set' id='bind'>\
            <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>load</resource></bind></iq>";
        connection.send(bind.as_bytes()).await?;
        let answer = connection.read_through("</iq>").await?;
        connection.full = between(&answer, "<jid>", "</jid>")
            .with_context(|| format!("not bound: {answer}"))?
            .to_owned();
        let roster = "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>\
            <presence/>";
        connection.send(roster.as_bytes()).await?;
        // The answer and the reflection may come in either order.
        let mut seen = String::new();
        while !(seen.contains("roster") && seen.contains("<presence")) {
            seen.push_str(&connection.read_through(">").await?);
        }
        connection.buffer = Vec::new();
        Ok(connection)
    }

    /// Creates user `index` by in-band registration (XEP-0077).
    pub(crate) async fn register(target: &Target, index: usize) -> Result<()> {
        let (mut connection, _) = Self::open(target, index).await?;
        let request = format!(
            "<iq type='set' id='register'><query xmlns='jabber:iq:register'>\
             <username>{}</username><password>{}</password></query></iq>",
            target.user(index),
            target.password
        );
        connection.send(request.as_bytes()).await?;
        let answer = connection.read_through(">").await?;
        let is_done = answer.contains("type='result'") || answer.contains("type=\"result\"");
        ensure!(is_done, "not registered: {answer}");
        Ok(())
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await?;
        Ok(())
    }

    /// Waits for a whole message that contains `needle`; what came before it is dropped.
    pub(crate) async fn await_message(&mut self, needle: &[u8]) -> Result<()> {
        const END: &[u8] = b"</message>";
        let mut searched = 0;
        loop {
            if let Some(found) = memmem::find(&self.buffer[searched..], END) {
                let end = searched + found + END.len();
                let is_it = memmem::find(&self.buffer[..end], needle).is_some();
                if is_it {
                    self.buffer.drain(..end);
                    return Ok(());
                }
                let text = String::from_utf8_lossy(&self.buffer[..end]);
                bail!("another message was expected: {text}");
            }
            searched = self.buffer.len().saturating_sub(END.len() - 1);
            self.fill().await?;
        }
    }

    /// Reads up to and including the next `end`.
    async fn read_through(&mut self, end: &str) -> Result<String> {
        loop {
            if let Some(at) = memmem::find(&self.buffer, end.as_bytes()) {
                let bytes: Vec<u8> = self.buffer.drain(..at + end.len()).collect();
                return Ok(String::from_utf8(bytes)?);
            }
            self.fill().await?;
        }
    }

    /// Reads more.
    async fn fill(&mut self) -> Result<()> {
        // A session that reads nothing should not hold a large buffer: there are thousands.
        self.buffer.reserve(1024);
        if self.socket.read_buf(&mut self.buffer).await? == 0 {
            let rest = String::from_utf8_lossy(&self.buffer);
            bail!("the server closed the connection: {rest}");
        }
        Ok(())
    }

    /// Opens a stream and reads the features.
    async fn open_stream(&mut self, domain: &str) -> Result<String> {
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' \
             xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        self.send(header.as_bytes()).await?;
        self.read_through("</stream:features>").await
    }

    /// SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677).
    async fn authenticate(&mut self, user: &str, password: &str) -> Result<()> {
        let first_bare = format!("n={user},r=fyko+d2lbbFgONRv9qkxdawL");
        let start = format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>{}</auth>",
            BASE64_STANDARD.encode(format!("n,,{first_bare}"))
        );
        self.send(start.as_bytes()).await?;
        let challenge = self.sasl_answer("challenge").await?;
        let proof = client_final(password, &first_bare, &challenge)?;
        let response = format!(
            "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{}</response>",
            BASE64_STANDARD.encode(proof)
        );
        self.send(response.as_bytes()).await?;
        let success = self.sasl_answer("success").await?;
        ensure!(success.starts_with("v="), "no server signature: {success}");
        Ok(())
    }

    /// Reads a SASL answer and decodes what it carries.
    async fn sasl_answer(&mut self, expected: &str) -> Result<String> {
        let text = self.read_through("</").await?;
        ensure!(text.contains(&format!("<{expected}")), "refused: {text}");
        self.read_through(">").await?;
        let data = between(&text, ">", "</").context("no data")?;
        Ok(String::from_utf8(BASE64_STANDARD.decode(data)?)?)
    }
}

/// The last message of the client: `c=…,r=…,p=…`.
fn client_final(password: &str, first_bare: &str, server_first: &str) -> Result<String> {
    let field = |name: &str| {
        let mut fields = server_first.split(',');
        fields.find_map(|field| field.strip_prefix(name))
    };
    let nonce = field("r=").context("no nonce")?;
    let salt = BASE64_STANDARD.decode(field("s=").context("no salt")?)?;
    let iterations: u32 = field("i=").context("no count")?.parse()?;
    let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), &salt, iterations);
    let client_key = keyed(&salted, b"Client Key")?;
    let stored_key = Sha256::digest(client_key);
    let without_proof = format!("c=biws,r={nonce}");
    let signed = format!("{first_bare},{server_first},{without_proof}");
    let signature = keyed(&stored_key, signed.as_bytes())?;
    let proof: Vec<u8> = client_key
        .iter()
        .zip(signature)
        .map(|(a, b)| a ^ b)
        .collect();
    Ok(format!(
        "{without_proof},p={}",
        BASE64_STANDARD.encode(proof)
    ))
}

fn keyed(key: &[u8], data: &[u8]) -> Result<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .ok()
        .context("bad key")?;
    mac.update(data);
    Ok(mac.finalize().into_bytes().into())
}

/// What stands between two markers.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(start)?;
    Some(after.split_once(end)?.0)
}

/// TLS that believes any certificate: the server is our own child or a neighbour on loopback.
pub(crate) fn tls_connector() -> Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.clone()));
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

// === impl AnyCertificate ===

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &rustls::pki_types::CertificateDer<'_>,
        _intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
