//! XEP-0045 §7.2 and §10.1: who may enter, and what it is told.

use super::super::affiliation::Affiliation;
use super::super::room::Member;
use super::*;
use crate::config::RoomCreation;
use crate::shard::rig::jid;

const MUC: &str = "http://jabber.org/protocol/muc";

#[track_caller]
fn refused(received: &[String], type_: &str, condition: &str) {
    assert_eq!(received.len(), 1, "{received:?}");
    let from = format!("from='{DEN}");
    let type_ = format!("<x xmlns='{MUC}'/><error type='{type_}' by='{DEN}'>");
    let condition = format!("<{condition} ");
    let parts = [
        "<presence type='error'",
        "id='j'",
        &from,
        &type_,
        &condition,
    ];
    has(&received[0], &parts);
}

fn affiliate(rig: &mut Rig, bare: &str, affiliation: Affiliation, nick: Option<&str>) {
    let member = Member {
        affiliation,
        nick: nick.map(Into::into),
        reason: None,
    };
    room(rig).members.insert(jid(bare), member);
}

/// §7.1, §7.2.2: the others, oneself, the history, the subject; and the others hear of it.
#[test]
fn who_enters_gets_everything_in_order() {
    let mut rig = world(&["a", "b"]);
    let mut a = rig.online("a@x/r");
    open(&mut rig, &mut a, "A");
    rig.send(
        &mut a,
        "<message type='groupchat' to='den@rooms.x'><body>hi</body></message>",
    );
    rig.received(&a);
    let mut b = rig.online("b@x/r");
    let received = join(&mut rig, &mut b, "B");
    assert_eq!(received.len(), 4, "{received:?}");
    has(
        &received[0],
        &[
            "from='den@rooms.x/A'",
            "affiliation='owner' role='moderator'",
        ],
    );
    lacks(&received[0], &["jid=", "<status"]);
    has(
        &received[1],
        &[
            "from='den@rooms.x/B'",
            "role='participant'",
            "code='110'",
            "id='j'",
        ],
    );
    has(&received[1], &["jid='b@x/r'", "code='170'"]);
    lacks(&received[1], &["code='201'", "code='100'"]);
    has(
        &received[2],
        &[
            "<body>hi</body>",
            "<delay xmlns='urn:xmpp:delay' from='den@rooms.x'",
        ],
    );
    has(
        &received[3],
        &["type='groupchat'", "from='den@rooms.x'", "<subject/>"],
    );
    let seen = rig.received(&a);
    assert_eq!(seen.len(), 1, "{seen:?}");
    // §7.2.4: a moderator sees the address.
    has(&seen[0], &["from='den@rooms.x/B'", "jid='b@x/r'"]);
    lacks(&seen[0], &["code='110'", "protocol/muc'"]);
}

/// §10.1.1: the room is there, its creator owns it, and nobody else may enter until it is
/// configured (§7.2.10).
#[test]
fn a_new_room_is_locked() {
    let mut rig = world(&["a", "b"]);
    let mut a = rig.online("a@x/r");
    let received = join(&mut rig, &mut a, "A");
    assert_eq!(received.len(), 2, "{received:?}");
    has(
        &received[0],
        &[
            "affiliation='owner' role='moderator'",
            "code='110'",
            "code='201'",
        ],
    );
    let mut b = rig.online("b@x/r");
    refused(&join(&mut rig, &mut b, "B"), "cancel", "item-not-found");
    let message = "<message type='groupchat' to='den@rooms.x'><body>hi</body></message>";
    has(&rig.ask(&mut b, message), &["<item-not-found "]);
}

/// §7.2.1: who does not ask to join and is not in the room is told so, and nothing comes of it.
#[test]
fn who_thinks_that_it_is_there_is_told_that_it_is_not() {
    let mut rig = world(&["a", "b"]);
    let mut a = rig.online("a@x/r");
    let codes = [
        "type='unavailable'",
        "code='110'",
        "code='307'",
        "code='333'",
    ];
    has(&enter(&mut rig, &mut a, "A", "")[0], &codes);
    assert!(rig.account_mut(DEN).is_none_or(|it| !it.is_somebody()));
    open(&mut rig, &mut a, "A");
    rig.received(&a);
    let mut b = rig.online("b@x/r");
    has(&enter(&mut rig, &mut b, "B", "")[0], &codes);
    assert!(rig.received(&a).is_empty());
    join(&mut rig, &mut b, "B");
    assert_eq!(room(&mut rig).occupants.len(), 2);
}

/// §10.1.1: the operator says who may create rooms.
#[test]
fn who_may_not_create_a_room_is_told() {
    let mut rig = Rig::with(1, &["a@x", "b@x"], |config| {
        config.muc.creation = RoomCreation::Admins;
        config.muc.admins = vec!["b@x".to_owned()];
    });
    let mut a = rig.online("a@x/r");
    refused(&join(&mut rig, &mut a, "A"), "cancel", "not-allowed");
    let mut b = rig.online("b@x/r");
    has(&join(&mut rig, &mut b, "B")[0], &["code='201'"]);
}

