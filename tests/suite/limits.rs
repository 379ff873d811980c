//! Too large, too deep, too many, too slow: what the limits do to whom.

use std::fmt::Write;

use crate::harness::attack::{MEMBER, after_login, under_attack, unharmed};
use crate::harness::client::{Client, unique};
use crate::harness::reading::Incoming;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::tree::Tree;

const POLICY: &[&str] = &["policy-violation"];

/// A message to oneself with this inside.
fn note(inside: &str) -> String {
    format!("<message type='chat' id='note'>{inside}</message>")
}

/// Sends a note to itself that must come back.
fn passes(client: &mut Client, inside: &str) {
    let to = client.jid.clone();
    client.send(&note(inside).replacen("<message", &format!("<message to='{to}'"), 1));
    let message = client.next();
    assert_eq!(message.get("id"), Some("note"), "{message}");
}

#[test]
fn the_largest_stanza_passes_and_a_larger_one_does_not() {
    under_attack(2, MEMBER, |server| {
        let mut client = server.new_client("romeo");
        passes(
            &mut client,
            &format!("<body>{}</body>", "x".repeat(255 * 1024)),
        );
        client.close();
        let larger = note(&format!("<body>{}</body>", "x".repeat(257 * 1024)));
        after_login(server, larger.as_bytes(), POLICY);
    });
}

#[test]
fn a_member_has_more_room_than_a_stranger_but_not_without_end() {
    under_attack(10, MEMBER, |server| {
        let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        let many = |count: usize| "<a/>".repeat(count);
        let attributes = |count: usize| {
            let mut tag = String::from("<a");
            for number in 0..count {
                write!(tag, " a{number}=''").expect("a string");
            }
            tag + "/>"
        };
        let namespaces = |count: usize| {
            let mut tag = String::from("<a");
            for number in 0..count {
                write!(tag, " xmlns:a{number}='u:{number}'").expect("a string");
            }
            tag + "/>"
        };
        let mut client = server.new_client("romeo");
        for inside in [nested(60), many(4000), attributes(60), namespaces(30)] {
            passes(&mut client, &inside);
        }
        for inside in [nested(70), many(4200), attributes(70), namespaces(40)] {
            after_login(server, note(&inside).as_bytes(), POLICY);
        }
    });
}

#[test]
fn what_an_account_may_store_is_limited() {
    let server = Server::start(&[
        "limits.roster_items=3",
        "limits.private_bytes=2000",
        "limits.vcard_bytes=2000",
    ]);
    unharmed(&server, 1, MEMBER, || {
        let mut client = server.new_client("romeo");
        let mut set = |payload: &str| {
            let id = unique("s");
            client.ask(&id, &format!("<iq type='set' id='{id}'>{payload}</iq>"))
        };
        let refused = |answer: &Tree| {
            let condition = answer.condition().unwrap_or_default().to_owned();
            let known = [
                "resource-constraint",
                "not-acceptable",
                "policy-violation",
                "not-allowed",
            ];
            assert!(known.contains(&condition.as_str()), "{answer}");
        };
        for number in 0..3 {
            let item = format!("<item jid='a{number}@capulet.lit'/>");
            let answer = set(&format!("<query xmlns='jabber:iq:roster'>{item}</query>"));
            assert_eq!(answer.get("type"), Some("result"), "{answer}");
        }
        let item = "<query xmlns='jabber:iq:roster'><item jid='b@capulet.lit'/></query>";
        refused(&set(item));
        // A change of what is there is not one more.
        let item = "<query xmlns='jabber:iq:roster'><item jid='a1@capulet.lit' name='A'/></query>";
        assert_eq!(set(item).get("type"), Some("result"));
        let text = "x".repeat(3000);
        refused(&set(&format!(
            "<query xmlns='jabber:iq:private'><a xmlns='u:a'>{text}</a></query>"
        )));
        refused(&set(&format!(
            "<vCard xmlns='vcard-temp'><FN>{text}</FN></vCard>"
        )));
        let answer = set("<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>");
        assert_eq!(answer.get("type"), Some("result"), "{answer}");
    });
}

#[test]
fn who_does_not_read_loses_the_connection_and_nobody_else_anything() {
    let server = Server::start(&["limits.outbound_stall_secs=2"]);
    // 90 MiB are sent; whatever stands in queues on the way is less than 64.
    unharmed(&server, 3, 16 * 1024 * 1024, || {
        let mut deaf = server.new_client("juliet");
        let mut romeo = server.new_client("romeo");
        let mut friend = server.new_client("mercutio");
        let body = "x".repeat(60 * 1024);
        let (to, other) = (deaf.jid.clone(), friend.jid.clone());
        // Far more than its queue and the kernel's buffers hold.
        for _ in 0..1500 {
            romeo.send(&format!(
                "<message to='{to}' type='headline'><body>{body}</body></message>"
            ));
        }
        romeo.send(&format!(
            "<message to='{other}' type='chat'><body>still there?</body></message>"
        ));
        assert_eq!(friend.next().get("from"), Some(romeo.jid.as_str()));
        romeo.is_alive();
        while !matches!(deaf.incoming(), Incoming::Eof) {}
    });
}

#[test]
fn who_is_silent_is_asked_and_then_let_go() {
    let server = Server::start(&["limits.ping_after_secs=1", "limits.ping_timeout_secs=5"]);
    unharmed_while_idle(&server, || {
        let mut client = server.new_client("romeo");
        // XEP-0199 §4.2: the server asks; who answers stays.
        for _ in 0..2 {
            let ping = client.next();
            assert!(ping.children[0].is("ping", "urn:xmpp:ping"), "{ping}");
            assert_eq!(ping.get("from"), Some("montague.lit"), "{ping}");
            let id = ping.get("id").expect("an id").to_owned();
            client.send(&format!("<iq type='result' id='{id}' to='montague.lit'/>"));
        }
        // A refusal is a sign of life too.
        let ping = client.next();
        let id = ping.get("id").expect("an id");
        client.send(&format!("<iq type='error' id='{id}' to='montague.lit'/>"));
        assert!(client.next().child("ping").is_some());
        client.ends_with("connection-timeout");
    });
}

/// Like `unharmed`, where a bystander would be asked for signs of life too.
fn unharmed_while_idle(server: &Server, attack: impl FnOnce()) {
    attack();
    server.new_client("bystander").is_alive();
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn accounts_are_not_made_by_the_dozen() {
    let server = Server::start(&[
        "registration.open=true",
        "registration.per_hour_per_address=3",
    ]);
    unharmed(&server, 6, MEMBER, || {
        let register = |name: &str| {
            let mut client = Client::connect(server.c2s);
            client.open("montague.lit");
            assert!(
                client.features.child("register").is_some(),
                "{}",
                client.features
            );
            let fields = format!("<username>{name}</username><password>{PASSWORD}</password>");
            let query = format!("<query xmlns='jabber:iq:register'>{fields}</query>");
            client.ask("r", &format!("<iq type='set' id='r'>{query}</iq>"))
        };
        for number in 0..3 {
            let answer = register(&format!("romeo{number}"));
            assert_eq!(answer.get("type"), Some("result"), "{answer}");
        }
        let answer = register("romeo3");
        assert_eq!(answer.condition(), Some("resource-constraint"), "{answer}");
        assert_eq!(
            answer.child("error").and_then(|it| it.get("type")),
            Some("wait")
        );
        Client::login(server.c2s, "romeo1@montague.lit", PASSWORD).close();
    });
}
