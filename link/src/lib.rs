//! What carries the link between processes; edges and origins dial with the same code.
//!
//! - [`origins`]: the addresses behind `link.origins`, looked up again and again.
//! - [`pool`]: lanes to every address that is wanted, dialed again whenever they end.
//! - [`queue`]: what waits to go out on one lane.
//! - [`listen`]: sockets in, for the service of an origin.
//! - [`dial`]: one connection to an origin.
//! - [`wire`]: a socket, with TLS or without.
//! - [`tls`]: who may be at the other end.
//! - [`backoff`]: how long to wait before another attempt.
//! - [`config`]: the section `link` of the configuration, checked.
//! - [`metrics`]: what is counted.
//!
//! **Invariant:** nothing here knows what a frame is for.

pub mod origins;

pub mod pool;

pub mod queue;

pub mod listen;

pub mod dial;

pub mod wire;

pub mod tls;

pub mod backoff;

pub mod config;

pub mod metrics;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use config::{LinkConfig, check};
pub use origins::follow;
pub use pool::{Call, Ended, Pool};
pub use tls::Credentials;

/// How long a link may be silent before it is asked whether it lives, and how long the answer may
/// take: a dead one is noticed within twice this.
pub const KEEPALIVE: Duration = Duration::from_secs(2);

/// How long a connection may take, its handshake included, and how long the first answer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that may be under way on one stream. The defaults of HTTP/2 would stall a batch.
pub const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Bytes that may be under way on one connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// The longest message: a batch ends soon after [`BATCH_BYTES`], but a single frame may bring
/// all that waits for a client.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Frames in one message at most.
pub const BATCH_FRAMES: usize = 256;

/// A message takes no further frame beyond this.
pub const BATCH_BYTES: usize = 64 * 1024;
