//! What has been acknowledged is there after the process was killed, once, and in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::harness::client::Client;
use crate::harness::reading::Incoming;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::tree::Tree;

/// The next element, `None` when the server has been killed.
fn next(client: &mut Client) -> Option<Tree> {
    match client.incoming() {
        Incoming::Element(tree) => Some(tree),
        _ => None,
    }
}

/// Sends messages to `to` until the server dies; how many were acknowledged.
///
/// The answer to a request sent after a message, to the same address, acknowledges it.
fn send_until_killed(mut client: Client, to: &str, count: &AtomicU64) -> u64 {
    let mut acknowledged = 0;
    for number in 0.. {
        let stanzas = format!(
            "<message to='{to}' type='chat' id='m{number}'><body>{number}</body></message>\
             <iq type='get' id='q{number}' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>"
        );
        if client.send_bytes(stanzas.as_bytes()).is_err() {
            break;
        }
        let Some(answer) = next(&mut client) else {
            break;
        };
        assert_eq!(
            answer.get("id"),
            Some(format!("q{number}").as_str()),
            "{answer}"
        );
        acknowledged = number + 1;
        count.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

/// Logs in and takes what was kept: the bodies by sender, in the order they came.
///
/// Each of `senders` says a last word, which comes after everything it said before.
fn kept(server: &Server, jid: &str, senders: &[String]) -> BTreeMap<String, Vec<u64>> {
    let mut client = Client::login(server.c2s, jid, PASSWORD);
    client.send("<presence/>");
    client.is_alive();
    for sender in senders {
        let mut sender = Client::login(server.c2s, sender, PASSWORD);
        sender.send(&format!(
            "<message to='{jid}' type='chat'><body>end</body></message>"
        ));
        sender.ping(jid);
        sender.close();
    }
    let mut ends = 0;
    let mut bodies: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    while ends < senders.len() {
        let message = client.wait_for(|it| it.name == "message");
        let from = message.get("from").expect("a sender");
        let bare = from.split('/').next().expect("an address").to_owned();
        match message.child("body").expect("a body").text.as_str() {
            "end" => ends += 1,
            number => bodies
                .entry(bare)
                .or_default()
                .push(number.parse().expect("a number")),
        }
    }
    client.close();
    bodies
}

#[test]
fn acknowledged_messages_outlive_kill_9_once_and_in_order() {
    let mut server = Server::start(&["limits.offline_messages=100000"]);
    server.add_account("juliet@capulet.lit", PASSWORD);
    let senders: Vec<String> = (0..3).map(|_| server.new_account("romeo")).collect();
    for _ in 0..3 {
        let count = AtomicU64::new(0);
        let acknowledged: Vec<u64> = thread::scope(|scope| {
            let threads: Vec<_> = senders
                .iter()
                .map(|jid| {
                    let client = Client::login(server.c2s, jid, PASSWORD);
                    scope.spawn(|| send_until_killed(client, "juliet@capulet.lit", &count))
                })
                .collect();
            // In the middle of it, wherever that is.
            while count.load(Ordering::Relaxed) < 60 {
                assert!(!threads.iter().any(thread::ScopedJoinHandle::is_finished));
                thread::yield_now();
            }
            server.signal("KILL");
            threads
                .into_iter()
                .map(|it| it.join().expect("no panic"))
                .collect()
        });
        server.kill();
        server.run();
        let bodies = kept(&server, "juliet@capulet.lit", &senders);
        for (jid, acknowledged) in senders.iter().zip(acknowledged) {
            let found = bodies.get(jid).cloned().unwrap_or_default();
            let expected: Vec<u64> = (0..u64::try_from(found.len()).expect("few")).collect();
            // From the first on, without gap, double or disorder.
            assert_eq!(found, expected, "from {jid}");
            assert!(
                found.len() as u64 >= acknowledged,
                "{} of {acknowledged}",
                found.len()
            );
        }
        // Delivered means gone.
        assert_eq!(
            kept(&server, "juliet@capulet.lit", &senders),
            BTreeMap::new()
        );
    }
}

#[test]
fn acknowledged_settings_outlive_kill_9() {
    let mut server = Server::start(&[]);
    let jid = server.new_account("romeo");
    for round in 0..3 {
        let mut client = Client::login(server.c2s, &jid, PASSWORD);
        let count = AtomicU64::new(0);
        let acknowledged: u64 = thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut acknowledged = 0;
                for number in 1.. {
                    let item = format!("<item jid='a@capulet.lit' name='{round}.{number}'/>");
                    let note = format!("<note xmlns='u:note'>{round}.{number}</note>");
                    let stanzas = format!(
                        "<iq type='set' id='r'><query xmlns='jabber:iq:roster'>{item}</query></iq>\
                         <iq type='set' id='p'><query xmlns='jabber:iq:private'>{note}</query></iq>"
                    );
                    if client.send_bytes(stanzas.as_bytes()).is_err() {
                        break;
                    }
                    for _ in 0..2 {
                        let Some(answer) = next(&mut client) else {
                            return acknowledged;
                        };
                        assert_eq!(answer.get("type"), Some("result"), "{answer}");
                    }
                    acknowledged = number;
                    count.store(number, Ordering::Relaxed);
                }
                acknowledged
            });
            while count.load(Ordering::Relaxed) < 20 {
                assert!(!load.is_finished(), "it ended too early");
                thread::yield_now();
            }
            server.signal("KILL");
            load.join().expect("no panic")
        });
        server.kill();
        server.run();
        let mut client = Client::login(server.c2s, &jid, PASSWORD);
        let roster = "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>";
        let roster = client.ask("r", roster);
        let name = roster.children[0].children[0]
            .get("name")
            .expect("a name")
            .to_owned();
        let note = "<query xmlns='jabber:iq:private'><note xmlns='u:note'/></query>";
        let note = client.ask("p", &format!("<iq type='get' id='p'>{note}</iq>"));
        let note = note.children[0].children[0].text.clone();
        for found in [name, note] {
            let (in_round, number) = found.split_once('.').expect("round and number");
            assert_eq!(in_round, round.to_string());
            let number: u64 = number.parse().expect("a number");
            assert!(
                number == acknowledged || number == acknowledged + 1,
                "{found}, {acknowledged}"
            );
        }
    }
}

#[test]
fn what_was_delivered_before_the_end_is_not_delivered_again() {
    let mut server = Server::start(&[]);
    server.add_account("juliet@capulet.lit", PASSWORD);
    let senders = [server.new_account("romeo")];
    let mut romeo = Client::login(server.c2s, &senders[0], PASSWORD);
    for number in 0..10 {
        let to = "juliet@capulet.lit";
        romeo.send(&format!(
            "<message to='{to}' type='chat'><body>{number}</body></message>"
        ));
    }
    romeo.ping("juliet@capulet.lit");
    assert_eq!(kept(&server, "juliet@capulet.lit", &senders).len(), 1);
    server.kill();
    server.run();
    assert_eq!(
        kept(&server, "juliet@capulet.lit", &senders),
        BTreeMap::new()
    );
}
