//! Certificates: reads those of the operator, makes one if there is none, tells when one ends.

mod change;
mod link;
mod self_signed;
mod watch;

use std::path::Path;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

pub(crate) use change::Changes;
pub(crate) use link::{
    EDGE_NAME, ORIGIN_NAME, are_made as are_link_certificates_made, give as give_link_certificate,
    make as make_link_certificates,
};
pub(crate) use self_signed::ensure as ensure_self_signed;
pub(crate) use watch::watch;

/// Reads a chain from a PEM file.
///
/// # Errors
/// What is wrong with the file, in words for the operator.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| explain(&error))?;
    let chain: Result<Vec<_>, _> = certificates.collect();
    let chain = chain.map_err(|error| explain(&error))?;
    if chain.is_empty() {
        return Err("holds no certificate (expected PEM)".to_owned());
    }
    Ok(chain)
}

/// Reads a private key from a PEM file.
///
/// # Errors
/// What is wrong with the file, in words for the operator.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            "holds no private key (expected PEM without a passphrase)".to_owned()
        }
        other => explain(&other),
    })
}

/// Whether a key is the key of a chain's first certificate.
///
/// # Errors
/// What is wrong, in words for the operator.
pub(crate) fn fits(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(), String> {
    let provider = aws_lc_rs::default_provider();
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err("is not the key of the certificate".to_owned())
        }
        Err(error) => Err(format!("cannot be used: {error}")),
    }
}

fn explain(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        other => format!("is not valid PEM: {other}"),
    }
}

/// Whether the first certificate of a chain is for this name.
pub(crate) fn is_named(chain: &[CertificateDer<'_>], name: &str) -> bool {
    let leaf = chain.first();
    leaf.is_some_and(|leaf| {
        names_of(leaf)
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name))
    })
}

/// A domain as certificates write it.
fn ascii(domain: &str) -> Option<String> {
    idna::domain_to_ascii(domain).ok()
}

/// The names a certificate is for, in its own order.
fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Some(parsed) = parse(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress([a, b, c, d]) => Some(format!("{a}.{b}.{c}.{d}")),
        GeneralName::IPAddress(bytes) => {
            let bytes: [u8; 16] = (*bytes).try_into().ok()?;
            Some(std::net::Ipv6Addr::from(bytes).to_string())
        }
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed)
}
