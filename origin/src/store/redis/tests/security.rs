//! Users, passwords, certificates.

use super::server::{Server, free_port};
use super::{open, open_with, patient};
use crate::store::redis::{OpenError, Options};
use crate::store::tests::owned::{Owned, ROSTER, put};

/// What the documentation says the user needs.
const RULES: &[&str] = &[
    "~couplet:*",
    "+@all",
    "-@dangerous",
    "-@admin",
    "+info",
    "+role",
];

#[tokio::test]
async fn a_user_with_few_rights_is_enough() {
    let (_, server) = open().await;
    let mut rule = vec!["ACL", "SETUSER", "couplet", "on", ">p@ss:word"];
    rule.extend(RULES);
    assert_eq!(server.ask(&rule), "OK");
    let at = |user: &str| format!("redis://{user}@127.0.0.1:{}/0", server.port());
    let options = patient(&at("couplet:p%40ss%3Aword"));
    let store = open_with(options.clone(), "a").await.expect("opens");
    let owned = Owned::claim(&store).await;
    owned.commit("a@x", [put(ROSTER, "k", "1")]).await;
    assert_eq!(owned.get("a@x", ROSTER, "k").await, Some("1".into()));
    assert!(!format!("{options:?} {store:?}").contains("word"));

    let refused = open_with(patient(&at("couplet:wrong")), "a").await;
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.contains("does not accept the user"), "{refused}");
    let elsewhere = Options {
        key_prefix: "other:".into(),
        ..options
    };
    let refused = open_with(elsewhere, "a").await.expect_err("refused");
    let refused = refused.to_string();
    assert!(refused.contains("does not allow its user"), "{refused}");
    server.ask(&["ACL", "SETUSER", "default", "off"]);
    let refused = open_with(patient(&server.url()), "a").await;
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.contains("wants a password"), "{refused}");
}

#[tokio::test]
async fn through_tls_only_with_a_certificate_that_is_trusted() {
    // Another test may have been quicker.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("made");
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("cert"), made.cert.pem()).expect("written");
    std::fs::write(file("key"), made.signing_key.serialize_pem()).expect("written");
    let path = |name: &str| file(name).to_str().expect("UTF-8").to_owned();
    let tls_port = free_port();
    let arguments = [
        "--tls-port".to_owned(),
        tls_port.to_string(),
        "--tls-cert-file".to_owned(),
        path("cert"),
        "--tls-key-file".to_owned(),
        path("key"),
        "--tls-ca-cert-file".to_owned(),
        path("cert"),
        "--tls-auth-clients".to_owned(),
        "no".to_owned(),
    ];
    let _server = Server::run(arguments.into());
    let url = format!("rediss://127.0.0.1:{tls_port}");
    let trusting = Options {
        ca_file: Some(file("cert")),
        ..patient(&url)
    };
    let store = open_with(trusting.clone(), "a").await.expect("opens");
    let owned = Owned::claim(&store).await;
    owned.commit("a@x", [put(ROSTER, "k", "1")]).await;
    assert_eq!(owned.get("a@x", ROSTER, "k").await, Some("1".into()));
    let refused = open_with(patient(&url), "a").await.expect_err("refused");
    let refused = refused.to_string();
    assert!(refused.contains("certificate"), "{refused}");
    let missing = Options {
        ca_file: Some(file("missing")),
        ..trusting
    };
    let refused = open_with(missing, "a").await.expect_err("refused");
    let is_named = matches!(refused, OpenError::Certificates { .. });
    assert!(is_named, "{refused}");
}
