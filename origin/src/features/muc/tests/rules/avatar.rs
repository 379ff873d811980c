//! XEP-0486.

use super::{World, request};
use crate::features::muc::settings::Settings;

#[test]
fn an_owner_gives_a_room_a_face() {
    let mut world = World::new(Settings::default());
    let get = request("get", "<vCard xmlns='vcard-temp'/>");
    assert!(
        world
            .rig
            .ask(&mut world.stranger, &get)
            .contains("<item-not-found ")
    );
    let photo = "<PHOTO><TYPE>image/png</TYPE><BINVAL>aGVs\nbG8=</BINVAL></PHOTO>";
    let set = |content: &str| {
        request(
            "set",
            &format!("<vCard xmlns='vcard-temp'>{content}</vCard>"),
        )
    };
    let refused = world.rig.ask(&mut world.admin, &set(photo));
    assert!(refused.contains("<forbidden "), "{refused}");
    let damaged = set("<PHOTO><BINVAL>?</BINVAL></PHOTO>");
    assert!(
        world
            .rig
            .ask(&mut world.owner, &damaged)
            .contains("<bad-request ")
    );
    world.rig.send(&mut world.owner, &set(photo));
    let heard = world.heard();
    assert!(heard["crone1@x"][0].contains("type='result'"));
    let told = &heard["hag66@x"];
    assert!(told[0].contains("<status code='104'/>"), "{told:?}");
    let hash = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
    assert!(
        told[1].contains(&format!("<photo>{hash}</photo>")),
        "{told:?}"
    );
    assert!(told[1].contains("from='coven@rooms.x'"), "{told:?}");
    let vcard = world.rig.ask(&mut world.stranger, &get);
    assert!(vcard.contains("<TYPE>image/png</TYPE>"), "{vcard}");
    let info = request(
        "get",
        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
    );
    let field =
        format!("<field var='muc#roominfo_avatarhash' type='text-multi'><value>{hash}</value>");
    assert!(world.rig.ask(&mut world.stranger, &info).contains(&field));
    world.rig.send(&mut world.owner, &set(""));
    assert!(world.heard()["hag66@x"][1].contains("<photo/>"));
    assert!(
        !world
            .rig
            .ask(&mut world.stranger, &info)
            .contains("avatarhash")
    );
}
