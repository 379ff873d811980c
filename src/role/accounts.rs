//! Accounts: what the port for operators asks of an origin, wherever that runs.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use couplet_origin::Admin;

use crate::admin::Refusal;
use crate::config::Format;

// === impl Refusal ===

impl From<couplet_origin::admin::Error> for Refusal {
    fn from(error: couplet_origin::admin::Error) -> Self {
        use couplet_origin::admin::Error;

        let text = error.to_string();
        match error {
            Error::Exists(_) => Self::Conflict(text),
            Error::Missing(_) | Error::NotServed(_) => Self::Unknown(text),
            Error::NotAnAccount(_) | Error::BadPassword => Self::Malformed(text),
            Error::NotWatched => Self::Conflict(text),
            Error::Store(_) | Error::Moving | Error::Stopping | Error::WatchedEnough(_) => {
                Self::Unavailable(text)
            }
        }
    }
}

/// Says how to add an account, when there is none.
pub(super) async fn welcome(
    admin: &Admin,
    address: SocketAddr,
    token_file: Option<&Path>,
    format: Format,
) {
    if has_none(admin).await {
        hint(admin, address, token_file, format);
    }
}

async fn has_none(admin: &Admin) -> bool {
    for domain in admin.domains() {
        let first = admin.account_list(domain, None, 1).await;
        // When the store cannot tell, a hint would be wrong more often than right.
        if !first.is_ok_and(|accounts| accounts.is_empty()) {
            return false;
        }
    }
    true
}

/// Tells what to do next: in the log, and to a person at a terminal.
fn hint(admin: &Admin, address: SocketAddr, token_file: Option<&Path>, format: Format) {
    let Some(domain) = admin.domains().first() else {
        return;
    };
    let server = match address.port() {
        5290 if address.ip() == Ipv4Addr::LOCALHOST => String::new(),
        _ => format!(" --server http://{address}"),
    };
    let token = match token_file {
        Some(file) => format!(" --token-file {}", file.display()),
        None => String::new(),
    };
    let command = format!(
        "{} ctl{server}{token} account add yourname@{domain}",
        program()
    );
    tracing::info!(command, "there are no accounts yet");
    if format == Format::Text {
        let _ = writeln!(
            io::stderr(),
            "\nThere are no accounts yet. Add one from another terminal:\n\n    {command}\n"
        );
    }
}

/// This program as it was called, so that the hint can be typed as it stands.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let called = Path::new(&called);
    // Found by the shell, or started by cargo: then its own file is the surest name.
    called.to_str().unwrap_or("couplet").to_owned()
}
