//! Messages that may hold a password print without it.

use std::fmt;

use super::v1;

/// The connection, and nothing else.
macro_rules! print_connection {
    ($($message:ident)*) => {$(
        impl fmt::Debug for v1::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message))
                    .field("connection", &self.connection)
                    .finish_non_exhaustive()
            }
        }
    )*};
}

print_connection! { Authenticate Respond Register }

impl fmt::Debug for v1::Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").finish_non_exhaustive()
    }
}
