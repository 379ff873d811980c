//! XEP-0045 §7.4 and §8.1, XEP-0359, XEP-0421, XEP-0500: what is said to everybody.

use super::super::affiliation::Role;
use super::*;
use crate::shard::rig::jid;

fn say(rig: &mut Rig, client: &mut Client, children: &str) -> Vec<String> {
    let message = format!("<message type='groupchat' id='m' to='{DEN}'>{children}</message>");
    rig.send(client, &message);
    rig.received(client)
}

fn set_role(rig: &mut Rig, full: &str, role: Role) {
    let occupant = room(rig).occupants.get_mut(&jid(full));
    occupant.expect("in the room").role = role;
}

/// §7.4: everybody gets it, the sender too, with the id it was sent with.
#[test]
fn a_message_goes_to_everybody() {
    let (mut rig, mut clients) = den(&["a", "b", "c"]);
    let own = say(&mut rig, &mut clients[1], "<body>Harpier cries</body>");
    assert_eq!(own.len(), 1, "{own:?}");
    for client in [&clients[0], &clients[2]] {
        let seen = rig.received(client);
        assert_eq!(seen.len(), 1, "{seen:?}");
        has(
            &seen[0],
            &[
                "from='den@rooms.x/B'",
                "type='groupchat'",
                "id='m'",
                "Harpier",
            ],
        );
        has(
            &seen[0],
            &[
                "<stanza-id xmlns='urn:xmpp:sid:0' by='den@rooms.x'",
                "<occupant-id ",
            ],
        );
    }
    has(&own[0], &["to='b@x/r'", "from='den@rooms.x/B'"]);
}

/// §7.4, §17.2: who is not in the room, or has no voice, or finds no room.
#[test]
fn who_may_not_speak_is_told() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let mut other = rig.online("b@x/other");
    rig.received(&clients[1]);
    let refused = say(&mut rig, &mut other, "<body>x</body>");
    has(&refused[0], &["type='error'", "<not-acceptable "]);
    settings(&mut rig).is_moderated = true;
    set_role(&mut rig, "b@x/r", Role::Visitor);
    let refused = say(&mut rig, &mut clients[1], "<body>x</body>");
    has(&refused[0], &["type='error'", "<forbidden "]);
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
    let nowhere = "<message type='groupchat' to='no@rooms.x'><body>x</body></message>";
    has(&rig.ask(&mut other, nowhere), &["<item-not-found "]);
    for type_ in ["chat", "normal", "headline"] {
        let odd = format!("<message type='{type_}' to='{DEN}'><body>x</body></message>");
        has(&rig.ask(&mut clients[0], &odd), &["<bad-request "]);
    }
}

/// B14: at any place, any number of times; `origin-id` is the client's own.
#[test]
fn what_only_rooms_may_say_is_left_out() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let forged = "<stanza-id xmlns='urn:xmpp:sid:0' by='den@rooms.x' id='forged'/>\
                  <occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>\
                  <delay xmlns='urn:xmpp:delay' from='x' stamp='2002-10-13T23:58:37Z'/>\
                  <x xmlns='http://jabber.org/protocol/muc#user'><status code='forged'/></x>";
    let origin = "<origin-id xmlns='urn:xmpp:sid:0' id='mine'/>";
    let message = format!("{forged}<body>x</body>{forged}{origin}");
    let own = say(&mut rig, &mut clients[1], &message).remove(0);
    lacks(&own, &["forged", "<delay", "muc#user"]);
    has(&own, &["id='mine'"]);
    assert_eq!(own.matches("<stanza-id").count(), 1);
    assert_eq!(own.matches("<occupant-id").count(), 1);
}

/// XEP-0421 §3: one for each user, whatever its nick.
#[test]
fn occupant_ids_stay_when_the_nick_changes() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let id = |stanza: &str| {
        let (_, rest) = stanza.split_once("<occupant-id ").expect("there is one");
        rest.split_once("/>").expect("it ends").0.to_owned()
    };
    let first = id(&say(&mut rig, &mut clients[1], "<body>x</body>")[0]);
    rig.send(&mut clients[1], "<presence to='den@rooms.x/Bob'/>");
    rig.received(&clients[1]);
    assert_eq!(
        id(&say(&mut rig, &mut clients[1], "<body>x</body>")[0]),
        first
    );
    assert_ne!(
        id(&say(&mut rig, &mut clients[0], "<body>x</body>")
            .pop()
            .expect("own")),
        first
    );
}

