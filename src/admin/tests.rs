//! Tests of the port with a server that only pretends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use couplet_proto::Jid;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

use super::{
    Accounts, AskSessions, Backend, Cluster, Node, NodeState, PAGE_MAX, Pin, Refusal, Session,
    SlotState, Slots, edge_router, router, serve,
};
use crate::config::Settings;
use crate::telemetry::Metrics;

#[derive(Clone, Default)]
struct Pretended(Arc<Mutex<BTreeMap<String, String>>>, Arc<Mutex<Vec<Pin>>>);

impl Backend for Pretended {
    fn is_ready(&self) -> bool {
        !self.0.lock().expect("not poisoned").is_empty()
    }

    async fn drain(&self, undo: bool) -> Result<String, Refusal> {
        match undo {
            false => Ok("leaving".to_owned()),
            true => Err(Refusal::Conflict("gone already".to_owned())),
        }
    }
}

impl Accounts for Pretended {
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

impl Cluster for Pretended {
    async fn nodes(&self) -> Result<Vec<Node>, Refusal> {
        let node = |name: &str| Node {
            name: name.to_owned(),
            state: NodeState::Alive,
            address: "10.0.0.7:5291".to_owned(),
            group: String::new(),
            weight: 100,
            slots: 2048,
            sessions: None,
            lease_age_millis: Some(20),
        };
        Ok(vec![node("o2"), node("o1")])
    }

    async fn slots(&self) -> Result<Vec<Slots>, Refusal> {
        Ok(vec![Slots {
            first: 0,
            last: 4095,
            owner: Some("o1".to_owned()),
            epoch: 3,
            state: SlotState::Moving,
            target: Some("o2".to_owned()),
        }])
    }

    async fn sessions(&self, ask: AskSessions) -> Result<Vec<Session>, Refusal> {
        assert!(ask.max.is_some_and(|max| max <= PAGE_MAX));
        Ok(vec![Session {
            jid: format!("{}/orchard", ask.jid.unwrap_or_default()),
            node: ask.node.unwrap_or_default(),
            edge: None,
            since: 1,
            is_resumable: true,
        }])
    }

    async fn pins(&self) -> Result<Vec<Pin>, Refusal> {
        Ok(self.1.lock().expect("not poisoned").clone())
    }

    async fn set_pins(&self, pins: Vec<Pin>) -> Result<(), Refusal> {
        *self.1.lock().expect("not poisoned") = pins;
        Ok(())
    }
}

/// The base URL of a port of an origin with nothing behind it.
async fn start() -> String {
    let admin = Settings::default().admin;
    open(router(Pretended::default(), Metrics::detached(), &admin)).await
}

async fn open(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
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
drain            | {}                                     | 200 | leaving
drain            | {"undo":true}                          | 409 | gone already
nodes            | {}                                     | 200 | {"nodes":[{"name":"o1",
nodes            | {"all":true}                           | 400 | all
slots            | {}                                     | 200 | "state":"moving","target":"o2"
sessions         | {"jid":"R@A.example","node":"o1"}      | 200 | "jid":"r@a.example/orchard"
sessions         | {"jid":"r@a.example/orchard"}          | 400 | resource
sessions         | {"max":1000000}                        | 200 | "edge":null
pins/list        | {}                                     | 200 | "pins":[]
pins/set         | {"first":0,"last":9,"group":"a"}       | 204 |
pins/set         | {"first":5,"last":5,"group":"b"}       | 204 |
pins/set         | {"first":9,"last":5,"group":"b"}       | 400 | not a range
pins/set         | {"first":0,"last":4096,"group":"b"}    | 400 | from 0 to 4095
pins/set         | {"first":0,"last":1,"group":""}        | 400 | clear them
pins/clear       | {"first":0,"last":3}                   | 204 |
pins/list        | {}                                     | 200 | {"first":4,"last":4,"group":"a"},
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
async fn an_edge_says_who_has_the_accounts() {
    let admin = Settings::default().admin;
    let base = open(edge_router(
        Pretended::default(),
        Metrics::detached(),
        &admin,
    ))
    .await;
    assert_eq!(get(&format!("{base}/healthz"), None).await.0, 200);
    assert_eq!(post(&base, "drain", "{}").await.0, 200);
    for path in ["account/list", "nodes", "nothing"] {
        let (status, body) = post(&base, path, "{}").await;
        assert_eq!(status, 404, "{path}");
        assert!(body.contains("ask the port of an origin"), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_request_has_a_largest_size() {
    let base = start().await;
    let long = "p".repeat(super::guard::BODY_BYTES_MAX);
    let body = format!(r#"{{"jid":"r@a.example","password":"{long}"}}"#);
    assert_eq!(post(&base, "account/add", &body).await.0, 413);
}
