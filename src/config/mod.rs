//! Config: one file, then the environment, then the command line, checked as a whole.
//!
//! ```text
//! defaults ◀─ --config FILE ◀─ COUPLET_C2S__LISTEN=… ◀─ --set c2s.listen=…
//!    layer: what was given, value by value, and where
//!    keys:  every setting there is; a value is checked alone
//!    check: what can only be seen with all values together
//! ```
//!
//! **Invariant:** every mistake is reported, not the first: an operator corrects a file once.

mod check;
mod defaults;
mod keys;
mod layer;
mod link;
mod node;
mod place;
mod shown;
mod tokens;
mod value;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_access_log;
#[cfg(test)]
mod tests_roles;
#[cfg(test)]
mod tests_rooms;
#[cfg(test)]
mod tests_shown;
#[cfg(test)]
mod tests_tokens;
#[cfg(test)]
mod tests_trace;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::access_log::Field;
pub(crate) use place::{Mistake, Place};
pub(crate) use shown::Shown;

/// What a process is: it decides which settings there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Edge and origin in one process, on the embedded store.
    Serve,
    /// Holds clients' connections.
    Edge,
    /// Owns accounts, on Redis.
    Origin,
}

/// Everything the server can be told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The folder of the embedded store and of what the server makes for itself.
    pub(crate) data: PathBuf,
    /// The name of this node.
    pub(crate) node: String,
    /// Seconds after SIGTERM until what is still under way is cut off.
    pub(crate) drain_secs: u64,
    /// What the edge takes.
    pub(crate) edge: couplet_edge::Config,
    /// What the embedded store takes.
    pub(crate) embedded: couplet_origin::store::embedded::Options,
    /// What the store in Redis takes; without a URL there is none.
    pub(crate) redis: Redis,
    /// What the origin takes.
    pub(crate) origin: couplet_origin::Config,
    /// What ties edges and origins together.
    pub(crate) link: Link,
    /// The place of an origin among the others.
    pub(crate) cluster: Cluster,
    /// Certificates for clients, before they are the edge's.
    pub(crate) tls: Tls,
    /// The port for operators.
    pub(crate) admin: Admin,
    /// What is written about what happens.
    pub(crate) log: Log,
    /// What is written about who comes and goes.
    pub(crate) access_log: AccessLog,
    /// Which stanzas are followed from node to node.
    pub(crate) trace: Trace,
}

/// The store of a cluster. Prints without its URL, in which there may be a password.
#[derive(Clone)]
pub(crate) struct Redis {
    /// Where it is: `redis://…`, `redis-sentinel://…` or `redis-cluster://…`.
    pub(crate) url: Option<String>,
    /// Who signs its certificate, PEM; `None` for those the system trusts.
    pub(crate) ca: Option<PathBuf>,
    /// What every key begins with.
    pub(crate) key_prefix: String,
    /// Requests that may wait for their answer at once.
    pub(crate) in_flight: usize,
    /// How long an answer may take.
    pub(crate) response_timeout: Duration,
    /// How long it may take to connect.
    pub(crate) connect_timeout: Duration,
}

/// What ties edges and origins together.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Where an origin listens for the other nodes.
    pub(crate) listen: SocketAddr,
    /// Under which address the others reach it; `None` finds out.
    pub(crate) advertise: Option<String>,
    /// Where an edge looks for origins: `host:port` or `dns:name:port`.
    pub(crate) origins: Vec<String>,
    /// Who signs the certificates of the nodes, PEM.
    pub(crate) ca: Option<PathBuf>,
    /// This node's own certificate.
    pub(crate) identity: Pair,
    /// Whether nodes of this machine talk in plain text.
    pub(crate) insecure: bool,
    /// Streams between each two nodes.
    pub(crate) lanes: u16,
}

/// The place of an origin among the others.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// Its share, relative to the others.
    pub(crate) weight: u32,
    /// The group of origins it belongs to; may be empty.
    pub(crate) group: String,
    /// Slots it takes over at once from origins that live.
    pub(crate) moves: usize,
    /// Seconds until it asks for them.
    pub(crate) join_wait_secs: u64,
}

/// Certificates for clients as the operator gave them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tls {
    /// For every domain that has none of its own.
    pub(crate) default: Pair,
    /// By domain.
    pub(crate) domains: BTreeMap<String, Pair>,
}

/// A certificate chain and its key: PEM files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pair {
    /// The chain, leaf first.
    pub(crate) certificate: Option<PathBuf>,
    /// Its private key.
    pub(crate) key: Option<PathBuf>,
}

/// The port for operators.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Names besides `localhost` under which it may be asked.
    pub(crate) hosts: Vec<String>,
    /// The file of a token that opens everything.
    pub(crate) token_file: Option<PathBuf>,
    /// Other tokens, by name, as they were given.
    pub(crate) tokens: BTreeMap<String, Token>,
    /// All of them, as they are meant. Without any the port is open to this machine.
    pub(crate) grants: Vec<Grant>,
    /// Where it is written down who changed what; besides the log.
    pub(crate) audit_file: Option<PathBuf>,
}

/// A token as somebody gave it, which may be half of one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Token {
    /// Where the secret is.
    pub(crate) file: Option<PathBuf>,
    /// What it opens.
    pub(crate) scope: Option<Scope>,
    /// Of the scope domain: which ones.
    pub(crate) domains: Option<Vec<String>>,
    /// Whether it opens what stands in stanzas.
    pub(crate) bodies: bool,
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Its name in the audit log.
    pub(crate) name: String,
    /// Where the secret is.
    pub(crate) file: PathBuf,
    /// What it opens.
    pub(crate) scope: Scope,
    /// Whether it opens what stands in stanzas too.
    pub(crate) bodies: bool,
}

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything.
    Server,
    /// Everything that changes nothing.
    ReadOnly,
    /// Accounts and sessions of these domains, in the form in which addresses are compared.
    Domains(Vec<String>),
}

