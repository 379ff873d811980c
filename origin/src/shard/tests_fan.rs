//! What a room sends to many: one frame for all that can be reached at once, the usual way for the
//! others, and an order that holds.

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{ToEdge, ToOrigin};

use super::rig::{Client, Rig};

const ROOM: &str = "den@rooms.x";
const NEXT: Epoch = Epoch(4);

/// A room of these users, each with one session.
fn den(shards: u16, names: &[&str]) -> (Rig, Vec<Client>) {
    let accounts: Vec<String> = names.iter().map(|name| format!("{name}@x")).collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let mut rig = Rig::new(shards, &accounts);
    let mut clients = Vec::new();
    for name in names {
        let mut client = rig.online(&format!("{name}@x/r"));
        let join = "<x xmlns='http://jabber.org/protocol/muc'/>";
        rig.send(
            &mut client,
            &format!("<presence to='{ROOM}/{name}'>{join}</presence>"),
        );
        if clients.is_empty() {
            let form = "<x xmlns='jabber:x:data' type='submit'/>";
            let ns = "http://jabber.org/protocol/muc#owner";
            let query = format!("<query xmlns='{ns}'>{form}</query>");
            rig.send(
                &mut client,
                &format!("<iq type='set' id='o' to='{ROOM}'>{query}</iq>"),
            );
        }
        clients.push(client);
    }
    for client in &clients {
        rig.received(client);
    }
    rig.fans = 0;
    (rig, clients)
}

fn message(number: u32) -> String {
    format!("<message type='groupchat' id='m{number}' to='{ROOM}'><body>b</body></message>")
}

/// The ids of the messages a client has received since.
fn heard(rig: &mut Rig, client: &Client) -> Vec<String> {
    let received = rig.received(client);
    let messages = received.iter().filter(|it| it.contains("<body>"));
    let id = |stanza: &String| {
        let rest = stanza.split("id='").nth(1).expect("it has an id");
        rest.split('\'').next().expect("quoted").to_owned()
    };
    messages.map(id).collect()
}

#[test]
fn who_can_be_reached_is_reached_with_one_frame_for_each_shard() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let (mut rig, mut clients) = den(1, &names);
    rig.send(&mut clients[0], &message(1));
    assert_eq!(rig.fans, 1);
    for client in &clients {
        assert_eq!(heard(&mut rig, client), ["m1"]);
    }
    assert_eq!(rig.taken(&clients[0]), 4, "everybody has it");
}

#[test]
fn who_sleeps_gets_it_on_coming_back() {
    let (mut rig, mut clients) = den(2, &["a", "b"]);
    let id = rig.enable(&clients[1]);
    rig.holds_acks = true;
    rig.send(&mut clients[0], &message(1));
    rig.lose(&clients[1]);
    rig.send(&mut clients[0], &message(2));
    assert_eq!(rig.taken(&clients[0]), 5, "stored for the one who sleeps");
    let mut sleeper = clients[1].clone();
    let resumed = rig.resume(&mut sleeper, &id, 0);
    assert!(matches!(resumed, ToEdge::Resumed { .. }), "{resumed:?}");
    assert_eq!(heard(&mut rig, &sleeper), ["m1", "m2"]);
    rig.send(&mut clients[0], &message(3));
    assert_eq!(heard(&mut rig, &sleeper), ["m3"]);
}

#[test]
fn who_is_being_written_for_gets_it_behind_that() {
    let (mut rig, mut clients) = den(1, &["a", "b"]);
    rig.send(&mut clients[0], &message(1));
    heard(&mut rig, &clients[1]);
    rig.holds_commits = true;
    // The answer waits for the commit.
    let set = "<iq type='set' id='v'><vCard xmlns='vcard-temp'><FN>B</FN></vCard></iq>";
    rig.send(&mut clients[1], set);
    rig.send(&mut clients[0], &message(2));
    assert!(rig.received(&clients[1]).is_empty());
    rig.holds_commits = false;
    while rig.is_committing() {
        rig.commit(true);
    }
    let received = rig.received(&clients[1]);
    assert!(received[0].starts_with("<iq"), "{received:?}");
    assert!(received[1].contains("id='m2'"), "{received:?}");
}

