//! Accounts: adds, removes and lists them; lists domains; copies everything.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use hyper::Method;

use super::server::{Query, Server, escaped};
use super::{Failure, Output};
use crate::admin::{AccountPage, Backup, Domains, NewAccount, PAGE_MAX, Password};
use crate::cli::{Account, Secret};

/// Carries out a command about accounts.
pub(super) async fn carry_out(
    server: &Server,
    command: Account,
    out: Output,
) -> Result<(), Failure> {
    match command {
        Account::Add { jid, secret } => {
            let password = password_for(&jid, secret)?;
            let done = format!("added {jid}");
            let account = NewAccount { jid, password };
            server
                .tell(Method::POST, "accounts", Some(&account))
                .await?;
            out.done(&done);
        }
        Account::Remove { jid } => {
            let path = format!("accounts/{}", escaped(&jid));
            server.tell::<()>(Method::DELETE, &path, None).await?;
            out.done(&format!("removed {jid}"));
        }
        Account::Password { jid, secret } => {
            let password = password_for(&jid, secret)?;
            let path = format!("accounts/{}/password", escaped(&jid));
            let password = Password { password };
            server.tell(Method::PUT, &path, Some(&password)).await?;
            out.done(&format!("changed the password of {jid}"));
        }
        Account::List { domain } => list(server, domain, out).await?,
    }
    Ok(())
}

async fn list(server: &Server, domain: Option<String>, out: Output) -> Result<(), Failure> {
    let domains = match domain {
        Some(domain) => vec![domain],
        None => {
            let told: Domains = server.ask("domains", &Query::new()).await?;
            told.domains.into_iter().map(|domain| domain.name).collect()
        }
    };
    for domain in domains {
        let mut after = None;
        loop {
            let max = PAGE_MAX.to_string();
            let query = Query::new()
                .with("domain", Some(&domain))
                .with("after", after.as_deref())
                .with("max", Some(&max));
            let page: AccountPage = server.ask("accounts", &query).await?;
            let lines = |page: &AccountPage| {
                let lines = page.accounts.iter().map(|it| format!("{}\n", it.jid));
                lines.collect()
            };
            if !out.write(&page, lines) {
                return Ok(());
            }
            if page.next.is_none() {
                break;
            }
            after = page.next;
        }
    }
    Ok(())
}

/// Lists the domains.
pub(super) async fn domains(server: &Server, out: Output) -> Result<(), Failure> {
    let told: Domains = server.ask("domains", &Query::new()).await?;
    out.write(&told, |told| {
        let lines = told.domains.iter().map(|it| format!("{}\n", it.name));
        lines.collect()
    });
    Ok(())
}

/// Copies everything into a folder.
pub(super) async fn backup(server: &Server, directory: &Path, out: Output) -> Result<(), Failure> {
    // The server has a working folder of its own.
    let directory = std::path::absolute(directory)
        .map_err(|error| Failure::Usage(format!("{}: {error}", directory.display())))?;
    let done = format!("copied to {}", directory.display());
    let backup = Backup { directory };
    server.tell(Method::POST, "backup", Some(&backup)).await?;
    out.done(&done);
    Ok(())
}

/// The password from the command line or a file, from a person twice, or from standard input.
fn password_for(jid: &str, secret: Secret) -> Result<String, Failure> {
    let password = match (secret.password, secret.password_file) {
        (Some(password), _) => password,
        (None, Some(file)) => {
            let text = std::fs::read_to_string(&file)
                .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        (None, None) if io::stdin().is_terminal() => prompt(jid)?,
        (None, None) => {
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
