//! What an operator does: accounts, backups, signals, the port for operators.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::client::{Client, PATIENCE};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::tls;

/// Standard output and standard error of a command that ended with this code.
fn said(output: &Output, code: i32) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8(text).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// Waits for something that has to become true soon.
fn soon(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn accounts_are_added_listed_changed_and_removed() {
    let server = Server::start(&[]);
    let add = ["account", "add", "nurse@capulet.lit"];
    said(&server.ctl(&add, "angelica\n"), 0);
    let again = said(&server.ctl(&add, "angelica\n"), 1);
    assert!(again.contains("exists"), "{again}");
    server.add_account("benvolio@montague.lit", PASSWORD);
    let list = said(&server.ctl(&["account", "list"], ""), 0);
    assert_eq!(list, "benvolio@montague.lit\nnurse@capulet.lit\n");
    let list = said(&server.ctl(&["account", "list", "capulet.lit"], ""), 0);
    assert_eq!(list, "nurse@capulet.lit\n");

    let mut nurse = Client::login(server.c2s, "nurse@capulet.lit", "angelica");
    let password = ["account", "password", "nurse@capulet.lit"];
    said(&server.ctl(&password, "peter\n"), 0);
    nurse.is_alive();
    Client::login(server.c2s, "nurse@capulet.lit", "peter").close();

    let remove = ["account", "remove", "nurse@capulet.lit"];
    said(&server.ctl(&remove, ""), 0);
    nurse.ends_with("not-authorized");
    let again = said(&server.ctl(&remove, ""), 1);
    assert!(again.contains("there is no account"), "{again}");
    assert!(
        !server.log().contains("angelica"),
        "a password is in the log"
    );
}

#[test]
fn accounts_that_cannot_be_are_refused_with_the_reason() {
    let server = Server::shared();
    let check = |words: &[&str], input: &str, code: i32, reason: &str| {
        let text = said(&server.ctl(words, input), code);
        assert!(text.contains(reason), "{words:?}: {text}");
    };
    check(
        &["account", "add", "tybalt@rome.lit"],
        "x\n",
        1,
        "not served here",
    );
    check(
        &["account", "add", "capulet.lit"],
        "x\n",
        1,
        "no name before the domain",
    );
    check(&["account", "add", "a@capulet.lit/b"], "x\n", 1, "resource");
    check(
        &["account", "add", "a b@capulet.lit"],
        "x\n",
        1,
        "not an address",
    );
    check(
        &["account", "add", "tybalt@capulet.lit"],
        "",
        2,
        "the password is empty",
    );
    check(
        &["account", "list", "rome.lit"],
        "",
        1,
        "not one of the domains",
    );
    check(&["account", "dance"], "", 2, "dance");
}

#[test]
fn a_backup_is_a_data_folder() {
    let mut server = Server::start(&[]);
    server.add_account("romeo@montague.lit", PASSWORD);
    let copy = server.folder().join("copy");
    let backup = ["backup", copy.to_str().expect("UTF-8")];
    said(&server.ctl(&backup, ""), 0);
    let again = said(&server.ctl(&backup, ""), 1);
    assert!(again.contains("not empty"), "{again}");
    server.add_account("juliet@capulet.lit", PASSWORD);

    server.kill();
    fs::rename(server.data(), server.folder().join("lost")).expect("moved away");
    fs::rename(copy, server.data()).expect("moved in");
    server.run();
    let list = said(&server.ctl(&["account", "list"], ""), 0);
    assert_eq!(list, "romeo@montague.lit\n");
    Client::login(server.c2s, "romeo@montague.lit", PASSWORD).close();
}

#[test]
fn sigterm_tells_clients_and_ends_well() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[]);
        let mut romeo = server.new_client("romeo");
        server.signal(signal);
        romeo.ends_with("system-shutdown");
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    }
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let server = Server::start(&[]);
    let data = format!("data={:?}", server.data().display().to_string());
    let second = Command::new(env!("CARGO_BIN_EXE_couplet"))
        .args(["serve", "--set", &data])
        .output()
        .expect("the binary is built");
    let text = said(&second, 1);
    assert!(text.contains("is using the data folder"), "{text}");
    server.new_client("romeo").is_alive();
}

/// Writes a new certificate for the domain over the old one.
fn certify(certificate: &Path, key: &Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["montague.lit".to_owned()]).expect("made");
    fs::write(key, made.signing_key.serialize_pem()).expect("written");
    fs::write(certificate, made.cert.pem()).expect("written");
    made.cert.der().to_vec()
}

#[test]
fn sighup_reads_certificates_again_and_keeps_connections() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
    let first = certify(&certificate, &key);
    let settings = [
        format!("tls.certificate={:?}", certificate.display().to_string()),
        format!("tls.key={:?}", key.display().to_string()),
    ];
    let server = Server::start(&[&settings[0], &settings[1]]);
    let shown = || {
        let wish = tls::Wish::new("montague.lit");
        let client = Client::connect_tls(server.tls, &wish).expect("a handshake");
        tls::certificate(client.tls())
    };
    assert_eq!(shown(), first);
    let mut romeo = server.new_client("romeo");

    let second = certify(&certificate, &key);
    assert_eq!(shown(), first, "nobody has asked to read it again");
    server.signal("HUP");
    soon("the new certificate is shown", || shown() == second);

    fs::write(&certificate, "not a certificate").expect("written");
    server.signal("HUP");
    soon("the mistake is logged", || {
        server.log().contains("certificates not reloaded")
    });
    assert_eq!(shown(), second);
    romeo.is_alive();
}

#[test]
fn the_self_signed_certificate_stays_the_same() {
    let mut server = Server::start(&[]);
    let shown = |server: &Server| {
        let wish = tls::Wish::new("capulet.lit");
        let client = Client::connect_tls(server.tls, &wish).expect("a handshake");
        tls::certificate(client.tls())
    };
    let first = shown(&server);
    assert!(server.log().contains("nobody has signed"));
    server.kill();
    server.run();
    assert_eq!(shown(&server), first);
}

#[test]
fn the_port_for_operators_tells_how_it_is() {
    let server = Server::start(&[]);
    assert_eq!(server.http("/healthz").expect("an answer").0, 200);
    assert_eq!(server.http("/nothing").expect("an answer").0, 404);
    server.new_client("romeo").is_alive();
    let (code, text) = server.http("/metrics").expect("an answer");
    assert_eq!(code, 200);
    for part in [
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
        "couplet_certificate_expires_timestamp_seconds{domain=\"default\"} ",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let is_login = |line: &str| {
        line.starts_with("couplet_logins_total") && line.contains("success") && line.ends_with(" 1")
    };
    assert!(text.lines().any(is_login), "{text}");
    assert!(!text.contains("romeo"), "a client's word became a label");
}

#[test]
fn an_empty_store_says_how_to_add_an_account() {
    let server = Server::start(&[]);
    soon("the hint", || {
        server.log().contains("account add yourname@montague.lit")
    });
    let hint = format!("--server http://{}", server.admin);
    assert!(server.log().contains(&hint), "{}", server.log());
}
