//! What every attack must leave unharmed: the server's memory, its log, and its other clients.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::client::Client;
use super::server::Server;

/// What one connection may cost before it has authenticated.
pub(crate) const STRANGER: u64 = 64 * 1024;
/// What one session may cost while it is attacking.
pub(crate) const MEMBER: u64 = 1536 * 1024;
/// What the process may grow by for reasons of its own: caches, allocator pages, more threads.
const SLACK: u64 = 16 * 1024 * 1024;

/// Runs an attack with that many connections of that price on the server kept for attacks,
/// one at a time, and checks what must be unharmed.
pub(crate) fn under_attack(connections: u64, price: u64, attack: impl FnOnce(&'static Server)) {
    static ATTACKED: OnceLock<Server> = OnceLock::new();
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // An attack that failed must not fail those after it.
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let server = ATTACKED.get_or_init(|| Server::start(&[]));
    unharmed(server, connections, price, || attack(server));
}

/// Checks around `attack` that the server's memory is bounded, that it does not panic and that
/// another client, logged in before, is answered before, after, and without interruption.
pub(crate) fn unharmed(server: &Server, connections: u64, price: u64, attack: impl FnOnce()) {
    let mut bystander = server.new_client("bystander");
    bystander.is_alive();
    let before = server.memory();
    attack();
    bystander.is_alive();
    let grown = server.memory().saturating_sub(before);
    assert!(
        grown <= connections * price + SLACK,
        "{grown} bytes more than before"
    );
    assert!(!server.log().contains("panicked"), "{}", server.log());
    bystander.close();
}

/// Sends `bytes` as the first of a connection and expects the stream to end with `condition`.
pub(crate) fn first_bytes(server: &Server, bytes: &[u8], condition: &str) {
    let mut client = Client::connect(server.c2s);
    // The server may close before it has read everything.
    let _ = client.send_bytes(bytes);
    client.ends_with(condition);
}

/// Sends `bytes` on an open stream, before logging in, and expects it to end with `condition`.
pub(crate) fn before_login(server: &Server, bytes: &[u8], condition: &str) {
    let mut client = Client::connect(server.c2s);
    client.open("montague.lit");
    let _ = client.send_bytes(bytes);
    client.ends_with(condition);
}

/// Sends `bytes` on a bound session and expects the stream to end with `condition`.
pub(crate) fn after_login(server: &Server, bytes: &[u8], condition: &str) {
    let mut client = server.new_client("attacker");
    let _ = client.send_bytes(bytes);
    client.ends_with(condition);
}
