//! Which stanzas are followed: tables of what is given and what comes of it.

use super::tests::{EDGE, ORIGIN, mistakes_of};
use super::{Role, Sources};
use crate::telemetry::HAS_SPANS;

fn load(arguments: &[&str]) -> Result<super::Trace, Vec<String>> {
    let sources = Sources {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        ..Sources::default()
    };
    let loaded = super::load(&sources, Role::Serve);
    loaded
        .map(|settings| settings.trace)
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

#[test]
fn nothing_is_followed_unasked() {
    let trace = load(&[]).expect("no mistakes");
    assert_eq!(trace.endpoint, None);
    assert!(!trace.addresses);
}

#[test]
fn a_build_that_cannot_send_says_which_one_can() {
    let loaded = load(&["trace.endpoint=http://127.0.0.1:4317", "trace.sample=0.5"]);
    if HAS_SPANS {
        assert_eq!(
            loaded.map(|trace| trace.endpoint),
            Ok(Some("http://127.0.0.1:4317".to_owned()))
        );
        return;
    }
    let mistakes = loaded.expect_err("a mistake");
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].contains("--features otel"), "{mistakes:?}");
}

#[test]
fn what_no_collector_can_be_reached_by_is_refused() {
    for wrong in [
        "https://a:4317",
        "a:4317",
        "http://a:4317/v1/traces",
        "http://",
    ] {
        let mistakes = load(&[&format!("trace.endpoint={wrong}")]).expect_err("a mistake");
        let is_told = |mistake: &String| mistake.contains("is not the address of an OTLP");
        assert!(mistakes.iter().any(is_told), "{wrong}: {mistakes:?}");
    }
}

#[test]
fn a_part_of_the_stanzas_is_from_none_to_all() {
    for right in ["0", "1", "0.25", "0.0", "1.0"] {
        assert!(load(&[&format!("trace.sample={right}")]).is_ok(), "{right}");
    }
    for wrong in ["-0.1", "1.5", "2", "nan", "some"] {
        let mistakes = load(&[&format!("trace.sample={wrong}")]).expect_err("a mistake");
        assert!(mistakes[0].contains("from 0 to 1"), "{wrong}: {mistakes:?}");
    }
}

#[test]
fn what_stands_in_stanzas_is_for_tokens_of_the_scope_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "0123456789abcdef0123").expect("written");
    let file = format!("admin.tokens.ops.file={}", file.display());
    let with = |scope: &str| load(&[&file, scope, "admin.tokens.ops.bodies=true"]);
    assert!(with("admin.tokens.ops.scope=server").is_ok());
    let mistakes = with("admin.tokens.ops.scope=read-only").expect_err("a mistake");
    assert!(mistakes[0].contains("scope = \"server\""), "{mistakes:?}");
}

#[test]
fn edges_choose_and_origins_follow() {
    let with = |needed: &[&'static str]| {
        let mut arguments = needed.to_vec();
        arguments.push("trace.sample=0.5");
        arguments
    };
    assert_eq!(mistakes_of(Role::Edge, &with(EDGE)), Vec::<String>::new());
    let mistakes = mistakes_of(Role::Origin, &with(ORIGIN));
    assert!(
        mistakes[0].contains("is not for `couplet origin`"),
        "{mistakes:?}"
    );
}
