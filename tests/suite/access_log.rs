//! The access log of a real server: who came, as whom, what they moved and why they went.

use std::fs;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::symlink;

use crate::harness::access_log::{AccessLog, Line, count, get, of, sum};
use crate::harness::client::{Client, PATIENCE, header};
use crate::harness::sasl::Binding;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::tls::Wish;

/// XEP-0198.
const SM: &str = "urn:xmpp:sm:3";

/// A server that keeps an access log.
fn start(format: &str, settings: &[&str]) -> (Server, AccessLog) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    start_in(folder, format, settings)
}

fn start_in(folder: tempfile::TempDir, format: &str, settings: &[&str]) -> (Server, AccessLog) {
    let path = folder.path().join("access");
    let own = [
        format!("access_log.folder={:?}", path.display().to_string()),
        format!("access_log.format={format}"),
        "node=a-node".to_owned(),
    ];
    let all: Vec<&str> = own
        .iter()
        .map(String::as_str)
        .chain(settings.iter().copied())
        .collect();
    (Server::start_in(folder, &all), AccessLog(path))
}

/// The lines of one connection, by the address of its client.
fn of_port(lines: &[Line], port: &str) -> Vec<Line> {
    let own = lines.iter().filter(|line| get(line, "c-port") == port);
    own.cloned().collect()
}

fn events(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| get(line, "x-event")).collect()
}

#[test]
fn a_session_is_told_from_its_beginning_to_its_end() {
    let (server, log) = start("w3c", &[]);
    let jid = server.new_account("romeo");
    let mut client = Client::login(server.c2s, &format!("{jid}/orchard"), PASSWORD);
    client.send(&format!(
        "<message to='{jid}/orchard' type='chat'><body>o</body></message>"
    ));
    client.wait_for(|it| it.name == "message");
    client.is_alive();
    let port = client.port().to_string();
    client.close();
    let lines = of_port(&log.until_gone(1), &port);
    assert_eq!(
        events(&lines),
        ["connect", "authenticate", "bind", "disconnect"]
    );
    for line in &lines {
        assert_eq!(get(line, "x-node"), "a-node");
        assert_eq!(get(line, "c-ip"), "127.0.0.1");
        assert_eq!(get(line, "s-ip"), "127.0.0.1");
        assert_eq!(get(line, "s-port"), server.c2s.port().to_string());
        assert_eq!(get(line, "x-transport"), "tcp");
        assert_eq!(get(line, "x-connection"), get(&lines[0], "x-connection"));
        assert!(get(line, "time-taken").parse::<f64>().is_ok(), "{line:?}");
    }
    assert_eq!(get(&lines[0], "x-jid"), "-");
    assert_eq!(get(&lines[1], "x-jid"), jid);
    assert_eq!(get(&lines[1], "x-mechanism"), "SCRAM-SHA-1");
    assert_eq!(get(&lines[1], "x-outcome"), "success");
    assert_eq!(get(&lines[2], "x-outcome"), "success");
    assert_eq!(get(&lines[2], "x-resource"), "orchard");
    let last = &lines[3];
    assert_eq!(get(last, "x-jid"), format!("{jid}/orchard"));
    assert_eq!(get(last, "x-session"), get(&lines[2], "x-session"));
    assert_eq!(get(last, "x-reason"), "closed");
    assert_eq!(
        (get(last, "x-stanzas-in"), get(last, "x-stanzas-out")),
        ("2", "2")
    );
    assert!(get(last, "x-queue-max").parse::<u32>().expect("a number") >= 1);
    assert!(get(last, "cs-bytes").parse::<u32>().expect("a number") > 500);
    // By the names of the draft, at the head of the file.
    let text = fs::read_to_string(log.0.join("access.log")).expect("read");
    assert!(
        text.starts_with("#Version: 1.0\n#Software: couplet/"),
        "{text}"
    );
    assert!(
        text.contains("\n#Fields: date time x-node x-event c-ip "),
        "{text}"
    );
}

