//! The client's half of SASL, written from RFC 5802 and RFC 7677 alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What the exchange is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Binding {
    /// `n`: the client does not know channel binding.
    None,
    /// `y`: the client thinks the server does not offer it.
    NotOffered,
    /// `p=<name>`: bound to these bytes.
    Bound(&'static str, Vec<u8>),
}

/// A SCRAM exchange, seen from the client.
#[derive(Debug)]
pub(crate) struct Scram {
    is_sha_256: bool,
    gs2_header: String,
    binding: Vec<u8>,
    first_bare: String,
    nonce: String,
    password: String,
    server_signature: Vec<u8>,
}

// === impl Scram ===

impl Scram {
    /// Begins; `mechanism` is a SCRAM name, `nonce` the client's.
    pub(crate) fn new(
        mechanism: &str,
        user: &str,
        password: &str,
        binding: &Binding,
        nonce: &str,
    ) -> Self {
        let (gs2_header, data) = match binding {
            Binding::None => ("n,,".to_owned(), Vec::new()),
            Binding::NotOffered => ("y,,".to_owned(), Vec::new()),
            Binding::Bound(name, data) => (format!("p={name},,"), data.clone()),
        };
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self {
            is_sha_256: mechanism.starts_with("SCRAM-SHA-256"),
            gs2_header,
            binding: data,
            first_bare: format!("n={user},r={nonce}"),
            nonce: nonce.to_owned(),
            password: password.to_owned(),
            server_signature: Vec::new(),
        }
    }

    /// The client's first message.
    pub(crate) fn first(&self) -> String {
        format!("{}{}", self.gs2_header, self.first_bare)
    }

    /// The client's final message in answer to the server's first.
    pub(crate) fn last(&mut self, server_first: &str) -> String {
        let (mut nonce, mut salt, mut iterations) = ("", Vec::new(), 0);
        for part in server_first.split(',') {
            match part.split_once('=').expect("attribute=value") {
                ("r", value) => nonce = value,
                ("s", value) => salt = STANDARD.decode(value).expect("base64"),
                ("i", value) => iterations = value.parse().expect("a number"),
                _ => {}
            }
        }
        assert!(
            nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len(),
            "the server adds to the nonce: {server_first}"
        );
        assert!(iterations >= 4096, "RFC 7677 §4: {server_first}");
        let mut bound = self.gs2_header.clone().into_bytes();
        bound.extend_from_slice(&self.binding);
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(bound));
        let signed = format!("{},{server_first},{without_proof}", self.first_bare);
        let salted = self.salted(&salt, iterations);
        let client_key = self.hmac(&salted, b"Client Key");
        let signature = self.hmac(&self.hash(&client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(&signature)
            .map(|(a, b)| a ^ b)
            .collect();
        let server_key = self.hmac(&salted, b"Server Key");
        self.server_signature = self.hmac(&server_key, signed.as_bytes());
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }

    /// Whether the server's last message proves that it knows the keys.
    pub(crate) fn is_server_proved(&self, server_last: &str) -> bool {
        server_last == format!("v={}", STANDARD.encode(&self.server_signature))
    }

    fn salted(&self, salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut out = vec![0; if self.is_sha_256 { 32 } else { 20 }];
        let password = self.password.as_bytes();
        if self.is_sha_256 {
            pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut out);
        } else {
            pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, iterations, &mut out);
        }
        out
    }

    fn hmac(&self, key: &[u8], data: &[u8]) -> Vec<u8> {
        if self.is_sha_256 {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        } else {
            let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("any length");
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        }
    }

    fn hash(&self, data: &[u8]) -> Vec<u8> {
        if self.is_sha_256 {
            Sha256::digest(data).to_vec()
        } else {
            Sha1::digest(data).to_vec()
        }
    }
}

/// Base64 as SASL uses it in XMPP: nothing is written `=` (RFC 6120 §6.4.2).
pub(crate) fn encode(data: &[u8]) -> String {
    if data.is_empty() {
        return "=".to_owned();
    }
    STANDARD.encode(data)
}

/// The text inside base64 that must hold text.
pub(crate) fn decode(text: &str) -> String {
    if text == "=" {
        return String::new();
    }
    let bytes = STANDARD
        .decode(text)
        .unwrap_or_else(|error| panic!("{error}: {text}"));
    String::from_utf8(bytes).expect("SCRAM messages are text")
}

#[test]
fn the_example_of_rfc_7677() {
    let nonce = "rOprNGfwEbeRWgbNEkqO";
    let mut scram = Scram::new("SCRAM-SHA-256", "user", "pencil", &Binding::None, nonce);
    assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let last = scram.last(
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    );
    assert_eq!(
        last,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    assert!(scram.is_server_proved("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
}
