//! Fields that many frames have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use super::{Undecodable, v1};
use crate::link::frame::AuthToken;
use crate::link::id::{LogId, SessionId, Source};
use crate::slot::Slot;
use crate::xmpp::byte_str::ByteStr;
use crate::xmpp::jid::Jid;

/// What must be there.
pub(super) fn required<T>(value: Option<T>, name: &'static str) -> Result<T, Undecodable> {
    value.ok_or(Undecodable::Invalid(name))
}

pub(super) fn slot(number: u32) -> Result<Slot, Undecodable> {
    let slot = u16::try_from(number).ok().and_then(Slot::new);
    required(slot, "slot")
}

pub(super) fn jid_bytes(jid: &Jid) -> Bytes {
    Bytes::copy_from_slice(jid.as_str().as_bytes())
}

pub(super) fn jid(bytes: &Bytes) -> Result<Jid, Undecodable> {
    let text = std::str::from_utf8(bytes).ok();
    required(text.and_then(Jid::from_prepared), "address")
}

pub(super) fn text(bytes: Bytes) -> Result<ByteStr, Undecodable> {
    required(ByteStr::from_utf8(bytes), "text")
}

/// Bytes that may be kept for long, copied out of the buffer they came in.
pub(super) fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(super) fn ip_bytes(address: IpAddr) -> Bytes {
    match address {
        IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
        IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
    }
}

/// A client's address; one of no kind we know is none.
pub(super) fn ip(bytes: Option<&Bytes>) -> Option<IpAddr> {
    let bytes = bytes?.as_ref();
    let four = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into());
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into()))
        .ok()
}

pub(super) fn token_halves(token: AuthToken) -> v1::Token {
    let (high, low) = halves(token.0);
    v1::Token { high, low }
}

/// 128 bits as two numbers.
pub(super) fn halves(bits: u128) -> (u64, u64) {
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).expect("64 bits");
    (half(bits >> 64), half(bits))
}

/// Two numbers as 128 bits.
pub(super) fn whole(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

pub(super) fn token(halves: Option<v1::Token>) -> Result<AuthToken, Undecodable> {
    let v1::Token { high, low } = required(halves, "token")?;
    Ok(AuthToken(whole(high, low)))
}

pub(super) fn source_message(source: Source) -> v1::Source {
    v1::Source {
        session: source.session.0,
        number: source.number,
        part: source.part,
    }
}

pub(super) fn source(message: v1::Source) -> Source {
    Source {
        session: SessionId(message.session),
        number: message.number,
        part: message.part,
    }
}

pub(super) fn log_message(log: LogId) -> v1::LogId {
    v1::LogId {
        millis: log.millis,
        count: log.count,
    }
}

pub(super) fn log(message: v1::LogId) -> LogId {
    LogId {
        millis: message.millis,
        count: message.count,
    }
}
