//! What operators order while the server runs: sessions kicked, bans, domains.

use std::net::{IpAddr, SocketAddr};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::client::{Client, PATIENCE, header, unique};
use crate::harness::reading::Incoming;
use crate::harness::sasl::Binding;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::tree::Tree;

impl Server {
    /// Has `couplet ctl` do something; what it says.
    fn order(&self, words: &[&str]) -> String {
        let output = self.ctl(words, "");
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Has it do something that is refused; why.
    fn is_refused(&self, words: &[&str]) -> String {
        let output = self.ctl(words, "");
        assert_eq!(
            output.status.code(),
            Some(1),
            "{words:?}: {}",
            said(&output)
        );
        String::from_utf8(output.stderr).expect("UTF-8")
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn from(host: &str) -> IpAddr {
    host.parse().expect("an address")
}

/// Whether somebody at this address of the machine is let in.
fn is_let_in(host: &str, to: SocketAddr) -> bool {
    let mut client = Client::connect_from(from(host), to);
    let opened = client.send_bytes(header("montague.lit").as_bytes());
    // What is closed at once cannot even be written to, or answers nothing.
    opened.is_ok() && !matches!(client.incoming(), Incoming::Eof)
}

/// Why a login is refused.
fn refusal(server: &Server, jid: &str, password: &str) -> String {
    let (user, domain) = jid.split_once('@').expect("an account");
    let mut client = Client::connect(server.c2s);
    client.open(domain);
    let refused = client.authenticate("SCRAM-SHA-1", user, password, &Binding::None);
    refused.expect_err("refused").to_string()
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "no {what} in time");
        thread::park_timeout(Duration::from_millis(50));
    }
}

/// Enables stream management; by what the session is resumed.
fn enable(client: &mut Client) -> String {
    client.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    let enabled = client.wait_for(|tree| tree.is("enabled", "urn:xmpp:sm:3"));
    enabled.get("id").expect("an id").to_owned()
}

#[test]
fn a_kicked_session_is_told_and_cannot_be_resumed() {
    let server = Server::start(&[]);
    let jid = server.new_account("juliet");
    let mut phone = Client::login(server.c2s, &format!("{jid}/phone"), PASSWORD);
    let mut desk = Client::login(server.c2s, &format!("{jid}/desk"), PASSWORD);
    let id = enable(&mut phone);
    let told = server.order(&["kick", &format!("{jid}/phone"), "--reason", "a test"]);
    assert_eq!(told, "1 session ended\n");
    phone.ends_with("policy-violation");
    desk.is_alive();

    let mut again = Client::connect(server.c2s);
    let (user, domain) = jid.split_once('@').expect("an account");
    again.open(domain);
    let entered = again.authenticate("SCRAM-SHA-1", user, PASSWORD, &Binding::None);
    entered.expect("let in");
    again.open(domain);
    again.send(&format!(
        "<resume xmlns='urn:xmpp:sm:3' h='0' previd='{id}'/>"
    ));
    let failed = again.next();
    assert!(failed.is("failed", "urn:xmpp:sm:3"), "{failed}");
    again.bind(Some("phone")).expect("bound");

    let told: Value = serde_json::from_str(&server.order(&["--json", "kick", &jid])).expect("JSON");
    assert_eq!(told["ended"], 2);
    again.ends_with("policy-violation");
    desk.ends_with("policy-violation");
    assert_eq!(server.order(&["kick", &jid]), "0 sessions ended\n");
    let why = server.is_refused(&["kick", "a@b@c"]);
    assert!(why.contains("is not an address"), "{why}");
}

#[test]
fn what_waits_for_a_sleeping_session_that_is_kicked_is_not_lost() {
    let server = Server::start(&[]);
    let jid = server.new_account("juliet");
    let mut juliet = Client::login(server.c2s, &format!("{jid}/phone"), PASSWORD);
    enable(&mut juliet);
    juliet.send("<presence/>");
    juliet.ping(&jid);
    juliet.cut();
    eventually("sleep", || {
        server.order(&["sessions", &jid]).contains("asleep")
    });
    let mut romeo = server.new_client("romeo");
    romeo.send(&format!(
        "<message to='{jid}/phone' type='chat' id='waits'><body>hi</body></message>"
    ));
    romeo.is_alive();
    assert_eq!(server.order(&["kick", &jid]), "1 session ended\n");
    let mut again = Client::login(server.c2s, &jid, PASSWORD);
    again.send("<presence/>");
    let is_hers = |tree: &Tree| tree.get("id") == Some("waits");
    again.wait_for(is_hers);
}

#[test]
fn all_of_a_domain_are_kicked_and_nobody_else() {
    let server = Server::start(&[]);
    let mut stays = server.new_client("romeo");
    let mut all: Vec<Client> = (0..20)
        .map(|_| {
            let jid = format!("{}@capulet.lit", unique("tybalt"));
            server.add_account(&jid, PASSWORD);
            Client::login(server.c2s, &jid, PASSWORD)
        })
        .collect();
    let told = server.order(&["kick", "capulet.lit"]);
    assert_eq!(told, "20 sessions ended\n");
    for client in &mut all {
        client.ends_with("policy-violation");
    }
    stays.is_alive();
}

#[test]
fn a_banned_address_is_put_out_and_stays_out_until_it_is_let_in() {
    let logs = tempfile::tempdir().expect("a folder");
    let folder = format!("access_log.folder={:?}", logs.path().display().to_string());
    let mut server = Server::start(&[&folder, "access_log.format=\"json\""]);
    let jid = server.new_account("tybalt");
    let mut tybalt = Client::connect_from(from("127.0.0.66"), server.c2s);
    tybalt.enter(&jid, PASSWORD);
    let mut romeo = Client::connect_from(from("127.0.0.7"), server.c2s);
    romeo.enter(&server.new_account("romeo"), PASSWORD);

    let words = [
        "ban",
        "add",
        "127.0.0.66",
        "--reason",
        "duels",
        "--for",
        "1d",
    ];
    let told = server.order(&words);
    assert!(told.starts_with("banned 127.0.0.66 until "), "{told}");
    tybalt.ends_with("policy-violation");
    assert!(!is_let_in("127.0.0.66", server.c2s));
    assert!(!is_let_in("127.0.0.66", server.tls));
    romeo.is_alive();
    assert!(is_let_in("127.0.0.7", server.c2s));
    let (_, metrics) = server.http("/metrics").expect("an answer");
    let refused = "couplet_connections_refused_total{reason=\"banned\"} 2";
    assert!(metrics.contains(refused), "{metrics}");
    assert!(metrics.contains("couplet_connections_ended_banned_total 1"));
    assert!(metrics.contains("couplet_origin_bans{kind=\"network\"} 1"));

    eventually("line in the access log", || {
        let text = std::fs::read_to_string(logs.path().join("access.log"));
        let text = text.unwrap_or_default();
        text.lines()
            .filter(|line| line.contains("\"banned\"") && line.contains("127.0.0.66"))
            .count()
            == 2
    });

    // Also the next process.
    server.kill();
    server.run();
    assert!(!is_let_in("127.0.0.66", server.c2s));
    let listed = server.order(&["ban", "list"]);
    assert!(
        listed.contains("127.0.0.66") && listed.contains("duels"),
        "{listed}"
    );

    server.order(&["ban", "add", "127.0.0.64/26"]);
    server.order(&["ban", "remove", "127.0.0.66"]);
    assert!(!is_let_in("127.0.0.66", server.c2s));
    assert!(!is_let_in("127.0.0.127", server.c2s));
    assert!(is_let_in("127.0.0.128", server.c2s));
    server.order(&["ban", "remove", "127.0.0.64/26"]);
    assert!(is_let_in("127.0.0.66", server.c2s));
    let why = server.is_refused(&["ban", "remove", "127.0.0.66"]);
    assert!(why.contains("127.0.0.66 is not banned"), "{why}");
}

#[test]
fn an_operator_cannot_lock_himself_out() {
    let server = Server::start(&[]);
    server.order(&["ban", "add", "127.0.0.0/8"]);
    assert!(!is_let_in("127.0.0.1", server.c2s));
    assert_eq!(server.http("/readyz").expect("an answer").0, 200);
    let listed = server.order(&["ban", "list"]);
    assert!(listed.contains("127.0.0.0/8"), "{listed}");
    server.order(&["ban", "remove", "127.0.0.0/8"]);
    // This machine is meant only by its own addresses.
    server.order(&["ban", "add", "64.0.0.0/2"]);
    assert!(is_let_in("127.0.0.1", server.c2s));
    let why = server.is_refused(&["ban", "add", "0.0.0.0/0"]);
    assert!(why.contains("would keep everybody out"), "{why}");
}

#[test]
fn a_ban_ends_by_itself() {
    let server = Server::start(&[]);
    let jid = server.new_account("romeo");
    server.order(&["ban", "add", "127.0.0.66", "--for", "8"]);
    server.order(&["ban", "add", &jid, "--for", "8s"]);
    assert!(!is_let_in("127.0.0.66", server.c2s));
    assert!(refusal(&server, &jid, PASSWORD).contains("account-disabled"));
    eventually("end of the ban", || is_let_in("127.0.0.66", server.c2s));
    // It was ordered later, and ends later.
    eventually("end of the other", || {
        let (user, domain) = jid.split_once('@').expect("an account");
        let mut client = Client::connect(server.c2s);
        client.open(domain);
        let done = client.authenticate("SCRAM-SHA-1", user, PASSWORD, &Binding::None);
        done.is_ok()
    });
    eventually("end of the list", || {
        server.order(&["ban", "list"]).lines().count() == 1
    });
}

#[test]
fn a_banned_account_is_put_out_and_only_its_owner_is_told() {
    let mut server = Server::start(&["registration.open=true"]);
    let jid = server.new_account("tybalt");
    let mut awake = Client::login(server.c2s, &format!("{jid}/awake"), PASSWORD);
    let mut asleep = Client::login(server.c2s, &format!("{jid}/asleep"), PASSWORD);
    enable(&mut asleep);
    asleep.cut();
    eventually("sleep", || {
        server.order(&["sessions", &jid]).contains("asleep")
    });
    server.order(&["ban", "add", &jid.to_uppercase()]);
    awake.ends_with("policy-violation");
    eventually("end of all sessions", || {
        server.order(&["sessions", &jid]).lines().count() == 1
    });
    for _ in 0..2 {
        assert!(refusal(&server, &jid, PASSWORD).contains("account-disabled"));
        assert!(refusal(&server, &jid, "wrong").contains("not-authorized"));
        server.kill();
        server.run();
    }
    let mut stranger = Client::connect(server.c2s);
    stranger.open("montague.lit");
    let (user, _) = jid.split_once('@').expect("an account");
    server.order(&["account", "remove", &jid]);
    let answer = stranger.ask(
        "reg",
        &format!(
            "<iq type='set' id='reg'><query xmlns='jabber:iq:register'>\
             <username>{user}</username><password>x</password></query></iq>"
        ),
    );
    assert_eq!(answer.condition(), Some("conflict"), "{answer}");
    let why = server.is_refused(&["ban", "add", "romeo@elsewhere.example"]);
    assert!(why.contains("elsewhere.example is not a domain"), "{why}");
}

#[test]
fn there_is_room_for_so_many_bans() {
    let server = Server::start(&["limits.bans=2"]);
    server.order(&["ban", "add", "192.0.2.1"]);
    server.order(&["ban", "add", "192.0.2.2"]);
    let why = server.is_refused(&["ban", "add", "192.0.2.3"]);
    assert!(why.contains("limits.bans"), "{why}");
    server.order(&["ban", "add", "192.0.2.2", "--reason", "anew"]);
}

#[test]
fn a_domain_is_added_used_and_removed_while_the_server_runs() {
    let mut server = Server::start(&["registration.open=true"]);
    let mut stranger = Client::connect(server.c2s);
    stranger.send(&header("mantua.lit"));
    stranger.ends_with("host-unknown");
    server.order(&["domain", "add", "Mantua.lit"]);
    server.add_account("romeo@mantua.lit", PASSWORD);
    let mut romeo = Client::login(server.c2s, "romeo@mantua.lit/exile", PASSWORD);
    let mut juliet = server.new_client("juliet");
    juliet
        .send("<message to='romeo@mantua.lit/exile' type='chat' id='m1'><body>hi</body></message>");
    romeo.wait_for(|tree| tree.get("id") == Some("m1"));
    let items = romeo.ask(
        "d",
        "<iq type='get' id='d' to='mantua.lit'>\
         <query xmlns='http://jabber.org/protocol/disco#items'/></iq>",
    );
    assert!(
        items.to_string().contains("conference.mantua.lit"),
        "{items}"
    );
    romeo.send(
        "<presence id='in' to='cell@conference.mantua.lit/romeo'>\
         <x xmlns='http://jabber.org/protocol/muc'/></presence>",
    );
    romeo.wait_for(|tree| {
        tree.get("from") == Some("cell@conference.mantua.lit/romeo") && tree.get("type").is_none()
    });
    let mut new = Client::connect(server.c2s);
    new.open("mantua.lit");
    let answer = new.ask(
        "reg",
        "<iq type='set' id='reg'><query xmlns='jabber:iq:register'>\
         <username>apothecary</username><password>x</password></query></iq>",
    );
    assert_eq!(answer.get("type"), Some("result"), "{answer}");

    // Also the next process.
    romeo.cut();
    server.kill();
    server.run();
    let listed = server.order(&["domain", "list"]);
    let line = listed.lines().find(|line| line.starts_with("mantua.lit"));
    assert!(line.is_some_and(|line| line.ends_with("added")), "{listed}");
    let mut romeo = Client::login(server.c2s, "romeo@mantua.lit", PASSWORD);

    let why = server.is_refused(&["domain", "add", "mantua.lit"]);
    assert!(why.contains("is served already"), "{why}");
    let why = server.is_refused(&["domain", "add", "conference.mantua.lit"]);
    assert!(why.contains("a domain of rooms"), "{why}");
    let why = server.is_refused(&["domain", "remove", "montague.lit", "--accounts"]);
    assert!(why.contains("in the configuration"), "{why}");
    let why = server.is_refused(&["domain", "remove", "padua.lit"]);
    assert!(why.contains("was not added"), "{why}");
    let why = server.is_refused(&["domain", "remove", "mantua.lit"]);
    assert!(why.contains("has accounts, apothecary@mantua.lit"), "{why}");
    romeo.is_alive();

    server.order(&["domain", "remove", "mantua.lit", "--force"]);
    romeo.ends_with("host-gone");
    let mut stranger = Client::connect(server.c2s);
    stranger.send(&header("mantua.lit"));
    stranger.ends_with("host-unknown");
    // The accounts are where they were.
    server.order(&["domain", "add", "mantua.lit"]);
    let mut romeo = Client::login(server.c2s, "romeo@mantua.lit", PASSWORD);
    server.order(&["domain", "remove", "mantua.lit", "--accounts"]);
    let error = romeo.read_to_end().expect("a stream error");
    assert_eq!(error.condition(), Some("not-authorized"), "{error}");
    server.order(&["domain", "add", "mantua.lit"]);
    assert!(refusal(&server, "romeo@mantua.lit", PASSWORD).contains("not-authorized"));
    server.order(&["domain", "remove", "mantua.lit"]);
}
