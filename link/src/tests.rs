//! Mutual TLS on loopback sockets: who gets in, and as what.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use couplet_proto::link::wire::hello::Role;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tempfile::TempDir;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::dial::Dialer;
use crate::listen::Listeners;
use crate::tls::{Credentials, Error, Identity};
use crate::wire::Wire;
use crate::{LinkConfig, tls};

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// Writes an authority, and a certificate of another that is valid for this name.
fn write(folder: &Path, trusted: &Authority, signer: &Authority, name: &str) -> LinkConfig {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, signer).expect("signed");
    let paths = ["ca.pem", "certificate.pem", "key.pem"].map(|name| folder.join(name));
    let texts = [trusted.pem(), certificate.pem(), key.serialize_pem()];
    for (path, text) in paths.iter().zip(texts) {
        std::fs::write(path, text).expect("written");
    }
    let [ca, certificate, key] = paths;
    LinkConfig {
        ca: Some(ca),
        certificate: Some(certificate),
        key: Some(key),
        ..LinkConfig::default()
    }
}

fn credentials(trusted: &Authority, signer: &Authority, role: Role) -> Option<Arc<Credentials>> {
    let folder = TempDir::new().expect("a folder");
    let config = write(folder.path(), trusted, signer, role.server_name());
    let loaded = Credentials::load(&config, role)
        .expect("good")
        .expect("given");
    Some(Arc::new(loaded))
}

async fn listen(
    credentials: Option<Arc<Credentials>>,
) -> (SocketAddr, ReceiverStream<std::io::Result<Wire>>) {
    let any = "127.0.0.1:0".parse().expect("an address");
    let listeners = Listeners::bind(&[any], credentials).await.expect("free");
    (listeners.addresses()[0], listeners.accept())
}

/// Whether this dialer is let in, and as what.
async fn meet(
    server: Option<Arc<Credentials>>,
    client: Option<Arc<Credentials>>,
) -> Result<Identity, String> {
    let (address, mut accepted) = listen(server).await;
    let dialer = Dialer::new(client);
    let channel = dialer.connect(&address.to_string()).await;
    let _channel = channel.map_err(|error| error.to_string())?;
    // TLS 1.3 tells a client late that it was refused: what the server takes is what counts.
    let wire = tokio::time::timeout(Duration::from_secs(1), accepted.next()).await;
    match wire {
        Ok(Some(Ok(wire))) => Ok(wire.connect_info().identity),
        _ => Err("refused by the server".to_owned()),
    }
}

#[tokio::test]
async fn a_node_is_what_its_certificate_says() {
    let ca = authority();
    let server = credentials(&ca, &ca, Role::Origin);
    let edge = meet(server.clone(), credentials(&ca, &ca, Role::Edge)).await;
    let edge = edge.expect("let in");
    assert!(edge.may_be(Role::Edge) && !edge.may_be(Role::Origin));
    let origin = meet(server, credentials(&ca, &ca, Role::Origin)).await;
    let origin = origin.expect("let in");
    assert!(origin.may_be(Role::Origin) && !origin.may_be(Role::Edge));
    let anybody = meet(None, None).await.expect("let in");
    assert!(anybody.may_be(Role::Edge) && anybody.may_be(Role::Origin));
}

#[tokio::test]
async fn who_shows_nothing_or_the_wrong_thing_is_refused() {
    let (ca, other) = (authority(), authority());
    let server = credentials(&ca, &ca, Role::Origin);
    // No certificate, and no TLS at all.
    meet(server.clone(), None).await.expect_err("no TLS");
    // One that another authority has signed.
    let stranger = credentials(&ca, &other, Role::Edge);
    meet(server, stranger).await.expect_err("another authority");
    // A server that is an edge, one that is unknown, and one that does not speak TLS.
    let edge = || credentials(&ca, &ca, Role::Edge);
    meet(edge(), edge()).await.expect_err("not an origin");
    let unknown = credentials(&ca, &other, Role::Origin);
    meet(unknown, edge()).await.expect_err("another authority");
    let plain = meet(None, edge()).await;
    plain.expect_err("no TLS");
}

#[tokio::test]
async fn a_client_without_a_certificate_does_not_pass_the_handshake() {
    let ca = authority();
    let (address, mut accepted) = listen(credentials(&ca, &ca, Role::Origin)).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("supported")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await.expect("up");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let shaken = connector.connect(tls::name_of(Role::Origin), stream).await;
    // The client may believe it is in until it reads.
    if let Ok(mut stream) = shaken {
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut byte);
        let read = tokio::time::timeout(PATIENCE, read).await.expect("in time");
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    }
    let nobody = tokio::time::timeout(Duration::from_millis(200), accepted.next()).await;
    assert!(nobody.is_err());
}

#[test]
fn certificates_that_cannot_be_used_are_explained() {
    let ca = authority();
    let folder = TempDir::new().expect("a folder");
    let config = write(folder.path(), &ca, &ca, "edge.couplet");
    let wrong = Credentials::load(&config, Role::Origin);
    assert!(
        matches!(wrong, Err(Error::Role("origin.couplet"))),
        "{wrong:?}"
    );
    let missing = LinkConfig {
        ca: Some(folder.path().join("none.pem")),
        ..config.clone()
    };
    let missing = Credentials::load(&missing, Role::Edge).expect_err("no file");
    assert!(
        missing.to_string().starts_with("link.ca: cannot read"),
        "{missing}"
    );
    let good = Credentials::load(&config, Role::Edge)
        .expect("good")
        .expect("given");
    good.reload().expect("still good");
    std::fs::write(config.key.as_deref().expect("given"), "no key").expect("written");
    good.reload().expect_err("no key");
    let none = Credentials::load(&LinkConfig::default(), Role::Edge);
    assert!(matches!(none, Ok(None)));
}
