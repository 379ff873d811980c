//! Addresses: parse, prepare, compare (RFC 7622, with the preparation of RFC 6122).
//!
//! Every address is prepared once, where it enters. After that two addresses are the same
//! exactly when their texts are the same.
//!
//! Deviation: preparation is stringprep (RFC 6122), not PRECIS (RFC 7622), as in the servers and
//! clients people run; the two differ for a handful of code points and a mix splits accounts.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// RFC 7622 §3.2-3.4: no part is longer than this many bytes.
pub const PART_BYTES_MAX: usize = 1023;

/// An address, bare (`juliet@capulet.lit`) or full (`juliet@capulet.lit/balcony`), prepared.
///
/// Cloning shares the text.
#[derive(Clone)]
pub struct Jid {
    text: Arc<str>,
    /// Bytes of the local part; 0 when there is none.
    local_bytes: u16,
    /// Bytes of the bare address: where the resource's slash stands, or the end.
    bare_bytes: u16,
}

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid address")]
pub struct Malformed;

// === impl Jid ===

impl Jid {
    /// Parses and prepares an address.
    ///
    /// # Errors
    /// [`Malformed`] when a part is empty, too long, or holds what preparation forbids.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, bare),
        };
        // One trailing dot is the DNS root and means nothing here (RFC 7622 §3.2).
        let rooted = domain.ends_with('.');
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        let plain = local.is_none_or(is_plain_local)
            && is_plain_domain(domain)
            && resource.is_none_or(is_plain_resource);
        if plain && !rooted {
            return Ok(Self::split(Arc::from(text)));
        }
        if plain {
            return Ok(Self::join(local, domain, resource));
        }
        let once = prepare(local, domain, rooted, resource)?;
        // Characters younger than stringprep may be turned into ones it would turn further; such
        // an address would not be equal to itself read back.
        let twice = prepare(once.local(), once.domain(), false, once.resource())?;
        if once == twice {
            Ok(once)
        } else {
            Err(Malformed)
        }
    }

    /// Takes an address that a node of ours has prepared; `None` when it cannot be one.
    pub fn from_prepared(text: &str) -> Option<Self> {
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, bare),
        };
        let is_whole = local.is_none_or(has_length)
            && has_length(domain)
            && !domain.contains('@')
            && resource.is_none_or(has_length);
        is_whole.then(|| Self::split(Arc::from(text)))
    }

    /// The address made of these parts, each prepared.
    ///
    /// # Errors
    /// As [`Jid::parse`]; a part that holds a separator is refused too.
    pub fn from_parts(
        local: Option<&str>,
        domain: &str,
        resource: Option<&str>,
    ) -> Result<Self, Malformed> {
        let separators = ['@', '/'];
        if domain.contains(separators) || local.is_some_and(|part| part.contains(separators)) {
            return Err(Malformed);
        }
        Self::parse(&assemble(local, domain, resource))
    }

    /// This account's address with `resource`, prepared.
    ///
    /// # Errors
    /// [`Malformed`] when `resource` is empty, longer than 1023 bytes or cannot be prepared.
    pub fn with_resource(&self, resource: &str) -> Result<Self, Malformed> {
        Self::from_parts(self.local(), self.domain(), Some(resource))
    }

    /// The local part, if any.
    pub fn local(&self) -> Option<&str> {
        (self.local_bytes > 0).then(|| &self.text[..usize::from(self.local_bytes)])
    }

    /// The domain part.
    pub fn domain(&self) -> &str {
        let start = match self.local_bytes {
            0 => 0,
            bytes => usize::from(bytes) + 1,
        };
        &self.text[start..usize::from(self.bare_bytes)]
    }

    /// The resource part, if any.
    pub fn resource(&self) -> Option<&str> {
        self.text.get(usize::from(self.bare_bytes) + 1..)
    }

    /// The text of the bare address.
    pub fn bare(&self) -> &str {
        &self.text[..usize::from(self.bare_bytes)]
    }

    /// The bare address.
    pub fn to_bare(&self) -> Self {
        if self.is_bare() {
            return self.clone();
        }
        Self {
            text: Arc::from(self.bare()),
            ..*self
        }
    }

    /// The address of the domain alone.
    pub fn to_domain(&self) -> Self {
        Self::split(Arc::from(self.domain()))
    }

    /// Whether there is no resource.
    pub fn is_bare(&self) -> bool {
        usize::from(self.bare_bytes) == self.text.len()
    }

    /// Whether there is a resource.
    pub fn is_full(&self) -> bool {
        !self.is_bare()
    }

    /// Whether both name the same account or service, whatever the resource.
    pub fn is_same_bare(&self, other: &Self) -> bool {
        self.bare() == other.bare()
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn join(local: Option<&str>, domain: &str, resource: Option<&str>) -> Self {
        Self::split(Arc::from(assemble(local, domain, resource)))
    }

    /// Finds the parts of a prepared text.
    fn split(text: Arc<str>) -> Self {
        let bytes = text.as_bytes();
        let find = |end: usize, wanted: u8| bytes[..end].iter().position(|byte| *byte == wanted);
        let bare = find(bytes.len(), b'/').unwrap_or(bytes.len());
        let local = find(bare, b'@').unwrap_or(0);
        let short = |bytes: usize| u16::try_from(bytes).expect("parts are at most 1023 bytes");
        Self {
            local_bytes: short(local),
            bare_bytes: short(bare),
            text,
        }
    }
}

