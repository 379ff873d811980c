//! What every attack must leave unharmed: the server's memory, its log, and its other clients.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, PATIENCE};
use super::server::Server;
use super::tree::Tree;

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
    let allowed = before + connections * price + SLACK;
    let deadline = Instant::now() + PATIENCE;
    // Allocators give memory back a little later.
    while server.memory() > allowed {
        let now = server.memory();
        assert!(
            Instant::now() < deadline,
            "{before} bytes before, {now} after"
        );
        thread::park_timeout(Duration::from_millis(10));
    }
    bystander.is_alive();
    assert!(!server.log().contains("panicked"), "{}", server.log());
    bystander.close();
}

/// Sends `bytes` over a connection of its own; the stream must end with one of `conditions`.
pub(crate) fn first_bytes(server: &Server, bytes: &[u8], conditions: &[&str]) {
    refused(Client::connect(server.c2s), bytes, conditions);
}

/// Sends `bytes` on an open stream before logging in; it must end with one of `conditions`.
pub(crate) fn before_login(server: &Server, bytes: &[u8], conditions: &[&str]) {
    let mut client = Client::connect(server.c2s);
    client.open("montague.lit");
    refused(client, bytes, conditions);
}

/// Sends `bytes` on a bound session; it must end with one of `conditions`.
pub(crate) fn after_login(server: &Server, bytes: &[u8], conditions: &[&str]) {
    refused(server.new_client("attacker"), bytes, conditions);
}

fn refused(mut client: Client, bytes: &[u8], conditions: &[&str]) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    // The server may hang up before it has read everything.
    let _ = client.send_bytes(bytes);
    let error = client.read_to_end();
    let found = error.as_ref().and_then(Tree::condition);
    let transcript = client.transcript();
    assert!(
        found.is_some_and(|found| conditions.contains(&found)),
        "{shown}\nmust end with {conditions:?}, but: {transcript}"
    );
    assert!(
        transcript.ends_with("</stream:stream>"),
        "{shown}: {transcript}"
    );
}

/// Sends far more than the server should read of it: it hangs up, with or without a word that
/// outlives the reset of the connection.
pub(crate) fn cut_off(mut client: Client, bytes: &[u8]) {
    let _ = client.send_bytes(bytes);
    client.read_to_end();
}
