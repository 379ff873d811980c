//! Wire: frames between processes. The only place where they become generated types, and back.
//!
//! - [`v1`]: what `proto/couplet/link/v1` gives; kept in `proto/src/gen`, never edited.
//! - [`hello`]: who is at the other end, and which version both speak.
//! - [`owned`]: which slots somebody owns.
//! - [`up`], [`down`], [`peer`]: the frames.
//! - [`lists`]: the receivers of fans that both ends of a lane remember.
//! - [`rules`]: what operators have ordered.
//!
//! A peer is trusted, but may be older, newer or mistaken: what is not understood is an
//! [`Undecodable`] that costs one frame, and never a panic.

#[rustfmt::skip]
#[path = "../../gen/couplet.link.v1.rs"]
#[expect(
    missing_docs,
    clippy::allow_attributes,
    reason = "generated: the .proto files say what there is to say"
)]
pub mod v1;

pub mod hello;

pub mod owned;

pub mod up;

pub mod down;

pub mod peer;

pub mod lists;

pub mod rules;

mod stanza;

mod field;

mod word;

mod secret;

#[cfg(test)]
mod tests;

/// Why a frame cannot be read. Whoever receives it counts it and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// It says something that only newer nodes know.
    #[error("not known to this version")]
    Unknown,
    /// A part of it is missing or cannot be.
    #[error("not valid: {0}")]
    Invalid(&'static str),
}

/// How many bytes a message takes on a link, before HTTP/2 and TLS.
pub fn bytes(message: &impl prost::Message) -> usize {
    message.encoded_len()
}
