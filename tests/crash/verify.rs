//! What must be true after the crashes.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::client::Client;
use crate::harness::server::{PASSWORD, Server};
use crate::load::{CONTACT, Work};

/// Every mailbox holds what was acknowledged, everything at most once, in the order each sender
/// sent it; and after it was read and the server killed once more, it is empty.
pub(crate) fn mailboxes(server: &mut Server, work: &[Work], seed: u64) {
    let recipients: BTreeSet<&str> = work
        .iter()
        .flat_map(|sender| &sender.messages)
        .map(|message| message.to.as_str())
        .collect();
    for recipient in &recipients {
        let mut came: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (from, text) in read(server, recipient, "first") {
            let number = text.parse().expect("senders send numbers");
            came.entry(from).or_default().push(number);
        }
        for sender in work {
            let numbers = came.remove(&sender.jid).unwrap_or_default();
            check(sender, recipient, &numbers, seed);
        }
        assert!(came.is_empty(), "seed {seed}: from strangers: {came:?}");
    }
    server.kill();
    server.run();
    for recipient in &recipients {
        let again = read(server, recipient, "second");
        assert!(
            again.is_empty(),
            "seed {seed}: {recipient} gets again {again:?}"
        );
    }
}

/// Checks what one recipient got from one sender.
fn check(sender: &Work, recipient: &str, numbers: &[usize], seed: u64) {
    let is_ordered = numbers.is_sorted_by(|one, next| one < next);
    let who = format!("seed {seed}: {} to {recipient}", sender.jid);
    assert!(is_ordered, "{who}: twice or out of order: {numbers:?}");
    let got: BTreeSet<usize> = numbers.iter().copied().collect();
    for (number, message) in sender.messages.iter().enumerate() {
        let is_there = got.contains(&number);
        if message.to == recipient {
            let is_lost = message.is_acknowledged && !is_there;
            assert!(
                !is_lost,
                "{who}: number {number} was acknowledged and is lost"
            );
        } else {
            assert!(!is_there, "{who}: number {number} was for {}", message.to);
        }
    }
}

/// Logs in and reads everything stored for an account: sender and text of each message.
fn read(server: &Server, recipient: &str, round: &str) -> Vec<(String, String)> {
    // What is stored comes in order, so nothing older is left once this last one has come.
    let mut closer = server.new_client("closer");
    let last = format!("last-{round}");
    closer.send(&format!(
        "<message to='{recipient}' type='chat'><body>{last}</body></message>"
    ));
    closer.ping(recipient);
    closer.close();
    let mut client = Client::login(server.c2s, recipient, PASSWORD);
    client.send("<presence/>");
    let mut came = Vec::new();
    loop {
        let tree = client.wait_for(|tree| tree.name == "message");
        let from = tree.get("from").unwrap_or_default();
        let from = from.split('/').next().unwrap_or_default().to_owned();
        let text = tree.child("body").map_or("", |body| &body.text).to_owned();
        if text == last {
            break;
        }
        came.push((from, text));
    }
    // The account's own answer: that they were taken has been stored too.
    client.is_alive();
    client.close();
    came
}

/// Every roster shows the last acknowledged change or one sent after it.
pub(crate) fn rosters(server: &Server, work: &[Work], seed: u64) {
    for sender in work {
        let mut client = Client::login(server.c2s, &sender.jid, PASSWORD);
        let request = "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>";
        let answer = client.ask("roster", request);
        let query = answer.child("query").expect("a roster");
        let contacts: Vec<_> = query
            .children
            .iter()
            .filter(|item| item.get("jid") == Some(CONTACT))
            .collect();
        let names: Vec<u64> = contacts
            .iter()
            .filter_map(|item| item.get("name")?.parse().ok())
            .collect();
        let allowed = sender.roster_acknowledged..=sender.roster_sent;
        let is_right = match names.as_slice() {
            [] => sender.roster_acknowledged == 0,
            [name] => allowed.contains(name),
            _ => false,
        };
        assert!(
            is_right,
            "seed {seed}: {}: {names:?}, not {allowed:?}",
            sender.jid
        );
        client.close();
    }
}
