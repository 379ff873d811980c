//! Tests of the header: tables of bytes and what they tell; cut at every byte; anything at all.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::header::{BYTES_MAX, Header, Version, Wrong, parse};
use super::{Proxies, Refusal, WAITING_MAX, read};

/// Nothing here takes this long, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 around this block.
fn binary(command: u8, kind: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[command, kind], &length, block].concat()
}

/// The block of two IPv4 addresses, the first 192.0.2.7:56324, with these extensions.
fn v4(extensions: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0x14, 0x66];
    [&addresses, extensions].concat()
}

/// The block of two IPv6 addresses, the first [2001:db8::7]:56324.
fn v6() -> Vec<u8> {
    let mut block = vec![0; 36];
    block[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    block[15] = 7;
    block[32..34].copy_from_slice(&[0xdc, 0x04]);
    block
}

/// Every kind of header there is, and whom it tells of.
fn sound() -> Vec<(Vec<u8>, Version, Option<&'static str>)> {
    let (one, two) = (Version::One, Version::Two);
    let text = |line: &str| format!("{line}\r\n").into_bytes();
    let (four, six) = (Some("192.0.2.7:56324"), Some("[2001:db8::7]:56324"));
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535";
    vec![
        (
            text("PROXY TCP4 192.0.2.7 198.51.100.1 56324 5222"),
            one,
            four,
        ),
        (
            text("PROXY TCP6 2001:db8::7 2001:db8::1 56324 5222"),
            one,
            six,
        ),
        (text("PROXY TCP6 ::ffff:192.0.2.7 ::1 56324 0"), one, four),
        (
            text(longest),
            one,
            Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        (text("PROXY UNKNOWN"), one, None),
        (text("PROXY UNKNOWN ffff:: whatever it is"), one, None),
        (binary(0x21, 0x11, &v4(&[])), two, four),
        (
            binary(0x21, 0x11, &v4(&[3, 0, 4, 1, 2, 3, 4, 4, 0, 0])),
            two,
            four,
        ),
        (binary(0x21, 0x21, &v6()), two, six),
        // Between files of one machine, of an unknown kind, and on the balancer's own behalf.
        (binary(0x21, 0x31, &[b'/'; 216]), two, None),
        (binary(0x21, 0x00, b"whatever"), two, None),
        (binary(0x20, 0x00, &[]), two, None),
        (binary(0x20, 0x11, &v4(&[])), two, None),
        (binary(0x20, 0xff, b"whatever"), two, None),
    ]
}

#[test]
fn headers_tell_of_clients() {
    for (bytes, version, client) in sound() {
        let client = client.map(|text| text.parse::<SocketAddr>().expect("an address"));
        let expected = Header {
            version,
            client,
            bytes: bytes.len(),
        };
        let shown = bytes.escape_ascii().to_string();
        assert_eq!(parse(&bytes), Ok(Some(expected)), "{shown}");
        let followed = [&bytes[..], b"\x16\x03\x01 and the client's bytes\r\n"].concat();
        assert_eq!(parse(&followed), Ok(Some(expected)), "{shown}");
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "{shown} cut at {cut}");
        }
    }
}

#[test]
fn what_is_no_header_is_refused_as_soon_as_it_can_be_seen() {
    for bytes in [
        &b"<"[..],
        b"\x16\x03\x01",
        b"PROXY\r\n",
        b"proxy TCP4",
        b"\r\n\r\n\r\n",
    ] {
        assert_eq!(
            parse(bytes),
            Err(Wrong::Missing),
            "{}",
            bytes.escape_ascii()
        );
    }
    assert_eq!(
        parse(&[SIGNATURE, b"\x11"].concat()).map_err(Wrong::version),
        Err(Some(Version::Two))
    );
}

#[test]
fn malformed_text_is_refused() {
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 5222\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 65536\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 056324 5222\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +5632 5222\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1  5222\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 56324 5222\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100 56324 5222\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 56324 5222\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 56324 5222\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 5222 \r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 56324 5222\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 56324 5222\r\n",
        "PROXY \r\n",
        "PROXY UNKNOWN\n",
    ] {
        let wrong = parse(line.as_bytes()).expect_err(line);
        assert_eq!(wrong.version(), Some(Version::One), "{line:?}");
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(100));
    assert_eq!(parse(&endless.as_bytes()[..106]), Ok(None));
    let wrong = parse(&endless.as_bytes()[..107]).expect_err("too long");
    assert_eq!(wrong.version(), Some(Version::One));
}

