//! Hostile TLS, and TLS where it is easy to get wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConnection;

use crate::harness::attack::{STRANGER, under_attack};
use crate::harness::client::{Client, PATIENCE};
use crate::harness::tls::{Version, Wish};

/// Sends bytes and returns everything that comes until the server hangs up.
fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).expect("the server listens");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a TCP socket");
    let _ = socket.write_all(bytes);
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("the connection stays open: {answer:?}")
        }
        _ => answer,
    }
}

/// A handshake record of that version around a hello of that version.
fn hello(record: [u8; 2], version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend_from_slice(&[7; 32]);
    // No session, two old cipher suites, no compression.
    body.extend_from_slice(&[0, 0, 4, 0, 0x2f, 0, 0x35, 1, 0]);
    let length = u8::try_from(body.len()).expect("short");
    let mut bytes = vec![0x16, record[0], record[1], 0, length + 4, 1, 0, 0, length];
    bytes.extend_from_slice(&body);
    bytes
}

#[test]
fn a26_old_versions_of_tls_are_refused() {
    under_attack(3, STRANGER, |server| {
        for version in [[3, 0], [3, 1], [3, 2]] {
            let answer = exchange(server.tls, &hello([3, 0], version));
            // An alert at most; never a server hello.
            assert!(
                answer.is_empty() || answer[0] == 0x15,
                "{version:?}: {answer:?}"
            );
        }
    });
}

#[test]
fn a26_what_is_no_tls_is_turned_away() {
    under_attack(5, STRANGER, |server| {
        let inputs: [&[u8]; 5] = [
            b"<?xml version='1.0'?><stream:stream>",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\xff\xff\x01\x00\xff\xfb",
            b"\x80\x2e\x01\x00\x02",
            &[0; 64],
        ];
        for input in inputs {
            let mut socket = TcpStream::connect(server.tls).expect("the server listens");
            socket
                .set_read_timeout(Some(PATIENCE))
                .expect("a TCP socket");
            let _ = socket.write_all(input);
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = socket.read_to_end(&mut answer);
            assert!(
                answer.is_empty() || answer[0] == 0x15,
                "{input:?}: {answer:?}"
            );
        }
    });
}

#[test]
fn a26_a_hello_in_tiny_fragments_gets_no_further_than_any_other() {
    under_attack(1, STRANGER, |server| {
        let wish = Wish::new("montague.lit");
        let config = Arc::new(wish.config());
        let name = rustls::pki_types::ServerName::try_from("montague.lit").expect("a name");
        let mut connection = ClientConnection::new(config, name).expect("the config is complete");
        let mut whole = Vec::new();
        connection.write_tls(&mut whole).expect("a vector");
        // The same handshake message, one byte in each record.
        let mut bytes = Vec::new();
        for byte in &whole[5..] {
            bytes.extend_from_slice(&[0x16, 0x03, 0x01, 0, 1, *byte]);
        }
        let mut socket = TcpStream::connect(server.tls).expect("the server listens");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a TCP socket");
        let _ = socket.write_all(&bytes);
        let mut first = [0; 1];
        // A server hello or an alert, but an answer or an end.
        if socket.read(&mut first).is_ok_and(|count| count == 1) {
            assert!(matches!(first[0], 0x15 | 0x16), "{first:?}");
        }
    });
}

#[test]
fn a26_nothing_is_taken_before_the_handshake_is_done() {
    under_attack(2, STRANGER, |server| {
        // One config, so that the second connection has a ticket from the first.
        let mut config = Wish::new("montague.lit").config();
        config.enable_early_data = true;
        let config = Arc::new(config);
        for attempt in 0..2 {
            let name = rustls::pki_types::ServerName::try_from("montague.lit").expect("a name");
            let mut connection =
                ClientConnection::new(Arc::clone(&config), name).expect("the config is complete");
            assert!(
                connection.early_data().is_none(),
                "attempt {attempt}: 0-RTT is offered"
            );
            let mut socket = TcpStream::connect(server.tls).expect("the server listens");
            socket
                .set_read_timeout(Some(PATIENCE))
                .expect("a TCP socket");
            while connection.is_handshaking() {
                connection
                    .complete_io(&mut socket)
                    .expect("a TLS handshake");
            }
            let mut stream = rustls::StreamOwned::new(connection, socket);
            let header = crate::harness::client::header("montague.lit");
            stream
                .write_all(header.as_bytes())
                .expect("the server reads");
            // The tickets come with the first answer.
            let mut answer = [0; 1024];
            assert_ne!(stream.read(&mut answer).expect("the server answers"), 0);
        }
    });
}

#[test]
fn a26_the_name_in_the_handshake_gives_no_rights() {
    under_attack(4, STRANGER, |server| {
        for name in ["capulet.lit", "nope.example", "MONTAGUE.LIT"] {
            // Refused, or served with some certificate that the client then judges.
            let Ok(mut client) = Client::connect_tls(server.tls, &Wish::new(name)) else {
                continue;
            };
            client.open("montague.lit");
            assert!(!client.mechanisms().is_empty(), "{}", client.features);
        }
        // No protocol offered, another one, ours among others.
        for alpn in [vec![], vec!["http/1.1"], vec!["h2", "xmpp-client"]] {
            let is_ours = alpn.is_empty() || alpn.contains(&"xmpp-client");
            let wish = Wish {
                alpn: alpn.iter().map(|it| it.as_bytes().to_vec()).collect(),
                ..Wish::new("montague.lit")
            };
            let client = Client::connect_tls(server.tls, &wish);
            if is_ours {
                let mut client = client.expect("a TLS handshake");
                client.open("montague.lit");
            } else {
                assert!(client.is_err(), "{alpn:?} is not spoken here");
            }
        }
    });
}

#[test]
fn a26_tls_ends_with_the_stream() {
    under_attack(2, STRANGER, |server| {
        for version in [Version::Tls12, Version::Tls13] {
            let wish = Wish {
                version,
                ..Wish::new("montague.lit")
            };
            let mut client = Client::connect_tls(server.tls, &wish).expect("a TLS handshake");
            client.open("montague.lit");
            client.send("</stream:stream>");
            assert_eq!(client.read_to_end(), None);
            // Read to its proper end: the server said that no more would come.
            assert!(client.transcript().ends_with("</stream:stream>"));
            assert!(client.is_closed_in_order(), "{version:?}: no close_notify");
        }
    });
}
