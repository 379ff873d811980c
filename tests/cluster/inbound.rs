//! What a user makes of a stanza that came: it is recorded, and answered if it has to be.

use std::time::Instant;

use crate::harness::tree::Tree;
use crate::history::{Fate, Records, Target, User};
use crate::rooms;
use crate::session::address;

/// A message to a user.
pub(crate) fn message(sender: User, receiver: User, number: usize) -> String {
    let (to, mark) = (address(receiver), mark(sender, receiver, number));
    format!("<message to='{to}' type='chat' id='{mark}'><body>{mark}</body></message>")
}

/// What a message carries as its id and as its text.
fn mark(sender: User, receiver: User, number: usize) -> String {
    format!("m-{sender}-{receiver}-{number}")
}

/// Sender, receiver and number.
fn read_mark(mark: &str) -> Option<(User, User, usize)> {
    let mut parts = mark.strip_prefix("m-")?.split('-');
    let mut next = || parts.next()?.parse().ok();
    Some((next()?, next()?, next()?))
}

/// Records a stanza that `user` got; the answer if it needs one.
pub(crate) fn take(records: &mut Records, user: User, stanza: &Tree) -> Option<String> {
    if rooms::is_from_room(stanza) {
        rooms::take(records, user, stanza);
        return None;
    }
    let sort = stanza.get("type").unwrap_or_default();
    match (stanza.name.as_str(), sort) {
        ("message", "error") => refused(records, user, stanza),
        ("message", _) => arrived(records, user, stanza),
        ("presence", "subscribe") => {
            let from = stanza.get("from").unwrap_or_default();
            return Some(format!("<presence type='subscribed' to='{from}'/>"));
        }
        ("presence", "" | "unavailable") => {
            // Presence of its own comes too, and says nothing.
            if let Some(contact) = user_of(stanza).filter(|contact| *contact != user) {
                records.see(user, contact, sort.is_empty());
            }
        }
        ("presence", "subscribed") => {}
        ("iq", "get" | "set") => {
            let id = stanza.get("id").unwrap_or_default();
            let to = stanza.get("from").map_or_else(String::new, |from| {
                format!(" to='{}'", quick_xml::escape::escape(from))
            });
            return Some(format!("<iq type='result' id='{id}'{to}/>"));
        }
        ("iq", "result") => {}
        _ => records.strange.push(format!("user{user} got {stanza}")),
    }
    None
}

/// A message came back.
fn refused(records: &mut Records, user: User, stanza: &Tree) {
    let mark = stanza.get("id").and_then(read_mark);
    let Some((_, receiver, number)) = mark.filter(|(sender, ..)| *sender == user) else {
        records.strange.push(format!("user{user} got {stanza}"));
        return;
    };
    let condition = stanza.condition().unwrap_or("no condition").to_owned();
    records.sent(user, Target::User(receiver), number).fate = Fate::Refused(condition);
}

/// A message came.
fn arrived(records: &mut Records, user: User, stanza: &Tree) {
    let id = stanza.get("id").unwrap_or_default();
    let body = stanza.child("body").map_or("", |body| &body.text);
    match read_mark(id) {
        Some((sender, receiver, number))
            if receiver == user && user_of(stanza) == Some(sender) && body == id =>
        {
            records.receive(sender, user, number, Instant::now());
        }
        _ => records.strange.push(format!("user{user} got {stanza}")),
    }
}

/// Which user a stanza is from.
fn user_of(stanza: &Tree) -> Option<User> {
    let from = stanza.get("from")?;
    let bare = from.split('/').next().unwrap_or_default();
    let number = bare.split('@').next()?.strip_prefix("user")?;
    let user = number.parse().ok()?;
    (address(user) == bare).then_some(user)
}
