//! Hostile PROXY headers, and headers from those who may not send any.

use std::net::{IpAddr, Ipv4Addr};

use crate::harness::attack::{STRANGER, unharmed};
use crate::harness::client::Client;
use crate::harness::server::{PASSWORD, Server};

/// Whom the server takes for a balancer.
const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// What a header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

const FIRST: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 5222\r\n";

fn server() -> Server {
    Server::start(&[r#"c2s.proxy_protocol_from=["127.0.0.2"]"#])
}

/// How often this came of a header.
fn counted(server: &Server, version: &str, outcome: &str) -> u64 {
    let (_, metrics) = server.http("/metrics").expect("the server answers");
    let labels = [
        format!("version=\"{version}\""),
        format!("outcome=\"{outcome}\""),
    ];
    let mut lines = metrics.lines().filter(|line| {
        line.starts_with("couplet_edge_proxy_headers_total{")
            && labels.iter().all(|label| line.contains(label))
    });
    let line = lines.next().expect("every outcome is there from the start");
    let value = line.rsplit(' ').next().and_then(|value| value.parse().ok());
    value.expect("a number")
}

#[test]
fn a24_hostile_headers_of_balancers_end_the_connection() {
    let server = server();
    let binary = |rest: &[u8]| [SIGNATURE, rest].concat();
    let attacks = [
        ("2", binary(b"\x21\x11\xff\xff")),
        ("2", binary(b"\x21\x11\0\x04\x7f\0\0\x01")),
        (
            "2",
            binary(b"\x21\x11\0\x10\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x02\x04\xff\xff\0"),
        ),
        ("2", binary(b"\x31\x11\0\0")),
        (
            "1",
            b"PROXY TCP4 999.0.2.7 127.0.0.1 4000 5222\r\n".to_vec(),
        ),
        ("1", [b"PROXY ", &[b'x'; 200][..]].concat()),
        ("none", b"<?xml version='1.0'?><stream:stream>".to_vec()),
        ("none", b"\x16\x03\x01\x02\x00\x01".to_vec()),
    ];
    unharmed(&server, 16, STRANGER, || {
        for (_, bytes) in &attacks {
            for address in [server.c2s, server.tls] {
                let mut client = Client::connect_from(BALANCER, address);
                let _ = client.send_bytes(bytes);
                assert!(client.read_to_end().is_none());
                assert_eq!(client.transcript(), "", "{}", bytes.escape_ascii());
            }
        }
    });
    assert_eq!(counted(&server, "2", "malformed"), 8);
    assert_eq!(counted(&server, "1", "malformed"), 4);
    assert_eq!(counted(&server, "none", "missing"), 4);
    assert_eq!(counted(&server, "1", "accepted"), 0);
}

#[test]
fn a24_nobody_else_speaks_for_a_client() {
    let server = server();
    let local = [SIGNATURE, b"\x20\0\0\0"].concat();
    unharmed(&server, 2, STRANGER, || {
        // What begins with a zero looks like another encoding.
        for (header, condition) in [(FIRST, "not-well-formed"), (&local, "unsupported-encoding")] {
            let mut client = Client::connect(server.c2s);
            let _ = client.send_bytes(header);
            let error = client.read_to_end().expect("a stream error");
            assert_eq!(error.condition(), Some(condition));
        }
    });
    assert_eq!(counted(&server, "1", "malformed"), 0);
    assert_eq!(counted(&server, "1", "accepted"), 0);
}

#[test]
fn clients_that_a_balancer_brings_log_in() {
    let server = server();
    let jid = server.new_account("juliet");
    let mut client = Client::connect_from(BALANCER, server.c2s);
    client.send_bytes(FIRST).expect("sent");
    client.enter(&jid, PASSWORD);
    client.is_alive();
    assert_eq!(counted(&server, "1", "accepted"), 1);
    client.close();
}
