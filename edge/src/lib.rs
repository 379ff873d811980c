//! The client side of Couplet: sockets in, stanzas out.
//!
//! The modules stand in the order data passes them; each imports only from those below it.
//!
//! **Invariant:** the edge knows sockets, framing and negotiation; it holds no account data, keeps
//! nothing on disk and never sees a password verifier.

pub mod clock;

pub mod framing;
