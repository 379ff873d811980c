//! Specifications: which are supported, in which version: the table of the README.
//!
//! What the origin's features implement comes from the features themselves; the rest, what edge
//! and protocol do without being a feature, stands here.

use std::fmt::Write;

/// One document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Specification {
    /// `RFC 6120`, `XEP-0199`.
    pub(crate) document: &'static str,
    /// Its title.
    pub(crate) title: &'static str,
    /// The version implemented; empty for an RFC.
    pub(crate) version: &'static str,
    /// What is left out, or how it is meant; empty when there is nothing to say.
    pub(crate) note: &'static str,
}

/// What is no feature of the origin.
const ELSEWHERE: &[Specification] = &[
    rfc("RFC 4616", "SASL PLAIN", "over TLS only"),
    rfc("RFC 5802", "SASL SCRAM-SHA-1 and -PLUS", ""),
    rfc("RFC 5929", "TLS channel bindings", "`tls-server-end-point`"),
    rfc(
        "RFC 6120",
        "XMPP Core",
        "clients to server; servers to servers not yet",
    ),
    rfc(
        "RFC 6121",
        "XMPP Instant Messaging and Presence",
        "within the domains of one server",
    ),
    rfc(
        "RFC 6122",
        "XMPP Address Format",
        "stringprep, as deployed; RFC 7622 not yet",
    ),
    rfc("RFC 7590", "Use of TLS in XMPP", "TLS 1.2 and 1.3"),
    rfc("RFC 7677", "SASL SCRAM-SHA-256 and -PLUS", ""),
    rfc("RFC 9266", "Channel bindings for TLS 1.3", "`tls-exporter`"),
    xep(
        "XEP-0004",
        "Data Forms",
        "2.13.2",
        "where a feature uses them",
    ),
    xep("XEP-0082", "XMPP Date and Time Profiles", "1.1.1", ""),
    xep("XEP-0198", "Stream Management", "1.6.3", ""),
    xep(
        "XEP-0205",
        "Best Practices to Discourage Denial of Service Attacks",
        "1.0.2",
        "",
    ),
    xep(
        "XEP-0368",
        "SRV Records for XMPP over TLS",
        "1.1.0",
        "direct TLS, ALPN `xmpp-client`",
    ),
    xep(
        "XEP-0440",
        "SASL Channel-Binding Type Capability",
        "1.0.0",
        "",
    ),
    xep("XEP-0478", "Stream Limits Advertisement", "0.2.0", ""),
];

/// Everything supported: RFCs first, each kind by number.
pub(crate) fn all() -> Vec<Specification> {
    let features = couplet_origin::features().into_iter();
    let features = features.map(|(_, spec)| Specification {
        document: spec.document,
        title: spec.title,
        version: spec.version,
        note: spec.note,
    });
    let mut all: Vec<_> = ELSEWHERE.to_vec();
    // A feature knows best what it does: where both have a document, its row stays.
    all.retain(|own| {
        !features
            .clone()
            .any(|feature| feature.document == own.document)
    });
    all.extend(features);
    all.sort_by_key(|specification| specification.document);
    all.dedup_by_key(|specification| specification.document);
    all
}

/// The table for people.
pub(crate) fn text() -> String {
    let all = all();
    let width = all
        .iter()
        .map(|row| row.title.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for row in all {
        let line = format!(
            "{:<8}  {:<width$}  {:<6}  {}",
            row.document, row.title, row.version, row.note
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The table for a README.
pub(crate) fn markdown() -> String {
    let mut text = "| document | title | version | state |\n|---|---|---|---|\n".to_owned();
    for row in all() {
        let state = match row.note {
            "" => "complete".to_owned(),
            note => note.replace('|', "\\|"),
        };
        let (document, url) = (row.document, url(row.document));
        let (title, version) = (row.title, row.version);
        let _ = writeln!(
            text,
            "| [{document}]({url}) | {title} | {version} | {state} |"
        );
    }
    text
}

/// Where a document can be read.
fn url(document: &str) -> String {
    match document.split_at_checked(4) {
        Some(("RFC ", number)) => format!("https://www.rfc-editor.org/rfc/rfc{number}"),
        _ => format!(
            "https://xmpp.org/extensions/{}.html",
            document.to_lowercase()
        ),
    }
}

const fn rfc(document: &'static str, title: &'static str, note: &'static str) -> Specification {
    xep(document, title, "", note)
}

const fn xep(
    document: &'static str,
    title: &'static str,
    version: &'static str,
    note: &'static str,
) -> Specification {
    Specification {
        document,
        title,
        version,
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_listed_once_and_can_be_found() {
        let all = all();
        for row in &all {
            let (kind, number) = row.document.split_at(4);
            assert!(matches!(kind, "RFC " | "XEP-"), "{}", row.document);
            assert!(number.parse::<u32>().is_ok(), "{}", row.document);
            assert_eq!(row.version.is_empty(), kind == "RFC ", "{}", row.document);
        }
        assert!(all.is_sorted_by(|a, b| a.document < b.document));
        assert_eq!(url("XEP-0199"), "https://xmpp.org/extensions/xep-0199.html");
        assert_eq!(url("RFC 6120"), "https://www.rfc-editor.org/rfc/rfc6120");
    }
}
