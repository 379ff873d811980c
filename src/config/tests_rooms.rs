//! Tests of what an operator may choose about rooms.

use couplet_origin::config::RoomCreation;

use super::tests::mistakes_of;
use super::{Role, Settings, Sources, load};

fn set(arguments: &[&str]) -> Settings {
    let sources = Sources {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        ..Sources::default()
    };
    load(&sources, Role::Serve).expect("no mistakes")
}

#[test]
fn each_domain_has_a_service_unless_somebody_says_otherwise() {
    let services = |arguments: &[&str]| set(arguments).origin.muc.services;
    assert_eq!(services(&[]), ["conference.localhost"]);
    assert_eq!(
        services(&["domains=[\"A.example\", \"b.example\"]"]),
        ["conference.a.example", "conference.b.example"]
    );
    // Nobody asked for a clash.
    assert_eq!(
        services(&["domains=[\"a.example\", \"conference.a.example\"]"]),
        ["conference.conference.a.example"]
    );
    assert_eq!(services(&["muc.services=[]"]), [""; 0]);
    assert_eq!(services(&["muc.services=Rooms.Example"]), ["rooms.example"]);
    // The same holds for domains that are added later.
    let adds = |arguments: &[&str]| set(arguments).origin.muc.adds_services;
    assert!(adds(&[]));
    assert!(adds(&["muc.services=conference.localhost"]));
    assert!(!adds(&["muc.services=[]"]));
    assert!(!adds(&["muc.services=rooms.example"]));
}

#[test]
fn choices_arrive_where_they_belong() {
    let muc = set(&[
        "muc.services=[\"rooms.a\", \"rooms.b\"]",
        "muc.creation=admins",
        "muc.admins=Romeo@Localhost",
        "muc.occupants_max=5",
        "muc.archive=false",
        "muc.defaults.persistentroom=true",
        "muc.defaults.maxusers=30",
        "muc.defaults.lang=pt-BR",
        "muc.defaults.\"Rooms.B\".whois=anyone",
        "muc.defaults.\"rooms.b\".presencebroadcast=[\"visitor\", \"moderator\"]",
    ]);
    let muc = muc.origin.muc;
    assert_eq!(muc.creation, RoomCreation::Admins);
    assert_eq!(muc.admins, ["romeo@localhost"]);
    assert_eq!((muc.occupants_max, muc.archive), (5, false));
    let every = &muc.defaults[""];
    assert_eq!(every["persistentroom"], ["1"]);
    assert_eq!(every["membersonly"], ["0"]);
    assert_eq!(every["maxusers"], ["30"]);
    assert_eq!(every["lang"], ["pt-BR"]);
    let one = &muc.defaults["rooms.b"];
    assert_eq!(one["whois"], ["anyone"]);
    assert_eq!(one["presencebroadcast"], ["moderator", "visitor"]);
    assert_eq!(one.len(), 2);
}

#[test]
fn every_mistake_about_rooms_is_reported() {
    let found = mistakes_of(
        Role::Serve,
        &[
            "muc.services=[\"localhost\", \"a@b\", \"rooms.x\", \"Rooms.X\"]",
            "muc.creation=nobody",
            "muc.admins=[\"localhost\", \"romeo@x/phone\"]",
            "muc.defaults.whois=friends",
            "muc.defaults.historylength=-1",
            "muc.defaults.maxusers=0",
            "muc.defaults.persistentroom=1",
            "muc.defaults.getmemberlist=[\"owner\"]",
            "muc.defaults.lang=\"a b\"",
            "muc.defaults.persistent_room=true",
            "muc.defaults.\"rooms.x\".roomname=Hall",
            "muc.defaults.\"rooms.y\".whois=anyone",
        ],
    );
    let expected = [
        "muc.services: \"localhost\" is one of the domains",
        "muc.services: \"a@b\" is not a domain",
        "muc.services: \"Rooms.X\" is listed twice",
        "muc.creation: must be \"anyone\", \"local\" or \"admins\", but is \"nobody\"",
        "muc.admins: \"localhost\" is not an address",
        "muc.admins: \"romeo@x/phone\" is not an address",
        "muc.defaults.whois: \"friends\" is none of moderators, anyone",
        "muc.defaults.historylength: must be a whole number from 0 to 10000, but is -1",
        "muc.defaults.maxusers: must be a whole number from 1 to 1000000, but is 0; or \"none\"",
        "muc.defaults.persistentroom: must be true or false, but is 1",
        "muc.defaults.getmemberlist: \"owner\" is none of moderator, participant, visitor",
        "muc.defaults.lang: \"a b\" is not a language",
        "there is no such key; is \"muc.defaults.persistentroom\" meant?",
        "muc.defaults.\"rooms.x\".roomname: rooms have no \"roomname\" to choose; they have",
        "muc.defaults.\"rooms.y\".whois: \"rooms.y\" is not one of muc.services",
    ];
    for part in expected {
        assert!(
            found.iter().any(|it| it.contains(part)),
            "{part}\nin {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn an_edge_knows_nothing_of_rooms() {
    let found = mistakes_of(Role::Edge, &["muc.archive=false"]);
    let refused = "muc.archive: is not for `couplet edge`: rooms are the business of the origins";
    assert!(found.iter().any(|it| it.contains(refused)), "{found:#?}");
}