/// §8.1: by moderators, unless the owners let everybody; who enters later is told.
#[test]
fn the_subject_is_changed_by_those_who_may() {
    let (mut rig, mut clients) = den(&["a", "b", "c"]);
    let refused = say(&mut rig, &mut clients[1], "<subject>mine</subject>");
    has(&refused[0], &["type='error'", "<forbidden "]);
    let own = say(&mut rig, &mut clients[0], "<subject>Fire Burn</subject>");
    has(
        &own[0],
        &["from='den@rooms.x/A'", "<subject>Fire Burn</subject>"],
    );
    has(
        &rig.received(&clients[1])[0],
        &["<subject>Fire Burn</subject>"],
    );
    settings(&mut rig).may_change_subject = true;
    say(&mut rig, &mut clients[1], "<subject>Cauldron</subject>");
    let received = join(&mut rig, &mut clients[2], "C");
    let last = received.last().expect("the subject");
    has(
        last,
        &[
            "from='den@rooms.x/B'",
            "<subject>Cauldron</subject>",
            "<delay ",
        ],
    );
    // An empty one is none; with a body or thread it is no change.
    say(&mut rig, &mut clients[0], "<subject/>");
    say(
        &mut rig,
        &mut clients[0],
        "<subject>no</subject><body>x</body>",
    );
    say(
        &mut rig,
        &mut clients[0],
        "<subject>no</subject><thread>x</thread>",
    );
    let received = join(&mut rig, &mut clients[2], "C");
    has(
        received.last().expect("the subject"),
        &["<subject/>", "<delay "],
    );
}

/// XEP-0500 §6: messages with a body, by those who are no moderators.
#[test]
fn slow_mode_makes_participants_wait() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    settings(&mut rig).slow_mode_secs = 20;
    for wanted in ["<body>", "<policy-violation "] {
        has(
            &say(&mut rig, &mut clients[1], "<body>x</body>")[0],
            &[wanted],
        );
    }
    let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    lacks(&say(&mut rig, &mut clients[1], state)[0], &["error"]);
    rig.received(&clients[0]);
    for _ in 0..3 {
        lacks(
            &say(&mut rig, &mut clients[0], "<body>x</body>")[0],
            &["error"],
        );
    }
    rig.tick(20_000);
    rig.received(&clients[1]);
    lacks(
        &say(&mut rig, &mut clients[1], "<body>x</body>")[0],
        &["error"],
    );
    let refused = say(&mut rig, &mut clients[1], "<body>x</body>");
    has(&refused[0], &["<error type='wait' by='", "wait 20 seconds"]);
}

#[test]
fn who_writes_too_fast_is_told_to_wait() {
    let accounts = ["a@x", "b@x"];
    let mut rig = Rig::with(1, &accounts, |config| config.muc.messages_per_occupant = 2);
    let mut a = rig.online("a@x/r");
    open(&mut rig, &mut a, "A");
    for wanted in ["<body>", "<body>", "<policy-violation "] {
        has(&say(&mut rig, &mut a, "<body>x</body>")[0], &[wanted]);
    }
    rig.tick(500);
    has(&say(&mut rig, &mut a, "<body>x</body>")[0], &["<body>"]);
}

/// What is kept is bounded, and what is not shown goes soon.
#[test]
fn history_is_bounded() {
    let mut rig = Rig::with(1, &["a@x"], |config| {
        config.muc.history_max = 5;
        config.limits.account_idle_secs = 600;
        config.muc.messages_per_occupant = 1000;
    });
    let mut a = rig.online("a@x/r");
    open(&mut rig, &mut a, "A");
    settings(&mut rig).history_max = 5;
    for _ in 0..50 {
        say(&mut rig, &mut a, "<body>x</body>");
        say(
            &mut rig,
            &mut a,
            "<active xmlns='http://jabber.org/protocol/chatstates'/>",
        );
    }
    // Of the last minute everything is kept, for those it may not have reached.
    assert_eq!(room(&mut rig).history.len(), 100);
    rig.tick(61_000);
    for _ in 0..16 {
        say(
            &mut rig,
            &mut a,
            "<active xmlns='http://jabber.org/protocol/chatstates'/>",
        );
    }
    let history = &room(&mut rig).history;
    assert_eq!(history.iter().filter(|past| past.is_shown).count(), 5);
    assert!(history.len() <= 5 + 16, "{}", history.len());
}

/// Long messages go sooner, whoever might still like to see them.
#[test]
fn what_is_kept_has_a_size() {
    let mut rig = Rig::with(1, &["a@x"], |config| {
        config.muc.messages_per_occupant = 1000;
    });
    let mut a = rig.online("a@x/r");
    open(&mut rig, &mut a, "A");
    let body = format!("<body>{}</body>", "x".repeat(200_000));
    for _ in 0..100 {
        say(&mut rig, &mut a, &body);
    }
    let history = room(&mut rig).history.iter();
    let bytes: usize = history.map(|past| past.stanza.wire_bytes()).sum();
    assert!((4 << 20..12 << 20).contains(&bytes), "{bytes}");
}

/// XEP-0359, XEP-0313: an id of the room leads to something in its archive.
#[test]
fn what_is_not_archived_has_no_id_of_the_room() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let state = format!(
        "<message type='groupchat' to='{DEN}'>\
         <composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
    );
    let said = format!("<message type='groupchat' to='{DEN}'><body>x</body></message>");
    let mut has_id = |rig: &mut Rig, message: &str| {
        rig.send(&mut clients[0], message);
        rig.received(&clients[1]).concat().contains("<stanza-id ")
    };
    assert!(has_id(&mut rig, &said) && !has_id(&mut rig, &state));
    settings(&mut rig).is_archived = false;
    assert!(has_id(&mut rig, &said) && has_id(&mut rig, &state));
}
