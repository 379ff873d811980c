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
//! - `affiliation`: who may do what, as tables. `settings`: the configuration and its form.
//! - `presence`: who hears of whom.
//! - `service`: the domain itself, and the list of its rooms. `archive`: what was said.

mod presence;

mod service;

mod archive;

mod room;

mod record;

mod occupant;

mod settings;

mod affiliation;

#[cfg(test)]
mod stage;

use std::sync::Arc;

use couplet_proto::xmpp::ns;
use couplet_proto::{Kind, Stanza};

use self::room::Room;
use self::service::Directory;
pub(super) use self::service::NAME;
use crate::hooks::{Ctx, Feature, Service, Spec};
use crate::route::iq;

/// The room at an address, if there is one; the public rooms, if the address is a service's.
#[derive(Debug, Default)]
pub struct PerAccount(Option<Box<Room>>, Option<Box<Directory>>);

/// Nothing is remembered: which rooms a session is in stands in its directed presence.
pub type PerSession = ();

pub(super) static FEATURE: Feature = Feature {
    name: "muc",
    spec: Spec::new("XEP-0045", "Multi-User Chat", "1.35.3"),
    also: &[
        Spec::new("XEP-0059", "Result Set Management", "1.0")
            .note("in lists of rooms, searches and archives"),
        Spec::new("XEP-0313", "Message Archive Management", "1.1.3").note("of rooms"),
        Spec::new("XEP-0433", "Extended Channel Search", "0.1.0")
            .note("of the service's own rooms"),
    ],
    tables: record::TABLES,
    logs: archive::LOGS,
    load: Some(record::load),
    service: Some(Service { received, alarm }),
    ..Feature::EMPTY
};

// === impl PerAccount ===

impl PerAccount {
    /// Whether there is a room, or a list of them.
    pub fn is_anything(&self) -> bool {
        self.0.is_some() || self.1.is_some()
    }
}

/// A stanza for an address of a service.
fn received(ctx: &mut Ctx<'_>, stanza: Arc<Stanza>, _entered: u64) {
    if ctx.account.jid.local().is_none() {
        let reply = service::received(ctx, &stanza);
        return iq::conclude(ctx, &stanza, reply);
    }
    // Taken out, so that a handler has both; if it panics the room is read again.
    let room = ctx.account.slots.muc.0.take();
    if let Some(room) = &room
        && stanza.kind == Kind::Iq
        && stanza
            .first()
            .is_some_and(|payload| payload.has_ns(ns::MAM))
    {
        let reply = archive::query(ctx, room, &stanza);
        iq::conclude(ctx, &stanza, reply);
    }
    ctx.account.slots.muc.0 = room;
}

/// A time has come that a room asked for, or its slot has a new owner.
fn alarm(ctx: &mut Ctx<'_>) {
    let mut room = ctx.account.slots.muc.0.take();
    if let Some(room) = &mut room {
        service::note(ctx, room);
    }
    ctx.account.slots.muc.0 = room;
}
