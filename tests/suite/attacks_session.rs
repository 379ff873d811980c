//! Attacks by somebody who has an account: forged addresses, bad resources, floods.

use crate::harness::attack::{MEMBER, STRANGER, after_login, under_attack, unharmed};
use crate::harness::client::{Client, header, unique};
use crate::harness::sasl::Binding;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::tree::Tree;

/// A client that has logged in and not bound a resource.
fn unbound(server: &Server, jid: &str) -> Client {
    let (user, domain) = jid.split_once('@').expect("an account");
    let mut client = Client::connect(server.c2s);
    client.open(domain);
    let login = client.authenticate("SCRAM-SHA-1", user, PASSWORD, &Binding::None);
    login.expect("the password is right");
    client.open(domain);
    client
}

fn online(server: &Server, name: &str) -> Client {
    let mut client = server.new_client(name);
    client.send("<presence/>");
    let jid = client.jid.clone();
    client.wait_for(|it| it.name == "presence" && it.get("from") == Some(&jid));
    client
}

#[test]
fn b08_nobody_writes_another_name() {
    under_attack(5, MEMBER, |server| {
        let juliet = online(server, "juliet");
        let mut other = server.new_client("romeo");
        for from in [juliet.jid.as_str(), juliet.bare(), "montague.lit", "@", ""] {
            let stanza = format!(
                "<message from='{from}' to='{}'><body>x</body></message>",
                juliet.jid
            );
            after_login(server, stanza.as_bytes(), &["invalid-from"]);
        }
        // Another resource of one's own is another name too.
        let second = format!("<presence from='{}/elsewhere'/>", other.bare());
        other.send(&second);
        other.ends_with("invalid-from");
        // One's own name, bare or full, is right.
        let mut right = server.new_client("romeo");
        for from in [right.jid.clone(), right.bare().to_owned()] {
            let to = juliet.jid.clone();
            right.send(&format!(
                "<message from='{from}' to='{to}' type='chat'><body>x</body></message>"
            ));
        }
        let mut juliet = juliet;
        for _ in 0..2 {
            let message = juliet.next();
            assert_eq!(message.get("from"), Some(right.jid.as_str()), "{message}");
        }
    });
}

#[test]
fn b09_resources_that_cannot_be() {
    under_attack(10, MEMBER, |server| {
        let long = "x".repeat(1024);
        let rest = [
            "\u{202e}\u{5d0}x\u{202d}\u{fffe}",
            "\u{e000}\u{ffff}",
            "\u{7f}",
            "a\u{200b}\u{3}b",
        ];
        let jid = server.new_account("romeo");
        let mut client = unbound(server, &jid);
        let error = client.bind(Some(&long)).expect_err("too long");
        let conditions = ["bad-request", "jid-malformed", "not-acceptable"];
        assert!(
            conditions.contains(&error.condition().unwrap_or_default()),
            "{error}"
        );
        let error = client.bind(Some("")).expect_err("empty");
        assert_eq!(error.condition(), Some("bad-request"), "{error}");
        // Refused it may ask again.
        client
            .bind(None)
            .expect("a resource of the server's choice");
        assert!(client.jid.len() > jid.len() + 1, "{}", client.jid);
        for resource in rest {
            let mut client = unbound(server, &jid);
            let is_xml = resource
                .chars()
                .all(|c| !matches!(c, '\u{3}' | '\u{fffe}' | '\u{ffff}'));
            if is_xml {
                // Whatever it becomes, it is one resource of this account.
                if client.bind(Some(resource)).is_ok() {
                    assert_eq!(client.bare(), jid);
                    client.is_alive();
                }
            } else {
                client.send(&format!(
                    "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                     <resource>{resource}</resource></bind></iq>"
                ));
                client.ends_with("not-well-formed");
            }
        }
    });
}

#[test]
fn b09_an_account_has_so_many_resources() {
    let server = Server::start(&["limits.resources_per_account=3"]);
    unharmed(&server, 4, MEMBER, || {
        let jid = server.new_account("romeo");
        let sessions: Vec<Client> = (0..3)
            .map(|_| Client::login(server.c2s, &jid, PASSWORD))
            .collect();
        let mut fourth = unbound(&server, &jid);
        let error = fourth.bind(None).expect_err("one too many");
        assert_eq!(error.condition(), Some("resource-constraint"), "{error}");
        let error = error.child("error").expect("an error").clone();
        let limit = error.child("resource-limit-exceeded");
        assert!(
            limit.is_some_and(|it| it.ns == "urn:xmpp:errors"),
            "{error}"
        );
        // A resource that is taken can be taken over: that makes none more.
        let mut third = sessions.into_iter().next_back().expect("three");
        let resource = third
            .jid
            .split_once('/')
            .expect("a full address")
            .1
            .to_owned();
        fourth
            .bind(Some(&resource))
            .expect("the same number of resources");
        third.ends_with("conflict");
    });
}

