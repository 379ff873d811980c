//! Link: the certificates by which the nodes of a cluster know each other.
//!
//! One authority signs them all. What a node may be is in its certificate: a name for edges, a
//! name for origins, whatever the machine is called.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rcgen::ExtendedKeyUsagePurpose::{self, ClientAuth, ServerAuth};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::folder;

/// The DNS name in the certificate of every edge.
pub(crate) const EDGE_NAME: &str = "edge.couplet";

/// The DNS name in the certificate of every origin.
pub(crate) const ORIGIN_NAME: &str = "origin.couplet";

/// Makes an authority, and a certificate of its for each role, in a folder: `ca.pem`, `ca.key`,
/// `edge.pem`, `edge.key`, `origin.pem`, `origin.key`.
///
/// # Errors
/// When one of these is there already, or the folder cannot be written.
pub(crate) fn make(to: &Path) -> Result<()> {
    let files = files(to);
    if let Some(there) = files.iter().flatten().find(|file| file.exists()) {
        bail!(
            "{} is there already, and nodes may be using it: choose another folder",
            there.display()
        );
    }
    let wanted = || format!("cannot write into {}", to.display());
    folder::make(to).with_context(wanted)?;
    let authority = authority()?;
    let own = [
        (authority.pem(), authority.key().serialize_pem()),
        // Edges call; origins are called, and call each other.
        signed(EDGE_NAME, &[ClientAuth], &authority)?,
        signed(ORIGIN_NAME, &[ServerAuth, ClientAuth], &authority)?,
    ];
    for ([certificate_file, key_file], (certificate, key)) in files.iter().zip(own) {
        folder::write_private(key_file, key.as_bytes()).with_context(wanted)?;
        folder::write_private(certificate_file, certificate.as_bytes()).with_context(wanted)?;
    }
    Ok(())
}

/// Copies into a folder what a node of this role needs: its own certificate, its key, and the
/// authority's certificate without its key.
///
/// # Errors
/// When one of these cannot be read or written.
pub(crate) fn give(from: &Path, role: &str, to: &Path) -> Result<()> {
    folder::make(to).with_context(|| format!("cannot write into {}", to.display()))?;
    for name in [
        "ca.pem".to_owned(),
        format!("{role}.pem"),
        format!("{role}.key"),
    ] {
        let (source, copy) = (from.join(&name), to.join(&name));
        let text = std::fs::read(&source)
            .with_context(|| format!("{} cannot be read", source.display()))?;
        folder::write_private(&copy, &text)
            .with_context(|| format!("{} cannot be written", copy.display()))?;
    }
    Ok(())
}

/// Whether all of them are there.
pub(crate) fn are_made(to: &Path) -> bool {
    files(to).iter().flatten().all(|file| file.exists())
}

/// The certificate and the key of the authority, of edges and of origins.
fn files(to: &Path) -> [[PathBuf; 2]; 3] {
    ["ca", "edge", "origin"].map(|name| {
        [
            to.join(format!("{name}.pem")),
            to.join(format!("{name}.key")),
        ]
    })
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = params("couplet link authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// A certificate and its key, both PEM.
fn signed(
    name: &str,
    usages: &[ExtendedKeyUsagePurpose],
    authority: &CertifiedIssuer<'_, KeyPair>,
) -> Result<(String, String)> {
    let mut params = params(name);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages.to_vec();
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

#[cfg(test)]
mod tests {
    use super::super::{fits, is_named, read_chain, read_key};
    use super::*;

    #[test]
    fn each_role_gets_a_certificate_of_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().join("link");
        make(&to).expect("made");
        read_chain(&to.join("ca.pem")).expect("an authority");
        for (role, name) in [("edge", EDGE_NAME), ("origin", ORIGIN_NAME)] {
            let chain = read_chain(&to.join(format!("{role}.pem"))).expect("a chain");
            let key = read_key(&to.join(format!("{role}.key"))).expect("a key");
            assert!(is_named(&chain, name));
            fits(chain, key).expect("they fit");
        }
    }

    #[test]
    fn nothing_is_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!are_made(folder.path()));
        make(folder.path()).expect("made");
        assert!(are_made(folder.path()));
        let before = std::fs::read(folder.path().join("ca.pem")).expect("read");
        let again = make(folder.path()).expect_err("refused");
        assert!(again.to_string().contains("is there already"), "{again}");
        let after = std::fs::read(folder.path().join("ca.pem")).expect("read");
        assert_eq!(before, after);
        // With one of them gone neither will do: the rest is of an authority that has no key.
        std::fs::remove_file(folder.path().join("ca.key")).expect("removed");
        assert!(!are_made(folder.path()) && make(folder.path()).is_err());
    }
}
