//! Tests of the port with a server that only pretends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use couplet_proto::Jid;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

use super::{Backend, Refusal, router, serve};
use crate::config::Settings;
use crate::telemetry::Metrics;

#[derive(Clone, Default)]
struct Pretended(Arc<Mutex<BTreeMap<String, String>>>);

impl Backend for Pretended {
    fn is_ready(&self) -> bool {
        !self.0.lock().expect("not poisoned").is_empty()
    }

    fn domains(&self) -> Vec<String> {
        vec!["a.example".to_owned()]
    }

    async fn add(&self, account: Jid, password: String) -> Result<(), Refusal> {
        let mut accounts = self.0.lock().expect("not poisoned");
        if accounts
            .insert(account.as_str().to_owned(), password)
            .is_some()
        {
            return Err(Refusal::Conflict("exists".to_owned()));
        }
        Ok(())
    }

    async fn remove(&self, account: Jid) -> Result<(), Refusal> {
        let removed = self
            .0
            .lock()
            .expect("not poisoned")
            .remove(account.as_str());
        removed
            .map(|_| ())
            .ok_or_else(|| Refusal::Unknown("no such account".to_owned()))
    }

    async fn set_password(&self, _: Jid, _: String) -> Result<(), Refusal> {
        Err(Refusal::Unavailable("not now".to_owned()))
    }

    async fn list(&self, _: Jid, _: Option<String>, _: usize) -> Result<Vec<Jid>, Refusal> {
        let accounts = self.0.lock().expect("not poisoned");
        Ok(accounts
            .keys()
            .map(|jid| Jid::parse(jid).expect("an address"))
            .collect())
    }

    async fn backup(&self, _: PathBuf) -> Result<(), Refusal> {
        Ok(())
    }
}

/// The base URL of a port with nothing behind it.
async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let admin = Settings::default().admin;
    let router = router(Pretended::default(), Metrics::detached(), &admin);
    tokio::spawn(serve(listener, router));
    format!("http://{address}")
}

async fn send(request: Request<Full<Bytes>>) -> (u16, String) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response: Response<_> = client.request(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
}

async fn get(url: &str, host: Option<&str>) -> (u16, String) {
    let request = Request::get(url);
    let request = match host {
        Some(host) => request.header("host", host),
        None => request,
    };
    send(request.body(Full::default()).expect("a request")).await
}

async fn post(base: &str, path: &str, body: &str) -> (u16, String) {
    let request = Request::post(format!("{base}/api/v1/{path}")).header("couplet-ctl", "1");
    send(
        request
            .body(Full::from(body.to_owned()))
            .expect("a request"),
    )
    .await
}

#[tokio::test]
async fn health_readiness_and_metrics_are_told_to_anybody_here() {
    let base = start().await;
    assert_eq!(get(&format!("{base}/healthz"), None).await.0, 200);
    assert_eq!(get(&format!("{base}/readyz"), None).await.0, 503);
    assert_eq!(
        post(
            &base,
            "account/add",
            r#"{"jid":"r@a.example","password":"p"}"#
        )
        .await
        .0,
        201
    );
    assert_eq!(get(&format!("{base}/readyz"), None).await.0, 200);
    assert_eq!(get(&format!("{base}/metrics"), None).await.0, 200);
}

#[tokio::test]
async fn a_name_that_is_not_ours_gets_nothing() {
    let base = start().await;
    for path in ["/readyz", "/metrics", "/api/v1/account/list", "/nothing"] {
        let (status, _) = get(&format!("{base}{path}"), Some("rebound.example")).await;
        assert_eq!(status, 421, "{path}");
    }
}

#[tokio::test]
async fn a_form_on_a_web_page_cannot_use_the_api() {
    let base = start().await;
    for path in [
        "account/add",
        "account/remove",
        "account/password",
        "account/list",
        "backup",
    ] {
        let request = Request::post(format!("{base}/api/v1/{path}"))
            .header("content-type", "text/plain")
            .body(Full::from(r#"{"jid":"evil@a.example","password":"p"}"#))
            .expect("a request");
        let (status, body) = send(request).await;
        assert_eq!(status, 403, "{path}: {body}");
    }
}

/// One per line: path, request, status, a part of the answer; `R` is an account.
const EXCHANGES: &str = r#"
account/add      | {R,"password":"p"}                     | 201 |
account/add      | {R,"password":"p"}                     | 409 | exists
account/add      | {"jid":"a.example","password":"p"}     | 400 | no name before
account/add      | {"jid":"r@a.example/x","password":"p"} | 400 | resource
account/add      | {"jid":"@@","password":"p"}            | 400 | not an address
account/add      | {R}                                    | 400 | password
account/add      | {R,"password":"p","admin":true}        | 400 | admin
account/add      | not JSON                               | 400 | cannot be read
account/password | {R,"password":"p"}                     | 503 | not now
account/list     | {}                                     | 200 | "accounts":[]
account/list     | {}                                     | 200 | "domains":["a.example"]
account/list     | {"domain":"A.example"}                 | 200 | r@a.example
account/list     | {"domain":"b.example"}                 | 404 | b.example
account/list     | {"domain":"x@a.example"}               | 404 | x@a.example
account/remove   | {R}                                    | 204 |
account/remove   | {R}                                    | 404 | no such account
backup           | {"directory":"relative"}               | 400 | absolute
backup           | {"directory":"/srv/copy"}              | 204 |
nothing          | {}                                     | 404 |
"#;

#[tokio::test]
async fn requests_and_what_they_get() {
    let base = start().await;
    for line in EXCHANGES.lines().filter(|line| !line.is_empty()) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [path, body, status, part] = columns[..] else {
            panic!("four columns: {line}");
        };
        let body = body.replace("{R", r#"{"jid":"r@a.example""#);
        let (found, answer) = post(&base, path, &body).await;
        assert_eq!(found.to_string(), status, "{line}: {answer}");
        assert!(answer.contains(part), "{line}: {answer}");
    }
}

#[tokio::test]
async fn a_request_has_a_largest_size() {
    let base = start().await;
    let long = "p".repeat(super::guard::BODY_BYTES_MAX);
    let body = format!(r#"{{"jid":"r@a.example","password":"{long}"}}"#);
    assert_eq!(post(&base, "account/add", &body).await.0, 413);
}
