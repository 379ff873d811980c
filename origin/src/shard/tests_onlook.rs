//! What an operator who looks on at an account is shown.

use couplet_proto::link::epoch::Epoch;

use super::rig::{EPOCH, Rig};
use crate::admin::Error;
use crate::onlook::{Ask, Watched, Way};

fn chat(id: &str, to: &str) -> String {
    format!("<message id='{id}' to='{to}' type='chat'><body>secret</body></message>")
}

/// Each stanza in a line.
fn shown(watched: &Watched) -> Vec<String> {
    let records = watched.records.iter();
    let lines = records.map(|record| {
        let way = match record.way {
            Way::Sent => "sent",
            Way::Delivered => "delivered",
            Way::Handled => "handled",
        };
        let id = record.id.as_deref().unwrap_or("-");
        format!("{way} {} {id}", record.session)
    });
    lines.collect()
}

fn open(rig: &mut Rig, at: &str) -> Ask {
    let opened = rig.look(at, false, Ask::Open).expect("there is room");
    Ask::Read(opened.cursor)
}

#[test]
fn both_ways_of_every_stanza_are_shown_once() {
    let mut rig = Rig::new(3, &["romeo@x", "juliet@x"]);
    let (mut romeo, mut juliet) = (rig.online("romeo@x/r"), rig.online("juliet@x/j"));
    let read = open(&mut rig, "romeo@x");
    rig.send(&mut romeo, &chat("m1", "juliet@x"));
    rig.send(&mut juliet, &chat("m2", "romeo@x"));
    let watched = rig.look("romeo@x", false, read).expect("open");
    assert_eq!(
        shown(&watched),
        ["sent romeo@x/r m1", "delivered romeo@x/r m2"]
    );
    assert!(!format!("{watched:?}").contains("secret"));
    let again = rig.look("romeo@x", false, Ask::Read(watched.cursor));
    assert_eq!(shown(&again.expect("open")), [""; 0]);
    // Of others nothing is noted.
    let other = rig.look("juliet@x", false, Ask::Read(watched.cursor));
    assert_eq!(other, Err(Error::NotWatched));
}

#[test]
fn what_stands_in_a_stanza_is_shown_to_whoever_may_see_it() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let opened = rig.look("romeo@x", true, Ask::Open).expect("there is room");
    rig.send(&mut romeo, &chat("m1", "romeo@x/r"));
    let read = Ask::Read(opened.cursor);
    let whole = rig.look("romeo@x", true, read).expect("open");
    let texts = whole.records.iter().map(|it| it.whole.clone());
    assert!(texts.flatten().all(|it| it.to_string().contains("secret")));
    let redacted = rig.look("romeo@x", false, read).expect("open");
    assert_eq!(shown(&whole), shown(&redacted));
    assert!(!format!("{redacted:?}").contains("secret"));
}

#[test]
fn what_comes_while_no_client_is_there_is_shown_too() {
    let mut rig = Rig::new(2, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let read = open(&mut rig, "juliet@x");
    rig.send(&mut romeo, &chat("m1", "juliet@x"));
    let watched = rig.look("juliet@x", false, read).expect("open");
    assert_eq!(shown(&watched), ["handled juliet@x m1"]);
}

#[test]
fn what_rooms_send_to_many_is_shown_to_whoever_looks_at_one() {
    let mut rig = Rig::new(2, &["romeo@x", "juliet@x"]);
    let (mut romeo, mut juliet) = (rig.online("romeo@x/r"), rig.online("juliet@x/j"));
    let room = "verona@rooms.x";
    for (client, nick) in [(&mut romeo, "r"), (&mut juliet, "j")] {
        let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
        rig.send(
            client,
            &format!("<presence to='{room}/{nick}'>{x}</presence>"),
        );
        // An instant room (XEP-0045 §10.1.2).
        let query = "<query xmlns='http://jabber.org/protocol/muc#owner'>\
                     <x xmlns='jabber:x:data' type='submit'/></query>";
        let unlock = format!("<iq type='set' id='u' to='{room}'>{query}</iq>");
        rig.send(client, &unlock);
    }
    let read = open(&mut rig, "juliet@x/j");
    let say = format!("<message id='g1' to='{room}' type='groupchat'><body>hi</body></message>");
    rig.send(&mut romeo, &say);
    let watched = rig.look("juliet@x/j", false, read).expect("open");
    assert_eq!(shown(&watched), ["delivered juliet@x/j g1"]);
    let from = watched.records[0].from.as_ref().map(ToString::to_string);
    assert_eq!(from.as_deref(), Some("verona@rooms.x/r"));
}

#[test]
fn a_stanza_that_comes_again_is_shown_once() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let read = open(&mut rig, "romeo@x");
    rig.send(&mut romeo, &chat("m1", "nobody@x"));
    rig.repeat(&romeo, EPOCH, &chat("m1", "nobody@x"));
    let watched = rig.look("romeo@x", false, read).expect("open");
    let sent = shown(&watched);
    let sent = sent.iter().filter(|line| line.starts_with("sent"));
    assert_eq!(sent.count(), 1);
}

#[test]
fn nobody_looks_on_for_ever() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    let read = open(&mut rig, "romeo@x");
    rig.tick(10_000);
    assert!(rig.look("romeo@x", false, read).is_ok());
    rig.tick(16_000);
    let closed = rig.look("romeo@x", false, read);
    assert_eq!(closed, Err(Error::NotWatched));
}

#[test]
fn a_slot_that_moves_takes_nothing_along() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    let read = open(&mut rig, "romeo@x");
    rig.move_slot("romeo@x", Epoch(EPOCH.0 + 1));
    (0..8).for_each(|_| rig.tick(1000));
    let closed = rig.look("romeo@x", false, read);
    assert_eq!(closed, Err(Error::NotWatched));
    assert!(rig.look("romeo@x", false, Ask::Open).is_ok());
}
