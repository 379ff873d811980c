//! Words that are static in Rust and text on the wire.
//!
//! They are looked up, so that a peer cannot make this process keep what it says. A word that is
//! not in its list has been added by a newer version and is left out.

/// SASL mechanisms an edge may have offered.
const MECHANISMS: &[&str] = &[
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "PLAIN",
];

/// Types of channel bindings.
const BINDINGS: &[&str] = &["tls-exporter", "tls-server-end-point", "tls-unique"];

/// Sentences for people that origins send along with a condition.
const SENTENCES: &[&str] = &[
    "too many failures, try again later",
    "too many logins at once, try again later",
    "replaced by a new connection",
    "resumed by another connection",
    "the account has been removed",
    "the session cannot be read now, try again",
    "the session may still be found, try again",
    "the session has ended",
    "the session was ended by an operator",
    "the account is disabled",
    "this domain is not served here any more",
];

pub(super) fn mechanism(name: &str) -> Option<&'static str> {
    known(MECHANISMS, name)
}

pub(super) fn binding(name: &str) -> Option<&'static str> {
    known(BINDINGS, name)
}

pub(super) fn sentence(text: Option<&String>) -> Option<&'static str> {
    known(SENTENCES, text?)
}

/// A sentence to send.
pub(super) fn said(text: Option<&'static str>) -> Option<String> {
    debug_assert!(
        text.is_none_or(|text| SENTENCES.contains(&text)),
        "add it to SENTENCES, or no edge will show it: {text:?}"
    );
    text.map(str::to_owned)
}

fn known(list: &[&'static str], word: &str) -> Option<&'static str> {
    list.iter().copied().find(|known| *known == word)
}

#[cfg(test)]
pub(super) fn all() -> [&'static [&'static str]; 3] {
    [MECHANISMS, BINDINGS, SENTENCES]
}
