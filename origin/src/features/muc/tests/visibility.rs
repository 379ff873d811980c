//! XEP-0045 §10.2, §15.5.3: `whois` and `presencebroadcast`, changed while people are there.

use super::super::affiliation::Role;
use super::*;
use crate::shard::rig::jid;

/// The owner chooses these values of a field.
fn choose(rig: &mut Rig, owner: &mut Client, field: &str, values: &[&str]) {
    let values: String = values
        .iter()
        .map(|value| format!("<value>{value}</value>"))
        .collect();
    let field = format!("<field var='muc#roomconfig_{field}'>{values}</field>");
    let form = format!("<x xmlns='jabber:x:data' type='submit'>{field}</x>");
    let query = format!("<query xmlns='http://jabber.org/protocol/muc#owner'>{form}</query>");
    rig.send(
        owner,
        &format!("<iq type='set' id='q' to='{DEN}'>{query}</iq>"),
    );
}

/// The presences a client has received.
fn presences(rig: &mut Rig, client: &Client) -> Vec<String> {
    let mut all = rig.received(client);
    all.retain(|stanza| stanza.starts_with("<presence"));
    all
}

fn set_role(rig: &mut Rig, full: &str, role: Role) {
    let occupant = room(rig).occupants.get_mut(&jid(full));
    occupant.expect("in the room").role = role;
}

#[test]
fn addresses_are_shown_when_everybody_may_see_them() {
    let (mut rig, mut clients) = den(&["a", "b", "c"]);
    choose(&mut rig, &mut clients[0], "whois", &["anyone"]);
    let seen = rig.received(&clients[1]);
    assert_eq!(seen.len(), 3, "{seen:?}");
    // First that it is so, then what follows.
    has(&seen[0], &["code='172'"]);
    has(&seen[1], &["from='den@rooms.x/A'", "jid='a@x/r'"]);
    has(&seen[2], &["from='den@rooms.x/C'", "jid='c@x/r'"]);
    lacks(&seen[1], &["code='110'"]);
    // A moderator has seen them all the time.
    assert_eq!(presences(&mut rig, &clients[0]), Vec::<String>::new());
    // An owner who cannot make up its mind costs the others little.
    for whois in ["moderators", "anyone", "moderators"] {
        choose(&mut rig, &mut clients[0], "whois", &[whois]);
    }
    assert_eq!(presences(&mut rig, &clients[1]), Vec::<String>::new());
    rig.tick(1000);
    let seen = presences(&mut rig, &clients[1]);
    assert_eq!(seen.len(), 2, "{seen:?}");
    lacks(&seen.concat(), &["jid="]);
}

#[test]
fn those_who_are_not_shown_any_more_have_left_for_the_others() {
    let (mut rig, mut clients) = den(&["a", "b", "c"]);
    set_role(&mut rig, "c@x/r", Role::Visitor);
    let shown = ["moderator", "participant"];
    choose(&mut rig, &mut clients[0], "presencebroadcast", &shown);
    let seen = presences(&mut rig, &clients[1]);
    assert_eq!(seen.len(), 1, "{seen:?}");
    has(&seen[0], &["from='den@rooms.x/C'", "type='unavailable'"]);
    assert_eq!(presences(&mut rig, &clients[0]), Vec::<String>::new());
    assert_eq!(presences(&mut rig, &clients[2]), Vec::<String>::new());
    // What it does is seen by moderators and by itself.
    for presence in [
        "<presence to='den@rooms.x/C'><show>away</show></presence>",
        "<presence to='den@rooms.x/Carol'/>",
        "<presence type='unavailable' to='den@rooms.x/Carol'/>",
    ] {
        rig.send(&mut clients[2], presence);
        assert_ne!(presences(&mut rig, &clients[0]), Vec::<String>::new());
        assert_ne!(presences(&mut rig, &clients[2]), Vec::<String>::new());
        assert_eq!(presences(&mut rig, &clients[1]), Vec::<String>::new());
    }
}

#[test]
fn those_who_are_shown_again_are_there() {
    let (mut rig, mut clients) = den(&["a", "b", "c"]);
    set_role(&mut rig, "c@x/r", Role::Visitor);
    settings(&mut rig).presence_of = vec![Role::Moderator];
    let shown = ["moderator", "visitor"];
    choose(&mut rig, &mut clients[0], "presencebroadcast", &shown);
    let seen = presences(&mut rig, &clients[1]);
    assert_eq!(seen.len(), 1, "{seen:?}");
    has(&seen[0], &["from='den@rooms.x/C'", "role='visitor'"]);
    lacks(&seen[0], &["type='unavailable'", "jid="]);
    // Of itself nobody hears.
    assert_eq!(presences(&mut rig, &clients[2]), Vec::<String>::new());
}

/// What a moderator alone sees has left for one who is none any more.
#[test]
fn who_is_no_moderator_any_more_sees_less() {
    let (mut rig, mut clients) = den(&["a", "b", "c"]);
    set_role(&mut rig, "c@x/r", Role::Visitor);
    settings(&mut rig).presence_of = vec![Role::Moderator, Role::Participant];
    for (role, type_) in [("moderator", ""), ("participant", "type='unavailable'")] {
        let item = format!("<item nick='B' role='{role}'/>");
        let query = format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>");
        rig.send(
            &mut clients[0],
            &format!("<iq type='set' id='q' to='{DEN}'>{query}</iq>"),
        );
        let seen = presences(&mut rig, &clients[1]);
        let of_visitor = seen.iter().find(|it| it.contains("from='den@rooms.x/C'"));
        let of_visitor = of_visitor.unwrap_or_else(|| panic!("{role}: {seen:?}"));
        has(of_visitor, &[type_, "role="]);
    }
}
