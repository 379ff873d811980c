//! PLAIN (RFC 4616): the password itself, so only where nobody can listen.

use std::fmt;

use couplet_proto::link::frame::Authenticate;
use couplet_proto::xmpp::error::SaslCondition;
use sha2::Sha256;

use super::account::{Keys, prepare};
use super::{Refusal, Step, check_authzid, names_account};

/// A password that waits to be compared: milliseconds of CPU, so not on a shard's task. Prints as
/// nothing.
pub struct PlainCheck {
    /// As SASLprep left it.
    password: Box<str>,
    keys: Keys,
    /// Whether there is an account at all; if not, `keys` are fake and nothing fits.
    is_known: bool,
}

// === impl PlainCheck ===

impl PlainCheck {
    /// Compares. The result is [`Step::Success`] or [`Step::Failure`].
    pub fn run(self) -> Step {
        // The work is done first and whatever `is_known` says.
        let fits = self.keys.fits::<Sha256>(&self.password);
        if fits & self.is_known {
            Step::Success { data: None }
        } else {
            Refusal::NOT_AUTHORIZED.into()
        }
    }
}

impl fmt::Debug for PlainCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainCheck")
    }
}

/// Reads the one message of PLAIN.
pub(super) fn start(
    request: &Authenticate,
    (keys, is_known): (Keys, bool),
) -> Result<PlainCheck, Refusal> {
    if !request.channel.is_encrypted {
        return Err(Refusal::of(SaslCondition::EncryptionRequired));
    }
    let message =
        std::str::from_utf8(&request.initial).map_err(|_| Refusal::malformed("not UTF-8"))?;
    let mut parts = message.split('\0');
    let (Some(authzid), Some(authcid), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::malformed("not three fields"));
    };
    if authcid.is_empty() || password.is_empty() {
        return Err(Refusal::malformed("an empty field"));
    }
    check_authzid(&request.account, Some(authzid).filter(|id| !id.is_empty()))?;
    let is_known = names_account(&request.account, authcid) & is_known;
    // What no account can have as its password needs no comparison, whoever is asked for.
    let password = prepare(password).map_err(|_| Refusal::NOT_AUTHORIZED)?;
    Ok(PlainCheck {
        password: password.into(),
        keys,
        is_known,
    })
}