#[test]
fn tls_is_told_and_so_is_that_there_is_none() {
    let (server, log) = start("json", &[]);
    let wish = Wish::new("montague.lit");
    let jid = server.new_account("romeo");
    let mut direct = Client::connect_tls(server.tls, &wish).expect("a TLS handshake");
    direct.enter(&jid, PASSWORD);
    let direct_port = direct.port().to_string();
    direct.close();
    let mut upgraded = Client::connect(server.c2s);
    upgraded.open("montague.lit");
    let mut upgraded = upgraded.start_tls(&wish);
    upgraded.open("montague.lit");
    upgraded.enter(&jid, PASSWORD);
    let upgraded_port = upgraded.port().to_string();
    upgraded.close();
    let mut garbage = Client::connect(server.tls);
    let garbage_port = garbage.port().to_string();
    garbage.send(&header("montague.lit"));
    garbage.read_to_end();
    let lines = log.until_gone(3);
    for (port, transport) in [(direct_port, "tls"), (upgraded_port, "starttls")] {
        let own = of_port(&lines, &port);
        assert_eq!(
            events(&own),
            ["connect", "authenticate", "bind", "disconnect"]
        );
        assert_eq!(get(&own[3], "x-transport"), transport);
        assert!(get(&own[3], "x-tls").starts_with("TLSv1.3/TLS_"), "{own:?}");
    }
    let own = of_port(&lines, &garbage_port);
    assert_eq!(events(&own), ["connect", "reject", "disconnect"]);
    assert_eq!(get(&own[1], "x-reason"), "tls-failure");
    assert_eq!(get(&own[2], "x-reason"), "tls-failure");
}

#[test]
fn failures_say_who_wanted_what_and_why_not() {
    let (server, log) = start("json", &["limits.auth_failures=10"]);
    let jid = server.new_account("romeo");
    let user = jid.split('@').next().expect("an account");
    let mut client = Client::connect(server.c2s);
    client.open("montague.lit");
    let wrong = client.authenticate("SCRAM-SHA-256", user, "wrong", &Binding::None);
    wrong.expect_err("the password is wrong");
    client.auth("SCRAM-SHA-1", b"nothing of the kind");
    client.auth("PLAIN", b"\0romeo\0secret");
    // What stands in an attribute may be any character of XML.
    client.auth("A \"b\" &#10;2026-11-28 #Fields: &#x202e;&#x9b;31m -", b"x");
    client.auth(&"M".repeat(900), b"x");
    client
        .authenticate("SCRAM-SHA-1", user, PASSWORD, &Binding::None)
        .expect("right");
    client.open("montague.lit");
    client
        .bind(Some(&"x".repeat(1024)))
        .expect_err("no resource");
    let port = client.port().to_string();
    client.close();
    let lines = of_port(&log.until_gone(1), &port);
    let told: Vec<_> = lines[1..lines.len() - 1]
        .iter()
        .map(|line| {
            ["x-event", "x-jid", "x-mechanism", "x-outcome", "x-reason"].map(|name| get(line, name))
        })
        .collect();
    let forging = "A \"b\" \n2026-11-28 #Fields: \u{202e}\u{9b}31m -";
    let long = "M".repeat(64);
    let failed = |jid, mechanism, why| ["authenticate", jid, mechanism, "failure", why];
    let expected = [
        failed(&jid, "SCRAM-SHA-256", "not-authorized"),
        failed("-", "SCRAM-SHA-1", "malformed-request"),
        failed("-", "PLAIN", "encryption-required"),
        failed("-", forging, "invalid-mechanism"),
        failed("-", &long, "invalid-mechanism"),
        ["authenticate", &jid, "SCRAM-SHA-1", "success", "-"],
        ["bind", &jid, "-", "failure", "bad-request"],
    ];
    assert_eq!(told, expected);
    let text = fs::read_to_string(log.0.join("access.log")).expect("read");
    assert_eq!(text.lines().count(), 9);
    assert!(
        !text.contains("swordfish") && !text.contains("secret"),
        "{text}"
    );
}

