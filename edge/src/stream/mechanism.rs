//! SASL mechanisms, as far as the edge reads them: the name of the account, which decides the
//! slot. Nothing here knows a password from another.

use std::borrow::Cow;

/// A mechanism we can offer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mechanism {
    /// Its registered name.
    pub(super) name: &'static str,
    family: Family,
    /// Whether it is offered only where the password is protected by TLS.
    pub(super) needs_tls: bool,
    /// Whether it is offered only where there is a channel to bind to.
    pub(super) needs_binding: bool,
}

/// How the first message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// RFC 4616.
    Plain,
    /// RFC 5802.
    Scram,
}

/// Who a client says it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    /// The authentication identity: not prepared.
    pub(super) username: Cow<'a, str>,
    /// The authorization identity, where there is one.
    pub(super) authzid: Option<Cow<'a, str>>,
}

/// Every mechanism, best first.
pub(super) static ALL: [Mechanism; 5] = [
    Mechanism::scram("SCRAM-SHA-256-PLUS", true),
    Mechanism::scram("SCRAM-SHA-1-PLUS", true),
    Mechanism::scram("SCRAM-SHA-256", false),
    Mechanism::scram("SCRAM-SHA-1", false),
    Mechanism {
        name: "PLAIN",
        family: Family::Plain,
        needs_tls: true,
        needs_binding: false,
    },
];

// === impl Mechanism ===

impl Mechanism {
    const fn scram(name: &'static str, needs_binding: bool) -> Self {
        Self {
            name,
            family: Family::Scram,
            needs_tls: needs_binding,
            needs_binding,
        }
    }

    /// The mechanism of this name.
    pub(super) fn from_name(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|mechanism| mechanism.name == name)
    }

    /// Who the initial response is about; `None` where it is not one.
    pub(super) fn claim<'a>(&self, initial: &'a [u8]) -> Option<Claim<'a>> {
        let initial = std::str::from_utf8(initial).ok()?;
        match self.family {
            Family::Plain => plain(initial),
            Family::Scram => scram(initial),
        }
    }
}

/// RFC 4616 §2: `[authzid] NUL authcid NUL passwd`.
fn plain(message: &str) -> Option<Claim<'_>> {
    let mut parts = message.split('\0');
    let (authzid, username, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || username.is_empty() || password.is_empty() {
        return None;
    }
    Some(Claim {
        username: username.into(),
        authzid: (!authzid.is_empty()).then(|| authzid.into()),
    })
}

/// RFC 5802 §7: `gs2-cbind-flag "," [authzid] "," "n=" username "," …`.
fn scram(message: &str) -> Option<Claim<'_>> {
    let (flag, rest) = message.split_once(',')?;
    let is_flag = matches!(flag, "n" | "y") || flag.strip_prefix("p=").is_some_and(is_binding_name);
    let (authzid, bare) = rest.split_once(',')?;
    let authzid = match authzid {
        "" => None,
        named => Some(unescape(named.strip_prefix("a=")?)?),
    };
    let (username, _) = bare.strip_prefix("n=")?.split_once(',')?;
    is_flag.then_some(Claim {
        username: unescape(username)?,
        authzid,
    })
}

fn is_binding_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    !name.is_empty() && name.bytes().all(is_part)
}

/// RFC 5802 §5.1: `=2C` is a comma, `=3D` an equals sign, another `=` a mistake.
fn unescape(name: &str) -> Option<Cow<'_, str>> {
    if name.is_empty() || name.contains('\0') {
        return None;
    }
    if !name.contains('=') {
        return Some(name.into());
    }
    let mut parts = name.split('=');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return None,
        };
        text.push(escaped);
        text.push_str(rest);
    }
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mechanism: &str, initial: &str, expected: Option<(&str, Option<&str>)>) {
        let mechanism = Mechanism::from_name(mechanism).expect("known");
        let claim = mechanism.claim(initial.as_bytes());
        let claim = claim
            .as_ref()
            .map(|claim| (&*claim.username, claim.authzid.as_deref()));
        assert_eq!(claim, expected, "{initial:?}");
    }

    #[test]
    fn the_account_is_read_from_the_first_message() {
        check("PLAIN", "\0juliet\0secret", Some(("juliet", None)));
        check("PLAIN", "a@b\0juliet\0s", Some(("juliet", Some("a@b"))));
        for bad in ["", "juliet", "\0juliet", "\0juliet\0", "\0\0x", "\0a\0b\0c"] {
            check("PLAIN", bad, None);
        }
        let scram = "SCRAM-SHA-256";
        check(scram, "n,,n=juliet,r=abc", Some(("juliet", None)));
        check(
            scram,
            "y,a=a@b,n=juliet,r=abc",
            Some(("juliet", Some("a@b"))),
        );
        check(
            scram,
            "p=tls-exporter,,n=a=2Cb=3Dc,r=x",
            Some(("a,b=c", None)),
        );
        for bad in [
            "",
            "n",
            "n,,",
            "n,,n=juliet",
            "x,,n=juliet,r=a",
            "p=,,n=juliet,r=a",
            "n,b=c,n=juliet,r=a",
            "n,,n=,r=a",
            "n,,n=a=2cb,r=a",
            "n,,n=a=,r=a",
            "n,,m=ext,n=juliet,r=a",
        ] {
            check(scram, bad, None);
        }
        assert_eq!(ALL[4].claim(b"\0\xff\0x"), None);
    }
}
