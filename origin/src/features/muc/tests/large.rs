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

/// 150 more are there.
fn fill(rig: &mut Rig) {
    for number in 0..150 {
        room(rig).occupants.insert(Occupant {
            jid: jid(&format!("u{number}@x/r")),
            nick: format!("U{number}").into(),
            role: Role::Participant,
            presence: Payload::default(),
            since: 0,
        });
    }
}

#[test]
fn whoever_enters_is_shown_everybody_as_it_is() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    fill(&mut rig);
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

/// §10.2: everybody is shown anew, a part at a time.
#[test]
fn other_settings_are_shown_in_parts() {
    let mut names = vec!["a".to_owned(), "b".to_owned()];
    names.extend((0..150).map(|number| format!("u{number}")));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut rig, mut clients) = den(&names);
    let field = "<field var='muc#roomconfig_whois'><value>anyone</value></field>";
    let form = format!("<x xmlns='jabber:x:data' type='submit'>{field}</x>");
    let query = format!("<query xmlns='http://jabber.org/protocol/muc#owner'>{form}</query>");
    rig.send(
        &mut clients[0],
        &format!("<iq type='set' id='s' to='{DEN}'>{query}</iq>"),
    );
    let (mut shown, mut parts) = (0, 0);
    while shown < 151 {
        let mut seen = rig.received(&clients[1]);
        seen.retain(|stanza| stanza.starts_with("<presence"));
        assert!(!seen.is_empty(), "{shown} after {parts} parts");
        let is_open = |stanza: &String| stanza.contains("jid='") && !stanza.contains("type=");
        assert!(seen.iter().all(is_open), "{seen:?}");
        (shown, parts) = (shown + seen.len(), parts + 1);
        rig.tick(1000);
    }
    assert_eq!((shown, parts), (151, 2));
}
