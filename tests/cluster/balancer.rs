//! HAProxy in front of the edges, with the configuration of `deploy/haproxy` but for addresses.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::cluster::Node;
use crate::deadline::{PATIENCE, until};
use crate::harness::process::{Process, free_address};

const SHIPPED: &str = include_str!("../../deploy/haproxy/haproxy.cfg");

/// A balancer that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Balancer {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    _process: Process,
}

// === impl Balancer ===

impl Balancer {
    /// Starts one in front of two edges that run.
    pub(crate) async fn start(folder: &Path, edges: &[Node]) -> Self {
        let address = free_address();
        let file = folder.join("haproxy.cfg");
        fs::write(&file, config(address, edges)).expect("a writable folder");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        let process = Process::spawn(command, &folder.join("haproxy.log"), None);
        // Nobody connects to see: an edge would write that down.
        until("HAProxy listens", PATIENCE, async || is_listening(address)).await;
        Self {
            address,
            _process: process,
        }
    }
}

/// Whether the kernel has somebody listening there, on an address of IPv4.
fn is_listening(address: SocketAddr) -> bool {
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let port = format!(":{:04X}", address.port());
    sockets.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_local = words.next().is_some_and(|local| local.ends_with(&port));
        // Behind it stand the other end and the state, of which 0A is LISTEN.
        is_local && words.nth(1) == Some("0A")
    })
}

/// The shipped file with these addresses in the place of its own.
fn config(address: SocketAddr, edges: &[Node]) -> String {
    let mut text = SHIPPED.to_owned();
    let mut swap = |from: &str, to: &str| {
        assert!(
            text.contains(from),
            "deploy/haproxy/haproxy.cfg has no {from:?}"
        );
        text = text.replace(from, to);
    };
    swap("bind :::5222 v4v6", &format!("bind {address}"));
    swap("bind :::5223 v4v6", &format!("bind {}", free_address()));
    for (index, edge) in edges.iter().enumerate() {
        let name = format!("edge-{}", index + 1);
        let (clients, admin) = (edge.clients, edge.admin.port());
        swap(
            &format!("server {name} {name}:5222"),
            &format!("server {name} {clients} port {admin}"),
        );
        swap(&format!("{name}:5223"), &clients.to_string());
    }
    text
}
