//! SCRAM-SHA-256 as a client speaks it (RFC 5802, RFC 7677), without channel binding.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// What the mechanism is called.
pub(super) const NAME: &str = "SCRAM-SHA-256";

/// Fewer rounds are refused: somebody wants to find the password out (RFC 7677 §4).
const ITERATIONS_MIN: u32 = 4096;

/// More are refused: somebody wants to keep us busy.
const ITERATIONS_MAX: u32 = 10_000_000;

/// An exchange that has begun.
#[derive(Debug)]
pub(super) struct Exchange {
    first_bare: String,
    nonce: String,
}

/// An exchange in which the client has proved that it knows the password.
#[derive(Debug)]
pub(super) struct Proved {
    /// What is sent to the server.
    pub(super) message: String,
    /// What a server that knows the password answers.
    signature: [u8; 32],
}

/// Why an exchange cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    /// A message is not what RFC 5802 §7 describes, or its values are not acceptable.
    #[error("the server's SCRAM message makes no sense: {0}")]
    Message(&'static str),
    /// Whoever answers does not know the password either.
    #[error("the server does not prove that it knows the password")]
    Signature,
}

// === impl Exchange ===

impl Exchange {
    /// Begins, for a user whose name is prepared already.
    pub(super) fn new(user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self {
            first_bare: format!("n={user},r={nonce}"),
            nonce,
        }
    }

    /// The first message of the client.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// Answers the first message of the server; the password is prepared already.
    pub(super) fn prove(self, challenge: &str, password: &str) -> Result<Proved, Wrong> {
        let field = |name: &str| challenge.split(',').find_map(|it| it.strip_prefix(name));
        let nonce = field("r=").ok_or(Wrong::Message("it has no nonce"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(Wrong::Message("its nonce does not go on from ours"));
        }
        let salt = field("s=").and_then(|salt| BASE64_STANDARD.decode(salt).ok());
        let salt = salt.ok_or(Wrong::Message("it has no salt"))?;
        let count = field("i=").and_then(|count| count.parse().ok());
        let count = count
            .filter(|count| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(count))
            .ok_or(Wrong::Message("it asks for too few or too many rounds"))?;
        let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), &salt, count);
        let client_key = keyed(&salted, b"Client Key");
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{challenge},{without_proof}", self.first_bare);
        let client_signature = keyed(&Sha256::digest(client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(client_signature)
            .map(|(key, signature)| key ^ signature)
            .collect();
        Ok(Proved {
            message: format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)),
            signature: keyed(&keyed(&salted, b"Server Key"), signed.as_bytes()),
        })
    }
}

// === impl Proved ===

impl Proved {
    /// Whether the last message of the server proves that it knows the password.
    pub(super) fn check(&self, last: &str) -> Result<(), Wrong> {
        let signature = last.strip_prefix("v=");
        let signature = signature.and_then(|text| BASE64_STANDARD.decode(text).ok());
        match signature {
            Some(signature) if signature == self.signature => Ok(()),
            _ => Err(Wrong::Signature),
        }
    }
}

fn keyed(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677 §3.
    #[test]
    fn the_example_of_the_specification() {
        let exchange = Exchange::new("user", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(exchange.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proved = exchange.prove(challenge, "pencil").expect("sense");
        assert_eq!(
            proved.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let last = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(proved.check(last), Ok(()));
        assert_eq!(proved.check("e=other-error"), Err(Wrong::Signature));
        let forged = "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(proved.check(forged), Err(Wrong::Signature));
    }

    #[test]
    fn what_a_server_may_not_ask_is_refused() {
        let refused = |challenge: &str| {
            let exchange = Exchange::new("user", "abc".to_owned());
            exchange.prove(challenge, "pencil").is_err()
        };
        assert!(!refused("r=abcd,s=YWJj,i=4096"));
        for challenge in [
            "",
            "s=YWJj,i=4096",
            "r=abc,s=YWJj,i=4096",
            "r=xyzd,s=YWJj,i=4096",
            "r=abcd,s=*,i=4096",
            "r=abcd,s=YWJj,i=1",
            "r=abcd,s=YWJj,i=4000000000",
            "r=abcd,s=YWJj",
        ] {
            assert!(refused(challenge), "{challenge}");
        }
    }
}
