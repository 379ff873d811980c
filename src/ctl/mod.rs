//! Ctl: `couplet ctl`, a client of the admin port.
//!
//! - [`accounts`]: accounts and backups.
//! - [`nodes`]: nodes, slots, sessions, pins, leaving.
//! - [`table`]: rows for people.
//! - [`server`]: the port, asked over HTTP.
//!
//! Exit codes: 0 done, 1 the server refused, 2 the command line is wrong, 3 no server answered.

mod accounts;
mod nodes;
mod server;
mod table;

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
    }
}

async fn carry_out(ctl: Ctl) -> Result<(), Failure> {
    let server = Server::new(&ctl.server)?;
    let out = Output { is_json: ctl.json };
    match ctl.command {
        CtlCommand::Account(account) => accounts::carry_out(&server, account, out).await,
        CtlCommand::Backup { directory } => accounts::backup(&server, &directory).await,
        CtlCommand::Nodes => nodes::list(&server, out).await,
        CtlCommand::Slots { range, moving } => nodes::slots(&server, range, moving, out).await,
        CtlCommand::Sessions { jid, node } => nodes::sessions(&server, jid, node, out).await,
        CtlCommand::Drain { undo } => nodes::drain(&server, undo).await,
        CtlCommand::Pins(pins) => nodes::pins(&server, pins, out).await,
    }
}

/// How answers are written.
#[derive(Debug, Clone, Copy)]
struct Output {
    is_json: bool,
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
}
