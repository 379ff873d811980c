//! XEP-0045 §8, §9 and §10.3 ff., as a client sees them.

use super::{World, admin_get, admin_set};
use crate::features::muc::affiliation::Affiliation;
use crate::features::muc::settings::Settings;

fn members_only() -> Settings {
    Settings {
        is_members_only: true,
        ..Settings::default()
    }
}

/// §8.2.
#[test]
fn a_moderator_kicks() {
    let mut world = World::new(Settings::default());
    let kick = admin_set("<item nick='fourth' role='none'><reason>Avaunt!</reason></item>");
    world.rig.send(&mut world.moderator, &kick);
    let heard = world.heard();
    let gone = &heard["hecate@x"];
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert!(gone[0].contains("type='unavailable'"), "{gone:?}");
    assert!(gone[0].contains("<actor nick='fifth'/>"), "{gone:?}");
    assert!(gone[0].contains("<reason>Avaunt!</reason>"), "{gone:?}");
    for code in ["110", "307"] {
        assert!(
            gone[0].contains(&format!("<status code='{code}'/>")),
            "{gone:?}"
        );
    }
    // The result, then what everybody is told.
    let kicker = &heard["bard@x"];
    assert_eq!(kicker.len(), 2, "{kicker:?}");
    assert!(kicker[0].contains("type='result'"), "{kicker:?}");
    assert!(
        kicker[1].contains("<actor nick='fifth' jid='bard@x'/>"),
        "{kicker:?}"
    );
    let member = &heard["hag66@x"];
    assert!(
        member[0].contains("role='none'") && member[0].contains("code='307'"),
        "{member:?}"
    );
    assert!(!member[0].contains("hecate@x"), "{member:?}");
    assert!(heard["puck@x"].is_empty());
    // It is not there any more, for who asks next either.
    let again = world.rig.ask(&mut world.moderator, &kick);
    assert!(again.contains("<item-not-found"), "{again}");
}

/// §8.2, §8.3, §8.4, §9.6, §9.7: who may not.
#[test]
fn roles_are_refused() {
    let mut world = World::new(Settings::default());
    let refused = [
        ("<item nick='second' role='none'/>", "not-allowed"),
        ("<item nick='first' role='none'/>", "not-allowed"),
        ("<item nick='fifth' role='none'/>", "conflict"),
        ("<item nick='third' role='visitor'/>", "not-allowed"),
        ("<item nick='fourth' role='moderator'/>", "forbidden"),
        ("<item nick='second' role='participant'/>", "forbidden"),
        ("<item nick='nobody' role='visitor'/>", "item-not-found"),
        ("<item nick='fourth' role='king'/>", "bad-request"),
        ("<item role='visitor'/>", "bad-request"),
        ("<item nick='fourth'/>", "bad-request"),
        (
            "<item nick='fourth' role='none' affiliation='none'/>",
            "bad-request",
        ),
        ("", "bad-request"),
    ];
    for (items, condition) in refused {
        let answer = world.rig.ask(&mut world.moderator, &admin_set(items));
        assert!(
            answer.contains(&format!("<{condition} ")),
            "{items}: {answer}"
        );
    }
    for client in [&mut world.member, &mut world.plain, &mut world.stranger] {
        for items in [
            "<item nick='fifth' role='none'/>",
            "<item nick='nobody' role='none'/>",
        ] {
            let answer = world.rig.ask(client, &admin_set(items));
            assert!(answer.contains("<forbidden "), "{answer}");
        }
    }
    let answer = world.rig.ask(
        &mut world.owner,
        &admin_set("<item nick='second' role='visitor'/>"),
    );
    assert!(answer.contains("<not-allowed "), "{answer}");
    // One that is refused takes the others with it.
    let both = "<item nick='fourth' role='visitor'/><item nick='first' role='none'/>";
    let answer = world.rig.ask(&mut world.moderator, &admin_set(both));
    assert!(answer.contains("<not-allowed "), "{answer}");
    let list = world
        .rig
        .ask(&mut world.moderator, &admin_get("<item role='visitor'/>"));
    assert!(!list.contains("fourth"), "{list}");
    for heard in world.heard().values() {
        assert!(heard.is_empty(), "{heard:?}");
    }
}

