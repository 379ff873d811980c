//! Rooms as their occupants see them.

mod changes;

mod entering;

mod history;

mod invitations;

mod large;

mod leaving;

mod messages;

mod private;

mod requests;

mod rules;

pub(super) mod stage;

mod takeover;

mod visibility;

mod voice;

use super::room::Room;
use super::settings::Settings;
use crate::shard::rig::{Client, Rig};

/// The room of the tests.
const DEN: &str = "den@rooms.x";

const JOIN: &str = "<x xmlns='http://jabber.org/protocol/muc'/>";

/// A world with accounts of these names.
fn world(names: &[&str]) -> Rig {
    let accounts: Vec<String> = names.iter().map(|name| format!("{name}@x")).collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    Rig::new(2, &accounts)
}

/// A client asks to join under a nick; what it gets.
fn join(rig: &mut Rig, client: &mut Client, nick: &str) -> Vec<String> {
    enter(rig, client, nick, JOIN)
}

/// As [`join`], with these children of the presence.
fn enter(rig: &mut Rig, client: &mut Client, nick: &str, children: &str) -> Vec<String> {
    let presence = format!("<presence id='j' to='{DEN}/{nick}'>{children}</presence>");
    rig.send(client, &presence);
    rig.received(client)
}

/// A client creates the room under a nick and opens it as it is (§10.1.2); what it got on entering.
fn open(rig: &mut Rig, client: &mut Client, nick: &str) -> Vec<String> {
    let entered = join(rig, client, nick);
    let form = "<x xmlns='jabber:x:data' type='submit'/>";
    let query = format!("<query xmlns='http://jabber.org/protocol/muc#owner'>{form}</query>");
    rig.ask(
        client,
        &format!("<iq type='set' id='open' to='{DEN}'>{query}</iq>"),
    );
    entered
}

/// Clients of `a@x/r`, `b@x/r`, … are in the room, which the first of them has opened, under the
/// nicks `A`, `B`, …; what that brought is thrown away.
fn den(names: &[&str]) -> (Rig, Vec<Client>) {
    let mut rig = world(names);
    let mut clients: Vec<Client> = Vec::new();
    for name in names {
        let mut client = rig.online(&format!("{name}@x/r"));
        if clients.is_empty() {
            open(&mut rig, &mut client, &name.to_uppercase());
        } else {
            join(&mut rig, &mut client, &name.to_uppercase());
        }
        clients.push(client);
    }
    for client in &clients {
        rig.received(client);
    }
    (rig, clients)
}

/// The room in memory.
fn room(rig: &mut Rig) -> &mut Room {
    let account = rig.account_mut(DEN).expect("in memory");
    account.slots.muc.0.as_mut().expect("a room")
}

fn settings(rig: &mut Rig) -> &mut Settings {
    &mut room(rig).settings
}

/// Asserts that a stanza has all of these in it.
#[track_caller]
fn has(stanza: &str, parts: &[&str]) {
    for part in parts {
        assert!(stanza.contains(part), "no {part} in {stanza}");
    }
}

/// Asserts that a stanza has none of these in it.
#[track_caller]
fn lacks(stanza: &str, parts: &[&str]) {
    for part in parts {
        assert!(!stanza.contains(part), "{part} in {stanza}");
    }
}
