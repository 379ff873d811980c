//! XEP-0045 §7.14, §12.1, §18.1.2: who leaves, and how a room ends.

use super::*;
use crate::shard::rig::jid;

/// §7.14: the occupant first, then the others; with what it says in going (§17.3).
#[test]
fn who_leaves_is_seen_to_leave() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let farewell = "<status>gone</status><x xmlns='http://jabber.org/protocol/muc#user'/>";
    let gone = format!("<presence type='unavailable' to='den@rooms.x/B'>{farewell}</presence>");
    rig.send(&mut clients[1], &gone);
    let own = rig.received(&clients[1]).remove(0);
    has(
        &own,
        &[
            "type='unavailable'",
            "from='den@rooms.x/B'",
            "role='none'",
            "code='110'",
        ],
    );
    let seen = rig.received(&clients[0]).remove(0);
    has(
        &seen,
        &["type='unavailable'", "role='none'", "<status>gone</status>"],
    );
    lacks(&seen, &["code='110'"]);
    assert_eq!(seen.matches("<x ").count(), 1);
    // §17.3: of somebody who is not there it says nothing.
    rig.send(&mut clients[1], &gone);
    assert_eq!(rig.received(&clients[1]), Vec::<String>::new());
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
}

/// A session that ends leaves its rooms.
#[test]
fn whose_session_ends_leaves() {
    let (mut rig, clients) = den(&["a", "b"]);
    rig.detach(&clients[1]);
    rig.tick(20_000);
    let seen = rig.received(&clients[0]);
    has(&seen[0], &["type='unavailable'", "from='den@rooms.x/B'"]);
    assert_eq!(seen.len(), 1, "{seen:?}");
}

/// §10.1: a temporary room is gone with its last occupant, and everything of it.
#[test]
fn a_temporary_room_ends_when_it_is_empty() {
    let (mut rig, mut clients) = den(&["a"]);
    rig.send(
        &mut clients[0],
        "<message type='groupchat' to='den@rooms.x'><body>x</body></message>",
    );
    assert!(rig.store.has(&jid(DEN)));
    rig.received(&clients[0]);
    rig.send(
        &mut clients[0],
        "<presence type='unavailable' to='den@rooms.x/A'/>",
    );
    has(&rig.received(&clients[0])[0], &["code='110'"]);
    assert!(!rig.store.has(&jid(DEN)));
    // Another one may come to be there.
    let received = join(&mut rig, &mut clients[0], "A");
    assert_eq!(received.len(), 2, "{received:?}");
    has(&received[0], &["code='201'"]);
}

#[test]
fn a_persistent_room_stays() {
    let (mut rig, mut clients) = den(&["a"]);
    settings(&mut rig).is_persistent = true;
    rig.send(
        &mut clients[0],
        "<presence type='unavailable' to='den@rooms.x/A'/>",
    );
    assert!(rig.store.has(&jid(DEN)));
    assert!(room(&mut rig).occupants.is_empty());
}

/// §10.1.1: what was never configured was never there, whatever it would have been.
#[test]
fn a_locked_room_goes_with_its_creator() {
    let mut rig = world(&["a"]);
    let mut a = rig.online("a@x/r");
    join(&mut rig, &mut a, "A");
    settings(&mut rig).is_persistent = true;
    rig.send(&mut a, "<presence type='unavailable' to='den@rooms.x/A'/>");
    assert!(!rig.store.has(&jid(DEN)));
}

/// §18.1.2, §12.1: whoever cannot be reached is removed; any other error is its own affair.
#[test]
fn an_error_that_says_that_nobody_is_there_removes_the_occupant() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let error = |condition: &str| {
        format!(
            "<message type='error' to='den@rooms.x/A'><error type='cancel'>\
             <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )
    };
    rig.send(&mut clients[1], &error("not-acceptable"));
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
    rig.send(&mut clients[1], &error("recipient-unavailable"));
    let seen = rig.received(&clients[0]).remove(0);
    has(
        &seen,
        &["type='unavailable'", "from='den@rooms.x/B'", "code='333'"],
    );
    has(&rig.received(&clients[1])[0], &["code='110'", "code='333'"]);
}
