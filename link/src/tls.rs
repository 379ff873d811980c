//! Mutual TLS: who may be at the other end.
//!
//! Every certificate is signed by the cluster's CA and valid for the DNS name of a role: an edge
//! cannot pass for an origin, and nothing else that the CA has signed can pass for a node. TLS 1.3
//! only: both ends are ours.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use couplet_proto::link::wire::hello::Role;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::LinkConfig;

/// The application protocol: HTTP/2.
const ALPN: &[u8] = b"h2";

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or is not PEM.
    #[error("{key}: cannot read {path}: {source}")]
    Read {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A file holds no certificate.
    #[error("{key}: no certificate in {path}")]
    Empty {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Key and certificate do not fit, or are of a kind not supported.
    #[error("{key}: {source}")]
    Use {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The certificate is not one of this role.
    #[error("link.certificate: not valid for `{0}`")]
    Role(&'static str),
}

/// This node's certificate and what it believes others by. Read again on demand; links that stand
/// keep what they began with.
#[derive(Debug)]
pub struct Credentials {
    role: Role,
    paths: [PathBuf; 3],
    current: ArcSwap<Configs>,
}

#[derive(Debug)]
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// What a node may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Anything: there is no TLS.
    Unchecked,
    /// What its certificate says.
    Certified {
        /// Whether it may be an edge.
        is_edge: bool,
        /// Whether it may be an origin.
        is_origin: bool,
    },
}

// === impl Credentials ===

impl Credentials {
    /// Reads the files the configuration names; `None` when it names none. `role` is what this
    /// node is.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn load(link: &LinkConfig, role: Role) -> Result<Option<Self>, Error> {
        let (Some(ca), Some(certificate), Some(key)) = (&link.ca, &link.certificate, &link.key)
        else {
            return Ok(None);
        };
        let paths = [ca.clone(), certificate.clone(), key.clone()];
        let current = ArcSwap::from_pointee(Configs::read(&paths, role)?);
        Ok(Some(Self {
            role,
            paths,
            current,
        }))
    }

    /// Reads the files again. On error everything stays as it is.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn reload(&self) -> Result<(), Error> {
        let configs = Configs::read(&self.paths, self.role)?;
        self.current.store(Arc::new(configs));
        Ok(())
    }

    /// To dial with.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.load().client)
    }

    /// To be dialed with.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }
}

// === impl Configs ===

impl Configs {
    fn read([ca, certificate, key]: &[PathBuf; 3], role: Role) -> Result<Self, Error> {
        let unusable = |key| move |source| Error::Use { key, source };
        let mut roots = RootCertStore::empty();
        for authority in certificates("link.ca", ca)? {
            roots.add(authority).map_err(unusable("link.ca"))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates("link.certificate", certificate)?;
        if !is_valid_for(&chain[0], role) {
            return Err(Error::Role(role.server_name()));
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(|source| Error::Read {
            key: "link.key",
            path: key.clone(),
            source,
        })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable("link.ca"))?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(unusable("link.key"))?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        // Links live long, and each handshake looks at the certificate that is valid now.
        client.resumption = rustls::client::Resumption::disabled();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .expect("there is at least one root, and no revocation list");
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable("link.ca"))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(unusable("link.key"))?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }
}

// === impl Identity ===

impl Identity {
    /// What a certificate says.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self::Certified {
            is_edge: is_valid_for(certificate, Role::Edge),
            is_origin: is_valid_for(certificate, Role::Origin),
        }
    }

    /// Whether it may be a `role`.
    pub fn may_be(self, role: Role) -> bool {
        match (self, role) {
            (Self::Unchecked, _) => true,
            (Self::Certified { is_edge, .. }, Role::Edge) => is_edge,
            (Self::Certified { is_origin, .. }, Role::Origin) => is_origin,
        }
    }
}

/// The name that a role's certificate is valid for.
pub(crate) fn name_of(role: Role) -> ServerName<'static> {
    ServerName::try_from(role.server_name()).expect("a DNS name")
}

fn is_valid_for(certificate: &CertificateDer<'_>, role: Role) -> bool {
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|certificate| verify_server_name(&certificate, &name_of(role)).is_ok())
}

/// The certificates of a file: at least one.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unreadable = |source| Error::Read {
        key,
        path: path.to_owned(),
        source,
    };
    let found = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if found.is_empty() {
        return Err(Error::Empty {
            key,
            path: path.to_owned(),
        });
    }
    Ok(found)
}
