//! Login: `couplet check-login`, a client that logs in and leaves again, to see whether one can.
//!
//! ```text
//! connect → STARTTLS → TLS → SCRAM-SHA-256 → bind → close
//! ```
//!
//! It takes part in nothing: it sends no presence, so nobody sees it and no message goes to it.
//!
//! - [`scram`]: the proof that both sides know the password.

mod scram;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use couplet_edge::framing::{Budget, Framer, Item};
use couplet_proto::xmpp::{escape, ns};
use couplet_proto::{Element, Jid, Kind, Stanza, Type};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificate;
use crate::cli::CheckLogin;

/// A stream of ours: a socket, with or without TLS, and what came from it.
struct Stream<S> {
    socket: S,
    framer: Framer,
    /// What was read and not looked at yet.
    received: Vec<u8>,
    domain: String,
}

/// Logs in and leaves, and says how it went.
pub(crate) async fn run(asked: CheckLogin) -> ExitCode {
    let began = Instant::now();
    let patience = Duration::from_secs(asked.timeout_secs);
    let done = match tokio::time::timeout(patience, check(&asked)).await {
        Ok(done) => done,
        Err(_) => Err(anyhow::anyhow!("it takes more than {patience:?}")),
    };
    match done {
        Ok(full) => {
            let millis = began.elapsed().as_millis();
            let _ = writeln!(io::stdout(), "logged in as {full} in {millis} ms");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let jid = &asked.jid;
            let text = format!("{error:#}");
            let hint = match text.contains("invalid peer certificate") {
                true => "\n(--ca FILE names who has signed it, or the certificate itself)",
                false => "",
            };
            let _ = writeln!(io::stderr(), "couplet: {jid} cannot log in: {text}{hint}");
            ExitCode::FAILURE
        }
    }
}

/// The full address the server gave.
async fn check(asked: &CheckLogin) -> Result<String> {
    let jid = Jid::parse(&asked.jid).ok();
    let jid = jid.filter(|jid| jid.local().is_some() && jid.resource().is_none());
    let jid = jid.context("that is not an address such as romeo@example.org")?;
    let domain = jid.domain().to_owned();
    let password = password(&asked.password_file)?;
    let tls = connector(asked.ca.as_deref())?;
    let server = match &asked.server {
        Some(server) => server.clone(),
        None => format!("{domain}:{}", if asked.direct_tls { 5223 } else { 5222 }),
    };
    let tcp = TcpStream::connect(&server).await;
    let tcp = tcp.with_context(|| format!("cannot connect to {server}"))?;
    let tcp = match asked.direct_tls {
        true => tcp,
        false => start_tls(Stream::new(tcp, &domain)).await?,
    };
    let ascii = idna::domain_to_ascii(&domain).context("the domain has no name in DNS")?;
    let name = ServerName::try_from(ascii).context("the domain cannot be in a certificate")?;
    let socket = tls.connect(name, tcp).await;
    let mut stream = Stream::new(socket.context("TLS")?, &domain);
    let features = stream.open().await?;
    authenticate(&mut stream, &features, &jid, &password).await?;
    let full = bind(&mut stream).await?;
    stream.send("</stream:stream>").await?;
    Ok(full)
}

/// The first line of a file, prepared.
fn password(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path);
    let text = text.with_context(|| format!("--password-file {}", path.display()))?;
    let line = text.lines().next().unwrap_or_default();
    let prepared = stringprep::saslprep(line).context("the password cannot be one")?;
    ensure!(!prepared.is_empty(), "the password is empty");
    Ok(prepared.into_owned())
}

/// Believes who is signed by a certificate in the file, or is one; without, whom the system trusts.
fn connector(ca: Option<&Path>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let trusted = match ca {
        Some(path) => certificate::read_chain(path)
            .map_err(|wrong| anyhow::anyhow!("--ca {}: {wrong}", path.display()))?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(trusted);
    ensure!(
        !roots.is_empty(),
        "this system trusts nobody: --ca FILE says who has signed the server's certificate"
    );
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // XEP-0368 wants it for direct TLS; with STARTTLS it does no harm.
    config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// RFC 6120 §5.
async fn start_tls(mut stream: Stream<TcpStream>) -> Result<TcpStream> {
    let features = stream.open().await?;
    ensure!(
        features.find("starttls", ns::TLS).is_some(),
        "the server does not offer STARTTLS"
    );
    stream
        .send(&Element::new("starttls", ns::TLS).to_xml())
        .await?;
    let answer = stream.element().await?;
    ensure!(answer.is("proceed", ns::TLS), "the server refuses STARTTLS");
    ensure!(
        stream.received.is_empty(),
        "the server said more in plain text than it should have"
    );
    Ok(stream.socket)
}

/// RFC 6120 §6.
async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<S>,
    features: &Element,
    jid: &Jid,
    password: &str,
) -> Result<()> {
    let mechanisms = features.find("mechanisms", ns::SASL);
    let mut offered = mechanisms.into_iter().flat_map(Element::children);
    ensure!(
        offered.any(|mechanism| mechanism.content() == scram::NAME),
        "the server does not offer {}",
        scram::NAME
    );
    let mut nonce = [0; 18];
    let random = aws_lc_rs::default_provider().secure_random;
    let filled = random.fill(&mut nonce);
    filled.map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    let user = jid.local().unwrap_or_default();
    let exchange = scram::Exchange::new(user, BASE64_STANDARD.encode(nonce));
    let auth = Element::new("auth", ns::SASL).attr("mechanism", scram::NAME);
    let auth = auth.text(BASE64_STANDARD.encode(exchange.first()));
    stream.send(&auth.to_xml()).await?;
    let challenge = sasl(stream, "challenge").await?;
    let proved = exchange.prove(&challenge, password)?;
    let response = Element::new("response", ns::SASL);
    let response = response.text(BASE64_STANDARD.encode(&proved.message));
    stream.send(&response.to_xml()).await?;
    let last = sasl(stream, "success").await?;
    proved.check(&last)?;
    stream.framer.restart();
    Ok(())
}

/// What the server answers in SASL, decoded.
async fn sasl<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<S>,
    expected: &str,
) -> Result<String> {
    let answer = stream.element().await?;
    if answer.is("failure", ns::SASL) {
        let condition = answer.children().next().map_or("failure", Element::name);
        bail!("the server refuses: {condition}");
    }
    ensure!(
        answer.is(expected, ns::SASL),
        "the server answers <{}/> where <{expected}/> belongs",
        answer.name()
    );
    let bytes = BASE64_STANDARD.decode(answer.content().trim());
    String::from_utf8(bytes.context("SASL")?).context("SASL")
}

