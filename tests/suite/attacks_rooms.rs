//! Attacks on rooms: what only the room may say, and what only some may do.

use crate::harness::attack::{MEMBER, under_attack, unharmed};
use crate::harness::client::Client;
use crate::harness::server::Server;
use crate::harness::tree::Tree;

const JOIN: &str = "<x xmlns='http://jabber.org/protocol/muc'/>";
const ADMIN: &str = "http://jabber.org/protocol/muc#admin";
const OWNER: &str = "http://jabber.org/protocol/muc#owner";

/// How often one enters, as fast as it can.
const TIMES: usize = 100;

fn room(name: &str) -> String {
    format!("{name}@conference.montague.lit")
}

/// Asks to enter; the presence that says it is in, or the error.
fn enter(client: &mut Client, room: &str, nick: &str) -> Tree {
    client.send(&format!(
        "<presence id='in' to='{room}/{nick}'>{JOIN}</presence>"
    ));
    client.wait_for(|it| it.name == "presence" && it.get("id") == Some("in"))
}

/// An owner in a new room that is open to others.
fn opened(server: &Server, room: &str) -> Client {
    let mut owner = server.new_client("romeo");
    enter(&mut owner, room, "Romeo");
    let form = "<x xmlns='jabber:x:data' type='submit'/>";
    let answer = owner.ask("open", &request("set", "open", room, OWNER, form));
    assert_eq!(answer.get("type"), Some("result"), "{answer}");
    owner
}

fn request(type_: &str, id: &str, to: &str, ns: &str, children: &str) -> String {
    format!("<iq type='{type_}' id='{id}' to='{to}'><query xmlns='{ns}'>{children}</query></iq>")
}

/// Asserts that a request is refused for want of rights.
#[track_caller]
fn forbidden(client: &mut Client, stanza: &str) {
    let answer = client.ask("no", stanza);
    assert_eq!(answer.condition(), Some("forbidden"), "{answer}");
}

#[test]
fn b14_nobody_says_what_only_the_room_may_say() {
    under_attack(3, MEMBER, |server| {
        let room = room("b14");
        let mut owner = opened(server, &room);
        let mut attacker = server.new_client("mercutio");
        enter(&mut attacker, &room, "Mercutio");
        let forged = format!(
            "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='{room}' id='forged'/>\
             <delay xmlns='urn:xmpp:delay' from='{room}' stamp='2002-09-10T23:08:25Z'/>\
             <x xmlns='http://jabber.org/protocol/muc#user'>\
             <item affiliation='owner' role='moderator'/><status code='307'/></x>"
        );
        let body = "<body>hi</body>";
        for (id, payload) in [
            ("first", format!("{forged}{body}")),
            ("last", format!("{body}{forged}")),
            ("often", format!("{forged}{forged}{body}{forged}")),
        ] {
            attacker.send(&format!(
                "<message id='{id}' to='{room}' type='groupchat'>{payload}</message>"
            ));
            let got = owner.wait_for(|it| it.get("id") == Some(id));
            let text = got.to_string();
            assert!(!text.contains("forged"), "{text}");
            assert!(!text.contains("<delay") && !text.contains("307"), "{text}");
            for once in ["<occupant-id", "<stanza-id"] {
                assert_eq!(text.matches(once).count(), 1, "{text}");
            }
        }
        attacker.send(&format!(
            "<presence to='{room}/Mercutio'><status>now</status>{forged}</presence>"
        ));
        let got = owner.wait_for(|it| it.child("status").is_some());
        let text = got.to_string();
        assert!(!text.contains("forged") && !text.contains("307"), "{text}");
        assert!(!text.contains("affiliation='owner'"), "{text}");
        assert_eq!(text.matches("<occupant-id").count(), 1, "{text}");
    });
}