/// §8.3, §8.4, §8.5.
#[test]
fn voice_is_taken_and_given() {
    let mut world = World::new(Settings::default());
    for role in ["visitor", "participant"] {
        let items = format!("<item nick='fourth' role='{role}'><reason>so</reason></item>");
        world.rig.send(&mut world.moderator, &admin_set(&items));
        let heard = world.heard();
        assert!(heard["bard@x"][0].contains("type='result'"));
        for user in ["bard@x", "crone1@x", "hecate@x", "hag66@x"] {
            let last = heard[user].last().expect("a presence");
            assert!(last.contains(&format!("role='{role}'")), "{user}: {last}");
            assert!(last.contains("<reason>so</reason>"), "{user}: {last}");
        }
        let list = admin_get(&format!("<item role='{role}'/>"));
        let list = world.rig.ask(&mut world.moderator, &list);
        let item =
            format!("<item affiliation='none' jid='hecate@x/pda' nick='fourth' role='{role}'/>");
        assert!(list.contains(&item), "{list}");
    }
}

/// §9.6, §9.7, §9.8: and a new moderator learns real addresses.
#[test]
fn an_admin_makes_and_unmakes_moderators() {
    let mut world = World::new(Settings::default());
    let make = admin_set("<item nick='fourth' role='moderator'/>");
    world.rig.send(&mut world.admin, &make);
    let heard = world.heard();
    let made = &heard["hecate@x"];
    assert!(made[0].contains("role='moderator'"), "{made:?}");
    assert!(
        made.iter().any(|it| it.contains("jid='hag66@x/pda'")),
        "{made:?}"
    );
    let list = world
        .rig
        .ask(&mut world.admin, &admin_get("<item role='moderator'/>"));
    assert!(
        list.contains("nick='fourth'") && list.contains("nick='first'"),
        "{list}"
    );
    let unmake = admin_set("<item nick='fourth' role='participant'/>");
    world.rig.send(&mut world.admin, &unmake);
    let heard = world.heard();
    assert!(heard["hecate@x"][0].contains("role='participant'"));
    let refused = world
        .rig
        .ask(&mut world.moderator, &admin_get("<item role='moderator'/>"));
    assert!(refused.contains("<forbidden "), "{refused}");
}

/// §9.1, §9.2.
#[test]
fn an_admin_bans() {
    let mut world = World::new(Settings::default());
    let ban = "<item affiliation='outcast' jid='hag66@x/pda'><reason>Treason</reason></item>";
    world.rig.send(&mut world.admin, &admin_set(ban));
    let heard = world.heard();
    let gone = &heard["hag66@x"];
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert!(gone[0].contains("code='301'") && gone[0].contains("affiliation='outcast'"));
    assert!(heard["hecate@x"][0].contains("code='301'"));
    assert!(heard["wicca@x"][0].contains("type='result'"));
    let list = world.rig.ask(
        &mut world.admin,
        &admin_get("<item affiliation='outcast'/>"),
    );
    let item = "<item affiliation='outcast' jid='hag66@x'><reason>Treason</reason></item>";
    assert!(list.contains(item), "{list}");
    let refused = [
        (
            "<item affiliation='outcast' jid='crone1@x'/>",
            "not-allowed",
        ),
        ("<item affiliation='outcast' jid='wicca@x'/>", "conflict"),
        ("<item affiliation='outcast' jid='x'/>", "conflict"),
        ("<item affiliation='outcast' jid='a@b@c'/>", "jid-malformed"),
        ("<item affiliation='outcast'/>", "bad-request"),
    ];
    for (items, condition) in refused {
        let answer = world.rig.ask(&mut world.admin, &admin_set(items));
        assert!(
            answer.contains(&format!("<{condition} ")),
            "{items}: {answer}"
        );
    }
    let unban = admin_set("<item affiliation='none' jid='hag66@x'/>");
    assert!(
        world
            .rig
            .ask(&mut world.admin, &unban)
            .contains("type='result'")
    );
    let list = world.rig.ask(
        &mut world.admin,
        &admin_get("<item affiliation='outcast'/>"),
    );
    assert!(!list.contains("hag66"), "{list}");
    for client in [&mut world.moderator, &mut world.stranger, &mut world.member] {
        for item in [
            "<item affiliation='outcast' jid='hecate@x'/>",
            "<item affiliation='admin' jid='puck@x'/>",
        ] {
            let answer = world.rig.ask(client, &admin_set(item));
            assert!(answer.contains("<forbidden "), "{answer}");
        }
    }
}

