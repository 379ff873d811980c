//! A string that shares its buffer: what the framer wrote is never copied again.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// UTF-8 text over a shared, reference-counted buffer.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct ByteStr(Bytes);

// === impl ByteStr ===

impl ByteStr {
    /// Takes `bytes` if they are UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Option<Self> {
        std::str::from_utf8(&bytes).is_ok().then_some(Self(bytes))
    }

    /// Wraps a static string without copying it.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was made")
    }

    /// How many bytes it takes. Costs nothing, where [`ByteStr::as_str`] reads the whole text.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty. Costs nothing either.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The part of the buffer that `part`, a slice of this text, occupies; no copy.
    pub fn slice_ref(&self, part: &str) -> Self {
        Self(self.0.slice_ref(part.as_bytes()))
    }

    /// The buffer itself.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<&str> for ByteStr {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for ByteStr {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl Deref for ByteStr {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for ByteStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ByteStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
