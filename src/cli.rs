//! Command line: what `couplet` can be told to do.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use couplet_proto::slot::SLOTS;

use crate::config::Role;

/// A messaging router that speaks XMPP.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server: edge and origin in one process, on the embedded store
    Serve(Config),
    /// Run an edge of a cluster: it holds clients' connections
    Edge(Config),
    /// Run an origin of a cluster: it owns accounts, on Redis
    Origin(Config),
    /// Manage a running server
    Ctl(Ctl),
    /// Report every mistake in a configuration file, or print `ok`
    CheckConfig {
        /// The file to check, together with the environment
        file: PathBuf,
        /// As which command would read it
        #[arg(long, value_enum, default_value_t = Role::Serve)]
        role: Role,
        /// Set a key as that command would: --set 'c2s.listen=["127.0.0.1:25222"]'
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Log a client in and out again, to see whether one can: exit code 0 if so
    CheckLogin(CheckLogin),
    /// Make the certificates by which the nodes of a cluster know each other
    MakeLinkCertificates {
        /// A folder for ca.pem, edge.pem, origin.pem and their keys
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Leave those that are there, instead of refusing
        #[arg(long)]
        if_missing: bool,
    },
    /// Print every metric: its type, its unit and what it means
    ListMetrics {
        /// As a document, with labels and what to do
        #[arg(long)]
        markdown: bool,
    },
    /// Print what makes a shell complete this command: couplet completion bash
    Completion {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print which specifications are supported, in which version
    ListFeatures {
        /// As a table for a README
        #[arg(long)]
        markdown: bool,
    },
}

/// Where settings come from: the file, then the environment (`COUPLET_C2S__LISTEN`), then `--set`.
#[derive(Debug, Args)]
pub(crate) struct Config {
    /// A TOML file; without one everything has its default
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Override one key, as often as needed: --set 'c2s.listen=["127.0.0.1:25222"]'
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// As whom to log in, and where.
#[derive(Debug, Args)]
pub(crate) struct CheckLogin {
    /// An account, such as romeo@example.org
    pub(crate) jid: String,
    /// A file whose first line is the password
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: PathBuf,
    /// Where clients connect; without, the domain at port 5222 (5223 with --direct-tls)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// Who has signed the server's certificate, or the certificate itself, PEM; without, whom the
    /// system trusts
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// TLS from the first byte, instead of STARTTLS
    #[arg(long)]
    pub(crate) direct_tls: bool,
    /// How long it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) timeout_secs: u64,
}

/// Manage a running server.
#[derive(Debug, Args)]
pub(crate) struct Ctl {
    /// The server's port for operators (admin.listen)
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "COUPLET_CTL_SERVER",
        default_value = "http://127.0.0.1:5290"
    )]
    pub(crate) server: String,
    /// A file with a token, if the server asks for one (admin.token_file, admin.tokens)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "COUPLET_CTL_TOKEN_FILE"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Answer as JSON, one page of a list in each line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do there.
    #[command(subcommand)]
    pub(crate) command: CtlCommand,
}

/// What to do with a running server.
#[derive(Debug, Subcommand)]
pub(crate) enum CtlCommand {
    /// Add, remove and list accounts
    #[command(subcommand)]
    Account(Account),
    /// Copy all data into a folder while the server runs
    Backup {
        /// A folder on the server's machine that does not exist yet or is empty
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Tell how the node is; the exit code is 0 if clients can log in there
    Health {
        /// Only whether they can: needs no token
        #[arg(long)]
        probe: bool,
        /// Ask the origin of this name, by way of the one at --server
        #[arg(long, conflicts_with = "probe", value_name = "NAME")]
        node: Option<String>,
    },
    /// List the settings in force, and where each came from
    Config {
        /// Only keys that begin so: limits, admin.listen
        #[arg(value_name = "KEY-PREFIX")]
        prefix: Option<String>,
        /// Ask the origin of this name, by way of the one at --server
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
    /// List the domains of accounts
    Domains,
    /// List the origins of the cluster: how they are, how much they own
    Nodes,
    /// List who owns which slots, summed up by owner
    Slots {
        /// Only these, one line for each range: 0-99
        #[arg(long, value_name = "A-B")]
        range: Option<Range>,
        /// Only those that should be elsewhere or have no owner
        #[arg(long)]
        moving: bool,
    },
    /// List sessions: at which edge, or asleep; since when
    Sessions {
        /// Only those of this account
        jid: Option<String>,
        /// Only those of this domain
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
        /// Only those held by this origin
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
    /// Show the stanzas of an account or a session as they pass, until interrupted
    Trace {
        /// A bare address for all sessions of the account, a full one for one of them
        jid: String,
        /// Show all of each stanza; needs a token with bodies = true, and the audit log tells
        #[arg(long)]
        bodies: bool,
        /// End after so many seconds
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
    },
    /// Make the node leave: an origin gives its slots away, an edge sends its clients away and ends
    Drain {
        /// Let an origin take its share again
        #[arg(long)]
        undo: bool,
        /// Wait until the origin owns no slots, or the edge has no clients; after so many seconds
        /// the exit code is 4
        #[arg(
            long,
            value_name = "SECONDS",
            num_args = 0..=1,
            default_missing_value = "300",
            conflicts_with = "undo"
        )]
        wait: Option<u64>,
        /// Make the origin of this name leave, by way of the one at --server
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
    /// Hold ranges of slots to groups of origins
    #[command(subcommand)]
    Pins(Pins),
}

/// What to do with pins.
#[derive(Debug, Subcommand)]
pub(crate) enum Pins {
    /// List them
    List,
    /// Hold slots to the origins whose `cluster.group` this is
    Set {
        /// Which slots: 0-99
        #[arg(value_name = "A-B")]
        range: Range,
        /// The group
        group: String,
    },
    /// Hold slots to nobody any more
    Clear {
        /// Which slots: 0-99
        #[arg(value_name = "A-B")]
        range: Range,
    },
}

/// Slots from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first.
    pub(crate) first: u16,
    /// The last.
    pub(crate) last: u16,
}

// === impl Range ===

impl std::str::FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| {
            let number = text.trim().parse::<u16>().ok();
            number.filter(|number| *number < SLOTS)
        };
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!(
                "is no range of slots such as 0-99; they go from 0 to {}",
                SLOTS - 1
            )),
        }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Add an account
    Add {
        /// Its address, such as romeo@example.org
        jid: String,
        /// Its password; better left out: then it is asked for, or read from standard input
        #[arg(long)]
        password: Option<String>,
    },
    /// Remove an account and everything it has
    Remove {
        /// Its address
        jid: String,
    },
    /// Give an account another password
    Password {
        /// Its address
        jid: String,
        /// The password; better left out: then it is asked for, or read from standard input
        #[arg(long)]
        password: Option<String>,
    },
    /// List accounts, one per line
    List {
        /// Only those of this domain
        domain: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Range;

    #[test]
    fn a_range_of_slots_is_within_them() {
        let range = |first, last| Ok(Range { first, last });
        assert_eq!("0-4095".parse(), range(0, 4095));
        assert_eq!("7".parse(), range(7, 7));
        for wrong in ["", "a", "5-4", "0-4096", "-1", "1-", "1-2-3"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
