//! Tests of what is asked and what is answered, where nobody needs a token.

use super::{Port, Sent};
use crate::admin::guard::BODY_BYTES_MAX;

/// One per line: request, body, status, a part of the answer; `R` is an account, `$` its path.
const EXCHANGES: &str = r#"
GET health |  | 200 | "role":"origin"
GET config |  | 200 | "key":"limits.logins","value":7,"source":"default"
GET config?prefix=log |  | 200 | {"config":[{"key":"log.level"
GET health?node=o2 |  | 200 | {"node":"o2"
GET health?node=o3 |  | 404 | no origin \"o3\"
GET config?prefix=log&node=o1 |  | 200 | {"config":[{"key":"log.level"
GET config?prefix=log&node=o2 |  | 200 | {"config":[{"key":"log.of.o2"
POST drain?node=o2 |  | 202 | o2 leaves
POST drain/undo?node=o1 |  | 409 | gone already
POST drain?nodes=o2 |  | 400 | nodes
GET config?perfix=log |  | 400 | perfix
POST accounts | {R,"password":"p"} | 201 | {"jid":"r@a.example"}
POST accounts | {R,"password":"p"} | 409 | exists
POST accounts | {"jid":"a.example","password":"p"} | 400 | no name before
POST accounts | {"jid":"r@a.example/x","password":"p"} | 400 | resource
POST accounts | {"jid":"@@","password":"p"} | 400 | not an address
POST accounts | {R} | 400 | password
POST accounts | {R,"password":"p","admin":true} | 400 | admin
POST accounts | {R,"password":"p",R} | 400 | duplicate
POST accounts | not JSON | 400 | cannot be read
POST accounts | {"jid":"s@a.example","password":"p"} | 201 |
PUT $/password | {"password":"p"} | 503 | not now
PUT $/password | {} | 400 | password
GET accounts |  | 400 | domain
GET accounts?domain=A.example |  | 200 | [{"jid":"r@a.example"},{"jid":"s@a.example"}],"next":null
GET accounts?domain=a.example&max=1 |  | 200 | {"accounts":[{"jid":"r@a.example"}],"next":"r"}
GET accounts?domain=a.example&max=1&after=r |  | 200 | {"jid":"s@a.example"}
GET accounts?domain=a.example&max=0 |  | 200 | "next":"r"
GET accounts?domain=a.example&max=-1 |  | 400 | cannot be read
GET accounts?domain=c.example |  | 404 | c.example
GET accounts?domain=x@a.example |  | 400 | x@a.example
GET accounts?domain=a.example&domain=b.example |  | 400 | duplicate
GET domains |  | 200 | {"domains":[{"name":"b.example"},{"name":"a.example"}]}
DELETE $ |  | 204 |
DELETE $ |  | 404 | no such account
DELETE accounts/r%40a.example%2Fx |  | 400 | resource
DELETE accounts/%40%40 |  | 400 | not an address
POST backup | {"directory":"relative"} | 400 | absolute
POST backup | {"directory":"/srv/copy"} | 204 |
GET nothing |  | 404 | openapi.json
POST nodes | {} | 405 | method
POST drain |  | 202 | leaving
POST drain/undo |  | 409 | gone already
GET nodes |  | 200 | {"nodes":[{"name":"o1",
GET slots |  | 200 | "state":"moving","target":"o2"
GET sessions?jid=R@A.example&node=o1 |  | 200 | "jid":"r@a.example/orchard"
GET sessions?domain=A.example |  | 200 | "jid":"r@a.example/orchard"
GET sessions?jid=r%40a.example%2Forchard |  | 400 | resource
GET sessions?max=1000000 |  | 200 | "edge":null
GET sessions?max=1 |  | 200 | "next":"/orchard"
GET pins |  | 200 | "pins":[]
PUT pins/0-9 | {"group":"a"} | 204 |
PUT pins/5-5 | {"group":"b"} | 204 |
PUT pins/9-5 | {"group":"b"} | 400 | not a range
PUT pins/0-4096 | {"group":"b"} | 400 | from 0 to 4095
PUT pins/+0-1 | {"group":"b"} | 400 | not a range
PUT pins/0-1 | {"group":""} | 400 | clear them
DELETE pins/0-3 |  | 204 |
GET pins |  | 200 | {"first":4,"last":4,"group":"a"},
"#;

#[tokio::test]
async fn requests_and_what_they_get() {
    let port = Port::open().await;
    for line in EXCHANGES.lines().filter(|line| !line.is_empty()) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [request, body, status, part] = columns[..] else {
            panic!("four columns: {line}");
        };
        let (method, path) = request.split_once(' ').expect("a method and a path");
        let path = path.replace('$', "accounts/r%40a.example");
        let body = body.replace("R,", r#""jid":"r@a.example","#);
        let body = body.replace("R}", r#""jid":"r@a.example"}"#);
        let sent = Sent {
            method,
            path: &format!("/api/v1/{path}"),
            body: &body,
            ..Sent::default()
        };
        let (found, answer) = port.send(sent).await;
        assert_eq!(found.to_string(), status, "{line}: {answer}");
        assert!(answer.contains(part), "{line}: {answer}");
    }
}

#[tokio::test]
async fn a_new_account_has_a_place() {
    let port = Port::open().await;
    let response = port
        .exchange(Sent {
            method: "POST",
            path: "/api/v1/accounts",
            body: r#"{"jid":"R@a.example","password":"p"}"#,
            ..Sent::default()
        })
        .await;
    let place = response.headers()["location"].to_str().expect("a text");
    let sent = Sent {
        method: "DELETE",
        path: place,
        ..Sent::default()
    };
    assert_eq!(port.send(sent).await.0, 204, "{place}");
}

#[tokio::test]
async fn health_readiness_and_metrics_are_told_to_anybody() {
    let port = Port::guarded().await;
    assert_eq!(port.get("/healthz").await.0, 200);
    assert_eq!(port.get("/readyz").await.0, 503);
    assert_eq!(port.get("/metrics").await.0, 200);
    let sent = Sent {
        method: "POST",
        path: "/api/v1/accounts",
        body: r#"{"jid":"r@a.example","password":"p"}"#,
        token: Some(super::SERVER),
        ..Sent::default()
    };
    assert_eq!(port.send(sent).await.0, 201);
    assert_eq!(port.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_name_that_is_not_ours_gets_nothing() {
    let port = Port::start(|(_, admin)| admin.hosts.push("Chat.Internal".to_owned())).await;
    let status = async |path: &str, host: &str| {
        let sent = Sent {
            path,
            host: Some(host),
            ..Sent::default()
        };
        port.send(sent).await.0
    };
    for path in ["/readyz", "/metrics", "/api/v1/nodes", "/nothing"] {
        assert_eq!(status(path, "rebound.example").await, 421, "{path}");
    }
    assert_eq!(status("/api/v1/nodes", "chat.internal:5290").await, 200);
    assert_eq!(status("/api/v1/nodes", "10.0.0.7").await, 200);
}

#[tokio::test]
async fn a_web_page_cannot_use_the_api() {
    let port = Port::open().await;
    for (method, path) in [
        ("POST", "accounts"),
        ("DELETE", "accounts/r%40a.example"),
        ("POST", "backup"),
        ("POST", "drain"),
        ("GET", "nodes"),
        ("GET", "nothing"),
    ] {
        let sent = Sent {
            method,
            path: &format!("/api/v1/{path}"),
            body: r#"{"jid":"evil@a.example","password":"p"}"#,
            is_from_a_page: true,
            ..Sent::default()
        };
        let (status, body) = port.send(sent).await;
        assert_eq!(status, 403, "{method} {path}: {body}");
        // A browser sends this across sites only with a permission, which nobody gives.
        let sent = Sent {
            token: Some("of-no-meaning-here"),
            ..sent
        };
        assert_ne!(port.send(sent).await.0, 403, "{method} {path}");
    }
    let asked = Sent {
        method: "OPTIONS",
        path: "/api/v1/accounts",
        is_from_a_page: true,
        ..Sent::default()
    };
    let response = port.exchange(asked).await;
    let allowed = response.headers().keys();
    let allowed: Vec<_> = allowed
        .filter(|name| name.as_str().starts_with("access-control"))
        .collect();
    assert!(allowed.is_empty(), "{allowed:?}");
    let told = port.exchange(Sent {
        path: "/api/v1/nodes",
        ..Sent::default()
    });
    let told = told.await;
    let policy = told.headers()["content-security-policy"].to_str();
    assert!(policy.is_ok_and(|policy| policy.contains("frame-ancestors 'none'")));
    assert_eq!(told.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn an_edge_says_who_has_the_accounts() {
    let port = Port::edge().await;
    assert_eq!(port.get("/healthz").await.0, 200);
    for path in ["health", "config", "openapi.json"] {
        assert_eq!(port.get(&format!("/api/v1/{path}")).await.0, 200, "{path}");
    }
    let drain = Sent {
        method: "POST",
        path: "/api/v1/drain",
        ..Sent::default()
    };
    assert_eq!(port.send(drain).await.0, 202);
    for path in ["accounts", "nodes", "nothing", "accounts/r%40a.example"] {
        let (status, body) = port.get(&format!("/api/v1/{path}")).await;
        assert_eq!(status, 404, "{path}");
        assert!(body.contains("ask the port of an origin"), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_request_has_a_largest_size() {
    let port = Port::open().await;
    let long = "p".repeat(BODY_BYTES_MAX);
    let sent = Sent {
        method: "POST",
        path: "/api/v1/accounts",
        body: &format!(r#"{{"jid":"r@a.example","password":"{long}"}}"#),
        ..Sent::default()
    };
    assert_eq!(port.send(sent).await.0, 413);
}
