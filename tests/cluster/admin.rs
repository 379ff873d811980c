//! The operator's port of a node, asked over plain HTTP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cluster::program;
use crate::deadline::PATIENCE;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// Whether a node says that it is ready.
pub(crate) async fn is_ready(admin: SocketAddr) -> bool {
    let answer = request(admin, "GET", "/readyz", "").await;
    answer.is_ok_and(|(status, _)| status == 200)
}

/// Runs `couplet ctl` with these words against a node: its exit code, and all it said.
pub(crate) async fn ctl(admin: SocketAddr, words: &[&str]) -> (i32, String) {
    let mut command = tokio::process::Command::new(program());
    command.args(["ctl", "--server", &format!("http://{admin}")]);
    command.args(words).kill_on_drop(true);
    let output = timeout(PATIENCE * 4, command.output()).await;
    let output = output.expect("it ends").expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

/// Adds an account.
pub(crate) async fn add_account(admin: SocketAddr, jid: &str, password: &str) {
    let body = serde_json::json!({ "jid": jid, "password": password }).to_string();
    let answer = request(admin, "POST", "/api/v1/accounts", &body).await;
    let is_added = answer
        .as_ref()
        .is_ok_and(|(status, _)| (200..300).contains(status));
    assert!(is_added, "adding {jid}: {answer:?}");
}

/// One request on a connection of its own: status and body.
async fn request(
    admin: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<(u16, String)> {
    let exchange = async {
        let mut socket = TcpStream::connect(admin).await?;
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\
             couplet-ctl: tests\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        socket.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = timeout(ANSWER, exchange).await;
    let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(answer.clone()))?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok((status, body.to_owned()))
}