/// §7.2.1, §17.1.
#[test]
fn a_nick_is_needed() {
    let mut rig = world(&["a"]);
    let mut a = rig.online("a@x/r");
    for to in ["den@rooms.x", "den@rooms.x/ "] {
        rig.send(
            &mut a,
            &format!("<presence id='j' to='{to}'>{JOIN}</presence>"),
        );
        refused(&rig.received(&a), "modify", "jid-malformed");
    }
}

/// §7.2.5.
#[test]
fn a_password_is_asked_for() {
    let (mut rig, _) = den(&["a", "b"]);
    settings(&mut rig).password = Some("cauldronburn".to_owned());
    let mut b = rig.online("b@x/other");
    refused(&join(&mut rig, &mut b, "B"), "auth", "not-authorized");
    let x = |password: &str| {
        format!("<x xmlns='http://jabber.org/protocol/muc'><password>{password}</password></x>")
    };
    refused(
        &enter(&mut rig, &mut b, "B", &x("no")),
        "auth",
        "not-authorized",
    );
    let received = enter(&mut rig, &mut b, "B", &x("cauldronburn"));
    has(&received[1], &["code='110'"]);
    assert!(
        !received
            .iter()
            .any(|stanza| stanza.contains("cauldronburn"))
    );
}

/// §7.2.6, §7.2.7.
#[test]
fn only_members_enter_a_members_only_room_and_nobody_who_is_banned() {
    let mut rig = world(&["a", "b"]);
    let (mut a, mut b) = (rig.online("a@x/r"), rig.online("b@x/r"));
    open(&mut rig, &mut a, "A");
    settings(&mut rig).is_members_only = true;
    refused(
        &join(&mut rig, &mut b, "B"),
        "auth",
        "registration-required",
    );
    affiliate(&mut rig, "b@x", Affiliation::Outcast, None);
    refused(&join(&mut rig, &mut b, "B"), "auth", "forbidden");
    affiliate(&mut rig, "b@x", Affiliation::Member, None);
    has(
        &join(&mut rig, &mut b, "B")[1],
        &["affiliation='member'", "code='110'"],
    );
}

/// §7.2.8: a nick in use, reserved, or too like one.
#[test]
fn a_nick_of_somebody_else_is_a_conflict() {
    let mut rig = world(&["a", "b"]);
    let (mut a, mut b) = (rig.online("a@x/r"), rig.online("b@x/r"));
    open(&mut rig, &mut a, "Alice");
    affiliate(&mut rig, "c@x", Affiliation::Member, Some("Carol"));
    for nick in ["Alice", "ALICE", "AIice", "\u{391}lice", "Carol", "carol"] {
        refused(&join(&mut rig, &mut b, nick), "cancel", "conflict");
    }
    has(&join(&mut rig, &mut b, "Bob")[1], &["code='110'"]);
}

/// §7.2.8: the same user may enter under its nick again, and is one occupant to the others.
#[test]
fn a_user_s_second_session_shares_the_nick() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let mut second = rig.online("b@x/second");
    rig.received(&clients[1]);
    let received = join(&mut rig, &mut second, "B");
    assert_eq!(received.len(), 3, "{received:?}");
    has(&received[1], &["from='den@rooms.x/B'", "code='110'"]);
    rig.received(&clients[0]);
    rig.received(&clients[1]);
    rig.send(
        &mut clients[0],
        "<message type='groupchat' to='den@rooms.x'><body>x</body></message>",
    );
    assert_eq!(rig.received(&clients[1]).len(), 1);
    assert_eq!(rig.received(&second).len(), 1);
    // The first of them goes: the others hear nothing of it.
    rig.received(&clients[0]);
    rig.send(
        &mut clients[1],
        "<presence type='unavailable' to='den@rooms.x/B'/>",
    );
    has(
        &rig.received(&clients[1])[0],
        &["type='unavailable'", "code='110'"],
    );
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
}

/// §7.2.9: full, but for those who run the room.
#[test]
fn a_full_room_lets_admins_in_only() {
    let mut rig = world(&["a", "b", "c"]);
    let (mut a, mut b) = (rig.online("a@x/r"), rig.online("b@x/r"));
    open(&mut rig, &mut a, "A");
    settings(&mut rig).occupants_max = 1;
    refused(&join(&mut rig, &mut b, "B"), "wait", "service-unavailable");
    affiliate(&mut rig, "b@x", Affiliation::Admin, None);
    has(&join(&mut rig, &mut b, "B")[1], &["role='moderator'"]);
}

