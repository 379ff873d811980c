//! Tests of what an operator is shown of the settings in force.

use std::collections::BTreeMap;

use super::tests::{EDGE, ORIGIN, SAMPLES, defaults, folder, sources, uncommented};
use super::{Role, Shown, keys, load_shown};

/// What is shown to an operator who gave this.
fn shown(role: Role, file: Option<&str>, arguments: &[&str]) -> BTreeMap<String, Shown> {
    let environment = [("COUPLET_LOG__LEVEL", "debug")];
    let sources = sources(file, &environment, arguments);
    let (_, shown) = load_shown(&sources, role).expect("no mistakes");
    let is_in_order = shown.is_sorted_by(|a, b| a.key < b.key);
    assert!(is_in_order, "{shown:#?}");
    let shown = shown.into_iter().map(|shown| (shown.key.clone(), shown));
    shown.collect()
}

#[test]
fn each_setting_says_where_it_came_from() {
    let text = "domains = [\"A.example\"]\n[limits]\nroster_items = 7\n\
                [tls.domains.\"a.example\"]\n[log]\nlevel = \"warn\"\n";
    let (_folder, path) = folder(text);
    let shown = shown(Role::Serve, Some(&path), &["limits.logins=9", "node=n1"]);
    let check = |key: &str, value: serde_json::Value, source: &str| {
        let shown = &shown[key];
        assert_eq!(
            (&shown.value, shown.source.as_str()),
            (&value, source),
            "{key}"
        );
    };
    // As it is in force, not as it was written.
    check("domains", ["a.example"].into(), &format!("{path}:1"));
    check("limits.roster_items", 7.into(), &format!("{path}:3"));
    check(
        "log.level",
        "debug".into(),
        "environment COUPLET_LOG__LEVEL",
    );
    check("limits.logins", 9.into(), "--set");
    check("node", "n1".into(), "--set");
    check("limits.vcard_bytes", 262_144.into(), "default");
    check("muc.services", ["conference.a.example"].into(), "default");
    check("tls.certificate", serde_json::Value::Null, "default");
}

#[test]
fn no_password_is_shown() {
    let url = "store.url=redis://couplet:hunter2@127.0.0.1:6379/3";
    let arguments = ["link.insecure=true", "link.listen=127.0.0.1:5291", url];
    let shown = shown(Role::Origin, None, &arguments);
    assert_eq!(
        shown["store.url"].value,
        "redis://couplet:…@127.0.0.1:6379/3"
    );
    assert!(!format!("{shown:?}").contains("hunter2"));
}

#[test]
fn a_token_is_shown_by_its_file_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "hunter2hunter2hunter2").expect("written");
    let file = file.display().to_string();
    let arguments = [
        format!("admin.tokens.shop.file={file}"),
        "admin.tokens.shop.scope=domain".to_owned(),
        "admin.tokens.shop.domains=a.example".to_owned(),
    ];
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let shown = shown(Role::Serve, None, &arguments);
    assert_eq!(shown["admin.tokens.\"shop\".file"].value, file);
    assert_eq!(shown["admin.tokens.\"shop\".scope"].value, "domain");
    assert!(!format!("{shown:?}").contains("hunter2"));
}

/// What the sample of a role says its defaults are is what is shown.
#[test]
fn every_key_of_the_samples_is_shown_with_its_default() {
    for (role, sample, _) in SAMPLES {
        let needed = match role {
            Role::Serve => &[][..],
            Role::Edge => EDGE,
            Role::Origin => ORIGIN,
        };
        let shown = shown(*role, None, needed);
        for key in keys::of(*role).filter(|key| !key.name.contains('*')) {
            assert!(
                shown.contains_key(key.name),
                "{} of {role} lacks `.shown(…)`",
                key.name
            );
        }
        let mut found = Vec::new();
        let text = defaults(&uncommented(sample));
        let given = super::layer::file("sample", &text, &mut found);
        for given in given.iter().filter(|given| !given.is_empty_table()) {
            let name = given.key();
            let told = shown.get(&name);
            let told = told.unwrap_or_else(|| panic!("{name} of {role} is not shown"));
            if told.source == "default" {
                let expected = serde_json::to_value(&given.value).expect("JSON");
                assert_eq!(told.value, expected, "{name} of {role}");
            }
        }
        assert_eq!(found, []);
    }
}
