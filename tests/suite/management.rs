//! The API for operators, and `couplet ctl` with it: tokens, refusals, the audit log.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::client::PATIENCE;
use crate::harness::server::{PASSWORD, Server};

/// A server with a token of each scope; `shop` is of `capulet.lit`.
struct Guarded {
    server: Server,
    folder: tempfile::TempDir,
}

// === impl Guarded ===

impl Guarded {
    fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["server", "reader", "shop", "another"] {
            fs::write(path(name), format!("{name}-token-0123456789\n")).expect("written");
        }
        let tokens = [
            format!("admin.token_file={:?}", path("server")),
            format!("admin.tokens.reader.file={:?}", path("reader")),
            "node=\"n1\"".to_owned(),
            "admin.tokens.reader.scope=\"read-only\"".to_owned(),
            format!("admin.tokens.shop.file={:?}", path("shop")),
            "admin.tokens.shop.scope=\"domain\"".to_owned(),
            "admin.tokens.shop.domains=[\"Capulet.lit\"]".to_owned(),
            format!("admin.audit_file={:?}", path("audit.log")),
        ];
        let settings = tokens
            .iter()
            .map(String::as_str)
            .chain(settings.iter().copied());
        let server = Server::start(&settings.collect::<Vec<_>>());
        Self { server, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `couplet ctl` with the token of this name.
    fn ctl(&self, token: &str, words: &[&str], input: &str) -> Output {
        let path = self.path(token).display().to_string();
        let words = [&["--token-file", &path], words].concat();
        self.server.ctl(&words, input)
    }

    /// Every line of the audit log.
    fn audited(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("audit.log")).unwrap_or_default();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        lines.collect()
    }

    /// Waits for a line of the audit log.
    fn expect_audited(&self, expected: [&str; 4]) {
        let keys = ["who", "operation", "subject", "outcome"];
        soon(&format!("{expected:?} in the audit log"), || {
            let lines = self.audited();
            lines
                .iter()
                .any(|line| keys.map(|key| line[key].as_str()) == expected.map(Some))
        });
    }
}

