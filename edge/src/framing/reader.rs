//! The resumable push framer: where does a top-level element end?

use super::{Budget, FramingError, Item};

/// Turns the bytes of one connection into items. Holds no buffer unless an element is incomplete.
#[derive(Debug)]
pub struct Framer {
    budget: Budget,
    counts_total: bool,
    buffer: Vec<u8>,
}

// === impl Framer ===

impl Framer {
    /// A framer at the start of a stream; it counts bytes per element.
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            counts_total: false,
            buffer: Vec::new(),
        }
    }

    /// Sets what one element may ask from now on.
    pub fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    /// Whether [`Budget::bytes`] covers every byte received, across restarts, or one element.
    ///
    /// Turning it on starts a new count.
    pub fn count_total(&mut self, on: bool) {
        self.counts_total = on;
    }

    /// Forgets everything: a new stream begins, after STARTTLS or SASL.
    pub fn restart(&mut self) {
        self.buffer = Vec::new();
    }

    /// Whether an element is incomplete.
    pub fn is_midway(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Consumes `input` until one item is complete or the input is used up.
    ///
    /// `Ok(None)` means that more bytes are needed; `input` is empty then.
    ///
    /// # Errors
    /// [`FramingError`] when the stream cannot go on; it is not to be called again then.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Item>, FramingError> {
        *input = &[];
        Ok(None)
    }
}
