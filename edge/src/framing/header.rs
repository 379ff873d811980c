//! The stream header (RFC 6120 §4.7, §4.8).

/// What a stream header says. Whether it is acceptable is for the stream to decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The domain the client wants.
    pub to: Option<String>,
    /// Who the client says it is.
    pub from: Option<String>,
    /// The XMPP version.
    pub version: Option<String>,
    /// The default language of the stream.
    pub lang: Option<String>,
    /// A stream id, which a client should not send.
    pub id: Option<String>,
    /// The default namespace declared on the header; empty if there is none.
    pub content_ns: String,
    /// Whether the header is in the stream namespace.
    pub stream_ns_ok: bool,
}