#[test]
fn what_is_sent_again_to_a_new_owner_of_the_receiver_comes_once() {
    let (mut rig, mut clients) = den(2, &["a", "b"]);
    rig.send(&mut clients[0], &message(1));
    let attachment = rig.attachment(&clients[1], Vec::new());
    assert_eq!(heard(&mut rig, &clients[1]), ["m1"]);
    rig.move_slot("b@x", NEXT);
    // While its sessions are gathered, what is for them waits.
    rig.send(&mut clients[0], &message(2));
    assert!(rig.received(&clients[1]).is_empty());
    let account = clients[1].jid.to_bare();
    rig.up_at(&account, NEXT, ToOrigin::Expect(vec![clients[1].session]));
    rig.up_at(&account, NEXT, ToOrigin::Attach(Box::new(attachment)));
    assert_eq!(heard(&mut rig, &clients[1]), ["m2"]);
    assert_eq!(rig.taken(&clients[0]), 5);
}

#[test]
fn who_is_gone_is_waited_for_and_then_leaves_the_room() {
    let (mut rig, mut clients) = den(2, &["a", "b"]);
    let attachment = rig.attachment(&clients[1], Vec::new());
    rig.move_slot("b@x", NEXT);
    let account = clients[1].jid.to_bare();
    rig.up_at(&account, NEXT, ToOrigin::Expect(Vec::new()));
    rig.send(&mut clients[0], &message(1));
    rig.send(&mut clients[0], &message(2));
    rig.tick(1000);
    let seen = rig.received(&clients[0]);
    assert!(seen.iter().all(|it| it.starts_with("<message")), "{seen:?}");
    // Its edge had no way before.
    rig.up_at(&account, NEXT, ToOrigin::Attach(Box::new(attachment)));
    rig.tick(1000);
    assert_eq!(heard(&mut rig, &clients[1]), ["m1", "m2"]);
    rig.move_slot("b@x", Epoch(5));
    rig.up_at(&account, Epoch(5), ToOrigin::Expect(Vec::new()));
    rig.send(&mut clients[0], &message(3));
    rig.tick(8000);
    let seen = rig.received(&clients[0]);
    let left = seen.last().expect("somebody leaves");
    assert!(left.contains("type='unavailable'"), "{seen:?}");
    assert!(left.contains("from='den@rooms.x/b'"), "{seen:?}");
}

#[test]
fn who_is_back_in_a_new_session_while_it_is_waited_for_is_not_taken_to_be_gone() {
    let (mut rig, mut clients) = den(2, &["a", "b"]);
    rig.move_slot("b@x", NEXT);
    let account = clients[1].jid.to_bare();
    rig.up_at(&account, NEXT, ToOrigin::Expect(Vec::new()));
    rig.send(&mut clients[0], &message(1));
    // No edge comes with it any more, but what is for it waits for the next tick.
    rig.now.mono += 8000;
    let mut back = rig.online("b@x/r");
    let join = "<x xmlns='http://jabber.org/protocol/muc'/>";
    rig.send(
        &mut back,
        &format!("<presence to='{ROOM}/b'>{join}</presence>"),
    );
    rig.send(&mut clients[0], &message(2));
    rig.tick(1000);
    rig.send(&mut clients[0], &message(3));
    let heard: Vec<String> = heard(&mut rig, &back);
    assert!(
        heard.ends_with(&["m2".to_owned(), "m3".to_owned()]),
        "{heard:?}"
    );
    let seen = rig.received(&clients[0]);
    let left = seen.iter().find(|it| it.contains("type='unavailable'"));
    assert!(left.is_none(), "{seen:?}");
}
