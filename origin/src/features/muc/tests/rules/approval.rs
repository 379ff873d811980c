//! XEP-0045 §9.9: admins decide who becomes a member of a members-only room.

use super::{ROOM, World, enter, jid, request};
use crate::features::muc::affiliation::{Affiliation, Role};
use crate::features::muc::approval::Requests;
use crate::features::muc::settings::Settings;

fn members_only() -> World {
    let settings = Settings {
        is_members_only: true,
        ..Settings::default()
    };
    World::new(settings)
}

fn register(nick: &str) -> String {
    let form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
                <value>http://jabber.org/protocol/muc#register</value></field>\
                <field var='muc#register_roomnick'><value>";
    let query = format!("{form}{nick}</value></field></x>");
    request(
        "set",
        &format!("<query xmlns='jabber:iq:register'>{query}</query>"),
    )
}

fn decide(user: &str, allow: &str) -> String {
    let form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
                <value>http://jabber.org/protocol/muc#register</value></field>";
    let user = format!("<field var='muc#jid'><value>{user}</value></field>");
    let allow = format!("<field var='muc#register_allow'><value>{allow}</value></field>");
    format!("<message id='d' to='{ROOM}'>{form}{user}{allow}</x></message>")
}

#[test]
fn admins_are_asked_and_one_of_them_approves() {
    let mut world = members_only();
    world.rig.send(&mut world.stranger, &register("Puck"));
    let heard = world.heard();
    let stranger = &heard["puck@x"];
    assert_eq!(stranger.len(), 1, "{stranger:?}");
    assert!(stranger[0].contains("type='result'"), "{stranger:?}");
    for admin in ["crone1@x", "wicca@x"] {
        let asked = &heard[admin];
        assert_eq!(asked.len(), 1, "{admin}: {asked:?}");
        for part in [
            " from='coven@rooms.x' to='",
            "<body>puck@x asks ",
            "<value>http://jabber.org/protocol/muc#register</value>",
            "var='muc#jid' type='jid-single'",
            "<value>puck@x</value>",
            "<value>Puck</value>",
            "var='muc#register_allow' type='boolean'",
            "<value>0</value>",
        ] {
            assert!(asked[0].contains(part), "no {part} in {asked:?}");
        }
    }
    for other in ["hag66@x", "hecate@x", "bard@x"] {
        assert_eq!(heard[other], Vec::<String>::new(), "{other}");
    }
    world.rig.send(&mut world.admin, &decide("puck@x", "1"));
    let heard = world.heard();
    // §9.5: a new member is invited.
    let invited = &heard["puck@x"][0];
    assert!(invited.contains("<invite from='wicca@x'"), "{invited}");
    let asked = "<query xmlns='jabber:iq:register'/>";
    let known = world.rig.ask(&mut world.stranger, &request("get", asked));
    assert!(
        known.contains("<registered/><username>Puck</username>"),
        "{known}"
    );
    // The other admin comes too late.
    world.rig.send(&mut world.owner, &decide("puck@x", "0"));
    assert!(world.heard().values().all(Vec::is_empty));
    let known = world.rig.ask(&mut world.stranger, &request("get", asked));
    assert!(known.contains("<registered/>"), "{known}");
}

#[test]
fn an_admin_refuses() {
    let mut world = members_only();
    world.rig.send(&mut world.stranger, &register("Puck"));
    world.quiet();
    world.rig.send(&mut world.admin, &decide("puck@x", "false"));
    world.rig.send(&mut world.owner, &decide("puck@x", "true"));
    assert!(world.heard().values().all(Vec::is_empty));
    let room = world.rig.account_mut(ROOM).expect("in memory");
    let room = room.slots.muc.0.as_ref().expect("a room");
    assert!(!room.members.contains_key(&jid("puck@x")));
}

#[test]
fn who_is_no_admin_decides_nothing() {
    let mut world = members_only();
    world.rig.send(&mut world.stranger, &register("Puck"));
    world.quiet();
    for client in [&mut world.member, &mut world.moderator, &mut world.stranger] {
        let answer = world.rig.ask(client, &decide("puck@x", "1"));
        assert!(answer.contains("<forbidden "), "{answer}");
    }
    for wrong in [decide("puck@x", ""), decide("puck@x", "maybe")] {
        let answer = world.rig.ask(&mut world.admin, &wrong);
        assert!(answer.contains("<bad-request "), "{answer}");
    }
    let answer = world.rig.ask(&mut world.admin, &decide("@", "1"));
    assert!(answer.contains("<jid-malformed "), "{answer}");
    // One who has not asked.
    world.rig.send(&mut world.admin, &decide("nobody@x", "1"));
    assert!(world.heard().values().all(Vec::is_empty));
}

/// A nick that is another's when it is approved; it was not reserved.
#[test]
fn a_nick_may_be_gone_in_the_meantime() {
    let mut world = members_only();
    world.rig.send(&mut world.stranger, &register("Puck"));
    let room = world.rig.account_mut(ROOM).expect("in memory");
    let room = room.slots.muc.0.as_mut().expect("a room");
    enter(room, "hag66@x/other", "puck", Role::Participant);
    world.quiet();
    let answer = world.rig.ask(&mut world.admin, &decide("puck@x", "1"));
    assert!(answer.contains("<conflict "), "{answer}");
}

#[test]
fn a_request_is_told_once_and_can_be_withdrawn() {
    let mut world = members_only();
    for _ in 0..3 {
        let answer = world.rig.ask(&mut world.stranger, &register("Puck"));
        assert!(answer.contains("type='result'"), "{answer}");
    }
    assert_eq!(world.heard()["wicca@x"].len(), 1);
    let answer = world.rig.ask(&mut world.stranger, &register("Robin"));
    assert!(answer.contains("<policy-violation "), "{answer}");
    world.rig.tick(61_000);
    let answer = world.rig.ask(&mut world.stranger, &register("Robin"));
    assert!(answer.contains("type='result'"), "{answer}");
    assert!(world.heard()["wicca@x"][0].contains("<value>Robin</value>"));
    let remove = "<query xmlns='jabber:iq:register'><remove/></query>";
    let answer = world.rig.ask(&mut world.stranger, &request("set", remove));
    assert!(answer.contains("type='result'"), "{answer}");
    world.rig.send(&mut world.admin, &decide("puck@x", "1"));
    assert!(world.heard().values().all(Vec::is_empty));
}

#[test]
fn a_request_survives_the_owner_of_the_room_and_ends_with_a_ban() {
    let mut world = members_only();
    world.rig.send(&mut world.stranger, &register("Puck"));
    world.quiet();
    let room = world.rig.account_mut(ROOM).expect("in memory");
    let stored = room.slots.muc.0.as_ref().expect("a room").requests.clone();
    assert_eq!(Requests::decode(&stored.encode()), Ok(stored));
    let ban = super::admin_set("<item affiliation='outcast' jid='puck@x'/>");
    world.rig.send(&mut world.admin, &ban);
    world.quiet();
    world.rig.send(&mut world.owner, &decide("puck@x", "1"));
    let room = world.rig.account_mut(ROOM).expect("in memory");
    let room = room.slots.muc.0.as_mut().expect("a room");
    let member = &room.members[&jid("puck@x")];
    assert_eq!(member.affiliation, Affiliation::Outcast);
}
