//! The two languages of Couplet: XMPP as clients speak it, the link as our nodes speak it.
//!
//! General before particular:
//!
//! - [`xmpp`]: the vocabulary of XMPP: addresses, stanzas, elements, errors, forms, time.
//! - [`slot`]: the fixed portion of all addresses an address belongs to.
//! - [`ring`]: which origin each slot should belong to.
//! - [`link`]: what edges and origins say to each other.
//! - [`metric`]: what is measured, and what that means.
//! - [`journal`]: what is written down of clients and slots.
//! - [`trace`]: how a sampled stanza is followed from node to node.
//!
//! **Invariant:** nothing here opens a socket, reads a clock or draws a random number.

pub mod xmpp;

pub mod slot;

pub mod ring;

pub mod link;

pub mod journal;

pub mod metric;

pub mod trace;

pub use xmpp::element::Element;
pub use xmpp::jid::Jid;
pub use xmpp::stanza::{Kind, Stanza, Type};