#[test]
fn b13_rosters_are_changed_by_their_owners() {
    under_attack(2, MEMBER, |server| {
        let mut juliet = online(server, "juliet");
        let mut romeo = server.new_client("romeo");
        let item = format!("<item jid='{}' subscription='both'/>", romeo.bare());
        let query = format!("<query xmlns='jabber:iq:roster'>{item}</query>");
        let bare = juliet.bare().to_owned();
        let answer = romeo.ask(
            "1",
            &format!("<iq type='set' id='1' to='{bare}'>{query}</iq>"),
        );
        assert_eq!(answer.get("type"), Some("error"), "{answer}");
        romeo.send(&format!(
            "<iq type='result' id='2' to='{bare}'>{query}</iq>"
        ));
        // To the resource it goes as from Romeo, and Juliet's client sees who it is.
        romeo.send(&format!(
            "<iq type='set' id='3' to='{}'>{query}</iq>",
            juliet.jid
        ));
        let push = juliet.next();
        assert_eq!(push.get("from"), Some(romeo.jid.as_str()), "{push}");
        let roster = juliet.ask(
            "4",
            "<iq type='get' id='4'><query xmlns='jabber:iq:roster'/></iq>",
        );
        assert_eq!(roster.children[0].children, [], "{roster}");
        // Pretending to subscribe in the name of the account's server.
        romeo.send(&format!("<presence type='subscribed' to='{bare}'/>"));
        romeo.ping(&bare);
        juliet.is_alive();
        assert_eq!(juliet.take_aside(), []);
    });
}

#[test]
fn b14_what_only_servers_say_is_taken_away() {
    under_attack(2, MEMBER, |server| {
        let mut juliet = online(server, "juliet");
        let mut romeo = server.new_client("romeo");
        let (bare, own) = (juliet.bare().to_owned(), romeo.bare().to_owned());
        let forged = format!(
            "<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='{bare}'/>\
             <delay xmlns='urn:xmpp:delay' from='montague.lit' stamp='2002-09-10T23:08:25Z'/>"
        );
        let other = format!(
            "<stanza-id xmlns='urn:xmpp:sid:0' id='2' by='{}'/>",
            bare.to_uppercase()
        );
        romeo.send(&format!(
            "<message to='{bare}' type='chat' id='m'>{forged}<body>x</body>{forged}{other}{forged}\
             <x xmlns='urn:example:kept'>{forged}</x></message>"
        ));
        let message = juliet.next();
        let is_forged = |it: &&Tree| match it.name.as_str() {
            "delay" => true,
            "stanza-id" => it.get("id") == Some("1") || it.get("id") == Some("2"),
            _ => false,
        };
        assert_eq!(
            message.children.iter().filter(is_forged).count(),
            0,
            "{message}"
        );
        assert_eq!(
            message.get("from").map(|it| it.starts_with(&own)),
            Some(true)
        );
        // Deeper inside it claims nothing.
        let kept = message.child("x").expect("kept");
        assert_eq!(kept.children.len(), 2, "{message}");
    });
}

#[test]
fn b16_odd_requests_get_one_answer_or_none() {
    under_attack(1, MEMBER, |server| {
        let mut client = server.new_client("romeo");
        let silent = [
            "<iq type='result' id='never-asked'/>",
            "<iq type='error' id='never-asked'/>",
            "<iq type='result'/>",
            "<iq type='result' id='1'><a/><b/></iq>",
            "<iq type='error' id='1' to='montague.lit'><a/><b/></iq>",
            "<message type='error'/>",
            "<presence type='error' to='montague.lit'/>",
        ];
        for stanza in silent {
            client.send(stanza);
        }
        client.is_alive();
        assert_eq!(client.take_aside(), []);
        for (id, attributes, payload) in [
            ("q1", "type='get'", ""),
            ("q2", "type='set'", "<a xmlns='u'/><b xmlns='u'/>"),
            ("q3", "type='bogus'", "<a xmlns='u'/>"),
            ("q4", "", "<a xmlns='u'/>"),
            ("q5", "type='GET'", "<a xmlns='u'/>"),
        ] {
            client.send(&format!("<iq id='{id}' {attributes}>{payload}</iq>"));
            let answer = client.next();
            assert_eq!(answer.condition(), Some("bad-request"), "{answer}");
            assert_eq!(answer.get("id"), Some(id));
        }
    });
}

#[test]
fn b17_only_stanzas_stand_in_a_stream() {
    under_attack(8, MEMBER, |server| {
        after_login(server, b"<foo/>", &["unsupported-stanza-type"]);
        after_login(
            server,
            b"<foo xmlns='urn:example'/>",
            &["unsupported-stanza-type"],
        );
        let inner = header("montague.lit");
        let inner = inner.split_once("?>").expect("a declaration").1;
        after_login(server, inner.as_bytes(), &["bad-format"]);
        let conditions = ["bad-format", "not-well-formed", "restricted-xml"];
        after_login(server, header("montague.lit").as_bytes(), &conditions);
        let nested = format!("<message>{inner}</stream:stream></message>");
        after_login(server, nested.as_bytes(), &conditions);
        after_login(
            server,
            b"<iq type='get' id='1'></stream:stream>",
            &["not-well-formed"],
        );
        after_login(
            server,
            b"<stream:features/>",
            &["unsupported-stanza-type", "bad-format"],
        );
    });
}

