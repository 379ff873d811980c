//! XEP-0425.

use super::{ROOM, World, request};
use crate::features::muc::affiliation::Role;
use crate::features::muc::settings::Settings;

fn moderate(id: &str, content: &str) -> String {
    let moderate =
        format!("<moderate id='{id}' xmlns='urn:xmpp:message-moderate:1'>{content}</moderate>");
    request("set", &moderate)
}

const RETRACT: &str = "<retract xmlns='urn:xmpp:message-retract:1'/><reason>so</reason>";

#[test]
fn a_moderator_takes_back_what_somebody_said() {
    let mut world = World::new(Settings::default());
    let say = format!("<message type='groupchat' to='{ROOM}' id='m'><body>DM me</body></message>");
    world.rig.send(&mut world.plain, &say);
    let said = &world.heard()["hag66@x"];
    let id = said[0]
        .split("by='coven@rooms.x' id='")
        .nth(1)
        .and_then(|rest| rest.split('\'').next());
    let id = id.expect("an id").to_owned();
    for client in [&mut world.plain, &mut world.stranger] {
        let answer = world.rig.ask(client, &moderate(&id, RETRACT));
        assert!(answer.contains("<forbidden "), "{answer}");
    }
    let unknown = world
        .rig
        .ask(&mut world.moderator, &moderate("nothing", RETRACT));
    assert!(unknown.contains("<item-not-found "), "{unknown}");
    let other = world.rig.ask(&mut world.moderator, &moderate(&id, ""));
    assert!(other.contains("<feature-not-implemented "), "{other}");
    world
        .rig
        .send(&mut world.moderator, &moderate(&id, RETRACT));
    let heard = world.heard();
    assert!(heard["bard@x"][0].contains("type='result'"));
    let told = &heard["hag66@x"][0];
    for part in [
        "type='groupchat'",
        "from='coven@rooms.x'",
        &format!("<retract xmlns='urn:xmpp:message-retract:1' id='{id}'>"),
        "<moderated xmlns='urn:xmpp:message-moderate:1' by='coven@rooms.x/fifth'><occupant-id ",
        "<reason>so</reason>",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // Once is enough.
    let again = world.rig.ask(&mut world.moderator, &moderate(&id, RETRACT));
    assert!(again.contains("<item-not-found "), "{again}");
    // Who enters later, also after the room was read anew, is not told what was said.
    world.rig.tick(3_600_000);
    let enter = format!(
        "<presence to='{ROOM}/puck'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
    );
    world.rig.send(&mut world.stranger, &enter);
    let history = world.rig.received(&world.stranger).concat();
    assert!(!history.contains("DM me"), "{history}");
    assert!(
        history.contains("<retracted xmlns='urn:xmpp:message-retract:1'"),
        "{history}"
    );
    assert!(
        history.contains("<retract xmlns='urn:xmpp:message-retract:1'"),
        "{history}"
    );
}

/// The number is found by its id, whatever else was said.
#[test]
fn only_what_was_said_is_taken_back() {
    let mut world = World::with(Settings::default(), |room| {
        super::enter(room, "crone1@x/pda", "first", Role::Moderator);
    });
    let subject = format!("<message type='groupchat' to='{ROOM}'><subject>s</subject></message>");
    world.rig.send(&mut world.owner, &subject);
    let sent = world.rig.received(&world.owner).concat();
    let (_, own) = sent.split_once("<stanza-id ").expect("it has one");
    let (_, id) = own.split_once(" id='").expect("an id");
    let (id, _) = id.split_once('\'').expect("quoted");
    let answer = world.rig.ask(&mut world.owner, &moderate(id, RETRACT));
    assert!(answer.contains("<item-not-found "), "{answer}");
}