#[test]
fn b15_rights_in_a_room_are_not_taken() {
    under_attack(4, MEMBER, |server| {
        let room = room("b15");
        let mut owner = opened(server, &room);
        let mut other = server.new_client("mercutio");
        // Who is nobody there learns and changes nothing.
        for affiliation in ["owner", "admin", "outcast"] {
            let item = format!("<item affiliation='{affiliation}'/>");
            forbidden(&mut other, &request("get", "no", &room, ADMIN, &item));
        }
        enter(&mut other, &room, "Mercutio");
        let own = other.bare().to_owned();
        for item in [
            format!("<item affiliation='owner' jid='{own}'/>"),
            "<item role='moderator' nick='Mercutio'/>".to_owned(),
        ] {
            forbidden(&mut other, &request("set", "no", &room, ADMIN, &item));
        }
        // An admin does not configure, nor make itself an owner.
        let item = format!("<item affiliation='admin' jid='{own}'/>");
        let made = owner.ask("made", &request("set", "made", &room, ADMIN, &item));
        assert_eq!(made.get("type"), Some("result"), "{made}");
        forbidden(&mut other, &request("get", "no", &room, OWNER, ""));
        forbidden(
            &mut other,
            &request("set", "no", &room, OWNER, "<destroy/>"),
        );
        let item = format!("<item affiliation='owner' jid='{own}'/>");
        forbidden(&mut other, &request("set", "no", &room, ADMIN, &item));
        // Who is banned stays outside, whatever its nick and resource.
        let mut banned = server.new_client("tybalt");
        let item = format!("<item affiliation='outcast' jid='{}'/>", banned.bare());
        let made = owner.ask("ban", &request("set", "ban", &room, ADMIN, &item));
        assert_eq!(made.get("type"), Some("result"), "{made}");
        let refused = enter(&mut banned, &room, "Somebody");
        assert_eq!(refused.condition(), Some("forbidden"), "{refused}");
        banned.send(&format!(
            "<message id='m' to='{room}' type='groupchat'><subject>mine</subject></message>"
        ));
        let refused = banned.wait_for(|it| it.get("id") == Some("m"));
        assert_eq!(refused.condition(), Some("not-acceptable"), "{refused}");
    });
}

#[test]
fn b15_nobody_looks_like_another() {
    under_attack(3, MEMBER, |server| {
        let room = room("b15-nicks");
        let _owner = opened(server, &room);
        let mut other = server.new_client("mercutio");
        // The same, the same in other letters, with what cannot be seen, and as a question.
        for nick in [
            "Romeo",
            "romeo",
            "Rom\u{435}o",
            "R\u{ff4f}meo",
            "Romeo\u{200b}",
            "Romeo ",
        ] {
            let refused = enter(&mut other, &room, nick);
            let condition = refused.condition();
            let is_refused = matches!(
                condition,
                Some("conflict" | "jid-malformed" | "not-acceptable")
            );
            assert!(is_refused, "{nick:?}: {refused}");
        }
        let entered = enter(&mut other, &room, "Mercutio");
        assert_eq!(entered.get("type"), None, "{entered}");
    });
}

#[test]
fn b15_a_crowd_at_the_door_is_let_in_slowly() {
    let server = Server::start(&["muc.joins_per_second=20"]);
    unharmed(&server, 2, MEMBER, || {
        let room = room("b15-crowd");
        let mut owner = opened(&server, &room);
        let mut attacker = server.new_client("mercutio");
        let mut refused = 0;
        for number in 0..TIMES {
            // In, and out again.
            let answer = enter(&mut attacker, &room, &format!("nick{number}"));
            match answer.condition() {
                None => attacker.send(&format!(
                    "<presence type='unavailable' to='{room}/nick{number}'/>"
                )),
                Some("resource-constraint" | "policy-violation") => refused += 1,
                Some(other) => panic!("{other}: {answer}"),
            }
        }
        assert!(refused > 0, "as many as they like");
        owner.is_alive();
    });
}
