//! TLS: both ways to it, the certificates shown, and what a client can bind its login to.

use std::path::Path;
use std::sync::Arc;

use couplet_edge::{CertificatePaths, Config};
use couplet_proto::link::frame::ToOrigin;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use sha2::{Digest, Sha256, Sha384};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::World;
use crate::balanced;
use crate::client::{Client, HEADER};

const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// An edge with certificates for two domains, and the folder they lie in.
struct Secure {
    world: World,
    folder: TempDir,
}

impl Secure {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_certificate(folder.path(), "localhost", &rcgen::PKCS_ECDSA_P256_SHA256);
        write_certificate(folder.path(), "other.example", &PKCS_ECDSA_P384_SHA384);
        let paths = |domain: &str, file: &str| CertificatePaths {
            domain: Some(domain.to_owned()),
            certificate: folder.path().join(format!("{file}.crt")),
            key: folder.path().join(format!("{file}.key")),
        };
        let mut config = Config {
            domains: vec!["localhost".to_owned(), "other.example".to_owned()],
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            tls_listen: vec!["127.0.0.1:0".parse().expect("an address")],
            certificates: vec![
                paths("localhost", "localhost"),
                paths("other.example", "other.example"),
            ],
            ..Config::default()
        };
        change(&mut config);
        let world = World::start(config).await;
        Self { world, folder }
    }

    fn certificate(&self, domain: &str) -> CertificateDer<'static> {
        let path = self.folder.path().join(format!("{domain}.crt"));
        CertificateDer::from_pem_file(path).expect("a certificate")
    }

    /// A handshake that trusts only the certificate now on disk for `domain`.
    async fn handshake(
        &self,
        tcp: TcpStream,
        domain: &'static str,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate(domain)).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(domain).expect("a name");
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await?;
        Ok(Client::over(tls))
    }

    async fn direct(&self, domain: &'static str, alpn: &[&str]) -> std::io::Result<()> {
        let tcp = TcpStream::connect(self.world.at.direct_tls[0])
            .await
            .expect("connected");
        let mut client = self
            .handshake(tcp, domain, &[&version::TLS13], alpn)
            .await?;
        client.send(HEADER).await;
        client.expect("</stream:features>").await;
        Ok(())
    }

    /// The bindings the origin was told of with the last login.
    fn bindings(&self) -> Vec<(&'static str, Vec<u8>)> {
        let state = self.world.origin.state();
        let mut logins = state.frames.iter().rev().filter_map(|frame| match frame {
            ToOrigin::Authenticate(_, request) => Some(request),
            _ => None,
        });
        let bindings = &logins.next().expect("a login").channel.bindings;
        bindings
            .iter()
            .map(|(name, data)| (*name, data.to_vec()))
            .collect()
    }
}

fn write_certificate(folder: &Path, domain: &str, algorithm: &'static SignatureAlgorithm) {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let parameters = CertificateParams::new(vec![domain.to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("signed");
    std::fs::write(folder.join(format!("{domain}.crt")), certificate.pem()).expect("written");
    std::fs::write(folder.join(format!("{domain}.key")), key.serialize_pem()).expect("written");
}

