//! What a client has read of a stream, cut into headers and elements.

use super::tree::Tree;

/// What comes next on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// The server's stream header.
    Header(Tree),
    /// A whole element directly inside the stream.
    Element(Tree),
    /// `</stream:stream>`.
    End,
    /// The connection is closed or reset.
    Eof,
}

/// Bytes that came and are not understood yet.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    unread: Vec<u8>,
    /// The open tag of the server's stream: the namespaces its elements are read with.
    context: String,
}

// === impl Reading ===

impl Reading {
    /// Adds what came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Whether everything that came has been given out.
    pub(crate) fn is_empty(&self) -> bool {
        self.unread.is_empty()
    }

    /// The next header, element or end, once it is there as a whole; never `Eof`.
    pub(crate) fn next(&mut self) -> Option<Incoming> {
        let valid = match std::str::from_utf8(&self.unread) {
            Ok(text) => text,
            Err(error) => {
                let valid = &self.unread[..error.valid_up_to()];
                std::str::from_utf8(valid).expect("just checked")
            }
        };
        let mut text = valid.trim_start();
        if text.starts_with("<?xml") {
            text = text[text.find("?>")? + 2..].trim_start();
        }
        let skipped = valid.len() - text.len();
        let (incoming, end) = if text.starts_with("<stream:stream") {
            let end = text.find('>')? + 1;
            text[..end].clone_into(&mut self.context);
            let header = Tree::read_open_tag(&text[..end])?;
            (Incoming::Header(header), end)
        } else if text.starts_with("</stream:stream>") {
            (Incoming::End, "</stream:stream>".len())
        } else {
            let (tree, end) = Tree::read(&self.context, text)?;
            (Incoming::Element(tree), end)
        };
        self.unread.drain(..skipped + end);
        Some(incoming)
    }
}
