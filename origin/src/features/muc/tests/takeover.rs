//! What a new owner of a room's slot does.

use couplet_proto::link::epoch::Epoch;

use super::*;

/// Everybody is still there, and nobody has to enter again.
#[test]
fn a_room_survives_its_owner() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let subject = format!("<message type='groupchat' to='{DEN}'><subject>s</subject></message>");
    rig.send(&mut clients[0], &subject);
    rig.tick(61_000);
    rig.received(&clients[0]);
    rig.received(&clients[1]);
    rig.move_slot(DEN, Epoch(4));
    let message = format!("<message type='groupchat' to='{DEN}'><body>x</body></message>");
    rig.send(&mut clients[1], &message);
    has(
        &rig.received(&clients[0])[0],
        &["from='den@rooms.x/B'", "<body>x</body>"],
    );
    let received = join(&mut rig, &mut clients[1], "B");
    has(
        received.last().expect("the subject"),
        &["<subject>s</subject>"],
    );
}

/// What was sent of late is sent again, from the same numbers.
#[test]
fn late_messages_are_sent_again_from_their_numbers() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let message = format!("<message type='groupchat' to='{DEN}'><body>x</body></message>");
    rig.send(&mut clients[0], &message);
    assert_eq!(rig.received(&clients[1]).len(), 1);
    let before = room(&mut rig).last;
    rig.move_slot(DEN, Epoch(4));
    // The connections would know them; the edges of these tests are lists.
    let again = rig.received(&clients[1]);
    assert_eq!(again.len(), 1, "{again:?}");
    has(&again[0], &["<body>x</body>"]);
    let room = room(&mut rig);
    assert!(!room.is_fresh);
    assert_eq!(room.last, before);
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
    ghost.jid = crate::shard::rig::jid("b@x/ghost");
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