/// Waits for something that has to become true soon.
fn soon(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// Standard output and standard error of a command that ended with this code.
fn said(output: &Output, code: i32) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8(text).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// Sends these bytes and returns all that comes.
fn raw(address: SocketAddr, bytes: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("somebody listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.write_all(bytes.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    // What is left when the other side hangs up is the answer.
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn couplet(words: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_couplet"));
    command.args(words).envs(environment.iter().copied());
    command.stdin(Stdio::null()).output().expect("it is built")
}

/// Token, words, exit code, a part of what is said.
const TABLE: &str = "
another | account add nurse@Capulet.lit | 1 | nobody here has this token
reader | account add nurse@Capulet.lit | 1 | this needs a token with the scope server or domain
shop | account add nurse@Capulet.lit | 0 | added
shop | account add nurse@montague.lit | 1 | or domain for montague.lit; the token \"shop\" has
server | account add nurse@montague.lit | 0 | added
reader | account list | 0 | nurse@montague.lit
shop | account list | 0 | nurse@capulet.lit
shop | account list montague.lit | 1 | the scope server, or domain
shop | domains | 0 | capulet.lit
shop | sessions | 1 | the scope server
shop | sessions --domain CAPULET.lit | 0 | JID
shop | sessions nurse@montague.lit | 1 | the scope server, or domain
reader | sessions | 0 | JID
shop | nodes | 1 | the scope server or read-only
reader | nodes | 0 | alive
shop | config | 1 | the scope server or read-only
reader | config | 0 | domains
reader | drain | 1 | the scope server
server | drain | 1 | the only node
server | account remove nurse@montague.lit | 0 | removed
shop | account password nurse@capulet.lit | 0 | changed
shop | account remove NURSE@capulet.lit | 0 | removed
";

#[test]
fn each_scope_of_tokens_opens_what_it_is_for() {
    let guarded = Guarded::start(&[]);
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let columns: Vec<&str> = line.split(" | ").collect();
        let [token, words, code, part] = columns[..] else {
            panic!("four columns: {line}");
        };
        let words: Vec<&str> = words.split(' ').collect();
        let output = guarded.ctl(token, &words, "angelica\n");
        let text = said(&output, code.parse().expect("a number"));
        assert!(text.contains(part), "{line}: {text}");
        let is_confined = token == "shop" && code == "0";
        assert!(
            !(is_confined && text.contains("montague")),
            "{line}: {text}"
        );
    }
    guarded.expect_audited(["nobody", "-", "/accounts", "unauthenticated"]);
    guarded.expect_audited(["reader", "account_add", "/accounts", "forbidden"]);
    guarded.expect_audited(["shop", "account_add", "nurse@montague.lit", "forbidden"]);
    guarded.expect_audited(["shop", "account_add", "nurse@Capulet.lit", "done"]);
    guarded.expect_audited(["server", "drain", "n1", "refused"]);
    guarded.expect_audited(["shop", "account_remove", "NURSE@capulet.lit", "done"]);
    let text = fs::read_to_string(guarded.path("audit.log")).expect("there");
    let log = guarded.server.log();
    for secret in ["angelica", "-token-0123456789"] {
        assert!(
            !text.contains(secret) && !log.contains(secret),
            "{secret}: {text} {log}"
        );
    }
    // In the log too, where it can be picked out by its target.
    assert!(
        log.contains("audit: ") && log.contains("who=\"shop\""),
        "{log}"
    );
}

#[test]
fn without_a_token_a_guarded_port_tells_only_how_it_is() {
    let guarded = Guarded::start(&[]);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(
            guarded.server.http(path).expect("an answer").0,
            200,
            "{path}"
        );
    }
    for path in [
        "nodes",
        "config",
        "openapi.json",
        "nothing",
        "%2e%2e/healthz",
        "nodes;x",
    ] {
        let path = format!("/api/v1/{path}");
        assert_eq!(
            guarded.server.http(&path).expect("an answer").0,
            401,
            "{path}"
        );
    }
    let refused = said(&guarded.server.ctl(&["nodes"], ""), 1);
    assert!(
        refused.contains("--token-file or COUPLET_CTL_TOKEN_FILE"),
        "{refused}"
    );
    let probe = said(&guarded.server.ctl(&["health", "--probe"], ""), 0);
    assert_eq!(probe, "ready\n");
    let (_, metrics) = guarded.server.http("/metrics").expect("an answer");
    let counted = "couplet_admin_requests_total{method=\"GET\",outcome=\"unauthenticated\"} 7";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn tokens_and_the_audit_log_are_taken_up_again_on_sighup() {
    let guarded = Guarded::start(&[]);
    said(&guarded.ctl("server", &["nodes"], ""), 0);
    said(&guarded.ctl("another", &["nodes"], ""), 1);
    guarded.expect_audited(["nobody", "-", "/nodes", "unauthenticated"]);
    fs::rename(guarded.path("audit.log"), guarded.path("audit.log.1")).expect("moved");
    fs::copy(guarded.path("another"), guarded.path("server")).expect("copied");
    guarded.server.signal("HUP");
    soon("the new token is taken", || {
        guarded.ctl("another", &["nodes"], "").status.success()
    });
    let add = ["account", "add", "nurse@capulet.lit"];
    said(&guarded.ctl("another", &add, "angelica\n"), 0);
    guarded.expect_audited(["server", "account_add", "nurse@capulet.lit", "done"]);

    // Which is a mistake in the configuration, too.
    fs::remove_file(guarded.path("server")).expect("removed");
    guarded.server.signal("HUP");
    soon("the token is taken away", || {
        !guarded.ctl("another", &["nodes"], "").status.success()
    });
    said(&guarded.ctl("reader", &["nodes"], ""), 0);
    let log = guarded.server.log();
    for part in ["settings not reloaded", "a token opens nothing any more"] {
        assert!(log.contains(part), "{log}");
    }
}

#[test]
fn a_strange_name_is_not_logged_whole() {
    let server = Server::start(&[]);
    let name = "x".repeat(5000);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    let answer = raw(server.admin, &request);
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    soon("it is told", || {
        server.log().contains("a name it does not have")
    });
    assert!(!server.log().contains(&name[..300]));
}

#[test]
fn a_full_disk_stops_the_audit_log_and_nothing_else() {
    let server = Server::start(&["admin.audit_file=\"/dev/full\""]);
    server.new_client("romeo").is_alive();
    let lost = || {
        let (_, metrics) = server.http("/metrics").expect("an answer");
        metrics.contains("couplet_admin_audit_lines_dropped_total 1\n")
    };
    soon("the lost line is counted", lost);
    let log = server.log();
    assert!(log.contains("the audit log cannot be written"), "{log}");
    assert!(log.contains("account_add"), "{log}");
}

/// D09: what somebody sends cannot look like a line of ours, nor act on a terminal.
#[test]
fn nobody_forges_a_line_of_the_audit_log() {
    let guarded = Guarded::start(&[]);
    let hostile = "x%0D%0A%7B%22who%22%3A%22forged%22%7D%1B%5B2J%C2%9B%E2%80%AE%40capulet.lit";
    let request = format!(
        "DELETE /api/v1/accounts/{hostile} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Bearer server-token-0123456789\r\n\r\n"
    );
    let answer = raw(guarded.server.admin, &request);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    soon("a line", || !guarded.audited().is_empty());
    let text = fs::read_to_string(guarded.path("audit.log")).expect("there");
    let is_plain = |c: char| c == '\n' || !(c.is_control() || matches!(c, '\u{202a}'..='\u{202e}'));
    assert!(text.chars().all(is_plain), "{text:?}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let log = guarded.server.log();
    assert!(log.chars().all(is_plain), "{log:?}");
    let forged = log.lines().filter(|line| line.starts_with("{\"who\""));
    assert_eq!(forged.count(), 0, "{log}");
}

/// H02: the port does not open itself to others unguarded.
#[test]
fn a_port_others_can_reach_needs_a_token() {
    for role in ["serve", "edge", "origin"] {
        let words = [role, "--set", "admin.listen=0.0.0.0:0"];
        let text = said(&couplet(&words, &[]), 1);
        assert!(
            text.contains("nobody would be asked for a token"),
            "{role}: {text}"
        );
        assert!(text.contains("set admin.token_file"), "{role}: {text}");
    }
    let guarded = Guarded::start(&[]);
    let file = format!(
        "admin.token_file={:?}",
        guarded.path("server").display().to_string()
    );
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("couplet.toml");
    fs::write(&config, "").expect("written");
    let config = config.display().to_string();
    let words = [
        "check-config",
        &config,
        "--set",
        "admin.listen=0.0.0.0:5290",
        "--set",
        &file,
    ];
    assert_eq!(said(&couplet(&words, &[]), 0), "ok\n");
}

/// The ports for clients know nothing of it.
#[test]
fn the_ports_for_clients_do_not_answer_operators() {
    let server = Server::shared();
    for path in ["/api/v1/nodes", "/healthz", "/metrics"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\ncouplet-ctl: 1\r\nConnection: close\r\n\r\n"
        );
        for address in [server.c2s, server.tls] {
            let answer = raw(address, &request);
            assert!(!answer.contains("HTTP/1"), "{path}: {answer}");
            assert!(
                !answer.contains("nodes") && !answer.contains("ok\n"),
                "{answer}"
            );
        }
        assert!(
            raw(server.admin, &request).starts_with("HTTP/1.1 200 "),
            "{path}"
        );
    }
}

#[test]
fn the_settings_in_force_are_told_with_their_sources() {
    let server = Server::start(&["limits.roster_items=7"]);
    let text = said(&server.ctl(&["config", "limits.r"], ""), 0);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["KEY", "VALUE", "SOURCE"]);
    assert!(
        rows.contains(&vec!["limits.roster_items", "7", "--set"]),
        "{text}"
    );
    assert!(
        rows.contains(&vec!["limits.resume_secs", "300", "default"]),
        "{text}"
    );
    assert!(
        rows[1..].iter().all(|row| row[0].starts_with("limits.r")),
        "{text}"
    );
    let text = said(&server.ctl(&["config", "--json"], ""), 0);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    let keys = told["config"].as_array().expect("a list").len();
    assert!(keys > 90, "{keys}");
    let none = said(&server.ctl(&["config", "nothing"], ""), 1);
    assert!(
        none.contains("no key that begins with \"nothing\""),
        "{none}"
    );
}

#[test]
fn everything_is_told_as_json_too() {
    let server = Server::start(&[]);
    server.add_account("romeo@montague.lit", PASSWORD);
    let json = |words: &[&str]| -> Value {
        let words = [words, &["--json"]].concat();
        let text = said(&server.ctl(&words, "swordfish\n"), 0);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
    };
    assert_eq!(json(&["health"])["role"], "serve");
    assert_eq!(json(&["nodes"])["nodes"][0]["slots"], 4096);
    assert_eq!(json(&["slots"])["slots"][0]["last"], 4095);
    assert!(json(&["sessions"])["sessions"].is_array());
    assert_eq!(json(&["domains"])["domains"][0]["name"], "montague.lit");
    let list = json(&["account", "list", "montague.lit"]);
    assert_eq!(list["accounts"][0]["jid"], "romeo@montague.lit");
    let done = json(&["account", "add", "juliet@capulet.lit"]);
    assert_eq!(done["done"], "added juliet@capulet.lit");
    assert!(json(&["config", "log"])["config"].is_array());
    assert_eq!(json(&["health", "--probe"])["done"], "ready");
}

#[test]
fn mistakes_of_an_operator_are_explained() {
    let server = Server::shared();
    let nobody = said(
        &couplet(&["ctl", "--server", "http://127.0.0.1:1", "nodes"], &[]),
        3,
    );
    assert!(
        nobody.contains("cannot connect to http://127.0.0.1:1"),
        "{nobody}"
    );
    assert!(nobody.contains("admin.listen"), "{nobody}");
    let url = format!("http://{}", server.admin);
    let environment = [("COUPLET_CTL_SERVER", url.as_str())];
    let nodes = said(&couplet(&["ctl", "nodes"], &environment), 0);
    assert!(nodes.contains("alive"), "{nodes}");
    let environment = [
        ("COUPLET_CTL_SERVER", url.as_str()),
        ("COUPLET_CTL_TOKEN_FILE", "/nowhere"),
    ];
    let file = said(&couplet(&["ctl", "nodes"], &environment), 2);
    assert!(
        file.contains("--token-file /nowhere: cannot be read"),
        "{file}"
    );
    // The same environment is no mistake of the server's.
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/config/serve.toml");
    assert_eq!(
        said(&couplet(&["check-config", config], &environment), 0),
        "ok\n"
    );
    let stranger = format!("http://{}", server.c2s);
    let words = ["ctl", "--server", &stranger, "nodes"];
    let stranger = said(&couplet(&words, &[]), 3);
    assert!(
        stranger.contains("does not answer like a couplet server"),
        "{stranger}"
    );
}

#[test]
fn shells_complete_the_command_line() {
    for (shell, part) in [
        ("bash", "complete -F _couplet"),
        ("zsh", "#compdef couplet"),
        ("fish", "complete -c couplet"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let text = said(&couplet(&["completion", shell], &[]), 0);
        for part in [part, "check-config", "token-file", "account"] {
            assert!(text.contains(part), "{shell}: {part}");
        }
    }
    let text = said(&couplet(&["completion", "bash"], &[]), 0);
    let mut bash = Command::new("bash")
        .args(["-n"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("bash is there");
    let mut stdin = bash.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).expect("read");
    drop(stdin);
    assert!(bash.wait().expect("it ends").success());
}

/// What others make of the document: with a validator that is not ours.
#[test]
#[ignore = "needs openapi-spec-validator, which `tests/run tools suite` provides"]
fn the_document_of_the_api_is_one_of_openapi() {
    let guarded = Guarded::start(&[]);
    let request = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                   Authorization: Bearer reader-token-0123456789\r\n\r\n";
    let answer = raw(guarded.server.admin, request);
    let (head, document) = answer.split_once("\r\n\r\n").expect("head and body");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let check = |document: &str| {
        let path = guarded.path("openapi.json");
        fs::write(&path, document).expect("written");
        let checked = Command::new("openapi-spec-validator").arg(&path).output();
        let checked = checked.expect("openapi-spec-validator is not installed: tests/run tools");
        let text = [checked.stdout, checked.stderr].concat();
        (
            checked.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    let (is_valid, text) = check(document);
    assert!(is_valid, "{text}");
    let (is_valid, text) = check(&document.replace("\"operationId\"", "\"operationName\""));
    assert!(!is_valid, "it would take anything: {text}");
}
