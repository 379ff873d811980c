//! The stored credential: what is kept of a password.
//!
//! For each hash a salt, a number of rounds and the two keys of RFC 5802 §3. The password is not
//! kept, and from these keys nobody can log in; whoever steals them can pose as this server to
//! the client, and must guess passwords at the price of the rounds.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use couplet_proto::Jid;
use prost::Message;
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::hash::{self, Hash};
use crate::store::codec::{self, Damaged};

/// Bytes of a salt we make.
pub const SALT_BYTES: usize = 16;

/// RFC 5802 §5.1, RFC 7677 §4: no password gets fewer rounds.
pub const ITERATIONS_MIN: u32 = 4096;

/// More rounds than this in a stored record is damage: a check would take minutes.
const ITERATIONS_MAX: u32 = 10_000_000;

/// Longer passwords are refused: each login normalises them first.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// The version of the stored record this writes.
const VERSION: u8 = 1;

/// What is kept of an account's password. Prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    scram_sha_1: Keys,
    scram_sha_256: Keys,
}

/// The password cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password is empty, too long or holds characters that may not be in one")]
pub struct BadPassword;

/// The stored record cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no record of this version.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// It is one, but no password can have led to it.
    #[error("keys that cannot be keys")]
    Unsound,
}

/// What SCRAM with one hash needs to know (RFC 5802 §3).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) salt: Box<[u8]>,
    pub(super) iterations: u32,
    pub(super) stored_key: Box<[u8]>,
    pub(super) server_key: Box<[u8]>,
}

/// [`Credentials`] as stored.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(message, optional, tag = "1")]
    scram_sha_1: Option<KeysRecord>,
    #[prost(message, optional, tag = "2")]
    scram_sha_256: Option<KeysRecord>,
}

/// [`Keys`] as stored.
#[derive(Clone, PartialEq, Message)]
struct KeysRecord {
    #[prost(bytes = "vec", tag = "1")]
    salt: Vec<u8>,
    #[prost(uint32, tag = "2")]
    iterations: u32,
    #[prost(bytes = "vec", tag = "3")]
    stored_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    server_key: Vec<u8>,
}

// === impl Credentials ===

impl Credentials {
    /// Derives the keys of a password: milliseconds of CPU, so not on a shard's task. The salts
    /// are random. Fewer rounds than [`ITERATIONS_MIN`] are raised to it.
    ///
    /// # Errors
    /// [`BadPassword`] when SASLprep (RFC 4013) refuses it, or it is empty or too long.
    pub fn derive(
        password: &str,
        iterations: u32,
        salt_sha_1: [u8; SALT_BYTES],
        salt_sha_256: [u8; SALT_BYTES],
    ) -> Result<Self, BadPassword> {
        let password = prepare(password)?;
        let iterations = iterations.max(ITERATIONS_MIN);
        Ok(Self {
            scram_sha_1: Keys::derive::<Sha1>(&password, &salt_sha_1, iterations),
            scram_sha_256: Keys::derive::<Sha256>(&password, &salt_sha_256, iterations),
        })
    }

    /// Whether this is the password: milliseconds of CPU, so not on a shard's task.
    pub fn verify_plain(&self, password: &str) -> bool {
        prepare(password).is_ok_and(|password| self.scram_sha_256.fits::<Sha256>(&password))
    }

    /// As it is stored.
    pub fn encode(&self) -> Bytes {
        let record = Record {
            scram_sha_1: Some(self.scram_sha_1.to_record()),
            scram_sha_256: Some(self.scram_sha_256.to_record()),
        };
        codec::encode(VERSION, &record)
    }

    /// From what is stored.
    ///
    /// # Errors
    /// [`Unreadable`] when it is damaged or of a version this does not know.
    pub fn decode(stored: &Bytes) -> Result<Self, Unreadable> {
        let record: Record = codec::decode(VERSION, stored)?;
        Ok(Self {
            scram_sha_1: Keys::from_record::<Sha1>(record.scram_sha_1)?,
            scram_sha_256: Keys::from_record::<Sha256>(record.scram_sha_256)?,
        })
    }

