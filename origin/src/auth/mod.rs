//! Auth: who may become a session. An exchange: steps in, verdict out.
//!
//! ```text
//! Exchange::start ──▶ Challenge ──▶ Exchange::respond ──▶ Success | Failure     (SCRAM)
//!        │  └───────▶ Verify(PlainCheck) ──run elsewhere──▶ Success | Failure   (PLAIN)
//!        └──────────▶ Failure
//! ```
//!
//! Pure: what is random and what time it is come in as arguments. An exchange belongs to one
//! connection and ends with its verdict, with an abort, or with the connection.
//!
//! **Invariant:** nothing a client can see tells an unknown account from a wrong password: the
//! same steps, the same work, the same conditions and texts, and a salt that stays the same from
//! one try to the next.
//!
//! **Invariant:** success is for `Authenticate::account` and for nobody else. The name inside the
//! message is read again here and must lead to that account, so the edge's reading of it is never
//! trusted with an identity.

pub mod account;

mod hash;

pub mod plain;

mod scram;

pub mod throttle;

pub mod token;

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::link::frame::Authenticate;
use couplet_proto::xmpp::error::SaslCondition;
use sha1::Sha1;
use sha2::Sha256;

pub use account::{BadPassword, Credentials};
pub use plain::PlainCheck;
pub use throttle::Throttle;
pub use token::Tokens;

use account::Keys;
use hash::Hash;
use scram::Scram;

/// Bytes of the server's part of a nonce.
pub const NONCE_BYTES: usize = 18;

/// No SASL message of a client may be longer, decoded. Generous: a name and an authorization
/// identity of 1023 bytes each, all of it escaped, are not sent by anyone.
const MESSAGE_BYTES_MAX: usize = 4096;

/// One running exchange, waiting for the client's next message.
#[derive(Debug)]
pub struct Exchange(Running);

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// Send this and wait for the answer.
    Challenge(Bytes),
    /// The client is the account it named.
    Success {
        /// Additional data with success (RFC 6120 §6.3.10).
        data: Option<Bytes>,
    },
    /// It is not, as far as we know.
    Failure {
        /// Why, as far as the client may know.
        condition: SaslCondition,
        /// A sentence for people.
        text: Option<&'static str>,
    },
    /// Run [`PlainCheck::run`] off the shard's task: it takes milliseconds of CPU. Its result is
    /// the verdict.
    Verify(PlainCheck),
}

/// What all exchanges of this origin have in common.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Makes the salts of accounts that do not exist. Stays the same for the life of the store,
    /// or a salt that changes with a restart gives such accounts away.
    pub fake_salt_key: &'a [u8; 32],
    /// How many rounds new passwords get, and what accounts that do not exist pretend to have.
    /// Changing it tells accounts from before apart until their passwords are set again.
    pub iterations: u32,
}

#[derive(Debug)]
enum Running {
    Sha1(Box<Scram<Sha1>>),
    Sha256(Box<Scram<Sha256>>),
}

/// A failure on its way to becoming a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusal {
    condition: SaslCondition,
    text: Option<&'static str>,
}

// === impl Exchange ===

impl Exchange {
    /// Starts an exchange for `request.account`. `credentials` is `None` when there is no such
    /// account; `nonce` is random and used once.
    pub fn start(
        request: &Authenticate,
        credentials: Option<&Credentials>,
        context: &Context<'_>,
        nonce: [u8; NONCE_BYTES],
    ) -> (Option<Self>, Step) {
        match Self::try_start(request, credentials, context, nonce) {
            Ok(answer) => answer,
            Err(refusal) => (None, refusal.into()),
        }
    }

