//! XEP-0045 §10.1, §10.2, §10.9.

use super::{World, admin_get, request};
use crate::features::muc::affiliation::Role;
use crate::features::muc::settings::Settings;

const GET: &str = "<query xmlns='http://jabber.org/protocol/muc#owner'/>";

fn owner_set(content: &str) -> String {
    let query = format!("<query xmlns='http://jabber.org/protocol/muc#owner'>{content}</query>");
    request("set", &query)
}

/// Names of fields with their values, separated by spaces.
type Fields<'a> = &'a [(&'a str, &'a str)];

fn submit(fields: Fields<'_>) -> String {
    let field = |(var, value): &(&str, &str)| {
        let values = value
            .split_whitespace()
            .map(|it| format!("<value>{it}</value>"));
        format!("<field var='{var}'>{}</field>", values.collect::<String>())
    };
    let fields: String = fields.iter().map(field).collect();
    owner_set(&format!(
        "<x xmlns='jabber:x:data' type='submit'>{fields}</x>"
    ))
}

/// §10.1.2, §10.1.3.
#[test]
fn a_new_room_is_configured_accepted_or_given_up() {
    let locked = || World::with(Settings::default(), |room| room.is_locked = true);
    for accepted in [submit(&[]), submit(&[("muc#roomconfig_roomname", "Cave")])] {
        let mut world = locked();
        assert!(
            world
                .rig
                .ask(&mut world.stranger, &request("get", GET))
                .contains("<item-not-found ")
        );
        assert!(
            world
                .rig
                .ask(&mut world.owner, &request("get", GET))
                .contains("type='form'")
        );
        world.rig.send(&mut world.owner, &accepted);
        assert!(world.heard()["crone1@x"][0].contains("type='result'"));
        let info = request(
            "get",
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        );
        assert!(
            world
                .rig
                .ask(&mut world.stranger, &info)
                .contains("muc_open")
        );
    }
    let mut world = locked();
    let cancel = owner_set("<x xmlns='jabber:x:data' type='cancel'/>");
    world.rig.send(&mut world.owner, &cancel);
    let heard = world.heard();
    let told = &heard["crone1@x"];
    assert!(
        told[0].contains("<destroy/>") && told[0].contains("type='unavailable'"),
        "{told:?}"
    );
    assert!(told[1].contains("type='result'"), "{told:?}");
    let ping = request("get", "<ping xmlns='urn:xmpp:ping'/>");
    assert!(
        world
            .rig
            .ask(&mut world.owner, &ping)
            .contains("<item-not-found ")
    );
}

/// §10.2.
#[test]
fn a_configuration_is_only_for_owners() {
    let mut world = World::new(Settings::default());
    for client in [&mut world.admin, &mut world.moderator, &mut world.stranger] {
        for set in [request("get", GET), submit(&[]), owner_set("<destroy/>")] {
            let answer = world.rig.ask(client, &set);
            assert!(answer.contains("<forbidden "), "{answer}");
        }
    }
    let form = world.rig.ask(&mut world.owner, &request("get", GET));
    assert!(form.contains("<value>crone1@x</value>") && form.contains("<value>wicca@x</value>"));
    // Cancelled, it is as it was.
    let cancel = owner_set("<x xmlns='jabber:x:data' type='cancel'/>");
    assert!(
        world
            .rig
            .ask(&mut world.owner, &cancel)
            .contains("type='result'")
    );
    for wrong in [
        owner_set(""),
        owner_set("<x xmlns='jabber:x:data' type='form'/>"),
        submit(&[("FORM_TYPE", "urn:other")]),
        request(
            "get",
            "<query xmlns='http://jabber.org/protocol/muc#owner'><item/></query>",
        ),
    ] {
        let answer = world.rig.ask(&mut world.owner, &wrong);
        assert!(answer.contains("<bad-request "), "{answer}");
    }
    for (var, value) in [
        ("muc#roomconfig_passwordprotectedroom", "1"),
        ("muc#roomconfig_moderatedroom", "perhaps"),
        ("muc#roomconfig_whois", "none"),
        ("muc#roomconfig_maxusers", "0"),
        ("muc#roomconfig_slow_mode_duration", "-1"),
        ("muc#roomconfig_slow_mode_duration", "99999999999999999999"),
        ("muc#roomconfig_getmemberlist", "king"),
        ("muc#roomconfig_roomadmins", "rooms.x"),
    ] {
        let wrong = submit(&[("muc#roomconfig_roomname", "Changed"), (var, value)]);
        let answer = world.rig.ask(&mut world.owner, &wrong);
        assert!(answer.contains("<not-acceptable "), "{var}: {answer}");
    }
    let form = world.rig.ask(&mut world.owner, &request("get", GET));
    assert!(!form.contains("Changed"), "{form}");
}

