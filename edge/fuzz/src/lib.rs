//! The framer compared with other parsers.
//!
//! - [`tree`]: what a parser understood, in a form that can be compared.
//! - [`generate`]: elements in every spelling, and mutations of them, from a seed.
//! - [`oracle`]: what the framer makes of an input must agree with rxml, before and after.

pub mod generate;
pub mod oracle;
pub mod tree;
