//! A Prometheus of our own, and its HTTP API.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::deadline::{PATIENCE, until};
use crate::file;
use crate::harness::process::{Process, free_address};

/// How often nodes are asked.
const INTERVAL: &str = "500ms";

/// A running Prometheus with our rules.
#[derive(Debug)]
pub(crate) struct Prometheus {
    address: SocketAddr,
    /// Held for its drop.
    _process: Process,
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts one that asks these nodes, with its files in `folder`, and waits until it answers.
    pub(crate) async fn start(folder: &Path, nodes: &[SocketAddr]) -> Self {
        let folder = folder.join("prometheus");
        fs::create_dir_all(&folder).expect("a writable folder");
        let targets: Vec<String> = nodes.iter().map(|node| format!("\"{node}\"")).collect();
        let rules = file("rules.yaml");
        let text = format!(
            "global: {{scrape_interval: {INTERVAL}, evaluation_interval: {INTERVAL}}}\n\
             rule_files: [{:?}]\n\
             scrape_configs:\n  - job_name: watched\n    static_configs:\n      - targets: [{}]\n",
            rules.display().to_string(),
            targets.join(", ")
        );
        fs::write(folder.join("prometheus.yml"), text).expect("a writable folder");
        let address = free_address();
        let mut command = Command::new("prometheus");
        command.current_dir(&folder);
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}"));
        let prometheus = Self {
            address,
            _process: Process::spawn(command, &folder.join("log"), None),
        };
        until("Prometheus is ready", PATIENCE, async || {
            get(address, "/-/ready").await.is_some()
        })
        .await;
        prometheus
    }

    /// The data of an answer of its API.
    pub(crate) async fn api(&self, path: &str) -> Value {
        let body = get(self.address, &format!("/api/v1/{path}")).await;
        let body = body.unwrap_or_else(|| panic!("{path}: no answer"));
        let mut answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].take()
    }

    /// Whether an expression yields something now.
    pub(crate) async fn knows(&self, expr: &str) -> bool {
        let data = self.api(&format!("query?query={}", encoded(expr))).await;
        !data["result"].as_array().expect("a vector").is_empty()
    }

    /// Waits until an expression yields something.
    pub(crate) async fn wait_for(&self, expr: &str) {
        until(&format!("there is {expr}"), PATIENCE * 2, async || {
            self.knows(expr).await
        })
        .await;
    }
}

/// The body of a page, if it is there. HTTP/1.0, so that it comes in one piece.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut socket = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    // What is wrong with a query stands in the body.
    let is_told = head.starts_with("HTTP/1.0 200") || body.starts_with('{');
    is_told.then(|| body.to_owned())
}

/// As part of a URL.
fn encoded(text: &str) -> String {
    let each = text.bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    each.collect()
}