/// §10.2.1.
#[test]
fn everybody_is_told_of_another_configuration() {
    let cases: [(Fields<'_>, &[u16]); 7] = [
        (&[("muc#roomconfig_roomname", "Cave")], &[104]),
        (&[("muc#roomconfig_slow_mode_duration", "5")], &[104]),
        (&[("muc#roomconfig_enablelogging", "0")], &[171]),
        (
            &[("muc#roomconfig_enablelogging", "1"), ("mam", "0")],
            &[171],
        ),
        (&[("muc#roomconfig_whois", "anyone")], &[172]),
        (
            &[
                ("muc#roomconfig_whois", "anyone"),
                ("muc#roomconfig_lang", "en"),
            ],
            &[104, 172],
        ),
        (&[("muc#roomconfig_publicroom", "1"), ("unknown", "1")], &[]),
    ];
    for (fields, codes) in cases {
        let mut world = World::new(Settings::default());
        world.rig.send(&mut world.owner, &submit(fields));
        let heard = world.heard();
        let told = heard["hecate@x"].iter();
        let told: Vec<_> = told.filter(|it| it.starts_with("<message")).collect();
        let status: String = codes
            .iter()
            .map(|it| format!("<status code='{it}'/>"))
            .collect();
        match codes {
            [] => assert!(told.is_empty(), "{told:?}"),
            _ => {
                assert_eq!(told.len(), 1, "{codes:?}: {heard:?}");
                let x = format!("<x xmlns='http://jabber.org/protocol/muc#user'>{status}</x>");
                assert!(told[0].contains(&x), "{told:?}");
                assert!(told[0].contains("type='groupchat'"), "{told:?}");
            }
        }
        assert!(heard["crone1@x"][0].contains("type='result'"));
    }
}

/// §10.2, last paragraph but one.
#[test]
fn strangers_leave_a_room_that_is_for_members_now() {
    let mut world = World::new(Settings::default());
    world.rig.send(
        &mut world.owner,
        &submit(&[("muc#roomconfig_membersonly", "1")]),
    );
    let heard = world.heard();
    for user in ["hecate@x", "bard@x"] {
        let last = heard[user].last().expect("told");
        assert!(
            last.contains("code='322'") && last.contains("type='unavailable'"),
            "{last}"
        );
    }
    let told = heard["hag66@x"].concat();
    assert!(
        told.contains("code='322'") && told.contains("coven@rooms.x/fourth"),
        "{told}"
    );
    let list = world
        .rig
        .ask(&mut world.owner, &admin_get("<item role='participant'/>"));
    assert!(list.contains("third") && !list.contains("fourth"), "{list}");
}

#[test]
fn everybody_speaks_in_a_room_that_is_not_moderated_any_more() {
    let settings = Settings {
        is_moderated: true,
        ..Settings::default()
    };
    let mut world = World::with(settings, |room| {
        super::enter(room, "hecate@x/pda", "fourth", Role::Visitor);
    });
    world.rig.send(
        &mut world.owner,
        &submit(&[("muc#roomconfig_moderatedroom", "0")]),
    );
    let heard = world.heard();
    assert!(heard["hecate@x"].concat().contains("role='participant'"));
}

/// §10.2, §10.5, §10.8: the form has whole lists.
#[test]
fn admins_and_owners_are_chosen_in_the_form() {
    let mut world = World::new(Settings::default());
    let none_left = submit(&[("muc#roomconfig_roomowners", "")]);
    assert!(
        world
            .rig
            .ask(&mut world.owner, &none_left)
            .contains("<conflict ")
    );
    let lists = submit(&[
        ("muc#roomconfig_roomadmins", "crone1@x hecate@x/pda"),
        ("muc#roomconfig_roomowners", "wicca@x"),
    ]);
    world.rig.send(&mut world.owner, &lists);
    let heard = world.heard();
    assert!(
        heard["hecate@x"]
            .concat()
            .contains("<item affiliation='admin' role='moderator'")
    );
    let owners = world
        .rig
        .ask(&mut world.admin, &admin_get("<item affiliation='owner'/>"));
    assert!(
        owners.contains("wicca@x") && !owners.contains("crone1@x"),
        "{owners}"
    );
    let admins = world
        .rig
        .ask(&mut world.admin, &admin_get("<item affiliation='admin'/>"));
    assert!(
        admins.contains("crone1@x") && admins.contains("hecate@x"),
        "{admins}"
    );
}

/// §10.9.
#[test]
fn an_owner_destroys() {
    let settings = Settings {
        is_persistent: true,
        ..Settings::default()
    };
    let mut world = World::new(settings);
    let malformed = owner_set("<destroy jid='a@b@c'/>");
    assert!(
        world
            .rig
            .ask(&mut world.owner, &malformed)
            .contains("<jid-malformed ")
    );
    let wish = "<destroy jid='heath@rooms.x'><reason>Macbeth doth come.</reason>\
                <password>p</password><other xmlns='urn:x'/></destroy>";
    world.rig.send(&mut world.owner, &owner_set(wish));
    let heard = world.heard();
    for user in ["hag66@x", "hecate@x", "wicca@x"] {
        let told = &heard[user];
        assert_eq!(told.len(), 1, "{told:?}");
        let destroy = "<destroy jid='heath@rooms.x'><password>p</password>\
                       <reason>Macbeth doth come.</reason></destroy>";
        assert!(told[0].contains(destroy), "{told:?}");
        assert!(
            told[0].contains("<item affiliation='none' role='none'/>"),
            "{told:?}"
        );
    }
    assert!(heard["hag66@x"][0].contains("from='coven@rooms.x/third'"));
    assert!(heard["crone1@x"][1].contains("type='result'"));
    let ping = request("get", "<ping xmlns='urn:xmpp:ping'/>");
    assert!(
        world
            .rig
            .ask(&mut world.owner, &ping)
            .contains("<item-not-found ")
    );
}

/// What was chosen is there when another owner of the slot goes on.
#[test]
fn a_configuration_is_stored() {
    let mut world = World::new(Settings::default());
    let chosen = submit(&[
        ("muc#roomconfig_roomname", "Cave"),
        ("muc#roomconfig_passwordprotectedroom", "1"),
        ("muc#roomconfig_roomsecret", "cauldronburn"),
        ("muc#roomconfig_presencebroadcast", "moderator participant"),
    ]);
    world.rig.send(&mut world.owner, &chosen);
    world.quiet();
    world.rig.tick(3_600_000);
    world.quiet();
    let form = world.rig.ask(&mut world.owner, &request("get", GET));
    for value in ["Cave", "cauldronburn"] {
        assert!(form.contains(&format!("<value>{value}</value>")), "{form}");
    }
    let roles = "<value>moderator</value><value>participant</value><option";
    assert!(form.contains(roles), "{form}");
}