/// What is written about what happens.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// A level, or a list of them by module.
    pub(crate) level: String,
    /// For people or for machines.
    pub(crate) format: Format,
}

/// Which stanzas are followed from node to node.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// The collector that hears of it, as `http://host:port`; `None`: nothing is followed.
    pub(crate) endpoint: Option<String>,
    /// Which fraction of the clients' stanzas is followed.
    pub(crate) sample: f64,
    /// Whether the collector is shown whole addresses.
    pub(crate) addresses: bool,
    /// Under which name it knows the nodes.
    pub(crate) service_name: String,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// What is written about who comes and goes.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    /// Where the files are; `None` writes nothing.
    pub(crate) folder: Option<PathBuf>,
    /// How a line looks.
    pub(crate) format: LineFormat,
    /// What a line says, in this order.
    pub(crate) fields: Vec<Field>,
    /// How large a file becomes; 0 is any size.
    pub(crate) rotate_bytes: u64,
    /// When the next one begins: at multiples of so many seconds, in UTC; 0 is never.
    pub(crate) rotate_secs: u64,
    /// How many files are kept besides the one that is written.
    pub(crate) keep: usize,
}

/// How a line of the access log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineFormat {
    /// The Extended Log Format of the W3C.
    W3c,
    /// One object per line.
    Json,
}

/// Where settings are looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// A TOML file.
    pub(crate) file: Option<PathBuf>,
    /// The environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// `key=value` from the command line, later ones last.
    pub(crate) arguments: Vec<String>,
}

/// The place of every key that was given.
type Places = HashMap<String, Place>;

/// Reads, joins and checks every source for a role.
///
/// # Errors
/// Every mistake there is, in the order of the sources.
pub(crate) fn load(sources: &Sources, role: Role) -> Result<Settings, Vec<Mistake>> {
    load_shown(sources, role).map(|(settings, _)| settings)
}

/// As [`load`]; with every setting of the role, its value and where that came from.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_shown(
    sources: &Sources,
    role: Role,
) -> Result<(Settings, Vec<Shown>), Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let given = read(sources, &mut mistakes);
    let mut settings = Settings::default();
    let mut places = Places::new();
    for given in &given {
        match keys::find(&given.path) {
            Some(key) => {
                let name = key.name_of(given);
                let wrong = match keys::refusal(key, role) {
                    Some(refusal) => Err(refusal),
                    None => (key.set)(&mut settings, given),
                };
                if let Err(wrong) = wrong {
                    mistakes.push(Mistake::new(&name, given.place.clone(), wrong));
                }
                places.insert(name, given.place.clone());
            }
            None if given.is_empty_table() && keys::is_section(&given.path) => {}
            None => mistakes.push(unknown(given)),
        }
    }
    check::together(&mut settings, role, &places, &mut mistakes);
    if mistakes.is_empty() {
        let shown = shown::all(&settings, role, &given);
        Ok((settings, shown))
    } else {
        Err(mistakes)
    }
}

/// What every source gives, later ones last.
fn read(sources: &Sources, mistakes: &mut Vec<Mistake>) -> Vec<layer::Given> {
    let mut given = Vec::new();
    if let Some(path) = &sources.file {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => given.extend(layer::file(&name, &text, mistakes)),
            Err(error) => {
                let message = format!("{name}: cannot be read: {error}");
                mistakes.push(Mistake::new("", Place::Argument, message));
            }
        }
    }
    let environment = sources.environment.iter().cloned();
    given.extend(layer::environment(environment, mistakes));
    for argument in &sources.arguments {
        given.extend(layer::argument(argument, mistakes));
    }
    given
}

fn unknown(given: &layer::Given) -> Mistake {
    let name = given.key();
    // First, because `*` stands for a mistyped name too.
    let message = if let Some(known) = keys::nearest(&name) {
        format!("there is no such key; is {known:?} meant?")
    } else if keys::is_section(&given.path) {
        "is a section, not a setting: it holds others".to_owned()
    } else {
        "there is no such key".to_owned()
    };
    Mistake::new(&name, given.place.clone(), message)
}

// === impl Role ===

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Serve => "serve",
            Self::Edge => "edge",
            Self::Origin => "origin",
        })
    }
}

// === impl Scope ===

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server => f.write_str("the scope server"),
            Self::ReadOnly => f.write_str("the scope read-only"),
            Self::Domains(domains) => write!(f, "the scope domain for {}", domains.join(", ")),
        }
    }
}

// === impl Redis ===

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("ca", &self.ca)
            .field("key_prefix", &self.key_prefix)
            .field("in_flight", &self.in_flight)
            .field("response_timeout", &self.response_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

// === impl Sources ===

impl Sources {
    /// What a command line names, and the environment of this process.
    pub(crate) fn new(file: Option<PathBuf>, arguments: Vec<String>) -> Self {
        Self {
            file,
            environment: std::env::vars_os().collect(),
            arguments,
        }
    }
}

// === impl Tls ===

impl Tls {
    /// The certificate of a domain, as addresses are compared.
    fn domain(&mut self, name: &str) -> &mut Pair {
        let name = couplet_proto::Jid::parse(name)
            .map_or_else(|_| name.to_owned(), |jid| jid.domain().to_owned());
        self.domains.entry(name).or_default()
    }
}
