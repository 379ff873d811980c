//! Command line: what `couplet` can be told to do.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// Manage a running server
    Ctl(Ctl),
    /// Report every mistake in a configuration file, or print `ok`
    CheckConfig {
        /// The file to check, together with the environment
        file: PathBuf,
        /// Set a key as `serve` would: --set 'c2s.listen=["127.0.0.1:25222"]'
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
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

/// Manage a running server.
#[derive(Debug, Args)]
pub(crate) struct Ctl {
    /// The server's port for operators (admin.listen)
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:5290")]
    pub(crate) server: String,
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

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
