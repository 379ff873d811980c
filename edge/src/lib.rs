//! The client side of Couplet: sockets in, stanzas out.
//!
//! The modules stand in the order data passes them; each imports only from those below it.
//!
//! - [`config`]: what an operator may choose.
//! - [`stream`]: negotiation and session, without I/O.
//! - [`framing`]: bytes in, whole elements out.
//! - [`clock`]: what time it is.
//!
//! **Invariant:** the edge knows sockets, framing and negotiation; it holds no account data, keeps
//! nothing on disk and never sees a password verifier.

pub mod config;

pub mod stream;

pub mod framing;

pub mod clock;

pub use config::{CertificatePaths, Config, Limits};