/// §9.3, §9.4, §9.5.
#[test]
fn membership_is_granted_and_revoked() {
    let mut world = World::new(Settings::default());
    let grant = "<item affiliation='member' jid='hecate@x' nick='Hecate'/>";
    world.rig.send(&mut world.admin, &admin_set(grant));
    let heard = world.heard();
    assert!(heard["hecate@x"][0].contains("affiliation='member'"));
    let list = world
        .rig
        .ask(&mut world.admin, &admin_get("<item affiliation='member'/>"));
    assert!(
        list.contains("<item affiliation='member' jid='hecate@x' nick='Hecate'/>"),
        "{list}"
    );
    let taken = "<item affiliation='member' jid='puck@x' nick='Hecate'/>";
    let answer = world.rig.ask(&mut world.admin, &admin_set(taken));
    assert!(answer.contains("<conflict "), "{answer}");
    let revoke = admin_set("<item affiliation='none' jid='hecate@x'/>");
    world.rig.send(&mut world.admin, &revoke);
    let heard = world.heard();
    let told = &heard["hecate@x"];
    assert!(told[0].contains("affiliation='none'") && told[0].contains("role='participant'"));
    assert!(!told[0].contains("unavailable"), "{told:?}");
}

/// §9.4: there is no presence before the one that removes.
#[test]
fn who_is_no_member_any_more_leaves_a_members_only_room() {
    let mut world = World::new(members_only());
    let revoke = admin_set("<item affiliation='none' jid='hag66@x'/>");
    world.rig.send(&mut world.admin, &revoke);
    let heard = world.heard();
    let told = &heard["hag66@x"];
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("type='unavailable'") && told[0].contains("code='321'"));
    assert_eq!(heard["hecate@x"].len(), 1);
    // §9.5: and a new member is invited, with the password if there is one.
    world.rig.send(
        &mut world.admin,
        &admin_set("<item affiliation='member' jid='puck@x'/>"),
    );
    let invited = &world.heard()["puck@x"];
    assert!(
        invited[0].contains("<invite from='wicca@x'/>"),
        "{invited:?}"
    );
}

/// §9.5, §7.11: who may read the member list.
#[test]
fn the_member_list_is_not_for_everybody() {
    let semi = Settings::default();
    let non = Settings {
        is_non_anonymous: true,
        ..Settings::default()
    };
    let few = Settings {
        is_non_anonymous: true,
        member_list_for: vec![super::Role::Moderator],
        ..Settings::default()
    };
    // member, plain, moderator, stranger
    for (settings, may) in [
        (semi, [false, false, true, false]),
        (non, [true, true, true, false]),
        (few, [false, false, true, false]),
    ] {
        let mut world = World::new(settings);
        let list = admin_get("<item affiliation='member'/>");
        let World {
            rig,
            member,
            plain,
            moderator,
            stranger,
            ..
        } = &mut world;
        for (client, may) in [member, plain, moderator, stranger].into_iter().zip(may) {
            let answer = rig.ask(client, &list);
            assert_eq!(
                answer.contains("jid='hag66@x'"),
                may,
                "{}: {answer}",
                client.jid
            );
            assert_eq!(
                answer.contains("<forbidden "),
                !may,
                "{}: {answer}",
                client.jid
            );
            let banned = rig.ask(client, &admin_get("<item affiliation='outcast'/>"));
            assert!(banned.contains("<forbidden "), "{banned}");
        }
    }
    let mut world = World::new(Settings::default());
    for item in [
        "<item affiliation='none'/>",
        "<item role='none'/>",
        "<item/>",
        "",
        "<item affiliation='x'/>",
    ] {
        let answer = world.rig.ask(&mut world.owner, &admin_get(item));
        assert!(answer.contains("<bad-request "), "{item}: {answer}");
    }
    for item in ["<item affiliation='owner'/>", "<item affiliation='admin'/>"] {
        assert!(
            world
                .rig
                .ask(&mut world.owner, &admin_get(item))
                .contains("type='result'")
        );
        assert!(
            world
                .rig
                .ask(&mut world.admin, &admin_get(item))
                .contains("<forbidden ")
        );
    }
}

