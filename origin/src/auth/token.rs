//! Tokens: proof that an origin of this cluster has authenticated an account.
//!
//! ```text
//! 32 bits: when it ends, seconds since 1970 │ 96 bits: HMAC-SHA-256 over that, account and keys
//! ```
//!
//! No origin remembers one, so each can check what another has made: the slot may have moved
//! between authentication and bind. A new password, or a new account of the same name, ends them.

use std::fmt;

use couplet_proto::Jid;
use couplet_proto::link::frame::AuthToken;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Credentials;
use super::hash::hmac;

/// How long a token counts, in seconds: longer than an edge gives a client for its bind.
const TOKEN_SECS: u64 = 120;

/// Bits of the authentication code that are in a token.
const CODE_BITS: u32 = 96;

/// Makes and checks tokens. Prints without its key.
#[derive(Clone)]
pub struct Tokens {
    key: [u8; 32],
}

// === impl Tokens ===

impl Tokens {
    /// `secret` is known to the origins of the cluster and to nobody else.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { key: secret }
    }

    /// A token for an account that has just authenticated; `now_unix` in milliseconds.
    pub fn issue(&self, account: &Jid, credentials: &Credentials, now_unix: u64) -> AuthToken {
        let until = u32::try_from(now_unix / 1000 + TOKEN_SECS).unwrap_or(u32::MAX);
        self.token(account, credentials, until)
    }

    /// Whether a token is one for this account and still counts.
    pub fn check(
        &self,
        token: AuthToken,
        account: &Jid,
        credentials: &Credentials,
        now_unix: u64,
    ) -> bool {
        let until = u32::try_from(token.0 >> CODE_BITS).unwrap_or_default();
        let expected = self.token(account, credentials, until);
        let is_ours = expected.0.to_be_bytes().ct_eq(&token.0.to_be_bytes());
        bool::from(is_ours) && now_unix / 1000 <= u64::from(until)
    }

    fn token(&self, account: &Jid, credentials: &Credentials, until: u32) -> AuthToken {
        // No address holds a zero byte.
        let parts: [&[u8]; 5] = [
            b"couplet token",
            &until.to_be_bytes(),
            account.bare().as_bytes(),
            &[0],
            &credentials.encode(),
        ];
        let code = hmac::<Sha256>(&self.key, &parts);
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&until.to_be_bytes());
        bytes[4..].copy_from_slice(&code[..12]);
        AuthToken(u128::from_be_bytes(bytes))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_account_its_keys_and_a_time() {
        let keys = |salt| Credentials::derive("secret", 4096, [salt; 16], [salt; 16]);
        let (keys, other) = (keys(1).expect("fit"), keys(2).expect("fit"));
        let jid = |text| Jid::parse(text).expect("valid");
        let (romeo, now) = (jid("romeo@x"), 1_000_000_000_000);
        let tokens = Tokens::new([7; 32]);
        let token = tokens.issue(&romeo, &keys, now);
        assert!(tokens.check(token, &romeo, &keys, now + 60_000));
        assert!(Tokens::new([7; 32]).check(token, &romeo, &keys, now));
        assert!(!tokens.check(token, &romeo, &keys, now + 121_000));
        assert!(!tokens.check(token, &jid("juliet@x"), &keys, now));
        assert!(!tokens.check(token, &romeo, &other, now));
        assert!(!Tokens::new([8; 32]).check(token, &romeo, &keys, now));
        let later = AuthToken(token.0 + (1 << CODE_BITS));
        assert!(!tokens.check(later, &romeo, &keys, now));
        assert!(!tokens.check(AuthToken(0), &romeo, &keys, 0));
    }
}
