//! Tests of the config: tables of what is given and what comes of it.

use std::fs;
use std::path::Path;

use super::{Format, Mistake, Role, Settings, Sources, keys};

/// The sample of every role, and what its role cannot do without.
pub(super) const SAMPLES: &[(Role, &str, &[&str])] = &[
    (
        Role::Serve,
        include_str!("../../deploy/config/serve.toml"),
        &[],
    ),
    (
        Role::Edge,
        include_str!("../../deploy/config/edge.toml"),
        EDGE,
    ),
    (
        Role::Origin,
        include_str!("../../deploy/config/origin.toml"),
        ORIGIN,
    ),
];

/// What an edge cannot do without.
pub(super) const EDGE: &[&str] = &["link.insecure=true", "link.origins=127.0.0.1:5291"];

/// What an origin cannot do without.
pub(super) const ORIGIN: &[&str] = &[
    "link.insecure=true",
    "link.listen=127.0.0.1:5291",
    "store.url=redis://127.0.0.1",
];

/// Most of what is tested is the same for every role.
fn load(sources: &Sources) -> Result<Settings, Vec<Mistake>> {
    super::load(sources, Role::Serve)
}

/// The mistakes of a role, given these arguments.
pub(super) fn mistakes_of(role: Role, arguments: &[&str]) -> Vec<String> {
    let found = super::load(&sources(None, &[], arguments), role).err();
    let found = found.unwrap_or_default();
    found.iter().map(ToString::to_string).collect()
}

pub(super) fn sources(
    file: Option<&str>,
    environment: &[(&str, &str)],
    arguments: &[&str],
) -> Sources {
    let environment = environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    Sources {
        file: file.map(Into::into),
        environment: environment.collect(),
        arguments: arguments.iter().map(ToString::to_string).collect(),
    }
}

/// A folder with the text as `couplet.toml`.
pub(super) fn folder(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("couplet.toml");
    fs::write(&path, text).expect("written");
    let path = path.display().to_string();
    (folder, path)
}

fn from_text(text: &str) -> Result<Settings, Vec<String>> {
    let (_folder, path) = folder(text);
    load(&sources(Some(&path), &[], &[])).map_err(|mistakes| {
        let shown = mistakes
            .iter()
            .map(|mistake| mistake.to_string().replace(&path, "couplet.toml"));
        shown.collect()
    })
}

fn mistakes(arguments: &[&str]) -> Vec<String> {
    let found = load(&sources(None, &[], arguments)).expect_err("mistakes");
    found.iter().map(ToString::to_string).collect()
}

fn set(arguments: &[&str]) -> Settings {
    load(&sources(None, &[], arguments)).expect("no mistakes")
}

#[test]
fn nothing_has_to_be_given() {
    let settings = load(&Sources::default()).expect("no mistakes");
    assert_eq!(settings.edge.domains, ["localhost"]);
    assert_eq!(settings.origin.domains, ["localhost"]);
    assert_eq!(settings.origin.node, settings.node);
    assert_eq!(settings.data, Path::new("couplet-data"));
    assert_eq!(settings.edge.listen[0].port(), 5222);
    assert_eq!(settings.edge.tls_listen[0].port(), 5223);
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:5290");
    assert!(settings.edge.require_tls);
    assert!(!settings.origin.registration.open);
}

