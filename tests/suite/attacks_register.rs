//! Attacks by those who ask for an account: names that are somebody else's, or nobody's.

use crate::harness::attack::{STRANGER, unharmed};
use crate::harness::client::{Client, unique};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::tree::Tree;

/// Asks for an account with these fields, written as they are.
fn register(server: &Server, fields: &str) -> Tree {
    let mut client = Client::connect(server.c2s);
    client.open("montague.lit");
    let id = unique("r");
    let query = format!("<query xmlns='jabber:iq:register'>{fields}</query>");
    client.ask(&id, &format!("<iq type='set' id='{id}'>{query}</iq>"))
}

fn fields(name: &str, password: &str) -> String {
    format!("<username>{name}</username><password>{password}</password>")
}

#[test]
fn a_name_that_is_taken_is_taken_in_every_spelling() {
    let server = Server::start(&["registration.open=true"]);
    unharmed(&server, 8, STRANGER, || {
        server.add_account("romeo@montague.lit", PASSWORD);
        for name in [
            "romeo",
            "ROMEO",
            "Romeo",
            " romeo",
            "romeo\u{ad}",
            "\u{ff32}omeo",
        ] {
            let answer = register(&server, &fields(name, "mine"));
            let condition = answer.condition().unwrap_or_default();
            assert!(
                matches!(condition, "conflict" | "not-acceptable"),
                "{name}: {answer}"
            );
        }
        Client::login(server.c2s, "romeo@montague.lit", PASSWORD).close();
    });
}

#[test]
fn a_name_is_a_name_and_no_address() {
    let server = Server::start(&["registration.open=true"]);
    unharmed(&server, 12, STRANGER, || {
        let long = "x".repeat(1024);
        for name in [
            "",
            "a@capulet.lit",
            "a/b",
            "a b",
            "capulet.lit/a",
            "&quot;a&quot;",
            "a&apos;b",
            "&lt;a&gt;",
            "a&amp;b",
            &long,
        ] {
            let answer = register(&server, &fields(name, "x"));
            assert_eq!(
                answer.condition(),
                Some("not-acceptable"),
                "{name}: {answer}"
            );
        }
        // Fields that are missing, empty or there twice.
        for wrong in [
            "<username>a</username>",
            "<password>b</password>",
            "<username>a</username><password/>",
            "",
        ] {
            let answer = register(&server, wrong);
            assert_eq!(
                answer.condition(),
                Some("not-acceptable"),
                "{wrong}: {answer}"
            );
        }
        let list = server.ctl(&["account", "list"], "");
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        assert_eq!(list.lines().count(), 1, "only the bystander: {list}");
    });
}

#[test]
fn an_account_removed_and_made_again_inherits_nothing() {
    let server = Server::start(&["registration.open=true"]);
    unharmed(&server, 4, STRANGER, || {
        let jid = "romeo@montague.lit";
        let answer = register(&server, &fields("romeo", "first"));
        assert_eq!(answer.get("type"), Some("result"), "{answer}");
        let mut client = Client::login(server.c2s, jid, "first");
        for payload in [
            "<query xmlns='jabber:iq:roster'><item jid='juliet@capulet.lit'/></query>",
            "<query xmlns='jabber:iq:private'><a xmlns='u:a'>secret</a></query>",
            "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>",
        ] {
            let id = unique("s");
            let answer = client.ask(&id, &format!("<iq type='set' id='{id}'>{payload}</iq>"));
            assert_eq!(answer.get("type"), Some("result"), "{answer}");
        }
        client.send(&format!(
            "<message to='{jid}' type='chat'><body>for later</body></message>"
        ));
        client.is_alive();
        client
            .send("<iq type='set' id='x'><query xmlns='jabber:iq:register'><remove/></query></iq>");
        client.answer_to("x");
        client.ends_with("not-authorized");
        let answer = register(&server, &fields("romeo", "second"));
        assert_eq!(answer.get("type"), Some("result"), "{answer}");
        let mut client = Client::login(server.c2s, jid, "second");
        let mut get = |payload: &str| {
            let id = unique("g");
            client.ask(&id, &format!("<iq type='get' id='{id}'>{payload}</iq>"))
        };
        let roster = get("<query xmlns='jabber:iq:roster'/>");
        assert_eq!(roster.children[0].children, [], "{roster}");
        let private = get("<query xmlns='jabber:iq:private'><a xmlns='u:a'/></query>");
        assert_eq!(private.children[0].children[0].text, "", "{private}");
        assert_eq!(
            get("<vCard xmlns='vcard-temp'/>").condition(),
            Some("item-not-found")
        );
        client.send("<presence/>");
        client.wait_for(|it| it.name == "presence");
        client.ping(jid);
        client.ping("montague.lit");
        assert_eq!(client.take_aside(), []);
    });
}

#[test]
fn a_resource_of_any_characters_is_only_a_resource() {
    let server = Server::shared();
    let mut juliet = server.new_client("juliet");
    for resource in [
        "a<b&c\"d'e>f",
        "</jid></bind></iq>",
        "a/b@c/d",
        "\u{5d0}\u{5d1}",
        "\u{1f339}",
        " a b ",
    ] {
        let jid = server.new_account("romeo");
        let (user, domain) = jid.split_once('@').expect("an account");
        let mut romeo = Client::connect(server.c2s);
        romeo.open(domain);
        let none = crate::harness::sasl::Binding::None;
        let login = romeo.authenticate("SCRAM-SHA-1", user, PASSWORD, &none);
        login.expect("the password is right");
        romeo.open(domain);
        // Whether it is allowed is a matter of preparation; what it says it must be.
        if romeo.bind(Some(resource)).is_err() {
            continue;
        }
        assert_eq!(romeo.bare(), jid);
        romeo.send(&format!(
            "<message to='{}' type='chat'><body>x</body></message>",
            juliet.jid
        ));
        let message = juliet.next();
        assert_eq!(message.get("from"), Some(romeo.jid.as_str()), "{message}");
        romeo.is_alive();
    }
    juliet.is_alive();
    assert_eq!(juliet.take_aside(), []);
}
