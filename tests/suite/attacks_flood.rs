//! Many connections, slow ones, and those that break off.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::attack::{STRANGER, under_attack, unharmed};
use crate::harness::client::{Client, PATIENCE};
use crate::harness::server::Server;

/// How many silent connections; the test process holds the other ends.
const CROWD: u64 = 800;

#[test]
fn a04_silent_connections_end() {
    let server = Server::start(&["limits.before_auth_secs=5"]);
    unharmed(&server, CROWD, STRANGER, || {
        let silent: Vec<Client> = (0..CROWD / 2)
            .map(|_| Client::connect(server.c2s))
            .collect();
        let secret: Vec<Client> = (0..CROWD / 2)
            .map(|_| Client::connect(server.tls))
            .collect();
        for mut client in silent {
            client.ends_with("connection-timeout");
        }
        for mut client in secret {
            client.read_to_end();
            assert_eq!(client.transcript(), "");
        }
    });
    // They have gone, and so has what they cost.
    unharmed(&server, 0, 0, || {});
}

/// Sends `bytes` over and over, slowly, until the server has had enough.
fn drip(mut socket: TcpStream, bytes: &[u8]) -> String {
    let pause = Some(Duration::from_millis(20));
    socket.set_read_timeout(pause).expect("a TCP socket");
    let deadline = Instant::now() + PATIENCE;
    let mut heard = Vec::new();
    let mut buffer = [0; 1024];
    for byte in bytes.iter().cycle() {
        // Reading is the pause, and the way to see the end.
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        if socket.write_all(&[*byte]).is_err() {
            break;
        }
        assert!(Instant::now() < deadline, "it goes on for ever");
    }
    // After a failed write there may still be words to read.
    while let Ok(count) = socket.read(&mut buffer) {
        if count == 0 {
            break;
        }
        heard.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&heard).into_owned()
}

#[test]
fn a05_slow_strangers_are_not_waited_for() {
    let server = Server::start(&["limits.before_auth_secs=5"]);
    unharmed(&server, 3, STRANGER, || {
        let socket = |address| TcpStream::connect(address).expect("the server listens");
        // Spaces, then an element that never ends.
        let heard = drip(socket(server.c2s), b" ");
        assert!(heard.contains("<connection-timeout "), "{heard}");
        let mut slow = socket(server.c2s);
        let header = crate::harness::client::header("montague.lit");
        slow.write_all(header.as_bytes()).expect("the server reads");
        slow.write_all(b"<iq type='get' id='")
            .expect("the server reads");
        let heard = drip(slow, b"x");
        assert!(heard.contains("<connection-timeout "), "{heard}");
        // A TLS hello, announced with 512 bytes.
        let mut slow = socket(server.tls);
        let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
        slow.write_all(hello).expect("the server reads");
        drip(slow, &[0]);
    });
}

#[test]
fn a05_the_clock_runs_until_login_is_done() {
    let server = Server::start(&["limits.before_auth_secs=5"]);
    unharmed(&server, 3, STRANGER, || {
        let mut open = Client::connect(server.c2s);
        open.open("montague.lit");
        let mut challenged = Client::connect(server.c2s);
        challenged.open("montague.lit");
        challenged.auth("SCRAM-SHA-1", b"n,,n=x,r=abcdefgh");
        open.ends_with("connection-timeout");
        challenged.ends_with("connection-timeout");
    });
}

#[test]
fn a25_a_storm_of_connections_leaves_nothing() {
    under_attack(64, STRANGER, |server| {
        let jid = server.new_account("romeo");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..500 {
                        let mut client = Client::connect(server.c2s);
                        match number % 4 {
                            0 => client.cut(),
                            1 => {
                                client.open("montague.lit");
                                client.cut();
                            }
                            2 => {
                                client.send("<stream:stream");
                                client.cut();
                            }
                            _ => {
                                client.open("montague.lit");
                                client.auth("SCRAM-SHA-256", b"n,,n=nobody,r=abcdefgh");
                                client.cut();
                            }
                        }
                    }
                });
            }
        });
        let password = crate::harness::server::PASSWORD;
        Client::login(server.c2s, &jid, password).close();
    });
}

#[test]
fn sessions_come_and_go_without_a_trace() {
    under_attack(8, STRANGER, |server| {
        let jid = server.new_account("romeo");
        let password = crate::harness::server::PASSWORD;
        for number in 0..200 {
            let mut client = Client::login(server.c2s, &jid, password);
            client.send("<presence/>");
            if number % 2 == 0 {
                client.cut();
            } else {
                client.close();
            }
        }
    });
}