    fn try_start(
        request: &Authenticate,
        credentials: Option<&Credentials>,
        context: &Context<'_>,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<(Option<Self>, Step), Refusal> {
        if request.initial.len() > MESSAGE_BYTES_MAX {
            return Err(Refusal::malformed("message too long"));
        }
        let mechanism = &*request.mechanism;
        if !request.channel.offered.contains(&mechanism) {
            return Err(Refusal::of(SaslCondition::InvalidMechanism));
        }
        let (base, wants_binding) = match mechanism.strip_suffix("-PLUS") {
            Some(base) => (base, true),
            None => (mechanism, false),
        };
        let nonce = BASE64.encode(nonce);
        match base {
            "SCRAM-SHA-1" => {
                let keys = known_or_fake::<Sha1>(request, credentials, context);
                let (scram, challenge) = Scram::start(request, keys, wants_binding, &nonce)?;
                let running = Running::Sha1(Box::new(scram));
                Ok((Some(Self(running)), Step::Challenge(challenge)))
            }
            "SCRAM-SHA-256" => {
                let keys = known_or_fake::<Sha256>(request, credentials, context);
                let (scram, challenge) = Scram::start(request, keys, wants_binding, &nonce)?;
                let running = Running::Sha256(Box::new(scram));
                Ok((Some(Self(running)), Step::Challenge(challenge)))
            }
            "PLAIN" if !wants_binding => {
                let keys = known_or_fake::<Sha256>(request, credentials, context);
                Ok((None, Step::Verify(plain::start(request, keys)?)))
            }
            _ => Err(Refusal::of(SaslCondition::InvalidMechanism)),
        }
    }

    /// Takes the client's next message.
    pub fn respond(self, data: &[u8]) -> (Option<Self>, Step) {
        let verdict = if data.len() > MESSAGE_BYTES_MAX {
            Err(Refusal::malformed("message too long"))
        } else {
            match &self.0 {
                Running::Sha1(scram) => scram.finish(data),
                Running::Sha256(scram) => scram.finish(data),
            }
        };
        match verdict {
            Ok(data) => (None, Step::Success { data: Some(data) }),
            Err(refusal) => (None, refusal.into()),
        }
    }
}

// === impl Step ===

impl From<Refusal> for Step {
    fn from(refusal: Refusal) -> Self {
        Self::Failure {
            condition: refusal.condition,
            text: refusal.text,
        }
    }
}

// === impl Context ===

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

// === impl Refusal ===

impl Refusal {
    /// Wrong password, unknown account, wrong proof: one and the same.
    const NOT_AUTHORIZED: Self = Self::of(SaslCondition::NotAuthorized);

    const fn of(condition: SaslCondition) -> Self {
        Self {
            condition,
            text: None,
        }
    }

    const fn not_authorized(text: &'static str) -> Self {
        Self {
            condition: SaslCondition::NotAuthorized,
            text: Some(text),
        }
    }

    const fn malformed(text: &'static str) -> Self {
        Self {
            condition: SaslCondition::MalformedRequest,
            text: Some(text),
        }
    }
}

/// The keys to check against and whether there is an account to succeed. The fake ones are made
/// in any case, so that an account that exists costs no less.
fn known_or_fake<H: Hash>(
    request: &Authenticate,
    credentials: Option<&Credentials>,
    context: &Context<'_>,
) -> (Keys, bool) {
    let fake = Keys::fake::<H>(context.fake_salt_key, &request.account, context.iterations);
    match credentials {
        Some(credentials) => (credentials.keys::<H>().clone(), true),
        None => (fake, false),
    }
}

/// Whether the authentication identity in a message is the account the exchange is for
/// (RFC 6120 §6.3.8: the local part; some clients send the bare address). If not, the exchange
/// goes on as for an account that does not exist.
fn names_account(account: &Jid, name: &str) -> bool {
    let as_local = Jid::from_parts(Some(name), account.domain(), None);
    let as_address = || Jid::parse(name).ok().filter(Jid::is_bare);
    as_local
        .ok()
        .or_else(as_address)
        .is_some_and(|named| named.is_same_bare(account))
}

/// RFC 6120 §6.3.8: an account may act as itself and nobody else.
fn check_authzid(account: &Jid, authzid: Option<&str>) -> Result<(), Refusal> {
    let Some(authzid) = authzid else {
        return Ok(());
    };
    match Jid::parse(authzid) {
        Ok(jid) if jid.is_bare() && jid.is_same_bare(account) => Ok(()),
        _ => Err(Refusal::of(SaslCondition::InvalidAuthzid)),
    }
}
