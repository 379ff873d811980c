//! Framing: bytes in, whole top-level elements out.
//!
//! ```text
//! bytes ─→ reader: where does the element end? ─→ canonical: strict check, written afresh ─→ Item
//!             └ guard: budgets, restricted XML       └ guard: names, characters, references
//! ```
//!
//! - Budgets are enforced while bytes arrive, before they are kept.
//! - Restricted XML (RFC 6120 §11.1: DTDs, comments, processing instructions, entities) is refused,
//!   and so is everything that XML 1.0 and Namespaces in XML 1.0 call not well-formed.
//! - Nothing received is passed on: each element is written afresh in canonical form, so what
//!   leaves is what was understood, and no parser downstream can read it differently.
//! - An element that arrives whole is parsed where it lies. One that arrives in parts is collected
//!   in a buffer that is given back as soon as the element is complete.
//!
//! **Canonical form:** no element has a prefix, `xmlns` is declared where the namespace differs
//! from the parent's; an attribute in a foreign namespace keeps it through a generated prefix
//! declared on its own element; values stand in single quotes; CDATA is text; line ends are LF; a
//! CR, and a TAB or LF in an attribute, is a character reference. White space directly inside a
//! stanza is dropped.
//!
//! Deviations, each to protect other clients' parsers: names are limited to the characters that
//! the fourth and the fifth edition of XML 1.0 both allow; no element may have the prefix `xml`;
//! of the attributes with that prefix only `xml:lang` and `xml:space` are kept; and a stanza that
//! uses a namespace whose name is no URI is [`Item::Malformed`]. Prefixes inside attribute values
//! or text (QNames in content) mean nothing after rewriting; no XMPP protocol uses them.
//!
//! One leniency: white space before the XML declaration is skipped, because clients end their last
//! element with a line end, and a stream that restarts begins behind it.

mod reader;

mod tag;

mod header;

mod canonical;

mod head;

mod scope;

mod attribute;

mod guard;

use couplet_proto::xmpp::error::{Condition, StreamCondition};
use couplet_proto::{Element, Jid, Kind, Stanza};

pub use header::Header;
pub use reader::Framer;

/// How much one element may ask of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of one top-level element; of everything received while [`Framer::count_total`] is on.
    pub bytes: usize,
    /// Elements in one top-level element, itself included.
    pub elements: u32,
    /// Levels of nesting; the top-level element is the first.
    pub depth: u32,
    /// Attributes of one element, namespace declarations not counted.
    pub attributes: u32,
    /// Namespace declarations of one element; at any place no more than these and one for each
    /// level are in force.
    pub namespaces: u32,
}

/// One thing a client said.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// The stream header.
    Open(Box<Header>),
    /// A message, presence or IQ in `jabber:client`, its head parsed.
    Stanza(Stanza),
    /// Well-formed XML, but a message, presence or IQ that cannot be accepted.
    Malformed(Box<MalformedStanza>),
    /// Any other top-level element.
    Element(Element),
    /// The end of the stream.
    Close,
    /// White space between elements, which keeps the connection alive; one item per run.
    Whitespace,
}

/// What is known of a stanza that cannot be accepted; enough to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedStanza {
    /// Message, presence or IQ.
    pub kind: Kind,
    /// The `type` attribute as written. `error` and, for an IQ, `result` are never answered.
    pub type_attribute: Option<String>,
    /// The `id` attribute, unless it is too long to be repeated.
    pub id: Option<String>,
    /// The `from` attribute, if it is an address.
    pub from: Option<Jid>,
    /// The `to` attribute, if it is an address.
    pub to: Option<Jid>,
    /// What to answer: `jid-malformed` or `bad-request`.
    pub condition: Condition,
    /// Whether there is a `from` that is no address at all: a forged sender.
    pub is_from_forged_or_bad: bool,
}

/// Why the stream cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", condition.name())]
pub struct FramingError {
    /// The stream error to answer with.
    pub condition: StreamCondition,
    /// A sentence for the peer's developer.
    pub text: &'static str,
}

// === impl Budget ===

impl Budget {
    /// The default before authentication; `bytes` covers everything received.
    pub const BEFORE_AUTH: Self = Self {
        bytes: 8 * 1024,
        elements: 32,
        depth: 8,
        attributes: 16,
        namespaces: 8,
    };

    /// The default after authentication; `bytes` is per stanza.
    pub const AFTER_AUTH: Self = Self {
        bytes: 256 * 1024,
        elements: 4096,
        depth: 64,
        attributes: 64,
        namespaces: 32,
    };
}

// === impl FramingError ===

impl FramingError {
    pub(crate) const fn new(condition: StreamCondition, text: &'static str) -> Self {
        Self { condition, text }
    }
}

#[cfg(test)]
mod tests;