#[test]
fn hostile_resources_forge_nothing() {
    let (server, log) = start("w3c", &[]);
    let jid = server.new_account("romeo");
    for resource in ["-", "a b \" % #Fields: date", "龍 ромео", "x\u{3164}y"] {
        let mut client = Client::connect(server.c2s);
        client.open("montague.lit");
        client
            .authenticate(
                "SCRAM-SHA-1",
                jid.split('@').next().expect("one"),
                PASSWORD,
                &Binding::None,
            )
            .expect("right");
        client.open("montague.lit");
        // What cannot be a resource is refused; what can be one is told.
        let _ = client.bind(Some(resource));
        client.close();
    }
    let lines = log.until_gone(4);
    let told: Vec<_> = of(&lines, "bind")
        .map(|line| get(line, "x-resource"))
        .collect();
    assert_eq!(
        told[..3],
        ["%2D", "a%20b%20%22%20%25%20%23Fields:%20date", "龍%20ромео"]
    );
    let text = fs::read_to_string(log.0.join("access.log")).expect("read");
    assert_eq!(text.matches("#Fields").count(), 1, "{text}");
    assert!(!text.contains('\u{3164}'), "{text}");
}

#[test]
fn one_too_many_is_rejected() {
    let (server, log) = start("json", &["limits.connections=1"]);
    let mut first = Client::connect(server.c2s);
    first.open("montague.lit");
    let mut second = Client::connect(server.c2s);
    second.read_to_end();
    let port = second.port().to_string();
    let lines = log.until("it is rejected", |lines| count(lines, "reject") == 1);
    let lines = of_port(&lines, &port);
    assert_eq!(events(&lines), ["reject"]);
    assert_eq!(get(&lines[0], "x-reason"), "full");
    assert_eq!(get(&lines[0], "s-port"), server.c2s.port().to_string());
    first.close();
    log.until_gone(1);
}

/// Turns stream management on; the id to resume with.
fn enable(client: &mut Client) -> String {
    client.send(&format!("<enable xmlns='{SM}' resume='true'/>"));
    let enabled = client.wait_for(|it| it.is("enabled", SM));
    enabled.get("id").expect("it can be resumed").to_owned()
}

/// A connection that has authenticated and bound nothing.
fn unbound(server: &Server, jid: &str) -> Client {
    let (user, domain) = jid.split_once('@').expect("an account");
    let mut client = Client::connect(server.c2s);
    client.open(domain);
    client
        .authenticate("SCRAM-SHA-1", user, PASSWORD, &Binding::None)
        .expect("right");
    client.open(domain);
    client
}

#[test]
fn a_session_that_comes_back_is_told_as_one() {
    let (server, log) = start("json", &[]);
    let jid = server.new_account("romeo");
    let mut client = Client::login(server.c2s, &jid, PASSWORD);
    let id = enable(&mut client);
    let own = client.jid.clone();
    client.send(&format!("<message to='{own}' type='chat' id='m'/>"));
    client.wait_for(|it| it.name == "message");
    client.send(&format!("<a xmlns='{SM}' h='1'/>"));
    client.is_alive();
    client.cut();
    log.until("it waits", |lines| count(lines, "hibernate") == 1);
    let mut back = unbound(&server, &jid);
    back.send(&format!("<resume xmlns='{SM}' previd='none' h='0'/>"));
    back.wait_for(|it| it.is("failed", SM));
    back.send(&format!("<resume xmlns='{SM}' previd='{id}' h='1'/>"));
    back.wait_for(|it| it.is("resumed", SM));
    back.is_alive();
    back.close();
    let lines = log.until_gone(2);
    let session = get(of(&lines, "bind").next().expect("bound"), "x-session");
    let told: Vec<_> = lines
        .iter()
        .filter(|line| ["hibernate", "resume", "disconnect"].contains(&get(line, "x-event")))
        .map(|line| ["x-event", "x-jid", "x-session", "x-reason"].map(|name| get(line, name)))
        .collect();
    let (first, last) = (
        told.iter().position(|it| it[0] == "hibernate"),
        told.len() - 1,
    );
    assert_eq!(
        told[first.expect("told")],
        ["hibernate", &own, session, "-"]
    );
    assert!(
        told[..2].contains(&["disconnect", &own, session, "eof"]),
        "{told:?}"
    );
    assert_eq!(told[2], ["resume", &jid, "-", "item-not-found"]);
    assert_eq!(told[3], ["resume", &own, session, "-"]);
    assert_eq!(told[last], ["disconnect", &own, session, "closed"]);
    let ended = of(&lines, "disconnect").next().expect("the first");
    assert!(get(ended, "x-ack-rtt").parse::<u64>().is_ok(), "{ended:?}");
}

