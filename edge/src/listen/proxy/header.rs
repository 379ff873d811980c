//! Header: bytes → the address of a client, as HAProxy's `proxy-protocol.txt` has it.
//!
//! ```text
//! 1:  PROXY TCP4 192.0.2.7 198.51.100.1 56324 5222\r\n
//! 2:  \r\n\r\n\0\r\nQUIT\n │ version, command │ family, protocol │ length │ addresses │ TLVs
//!      12 bytes              1                  1                  2
//! ```
//!
//! A page of code instead of a crate: those there are read into a buffer of their own, which would
//! swallow what stands behind the header, and build far more than the one address that is needed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A longer header is refused. There is room for every extension in use.
pub(super) const BYTES_MAX: usize = 1024;

/// What version 1 begins with, and how long its line can be.
const TEXT: &[u8] = b"PROXY ";
const TEXT_MAX: usize = 107;

/// What version 2 begins with, and how long its fixed part is.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;

/// Bytes of two addresses of the file system.
const UNIX_ADDRESSES: usize = 216;

/// What was said about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::listen) struct Header {
    pub(in crate::listen) version: Version,
    /// Where the client is; `None` when the balancer comes on its own behalf, or does not know.
    pub(in crate::listen) client: Option<SocketAddr>,
    /// How many bytes it took to say so.
    pub(super) bytes: usize,
}

/// How it was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::listen) enum Version {
    /// A line of text.
    One,
    /// Binary.
    Two,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::listen) enum Wrong {
    /// They do not even begin like one.
    #[error("does not begin with a PROXY header")]
    Missing,
    /// They do not go on like one.
    #[error("malformed PROXY header: {1}")]
    Malformed(Version, &'static str),
}

// === impl Wrong ===

impl Wrong {
    /// The version it looks like.
    pub(super) fn version(self) -> Option<Version> {
        match self {
            Self::Missing => None,
            Self::Malformed(version, _) => Some(version),
        }
    }
}

/// The header these bytes begin with; `None` when there is more of it to come.
///
/// **Invariant:** of [`BYTES_MAX`] bytes there is never more to come.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Wrong> {
    if begins(bytes, TEXT) {
        text(bytes)
    } else if begins(bytes, BINARY) {
        binary(bytes)
    } else {
        Err(Wrong::Missing)
    }
}

/// Whether the bytes begin with these, as far as there are any.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let common = bytes.len().min(with.len());
    bytes[..common] == with[..common]
}

/// Version 1.
fn text(bytes: &[u8]) -> Result<Option<Header>, Wrong> {
    let wrong = |what| Wrong::Malformed(Version::One, what);
    let within = &bytes[..bytes.len().min(TEXT_MAX)];
    let Some(end) = memchr::memchr(b'\n', within) else {
        let is_over = within.len() == TEXT_MAX;
        return if is_over {
            Err(wrong("the line is too long"))
        } else {
            Ok(None)
        };
    };
    let line = within[..end].strip_suffix(b"\r");
    let line = line.ok_or(wrong("the line does not end in CR LF"))?;
    let line = std::str::from_utf8(line).map_err(|_| wrong("not a text"))?;
    let words: Vec<_> = line.split(' ').collect();
    let client = match words[..] {
        [_, "TCP4", from, to, from_port, to_port] => {
            addresses::<Ipv4Addr>([from, to], [from_port, to_port])
        }
        [_, "TCP6", from, to, from_port, to_port] => {
            addresses::<Ipv6Addr>([from, to], [from_port, to_port])
        }
        // Whatever stands behind it.
        [_, "UNKNOWN", ..] => Some(None),
        _ => {
            return Err(wrong(
                "neither TCP4 nor TCP6 nor UNKNOWN with what belongs to it",
            ));
        }
    };
    Ok(Some(Header {
        version: Version::One,
        client: client.ok_or(wrong("not an address or not a port"))?,
        bytes: end + 1,
    }))
}

/// The first of two addresses with ports, all four of which must be right.
fn addresses<A: std::str::FromStr + Into<IpAddr>>(
    [from, to]: [&str; 2],
    [from_port, to_port]: [&str; 2],
) -> Option<Option<SocketAddr>> {
    let port = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        text.parse::<u16>().ok().filter(|_| is_plain)
    };
    to.parse::<A>().ok()?;
    port(to_port)?;
    Some(Some(client(from.parse::<A>().ok()?, port(from_port)?)))
}

/// Version 2.
fn binary(bytes: &[u8]) -> Result<Option<Header>, Wrong> {
    let wrong = |what| Wrong::Malformed(Version::Two, what);
    let Some(command) = bytes.get(BINARY.len()) else {
        return Ok(None);
    };
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(wrong("unknown version or command")),
    };
    let Some((&[.., kind, high, low], rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED + length > BYTES_MAX {
        return Err(wrong("too long"));
    }
    let Some(block) = rest.get(..length) else {
        return Ok(None);
    };
    // Whatever else is said of a balancer's own connection has no meaning.
    let client = match if is_local { 0 } else { kind } {
        0x00 | 0x10 | 0x20 | 0x30 => Some((None, &[][..])),
        0x11 => block.split_first_chunk::<12>().map(|(addresses, rest)| {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            let port = u16::from_be_bytes([high, low]);
            (Some(client(Ipv4Addr::new(a, b, c, d), port)), rest)
        }),
        0x21 => block.split_first_chunk::<36>().map(|(addresses, rest)| {
            let address: [u8; 16] = std::array::from_fn(|index| addresses[index]);
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            (Some(client(Ipv6Addr::from(address), port)), rest)
        }),
        0x31 => block
            .split_at_checked(UNIX_ADDRESSES)
            .map(|(_, rest)| (None, rest)),
        _ => return Err(wrong("neither a stream nor unspecified")),
    };
    let (client, extensions) = client.ok_or(wrong("too short for its addresses"))?;
    if !are_whole(extensions) {
        return Err(wrong("an extension is longer than the header"));
    }
    Ok(Some(Header {
        version: Version::Two,
        client,
        bytes: FIXED + length,
    }))
}

/// Whether type, length and value follow each other up to the end. What they say is not needed.
fn are_whole(mut extensions: &[u8]) -> bool {
    while let Some((&[_, high, low], rest)) = extensions.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        match rest.get(length..) {
            Some(rest) => extensions = rest,
            None => return false,
        }
    }
    extensions.is_empty()
}

/// An address in the form in which a peer's own is known.
fn client(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into().to_canonical(), port)
}
