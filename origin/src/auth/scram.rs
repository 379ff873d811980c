//! SCRAM (RFC 5802, RFC 7677), with and without channel binding.
//!
//! ```text
//! client-first ──▶ start ──▶ server-first … client-final ──▶ finish ──▶ server-final
//! ```
//!
//! In XMPP server-final travels with the success, so an exchange takes two messages of each side.
//!
//! Stricter than the grammar in one point: an attribute the RFC gives a meaning to is refused
//! where it has none, rather than ignored as an extension.

use std::fmt::Write as _;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use couplet_proto::link::frame::{Authenticate, Channel};
use subtle::{Choice, ConstantTimeEq};

use super::account::Keys;
use super::hash::{self, Hash};
use super::{Refusal, check_authzid, names_account};

/// Clients send 16 to 64; a nonce is repeated in three messages.
const CLIENT_NONCE_BYTES_MAX: usize = 256;

/// An exchange in which server-first was sent.
pub(super) struct Scram<H> {
    keys: Keys,
    /// Whether there is an account at all; if not, `keys` are fake and no proof is good.
    is_known: bool,
    /// What the client must show in `c=`: its GS2 header, then the channel-binding data.
    binding: Vec<u8>,
    /// The client's and our part.
    nonce: String,
    /// client-first-message-bare `,` server-first-message `,`: the start of what is signed.
    transcript: String,
    hash: PhantomData<H>,
}

/// client-first-message, taken apart.
struct ClientFirst<'a> {
    /// The whole GS2 header with its last comma.
    header: &'a str,
    flag: Flag<'a>,
    authzid: Option<String>,
    /// client-first-message-bare.
    bare: &'a str,
    name: String,
    nonce: &'a str,
}

/// gs2-cbind-flag.
enum Flag<'a> {
    /// `n`: the client cannot bind channels.
    Unsupported,
    /// `y`: it can, and believes the server cannot.
    NotOffered,
    /// `p=`: it does, with this type.
    Bound(&'a str),
}

/// client-final-message, taken apart.
struct ClientFinal<'a> {
    binding: Vec<u8>,
    nonce: &'a str,
    proof: Vec<u8>,
    /// All before the proof: what is signed.
    without_proof: &'a str,
}

// === impl Scram ===

impl<H: Hash> Scram<H> {
    /// Reads client-first and makes server-first. `nonce` is our part: printable, no comma.
    pub(super) fn start(
        request: &Authenticate,
        (keys, is_known): (Keys, bool),
        wants_binding: bool,
        nonce: &str,
    ) -> Result<(Self, Bytes), Refusal> {
        let first = ClientFirst::parse(&request.initial)?;
        let data = binding_data(&first.flag, &request.channel, wants_binding)?;
        check_authzid(&request.account, first.authzid.as_deref())?;
        let is_known = names_account(&request.account, &first.name) & is_known;
        let nonce = format!("{}{nonce}", first.nonce);
        let salt = BASE64.encode(&keys.salt);
        let challenge = format!("r={nonce},s={salt},i={}", keys.iterations);
        let mut transcript = String::with_capacity(first.bare.len() + challenge.len() + 2);
        let _ = write!(transcript, "{},{challenge},", first.bare);
        let scram = Self {
            keys,
            is_known,
            binding: [first.header.as_bytes(), data].concat(),
            nonce,
            transcript,
            hash: PhantomData,
        };
        Ok((scram, challenge.into()))
    }

    /// Reads client-final and makes server-final.
    pub(super) fn finish(&self, message: &[u8]) -> Result<Bytes, Refusal> {
        let last = ClientFinal::parse::<H>(message)?;
        if !bool::from(last.nonce.as_bytes().ct_eq(self.nonce.as_bytes())) {
            return Err(Refusal::not_authorized("wrong nonce"));
        }
        if !bool::from(last.binding.ct_eq(&self.binding)) {
            return Err(Refusal::not_authorized("wrong channel binding"));
        }
        let signed = [self.transcript.as_bytes(), last.without_proof.as_bytes()];
        let signature = hash::hmac::<H>(&self.keys.stored_key, &signed);
        let client_key: Vec<u8> = last
            .proof
            .iter()
            .zip(&signature)
            .map(|(proof, signature)| proof ^ signature)
            .collect();
        let is_proven = hash::digest::<H>(&client_key).ct_eq(&self.keys.stored_key);
        let answer = hash::hmac::<H>(&self.keys.server_key, &signed);
        if !bool::from(is_proven & Choice::from(u8::from(self.is_known))) {
            return Err(Refusal::NOT_AUTHORIZED);
        }
        Ok(format!("v={}", BASE64.encode(answer)).into())
    }
}

impl<H> std::fmt::Debug for Scram<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scram")
    }
}

// === impl ClientFirst ===

