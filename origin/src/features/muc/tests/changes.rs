//! XEP-0045 §7.6 and §7.7: nicks and presence.

use super::super::affiliation::Affiliation;
use super::super::room::Member;
use super::*;
use crate::shard::rig::jid;

/// §7.6: unavailable with 303 and the new nick, then available.
#[test]
fn a_nick_is_changed() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    rig.send(&mut clients[1], "<presence id='n' to='den@rooms.x/Bob'/>");
    let own = rig.received(&clients[1]);
    assert_eq!(own.len(), 2, "{own:?}");
    let old = [
        "type='unavailable'",
        "from='den@rooms.x/B'",
        "nick='Bob'",
        "code='303'",
    ];
    has(&own[0], &old);
    has(&own[0], &["code='110'", "role='participant'"]);
    has(&own[1], &["from='den@rooms.x/Bob'", "code='110'", "id='n'"]);
    let seen = rig.received(&clients[0]);
    assert_eq!(seen.len(), 2, "{seen:?}");
    has(&seen[0], &old);
    lacks(&seen[0], &["code='110'"]);
    has(&seen[1], &["from='den@rooms.x/Bob'"]);
    lacks(&seen[1], &["unavailable"]);
    rig.send(
        &mut clients[1],
        "<message type='groupchat' to='den@rooms.x'><body>x</body></message>",
    );
    has(&rig.received(&clients[0])[0], &["from='den@rooms.x/Bob'"]);
}

/// §7.6: not the nick of somebody else, in use or reserved.
#[test]
fn a_nick_of_somebody_else_is_a_conflict() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let reserved = Member {
        affiliation: Affiliation::Member,
        nick: Some("Carol".into()),
        reason: None,
    };
    room(&mut rig).members.insert(jid("c@x"), reserved);
    for nick in ["A", "a", "Carol"] {
        let error = rig.ask(
            &mut clients[1],
            &format!("<presence to='den@rooms.x/{nick}'/>"),
        );
        has(&error, &["<presence type='error'", "<conflict "]);
    }
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
    // Its own in other letters it may have.
    rig.send(&mut clients[1], "<presence to='den@rooms.x/b'/>");
    assert_eq!(rig.received(&clients[0]).len(), 2);
}

/// §7.2.8: all sessions under a nick change it together.
#[test]
fn a_user_s_sessions_change_their_nick_together() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let mut second = rig.online("b@x/second");
    join(&mut rig, &mut second, "B");
    rig.received(&clients[0]);
    rig.received(&clients[1]);
    rig.send(&mut clients[1], "<presence to='den@rooms.x/Bob'/>");
    for client in [&clients[1], &second] {
        let own = rig.received(client);
        assert_eq!(own.len(), 2, "{own:?}");
        has(&own[0], &["code='303'", "code='110'"]);
        has(&own[1], &["from='den@rooms.x/Bob'", "code='110'"]);
    }
    assert_eq!(rig.received(&clients[0]).len(), 2);
    assert_eq!(room(&mut rig).occupants.of_nick("Bob").len(), 2);
}

/// §7.7.
#[test]
fn a_change_of_presence_is_passed_on() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    rig.send(
        &mut clients[1],
        "<presence to='den@rooms.x/B'><show>xa</show></presence>",
    );
    let seen = rig.received(&clients[0]);
    has(&seen[0], &["<show>xa</show>", "role='participant'"]);
    has(
        &rig.received(&clients[1])[0],
        &["<show>xa</show>", "code='110'"],
    );
}

/// B18: of a flood the others see the last, a moment later.
#[test]
fn a_flood_of_presence_is_shown_as_its_last() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    for number in 0..20 {
        let status = format!("<status>{number}</status>");
        rig.send(
            &mut clients[1],
            &format!("<presence to='den@rooms.x/B'>{status}</presence>"),
        );
    }
    assert_eq!(rig.received(&clients[0]).len(), 5);
    rig.tick(1000);
    let seen = rig.received(&clients[0]);
    assert_eq!(seen.len(), 1, "{seen:?}");
    has(&seen[0], &["<status>19</status>"]);
    rig.tick(1000);
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
}

/// `presencebroadcast`: a visitor is seen by moderators alone.
#[test]
fn presence_of_a_role_that_is_not_shown_is_for_moderators() {
    use super::super::affiliation::Role;
    let (mut rig, mut clients) = den(&["a", "b", "c"]);
    settings(&mut rig).presence_of = vec![Role::Moderator];
    rig.send(
        &mut clients[1],
        "<presence to='den@rooms.x/B'><show>xa</show></presence>",
    );
    assert_eq!(rig.received(&clients[0]).len(), 1);
    assert_eq!(rig.received(&clients[1]).len(), 1);
    assert_eq!(rig.received(&clients[2]), Vec::<String>::new());
}