/// RFC 6120 §7: the server chooses the resource.
async fn bind<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut Stream<S>) -> Result<String> {
    let features = stream.open().await?;
    ensure!(
        features.find("bind", ns::BIND).is_some(),
        "the server does not offer to bind a resource"
    );
    let request = Element::new("iq", ns::CLIENT)
        .attr("type", "set")
        .attr("id", "bind")
        .child(Element::new("bind", ns::BIND));
    stream.send(&request.to_xml()).await?;
    let answer = stream.answer("bind").await?;
    let mut xml = String::new();
    answer.write(&mut xml);
    let answer = Element::parse(&xml, "").context("the answer to bind makes no sense")?;
    let bound = answer.find("bind", ns::BIND);
    match bound.and_then(|bound| bound.find("jid", ns::BIND)) {
        Some(full) => Ok(full.content()),
        None => bail!("the server does not bind a resource: {xml}"),
    }
}

// === impl Stream ===

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    fn new(socket: S, domain: &str) -> Self {
        Self {
            socket,
            framer: Framer::new(Budget::AFTER_AUTH),
            received: Vec::new(),
            domain: domain.to_owned(),
        }
    }

    async fn send(&mut self, xml: &str) -> Result<()> {
        self.socket.write_all(xml.as_bytes()).await?;
        Ok(self.socket.flush().await?)
    }

    /// Opens the stream, or opens it again, and reads the features.
    async fn open(&mut self) -> Result<Element> {
        let mut header = "<?xml version='1.0'?><stream:stream version='1.0'".to_owned();
        escape::named_attribute(&mut header, "to", &self.domain);
        escape::named_attribute(&mut header, "xmlns", ns::CLIENT);
        escape::named_attribute(&mut header, "xmlns:stream", ns::STREAM);
        header.push('>');
        self.send(&header).await?;
        match self.item().await? {
            Item::Open(_) => {}
            _ => bail!("the server does not open a stream"),
        }
        let features = self.element().await?;
        ensure!(
            features.is("features", ns::STREAM),
            "the server says <{}/> where its features belong",
            features.name()
        );
        Ok(features)
    }

    /// The next element that is no stanza.
    async fn element(&mut self) -> Result<Element> {
        loop {
            if let Item::Element(element) = self.item().await? {
                return Ok(element);
            }
        }
    }

    /// The answer to an IQ of ours.
    async fn answer(&mut self, id: &str) -> Result<Stanza> {
        loop {
            let Item::Stanza(stanza) = self.item().await? else {
                continue;
            };
            let is_answer = stanza.kind == Kind::Iq && stanza.type_ != Type::Get;
            if is_answer && stanza.id.as_deref() == Some(id) {
                return Ok(stanza);
            }
        }
    }

    /// The next thing the server says that matters; what ends the stream is an error.
    async fn item(&mut self) -> Result<Item> {
        loop {
            let mut rest = self.received.as_slice();
            let item = self.framer.next(&mut rest);
            let used = self.received.len() - rest.len();
            self.received.drain(..used);
            match item.context("the server speaks no XMPP")? {
                Some(Item::Element(element)) if element.is("error", ns::STREAM) => {
                    let condition = element.children().next().map_or("error", Element::name);
                    bail!("the server ends the stream: {condition}");
                }
                Some(Item::Close) => bail!("the server ends the stream"),
                Some(Item::Whitespace) => {}
                Some(item) => return Ok(item),
                None => {
                    let read = self.socket.read_buf(&mut self.received).await?;
                    ensure!(read > 0, "the server closes the connection");
                }
            }
        }
    }
}
