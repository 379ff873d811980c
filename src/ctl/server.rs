//! Server: the admin port of a server, asked over HTTP.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use crate::admin::{GUARD_HEADER, Problem};
use crate::token;

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
    /// `Bearer …`, when there is a token.
    authorization: Option<HeaderValue>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What follows the `?`.
#[derive(Debug, Default)]
pub(super) struct Query(String);

// === impl Query ===

impl Query {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// With a value, if there is one.
    pub(super) fn with(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.is_empty() { '?' } else { '&' });
            self.0.push_str(&format!("{name}={}", escaped(value)));
        }
        self
    }
}

/// What may stand in a path or a query.
pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

// === impl Server ===

impl Server {
    /// The port at a URL; with the token in a file.
    pub(super) fn new(url: &str, token_file: Option<&Path>) -> Result<Self, Failure> {
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
            authorization: token_file.map(authorization).transpose()?,
            client: Client::builder(TokioExecutor::new()).build_http(),
        })
    }

    /// Asks for something to be told.
    pub(super) async fn ask<A: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
    ) -> Result<A, Failure> {
        let path = format!("/api/v1/{path}{}", query.0);
        let body = self.api(Method::GET, &path, Bytes::new()).await?;
        self.understood(&body)
    }

    /// Asks for something to be done.
    pub(super) async fn tell<Q: Serialize>(
        &self,
        method: Method,
        path: &str,
        question: Option<&Q>,
    ) -> Result<(), Failure> {
        self.send(method, path, question).await.map(drop)
    }

    /// Asks for something to be done, and what became of it.
    pub(super) async fn tell_and_ask<A: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
    ) -> Result<A, Failure> {
        let path = format!("{path}{}", query.0);
        let body = self.send::<()>(Method::POST, &path, None).await?;
        self.understood(&body)
    }

    /// As [`Server::tell_and_ask`], for something that has to be said more about.
    pub(super) async fn told<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        question: &Q,
    ) -> Result<A, Failure> {
        let body = self.send(method, path, Some(question)).await?;
        self.understood(&body)
    }

    /// Whether clients can log in there. Needs no token.
    pub(super) async fn is_ready(&self) -> Result<bool, Failure> {
        let (status, _) = self.within(Method::GET, "/readyz", Bytes::new()).await?;
        match status {
            StatusCode::OK => Ok(true),
            StatusCode::SERVICE_UNAVAILABLE => Ok(false),
            other => Err(self.stranger(&other.to_string())),
        }
    }

    async fn send<Q: Serialize>(
        &self,
        method: Method,
        path: &str,
        question: Option<&Q>,
    ) -> Result<Bytes, Failure> {
        let body = question
            .map(|question| serde_json::to_vec(question).expect("plain structs are always JSON"));
        let path = format!("/api/v1/{path}");
        self.api(method, &path, body.unwrap_or_default().into())
            .await
    }

    async fn api(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let (status, body) = self.within(method, path, body).await?;
        if status.is_success() {
            return Ok(body);
        }
        let Ok(Problem { error }) = serde_json::from_slice(&body) else {
            return Err(self.stranger(&status.to_string()));
        };
        let hint = match status {
            StatusCode::UNAUTHORIZED if self.authorization.is_none() => {
                ": give the file of a token with --token-file or COUPLET_CTL_TOKEN_FILE"
            }
            StatusCode::UNAUTHORIZED => {
                ": is the file of --token-file or COUPLET_CTL_TOKEN_FILE the one of this server? \
                 It reads tokens again on SIGHUP"
            }
            _ => "",
        };
        Err(Failure::Refused(format!("{error}{hint}")))
    }

    async fn within(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .header(GUARD_HEADER, "1");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::from(body))
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let max = if path == "/api/v1/backup" {
            BACKUP_SECS_MAX
        } else {
            ANSWER_SECS_MAX
        };
        let answer = tokio::time::timeout(max, self.exchange(request)).await;
        answer.map_err(|_| Failure::NoServer(format!("{} does not answer", self.base)))?
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let response = self.client.request(request).await.map_err(|error| {
            let text = if error.is_connect() {
                format!(
                    "cannot connect to {}: {}. Is couplet running there, and is that its \
                     admin.listen? Another one is named with --server or COUPLET_CTL_SERVER",
                    self.base,
                    root(&error)
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

    fn understood<A: DeserializeOwned>(&self, body: &[u8]) -> Result<A, Failure> {
        serde_json::from_slice(body).map_err(|error| self.stranger(&error.to_string()))
    }

    fn stranger(&self, what: &str) -> Failure {
        Failure::NoServer(format!(
            "{} does not answer like a couplet server: {what}",
            self.base
        ))
    }
}

fn authorization(file: &Path) -> Result<HeaderValue, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("--token-file {}: {why}", file.display()));
    let token = token::read(file).map_err(|why| wrong(&why))?;
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|_| wrong("cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
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
            assert!(Server::new(url, None).is_ok(), "{url}");
        }
        for url in [
            "127.0.0.1:5290",
            "https://127.0.0.1:5290",
            "http://a/b",
            "ftp://a",
            "",
        ] {
            let refused = Server::new(url, None);
            assert!(matches!(refused, Err(Failure::Usage(_))), "{url}");
        }
    }

    #[test]
    fn values_of_a_query_are_escaped() {
        let query = Query::new()
            .with("jid", Some("a&b=c@d e/ü"))
            .with("node", None)
            .with("max", Some("7"));
        assert_eq!(query.0, "?jid=a%26b%3Dc%40d%20e%2F%C3%BC&max=7");
    }
}
