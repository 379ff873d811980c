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
//! - `room`: what a room is. `occupant`: who is in it. `members`: who belongs to it.
//!   `record`: how it is stored.
//! - `affiliation`: who may do what, as tables. `settings`: what the owners have chosen;
//!   `configuration`: the same as a form.
//! - `presence`, `cards`: who hears of whom. `pace`: how fast. `likeness`: which nicks are too
//!   alike.
//! - `enter`, `update`, `leave`: who is there. `message`, `private`, `history`: what is said.
//! - `invite`, `voice`: what is asked of it by message. `iq`, `forward`: by IQ, or of an occupant.
//!   `returned`: errors that answer what it has sent.
//! - Of what a room answers itself: `info`: discovery; `owner`: the configuration and the end;
//!   `admin`: lists of roles and affiliations; `change`: what follows when one is another;
//!   `registration` and its `approval`, `avatar`, `moderation`, `commands` for `hats`; `announce`:
//!   what the room says to everybody.
//! - `service`: the domain itself, and the list of its rooms. `archive`: what was said.
//! - `takeover`: what a new owner of the slot does first.

mod enter;

mod update;

mod leave;

mod takeover;

mod message;

mod private;

mod invite;

mod voice;

mod forward;

mod returned;

mod history;

mod iq;

mod info;

mod owner;

mod admin;

mod registration;

mod approval;

mod avatar;

mod moderation;

mod commands;

mod hats;

mod change;

mod announce;

mod likeness;

mod pace;

mod presence;

mod service;

mod archive;

mod room;

mod record;

mod cards;

mod occupant;

mod members;

mod configuration;

mod settings;

mod affiliation;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use couplet_proto::link::id::{SessionId, Source};
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use self::room::Room;
use self::service::Directory;
pub(super) use self::service::NAME;
use crate::hooks::{Ctx, Feature, Service, Spec};
use crate::route::{self, bounce};

/// The room at an address, if there is one; the public rooms, if the address is a service's.
#[derive(Debug, Default)]
pub struct PerAccount(Option<Box<Room>>, Option<Box<Directory>>);

/// Nothing is remembered: which rooms a session is in stands in its directed presence.
pub type PerSession = ();

pub(super) static FEATURE: Feature = Feature {
    name: "muc",
    spec: Spec::new("XEP-0045", "Multi-User Chat", "1.35.5")
        .note("without §7.9: delays that clients claim are removed"),
    also: &[
        Spec::new("XEP-0317", "Hats", "0.3.1"),
        Spec::new("XEP-0425", "Moderated Message Retraction", "0.3.0"),
        Spec::new("XEP-0486", "MUC Avatars", "0.1.0"),
        Spec::new("XEP-0249", "Direct MUC Invitations", "1.2")
            .note("between users; a room's own invitations say it too"),
        Spec::new("XEP-0308", "Last Message Correction", "1.2.1").note("passed on in rooms"),
        Spec::new("XEP-0410", "MUC Self-Ping (Schrödinger's Chat)", "1.1.0"),
        Spec::new(
            "XEP-0421",
            "Occupant identifiers for semi-anonymous MUCs",
            "1.0.1",
        ),
        Spec::new("XEP-0424", "Message Retraction", "0.4.2").note("passed on in rooms"),
        Spec::new("XEP-0444", "Message Reactions", "0.2.1").note("passed on in rooms"),
        Spec::new("XEP-0461", "Message Replies", "0.2.1").note("passed on in rooms"),
        Spec::new("XEP-0500", "MUC Slow Mode", "0.1.1"),
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
    /// What names the messages of the room; `None` where there is no room.
    pub(crate) fn name(&self) -> Option<SessionId> {
        self.0.as_ref().map(|room| room.name)
    }

    /// How many sessions are in the room; `None` where there is no room.
    pub(crate) fn occupants(&self) -> Option<usize> {
        self.0.as_ref().map(|room| room.occupants.len())
    }

    /// What the messages of a room came from that it keeps, oldest first, and when.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (Source, u64)> {
        let history = self.0.iter().flat_map(|room| &room.history);
        history.filter_map(|past| Some((past.source?, past.at)))
    }

    /// Whether there is a room, or a list of them.
    pub fn is_anything(&self) -> bool {
        self.0.is_some() || self.1.is_some()
    }
}

