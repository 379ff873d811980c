//! A start tag that is still being received: how far it has come, and how much is in it.

use super::guard::{self, is_space};
use super::{Budget, FramingError};

/// How far a start tag has been received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    /// The quote that is open, or 0.
    pub(super) quote: u8,
    /// The byte before, where no quote is open.
    pub(super) last: u8,
    /// Whether this may be a stream header.
    pub(super) is_suspect: bool,
    attributes: u16,
    namespaces: u16,
    /// How many bytes that belong to no value stand at the end of the buffer.
    pub(super) carried: u32,
}

// === impl Tag ===

impl Tag {
    /// A tag of which nothing but its name has been received.
    pub(super) const fn new(is_suspect: bool) -> Self {
        Self {
            quote: 0,
            last: 0,
            is_suspect,
            attributes: 0,
            namespaces: 0,
            carried: 0,
        }
    }

    /// A value begins behind `before`, which follows what is carried in `buffer`. Counts it, so
    /// that a tag with too many is refused before its end.
    #[inline]
    pub(super) fn count_value(
        &mut self,
        budget: &Budget,
        buffer: &[u8],
        before: &[u8],
    ) -> Result<(), FramingError> {
        let is_declaration = match std::mem::take(&mut self.carried) as usize {
            0 => ends_in_declaration(before),
            carried => {
                let from = buffer.len().saturating_sub(carried);
                ends_in_declaration(&[&buffer[from..], before].concat())
            }
        };
        let (count, max, error) = if is_declaration {
            let max = budget.namespaces;
            (&mut self.namespaces, max, guard::TOO_MANY_NAMESPACES)
        } else {
            let max = budget.attributes;
            (&mut self.attributes, max, guard::TOO_MANY_ATTRIBUTES)
        };
        if u32::from(*count) >= max {
            return Err(error);
        }
        *count = count.saturating_add(1);
        Ok(())
    }
}

/// Whether what stands before a value, `… name =`, names a namespace declaration.
#[inline]
fn ends_in_declaration(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    let name = before.strip_suffix(b"=").unwrap_or(before).trim_ascii_end();
    let start = name.iter().rposition(|byte| is_space(*byte));
    let name = start.map_or(name, |space| &name[space + 1..]);
    name.strip_prefix(b"xmlns")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b':')))
}