    pub(super) fn keys<H: Hash>(&self) -> &Keys {
        match H::NAME {
            Sha1::NAME => &self.scram_sha_1,
            _ => &self.scram_sha_256,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

// === impl Keys ===

impl Keys {
    pub(super) fn derive<H: Hash>(prepared: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = hash::salted::<H>(prepared, salt, iterations);
        let client_key = hash::hmac::<H>(&salted, &[b"Client Key"]);
        Self {
            salt: Box::from(salt),
            iterations,
            stored_key: hash::digest::<H>(&client_key),
            server_key: hash::hmac::<H>(&salted, &[b"Server Key"]),
        }
    }

    /// What an account that does not exist has: the same at each try, different for each account
    /// and hash, and without `key` not to be told from the real thing. The same for a mechanism
    /// and its `-PLUS` form, as real keys are.
    pub(super) fn fake<H: Hash>(key: &[u8; 32], account: &Jid, iterations: u32) -> Self {
        let part = |what: &[u8]| {
            let name = H::NAME.as_bytes();
            hash::hmac::<H>(key, &[what, b"\0", name, b"\0", account.bare().as_bytes()])
        };
        Self {
            salt: Box::from(&part(b"salt")[..SALT_BYTES]),
            iterations: iterations.max(ITERATIONS_MIN),
            stored_key: part(b"stored key"),
            server_key: part(b"server key"),
        }
    }

    /// Whether these are the keys of that prepared password.
    pub(super) fn fits<H: Hash>(&self, prepared: &str) -> bool {
        let tried = Self::derive::<H>(prepared, &self.salt, self.iterations);
        bool::from(tried.stored_key.ct_eq(&self.stored_key))
    }

    fn to_record(&self) -> KeysRecord {
        KeysRecord {
            salt: self.salt.to_vec(),
            iterations: self.iterations,
            stored_key: self.stored_key.to_vec(),
            server_key: self.server_key.to_vec(),
        }
    }

    fn from_record<H: Hash>(record: Option<KeysRecord>) -> Result<Self, Unreadable> {
        let record = record.ok_or(Unreadable::Unsound)?;
        let is_sound = !record.salt.is_empty()
            && (1..=ITERATIONS_MAX).contains(&record.iterations)
            && record.stored_key.len() == H::BYTES
            && record.server_key.len() == H::BYTES;
        if !is_sound {
            return Err(Unreadable::Unsound);
        }
        Ok(Self {
            salt: record.salt.into(),
            iterations: record.iterations,
            stored_key: record.stored_key.into(),
            server_key: record.server_key.into(),
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// SASLprep (RFC 4013), so that one password typed on two keyboards is one password.
pub(super) fn prepare(password: &str) -> Result<Cow<'_, str>, BadPassword> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(BadPassword);
    }
    let prepared = stringprep::saslprep(password).map_err(|_| BadPassword)?;
    if prepared.is_empty() {
        return Err(BadPassword);
    }
    Ok(prepared)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn derive(password: &str, iterations: u32) -> Result<Credentials, BadPassword> {
        Credentials::derive(password, iterations, [1; SALT_BYTES], [2; SALT_BYTES])
    }

    #[test]
    fn credentials_survive_the_store_and_damage_is_told() {
        let known = derive("pencil", ITERATIONS_MIN).expect("a password");
        let stored = known.encode();
        assert_eq!(Credentials::decode(&stored).as_ref(), Ok(&known));
        for end in 0..stored.len() {
            assert!(Credentials::decode(&stored.slice(..end)).is_err());
        }
        let mut newer = stored.to_vec();
        newer[0] += 1;
        assert!(Credentials::decode(&newer.into()).is_err());
        assert_eq!(format!("{known:?}"), "Credentials");
    }

    #[test]
    fn passwords_that_cannot_be_are_refused() {
        let long = "a".repeat(PASSWORD_BYTES_MAX + 1);
        for password in ["", "\u{ad}", "a\u{7}", "a\u{0}b", "\u{5d0}a", &long] {
            assert_eq!(
                derive(password, ITERATIONS_MIN),
                Err(BadPassword),
                "{password:?}"
            );
        }
        assert_eq!(derive("pencil", 1), derive("pencil", ITERATIONS_MIN));
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let versioned = [&[VERSION][..], &bytes].concat();
            prop_assert!(Credentials::decode(&versioned.into()).is_err());
        }
    }
}
