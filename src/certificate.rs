//! Certificates: reads those of the operator, makes one if there is none.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// A certificate and its key that the server made for itself.
#[derive(Debug, Clone)]
pub(crate) struct SelfSigned {
    /// The certificate, PEM.
    pub(crate) certificate: PathBuf,
    /// Its key, PEM; readable by the server's user only.
    pub(crate) key: PathBuf,
    /// Whether it was made just now rather than found.
    pub(crate) is_new: bool,
}

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

/// The self-signed certificate of the folder `tls`: the one that is there if it is for exactly
/// these domains, else a new one.
///
/// # Errors
/// When the folder cannot be written, or no certificate can be made for a domain.
pub(crate) fn self_signed(tls: &Path, domains: &[String]) -> Result<SelfSigned> {
    let found = SelfSigned {
        certificate: tls.join("self-signed.crt"),
        key: tls.join("self-signed.key"),
        is_new: false,
    };
    let names = subject_names(domains)?;
    if is_for(&found, &names) {
        return Ok(found);
    }
    let wanted = || format!("cannot write a certificate into {}", tls.display());
    make_folder(tls).with_context(wanted)?;
    let (certificate, key) = generate(&names)?;
    // The key first: a certificate whose key is missing would look complete to an operator.
    write_private(&found.key, key.as_bytes()).with_context(wanted)?;
    fs::write(&found.certificate, certificate).with_context(wanted)?;
    Ok(SelfSigned {
        is_new: true,
        ..found
    })
}

fn explain(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        other => format!("is not valid PEM: {other}"),
    }
}

/// Names as certificates write them: ASCII.
fn subject_names(domains: &[String]) -> Result<Vec<String>> {
    let ascii = |domain: &String| {
        idna::domain_to_ascii(domain)
            .ok()
            .with_context(|| format!("no certificate can be made for the domain {domain:?}"))
    };
    domains.iter().map(ascii).collect()
}

fn is_for(pair: &SelfSigned, names: &[String]) -> bool {
    let (Ok(chain), Ok(key)) = (read_chain(&pair.certificate), read_key(&pair.key)) else {
        return false;
    };
    let has_names = chain
        .first()
        .is_some_and(|certificate| names_of(certificate) == names);
    has_names && fits(chain, key).is_ok()
}

/// The names a certificate is for, in its own order.
fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    use x509_parser::extensions::GeneralName;

    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
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

/// A certificate and its key, both PEM.
fn generate(names: &[String]) -> Result<(String, String)> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(names.to_vec())?;
    let mut subject = rcgen::DistinguishedName::new();
    let common = names.first().map_or("couplet", String::as_str);
    subject.push(rcgen::DnType::CommonName, common);
    params.distinguished_name = subject;
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Makes a folder only the server's user may look into.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// Copies the files of a folder, if there is one, readable by the server's user only.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    make_folder(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            write_private(&to.join(entry.file_name()), &fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Writes a file only the server's user may read; never readable by others, not even briefly.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_certificate_is_made_once_and_again_when_the_domains_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let tls = folder.path().join("tls");
        let first = self_signed(&tls, &domains(&["a.example", "bücher.example"])).expect("made");
        assert!(first.is_new);
        let chain = read_chain(&first.certificate).expect("a chain");
        let key = read_key(&first.key).expect("a key");
        assert_eq!(names_of(&chain[0]), ["a.example", "xn--bcher-kva.example"]);
        fits(chain, key).expect("they fit");

        let again = self_signed(&tls, &domains(&["a.example", "bücher.example"])).expect("found");
        assert!(!again.is_new);
        let other = self_signed(&tls, &domains(&["b.example"])).expect("made");
        assert!(other.is_new);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_the_key() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a folder");
        let made = self_signed(folder.path(), &domains(&["localhost"])).expect("made");
        let mode = fs::metadata(&made.key).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn addresses_can_be_domains() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = domains(&["127.0.0.1", "localhost"]);
        assert!(self_signed(folder.path(), &names).expect("made").is_new);
        assert!(!self_signed(folder.path(), &names).expect("found").is_new);
    }
}
