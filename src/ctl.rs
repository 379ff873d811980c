//! Ctl: `couplet ctl`, a client of the admin port.
//!
//! Exit codes: 0 done, 1 the server refused, 2 the command line is wrong, 3 no server answered.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::{
    Account as AccountName, Backup, Credentials, GUARD_HEADER, Listed, PAGE_MAX, Page, Problem,
};
use crate::cli::{Account, Ctl, CtlCommand};

/// How long the server may take for anything but a backup.
const ANSWER_SECS_MAX: Duration = Duration::from_secs(60);

/// How long it may take to copy everything.
const BACKUP_SECS_MAX: Duration = Duration::from_secs(24 * 3600);

/// The largest answer: a page of accounts, each address at its longest.
const ANSWER_BYTES_MAX: usize = 16 << 20;

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

/// The admin port of a server.
struct Server {
    /// Without a path.
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
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
    match ctl.command {
        CtlCommand::Account(Account::Add { jid, password }) => {
            let password = password_for(&jid, password)?;
            let done = format!("added {jid}");
            let credentials = Credentials { jid, password };
            server.tell("account/add", &credentials, &done).await
        }
        CtlCommand::Account(Account::Remove { jid }) => {
            let done = format!("removed {jid}");
            let account = AccountName { jid };
            server.tell("account/remove", &account, &done).await
        }
        CtlCommand::Account(Account::Password { jid, password }) => {
            let password = password_for(&jid, password)?;
            let done = format!("changed the password of {jid}");
            let credentials = Credentials { jid, password };
            server.tell("account/password", &credentials, &done).await
        }
        CtlCommand::Account(Account::List { domain }) => list(&server, domain).await,
        CtlCommand::Backup { directory } => backup(&server, &directory).await,
    }
}

async fn list(server: &Server, domain: Option<String>) -> Result<(), Failure> {
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
            let mut out = io::stdout().lock();
            for jid in &listed.accounts {
                // The reader of a pipe may have seen enough: `couplet ctl account list | head`.
                if writeln!(out, "{jid}").is_err() {
                    return Ok(());
                }
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

async fn backup(server: &Server, directory: &Path) -> Result<(), Failure> {
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

// === impl Server ===

impl Server {
    fn new(url: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::Usage(format!("--server {url:?}: {why}"));
        let uri: Uri = url.parse().map_err(|_| wrong("is not a URL"))?;
        let Some(authority) = uri.authority() else {
            return Err(wrong("is not a URL such as http://127.0.0.1:5290"));
        };
        if uri.scheme_str() != Some("http") {
            return Err(wrong("only http:// is spoken there"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("must not have a path"));
        }
        Ok(Self {
            base: format!("http://{authority}"),
            client: Client::builder(TokioExecutor::new()).build_http(),
        })
    }

    /// Asks for something to be done, and says so when it is.
    async fn tell<Q: Serialize>(
        &self,
        path: &str,
        question: &Q,
        done: &str,
    ) -> Result<(), Failure> {
        self.post(path, question).await?;
        // The reader of a pipe may have seen enough.
        let _ = writeln!(io::stdout(), "{done}");
        Ok(())
    }

    /// Asks for something to be told.
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        question: &Q,
    ) -> Result<A, Failure> {
        let body = self.post(path, question).await?;
        serde_json::from_slice(&body).map_err(|error| self.stranger(&error.to_string()))
    }

    async fn post<Q: Serialize>(&self, path: &str, question: &Q) -> Result<Bytes, Failure> {
        let body = serde_json::to_vec(question).expect("plain structs are always JSON");
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/api/v1/{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .header(GUARD_HEADER, "1")
            .body(Full::from(body))
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let max = if path == "backup" {
            BACKUP_SECS_MAX
        } else {
            ANSWER_SECS_MAX
        };
        let answer = tokio::time::timeout(max, self.exchange(request)).await;
        let (status, body) =
            answer.map_err(|_| Failure::NoServer(format!("{} does not answer", self.base)))??;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(Failure::Refused(problem.error)),
            Err(_) => Err(self.stranger(&status.to_string())),
        }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let response = self.client.request(request).await.map_err(|error| {
            let text = if error.is_connect() {
                format!("no server at {}: is `couplet serve` running?", self.base)
            } else {
                format!(
                    "{} does not answer like a couplet server: {}",
                    self.base,
                    root(&error)
                )
            };
            Failure::NoServer(text)
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|error| self.stranger(&error.to_string()))?;
        Ok((status, body.to_bytes()))
    }

    fn stranger(&self, what: &str) -> Failure {
        Failure::NoServer(format!(
            "{} does not answer like a couplet server: {what}",
            self.base
        ))
    }
}

/// The innermost cause: the outer ones only say who passed it on.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_http_url_without_a_path() {
        for url in [
            "http://127.0.0.1:5290",
            "http://localhost:5290/",
            "http://[::1]:5290",
        ] {
            assert!(Server::new(url).is_ok(), "{url}");
        }
        for url in [
            "127.0.0.1:5290",
            "https://127.0.0.1:5290",
            "http://a/b",
            "ftp://a",
            "",
        ] {
            assert!(matches!(Server::new(url), Err(Failure::Usage(_))), "{url}");
        }
    }
}