#[test]
fn malformed_binary_is_refused() {
    let too_long = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    for bytes in [
        too_long,
        binary(0x11, 0x11, &v4(&[])),
        binary(0x22, 0x11, &v4(&[])),
        binary(0x21, 0x12, &v4(&[])),
        binary(0x21, 0x22, &v6()),
        binary(0x21, 0x41, &v6()),
        binary(0x21, 0x11, &v4(&[])[..11]),
        binary(0x21, 0x21, &v6()[..35]),
        binary(0x21, 0x31, &[b'/'; 215]),
        // Extensions that end in their head, and behind the header.
        binary(0x21, 0x11, &v4(&[4, 0])),
        binary(0x21, 0x11, &v4(&[4, 0, 1])),
        binary(0x21, 0x11, &v4(&[4, 0xff, 0xff, 0])),
    ] {
        let wrong = parse(&bytes).expect_err("malformed");
        assert_eq!(
            wrong.version(),
            Some(Version::Two),
            "{}",
            bytes.escape_ascii()
        );
    }
}

proptest! {
    #[test]
    fn anything_at_all_is_a_header_or_refused(
        start in prop::sample::select(vec![
            &b""[..],
            b"PROXY ",
            b"PROXY TCP4 ",
            SIGNATURE,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..BYTES_MAX),
    ) {
        let mut bytes = [start, &rest[..]].concat();
        let whole = parse(&bytes);
        if let Ok(Some(header)) = whole {
            prop_assert!(header.bytes <= bytes.len());
            prop_assert_eq!(parse(&bytes[..header.bytes]), whole);
            prop_assert_eq!(parse(&bytes[..header.bytes - 1]), Ok(None));
        }
        bytes.resize(BYTES_MAX, 0);
        prop_assert_ne!(parse(&bytes), Ok(None));
    }
}

/// Both ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let at = listener.local_addr().expect("an address");
    let ours = TcpStream::connect(at).await.expect("connected");
    let (theirs, _) = listener.accept().await.expect("accepted");
    ours.set_nodelay(true).expect("set");
    (ours, theirs)
}

#[tokio::test]
async fn not_a_byte_behind_the_header_is_read() {
    for (bytes, _, client) in sound() {
        let (mut balancer, mut socket) = pair().await;
        let all = [&bytes[..], b"\r\n<stream>"].concat();
        balancer.write_all(&all).await.expect("sent");
        let header = read(&mut socket).await.expect("a header");
        assert_eq!(
            header.client.map(|client| client.to_string()).as_deref(),
            client
        );
        let mut rest = [0; 10];
        let reading = tokio::time::timeout(PATIENCE, socket.read_exact(&mut rest));
        reading.await.expect("in time").expect("the rest");
        assert_eq!(&rest, b"\r\n<stream>");
    }
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte() {
    for (bytes, _, client) in sound().into_iter().take(10) {
        let (mut balancer, mut socket) = pair().await;
        let reading = tokio::spawn(async move { (read(&mut socket).await, socket) });
        for byte in &bytes {
            balancer.write_all(&[*byte]).await.expect("sent");
            tokio::task::yield_now().await;
        }
        let (header, _socket) = reading.await.expect("no panic");
        let told = header.expect("a header").client;
        assert_eq!(told.map(|client| client.to_string()).as_deref(), client);
    }
}

#[tokio::test]
async fn an_end_before_the_header_is_told_from_garbage() {
    let (mut balancer, mut socket) = pair().await;
    balancer.write_all(b"PROXY TCP4 ").await.expect("sent");
    drop(balancer);
    let refusal = read(&mut socket).await.expect_err("no header");
    assert!(matches!(refusal, Refusal::Closed(_)), "{refusal}");
    let (mut balancer, mut socket) = pair().await;
    balancer.write_all(b"<stream:stream>").await.expect("sent");
    let refusal = read(&mut socket).await.expect_err("no header");
    assert!(
        matches!(refusal, Refusal::Header(Wrong::Missing)),
        "{refusal}"
    );
}

#[test]
fn only_so_many_wait_for_their_header() {
    let networks = ["192.0.2.0/24", "2001:db8::/32"].map(|text| text.parse().expect("a network"));
    let proxies = Proxies::new(networks.to_vec());
    let trusts = |text: &str| proxies.includes(text.parse().expect("an address"));
    assert!(trusts("192.0.2.255") && trusts("2001:db8:ffff::1"));
    assert!(!trusts("192.0.3.0") && !trusts("2001:db9::") && !trusts("::ffff:192.0.2.1"));
    let waiting: Vec<_> = (0..WAITING_MAX)
        .map(|_| proxies.wait().expect("a place"))
        .collect();
    assert!(proxies.wait().is_err());
    drop(waiting);
    assert!(proxies.wait().is_ok());
}