/// §10.3 to §10.8.
#[test]
fn owners_make_owners_and_admins() {
    let mut world = World::new(Settings::default());
    // §10.4: the last owner stays.
    let leave = admin_set("<item affiliation='admin' jid='crone1@x'/>");
    assert!(
        world
            .rig
            .ask(&mut world.owner, &leave)
            .contains("<conflict ")
    );
    for item in [
        "<item affiliation='owner' jid='wicca@x'/>",
        "<item affiliation='member' jid='crone1@x'/>",
        "<item affiliation='admin' jid='puck@x'/>",
        "<item affiliation='none' jid='wicca@x'/>",
    ] {
        let answer = world.rig.ask(&mut world.admin, &admin_set(item));
        assert!(answer.contains("<forbidden "), "{item}: {answer}");
    }
    // With another owner in the same request it may go.
    let handover =
        "<item affiliation='none' jid='crone1@x'/><item affiliation='owner' jid='hecate@x'/>";
    world.rig.send(&mut world.owner, &admin_set(handover));
    let heard = world.heard();
    let told = heard["hecate@x"].concat();
    assert!(
        told.contains("affiliation='owner'") && told.contains("role='moderator'"),
        "{told}"
    );
    let told = heard["crone1@x"].concat();
    assert!(
        told.contains("affiliation='none'") && told.contains("role='participant'"),
        "{told}"
    );
    let list = world
        .rig
        .ask(&mut world.plain, &admin_get("<item affiliation='owner'/>"));
    assert!(
        list.contains("hecate@x") && !list.contains("crone1@x"),
        "{list}"
    );
}

/// §9.2: a domain may be banned; who is there is nothing else for being of it.
#[test]
fn a_domain_owns_nothing() {
    let mut world = World::new(Settings::default());
    for affiliation in ["member", "admin", "owner"] {
        let item = format!("<item affiliation='{affiliation}' jid='y'/>");
        let answer = world.rig.ask(&mut world.owner, &admin_set(&item));
        assert!(answer.contains("<jid-malformed "), "{answer}");
    }
    for affiliation in ["outcast", "none"] {
        let item = format!("<item affiliation='{affiliation}' jid='y'/>");
        let answer = world.rig.ask(&mut world.owner, &admin_set(&item));
        assert!(answer.contains("type='result'"), "{answer}");
    }
}

#[test]
fn lists_have_an_end() {
    let mut world = World::new(Settings::default());
    let add = |n: u32| format!("<item affiliation='member' jid='m{n}@x'/>");
    let many: String = (0..4).map(add).collect();
    let answer = world.rig.ask(&mut world.admin, &admin_set(&many));
    assert!(answer.contains("<resource-constraint "), "{answer}");
    let few: String = (0..3).map(add).collect();
    assert!(
        world
            .rig
            .ask(&mut world.admin, &admin_set(&few))
            .contains("type='result'")
    );
    let answer = world.rig.ask(&mut world.admin, &admin_set(&add(3)));
    assert!(answer.contains("<resource-constraint "), "{answer}");
    let known = admin_set("<item affiliation='none' jid='m1@x'/>");
    assert!(
        world
            .rig
            .ask(&mut world.admin, &known)
            .contains("type='result'")
    );
}

/// §9.2: a whole domain; those who are something to the room stay.
#[test]
fn a_domain_is_banned() {
    let mut world = World::new(Settings::default());
    let ban = admin_set("<item affiliation='outcast' jid='x'/>");
    assert!(world.rig.ask(&mut world.owner, &ban).contains("<conflict "));
    let mut world = World::with(Settings::default(), |room| {
        super::affiliate(room, "y", Affiliation::Outcast);
        super::enter(room, "a@y/r", "sixth", super::Role::Participant);
    });
    let unban = admin_set("<item affiliation='none' jid='y'/>");
    world.rig.send(&mut world.owner, &unban);
    world.quiet();
    let ban = admin_set("<item affiliation='outcast' jid='y'/>");
    world.rig.send(&mut world.owner, &ban);
    let heard = world.heard();
    assert!(heard["hag66@x"][0].contains("code='301'"), "{heard:?}");
}

/// Every session under a nick goes, and the others hear of it once.
#[test]
fn all_sessions_of_a_nick_are_one_occupant() {
    let mut world = World::with(Settings::default(), |room| {
        super::enter(room, "hecate@x/other", "fourth", super::Role::Participant);
    });
    let other = world.rig.online("hecate@x/other");
    world.quiet();
    let silence = admin_set("<item nick='fourth' role='visitor'/>");
    world.rig.send(&mut world.moderator, &silence);
    assert_eq!(world.heard()["hag66@x"].len(), 1);
    assert_eq!(world.rig.received(&other).len(), 1);
    let kick = admin_set("<item nick='fourth' role='none'/>");
    world.rig.send(&mut world.moderator, &kick);
    assert_eq!(world.heard()["hag66@x"].len(), 1);
    assert!(world.rig.received(&other)[0].contains("code='307'"));
}