impl FromStr for Jid {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(text)
    }
}

impl PartialEq for Jid {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Jid {}

impl PartialOrd for Jid {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Jid {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Jid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl std::borrow::Borrow<str> for Jid {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn assemble(local: Option<&str>, domain: &str, resource: Option<&str>) -> String {
    let mut text = String::with_capacity(
        local.map_or(0, |part| part.len() + 1)
            + domain.len()
            + resource.map_or(0, |part| part.len() + 1),
    );
    if let Some(local) = local {
        text.push_str(local);
        text.push('@');
    }
    text.push_str(domain);
    if let Some(resource) = resource {
        text.push('/');
        text.push_str(resource);
    }
    text
}

/// The slow path: anything beyond plain ASCII goes through nodeprep, nameprep and resourceprep.
///
/// A domain that is `rooted` has lost the dot that said so; another one is a mistake.
fn prepare(
    local: Option<&str>,
    domain: &str,
    rooted: bool,
    resource: Option<&str>,
) -> Result<Jid, Malformed> {
    if domain.len() > PART_BYTES_MAX {
        return Err(Malformed);
    }
    // A-labels and U-labels are two spellings of one domain: keep the latter.
    let (mut unicode, labels) = match domain.starts_with('[') {
        true => (domain.to_owned(), Ok(())),
        false => idna::domain_to_unicode(domain),
    };
    labels.map_err(|_| Malformed)?;
    // Other scripts have dots too, and characters that are turned into separators.
    if !rooted && unicode.ends_with('.') {
        unicode.pop();
    }
    if unicode.starts_with('.')
        || unicode.ends_with('.')
        || unicode.contains("..")
        || unicode.contains(['@', '/'])
    {
        return Err(Malformed);
    }
    let prepared = jid::Jid::new(&assemble(local, &unicode, resource)).map_err(|_| Malformed)?;
    let text = prepared.as_str();
    let domain = prepared.domain().as_str();
    // Preparation must not create separators or white space inside a part.
    let forbidden = |c: char| matches!(c, '@' | '/' | ':' | '"' | '&' | '\'' | '<' | '>' | ' ');
    let literal = domain.starts_with('[');
    if domain.is_empty() || (!literal && domain.contains(forbidden)) {
        return Err(Malformed);
    }
    if prepared
        .node()
        .is_some_and(|node| node.as_str().contains(forbidden))
    {
        return Err(Malformed);
    }
    Ok(Jid::split(Arc::from(text)))
}

fn is_plain_local(part: &str) -> bool {
    has_length(part)
        && part.bytes().all(|byte| {
            matches!(byte, b'!' | b'#'..=b'%' | b'('..=b'.' | b'0'..=b'9' | b';' | b'='
                | b'?' | b'['..=b'~')
        })
}

fn is_plain_domain(part: &str) -> bool {
    has_length(part)
        && !part.starts_with(['.', '-'])
        && !part.ends_with('.')
        && part
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'))
        // Windows beat a search for a text in something this short. An A-label must be turned
        // into its U-label.
        && !part.as_bytes().windows(2).any(|pair| pair == b"..")
        && !part.as_bytes().windows(4).any(|four| four == b"xn--")
}

fn is_plain_resource(part: &str) -> bool {
    has_length(part) && part.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn has_length(part: &str) -> bool {
    (1..=PART_BYTES_MAX).contains(&part.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let parsed = Jid::parse(text).ok();
        assert_eq!(parsed.as_ref().map(Jid::as_str), expected, "{text:?}");
    }

    #[test]
    fn addresses_are_prepared() {
        check(
            "juliet@capulet.lit/balcony",
            Some("juliet@capulet.lit/balcony"),
        );
        check(
            "JULIET@Capulet.LIT/Balcony",
            Some("juliet@capulet.lit/Balcony"),
        );
        check("capulet.lit.", Some("capulet.lit"));
        check("juliet@capulet.lit./x", Some("juliet@capulet.lit/x"));
        check("a@b/c@d/e", Some("a@b/c@d/e"));
        check("fußball@example.com", Some("fussball@example.com"));
        check("a@xn--bcher-kva.example", Some("a@bücher.example"));
        check("a@[::1]", Some("a@[::1]"));
        check("a@127.0.0.1", Some("a@127.0.0.1"));
        check("a@b\u{3002}c\u{3002}", Some("a@b.c"));
        check("a@XN--BCHER-KVA.example.", Some("a@bücher.example"));
    }

    /// Whatever a character is turned into, it is turned into that once and for all, and stays in
    /// its part.
    #[test]
    fn every_character_is_prepared_for_good() {
        for c in ('\u{1}'..'\u{30000}').filter(|c| !matches!(c, '@' | '/')) {
            for text in [
                format!("l{c}@d/r"),
                format!("l@d{c}x/r"),
                format!("l@d{c}/r"),
                format!("{c}"),
                format!("l@d/{c}r"),
            ] {
                let Ok(once) = Jid::parse(&text) else {
                    continue;
                };
                let twice = Jid::parse(once.as_str()).ok();
                assert_eq!(twice.as_ref(), Some(&once), "{text:?}");
                let parts = |jid: &Jid| (jid.local().is_some(), jid.resource().is_some());
                let has = (text.contains('@'), text.contains('/'));
                assert_eq!(parts(&once), has, "{text:?} is {once}");
            }
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "@",
            "@b",
            "a@",
            "a@/r",
            "a@b/",
            "/r",
            "a b@c",
            "a\"@b",
            "a&b@c",
            "a'@b",
            "a:b@c",
            "a<@b",
            "a>@b",
            "a@b@c",
            "a@b..c",
            "a@.b",
            "a@b/\u{0}",
            "a@b/x\u{202e}y\u{5d0}",
            "a\u{0}@b",
            "a@b c",
            // One dot is the root, more are a mistake; also when preparation makes them.
            "a@b..",
            "b..",
            "a@B..",
            "a@b\u{3002}.",
            "a@b\u{3002}\u{3002}",
            "a@\u{3002}b",
            // What looks like a separator is none.
            "a@b\u{ff0f}c",
            "a\u{ff20}b@c",
            "b\u{ff20}c",
            "b\u{ff0f}c",
            "a@b\u{2100}c",
            // Only addresses stand in brackets.
            "a@[b@c]",
            "[b@c]",
            "a@[b]",
            "a@[::1",
            "a@[<>]",
        ] {
            check(text, None);
        }
        check(&format!("{}@b", "a".repeat(1024)), None);
        check(&format!("a@b/{}", "r".repeat(1024)), None);
        check(&format!("a@{}", "d".repeat(1024)), None);
    }

    #[test]
    fn parts_are_found() {
        let jid = Jid::parse("juliet@capulet.lit/balcony").expect("valid");
        assert_eq!(jid.local(), Some("juliet"));
        assert_eq!(jid.domain(), "capulet.lit");
        assert_eq!(jid.resource(), Some("balcony"));
        assert_eq!(jid.to_bare().as_str(), "juliet@capulet.lit");
        assert_eq!(jid.to_domain().as_str(), "capulet.lit");
        assert!(jid.is_full() && jid.to_bare().is_bare());
        assert_eq!(jid.to_bare().resource(), None);
    }

    proptest! {
        #[test]
        fn preparing_twice_changes_nothing(text in "\\PC{0,40}") {
            if let Ok(once) = Jid::parse(&text) {
                let twice = Jid::parse(once.as_str()).expect("a prepared address is an address");
                prop_assert_eq!(once.as_str(), twice.as_str());
            }
        }

        #[test]
        fn plain_and_prepared_agree(
            text in "[a-z0-9._-]{1,8}@[a-z0-9-]{1,8}(\\.[a-z0-9]{1,4})?/[ -~]{1,8}"
        ) {
            if let (Ok(ours), Ok(theirs)) = (Jid::parse(&text), jid::Jid::new(&text)) {
                prop_assert_eq!(ours.as_str(), theirs.as_str());
            }
        }
    }
}