/// A stanza for an address of a service.
#[expect(
    clippy::needless_pass_by_value,
    reason = "as the contract has it: a service may keep the stanza"
)]
fn received(ctx: &mut Ctx<'_>, stanza: Arc<Stanza>, entered: u64) {
    if ctx.account.jid.local().is_none() {
        let reply = service::received(ctx, &stanza);
        return route::iq::conclude(ctx, &stanza, reply);
    }
    // Taken out, so that a handler has both; if it panics the room is read again.
    let mut room = ctx.account.slots.muc.0.take();
    if let Some(room) = &mut room {
        takeover::settle(ctx, room);
    }
    if let Err(error) = handle(ctx, &mut room, &stanza, entered) {
        refuse(ctx, &stanza, &error);
    }
    put_back(ctx, room);
}

/// A time has come that a room asked for, or its slot has a new owner.
fn alarm(ctx: &mut Ctx<'_>) {
    let mut room = ctx.account.slots.muc.0.take();
    if let Some(room) = &mut room {
        takeover::settle(ctx, room);
        update::catch_up(ctx, room);
        update::show_anew(ctx, room);
        presence::tidy(ctx, room);
        takeover::probe(ctx, room);
    }
    put_back(ctx, room);
}

/// §7.2, §7.4: the error says that the room has answered, not an occupant. With presence comes what
/// tells it from others.
fn refuse(ctx: &mut Ctx<'_>, stanza: &Stanza, error: &StanzaError) {
    let room = ctx.account.jid.clone();
    match stanza.kind {
        Kind::Presence => {
            // Empty: a password is not sent back.
            let x = Element::new("x", ns::MUC);
            bounce::bounce_by(ctx, stanza, error, &room, &[x]);
        }
        Kind::Message | Kind::Iq => bounce::bounce_by(ctx, stanza, error, &room, &[]),
    }
}

/// A stanza for a room or an occupant. The room may come to be.
fn handle(
    ctx: &mut Ctx<'_>,
    slot: &mut Option<Box<Room>>,
    stanza: &Arc<Stanza>,
    entered: u64,
) -> Result<(), StanzaError> {
    let room = slot.as_deref_mut();
    match (stanza.kind, stanza.type_) {
        (Kind::Iq, _) => requested(ctx, room, stanza),
        (_, Type::Error) => {
            if let Some(room) = room {
                returned::received(ctx, room, stanza);
            }
        }
        (Kind::Presence, Type::Available) => return enter::present(ctx, slot, stanza),
        (Kind::Presence, Type::Unavailable) => {
            if let Some(room) = room {
                leave::left(ctx, room, stanza);
            }
        }
        // §17.3: anything else means neither to enter nor to leave.
        (Kind::Presence, _) => {}
        (Kind::Message, _) => {
            let room = room.ok_or(Condition::ItemNotFound)?;
            return message::received(ctx, room, stanza, entered);
        }
    }
    Ok(())
}

/// An IQ for a room or an occupant.
fn requested(ctx: &mut Ctx<'_>, room: Option<&mut Room>, stanza: &Arc<Stanza>) {
    let is_for_room = stanza.to.as_ref().is_some_and(Jid::is_bare);
    if !stanza.is_request() {
        if let Some(room) = room {
            forward::answered(ctx, room, stanza);
        }
        return;
    }
    if is_for_room && room.is_none() {
        service::note_absent(ctx);
    }
    let reply = match is_for_room {
        true => iq::received(ctx, room, stanza),
        false => forward::asked(ctx, room, stanza),
    };
    route::iq::conclude(ctx, stanza, reply);
}

/// The one place where a room ends that nothing holds any more.
fn put_back(ctx: &mut Ctx<'_>, room: Option<Box<Room>>) {
    match room {
        Some(room) if room.is_destroyed => service::note_gone(ctx, &room),
        Some(room) if room.is_over() => {
            record::erase(ctx);
            service::note_gone(ctx, &room);
        }
        Some(mut room) => {
            service::note(ctx, &mut room);
            ctx.account.slots.muc.0 = Some(room);
        }
        None => {}
    }
}
