//! Tests of who may use the port for operators, as far as the configuration says.

use std::path::Path;

use super::tests::{EDGE, ORIGIN, mistakes_of, sources};
use super::{Grant, Role, Scope, load};

/// A folder with a token of each name, and one that is too short.
fn folder(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in names {
        let token = format!("{name}-0123456789abcdef\n");
        std::fs::write(folder.path().join(name), token).expect("written");
    }
    std::fs::write(folder.path().join("short"), "0123456789abcde\n").expect("written");
    std::fs::write(folder.path().join("empty"), "\n").expect("written");
    folder
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[test]
fn the_port_is_not_opened_to_others_without_a_token() {
    let folder = folder(&["a"]);
    let file = format!("admin.token_file={}", path(folder.path(), "a"));
    for (role, needed) in [
        (Role::Serve, &[][..]),
        (Role::Edge, EDGE),
        (Role::Origin, ORIGIN),
    ] {
        for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.7:1", "[::ffff:10.0.0.7]:1"] {
            let listen = format!("admin.listen={listen}");
            let mut arguments = needed.to_vec();
            arguments.push(&listen);
            let found = mistakes_of(role, &arguments);
            assert_eq!(found.len(), 1, "{role}: {found:#?}");
            assert!(found[0].contains("admin.listen") && found[0].contains("set admin.token_file"));
            arguments.push(&file);
            assert_eq!(mistakes_of(role, &arguments), [""; 0], "{role}");
        }
    }
    let found = mistakes_of(Role::Serve, &["admin.allow_remote=true"]);
    let expected =
        "--set: admin.allow_remote: there is no such key; is \"admin.token_file\" meant?";
    assert_eq!(found, [expected]);
}

#[test]
fn tokens_have_a_file_a_scope_and_perhaps_domains() {
    let folder = folder(&["a", "b", "c", "d"]);
    let path = |name| path(folder.path(), name);
    let arguments = [
        format!("admin.token_file={}", path("a")),
        format!("admin.tokens.ops.file={}", path("b")),
        "admin.tokens.ops.scope=server".to_owned(),
        format!("admin.tokens.board.file={}", path("c")),
        "admin.tokens.board.scope=read-only".to_owned(),
        format!("admin.tokens.shop.file={}", path("d")),
        "admin.tokens.shop.scope=domain".to_owned(),
        "admin.tokens.shop.domains=[\"A.example\", \"b.example\"]".to_owned(),
    ];
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let settings = load(&sources(None, &[], &arguments), Role::Serve).expect("no mistakes");
    let grant = |name: &str, file: &str, scope| Grant {
        name: name.to_owned(),
        file: folder.path().join(file),
        scope,
        bodies: false,
    };
    let domains = ["a.example", "b.example"].map(str::to_owned).to_vec();
    let expected = [
        grant("server", "a", Scope::Server),
        grant("board", "c", Scope::ReadOnly),
        grant("ops", "b", Scope::Server),
        grant("shop", "d", Scope::Domains(domains)),
    ];
    assert_eq!(settings.admin.grants, expected);
}

#[test]
fn tokens_that_are_none_are_refused_with_the_reason() {
    let folder = folder(&["a"]);
    let path = |name| path(folder.path(), name);
    let check = |arguments: &[String], expected: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let found = mistakes_of(Role::Serve, &arguments);
        for part in expected {
            let is_there = found.iter().any(|found| found.contains(part));
            assert!(is_there, "{part}\nin {found:#?}");
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    };
    let whole = |name| format!("admin.token_file={}", path(name));
    let token = |rest: &str| format!("admin.tokens.x.{rest}");
    check(&[whole("short")], &["has 15 characters"]);
    check(&[whole("empty")], &["has 0 characters"]);
    check(&[whole("none")], &["admin.token_file: "]);
    let file = token(&format!("file={}", path("a")));
    check(
        std::slice::from_ref(&file),
        &["admin.tokens.\"x\".scope is missing"],
    );
    check(
        &[token("scope=server")],
        &["admin.tokens.\"x\".file is missing"],
    );
    let domain = [file.clone(), token("scope=domain")];
    check(&domain, &["admin.tokens.\"x\".domains is missing"]);
    let of = |domains: &str| [&domain[..], &[token(&format!("domains={domains}"))]].concat();
    check(&of("[]"), &["must name at least one domain"]);
    check(&of("[\"a@b\"]"), &["\"a@b\" is not a domain"]);
    check(
        &[
            file.clone(),
            token("scope=server"),
            token("domains=a.example"),
        ],
        &["is only for a token with scope = \"domain\""],
    );
    check(
        &[file.clone(), token("scope=admin")],
        &[
            "must be \"server\", \"domain\" or \"read-only\"",
            "scope is missing",
        ],
    );
    check(
        &[whole("a"), file, token("scope=server")],
        &["is the same token as admin.token_file"],
    );
    check(
        &["admin.tokens.server.scope=server".to_owned()],
        &["has another meaning in the audit log"],
    );
    check(
        &["admin.tokens.\"a b\".scope=server".to_owned()],
        &["is not a name of letters"],
    );
    check(
        &["admin.audit_file=/nowhere/audit.log".to_owned()],
        &["admin.audit_file: /nowhere/audit.log: there is no such folder"],
    );
}
