//! What the store keeps for itself: owners, lengths of logs, its format, seed and secret.

use bytes::Bytes;
use couplet_proto::link::epoch::Epoch;
use prost::Message;

use crate::store::codec::{self, Damaged};

/// The version of each of these values.
const VERSION: u8 = 1;

/// A value the store keeps for itself.
pub(super) trait Value: Message + Default {
    fn to_value(&self) -> Bytes {
        codec::encode(VERSION, self)
    }

    fn from_value(value: &Bytes) -> Result<Self, Damaged> {
        codec::decode(VERSION, value)
    }
}

/// Who owns a slot.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Owner {
    #[prost(uint64, tag = "1")]
    pub(super) epoch: u64,
    #[prost(string, tag = "2")]
    pub(super) node: String,
}

/// How long a log is.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Length {
    #[prost(uint64, tag = "1")]
    pub(super) entries: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Format {
    #[prost(uint32, tag = "1")]
    pub(super) number: u32,
}

/// Random bytes that were drawn once: the seed, the secret.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Drawn {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) bytes: Bytes,
}

// === impl Owner ===

impl Owner {
    /// The epoch as others know it.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }
}

impl Value for Owner {}

impl Value for Length {}

impl Value for Format {}

impl Value for Drawn {}
