//! Large rooms: what is kept of them so that they fill quickly says what is so now.

use couplet_proto::xmpp::payload::Payload;

use super::super::affiliation::Role;
use super::super::occupant::Occupant;
use super::*;
use crate::shard::rig::jid;

/// What a client is told of an occupant when it asks for everything again.
fn told_of(rig: &mut Rig, client: &mut Client, nick: &str) -> Option<String> {
    let from = format!("from='{DEN}/{nick}'");
    rig.received(client);
    let all = join(rig, client, "B");
    all.into_iter().find(|stanza| stanza.contains(&from))
}

#[test]
fn whoever_enters_is_shown_everybody_as_it_is() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    for number in 0..150 {
        room(&mut rig).occupants.insert(Occupant {
            jid: jid(&format!("u{number}@y/r")),
            nick: format!("U{number}").into(),
            role: Role::Participant,
            presence: Payload::default(),
            since: 0,
        });
    }
    let mut b = clients.pop().expect("b");
    let mut a = clients.pop().expect("a");
    assert_eq!(join(&mut rig, &mut b, "B").len(), 153);
    lacks(&told_of(&mut rig, &mut b, "A").expect("there"), &["<show>"]);
    // It changes its presence,
    rig.send(
        &mut a,
        "<presence to='den@rooms.x/A'><show>xa</show></presence>",
    );
    let seen = told_of(&mut rig, &mut b, "A").expect("there");
    has(&seen, &["<show>xa</show>"]);
    lacks(&seen, &["jid="]);
    // whoever looks becomes a moderator,
    let item = "<item nick='B' role='moderator'/>";
    let query = format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>");
    rig.send(
        &mut a,
        &format!("<iq type='set' id='q' to='{DEN}'>{query}</iq>"),
    );
    rig.received(&b);
    let seen = told_of(&mut rig, &mut b, "A").expect("there");
    has(&seen, &["<show>xa</show>", "jid='a@x/r'"]);
    // it has another nick,
    rig.send(&mut a, "<presence to='den@rooms.x/Alice'/>");
    assert_eq!(told_of(&mut rig, &mut b, "A"), None);
    assert!(told_of(&mut rig, &mut b, "Alice").is_some());
    // and goes.
    rig.send(
        &mut a,
        "<presence type='unavailable' to='den@rooms.x/Alice'/>",
    );
    assert_eq!(told_of(&mut rig, &mut b, "Alice"), None);
}
