//! An operator looks on: `couplet ctl trace`.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

use crate::harness::client::{Client, PATIENCE};
use crate::harness::server::{PASSWORD, Server};

/// What nobody may see who is not to.
const SECRET: &str = "unspeakable";

/// `couplet ctl trace` at work.
struct Trace {
    process: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

// === impl Trace ===

impl Trace {
    /// Starts it, and waits until it has begun.
    fn start(server: &Server, words: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_couplet"))
            .args(["ctl", "--server", &format!("http://{}", server.admin)])
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built");
        let errors = process.stderr.take().expect("piped");
        let mut first = String::new();
        let mut errors = BufReader::new(errors);
        errors.read_line(&mut first).expect("readable");
        assert!(first.starts_with("-- what passes "), "{first}");
        // Read on, so that it is never stuck.
        thread::spawn(move || errors.read_to_end(&mut Vec::new()));
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let (sender, lines) = sync_channel(1024);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            process,
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits for a line with all of these in it.
    fn until(&mut self, parts: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {parts:?} among {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn chat(id: &str, to: &str) -> String {
    format!("<message id='{id}' type='chat' to='{to}'><body>{SECRET}</body></message>")
}

fn arrived(client: &mut Client, id: &str) {
    client.wait_for(|stanza| stanza.get("id") == Some(id));
}

#[test]
fn what_passes_an_account_is_shown_without_what_stands_in_it() {
    let server = Server::shared();
    let (mut romeo, mut juliet) = (server.new_client("romeo"), server.new_client("juliet"));
    for client in [&mut romeo, &mut juliet] {
        client.send("<presence/>");
        client.is_alive();
    }
    let bare = romeo.bare().to_owned();
    let mut trace = Trace::start(server, &["trace", &bare]);
    romeo.send(&chat("m1", &juliet.jid));
    arrived(&mut juliet, "m1");
    let line = trace.until(&[" > message chat id=m1 ", "body"]);
    assert!(line.contains(&romeo.jid), "{line}");
    assert!(line.contains(&format!("to={}", juliet.jid)), "{line}");
    juliet.send(&chat("m2", &bare));
    arrived(&mut romeo, "m2");
    let line = trace.until(&[" < message chat id=m2 "]);
    assert!(line.contains(&format!("from={}", juliet.jid)), "{line}");
    // What would act on a terminal is shown, and does nothing.
    juliet.send(&chat("m\u{9b}31m3", &bare));
    let line = trace.until(&["31m3"]);
    assert!(!line.contains(char::is_control), "{line:?}");
    assert!(line.contains("\\u{9b}"), "{line:?}");
    // Of others nothing is shown.
    let others = trace.seen.iter().filter(|line| line.contains(" > "));
    let mut others = others.filter(|line| line.contains(&format!("{} > ", juliet.jid)));
    assert_eq!(others.next(), None);
    let secret = trace.seen.iter().find(|line| line.contains(SECRET));
    assert_eq!(secret, None);
}

#[test]
fn one_session_of_several_is_looked_at() {
    let server = Server::shared();
    let jid = server.new_account("romeo");
    let mut first = Client::login(server.c2s, &jid, PASSWORD);
    let mut second = Client::login(server.c2s, &jid, PASSWORD);
    for client in [&mut first, &mut second] {
        client.send("<presence/>");
        client.is_alive();
    }
    let mut trace = Trace::start(server, &["--json", "trace", &first.jid]);
    second.send(&chat("to-both", &jid));
    arrived(&mut first, "to-both");
    let page = trace.until(&["to-both"]);
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    let stanzas = page["stanzas"].as_array().expect("a list");
    let ways = stanzas.iter().map(|it| (&it["way"], &it["session"]));
    for (way, session) in ways {
        assert_eq!(way, "to-session");
        assert_eq!(session, &first.jid);
    }
    assert_eq!(stanzas[0]["children"][0]["name"], "body");
    assert_eq!(stanzas[0].get("xml"), None);
}

/// A server with a token of each kind, and their files.
fn guarded() -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let mut settings = Vec::new();
    for (name, scope) in [
        ("plain", "server"),
        ("bodies", "server"),
        ("shop", "domain"),
    ] {
        std::fs::write(file(name), format!("{name}-0123456789abcdef")).expect("written");
        settings.push(format!("admin.tokens.{name}.file={:?}", file(name)));
        settings.push(format!("admin.tokens.{name}.scope=\"{scope}\""));
    }
    settings.push("admin.tokens.shop.domains=[\"capulet.lit\"]".to_owned());
    settings.push("admin.tokens.bodies.bodies=true".to_owned());
    settings.push(format!("admin.audit_file={:?}", file("audit.log")));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    (Server::start(&settings), folder)
}

fn path(folder: &Path, name: &str) -> String {
    let path: PathBuf = folder.join(name);
    path.display().to_string()
}

#[test]
fn what_stands_in_stanzas_is_shown_to_whoever_may_see_it_and_that_is_audited() {
    let (server, folder) = guarded();
    let [plain, bodies, shop] = ["plain", "bodies", "shop"].map(|it| path(folder.path(), it));
    let jid = "romeo@montague.lit";
    let add = ["--token-file", &plain, "account", "add", jid];
    assert!(server.ctl(&add, &format!("{PASSWORD}\n")).status.success());
    let refused = [(&plain, "bodies = true"), (&shop, "bodies = true")];
    for (token, why) in refused {
        let words = ["--token-file", token, "trace", jid, "--bodies"];
        let output = server.ctl(&words, "");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(why), "{errors}");
    }
    let output = server.ctl(&["--token-file", &shop, "trace", jid], "");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("montague.lit"), "{errors}");

    let mut romeo = Client::login(server.c2s, jid, PASSWORD);
    let words = ["--token-file", &bodies, "trace", jid, "--bodies"];
    let mut trace = Trace::start(&server, &words);
    romeo.send(&chat("m1", &romeo.jid.clone()));
    arrived(&mut romeo, "m1");
    trace.until(&["<body>", SECRET]);

    let audit = std::fs::read_to_string(folder.path().join("audit.log")).expect("written");
    let begun: Vec<_> = audit
        .lines()
        .filter(|line| line.contains("with bodies") && line.contains("trace_begin"))
        .collect();
    let done = begun.iter().filter(|line| line.contains("\"done\""));
    assert!(
        done.clone().all(|line| line.contains("\"bodies\"")),
        "{audit}"
    );
    assert_eq!((begun.len(), done.count()), (3, 1), "{audit}");
    assert!(!audit.contains(SECRET) && !server.log().contains(SECRET));
}

#[test]
fn a_trace_ends_when_its_time_is_up_and_says_why_it_cannot_begin() {
    let server = Server::shared();
    let jid = server.new_account("romeo");
    let output = server.ctl(&["trace", &jid, "--seconds", "1"], "");
    assert!(output.status.success());
    let check = |jid: &str, why: &str| {
        let output = server.ctl(&["trace", jid], "");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(why), "{errors}");
    };
    check("romeo@rome.lit", "not served here");
    check("montague.lit", "is not an account");
    check("a b@montague.lit", "is not an address");
}
