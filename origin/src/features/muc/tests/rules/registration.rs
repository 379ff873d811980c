//! XEP-0045 §7.10, §7.12.

use super::{World, request};
use crate::features::muc::affiliation::Affiliation;
use crate::features::muc::settings::Settings;

const GET: &str = "<query xmlns='jabber:iq:register'/>";

fn set(content: &str) -> String {
    request(
        "set",
        &format!("<query xmlns='jabber:iq:register'>{content}</query>"),
    )
}

fn form(nick: &str) -> String {
    let type_ =
        "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#register</value></field>";
    let nick = format!("<field var='muc#register_roomnick'><value>{nick}</value></field>");
    set(&format!(
        "<x xmlns='jabber:x:data' type='submit'>{type_}{nick}</x>"
    ))
}

#[test]
fn a_user_registers_and_leaves() {
    let mut world = World::new(Settings::default());
    let asked = world.rig.ask(&mut world.plain, &request("get", GET));
    assert!(asked.contains("var='muc#register_roomnick'"), "{asked}");
    assert!(asked.contains("<required/>"), "{asked}");
    let wrong = [
        set(""),
        set("<x xmlns='jabber:x:data' type='submit'/>"),
        set("<remove/><username>x</username>"),
        form(""),
    ];
    for wrong in wrong {
        let answer = world.rig.ask(&mut world.plain, &wrong);
        assert!(answer.contains("<bad-request "), "{answer}");
    }
    // The nick of another who is there.
    assert!(
        world
            .rig
            .ask(&mut world.plain, &form("Third"))
            .contains("<conflict ")
    );
    assert!(
        world
            .rig
            .ask(&mut world.plain, &set("<remove/>"))
            .contains("<registration-required ")
    );
    world.rig.send(&mut world.plain, &form("Hecate"));
    let heard = world.heard();
    assert!(heard["hecate@x"][0].contains("type='result'"));
    let told = &heard["hag66@x"][0];
    assert!(told.contains("affiliation='member'") && told.contains("role='participant'"));
    let known = world.rig.ask(&mut world.plain, &request("get", GET));
    assert!(
        known.contains("<registered/><username>Hecate</username>"),
        "{known}"
    );
    // §7.10: reserved for it alone.
    assert!(
        world
            .rig
            .ask(&mut world.stranger, &form("hecate"))
            .contains("<conflict ")
    );
    world.rig.send(&mut world.plain, &set("<remove/>"));
    assert!(world.heard()["hag66@x"][0].contains("affiliation='none'"));
    assert!(
        world
            .rig
            .ask(&mut world.stranger, &form("hecate"))
            .contains("type='result'")
    );
}

/// An admin has a nick and stays an admin without.
#[test]
fn whoever_manages_the_room_stays_what_it_is() {
    let mut world = World::new(Settings::default());
    for set in [form("Boss"), set("<remove/>")] {
        assert!(
            world
                .rig
                .ask(&mut world.admin, &set)
                .contains("type='result'")
        );
        let list = super::admin_get("<item affiliation='outcast'/>");
        assert!(
            world
                .rig
                .ask(&mut world.admin, &list)
                .contains("type='result'")
        );
    }
}

#[test]
fn where_it_is_restricted_nobody_registers() {
    let closed = Settings {
        may_register: false,
        ..Settings::default()
    };
    let members_only = Settings {
        is_members_only: true,
        may_register: false,
        ..Settings::default()
    };
    for settings in [closed, members_only] {
        let mut world = World::new(settings);
        for set in [request("get", GET), form("Puck")] {
            let answer = world.rig.ask(&mut world.stranger, &set);
            assert!(answer.contains("<not-allowed "), "{answer}");
        }
        assert!(
            world
                .rig
                .ask(&mut world.member, &form("Third"))
                .contains("type='result'")
        );
    }
    let mut world = World::with(Settings::default(), |room| {
        super::affiliate(room, "puck@x", Affiliation::Outcast);
    });
    for set in [request("get", GET), form("Puck")] {
        assert!(
            world
                .rig
                .ask(&mut world.stranger, &set)
                .contains("<not-allowed ")
        );
    }
    assert!(
        world
            .rig
            .ask(&mut world.stranger, &set("<remove/>"))
            .contains("<registration-required ")
    );
}
