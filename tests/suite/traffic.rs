//! Much at once: nothing is lost, nothing comes twice, and order holds between two addresses.

use std::collections::BTreeMap;
use std::thread;

use crate::harness::client::Client;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::tls::Wish;
use crate::harness::tree::Tree;

/// The number a message carries.
fn number(message: &Tree) -> u64 {
    let body = message.child("body").expect("a body");
    body.text.parse().expect("a number")
}

/// The account a stanza comes from.
fn sender(stanza: &Tree) -> String {
    let from = stanza.get("from").expect("a sender");
    from.split('/').next().expect("an address").to_owned()
}

fn message(to: &str, number: u64) -> String {
    format!("<message to='{to}' type='chat'><body>{number}</body></message>")
}

#[test]
fn as_many_answers_as_questions_in_their_order() {
    let server = Server::shared();
    let mut client = server.new_client("romeo");
    let (own, count) = (client.bare().to_owned(), 3000);
    // All of them before the first answer is read.
    let questions: String = (0..count)
        .map(|number| {
            format!("<iq type='get' id='{number}' to='{own}'><ping xmlns='urn:xmpp:ping'/></iq>")
        })
        .collect();
    client.send(&questions);
    for number in 0..count {
        let answer = client.next();
        assert_eq!(
            answer.get("id"),
            Some(number.to_string().as_str()),
            "{answer}"
        );
        assert_eq!(answer.get("type"), Some("result"), "{answer}");
    }
}

#[test]
fn everybody_hears_everybody_in_order() {
    const EACH: u64 = 200;
    let server = Server::shared();
    let wish = Wish::new("montague.lit");
    let mut clients: Vec<Client> = (0..4)
        .map(|index| {
            let jid = server.new_account("guest");
            let mut client = match index % 2 {
                0 => Client::connect(server.c2s),
                _ => Client::connect_tls(server.tls, &wish).expect("a TLS handshake"),
            };
            client.enter(&jid, PASSWORD);
            client.send("<presence/>");
            client.is_alive();
            client.take_aside();
            client
        })
        .collect();
    let names: Vec<String> = clients.iter().map(|it| it.bare().to_owned()).collect();
    thread::scope(|scope| {
        for client in &mut clients {
            let names = &names;
            scope.spawn(move || {
                for number in 0..EACH {
                    for to in names {
                        client.send(&message(to, number));
                    }
                }
                let mut heard: BTreeMap<String, u64> = BTreeMap::new();
                for _ in 0..EACH * names.len() as u64 {
                    let message = client.wait_for(|it| it.name == "message");
                    let next = heard.entry(sender(&message)).or_default();
                    assert_eq!(number(&message), *next, "{message}");
                    *next += 1;
                }
                assert_eq!(heard.len(), names.len());
            });
        }
    });
}

#[test]
fn who_goes_and_comes_back_misses_nothing_and_hears_nothing_twice() {
    const COUNT: u64 = 1500;
    let server = Server::start(&["limits.offline_messages=100000"]);
    server.add_account("juliet@capulet.lit", PASSWORD);
    let senders: Vec<String> = (0..2).map(|_| server.new_account("romeo")).collect();
    thread::scope(|scope| {
        for jid in &senders {
            let mut client = Client::login(server.c2s, jid, PASSWORD);
            scope.spawn(move || {
                for number in 0..COUNT {
                    client.send(&message("juliet@capulet.lit", number));
                    // Not faster than the server, or nobody comes and goes in the middle of it.
                    if number % 50 == 0 {
                        client.ping("juliet@capulet.lit");
                    }
                }
                client.is_alive();
                assert_eq!(client.take_aside(), []);
            });
        }
        let mut heard: BTreeMap<String, u64> = BTreeMap::new();
        let mut hear = |message: &Tree| {
            let next = heard.entry(sender(message)).or_default();
            assert_eq!(number(message), *next, "{message}");
            *next += 1;
            heard.values().sum::<u64>()
        };
        let mut total = 0;
        while total < COUNT * senders.len() as u64 {
            let mut juliet = Client::login(server.c2s, "juliet@capulet.lit/balcony", PASSWORD);
            juliet.send("<presence/>");
            total = hear(&juliet.wait_for(|it| it.name == "message"));
            juliet.send("<presence type='unavailable'/>");
            // After the echo of that nothing more is for this session.
            loop {
                let stanza = juliet.next();
                match stanza.name.as_str() {
                    "message" => total = hear(&stanza),
                    _ if stanza.get("type") == Some("unavailable") => break,
                    _ => {}
                }
            }
            juliet.is_alive();
            assert_eq!(juliet.take_aside(), []);
            juliet.close();
        }
    });
}

#[test]
fn rosters_of_two_accounts_agree_after_everything_at_once() {
    // Both sides ask and approve at the same moment; what comes out is mutual (RFC 6121 §3.1).
    let server = Server::shared();
    for _ in 0..20 {
        let mut sides = [server.new_client("romeo"), server.new_client("juliet")];
        let names = [0, 1].map(|side: usize| sides[side].bare().to_owned());
        for (side, client) in sides.iter_mut().enumerate() {
            let other = &names[1 - side];
            for type_ in ["subscribe", "subscribed"] {
                client.send(&format!("<presence type='{type_}' to='{other}'/>"));
            }
        }
        for _ in 0..3 {
            for (side, client) in sides.iter_mut().enumerate() {
                client.ping(&names[1 - side]);
                client.is_alive();
            }
        }
        for (side, client) in sides.iter_mut().enumerate() {
            let ask = "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>";
            let roster = client.ask("r", ask);
            let item = roster.children[0].children.first().expect("an item");
            assert_eq!(item.get("jid"), Some(names[1 - side].as_str()), "{roster}");
            assert_eq!(item.get("subscription"), Some("both"), "{roster}");
            assert_eq!(item.get("ask"), None, "{roster}");
        }
    }
}
