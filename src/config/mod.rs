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
mod keys;
mod layer;
mod place;
mod value;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

pub(crate) use place::{Mistake, Place};

/// Everything the server can be told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The folder of the store and of what the server makes for itself.
    pub(crate) data: PathBuf,
    /// How long clients are given to leave after SIGTERM.
    pub(crate) drain_secs: u64,
    /// What the edge takes.
    pub(crate) edge: couplet_edge::Config,
    /// What the embedded store takes.
    pub(crate) store: couplet_origin::store::embedded::Options,
    /// What the origin takes.
    pub(crate) origin: couplet_origin::Config,
    /// Certificates, before they are the edge's.
    pub(crate) tls: Tls,
    /// The port for operators.
    pub(crate) admin: Admin,
    /// What is written about what happens.
    pub(crate) log: Log,
}

/// Certificates as the operator gave them.
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
    /// Whether that may be beyond this machine. Nobody is asked for a password there.
    pub(crate) allow_remote: bool,
    /// Names besides `localhost` under which it may be asked.
    pub(crate) hosts: Vec<String>,
}

/// What is written about what happens.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// A level, or a list of them by module.
    pub(crate) level: String,
    /// For people or for machines.
    pub(crate) format: Format,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
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

/// Reads, joins and checks every source.
///
/// # Errors
/// Every mistake there is, in the order of the sources.
pub(crate) fn load(sources: &Sources) -> Result<Settings, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut given = Vec::new();
    if let Some(path) = &sources.file {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => given.extend(layer::file(&name, &text, &mut mistakes)),
            Err(error) => {
                let message = format!("{name}: cannot be read: {error}");
                mistakes.push(Mistake::new("", Place::Argument, message));
            }
        }
    }
    let environment = sources.environment.iter().cloned();
    given.extend(layer::environment(environment, &mut mistakes));
    for argument in &sources.arguments {
        given.extend(layer::argument(argument, &mut mistakes));
    }

    let mut settings = Settings::default();
    let mut places = Places::new();
    for given in given {
        match keys::find(&given.path) {
            Some(key) => {
                let name = key.name_of(&given);
                if let Err(wrong) = (key.set)(&mut settings, &given) {
                    mistakes.push(Mistake::new(&name, given.place.clone(), wrong));
                }
                places.insert(name, given.place);
            }
            None if given.is_empty_table() && keys::is_section(&given.path) => {}
            None => mistakes.push(unknown(&given)),
        }
    }
    check::together(&mut settings, &places, &mut mistakes);
    if mistakes.is_empty() {
        Ok(settings)
    } else {
        Err(mistakes)
    }
}

fn unknown(given: &layer::Given) -> Mistake {
    let name = given.key();
    let message = if keys::is_section(&given.path) {
        "is a section, not a setting: it holds others".to_owned()
    } else if let Some(known) = keys::nearest(&name) {
        format!("there is no such key; is {known:?} meant?")
    } else {
        "there is no such key".to_owned()
    };
    Mistake::new(&name, given.place.clone(), message)
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        let everywhere = |port| vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))];
        let edge = couplet_edge::Config {
            listen: everywhere(5222),
            tls_listen: everywhere(5223),
            ..couplet_edge::Config::default()
        };
        Self {
            data: PathBuf::from("couplet-data"),
            drain_secs: 20,
            edge,
            store: couplet_origin::store::embedded::Options::default(),
            origin: couplet_origin::Config::default(),
            tls: Tls::default(),
            admin: Admin {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5290)),
                allow_remote: false,
                hosts: Vec::new(),
            },
            log: Log {
                level: "info".to_owned(),
                format: Format::Text,
            },
        }
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
