//! XEP-0317, and XEP-0050 as far as it needs it.

use super::{ROOM, World, request};
use crate::features::muc::settings::Settings;

fn command(name: &str, fields: &[(&str, &str)]) -> String {
    let field = |(var, value): &(&str, &str)| {
        format!("<field var='hats#{var}'><value>{value}</value></field>")
    };
    let fields: String = fields.iter().map(field).collect();
    let form = match fields.as_str() {
        "" => String::new(),
        _ => format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>"),
    };
    let node = format!("urn:xmpp:hats:commands:{name}");
    let ns = "http://jabber.org/protocol/commands";
    request(
        "set",
        &format!("<command xmlns='{ns}' node='{node}' action='execute'>{form}</command>"),
    )
}

const SCRIBE: (&str, &str) = ("uri", "urn:hats:scribe");
const HAT: &str = "<hats xmlns='urn:xmpp:hats:0'>\
                   <hat title='Scribe' uri='urn:hats:scribe' hue='327.25'/></hats>";

#[test]
fn an_owner_makes_and_gives_hats() {
    let mut world = World::new(Settings::default());
    let create = command("create", &[SCRIBE, ("title", "Scribe"), ("hue", "327.25")]);
    let assign = command("assign", &[SCRIBE, ("jid", "hecate@x/any")]);
    for client in [&mut world.admin, &mut world.moderator, &mut world.stranger] {
        for refused in [
            &create,
            &assign,
            &command("create", &[]),
            &command("list-assigned", &[]),
        ] {
            let answer = world.rig.ask(client, refused);
            assert!(answer.contains("<forbidden "), "{answer}");
        }
    }
    let form = world.rig.ask(&mut world.owner, &command("create", &[]));
    assert!(
        form.contains("status='executing'") && form.contains("var='hats#uri'"),
        "{form}"
    );
    let early = world.rig.ask(&mut world.owner, &assign);
    assert!(early.contains("<item-not-found "), "{early}");
    world.rig.send(&mut world.owner, &create);
    let heard = world.heard();
    assert!(heard["crone1@x"][0].contains("status='completed'"));
    assert!(heard["hag66@x"][0].contains("<status code='104'/>"));
    world.rig.send(&mut world.owner, &assign);
    assert!(world.heard()["hag66@x"][0].contains(HAT));
    // It stays when the room is read anew, and is shown to who enters.
    world.rig.tick(3_600_000);
    world.quiet();
    let enter = format!(
        "<presence to='{ROOM}/puck'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
    );
    world.rig.send(&mut world.stranger, &enter);
    assert!(world.rig.received(&world.stranger).concat().contains(HAT));
    world.quiet();
    let list = world.rig.ask(&mut world.plain, &command("list", &[]));
    assert!(list.contains("<value>Scribe</value>"), "{list}");
    let list = world
        .rig
        .ask(&mut world.owner, &command("list-assigned", &[]));
    assert!(list.contains("<value>hecate@x</value>"), "{list}");
    // §3.3: with the hat itself it is taken from everybody.
    world
        .rig
        .send(&mut world.owner, &command("destroy", &[SCRIBE]));
    let told = world.heard()["hag66@x"].concat();
    assert!(
        told.contains("from='coven@rooms.x/fourth'") && !told.contains("<hat "),
        "{told}"
    );
}

#[test]
fn a_hat_is_taken_and_changed() {
    let mut world = World::new(Settings::default());
    for done in [
        command("create", &[SCRIBE, ("title", "Scribe")]),
        command("assign", &[SCRIBE, ("jid", "hecate@x")]),
        command("create", &[SCRIBE, ("title", "Clerk")]),
    ] {
        world.rig.send(&mut world.owner, &done);
    }
    assert!(
        world.heard()["hag66@x"]
            .last()
            .expect("told")
            .contains("title='Clerk'")
    );
    let unassign = command("unassign", &[SCRIBE, ("jid", "hecate@x")]);
    world.rig.send(&mut world.owner, &unassign);
    assert!(!world.heard()["hag66@x"].concat().contains("<hat "));
    let refused = [
        (unassign, "item-not-found"),
        (command("other", &[]), "item-not-found"),
        (command("create", &[SCRIBE]), "bad-request"),
        (
            command("create", &[SCRIBE, ("title", "T"), ("hue", "red")]),
            "not-acceptable",
        ),
        (
            command("assign", &[SCRIBE, ("jid", "a@b@c")]),
            "jid-malformed",
        ),
        (command("assign", &[SCRIBE]), "bad-request"),
    ];
    for (request, condition) in refused {
        let answer = world.rig.ask(&mut world.owner, &request);
        assert!(
            answer.contains(&format!("<{condition} ")),
            "{request}: {answer}"
        );
    }
}

/// A client cannot put on a hat by itself.
#[test]
fn a_forged_hat_is_taken_off() {
    let mut world = World::new(Settings::default());
    let forged = format!("<presence to='{ROOM}/fourth'>{HAT}<status>here</status></presence>");
    world.rig.send(&mut world.plain, &forged);
    let told = world.heard()["hag66@x"].concat();
    assert!(told.contains("here") && !told.contains("<hat"), "{told}");
}

#[test]
fn the_commands_are_found() {
    let mut world = World::new(Settings::default());
    let node = " node='http://jabber.org/protocol/commands'";
    let items = request(
        "get",
        &format!("<query xmlns='http://jabber.org/protocol/disco#items'{node}/>"),
    );
    assert!(
        world
            .rig
            .ask(&mut world.owner, &items)
            .contains("hats:commands:create")
    );
    let seen = world.rig.ask(&mut world.plain, &items);
    assert!(
        seen.contains("hats:commands:list'") && !seen.contains("create"),
        "{seen}"
    );
    let node = " node='urn:xmpp:hats:commands:list'";
    let info = request(
        "get",
        &format!("<query xmlns='http://jabber.org/protocol/disco#info'{node}/>"),
    );
    assert!(
        world
            .rig
            .ask(&mut world.plain, &info)
            .contains("type='command-node'")
    );
}
