//! XEP-0045 §6.4, §6.5, §7.12, §18.1.1.

use couplet_proto::xmpp::ns;

use super::{Affiliation, Member, World, jid, request};
use crate::features::muc::settings::Settings;

fn disco(ns: &str, node: &str) -> String {
    request("get", &format!("<query xmlns='{ns}'{node}/>"))
}

/// §6.4.
#[test]
fn a_room_says_what_it_is() {
    let mut world = World::new(Settings {
        name: "A Dark Cave".to_owned(),
        description: "The place for all good witches!".to_owned(),
        slow_mode_secs: 20,
        is_public: false,
        ..Settings::default()
    });
    let info = world
        .rig
        .ask(&mut world.stranger, &disco(ns::DISCO_INFO, ""));
    let identity = "<identity category='conference' type='text' name='A Dark Cave'/>";
    assert!(info.contains(identity), "{info}");
    for feature in [
        "http://jabber.org/protocol/muc",
        "http://jabber.org/protocol/muc#stable_id",
        "muc_hidden",
        "muc_temporary",
        "muc_open",
        "muc_unmoderated",
        "muc_semianonymous",
        "muc_unsecured",
    ] {
        assert!(
            info.contains(&format!("<feature var='{feature}'/>")),
            "{feature}: {info}"
        );
    }
    for value in ["The place for all good witches!", "5", "20"] {
        assert!(
            info.contains(&format!("<value>{value}</value>")),
            "{value}: {info}"
        );
    }
    assert!(
        info.contains("var='muc#roominfo_slow_mode_duration' type='text-single'"),
        "{info}"
    );
    let mut world = World::new(Settings {
        is_persistent: true,
        is_moderated: true,
        is_members_only: true,
        is_non_anonymous: true,
        password: Some("cauldronburn".to_owned()),
        ..Settings::default()
    });
    let info = world
        .rig
        .ask(&mut world.stranger, &disco(ns::DISCO_INFO, ""));
    for feature in [
        "muc_public",
        "muc_persistent",
        "muc_membersonly",
        "muc_moderated",
        "muc_nonanonymous",
        "muc_passwordprotected",
    ] {
        assert!(
            info.contains(&format!("<feature var='{feature}'/>")),
            "{feature}: {info}"
        );
    }
    assert!(
        !info.contains("cauldronburn") && !info.contains("crone1"),
        "{info}"
    );
    let info = world.rig.ask(&mut world.member, &disco(ns::DISCO_INFO, ""));
    assert!(info.contains("<value>crone1@x</value>"), "{info}");
}

/// §6.5.
#[test]
fn who_is_there_is_told_to_who_is_there() {
    let mut world = World::new(Settings::default());
    let items = world.rig.ask(&mut world.plain, &disco(ns::DISCO_ITEMS, ""));
    assert!(
        items.contains("<item jid='coven@rooms.x/first'/>"),
        "{items}"
    );
    let items = world
        .rig
        .ask(&mut world.stranger, &disco(ns::DISCO_ITEMS, ""));
    assert!(
        items.contains("<query xmlns='http://jabber.org/protocol/disco#items'/>"),
        "{items}"
    );
}

/// §7.12, §18.1.1.
#[test]
fn nodes_are_answered() {
    let mut world = World::with(Settings::default(), |room| {
        let member = Member {
            affiliation: Affiliation::Member,
            nick: Some("Third".into()),
            reason: None,
        };
        room.members.insert(jid("hag66@x"), member);
    });
    let node = disco(ns::DISCO_INFO, " node='x-roomuser-item'");
    let nick = world.rig.ask(&mut world.member, &node);
    assert!(nick.contains("<identity category='conference' type='text' name='Third'/>"));
    let none = world.rig.ask(&mut world.plain, &node);
    assert!(none.contains("node='x-roomuser-item'/>"), "{none}");
    let traffic = disco(
        ns::DISCO_INFO,
        " node='http://jabber.org/protocol/muc#traffic'",
    );
    let traffic = world.rig.ask(&mut world.plain, &traffic);
    assert!(traffic.contains("<service-unavailable "), "{traffic}");
    let unknown = world
        .rig
        .ask(&mut world.plain, &disco(ns::DISCO_INFO, " node='n'"));
    assert!(unknown.contains("<item-not-found "), "{unknown}");
}

/// §10.1.1: there is no room before it is configured, nor where none was made.
#[test]
fn where_is_no_room_nothing_answers() {
    let mut world = World::with(Settings::default(), |room| room.is_locked = true);
    let info = disco(ns::DISCO_INFO, "");
    assert!(
        world
            .rig
            .ask(&mut world.stranger, &info)
            .contains("<item-not-found ")
    );
    assert!(world.rig.ask(&mut world.owner, &info).contains("muc_open"));
    for child in [
        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        "<query xmlns='http://jabber.org/protocol/muc#owner'/>",
        "<query xmlns='jabber:iq:register'/>",
        "<ping xmlns='urn:xmpp:ping'/>",
    ] {
        let request = request("get", child).replace("coven", "elsewhere");
        let answer = world.rig.ask(&mut world.stranger, &request);
        assert!(answer.contains("<item-not-found "), "{answer}");
    }
    let ping = request("get", "<ping xmlns='urn:xmpp:ping'/>");
    assert!(
        world
            .rig
            .ask(&mut world.owner, &ping)
            .contains("type='result'")
    );
    let unknown = request("set", "<x xmlns='urn:x'/>");
    assert!(
        world
            .rig
            .ask(&mut world.owner, &unknown)
            .contains("<service-unavailable ")
    );
}