fn exporter(client: &Client<TlsStream<TcpStream>>) -> Vec<u8> {
    let (_, session) = client.transport.get_ref();
    let label = b"EXPORTER-Channel-Binding";
    session
        .export_keying_material(vec![0; 32], label, Some(&[]))
        .expect("exported")
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_have_the_same_bindings_with_starttls() {
    let secure = Secure::start(|_| {}).await;
    let mut plain = Client::connect(secure.world.at.plain[0]).await;
    plain.send(HEADER).await;
    plain.expect("</stream:features>").await;
    plain.send(STARTTLS).await;
    plain.expect("<proceed").await;
    plain.expect("/>").await;
    let versions = [&version::TLS13];
    let tls = secure
        .handshake(plain.transport, "localhost", &versions, &[])
        .await;
    let mut client = tls.expect("secured");
    client.authenticate("PLAIN", "\0juliet\0secret").await;
    let end_point = Sha256::digest(secure.certificate("localhost")).to_vec();
    let expected = [
        ("tls-exporter", exporter(&client)),
        ("tls-server-end-point", end_point),
    ];
    assert_eq!(secure.bindings(), expected);
    client.bind("there").await;
    client.send("<presence/>").await;
    let session = secure.world.origin.session_of("juliet@localhost").session;
    let sent = |state: &crate::origin::State| (state.numbers(session) == [1]).then_some(());
    secure.world.origin.wait("a stanza", sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_and_its_hash_follow_the_name_asked_for() {
    let secure = Secure::start(|_| {}).await;
    let tcp = TcpStream::connect(secure.world.at.direct_tls[0])
        .await
        .expect("connected");
    let versions = [&version::TLS12];
    let tls = secure
        .handshake(tcp, "other.example", &versions, &["xmpp-client"])
        .await;
    let mut client = tls.expect("secured");
    client.authenticate("PLAIN", "\0juliet\0secret").await;
    // Nothing to export with TLS 1.2: the extended master secret cannot be relied on.
    let end_point = Sha384::digest(secure.certificate("other.example")).to_vec();
    assert_eq!(secure.bindings(), [("tls-server-end-point", end_point)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_speaks_before_the_handshake_of_direct_tls() {
    let secure = Secure::start(balanced::trusting).await;
    let at = secure.world.at.direct_tls[0];
    let tcp = balanced::connect(at, balanced::BALANCER, balanced::SECOND).await;
    let versions = [&version::TLS13];
    let tls = secure.handshake(tcp, "localhost", &versions, &[]).await;
    let peer = balanced::peer_told(&secure.world, &mut tls.expect("secured")).await;
    assert_eq!(peer.to_string(), "198.51.100.7");
    let tcp = balanced::connect(at, "127.0.0.1", balanced::SECOND).await;
    let refused = secure.handshake(tcp, "localhost", &versions, &[]).await;
    assert!(refused.is_err(), "a header from somebody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_tls_wants_the_right_protocol_or_none() {
    let secure = Secure::start(|_| {}).await;
    secure
        .direct("localhost", &["xmpp-client"])
        .await
        .expect("the right one");
    secure
        .direct("localhost", &["h2", "xmpp-client"])
        .await
        .expect("among others");
    secure.direct("localhost", &[]).await.expect("none");
    secure
        .direct("localhost", &["http/1.1"])
        .await
        .expect_err("another");
    secure
        .direct("localhost", &["xmpp-server"])
        .await
        .expect_err("the servers'");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_reloaded_and_broken_ones_are_not() {
    let secure = Secure::start(|_| {}).await;
    secure
        .direct("other.example", &[])
        .await
        .expect("the first");
    let old = secure.certificate("other.example");
    write_certificate(
        secure.folder.path(),
        "other.example",
        &PKCS_ECDSA_P384_SHA384,
    );
    assert_ne!(old, secure.certificate("other.example"));
    secure
        .direct("other.example", &[])
        .await
        .expect_err("still the first is shown");
    secure.world.edge.reload_certificates().expect("reloaded");
    secure
        .direct("other.example", &[])
        .await
        .expect("now the second");
    secure
        .direct("localhost", &[])
        .await
        .expect("the other domain's");

    let good = secure.folder.path().join("other.example.crt");
    let kept = std::fs::read(&good).expect("read");
    std::fs::write(&good, "nonsense").expect("written");
    secure
        .world
        .edge
        .reload_certificates()
        .expect_err("no certificate");
    std::fs::write(&good, kept).expect("written");
    secure
        .direct("other.example", &[])
        .await
        .expect("the second stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_sent_before_the_handshake_counts_after_it() {
    let secure = Secure::start(|_| {}).await;
    let mut plain = Client::connect(secure.world.at.plain[0]).await;
    plain.send(HEADER).await;
    plain.expect("</stream:features>").await;
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>";
    plain.send(&format!("{STARTTLS}{HEADER}{auth}")).await;
    plain.expect("<proceed").await;
    plain.expect("/>").await;
    let versions = [&version::TLS13];
    let tls = secure
        .handshake(plain.transport, "localhost", &versions, &[])
        .await;
    let mut client = tls.expect("secured");
    client.authenticate("PLAIN", "\0juliet\0secret").await;
    let state = secure.world.origin.state();
    let accounts = state.frames.iter().filter_map(|frame| match frame {
        ToOrigin::Authenticate(_, request) => Some(request.account.to_string()),
        _ => None,
    });
    assert_eq!(accounts.collect::<Vec<_>>(), ["juliet@localhost"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_never_ends_is_ended() {
    let secure = Secure::start(|config| config.limits.before_auth_secs = 1).await;
    let mut tcp = TcpStream::connect(secure.world.at.direct_tls[0])
        .await
        .expect("connected");
    let closed = tokio::time::timeout(crate::PATIENCE, tcp.read(&mut [0; 16])).await;
    assert_eq!(closed.expect("closed in time").unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_stands_still_holds_nobody_up_for_long() {
    let secure = Secure::start(|config| config.limits.tls_handshakes = 1).await;
    let _silent = TcpStream::connect(secure.world.at.direct_tls[0])
        .await
        .expect("connected");
    secure.direct("localhost", &[]).await.expect("let in");
}
