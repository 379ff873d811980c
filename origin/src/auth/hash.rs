//! The hashes SCRAM is used with, and what RFC 5802 §2.2 builds from them.

use pbkdf2::hmac::digest::Digest;
use pbkdf2::hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

/// A hash with a SCRAM mechanism of its own.
pub(super) trait Hash: EagerHash + Digest {
    /// As in the mechanism's name.
    const NAME: &'static str;

    /// Bytes of its output.
    const BYTES: usize;
}

impl Hash for Sha1 {
    const NAME: &'static str = "SHA-1";
    const BYTES: usize = 20;
}

impl Hash for Sha256 {
    const NAME: &'static str = "SHA-256";
    const BYTES: usize = 32;
}

/// `H(data)`.
pub(super) fn digest<H: Hash>(data: &[u8]) -> Box<[u8]> {
    Box::from(H::digest(data).as_slice())
}

/// `HMAC(key, data)`, the data in parts.
pub(super) fn hmac<H: Hash>(key: &[u8], data: &[&[u8]]) -> Box<[u8]> {
    let mut mac = Hmac::<H>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in data {
        mac.update(part);
    }
    Box::from(mac.finalize().into_bytes().as_slice())
}

/// `Hi(password, salt, i)`: milliseconds of work.
pub(super) fn salted<H: Hash>(password: &str, salt: &[u8], iterations: u32) -> Box<[u8]> {
    let mut key = vec![0; H::BYTES].into_boxed_slice();
    pbkdf2::pbkdf2_hmac::<H>(password.as_bytes(), salt, iterations, &mut key);
    key
}
