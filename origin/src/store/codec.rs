//! Values: one byte that says which version, then a protobuf message.
//!
//! Fields are added within a version (a reader skips what it does not know); a change of meaning
//! is a new version. A writer writes the current version; a reader that can also read the one
//! before asks [`version`] first.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::Error;

/// A value that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// There is not even a version.
    #[error("an empty value")]
    Empty,
    /// Written by a newer Couplet, or by one too old.
    #[error("a value of version {found} where {expected} was expected")]
    Version {
        /// The version the value has.
        found: u8,
        /// The version the reader knows.
        expected: u8,
    },
    /// The message is not one.
    #[error("not a message: {0}")]
    Message(#[from] prost::DecodeError),
}

// === impl Damaged ===

impl From<Damaged> for Error {
    fn from(damaged: Damaged) -> Self {
        Self::Corrupt(damaged.to_string())
    }
}

/// The stored form of a message.
pub fn encode<M: Message>(version: u8, message: &M) -> Bytes {
    let mut value = BytesMut::with_capacity(1 + message.encoded_len());
    value.put_u8(version);
    message
        .encode(&mut value)
        .expect("a growing buffer has room");
    value.freeze()
}

/// The message in a stored value. Its `bytes` fields share the value's buffer.
///
/// # Errors
/// [`Damaged`] when it is of another version or no message of this kind.
pub fn decode<M: Message + Default>(expected: u8, value: &Bytes) -> Result<M, Damaged> {
    match version(value) {
        None => Err(Damaged::Empty),
        Some(found) if found != expected => Err(Damaged::Version { found, expected }),
        Some(_) => Ok(M::decode(value.slice(1..))?),
    }
}

/// The version of a stored value; `None` when it is empty.
pub fn version(value: &[u8]) -> Option<u8> {
    value.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Note {
        #[prost(string, tag = "1")]
        text: String,
        #[prost(bytes = "bytes", tag = "2")]
        raw: Bytes,
    }

    #[test]
    fn a_value_carries_its_version() {
        let note = Note {
            text: "hi".into(),
            raw: Bytes::from_static(b"raw"),
        };
        let value = encode(3, &note);
        assert_eq!(&value[..], b"\x03\x0a\x02hi\x12\x03raw");
        assert_eq!(decode::<Note>(3, &value), Ok(note));
        let wrong = Damaged::Version {
            found: 3,
            expected: 4,
        };
        assert_eq!(decode::<Note>(4, &value), Err(wrong));
    }

    #[test]
    fn damage_is_told() {
        assert_eq!(decode::<Note>(1, &Bytes::new()), Err(Damaged::Empty));
        let cut = Bytes::from_static(b"\x01\x0a\x09hi");
        assert!(matches!(decode::<Note>(1, &cut), Err(Damaged::Message(_))));
    }
}
