//! `couplet check-login`: it logs in where a client can, and says why where none can.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::server::{PASSWORD, Server};

/// The certificate that the server has made for itself.
fn certificate(server: &Server) -> String {
    let path = server.data().join("tls/self-signed.crt");
    path.to_str().expect("UTF-8").to_owned()
}

/// Whether it logs in, and what it says.
fn check(folder: &Path, password: &str, words: &[&str]) -> (bool, String) {
    let file = folder.join(format!("password-{}", password.len()));
    fs::write(&file, format!("{password}\n")).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_couplet"))
        .arg("check-login")
        .args(words)
        .arg("--password-file")
        .arg(file)
        .output()
        .expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("UTF-8");
    (output.status.success(), text)
}

#[test]
fn it_logs_in_by_starttls_and_by_direct_tls() {
    let server = Server::start(&[]);
    server.add_account("romeo@montague.lit", PASSWORD);
    let ca = certificate(&server);
    let (c2s, tls) = (server.c2s.to_string(), server.tls.to_string());
    let common = ["romeo@montague.lit", "--ca", ca.as_str(), "--server"];
    for place in [[c2s.as_str()].as_slice(), &[&tls, "--direct-tls"]] {
        let words = [&common, place].concat();
        let (is_in, said) = check(server.folder(), PASSWORD, &words);
        assert!(is_in, "{said}");
        let full = said.starts_with("logged in as romeo@montague.lit/");
        assert!(full, "{said}");
    }
    // It leaves nothing behind.
    let sessions = server.ctl(&["sessions"], "");
    let sessions = String::from_utf8(sessions.stdout).expect("UTF-8");
    assert!(!sessions.contains("romeo"), "{sessions}");
}

#[test]
fn it_says_why_it_cannot() {
    let server = Server::start(&[]);
    server.add_account("romeo@montague.lit", PASSWORD);
    let ca = certificate(&server);
    let c2s = server.c2s.to_string();
    let romeo = "romeo@montague.lit";
    // A certificate of somebody else.
    let other = Server::start(&[]);
    let wrong_ca = certificate(&other);
    // A port nobody listens on.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = closed.local_addr().expect("bound").to_string();
    drop(closed);
    for (password, words, reason) in [
        (
            "wrong",
            [romeo, "--ca", &ca, "--server", &c2s],
            "not-authorized",
        ),
        (
            PASSWORD,
            ["juliet@montague.lit", "--ca", &ca, "--server", &c2s],
            "not-authorized",
        ),
        (
            PASSWORD,
            ["romeo@rome.lit", "--ca", &ca, "--server", &c2s],
            "host-unknown",
        ),
        (
            PASSWORD,
            [romeo, "--ca", &wrong_ca, "--server", &c2s],
            "TLS",
        ),
        (
            PASSWORD,
            [romeo, "--ca", &ca, "--server", &nobody],
            "cannot connect",
        ),
        (
            PASSWORD,
            ["romeo", "--ca", &ca, "--server", &c2s],
            "not an address",
        ),
        ("", [romeo, "--ca", &ca, "--server", &c2s], "empty"),
        (
            PASSWORD,
            [romeo, "--ca", "nowhere", "--server", &c2s],
            "--ca nowhere",
        ),
    ] {
        let (is_in, said) = check(server.folder(), password, &words);
        assert!(!is_in && said.contains(reason), "{words:?}: {said}");
        assert!(!said.contains(PASSWORD), "{said}");
    }
}

/// Somebody who accepts and says nothing does not hold it up.
#[test]
fn it_does_not_wait_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let ca = folder.path().join("ca.pem");
    let made = rcgen::generate_simple_self_signed(["a.lit".to_owned()]).expect("made");
    fs::write(&ca, made.cert.pem()).expect("written");
    let words = [
        "romeo@montague.lit",
        "--ca",
        ca.to_str().expect("UTF-8"),
        "--server",
        &address,
        "--timeout-secs",
        "1",
    ];
    let (is_in, said) = check(folder.path(), PASSWORD, &words);
    assert!(!is_in && said.contains("more than 1s"), "{said}");
}
