//! XEP-0045 §10.3 ff., §18.1: what is told of, and to, those who are not there.

use super::{World, admin_set};
use crate::features::muc::settings::Settings;

/// §10.3: in a non-anonymous room everybody hears of who is not there.
#[test]
fn everybody_hears_of_the_absent_where_addresses_are_known() {
    let settings = Settings {
        is_non_anonymous: true,
        ..Settings::default()
    };
    let mut world = World::new(settings);
    world.rig.send(
        &mut world.owner,
        &admin_set("<item affiliation='owner' jid='puck@x'/>"),
    );
    let heard = world.heard();
    let item = "<item affiliation='owner' jid='puck@x' role='none'/>";
    assert!(heard["hecate@x"][0].contains(item), "{heard:?}");
}

/// §18.1: who is not there is told of what it was, or is, to the room; nobody else.
#[test]
fn who_is_absent_is_told_of_another_affiliation() {
    let mut world = World::new(Settings::default());
    for (affiliation, reason) in [("member", "Welcome"), ("none", "Bye")] {
        let item = format!(
            "<item affiliation='{affiliation}' jid='puck@x'><reason>{reason}</reason></item>"
        );
        world.rig.send(&mut world.owner, &admin_set(&item));
        let told = &world.heard()["puck@x"];
        assert_eq!(told.len(), 1, "{told:?}");
        let item = format!(
            "<item affiliation='{affiliation}' jid='puck@x' role='none'>\
             <reason>{reason}</reason></item><status code='101'/>"
        );
        assert!(told[0].contains(&item), "{told:?}");
        assert!(told[0].contains(" from='coven@rooms.x' to='puck@x'>"));
    }
    for affiliation in ["outcast", "none"] {
        let item = format!("<item affiliation='{affiliation}' jid='puck@x'/>");
        world.rig.send(&mut world.owner, &admin_set(&item));
        assert!(world.heard()["puck@x"].is_empty());
    }
}
