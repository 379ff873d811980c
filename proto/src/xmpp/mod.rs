//! XMPP's vocabulary, shared by both sides of the link.

pub mod ns;

pub mod byte_str;

pub mod jid;

pub mod escape;

pub mod element;

pub mod payload;

pub mod trace;

pub mod stanza;

pub mod error;

pub mod form;

pub mod rsm;

pub mod time;
