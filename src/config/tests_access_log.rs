//! Tests of the settings of the access log.

use super::tests::{EDGE, ORIGIN, mistakes_of};
use super::{LineFormat, Role, Sources, load};
use crate::access_log::Field;

#[test]
fn every_role_may_have_one_and_by_default_none_has() {
    for (role, needed) in [
        (Role::Serve, &[][..]),
        (Role::Edge, EDGE),
        (Role::Origin, ORIGIN),
    ] {
        let given = [
            "access_log.folder=/var/log/couplet",
            "access_log.format=json",
            "access_log.fields=[\"x-jid\", \"date\"]",
            "access_log.rotate_bytes=0",
            "access_log.rotate_secs=3600",
            "access_log.keep=0",
        ];
        let settings = |given: &[&str]| {
            let arguments = needed.iter().chain(given);
            let sources = Sources {
                arguments: arguments.map(ToString::to_string).collect(),
                ..Sources::default()
            };
            load(&sources, role).expect("no mistakes").access_log
        };
        let log = settings(&given);
        assert_eq!(log.format, LineFormat::Json);
        assert_eq!(log.fields, [Field::Jid, Field::Date]);
        assert_eq!((log.rotate_bytes, log.rotate_secs, log.keep), (0, 3600, 0));
        let log = settings(&[]);
        assert_eq!(log.folder, None);
        assert_eq!(log.fields, Field::all());
        assert_eq!(
            (log.rotate_bytes, log.rotate_secs, log.keep),
            (104_857_600, 86_400, 14)
        );
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_what_would() {
    let wrong = [
        ("folder=", "access_log.folder: must not be empty"),
        (
            "format=text",
            "access_log.format: must be \"w3c\" or \"json\", but is \"text\"",
        ),
        (
            "fields=[\"date\", \"cs-uri\"]",
            "access_log.fields: there is no field \"cs-uri\"; there are date, time, x-node,",
        ),
        (
            "fields=[\"date\", \"date\"]",
            "access_log.fields: the field \"date\" is named twice",
        ),
        (
            "fields=[]",
            "access_log.fields: must name at least one field",
        ),
        (
            "rotate_bytes=100",
            "access_log.rotate_bytes: must be 0, for files of any size, or at least 4096",
        ),
        (
            "rotate_secs=1",
            "access_log.rotate_secs: must be 0, for never, or at least 60",
        ),
        (
            "rotate_secs=-1",
            "access_log.rotate_secs: must be a whole number from 0",
        ),
        (
            "keep=-1",
            "access_log.keep: must be a whole number from 0 to 100000",
        ),
        ("rotate=5", "access_log.rotate: there is no such key"),
    ];
    for (given, expected) in wrong {
        let found = mistakes_of(Role::Serve, &[&format!("access_log.{given}")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{expected}\nis not {found:?}");
    }
}
