//! Ctl: `couplet ctl`, a client of the admin port.
//!
//! - [`node`]: how the node is, what it was told, and that it has to leave.
//! - [`accounts`]: accounts, domains and backups.
//! - [`cluster`]: origins, slots, pins.
//! - [`sessions`]: who is connected where.
//! - [`trace`]: stanzas as they pass.
//! - [`table`]: rows for people.
//! - [`server`]: the port, asked over HTTP.
//!
//! Exit codes: 0 done, 1 the server refused, 2 the command line is wrong, 3 no server answered,
//! 4 it was waited for, and did not happen in time.

mod accounts;
mod cluster;
mod node;
mod server;
mod sessions;
mod table;
mod trace;

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::{Ctl, CtlCommand};
use server::Server;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The server said no.
    #[error("{0}")]
    Refused(String),
    /// The command cannot be carried out as it was given.
    #[error("{0}")]
    Usage(String),
    /// Nobody, or somebody else, is there.
    #[error("{0}")]
    NoServer(String),
    /// It takes longer than it was to be waited for.
    #[error("{0}")]
    Late(String),
}

/// Carries out one command and says how it went.
pub(crate) async fn run(ctl: Ctl) -> ExitCode {
    let failure = match carry_out(ctl).await {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    let _ = writeln!(io::stderr(), "couplet: {failure}");
    match failure {
        Failure::Refused(_) => ExitCode::from(1),
        Failure::Usage(_) => ExitCode::from(2),
        Failure::NoServer(_) => ExitCode::from(3),
        Failure::Late(_) => ExitCode::from(4),
    }
}

async fn carry_out(ctl: Ctl) -> Result<(), Failure> {
    let server = Server::new(&ctl.server, ctl.token_file.as_deref())?;
    let out = Output { is_json: ctl.json };
    match ctl.command {
        CtlCommand::Account(account) => accounts::carry_out(&server, account, out).await,
        CtlCommand::Backup { directory } => accounts::backup(&server, &directory, out).await,
        CtlCommand::Health { probe: true, .. } => node::probe(&server, out).await,
        CtlCommand::Health { node, .. } => node::health(&server, node, out).await,
        CtlCommand::Config { prefix, node } => node::config(&server, prefix, node, out).await,
        CtlCommand::Domains => accounts::domains(&server, out).await,
        CtlCommand::Nodes => cluster::nodes(&server, out).await,
        CtlCommand::Slots { range, moving } => cluster::slots(&server, range, moving, out).await,
        CtlCommand::Sessions { jid, domain, node } => {
            sessions::list(&server, jid, domain, node, out).await
        }
        CtlCommand::Trace {
            jid,
            bodies,
            seconds,
        } => trace::follow(&server, &jid, bodies, seconds, out).await,
        CtlCommand::Drain { undo, wait, node } => {
            let left = node::Leaving {
                node,
                wait_secs: wait,
            };
            match undo {
                true => node::undo(&server, &left, out).await,
                false => node::drain(&server, &left, out).await,
            }
        }
        CtlCommand::Pins(pins) => cluster::pins(&server, pins, out).await,
    }
}

/// How answers are written.
#[derive(Debug, Clone, Copy)]
struct Output {
    is_json: bool,
}

/// That something is done, as JSON.
#[derive(Serialize)]
struct Done<'a> {
    done: &'a str,
}

// === impl Output ===

impl Output {
    /// Writes an answer: as it came, or as a person would read it. False when nobody reads on.
    fn write<T: Serialize>(self, answer: &T, lines: impl FnOnce(&T) -> String) -> bool {
        let text = if self.is_json {
            let text = serde_json::to_string(answer).expect("plain structs are always JSON");
            format!("{text}\n")
        } else {
            lines(answer)
        };
        // The reader of a pipe may have seen enough: `couplet ctl account list | head`.
        io::stdout().lock().write_all(text.as_bytes()).is_ok()
    }

    /// Says that something is done.
    fn done(self, text: &str) {
        self.write(&Done { done: text }, |_| format!("{text}\n"));
    }
}

fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "-".to_owned())
}
