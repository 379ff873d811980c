//! TLS: certificates by domain, reloaded while running, and what a handshake leaves behind.
//!
//! - TLS 1.2 and 1.3, no early data (XEP-0388 and RFC 8446 §E.5: it could be replayed), no
//!   renegotiation (rustls has none).
//! - No session resumption: streams live long, and a resumed session would go on under a
//!   certificate that may have been replaced, with another channel binding.
//! - Direct TLS offers the ALPN protocol `xmpp-client` (XEP-0368 §4). A client without ALPN is
//!   accepted, one that only knows other protocols is refused.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;

use crate::config::CertificatePaths;
use crate::stream::Secured;

/// The application protocol of client streams (XEP-0368 §4).
const ALPN: &[u8] = b"xmpp-client";

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or is not PEM.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Key and certificate do not fit, or are of a kind not supported.
    #[error("cannot use {path}: {source}")]
    Use {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// A file holds no certificate.
    #[error("no certificate in {path}")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// There is no certificate at all.
    #[error("no certificate for TLS")]
    None,
}

/// One set of certificates and the handshakes made with it. A reload makes a new one; handshakes
/// under way go on with theirs, so a channel binding always names the certificate that was shown.
pub(super) struct Tls {
    certificates: Arc<Certificates>,
    starttls: Arc<ServerConfig>,
    direct: Arc<ServerConfig>,
}

/// Which way a client comes to TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Through STARTTLS.
    StartTls,
    /// From the first byte.
    Direct,
}

/// The certificates by domain.
struct Certificates {
    default: Arc<Certificate>,
    by_domain: HashMap<String, Arc<Certificate>>,
}

/// A certificate that can be shown.
struct Certificate {
    key: Arc<CertifiedKey>,
    /// The data of `tls-server-end-point` (RFC 5929 §4), where the certificate has any.
    end_point: Option<Bytes>,
}

// === impl Tls ===

impl Tls {
    /// Loads the certificates.
    pub(super) fn load(paths: &[CertificatePaths]) -> Result<Self, CertificateError> {
        let certificates = Arc::new(Certificates::load(paths)?);
        let starttls = config(Arc::clone(&certificates));
        let mut direct = starttls.clone();
        direct.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            certificates,
            starttls: Arc::new(starttls),
            direct: Arc::new(direct),
        })
    }

    /// What to do a handshake with.
    pub(super) fn config(&self, way: Way) -> Arc<ServerConfig> {
        match way {
            Way::StartTls => Arc::clone(&self.starttls),
            Way::Direct => Arc::clone(&self.direct),
        }
    }

    /// What a finished handshake leaves behind.
    pub(super) fn secured(&self, connection: &ServerConnection) -> Secured {
        let mut bindings = Vec::new();
        if let Some(exporter) = exporter(connection) {
            bindings.push(("tls-exporter", exporter));
        }
        let certificate = self.certificates.find(connection.server_name());
        if let Some(end_point) = &certificate.end_point {
            bindings.push(("tls-server-end-point", end_point.clone()));
        }
        Secured { bindings }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domains: Vec<_> = self.certificates.by_domain.keys().collect();
        f.debug_struct("Tls")
            .field("domains", &domains)
            .finish_non_exhaustive()
    }
}

// === impl Certificates ===

impl Certificates {
    fn load(paths: &[CertificatePaths]) -> Result<Self, CertificateError> {
        let mut default = None;
        let mut by_domain = HashMap::new();
        for path in paths {
            let certificate = Arc::new(Certificate::load(path)?);
            default.get_or_insert_with(|| Arc::clone(&certificate));
            if let Some(domain) = &path.domain {
                // Clients ask for the name as it stands in the DNS (RFC 6066 §3).
                let name = idna::domain_to_ascii(domain);
                by_domain.insert(name.unwrap_or_else(|_| domain.clone()), certificate);
            }
        }
        Ok(Self {
            default: default.ok_or(CertificateError::None)?,
            by_domain,
        })
    }

    /// The certificate for a client that asks for this name. Names in a handshake are lower case.
    fn find(&self, name: Option<&str>) -> &Arc<Certificate> {
        name.and_then(|name| self.by_domain.get(name))
            .unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.find(hello.server_name()).key))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

// === impl Certificate ===

impl Certificate {
    fn load(paths: &CertificatePaths) -> Result<Self, CertificateError> {
        let read = |path: &PathBuf| {
            let path = path.clone();
            move |source| CertificateError::Read { path, source }
        };
        let chain = CertificateDer::pem_file_iter(&paths.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(read(&paths.certificate))?;
        let Some(leaf) = chain.first() else {
            let path = paths.certificate.clone();
            return Err(CertificateError::Empty { path });
        };
        let end_point = end_point(leaf);
        let key = PrivateKeyDer::from_pem_file(&paths.key).map_err(read(&paths.key))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(
            |source| CertificateError::Use {
                path: paths.certificate.clone(),
                source,
            },
        )?;
        Ok(Self {
            key: Arc::new(key),
            end_point,
        })
    }
}

// === free functions ===

/// What all handshakes have in common.
fn config(certificates: Arc<Certificates>) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

/// The data of `tls-exporter` (RFC 9266 §4.2). With TLS 1.2 it is unique only under the extended
/// master secret (§4.2 again), and the library does not tell whether that was agreed: so from
/// TLS 1.3 on.
fn exporter(connection: &ServerConnection) -> Option<Bytes> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    let label = b"EXPORTER-Channel-Binding";
    let data = connection
        .export_keying_material([0; 32], label, Some(&[]))
        .ok()?;
    Some(Bytes::copy_from_slice(&data))
}

/// The data of `tls-server-end-point` (RFC 5929 §4.1): the certificate's hash with the hash
/// function of its signature, SHA-256 in place of MD5 and SHA-1. Undefined where the signature
/// has no hash of its own (Ed25519), so `None`.
fn end_point(certificate: &CertificateDer<'_>) -> Option<Bytes> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let oid = match SignatureAlgorithm::try_from(&parsed.signature_algorithm).ok()? {
        SignatureAlgorithm::RSASSA_PSS(parameters) => {
            parameters.hash_algorithm_oid().to_id_string()
        }
        _ => parsed.signature_algorithm.algorithm.to_id_string(),
    };
    let hash = match oid.as_str() {
        // MD5, SHA-1 and SHA-256 with RSA; SHA-1 and SHA-256 with ECDSA; SHA-1, SHA-256 for PSS.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2"
        | "1.3.14.3.2.26"
        | "2.16.840.1.101.3.4.2.1" => Sha256::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" | "2.16.840.1.101.3.4.2.2" => {
            Sha384::digest(certificate).to_vec()
        }
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" | "2.16.840.1.101.3.4.2.3" => {
            Sha512::digest(certificate).to_vec()
        }
        _ => return None,
    };
    Some(Bytes::from(hash))
}
