//! What can be asked for on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::rooms::Shape;

/// Measures the server under load: messages per second, processor time per message, memory per
/// idle session, logins per second, latency.
#[derive(Debug, Clone, Parser)]
#[command(name = "load")]
pub(crate) struct Args {
    /// How many users are logged in; every two of them chat.
    #[arg(long, default_value_t = 1000)]
    pub(crate) sessions: usize,

    /// Log in this many users, measure memory and do not chat.
    #[arg(long, value_name = "SESSIONS")]
    pub(crate) idle: Option<usize>,

    /// Use direct TLS instead of plaintext.
    #[arg(long)]
    pub(crate) tls: bool,

    /// Run once without TLS and once with it.
    #[arg(long)]
    pub(crate) both: bool,

    /// Also measure a cluster: two edges, two origins and a Redis on this machine, with every pair
    /// of users at two edges, and its processor time per message against the single server's.
    /// Needs `redis-server`.
    #[arg(long, conflicts_with_all = ["target", "tls", "both"])]
    pub(crate) cluster: bool,

    /// Measure nothing but how long slots stand still: three origins hold the sessions, one is
    /// drained, one is killed. Needs `redis-server`.
    #[arg(long, conflicts_with_all = ["target", "tls", "both", "cluster", "idle"])]
    pub(crate) moves: bool,

    /// Measure nothing but rooms, so many with so many occupants each: `1x1000`. With `--cluster`
    /// an origin and an edge, and the bytes between them.
    #[arg(
        long,
        value_name = "ROOMSxOCCUPANTS",
        conflicts_with_all = ["target", "tls", "both", "moves", "idle"]
    )]
    pub(crate) rooms: Option<Shape>,

    /// How many occupants of each room write.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) writers: usize,

    /// How many messages of a writer are under way at once.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) window: usize,

    /// Measure a raw byte relay first: the floor for this machine.
    #[arg(long)]
    pub(crate) relay: bool,

    /// How long the chat is measured.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) seconds: u64,

    /// How long the chat runs before it is measured.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) warm_up_seconds: u64,

    /// How many bytes of text a message carries.
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub(crate) body: usize,

    /// Send to the full address of the partner instead of the bare one.
    #[arg(long)]
    pub(crate) full: bool,

    /// Also write the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Measure a server that is already running, at this address.
    #[arg(long, value_name = "HOST:PORT", requires = "pid")]
    pub(crate) target: Option<SocketAddr>,

    /// The process of that server.
    #[arg(long)]
    pub(crate) pid: Option<u32>,

    /// What that server is called in the results.
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// The domain the users belong to.
    #[arg(long, default_value = "localhost")]
    pub(crate) domain: String,

    /// Names of the users; `{}` stands for 0, 1, 2, …
    #[arg(long, value_name = "PATTERN", default_value = "user{}")]
    pub(crate) user_pattern: String,

    /// The password of every user.
    #[arg(long, default_value = "load")]
    pub(crate) password: String,

    /// Create the users of `--target` by in-band registration first.
    #[arg(long, requires = "target")]
    pub(crate) register: bool,

    /// More settings of our own server, as `couplet serve --set` takes them.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,

    /// Processor cores the measured server may use, as `taskset -c` takes them; `all` for no
    /// limit. The load itself then runs on the others.
    #[arg(long, value_name = "LIST", default_value = "0")]
    pub(crate) server_cores: String,

    /// Given by cargo.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,

    /// Set when the program has started itself again with its limits raised.
    #[arg(long, hide = true)]
    pub(crate) is_child_run: bool,

    /// Be the byte relay.
    #[arg(long, hide = true)]
    pub(crate) is_relay_child: bool,
}

impl Args {
    /// How many users log in.
    pub(crate) fn sessions(&self) -> usize {
        // Everybody has a partner.
        self.idle.unwrap_or(self.sessions).max(2) & !1
    }

    /// The name of the measured server.
    pub(crate) fn label(&self) -> String {
        match (&self.name, &self.target) {
            (Some(name), _) => name.clone(),
            (None, Some(address)) => address.to_string(),
            (None, None) => "couplet".to_owned(),
        }
    }
}
