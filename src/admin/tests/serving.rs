//! Tests of connections: what their end leaves behind, and that each has one.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Port, READER, SERVER, Sent};
use crate::admin::guard;
use crate::admin::serving::{Limits, serve_within};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

const FOR_EVER: Duration = Duration::from_secs(3600);

/// Waits for a line of the audit log.
async fn expect_audited(port: &Port, is_it: impl Fn(&[String; 4]) -> bool) {
    let told = async {
        while !port.audited().iter().any(&is_it) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("it is written down");
}

#[tokio::test]
async fn what_has_begun_ends_without_its_client() {
    for panics in [false, true] {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (folder, access) = Port::access(|_| {});
        let (begins, goes) = (Arc::clone(&begun), Arc::clone(&go));
        let handler = async move || {
            begins.notify_one();
            goes.notified().await;
            assert!(!panics, "as the test wants it");
        };
        let known = Arc::clone(&access);
        let routes =
            Router::new()
                .route("/change", post(handler))
                .layer(from_fn(move |request, next| {
                    guard::caller(Arc::clone(&known), request, next)
                }));
        let port = Port::serve(folder, access, routes).await;
        let address = port.base.strip_prefix("http://").expect("an address");
        let mut client = TcpStream::connect(address).await.expect("served");
        let request = "POST /change HTTP/1.1\r\nHost: localhost\r\ncouplet-ctl: 1\r\n\
                       Content-Length: 0\r\n\r\n";
        client.write_all(request.as_bytes()).await.expect("sent");
        begun.notified().await;
        client.shutdown().await.expect("hung up");
        let mut answer = Vec::new();
        let closed = timeout(PATIENCE, client.read_to_end(&mut answer)).await;
        closed.expect("closed").expect("in good order");
        assert!(answer.is_empty(), "{answer:?}");
        go.notify_one();
        let outcome = if panics { "failed" } else { "done" };
        let expected = ["-", "/change", "loopback", outcome];
        expect_audited(&port, |line| *line == expected.map(str::to_owned)).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_keeps_no_place() {
    let limits = Limits {
        connections: 1,
        unacked: FOR_EVER,
        life: FOR_EVER,
        farewell: Duration::from_millis(100),
        ..Limits::default()
    };
    let short = Duration::from_millis(100);
    let by_age = Limits {
        life: short,
        ..limits
    };
    let by_silence = Limits {
        unacked: short,
        ..limits
    };
    for limits in [by_age, by_silence] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let routes = Router::new()
            .route("/much", get(async || "x".repeat(64 << 20)))
            .route("/little", get(async || "little"));
        let server = tokio::spawn(serve_within(listener, routes, limits));
        let first = TcpSocket::new_v4().expect("a socket");
        first.set_recv_buffer_size(4096).expect("a small one");
        let mut first = first.connect(address).await.expect("served");
        let ask = async |socket: &mut TcpStream, path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            socket.write_all(request.as_bytes()).await.expect("sent");
            let mut byte = [0];
            let read = timeout(PATIENCE, socket.read_exact(&mut byte)).await;
            read.expect("an answer in time").expect("an answer");
        };
        ask(&mut first, "/much").await;
        let mut second = TcpStream::connect(address).await.expect("it waits");
        ask(&mut second, "/little").await;
        server.abort();
    }
}

#[tokio::test]
async fn a_head_has_a_size() {
    let port = Port::open().await;
    let status = async |bytes: usize| {
        let path = format!("/healthz?{}", "x".repeat(bytes));
        let sent = Sent {
            path: &path,
            ..Sent::default()
        };
        port.send(sent).await.0
    };
    assert_eq!(status(8 * 1024).await, 200);
    assert_eq!(status(20 * 1024).await, 431);
}

#[tokio::test]
async fn strangers_do_not_fill_the_audit_log() {
    let port = Port::guarded().await;
    let send = async |token| {
        let sent = Sent {
            method: "PUT",
            path: "/api/v1/pins/0-9",
            token,
            ..Sent::default()
        };
        port.send(sent).await.0
    };
    for _ in 0..50 {
        assert_eq!(send(None).await, 401);
        assert_eq!(send(Some(READER)).await, 403);
    }
    expect_audited(&port, |line| line[1].ends_with(" more within a second")).await;
    let mut strangers = 0;
    let mut lines = 0;
    for [_, subject, who, outcome] in port.audited() {
        if who != "nobody" {
            assert_eq!([who.as_str(), &outcome], ["reader", "forbidden"]);
            continue;
        }
        assert_eq!(outcome, "unauthenticated");
        lines += 1;
        let more = subject.strip_suffix(" more within a second");
        strangers += more.map_or(1, |more| more.parse().expect("a number"));
    }
    // A slow machine may need more seconds than one, whose last is not over.
    assert!(lines < 50 && strangers <= 50, "{lines} lines: {strangers}");
    let known = port
        .audited()
        .into_iter()
        .filter(|line| line[2] == "reader");
    assert_eq!(known.count(), 50, "who is known is always written down");
    assert_eq!(send(Some(SERVER)).await, 400);
}
