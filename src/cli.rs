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
        /// Copy into this folder what an edge needs, and nothing else
        #[arg(long, value_name = "DIR")]
        for_edges: Option<PathBuf>,
        /// The same for origins
        #[arg(long, value_name = "DIR")]
        for_origins: Option<PathBuf>,
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
    /// Add, remove and list domains of accounts while the server runs
    #[command(subcommand)]
    Domain(Domain),
    /// Keep addresses, networks and accounts out
    #[command(subcommand)]
    Ban(Bans),
    /// End sessions: they cannot be resumed
    Kick {
        /// A full address, an account (all of its sessions) or a domain (all of its sessions)
        jid: String,
        /// Why, for the audit log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
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

/// What to do with domains.
#[derive(Debug, Subcommand)]
pub(crate) enum Domain {
    /// Serve one more, on every node within seconds
    Add {
        /// Which one
        domain: String,
    },
    /// Serve one no longer that was added; its sessions end
    Remove {
        /// Which one
        domain: String,
        /// Although it has accounts: they stay in the store
        #[arg(long)]
        force: bool,
        /// Remove its accounts first, with everything they have
        #[arg(long, conflicts_with = "force")]
        accounts: bool,
    },
    /// List them, and where they are from
    List,
}

/// What to do with bans.
#[derive(Debug, Subcommand)]
pub(crate) enum Bans {
    /// Keep somebody out, and end what he has here
    Add {
        /// An address, a network such as 192.0.2.0/24, or an account such as romeo@example.org
        target: String,
        /// Why, for other operators
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// For how long: 90 (seconds), 15m, 12h, 30d; without, until it is removed
        #[arg(long = "for", value_name = "TIME")]
        lasting: Option<Lasting>,
    },
    /// Let somebody in again
    Remove {
        /// As it was banned
        target: String,
    },
    /// List bans in force
    List,
}

/// How long something lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lasting {
    /// In seconds.
    pub(crate) secs: u64,
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

// === impl Lasting ===

impl std::str::FromStr for Lasting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let each = match unit {
            "" | "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            "d" => Some(86_400),
            _ => None,
        };
        let number = text[..text.len() - unit.len()].parse::<u64>().ok();
        let secs = number
            .zip(each)
            .and_then(|(number, each)| number.checked_mul(each));
        let secs = secs.filter(|secs| *secs > 0);
        let wrong = || "is no time such as 90, 15m, 12h or 30d".to_owned();
        secs.map(|secs| Self { secs }).ok_or_else(wrong)
    }
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

/// A password. With neither it is asked for, or read from standard input.
#[derive(Debug, Args)]
pub(crate) struct Secret {
    /// The password; others on this machine can see it
    #[arg(long)]
    pub(crate) password: Option<String>,
    /// A file whose first line is the password
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    pub(crate) password_file: Option<PathBuf>,
}

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Add an account
    Add {
        /// Its address, such as romeo@example.org
        jid: String,
        #[command(flatten)]
        secret: Secret,
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
        #[command(flatten)]
        secret: Secret,
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

    use super::{Lasting, Range};

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
    fn a_time_has_a_unit() {
        let all = [
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("12h", 43_200),
            ("1d", 86_400),
        ];
        for (text, secs) in all {
            assert_eq!(text.parse(), Ok(Lasting { secs }));
        }
        for wrong in [
            "",
            "0",
            "m",
            "-1",
            "1w",
            "1.5h",
            "1h30m",
            "99999999999999999999",
            "9é",
        ] {
            assert!(wrong.parse::<Lasting>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
