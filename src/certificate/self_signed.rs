//! Self-signed: the certificate the server makes when it is given none.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{ascii, fits, names_of, read_chain, read_key};
use crate::folder;

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

/// The self-signed certificate of the folder `tls`: the one that is there if it is for exactly
/// these domains, else a new one.
///
/// # Errors
/// When the folder cannot be written, or no certificate can be made for a domain.
pub(crate) fn ensure(tls: &Path, domains: &[String]) -> Result<SelfSigned> {
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
    folder::make(tls).with_context(wanted)?;
    let (certificate, key) = generate(&names)?;
    // The key first: a certificate whose key is missing would look complete to an operator.
    folder::write_private(&found.key, key.as_bytes()).with_context(wanted)?;
    fs::write(&found.certificate, certificate).with_context(wanted)?;
    Ok(SelfSigned {
        is_new: true,
        ..found
    })
}

/// Names as certificates write them: ASCII.
fn subject_names(domains: &[String]) -> Result<Vec<String>> {
    let name = |domain: &String| {
        ascii(domain)
            .with_context(|| format!("no certificate can be made for the domain {domain:?}"))
    };
    domains.iter().map(name).collect()
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
        let first = ensure(&tls, &domains(&["a.example", "bücher.example"])).expect("made");
        assert!(first.is_new);
        let chain = read_chain(&first.certificate).expect("a chain");
        let key = read_key(&first.key).expect("a key");
        assert_eq!(names_of(&chain[0]), ["a.example", "xn--bcher-kva.example"]);
        fits(chain, key).expect("they fit");

        let again = ensure(&tls, &domains(&["a.example", "bücher.example"])).expect("found");
        assert!(!again.is_new);
        let other = ensure(&tls, &domains(&["b.example"])).expect("made");
        assert!(other.is_new);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_the_key() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a folder");
        let made = ensure(folder.path(), &domains(&["localhost"])).expect("made");
        let mode = fs::metadata(&made.key).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn addresses_can_be_domains() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = domains(&["127.0.0.1", "localhost"]);
        assert!(ensure(folder.path(), &names).expect("made").is_new);
        assert!(!ensure(folder.path(), &names).expect("found").is_new);
    }
}