/// What a metric says, all its series with these words added up.
fn metric(server: &Server, words: &str) -> u64 {
    let (_, text) = server.http("/metrics").expect("an answer");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.filter(|line| words.split(' ').all(|word| line.contains(word)));
    let values = lines.filter_map(|line| line.rsplit(' ').next());
    values
        .map(|value| value.parse::<u64>().expect("a number"))
        .sum()
}

/// Six sessions of two accounts, two of them over TLS, one that counts what it gets.
fn crowd(server: &Server) -> Vec<Client> {
    let wish = Wish::new("montague.lit");
    let jids = [server.new_account("romeo"), server.new_account("juliet")];
    let session = |number: usize| {
        let jid = &jids[number % 2];
        if number > 1 {
            return Client::login(server.c2s, jid, PASSWORD);
        }
        let mut client = Client::connect_tls(server.tls, &wish).expect("a TLS handshake");
        client.enter(jid, PASSWORD);
        client
    };
    let mut clients: Vec<_> = (0..6).map(session).collect();
    enable(&mut clients[4]);
    clients
}

/// They talk: messages of all sizes, presence, requests nobody can answer.
fn talk(clients: &mut [Client]) {
    for round in 0..20 {
        for index in 0..clients.len() {
            let to = clients[(index + round) % clients.len()].jid.clone();
            let body = "x".repeat(round * 40);
            clients[index].send(&format!(
                "<message to='{to}' type='chat' id='{round}'><body>{body}</body></message>"
            ));
        }
    }
    for client in clients {
        client.send("<presence/><iq type='get' id='x'><broken/></iq>");
        client.is_alive();
    }
}

