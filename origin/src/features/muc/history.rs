//! History: what somebody who enters is told of what was said before (XEP-0045 §7.2.13 to
//! §7.2.15), and the subject.

use std::sync::Arc;

use couplet_proto::xmpp::payload::Payload;
use couplet_proto::xmpp::{ns, time};
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::occupant::Occupant;
use super::presence;
use super::room::Room;
use crate::hooks::Ctx;

/// What a client wants to have of it (§7.2.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    stanzas: usize,
    chars: usize,
    /// Nothing sent before this, in milliseconds since 1970.
    from: u64,
}

// === impl Limits ===

impl Limits {
    fn of(room: &Room, now: u64, join: Option<&Element>) -> Self {
        let mut limits = Self {
            stanzas: room.settings.history_max as usize,
            chars: usize::MAX,
            from: 0,
        };
        let Some(asked) = join.and_then(|join| join.find_own("history")) else {
            return limits;
        };
        // What cannot be read limits nothing.
        let number = |name: &str| asked.get(name)?.trim().parse::<u64>().ok();
        let count = |name: &str| number(name).and_then(|number| usize::try_from(number).ok());
        if let Some(stanzas) = count("maxstanzas") {
            limits.stanzas = limits.stanzas.min(stanzas);
        }
        if let Some(chars) = count("maxchars") {
            limits.chars = chars;
        }
        if let Some(seconds) = number("seconds") {
            limits.from = now.saturating_sub(seconds.saturating_mul(1000));
        }
        if let Some(since) = asked.get("since").and_then(time::parse) {
            limits.from = limits.from.max(since);
        }
        limits
    }
}

/// Sends history and subject to somebody who enters with `join`.
pub(super) fn send(ctx: &mut Ctx<'_>, room: &Room, to: &Occupant, join: Option<&Element>) {
    let limits = Limits::of(room, ctx.now.unix, join);
    let mut stanzas = shown(room, &to.jid, limits);
    stanzas.push(subject(room));
    presence::send(ctx, stanzas, vec![to.jid.clone()]);
}

/// The latest messages within the limits, oldest first.
fn shown(room: &Room, to: &Jid, limits: Limits) -> Vec<Arc<Stanza>> {
    let mut shown = Vec::new();
    let mut chars = 0;
    for past in room.history.iter().rev().filter(|past| past.is_shown) {
        if shown.len() >= limits.stanzas || past.at < limits.from {
            break;
        }
        let stanza = delayed(room, &past.stanza, past.at);
        if limits.chars < usize::MAX {
            // §7.2.14: the characters of the whole stanza, as it is sent.
            chars += stanza.clone().to(to.clone()).to_string().chars().count();
        }
        if chars > limits.chars {
            break;
        }
        shown.push(Arc::new(stanza));
    }
    shown.reverse();
    shown
}

/// §7.2.15: the subject; an empty one if there is none.
fn subject(room: &Room) -> Arc<Stanza> {
    if let Some(subject) = &room.subject {
        return Arc::new(delayed(room, &subject.stanza, subject.at));
    }
    let mut none = Stanza::new(Kind::Message, Type::Groupchat).from(room.jid.clone());
    none.payload = Payload::from_elements([&Element::new("subject", ns::CLIENT)]);
    Arc::new(none)
}

/// As it was sent, and when (XEP-0203).
fn delayed(room: &Room, stanza: &Stanza, at: u64) -> Stanza {
    let delay = Element::new("delay", ns::DELAY)
        .attr("from", room.jid.as_str())
        .attr("stamp", time::format(at));
    stanza.clone().child(&delay)
}
