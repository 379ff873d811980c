//! Shard: the one owner of a group of slots, their accounts and sessions.
//!
//! ```text
//!            ┌────────────── Shard: pure, single-threaded ──────────────┐
//! Event ───▶ │ step ─▶ account ─▶ handler ─▶ effects ─▶ commit gate ─┐ │ ───▶ Output
//!            │   ▲        └ not in memory: waits for Loaded          │ │
//!            │   └──────────── local: stanzas for its own slots ◀────┘ │
//!            └───────────────────────────────────────────────────────────┘
//! ```
//!
//! - [`event`]: everything that can happen to a shard. [`output`]: everything it can ask for.
//! - [`step`]: event → the account it is for → the handler.
//! - [`commit`]: what a handler sent after a write waits until the write is durable.
//! - `conclude`: effect → output. `release`: what has to happen before a sender is told.
//! - `refuse`: what has failed is told to whoever waits for it.
//! - `followed`: what is told of the few stanzas that are followed.
//! - `watching`: what an operator who looks on is shown.
//! - `fan`: the same stanzas for many sessions. `bulk`: in turn.
//! - `tenure`: slots come and go. `debts`, `routes`: what is under way.
//! - `login`: exchanges, registration, binding. `expel`: sessions that operators end.
//! - `overload`: how near the bounds the work is.
//! - [`actor`]: the task that feeds a shard and carries its outputs out.
//!
//! **Invariant:** a shard has one owner and one task; nothing in it needs a lock.
//! **Invariant:** no clock, no I/O, no ambient randomness inside; the same events and seed give
//! the same outputs.
//! **Invariant:** what follows a write in one handler leaves the shard after the write's commit,
//! and everything of one account leaves in the order it was made.

pub mod event;

pub mod output;

pub mod state;

mod tenure;

mod residents;

mod debts;

mod routes;

mod quarantine;

pub mod step;

mod moves;

mod gone;

mod expel;

mod read;

mod work;

mod login;

mod conclude;

mod refuse;

mod followed;

mod watching;

mod release;

mod fan;

mod bulk;

mod list;

pub mod commit;

pub(crate) mod mailbox;

pub(crate) mod overload;

mod jobs;

mod carry;

pub mod actor;

#[cfg(test)]
pub(crate) mod rig;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod tests_expel;

#[cfg(test)]
mod tests_fan;

#[cfg(test)]
mod tests_faults;

#[cfg(test)]
mod tests_followed;

#[cfg(test)]
mod tests_onlook;

#[cfg(test)]
mod tests_resumption;

#[cfg(test)]
mod tests_stop;

pub use event::Event;
pub use output::Output;
pub use state::Shard;
