//! XEP-0045 §7.5: from one occupant to another.

use super::super::affiliation::Role;
use super::super::settings::Allowed;
use super::*;
use crate::shard::rig::jid;

fn whisper(nick: &str, type_: &str) -> String {
    format!("<message type='{type_}' id='p' to='{DEN}/{nick}'><body>hush</body></message>")
}

#[test]
fn a_private_message_goes_to_every_session_of_the_nick() {
    let (mut rig, mut clients) = den(&["a", "b", "c"]);
    let mut second = rig.online("b@x/second");
    join(&mut rig, &mut second, "B");
    for client in &clients {
        rig.received(client);
    }
    rig.send(&mut clients[0], &whisper("B", "chat"));
    for client in [&clients[1], &second] {
        let seen = rig.received(client);
        assert_eq!(seen.len(), 1, "{seen:?}");
        has(
            &seen[0],
            &["type='chat'", "id='p'", "from='den@rooms.x/A'", "hush"],
        );
        has(
            &seen[0],
            &[
                "<x xmlns='http://jabber.org/protocol/muc#user'/>",
                "<occupant-id ",
            ],
        );
    }
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
    assert_eq!(rig.received(&clients[2]), Vec::<String>::new());
}

#[test]
fn private_messages_that_cannot_be_are_refused() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    has(
        &rig.ask(&mut clients[0], &whisper("B", "groupchat")),
        &["<bad-request "],
    );
    has(
        &rig.ask(&mut clients[0], &whisper("Nobody", "chat")),
        &["<item-not-found "],
    );
    let mut other = rig.online("a@x/other");
    has(
        &rig.ask(&mut other, &whisper("B", "chat")),
        &["<not-acceptable "],
    );
    assert_eq!(rig.received(&clients[1]), Vec::<String>::new());
}

/// `allowpm`.
#[test]
fn the_owners_say_who_may_send_them() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    for (allowed, role, may) in [
        (Allowed::Anyone, Role::Visitor, true),
        (Allowed::Participants, Role::Visitor, false),
        (Allowed::Participants, Role::Participant, true),
        (Allowed::Moderators, Role::Participant, false),
        (Allowed::Moderators, Role::Moderator, true),
        (Allowed::Nobody, Role::Moderator, false),
    ] {
        settings(&mut rig).private_messages = allowed;
        let occupant = room(&mut rig).occupants.get_mut(&jid("b@x/r"));
        occupant.expect("in the room").role = role;
        rig.send(&mut clients[1], &whisper("A", "chat"));
        assert_eq!(
            rig.received(&clients[0]).len(),
            usize::from(may),
            "{allowed:?} {role:?}"
        );
        let refused = rig.received(&clients[1]);
        assert_eq!(refused.len(), usize::from(!may));
        assert!(
            refused.iter().all(|error| error.contains("<forbidden ")),
            "{refused:?}"
        );
    }
}

fn error(to: &str, id: &str, condition: &str) -> String {
    let condition = format!(
        "<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:b@x/r</{condition}>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>b@x</text>"
    );
    let error = format!("<error type='wait' by='b@x/r'>{condition}</error><body>hush</body>");
    format!("<message type='error' id='{id}' to='{DEN}/{to}'>{error}</message>")
}

#[test]
fn an_error_comes_back_to_the_sender_without_an_address() {
    let (mut rig, mut clients) = den(&["a", "b", "c"]);
    rig.send(&mut clients[0], &whisper("B", "chat"));
    rig.received(&clients[1]);
    rig.send(&mut clients[1], &error("A", "p", "not-acceptable"));
    let told = rig.received(&clients[0]);
    assert_eq!(told.len(), 1, "{told:?}");
    has(
        &told[0],
        &[
            "<message type='error' id='p' from='den@rooms.x/B' to='a@x/r'>",
            "<error type='wait'>",
            "<not-acceptable ",
        ],
    );
    lacks(&told[0], &["b@x", "hush"]);
    assert_eq!(rig.received(&clients[2]), Vec::<String>::new());
    assert_eq!(room(&mut rig).occupants.len(), 3);
}

/// §12.1: the sender hears of it, and then that the occupant is gone.
#[test]
fn an_error_that_says_that_nobody_is_there_does_both() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    rig.send(&mut clients[1], &error("A", "p", "gone"));
    let told = rig.received(&clients[0]);
    assert_eq!(told.len(), 2, "{told:?}");
    has(&told[0], &["<message type='error' id='p'", "<gone "]);
    has(&told[1], &["type='unavailable'", "code='333'"]);
    assert_eq!(room(&mut rig).occupants.len(), 1);
}

#[test]
fn errors_that_answer_no_private_message_are_nobody_s() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let said = format!("<message type='groupchat' id='g' to='{DEN}'><body>x</body></message>");
    rig.send(&mut clients[0], &said);
    rig.received(&clients[0]);
    // To what everybody was sent; to what cannot be named; from outside; for nobody.
    rig.send(&mut clients[1], &error("A", "g", "not-acceptable"));
    rig.send(&mut clients[1], &error("Nobody", "p", "not-acceptable"));
    let mut outside = rig.online("b@x/outside");
    rig.send(&mut outside, &error("A", "p", "not-acceptable"));
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
    // One of two sessions is gone: the other has the message.
    let mut second = rig.online("b@x/second");
    join(&mut rig, &mut second, "B");
    rig.received(&clients[0]);
    rig.send(&mut clients[1], &error("A", "p", "gone"));
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
    assert_eq!(room(&mut rig).occupants.len(), 2);
}
