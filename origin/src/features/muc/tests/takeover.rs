//! What a new owner of a room's slot does.

use couplet_proto::link::frame::ToOrigin;

use super::*;
use crate::shard::rig::{EPOCH, jid};

/// The slot of the room goes to another owner, who knows only the store.
fn take_over(rig: &mut Rig) {
    rig.move_slot(DEN, EPOCH);
    rig.up_at(&jid(DEN), EPOCH, ToOrigin::Expect(Vec::new()));
}

/// Everybody is still there, and nobody has to enter again.
#[test]
fn a_room_survives_its_owner() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let subject = format!("<message type='groupchat' to='{DEN}'><subject>s</subject></message>");
    rig.send(&mut clients[0], &subject);
    rig.tick(61_000);
    rig.received(&clients[0]);
    rig.received(&clients[1]);
    take_over(&mut rig);
    let message = format!("<message type='groupchat' to='{DEN}'><body>x</body></message>");
    rig.send(&mut clients[1], &message);
    has(
        &rig.received(&clients[0])[0],
        &["from='den@rooms.x/B'", "<body>x</body>"],
    );
    let received = join(&mut rig, &mut clients[1], "B");
    has(&received.concat(), &["<subject>s</subject>"]);
}

/// What was stored and may not have been sent is sent, from its number; not to those who entered
/// after it, who had it as history.
#[test]
fn late_messages_are_sent_again_from_their_numbers() {
    let (mut rig, mut clients) = den(&["a", "b", "c"]);
    let message = format!("<message type='groupchat' to='{DEN}'><body>x</body></message>");
    rig.send(&mut clients[0], &message);
    for client in &clients {
        assert_eq!(rig.received(client).len(), 1);
    }
    let room = room(&mut rig);
    let mut unsent = room.history[0].clone();
    unsent.number += 1;
    room.last = unsent.number;
    room.history.push_back(unsent);
    let c = room.occupants.get_mut(&jid("c@x/r"));
    c.expect("in the room").since = room.last;
    room.is_fresh = true;
    // The first stanza comes after what is sent again.
    rig.send(
        &mut clients[1],
        "<presence to='den@rooms.x/B'><show>xa</show></presence>",
    );
    let seen = rig.received(&clients[0]);
    let bodies = seen.iter().filter(|it| it.contains("<body>x</body>"));
    assert!(bodies.count() >= 1, "{seen:?}");
    has(seen.last().expect("the presence"), &["<show>xa</show>"]);
    assert_eq!(rig.received(&clients[2]).len(), 1, "the presence alone");
}

/// A session that is there says nothing when it is asked.
#[test]
fn those_who_are_there_stay() {
    let (mut rig, clients) = den(&["a", "b"]);
    rig.tick(61_000);
    take_over(&mut rig);
    rig.tick(11_000);
    for client in &clients {
        assert_eq!(rig.received(client), Vec::<String>::new());
    }
    assert!(room(&mut rig).probes_at.is_none());
    assert_eq!(room(&mut rig).occupants.len(), 2);
}

/// §18.1.2: a session that ended unheard of is asked, and leaves.
#[test]
fn ghosts_leave() {
    let (mut rig, clients) = den(&["a", "b"]);
    // The room has not heard that this session is gone.
    let mut ghost = room(&mut rig)
        .occupants
        .get(&clients[1].jid)
        .cloned()
        .expect("in the room");
    ghost.jid = jid("b@x/ghost");
    ghost.nick = "G".into();
    room(&mut rig).occupants.insert(ghost);
    room(&mut rig).is_fresh = true;
    let mut clients = clients;
    rig.send(&mut clients[0], "<presence to='den@rooms.x/A'/>");
    rig.received(&clients[0]);
    rig.tick(5000);
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
    rig.tick(6000);
    let seen = rig.received(&clients[0]);
    assert_eq!(seen.len(), 1, "{seen:?}");
    has(&seen[0], &["type='unavailable'", "from='den@rooms.x/G'"]);
    assert_eq!(room(&mut rig).occupants.len(), 2);
}

/// What waits for its commit has not arrived, whatever is stored behind it.
#[test]
fn what_is_stored_and_not_sent_is_sent_by_the_next_owner() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let message =
        |id| format!("<message type='groupchat' id='{id}' to='{DEN}'><body>x</body></message>");
    rig.send(&mut clients[0], &message("m0"));
    let before = room(&mut rig).last;
    rig.holds_commits = true;
    rig.send(&mut clients[0], &message("m1"));
    rig.send(&mut clients[0], &message("m2"));
    let room = room(&mut rig);
    assert_eq!(room.last, before + 2);
    let arrived: Vec<u64> = room.history.iter().map(|past| past.arrived).collect();
    assert_eq!(arrived[arrived.len() - 2..], [before, before]);
}
