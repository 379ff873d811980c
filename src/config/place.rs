//! Places: where a value came from, and what is wrong with it there.

use std::fmt;
use std::sync::Arc;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A line of a file.
    File {
        /// The file as the operator named it.
        path: Arc<str>,
        /// Counted from 1.
        line: usize,
    },
    /// A variable of the environment, by its name.
    Environment(String),
    /// `--set` on the command line.
    Argument,
    /// Nobody gave it: the default, or nothing at all.
    Default,
}

/// Something an operator has to change before the server starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The key, dotted; empty when a whole file or argument cannot be read.
    pub(crate) key: String,
    /// Where it was given.
    pub(crate) place: Place,
    /// What is wrong and, where possible, what would be right.
    pub(crate) message: String,
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Argument => f.write_str("--set"),
            Self::Default => f.write_str("default"),
        }
    }
}

// === impl Mistake ===

impl Mistake {
    /// A mistake in the value of a key.
    pub(crate) fn new(key: &str, place: Place, message: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            place,
            message: message.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}