impl<'a> ClientFirst<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, Refusal> {
        let message = text(message)?;
        let mut fields = message.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (fields.next(), fields.next(), fields.next())
        else {
            return Err(Refusal::malformed("no GS2 header"));
        };
        let header = &message[..message.len() - bare.len()];
        let flag = match flag {
            "n" => Flag::Unsupported,
            "y" => Flag::NotOffered,
            _ => match flag.strip_prefix("p=") {
                Some(name) if is_binding_name(name) => Flag::Bound(name),
                _ => return Err(Refusal::malformed("bad channel-binding flag")),
            },
        };
        let authzid = match (authzid, authzid.strip_prefix("a=")) {
            ("", _) => None,
            (_, Some(name)) => Some(unescape(name)?),
            _ => return Err(Refusal::malformed("bad authorization identity")),
        };
        let mut attributes = bare.split(',');
        let first = attributes.next().unwrap_or_default();
        if first.starts_with("m=") {
            return Err(Refusal::malformed("unknown mandatory extension"));
        }
        let Some(name) = first.strip_prefix("n=") else {
            return Err(Refusal::malformed("no user name"));
        };
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
        let Some(nonce) = nonce.filter(|nonce| is_nonce(nonce)) else {
            return Err(Refusal::malformed("bad nonce"));
        };
        check_extensions(attributes)?;
        Ok(Self {
            header,
            flag,
            authzid,
            bare,
            name: unescape(name)?,
            nonce,
        })
    }
}

// === impl ClientFinal ===

impl<'a> ClientFinal<'a> {
    fn parse<H: Hash>(message: &'a [u8]) -> Result<Self, Refusal> {
        let message = text(message)?;
        let Some((without_proof, proof)) = message.rsplit_once(",p=") else {
            return Err(Refusal::malformed("no proof"));
        };
        let proof = decode(proof)?;
        if proof.len() != H::BYTES {
            return Err(Refusal::malformed("proof of the wrong length"));
        }
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|part| part.strip_prefix("c="));
        let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
        let (Some(binding), Some(nonce)) = (binding, nonce) else {
            return Err(Refusal::malformed("no channel binding or nonce"));
        };
        check_extensions(attributes)?;
        Ok(Self {
            binding: decode(binding)?,
            nonce,
            proof,
            without_proof,
        })
    }
}

/// What the flag, the mechanism and the connection make of channel binding (RFC 5802 §6): the
/// data the client must show, or nothing.
fn binding_data<'c>(
    flag: &Flag<'_>,
    channel: &'c Channel,
    wants_binding: bool,
) -> Result<&'c [u8], Refusal> {
    match (flag, wants_binding) {
        (Flag::Unsupported, false) => Ok(&[]),
        (Flag::NotOffered, false) => {
            // The client did not see what we offered: someone in between took it out.
            if channel.offered.iter().any(|name| name.ends_with("-PLUS")) {
                return Err(Refusal::not_authorized("channel binding was offered"));
            }
            Ok(&[])
        }
        (Flag::Bound(name), true) => channel
            .bindings
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, data)| &**data)
            .ok_or(Refusal::not_authorized("unsupported channel-binding type")),
        _ => Err(Refusal::malformed(
            "channel-binding flag and mechanism disagree",
        )),
    }
}

fn text(message: &[u8]) -> Result<&str, Refusal> {
    match std::str::from_utf8(message) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(Refusal::malformed("not UTF-8 text")),
    }
}

fn decode(value: &str) -> Result<Vec<u8>, Refusal> {
    BASE64
        .decode(value)
        .map_err(|_| Refusal::malformed("bad base64"))
}

/// saslname: `=2C` is a comma, `=3D` an equals sign, and nothing else may follow one.
fn unescape(name: &str) -> Result<String, Refusal> {
    let mut plain = String::with_capacity(name.len());
    let mut parts = name.split('=');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (char, rest) = match part.split_at_checked(2) {
            Some(("2C", rest)) => (',', rest),
            Some(("3D", rest)) => ('=', rest),
            _ => return Err(Refusal::malformed("bad escape in a name")),
        };
        plain.push(char);
        plain.push_str(rest);
    }
    if plain.is_empty() {
        return Err(Refusal::malformed("an empty name"));
    }
    Ok(plain)
}

/// Optional extensions may be ignored (RFC 5802 §5.1), if that is what they are.
fn check_extensions<'a>(attributes: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    for attribute in attributes {
        match attribute.as_bytes() {
            [b'm', b'=', ..] => return Err(Refusal::malformed("unknown mandatory extension")),
            [
                b'a' | b'c' | b'e' | b'i' | b'n' | b'p' | b'r' | b's' | b'v',
                b'=',
                ..,
            ] => {
                return Err(Refusal::malformed("misplaced attribute"));
            }
            [name, b'=', _, ..] if name.is_ascii_alphabetic() => {}
            _ => return Err(Refusal::malformed("bad attribute")),
        }
    }
    Ok(())
}

/// cb-name.
fn is_binding_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    !name.is_empty() && name.bytes().all(is_allowed)
}

/// printable: visible ASCII without the comma, which has been split off.
fn is_nonce(nonce: &str) -> bool {
    (1..=CLIENT_NONCE_BYTES_MAX).contains(&nonce.len())
        && nonce.bytes().all(|byte| byte.is_ascii_graphic())
}
