//! The verbs tests are written in: a server process, a plain client, a player of scenes.

pub(crate) mod access_log;
pub(crate) mod attack;
pub(crate) mod client;
pub(crate) mod page;
pub(crate) mod pattern;
pub(crate) mod process;
pub(crate) mod reading;
pub(crate) mod sasl;
pub(crate) mod scene;
pub(crate) mod server;
pub(crate) mod stage;
pub(crate) mod tls;
pub(crate) mod tree;
