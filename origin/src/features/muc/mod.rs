//! XEP-0045: Multi-User Chat.
//!
//! A room is what stands at a bare address of a service's domain, as an account stands at one of
//! the server's. Its slot has one owner, who keeps the room in memory while something happens to it
//! and everything that counts in the store: occupants too, so that a new owner goes on with the
//! same room and nobody has to enter again.
//!
//! ```text
//! stanza for room or nick ─▶ received ─┬─ presence ─▶ enter, leave, change
//!                                      ├─ message ──▶ to all, to one, subject, invitation, …
//!                                      └─ iq ───────▶ room's own, or passed to an occupant
//! ```
//!
//! - `room`: what a room is. `occupant`: who is in it. `record`: how it is stored.
//! - `affiliation`: who may do what, as tables. `settings`: what the owners have chosen;
//!   `configuration`: the same as a form.
//! - `presence`: who hears of whom. `leave`: who is not there any more.
//! - `iq`: requests to the room itself. `info`: discovery; `owner`: the configuration and the end;
//!   `admin`: lists of roles and affiliations; `change`: what follows from a change of one;
//!   `announce`: what the room says to everybody.

mod iq;

mod info;

mod owner;

mod admin;

mod change;

mod announce;

mod leave;

mod presence;

mod room;

mod record;

mod occupant;

mod configuration;

mod settings;

mod affiliation;

#[cfg(test)]
mod tests_rules;

use std::sync::Arc;

use couplet_proto::{Kind, Stanza};

use self::room::Room;
use crate::hooks::{Ctx, Feature, Service, Spec};
use crate::route;

/// The room at an address, if there is one.
#[derive(Debug, Default)]
pub struct PerAccount(Option<Box<Room>>);

/// Nothing is remembered: which rooms a session is in stands in its directed presence.
pub type PerSession = ();

pub(super) static FEATURE: Feature = Feature {
    name: "muc",
    spec: Spec::new("XEP-0045", "Multi-User Chat", "1.35.3"),
    tables: record::TABLES,
    load: Some(record::load),
    service: Some(Service { received, alarm }),
    ..Feature::EMPTY
};

// === impl PerAccount ===

impl PerAccount {
    /// Whether there is a room.
    pub fn is_room(&self) -> bool {
        self.0.is_some()
    }
}

/// A stanza for an address of a service.
fn received(ctx: &mut Ctx<'_>, stanza: Arc<Stanza>, _entered: u64) {
    // Taken out, so that a handler has both; if it panics the room is read again.
    let mut room = ctx.account.slots.muc.0.take();
    match stanza.kind {
        Kind::Iq if stanza.is_request() && ctx.account.jid.local().is_some() => {
            let reply = iq::received(ctx, room.as_deref_mut(), &stanza);
            route::iq::conclude(ctx, &stanza, reply);
        }
        Kind::Presence | Kind::Message | Kind::Iq => {}
    }
    ctx.account.slots.muc.0 = room.filter(|room| !room.is_destroyed);
}

/// A time has come that a room asked for, or its slot has a new owner.
fn alarm(_ctx: &mut Ctx<'_>) {}
