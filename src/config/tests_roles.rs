//! Tests of what each role takes.

use super::tests::{EDGE, ORIGIN, mistakes_of};
use super::{Role, Settings, Sources, load};

fn set(role: Role, needed: &[&str], more: &[&str]) -> Result<Settings, Vec<String>> {
    let arguments = needed.iter().chain(more);
    let sources = Sources {
        arguments: arguments.map(ToString::to_string).collect(),
        ..Sources::default()
    };
    let shown = |mistakes: Vec<super::Mistake>| mistakes.iter().map(ToString::to_string).collect();
    load(&sources, role).map_err(shown)
}

/// That these arguments, and nothing else, are found wrong, each with a message with this part.
fn check(role: Role, arguments: &[&str], expected: &[&str]) {
    let found = mistakes_of(role, arguments);
    for part in expected {
        assert!(
            found.iter().any(|found| found.contains(part)),
            "{part}\nin {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_role_says_what_it_cannot_do_without() {
    check(
        Role::Edge,
        &[],
        &[
            "link.origins: is missing",
            "link.ca: is missing, and so are",
        ],
    );
    check(
        Role::Origin,
        &[],
        &["store.url: is missing", "link.ca: is missing, and so are"],
    );
    set(Role::Edge, EDGE, &[]).expect("no mistakes");
    set(Role::Origin, ORIGIN, &[]).expect("no mistakes");
}

#[test]
fn keys_of_another_role_are_named_with_the_reason() {
    let foreign = [
        "store.url=redis://127.0.0.1",
        "store.cache_bytes=16777216",
        "limits.roster_items=7",
        "link.listen=127.0.0.1:1",
        "cluster.weight=1",
    ];
    let edge: Vec<_> = EDGE.iter().chain(&foreign).copied().collect();
    check(
        Role::Edge,
        &edge,
        &[
            "store.url: is not for `couplet edge`: only origins use Redis",
            "store.cache_bytes: is not for `couplet edge`",
            "limits.roster_items: is not for `couplet edge`: accounts are the business",
            "link.listen: is not for `couplet edge`: only origins are connected to",
            "cluster.weight: is not for `couplet edge`",
        ],
    );
    let foreign = [
        "c2s.listen=127.0.0.1:1",
        "data=/srv",
        "link.origins=a:1",
        "drain.wait_secs=1",
        "limits.connections=5",
    ];
    let origin: Vec<_> = ORIGIN.iter().chain(&foreign).copied().collect();
    check(
        Role::Origin,
        &origin,
        &[
            "c2s.listen: is not for `couplet origin`: an origin serves no clients",
            "data: is not for `couplet origin`",
            "link.origins: is not for `couplet origin`: only edges are told",
            "drain.wait_secs: is not for `couplet origin`",
            "limits.connections: is not for `couplet origin`",
        ],
    );
    check(
        Role::Serve,
        &[
            "store.url=redis://127.0.0.1",
            "link.lanes=2",
            "drain_secs=9",
        ],
        &[
            "store.url: is not for `couplet serve`: only origins use Redis",
            "link.lanes: is not for `couplet serve`: in `couplet serve` edge and origin are one",
            "drain_secs: there is no such key; is \"drain.deadline_secs\" meant?",
        ],
    );
}

#[test]
fn plain_text_stays_on_this_machine() {
    check(
        Role::Edge,
        &[
            "link.insecure=true",
            "link.origins=[\"10.0.0.7:5291\", \"localhost:1\", \"dns:origins:5291\"]",
        ],
        &[
            "10.0.0.7:5291 is beyond this machine",
            "dns:origins:5291 is beyond",
        ],
    );
    let origin = ["link.insecure=true", "store.url=redis://127.0.0.1"];
    let with = |more: &[&'static str]| -> Vec<&str> {
        origin.iter().copied().chain(more.iter().copied()).collect()
    };
    check(
        Role::Origin,
        &with(&[]),
        &["link.listen: [::]:5291 is beyond"],
    );
    check(
        Role::Origin,
        &with(&["link.listen=[::1]:5291", "link.advertise=o1.internal:5291"]),
        &["link.advertise: o1.internal:5291 is beyond"],
    );
    check(
        Role::Origin,
        &with(&["link.listen=127.0.0.1:5291", "link.key=/nowhere"]),
        &["link.key: is not used while link.insecure = true"],
    );
}

#[test]
fn an_address_others_cannot_use_is_not_advertised() {
    let found = set(Role::Origin, ORIGIN, &["link.advertise=0.0.0.0:5291"]);
    let found = found.expect_err("mistakes");
    assert!(found[0].contains("is every address"), "{found:?}");
    for wrong in ["o1", "o1:0", "a b:1", ":5291", "::1:5291", "o1:99999"] {
        let wrong = format!("link.advertise={wrong}");
        let found = set(Role::Origin, ORIGIN, &[&wrong]).expect_err("a mistake");
        assert!(found[0].contains("is not a host with a port"), "{found:?}");
    }
    for right in ["localhost:1", "127.0.0.1:5291", "[::1]:5291"] {
        let right = format!("link.advertise={right}");
        set(Role::Origin, ORIGIN, &[&right]).expect("no mistakes");
    }
}

#[test]
fn a_node_shows_the_certificate_of_its_role() {
    let folder = tempfile::tempdir().expect("a folder");
    crate::certificate::make_link_certificates(folder.path()).expect("made");
    let files = |role: &str| {
        let path = |name: String| folder.path().join(name).display().to_string();
        [
            format!("link.ca={}", path("ca.pem".to_owned())),
            format!("link.certificate={}", path(format!("{role}.pem"))),
            format!("link.key={}", path(format!("{role}.key"))),
            "link.origins=o1.internal:5291".to_owned(),
        ]
    };
    let check = |arguments: &[String], expected: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        check(Role::Edge, &arguments, expected);
    };
    check(&files("edge"), &[]);
    check(&files("origin"), &["is not for the name \"edge.couplet\""]);
    let [ca, certificate, key, origins] = files("edge");
    check(
        &[certificate.clone(), key, origins.clone()],
        &["link.ca: is missing: who signs"],
    );
    check(
        &[ca.clone(), origins.clone()],
        &["link.certificate: is missing, and so is link.key"],
    );
    check(
        &[ca, certificate, origins],
        &["link.certificate: has no key: link.key is missing"],
    );
}

#[test]
fn a_node_has_a_plain_name() {
    for wrong in ["a b", "größe", "a/b", &"x".repeat(65)] {
        let wrong = format!("node={wrong}");
        let found = set(Role::Serve, &[], &[&wrong]).expect_err("a mistake");
        assert!(found[0].contains("at most 64 letters"), "{found:?}");
    }
    assert!(!Settings::default().node.is_empty());
}