/// B15: so many may enter in a second.
#[test]
fn too_many_who_enter_at_once_are_told_to_wait() {
    let accounts = ["a@x", "b@x", "c@x"];
    let mut rig = Rig::with(1, &accounts, |config| config.muc.joins_per_second = 1);
    let mut a = rig.online("a@x/r");
    open(&mut rig, &mut a, "A");
    let (mut b, mut c) = (rig.online("b@x/r"), rig.online("c@x/r"));
    has(&join(&mut rig, &mut b, "B")[1], &["code='110'"]);
    refused(&join(&mut rig, &mut c, "C"), "wait", "resource-constraint");
    rig.tick(1000);
    has(&join(&mut rig, &mut c, "C")[2], &["code='110'"]);
}

#[test]
fn a_session_may_be_in_so_many_rooms() {
    let mut rig = Rig::with(1, &["a@x"], |config| config.muc.rooms_per_session = 1);
    let mut a = rig.online("a@x/r");
    join(&mut rig, &mut a, "A");
    rig.send(
        &mut a,
        &format!("<presence id='j' to='lair@rooms.x/A'>{JOIN}</presence>"),
    );
    has(
        &rig.received(&a)[0],
        &["type='error'", "<resource-constraint "],
    );
    // Not one more in the same room.
    rig.send(&mut a, "<presence to='den@rooms.x/A2'/>");
    assert_eq!(rig.received(&a).len(), 2);
}

#[test]
fn a_presence_that_is_too_long_is_refused() {
    let mut rig = world(&["a"]);
    let mut a = rig.online("a@x/r");
    let status = format!("{JOIN}<status>{}</status>", "x".repeat(9000));
    refused(
        &enter(&mut rig, &mut a, "A", &status),
        "modify",
        "policy-violation",
    );
}

/// §7.2.1, §17.3: a client that has lost its way is told everything again, the others nothing.
#[test]
fn who_joins_twice_is_told_again() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let received = join(&mut rig, &mut clients[1], "B");
    assert_eq!(received.len(), 3, "{received:?}");
    has(&received[0], &["from='den@rooms.x/A'"]);
    has(&received[1], &["from='den@rooms.x/B'", "code='110'"]);
    has(&received[2], &["<subject/>"]);
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
    enter(
        &mut rig,
        &mut clients[1],
        "B",
        &format!("{JOIN}<show>away</show>"),
    );
    has(&rig.received(&clients[0])[0], &["<show>away</show>"]);
}

/// B15: whoever asks for everything again and again is told to wait, and so are the others with it.
#[test]
fn who_joins_again_and_again_is_told_to_wait() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let mut last = Vec::new();
    for number in 0..20 {
        let status = format!("{JOIN}<status>{number}</status>");
        last = enter(&mut rig, &mut clients[1], "B", &status);
    }
    refused(&last, "wait", "resource-constraint");
    assert!(rig.received(&clients[0]).len() <= 10);
    rig.tick(1000);
    has(&join(&mut rig, &mut clients[1], "B")[1], &["code='110'"]);
}

/// §7.2.3: everybody sees addresses, and is told so.
#[test]
fn a_non_anonymous_room_says_so() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    settings(&mut rig).is_non_anonymous = true;
    let received = join(&mut rig, &mut clients[1], "B");
    has(&received[0], &["jid='a@x/r'"]);
    has(&received[1], &["code='100'"]);
}

/// B14: what only a room may say of somebody.
#[test]
fn what_a_client_says_for_the_room_is_left_out() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let forged = "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner'/></x>\
                  <occupant-id xmlns='urn:xmpp:occupant-id:0' id='me'/><show>dnd</show>";
    rig.send(
        &mut clients[1],
        &format!("<presence to='den@rooms.x/B'>{forged}</presence>"),
    );
    let seen = rig.received(&clients[0]).remove(0);
    has(&seen, &["<show>dnd</show>", "affiliation='none'"]);
    lacks(&seen, &["affiliation='owner'", "id='me'"]);
    assert_eq!(seen.matches("<x ").count(), 1);
    assert_eq!(seen.matches("<occupant-id").count(), 1);
}

/// §7.2.5 ff.: what is refused is the wish to join, and clients know it by that.
#[test]
fn the_refusal_of_a_join_says_what_it_refuses() {
    let mut rig = world(&["a", "b"]);
    let mut a = rig.online("a@x/r");
    join(&mut rig, &mut a, "A");
    let mut b = rig.online("b@x/r");
    let password = "<x xmlns='http://jabber.org/protocol/muc'><password>p</password></x>";
    let received = enter(&mut rig, &mut b, "B", password);
    refused(&received, "cancel", "item-not-found");
    has(
        &received[0],
        &["<x xmlns='http://jabber.org/protocol/muc'/>"],
    );
}