#[test]
fn what_the_lines_say_is_what_the_metrics_say() {
    let (server, log) = start("w3c", &[]);
    let mut clients = crowd(&server);
    talk(&mut clients);
    // They go in every way there is.
    let mut clients = clients.into_iter();
    let mut next = || clients.next().expect("one more");
    next().close();
    next().cut();
    let mut wrong = next();
    wrong.send("<message><a></b></message>");
    wrong.ends_with("not-well-formed");
    next().cut();
    next().close();
    drop(next());
    let mut never = TcpStream::connect(server.c2s).expect("it listens");
    never.write_all(b"<?xml").expect("sent");
    never.shutdown(Shutdown::Both).expect("open");
    let garbage = TcpStream::connect(server.tls).expect("it listens");
    garbage.shutdown(Shutdown::Both).expect("open");

    let lines = log.until_gone(8);
    let expected = [
        ("couplet_client_bytes_total{direction=\"in\"", "cs-bytes"),
        ("couplet_client_bytes_total{direction=\"out\"", "sc-bytes"),
        (
            "couplet_client_stanzas_total direction=\"in\"",
            "x-stanzas-in",
        ),
        (
            "couplet_client_stanzas_total direction=\"out\"",
            "x-stanzas-out",
        ),
    ];
    for (name, field) in expected {
        let told = sum(&lines, "disconnect", field);
        assert!(told > 120, "{field}: {told}");
        assert_eq!(told, metric(&server, name), "{field}");
    }
    let metric = |words| metric(&server, words);
    assert_eq!(metric("couplet_connections_accepted_total"), 8);
    assert_eq!(metric("couplet_logins_total outcome=\"success\""), 6);
    assert_eq!(count(&lines, "authenticate"), 6);
    assert_eq!(metric("couplet_access_log_lines_total"), lines.len() as u64);
    assert_eq!(metric("couplet_access_log_errors_total"), 0);
    assert_eq!(metric("couplet_access_log_lines_dropped_total"), 0);
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew_on_sighup() {
    let (server, log) = start("w3c", &[]);
    Client::connect(server.c2s).cut();
    log.until_gone(1);
    let (current, moved) = (log.0.join("access.log"), log.0.join("access.log.1"));
    fs::rename(&current, &moved).expect("renamed");
    Client::connect(server.c2s).cut();
    log.until_gone(2);
    assert!(!current.exists(), "until it is told, the server writes on");
    server.signal("HUP");
    log.until("there is another file", |_| current.exists());
    Client::connect(server.c2s).cut();
    log.until_gone(3);
    let text = |path| fs::read_to_string(path).expect("read");
    for (path, lines) in [(&moved, 8), (&current, 6)] {
        let text = text(path);
        assert!(text.starts_with("#Version: 1.0\n"), "{text}");
        assert_eq!(text.lines().count(), lines, "{text}");
    }
}

#[test]
fn a_full_disk_stops_the_log_and_not_the_service() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let access = folder.path().join("access");
    fs::create_dir(&access).expect("a folder");
    // A file on a disk that is always full.
    symlink("/dev/full", access.join("access.log")).expect("a link");
    let (server, log) = start_in(folder, "json", &[]);
    let counted = |name: &str| {
        let (_, text) = server.http("/metrics").expect("an answer");
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.map_or(0, |value| value.parse::<u64>().expect("a number"))
    };
    let dropped = "couplet_access_log_lines_dropped_total{reason=\"error\"}";
    let deadline = std::time::Instant::now() + PATIENCE;
    while counted(dropped) < 4 {
        assert!(std::time::Instant::now() < deadline, "nothing is dropped");
        server.new_client("romeo").is_alive();
    }
    assert!(counted("couplet_access_log_errors_total") >= 1);
    assert_eq!(counted("couplet_access_log_lines_total"), 0);
    let said = server
        .log()
        .matches("the access log cannot be written")
        .count();
    assert_eq!(said, 1, "{}", server.log());
    // There is room again, and nobody has to do anything.
    fs::remove_file(log.0.join("access.log")).expect("removed");
    while count(&log.lines(), "bind") == 0 {
        assert!(
            std::time::Instant::now() < deadline + PATIENCE,
            "it does not recover"
        );
        server.new_client("romeo").close();
    }
    assert!(
        server.log().contains("the access log is written again"),
        "{}",
        server.log()
    );
}

#[test]
fn the_end_of_the_server_is_told_to_the_last_line() {
    let (mut server, log) = start("json", &[]);
    log.until("it has started", |_| {
        server.log().contains("no accounts yet")
    });
    let mut clients: Vec<_> = (0..50).map(|_| Client::connect(server.c2s)).collect();
    for client in &mut clients {
        client.open("montague.lit");
    }
    server.signal("TERM");
    for client in &mut clients {
        client.ends_with("system-shutdown");
    }
    drop(clients);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    let lines = log.lines();
    assert_eq!(count(&lines, "connect"), 50);
    let ends = of(&lines, "disconnect").map(|line| get(line, "x-reason"));
    assert_eq!(ends.collect::<Vec<_>>(), ["system-shutdown"; 50]);
    let drain: Vec<_> = of(&lines, "drain")
        .map(|line| (get(line, "x-outcome"), get(line, "x-count")))
        .collect();
    assert_eq!(drain, [("begun", "50"), ("done", "0")]);
    assert_eq!(get(lines.last().expect("one"), "x-event"), "drain");
}