/// The sample with every `#key = value` taken as said.
pub(super) fn uncommented(sample: &str) -> String {
    let starts_setting = |c: char| c.is_ascii_lowercase() || c == '[';
    let lines = sample.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(starts_setting) => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The lines of it that say a default.
pub(super) fn defaults(uncommented: &str) -> String {
    // What has no default is an example there: certificates, contacts, names and addresses.
    let marks = [
        "/etc/couplet",
        "-addresses",
        "of-your-own",
        "10.0.0.",
        "edge-1.",
        ":4317",
        "/var/log/couplet",
    ];
    let is_plain = |line: &&str| !marks.iter().any(|mark| line.contains(mark));
    let plain: Vec<_> = uncommented.lines().filter(is_plain).collect();
    plain.join("\n")
}

#[test]
fn the_sample_files_are_the_defaults() {
    for (role, sample, needed) in SAMPLES {
        let (_folder, path) = folder(sample);
        let found = super::load(&sources(Some(&path), &[], needed), *role);
        let expected = super::load(&sources(None, &[], needed), *role).expect("no mistakes");
        let found = found.expect("no mistakes");
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{role}");
    }
}

#[test]
fn the_sample_files_explain_every_key_with_its_default() {
    for (role, sample, needed) in SAMPLES {
        let text = uncommented(sample);
        let (_folder, path) = folder(&defaults(&text));
        let found = super::load(&sources(Some(&path), &[], needed), *role);
        let expected = super::load(&sources(None, &[], needed), *role).expect("no mistakes");
        let found = found.expect("no mistakes");
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{role}");

        let mut found = Vec::new();
        let given = super::layer::file("sample", &text, &mut found);
        assert_eq!(found, []);
        for key in keys::of(*role) {
            let is_there = given
                .iter()
                .any(|given| keys::find(&given.path).is_some_and(|found| found.name == key.name));
            assert!(is_there, "{} of {role} is not explained", key.name);
        }
        for given in given {
            let key = keys::find(&given.path).expect("a key");
            assert_eq!(keys::refusal(key, *role), None, "{} of {role}", key.name);
        }
    }
}

#[test]
fn later_sources_override_earlier_ones_key_by_key() {
    let (_folder, path) = folder(
        "node = \"file\"\ndomains = [\"a.example\"]\n\
         [limits.before_auth]\ndepth = 5\nelements = 9\n",
    );
    let environment = [
        ("COUPLET_NODE", "env"),
        ("COUPLET_LIMITS__BEFORE_AUTH__DEPTH", "6"),
    ];
    let settings = load(&sources(Some(&path), &environment, &["node=argument"]));
    let settings = settings.expect("no mistakes");
    assert_eq!(settings.origin.node, "argument");
    assert_eq!(settings.edge.limits.before_auth.depth, 6);
    assert_eq!(settings.edge.limits.before_auth.elements, 9);
    assert_eq!(settings.origin.domains, ["a.example"]);
}

#[test]
fn outside_the_file_nobody_needs_quotes() {
    let settings = set(&[
        "node=7",
        "data=/srv/a b",
        "domains=example.org",
        "c2s.listen=[::1]:1",
    ]);
    assert_eq!(settings.origin.node, "7");
    assert_eq!(settings.data, Path::new("/srv/a b"));
    assert_eq!(settings.edge.domains, ["example.org"]);
    assert_eq!(settings.edge.listen[0].to_string(), "[::1]:1");
    let settings = set(&[
        "c2s.listen=[\"127.0.0.1:1\", \"127.0.0.1:2\"]",
        "log.format=json",
    ]);
    assert_eq!(settings.edge.listen.len(), 2);
    assert_eq!(settings.log.format, Format::Json);
    let settings = set(&["limits = { roster_items = 7, vcard_bytes = 2048 }"]);
    assert_eq!(settings.origin.limits.roster_items, 7);
}

#[test]
fn the_environment_of_others_is_left_alone() {
    let environment = [
        ("COUPLET_SERVICE_HOST", "10.0.0.1"),
        ("COUPLET_PORT", "tcp://10.0.0.1:5222"),
        ("COUPLET_PORT_5222_TCP_ADDR", "10.0.0.1"),
        (
            "COUPLET_CONTACT__ABUSE_ADDRESSES",
            "mailto:abuse@example.org",
        ),
        ("HOME", "/root"),
    ];
    let settings = load(&sources(None, &environment, &[])).expect("no mistakes");
    assert_eq!(
        settings.origin.contact["abuse-addresses"],
        ["mailto:abuse@example.org"]
    );
    let found = load(&sources(None, &[("COUPLET_DOMAIN", "x")], &[])).expect_err("a mistake");
    assert_eq!(
        found[0].to_string(),
        "environment COUPLET_DOMAIN: domain: there is no such key; is \"domains\" meant?"
    );
}

#[test]
fn every_mistake_is_reported_with_its_key_and_its_place() {
    let text = "domains = [\"a@b\", \"ok.example\", \"OK.example\"]\nshards = -1\nnode = 5\n\n\
        [c2s]\nlisten = [\"localhost\"]\nlisten_tls = []\nrequire_tls = \"no\"\n\n\
        [limits]\nroster_items = 1.5\nbefore_auth = 3\n[limits.after_auth]\nbytes = 100\n\
        [log]\nlevel = \"a=b=c\"\nformat = \"xml\"\n[admin]\nlisten = \"0.0.0.0:5290\"\n\
        [contact]\nabuse-addresses = [\"me\"]\n[nothing]\n";
    let found = from_text(text).expect_err("mistakes");
    let expected = [
        "couplet.toml:2: shards: must be a whole number from 0 to 1024, but is -1",
        "couplet.toml:3: node: must be a text in quotes, but is 5",
        "couplet.toml:6: c2s.listen: \"localhost\" is not an address with a port",
        "couplet.toml:7: c2s.listen_tls: there is no such key",
        "couplet.toml:8: c2s.require_tls: must be true or false, but is the text \"no\"",
        "couplet.toml:11: limits.roster_items: must be a whole number from 1 to 1000000,",
        "couplet.toml:12: limits.before_auth: is a section, not a setting",
        "couplet.toml:14: limits.after_auth.bytes: must be a whole number from 10000",
        "couplet.toml:16: log.level: \"a=b=c\" is neither a level",
        "couplet.toml:17: log.format: must be \"text\" or \"json\", but is \"xml\"",
        "couplet.toml:21: contact.abuse-addresses: \"me\" is not a URI",
        "couplet.toml:22: nothing: there is no such key",
        "couplet.toml:1: domains: \"a@b\" is not a domain",
        "couplet.toml:1: domains: \"OK.example\" is listed twice",
        "couplet.toml:19: admin.listen: 0.0.0.0:5290 can be reached from other machines",
    ];
    for line in expected {
        assert!(
            found.iter().any(|found| found.starts_with(line)),
            "{line}\nin {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_file_that_is_not_toml_says_where() {
    let found = from_text("domains = [\"a\"]\nnode = \n[c2s\n").expect_err("mistakes");
    assert!(found[0].starts_with("couplet.toml:2: "), "{found:#?}");
    assert!(found[1].starts_with("couplet.toml:3: "), "{found:#?}");
    let absent = load(&sources(Some("/nowhere/couplet.toml"), &[], &[])).expect_err("a mistake");
    assert!(
        absent[0]
            .to_string()
            .contains("/nowhere/couplet.toml: cannot be read")
    );
}

#[test]
fn arguments_that_make_no_sense() {
    assert_eq!(
        mistakes(&["domains"]),
        ["--set: \"domains\" is not key=value"]
    );
    assert_eq!(mistakes(&["a b=1"]), ["--set: \"a b\" is not a dotted key"]);
    assert_eq!(
        mistakes(&["c2s.require_tsl=true"]),
        ["--set: c2s.require_tsl: there is no such key; is \"c2s.require_tls\" meant?"]
    );
    assert_eq!(mistakes(&["shards=99999999999999999999"]).len(), 1);
    assert_eq!(mistakes(&["data="]), ["--set: data: must not be empty"]);
}

#[test]
fn limits_do_not_contradict_each_other() {
    let found = mistakes(&["limits.before_auth.depth=65", "limits.outbound_bytes=20000"]);
    assert!(
        found[0].starts_with("--set: limits.before_auth.depth: 65 is more than"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("--set: limits.outbound_bytes: 20000 is less"),
        "{found:?}"
    );
}

#[test]
fn listeners_do_not_share_an_address() {
    let found = mistakes(&["c2s.listen=127.0.0.1:1", "admin.listen=127.0.0.1:1"]);
    assert_eq!(
        found,
        ["--set: admin.listen: 127.0.0.1:1 is taken by c2s.listen already"]
    );
    let found = mistakes(&["c2s.listen=[]", "c2s.tls_listen=[]"]);
    assert!(
        found[0].starts_with("--set: c2s.listen: must name an address"),
        "{found:?}"
    );
}

#[test]
fn certificates_exist_and_match_their_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let make = |name: &str| {
        let tls = folder.path().join(name);
        let made = crate::certificate::ensure_self_signed(&tls, &[format!("{name}.example")]);
        made.expect("a certificate")
    };
    let (a, b) = (make("a"), make("b"));
    let path = |path: &Path| path.display().to_string();
    let (certificate, key) = (path(&a.certificate), path(&a.key));

    let both = [
        format!("tls.certificate={certificate}"),
        format!("tls.key={key}"),
    ];
    let settings = set(&[&both[0], &both[1]]);
    assert_eq!(settings.edge.certificates.len(), 1);

    let wrong_key = format!("tls.key={}", path(&b.key));
    let found = mistakes(&[&both[0], &wrong_key]);
    assert!(
        found[0].ends_with("is not the key of the certificate"),
        "{found:?}"
    );
    assert!(found[0].starts_with("--set: tls.key: "), "{found:?}");

    let found = mistakes(&[&both[0]]);
    assert_eq!(
        found,
        ["--set: tls.certificate: has no key: tls.key is missing"]
    );

    let swapped = [
        format!("tls.certificate={key}"),
        format!("tls.key={certificate}"),
    ];
    let found = mistakes(&[&swapped[0], &swapped[1], "tls.domains.\"x.y\".key=/nowhere"]);
    assert!(found[0].contains("holds no certificate"), "{found:#?}");
    assert!(found[1].contains("holds no private key"), "{found:#?}");
    assert!(
        found[2].contains("tls.domains.\"x.y\".key: \"x.y\" is not one of"),
        "{found:#?}"
    );
    assert!(found[3].contains("has no certificate"), "{found:#?}");

    let own = [
        format!("tls.domains.\"a.example\".certificate={certificate}"),
        format!("tls.domains.\"a.example\".key={key}"),
    ];
    let settings = set(&["domains=[\"b.example\", \"A.example\"]", &own[0], &own[1]]);
    assert_eq!(
        settings.edge.certificates[0].domain.as_deref(),
        Some("a.example")
    );
}

#[test]
fn networks_of_balancers_are_networks_or_addresses() {
    let shown = |argument: &str| format!("{:?}", set(&[argument]).edge.proxy_protocol_from);
    let list = r#"c2s.proxy_protocol_from=["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"]"#;
    assert_eq!(
        shown(list),
        "[10.0.0.0/8, 192.0.2.7/32, 2001:db8::/32, ::1/128]"
    );
    assert_eq!(shown("c2s.proxy_protocol_from=10.0.0.0/8"), "[10.0.0.0/8]");
    for (network, part) in [
        ("10.0.0.0/33", "is neither a network"),
        ("balancer.internal", "is neither a network"),
        ("10.0.0.1:5222", "is neither a network"),
        ("10.0.0.1/8", "is \"10.0.0.0/8\" meant?"),
        ("::ffff:10.0.0.0/104", "write it as one"),
        ("0.0.0.0/0", "is everybody"),
        ("::/0", "is everybody"),
    ] {
        let found = mistakes(&[&format!("c2s.proxy_protocol_from={network}")]);
        assert!(
            found.len() == 1 && found[0].contains(part),
            "{network}: {found:?}"
        );
    }
}
