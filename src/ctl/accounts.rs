//! Accounts: adds, removes and lists them; copies everything.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use super::server::Server;
use super::{Failure, Output};
use crate::admin::{Account as AccountName, Backup, Credentials, Listed, PAGE_MAX, Page};
use crate::cli::Account;

/// Carries out a command about accounts.
pub(super) async fn carry_out(
    server: &Server,
    command: Account,
    out: Output,
) -> Result<(), Failure> {
    match command {
        Account::Add { jid, password } => {
            let password = password_for(&jid, password)?;
            let done = format!("added {jid}");
            let credentials = Credentials { jid, password };
            server.tell("account/add", &credentials, &done).await
        }
        Account::Remove { jid } => {
            let done = format!("removed {jid}");
            let account = AccountName { jid };
            server.tell("account/remove", &account, &done).await
        }
        Account::Password { jid, password } => {
            let password = password_for(&jid, password)?;
            let done = format!("changed the password of {jid}");
            let credentials = Credentials { jid, password };
            server.tell("account/password", &credentials, &done).await
        }
        Account::List { domain } => list(server, domain, out).await,
    }
}

async fn list(server: &Server, domain: Option<String>, out: Output) -> Result<(), Failure> {
    let domains = match domain {
        Some(domain) => vec![domain],
        None => {
            server
                .ask::<_, Listed>("account/list", &Page::default())
                .await?
                .domains
        }
    };
    for domain in domains {
        let mut after = None;
        loop {
            let page = Page {
                domain: Some(domain.clone()),
                after: after.take(),
                max: Some(PAGE_MAX),
            };
            let listed: Listed = server.ask("account/list", &page).await?;
            let lines = |listed: &Listed| {
                let lines = listed.accounts.iter().map(|jid| format!("{jid}\n"));
                lines.collect()
            };
            if !out.write(&listed, lines) {
                return Ok(());
            }
            let last = listed
                .accounts
                .last()
                .filter(|_| listed.accounts.len() == PAGE_MAX);
            let Some((local, _)) = last.and_then(|jid| jid.split_once('@')) else {
                break;
            };
            after = Some(local.to_owned());
        }
    }
    Ok(())
}

/// Copies everything into a folder.
pub(super) async fn backup(server: &Server, directory: &Path) -> Result<(), Failure> {
    // The server has a working folder of its own.
    let directory = std::path::absolute(directory)
        .map_err(|error| Failure::Usage(format!("{}: {error}", directory.display())))?;
    let done = format!("copied to {}", directory.display());
    server.tell("backup", &Backup { directory }, &done).await
}

/// The password from the command line, from a person twice, or from standard input.
fn password_for(jid: &str, given: Option<String>) -> Result<String, Failure> {
    let password = match given {
        Some(password) => password,
        None if io::stdin().is_terminal() => prompt(jid)?,
        None => {
            let mut line = String::new();
            let read = io::stdin().lock().read_line(&mut line);
            read.map_err(|error| Failure::Usage(format!("cannot read a password: {error}")))?;
            line.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    if password.is_empty() {
        return Err(Failure::Usage("the password is empty".to_owned()));
    }
    Ok(password)
}

fn prompt(jid: &str) -> Result<String, Failure> {
    let ask = |text: String| {
        rpassword::prompt_password(text)
            .map_err(|error| Failure::Usage(format!("cannot ask for a password: {error}")))
    };
    let password = ask(format!("Password for {jid}: "))?;
    if password != ask("Again: ".to_owned())? {
        return Err(Failure::Usage(
            "the two passwords are not the same".to_owned(),
        ));
    }
    Ok(password)
}
