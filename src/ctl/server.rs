//! Server: the admin port of a server, asked over HTTP.

use std::io::{self, Write};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use crate::admin::{GUARD_HEADER, Problem};

/// How long the server may take for anything but a backup.
const ANSWER_SECS_MAX: Duration = Duration::from_secs(60);

/// How long it may take to copy everything.
const BACKUP_SECS_MAX: Duration = Duration::from_secs(24 * 3600);

/// The largest answer: a page of accounts, each address at its longest.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The admin port of a server.
pub(super) struct Server {
    /// Without a path.
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

// === impl Server ===

impl Server {
    /// The port at a URL.
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
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
    pub(super) async fn tell<Q: Serialize>(
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
    pub(super) async fn ask<Q: Serialize, A: DeserializeOwned>(
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
                format!(
                    "no server at {}: is couplet running, and is that its admin.listen?",
                    self.base
                )
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