#[test]
fn b18_a_flood_of_presence_ends_in_the_last_one() {
    under_attack(4, MEMBER, |server| {
        let mut romeo = online(server, "romeo");
        let mut watchers: Vec<Client> = (0..3).map(|_| online(server, "watcher")).collect();
        for watcher in &mut watchers {
            let (to, from) = (romeo.bare().to_owned(), watcher.bare().to_owned());
            watcher.send(&format!("<presence type='subscribe' to='{to}'/>"));
            romeo.wait_for(|it| it.get("type") == Some("subscribe"));
            romeo.send(&format!("<presence type='subscribed' to='{from}'/>"));
            watcher.wait_for(|it| it.get("type").is_none() && it.get("from") == Some(&romeo.jid));
        }
        let flood: String = (0..2000)
            .map(|number| format!("<presence><status>{number}</status></presence>"))
            .collect();
        romeo.send(&flood);
        romeo.send("<presence><status>the end</status></presence>");
        let is_last = |it: &Tree| it.child("status").is_some_and(|it| it.text == "the end");
        for watcher in &mut watchers {
            watcher.wait_for(is_last);
            watcher.take_aside();
            watcher.is_alive();
        }
        romeo.wait_for(is_last);
    });
}

#[test]
fn b20_strangers_are_written_to_one_by_one() {
    let server = Server::start(&["limits.recipients_per_minute=20"]);
    unharmed(&server, 1, MEMBER, || {
        let mut client = server.new_client("romeo");
        let mut refused = 0;
        for number in 0..40 {
            let id = unique("m");
            let to = format!("stranger{number}@montague.lit");
            client.send(&format!(
                "<message id='{id}' type='chat' to='{to}'><body>x</body></message>"
            ));
            let answer = client.next();
            assert_eq!(answer.get("id"), Some(id.as_str()), "{answer}");
            let is_refusal = answer.condition() == Some("unexpected-request");
            if is_refusal {
                let error = answer.child("error").expect("an error");
                assert!(error.child("too-many-stanzas").is_some(), "{answer}");
            }
            refused += usize::from(is_refusal);
        }
        assert_eq!(refused, 20, "{}", client.transcript());
    });
}

#[test]
fn b21_one_address_has_one_spelling() {
    let server = Server::start(&["domains=[\"montague.lit\", \"b\u{fc}cher.example\"]"]);
    unharmed(&server, 2, MEMBER, || {
        server.add_account("juliet@b\u{fc}cher.example", PASSWORD);
        let jid = "juliet@b\u{fc}cher.example/Balcony";
        let mut juliet = Client::login(server.c2s, jid, PASSWORD);
        assert_eq!(juliet.jid, jid);
        let mut romeo = server.new_client("romeo");
        for to in [
            "juliet@b\u{fc}cher.example/Balcony",
            "JULIET@b\u{fc}cher.example/Balcony",
            "juliet@xn--bcher-kva.example/Balcony",
            "juliet@XN--BCHER-KVA.example./Balcony",
            "juliet@bu\u{308}cher.example/Balcony",
        ] {
            romeo.send(&format!(
                "<message to='{to}' type='chat'><body>{to}</body></message>"
            ));
            let message = juliet.next();
            assert_eq!(message.get("to"), Some(jid), "{message}");
        }
        romeo.send("<message to='juliet@b\u{fc}cher.example/balcony' type='normal' id='case'/>");
        romeo.ping("juliet@b\u{fc}cher.example");
        juliet.is_alive();
        assert_eq!(juliet.take_aside(), []);
    });
}

#[test]
fn a_stranger_and_a_member_cost_what_they_may() {
    under_attack(50, STRANGER, |server| {
        let clients: Vec<Client> = (0..50)
            .map(|_| {
                let mut client = Client::connect(server.c2s);
                client.open("montague.lit");
                let _ = client.send_bytes(format!("<iq><a b='{}", "x".repeat(7000)).as_bytes());
                client
            })
            .collect();
        drop(clients);
    });
    under_attack(8, MEMBER, |server| {
        let mut clients: Vec<Client> = (0..8).map(|_| server.new_client("member")).collect();
        for client in &mut clients {
            // All but the end of the largest stanza allowed.
            let text = "x".repeat(250 * 1024);
            client.send(&format!("<message to='{}'><body>{text}", client.jid));
        }
        for client in &mut clients {
            client.send("</body></message>");
            client.is_alive();
        }
    });
}
