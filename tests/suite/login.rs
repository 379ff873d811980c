//! Logging in: every mechanism, every binding, every refusal (RFC 6120 §5-§7).

use crate::harness::client::{Client, unique};
use crate::harness::sasl::{self, Binding};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::tls::{self, Version, Wish};

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// Every way to an open stream over TLS.
fn encrypted(server: &Server) -> Vec<(String, Client)> {
    let mut ways = Vec::new();
    for version in [Version::Tls12, Version::Tls13] {
        let wish = Wish {
            version,
            ..Wish::new("montague.lit")
        };
        let direct = Client::connect_tls(server.tls, &wish).expect("a TLS handshake");
        ways.push((format!("direct {version:?}"), direct));
        let mut client = Client::connect(server.c2s);
        client.open("montague.lit");
        ways.push((format!("STARTTLS {version:?}"), client.start_tls(&wish)));
    }
    for (_, client) in &mut ways {
        client.open("montague.lit");
    }
    ways
}

fn user(jid: &str) -> &str {
    jid.split('@').next().expect("an account")
}

fn open(server: &Server) -> Client {
    let mut client = Client::connect(server.c2s);
    client.open("montague.lit");
    client
}

fn secret(server: &Server) -> Client {
    encrypted(server).pop().expect("four of them").1
}

/// Binds, and shows that the session is the account's.
fn works(mut client: Client, jid: &str) {
    client.open("montague.lit");
    client.bind(None).expect("a resource");
    assert_eq!(client.bare(), jid);
    client.is_alive();
    client.close();
}

#[test]
fn without_tls_no_password_is_asked_for() {
    let server = Server::shared();
    let mut client = open(server);
    assert_eq!(client.mechanisms(), ["SCRAM-SHA-256", "SCRAM-SHA-1"]);
    assert!(client.features.child("starttls").is_some());
    let failure = client.auth("PLAIN", b"\0romeo\0swordfish");
    assert_eq!(
        failure.condition(),
        Some("encryption-required"),
        "{failure}"
    );
    let failure = client.auth("SCRAM-SHA-1-PLUS", b"p=tls-exporter,,n=a,r=b");
    assert!(failure.is("failure", SASL), "{failure}");
}

#[test]
fn with_tls_everything_is_offered_and_bindings_are_named() {
    for (way, client) in encrypted(Server::shared()) {
        let all = [
            "SCRAM-SHA-256-PLUS",
            "SCRAM-SHA-1-PLUS",
            "SCRAM-SHA-256",
            "SCRAM-SHA-1",
            "PLAIN",
        ];
        assert_eq!(client.mechanisms(), all, "{way}");
        let features = &client.features;
        assert!(features.child("starttls").is_none(), "{way}: {features}");
        // XEP-0440 §3.
        let bindings = features.child("sasl-channel-binding").expect("XEP-0440");
        assert_eq!(bindings.ns, "urn:xmpp:sasl-cb:0");
        let types: Vec<&str> = bindings
            .children
            .iter()
            .filter_map(|it| it.get("type"))
            .collect();
        // RFC 9266 §2: in TLS 1.2 the exporter binds only with an extension one cannot see here.
        let known = ["tls-exporter", "tls-server-end-point"];
        let from = usize::from(way.ends_with("Tls12"));
        assert_eq!(types, known[from..], "{way}");
    }
}

#[test]
fn every_mechanism_logs_in() {
    let server = Server::shared();
    let jid = server.new_account("romeo");
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-1"] {
        for binding in [Binding::None, Binding::NotOffered] {
            let mut client = open(server);
            let login = client.authenticate(mechanism, user(&jid), PASSWORD, &binding);
            login.expect("without TLS nothing can be bound");
            works(client, &jid);
        }
    }
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1"] {
        for (way, mut client) in encrypted(server) {
            let login = client.authenticate(mechanism, user(&jid), PASSWORD, &Binding::None);
            login.unwrap_or_else(|failure| panic!("{mechanism}, {way}: {failure}"));
            works(client, &jid);
        }
    }
}

#[test]
fn what_is_bound_is_checked_over_both_versions_of_tls() {
    let server = Server::shared();
    let jid = server.new_account("romeo");
    type Bind = fn(&tls::Stream) -> Binding;
    let bindings: [Bind; 2] = [tls::exporter, tls::end_point];
    for mechanism in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"] {
        for bind in bindings {
            for (way, mut client) in encrypted(server) {
                let binding = bind(client.tls());
                let offered = client.features.child("sasl-channel-binding");
                let is_offered = offered.is_some_and(|list| {
                    let mut types = list.children.iter().filter_map(|it| it.get("type"));
                    types.any(|it| matches!(&binding, Binding::Bound(name, _) if *name == it))
                });
                if !is_offered {
                    let login = client.authenticate(mechanism, user(&jid), PASSWORD, &binding);
                    login.expect_err("what is not offered is refused");
                    continue;
                }
                let login = client.authenticate(mechanism, user(&jid), PASSWORD, &binding);
                login
                    .unwrap_or_else(|failure| panic!("{mechanism}, {way}, {binding:?}: {failure}"));
                works(client, &jid);
            }
        }
    }
}

#[test]
fn a_server_that_is_asked_to_begin_does() {
    // RFC 6120 §6.4.2: without an initial response the server sends an empty challenge.
    let server = Server::shared();
    let jid = server.new_account("romeo");
    let mut client = secret(server);
    client.send(&format!("<auth xmlns='{SASL}' mechanism='PLAIN'/>"));
    let challenge = client.next();
    assert_eq!(
        (challenge.name.as_str(), challenge.text.as_str()),
        ("challenge", "")
    );
    let plain = sasl::encode(format!("\0{}\0{PASSWORD}", user(&jid)).as_bytes());
    client.send(&format!("<response xmlns='{SASL}'>{plain}</response>"));
    assert_eq!(client.next().name, "success");
    works(client, &jid);
}

#[test]
fn names_and_passwords_are_prepared() {
    // RFC 5802 §5.1, RFC 6120 §6.3: the account is found whatever the case of its name; commas
    // and equals signs of a name are escaped.
    let server = Server::shared();
    let jid = format!("{}@montague.lit", unique("a=b,c"));
    server.add_account(&jid, "Tr\u{e4}ne ,=");
    for name in [user(&jid).to_owned(), user(&jid).to_uppercase()] {
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-1"] {
            let mut client = open(server);
            let password = "Tr\u{e4}ne ,=";
            let login = client.authenticate(mechanism, &name, password, &Binding::None);
            login.unwrap_or_else(|failure| panic!("{mechanism}, {name}: {failure}"));
            works(client, &jid);
        }
    }
}

#[test]
fn refusals_name_their_reason_and_leave_the_stream_open() {
    let server = Server::shared();
    let jid = server.new_account("romeo");
    let raw = |mechanism: &str, text: &str| {
        format!("<auth xmlns='{SASL}' mechanism='{mechanism}'>{text}</auth>")
    };
    let encoded = |text: &str| sasl::encode(text.as_bytes());
    let table = [
        (raw("X-UNKNOWN", "="), "invalid-mechanism"),
        (raw("", "="), "invalid-mechanism"),
        (raw("PLAIN", "?!"), "incorrect-encoding"),
        (raw("PLAIN", "AGE"), "incorrect-encoding"),
        (raw("PLAIN", &encoded("no separators")), "malformed-request"),
        (raw("SCRAM-SHA-1", &encoded("n,,x")), "malformed-request"),
        (
            raw("SCRAM-SHA-1", &encoded("z,,n=a,r=b")),
            "malformed-request",
        ),
        (
            raw("SCRAM-SHA-1", &encoded("n,,m=x,n=a,r=b")),
            "malformed-request",
        ),
        (format!("<abort xmlns='{SASL}'/>"), "aborted"),
    ];
    for (sent, condition) in table {
        let mut client = secret(server);
        client.send(&sent);
        let failure = client.next();
        assert!(failure.is("failure", SASL), "{sent}: {failure}");
        assert_eq!(failure.condition(), Some(condition), "{sent}");
        let login = client.authenticate("PLAIN", user(&jid), PASSWORD, &Binding::None);
        login.expect("a second attempt on the same stream");
        works(client, &jid);
    }
}

#[test]
fn an_exchange_can_be_given_up() {
    let server = Server::shared();
    let jid = server.new_account("romeo");
    let mut client = open(server);
    let first = format!("n,,n={},r=abcdefgh", user(&jid));
    assert_eq!(
        client.auth("SCRAM-SHA-256", first.as_bytes()).name,
        "challenge"
    );
    client.send(&format!("<abort xmlns='{SASL}'/>"));
    assert_eq!(client.next().condition(), Some("aborted"));
    let login = client.authenticate("SCRAM-SHA-256", user(&jid), PASSWORD, &Binding::None);
    login.expect("a second attempt on the same stream");
}

/// What the server tells somebody who begins SCRAM as `user`: salt and iterations.
fn challenge(server: &Server, mechanism: &str, user: &str) -> (String, String) {
    let first = format!("n,,n={user},r=abcdefgh");
    let challenge = open(server).auth(mechanism, first.as_bytes());
    let text = sasl::decode(&challenge.text);
    let mut parts = text.split(',').skip(1).map(str::to_owned);
    let salt = parts.next().expect("a salt");
    (salt, parts.next().expect("a count"))
}

#[test]
fn nobody_looks_like_somebody_with_another_password() {
    let server = &Server::start(&["limits.auth_failures_per_minute=1000"]);
    let jid = server.new_account("romeo");
    let nobody = unique("nobody");
    let other = unique("nobody");
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-1"] {
        let known = challenge(server, mechanism, user(&jid));
        let unknown = challenge(server, mechanism, &nobody);
        // As long as a real one, the same when asked again, another for another name.
        assert_eq!(known.0.len(), unknown.0.len());
        assert_eq!(known.1, unknown.1);
        assert_eq!(unknown, challenge(server, mechanism, &nobody));
        assert_ne!(unknown.0, challenge(server, mechanism, &other).0);
        let failure = |name: &str| {
            let mut client = open(server);
            let login = client.authenticate(mechanism, name, "wrong", &Binding::None);
            login.expect_err("the password is wrong").to_string()
        };
        assert_eq!(failure(user(&jid)), failure(&nobody));
        assert!(failure(&nobody).contains("not-authorized"));
    }
    let failure = |name: &str| {
        let mut client = secret(server);
        let login = client.authenticate("PLAIN", name, "wrong", &Binding::None);
        login.expect_err("the password is wrong").to_string()
    };
    assert_eq!(failure(user(&jid)), failure(&nobody));
    // A name that cannot be one is no different.
    assert_eq!(failure("a b"), failure(&nobody));
}

#[test]
fn the_salt_of_nobody_outlives_a_restart() {
    let mut server = Server::start(&[]);
    let before = challenge(&server, "SCRAM-SHA-256", "nobody");
    server.kill();
    server.run();
    assert_eq!(before, challenge(&server, "SCRAM-SHA-256", "nobody"));
}

#[test]
fn an_account_without_a_subscription_looks_like_none() {
    // XEP-0030 §8, RFC 6121 §8.5.1: who may not see that somebody is there does not.
    let server = Server::shared();
    let mut hidden = server.new_client("juliet");
    hidden.send("<presence/>");
    hidden.is_alive();
    let mut stranger = server.new_client("paris");
    let nobody = format!("{}@montague.lit", unique("nobody"));
    let somebody = hidden.bare().to_owned();
    for (type_, payload) in [
        (
            "get",
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        ),
        (
            "get",
            "<query xmlns='http://jabber.org/protocol/disco#items'/>",
        ),
        ("get", "<query xmlns='jabber:iq:version'/>"),
        ("get", "<vCard xmlns='vcard-temp'/>"),
        ("get", "<time xmlns='urn:xmpp:time'/>"),
        ("get", "<unknown xmlns='urn:example'/>"),
        ("set", "<unknown xmlns='urn:example'/>"),
    ] {
        let mut ask = |to: &str| {
            let id = unique("q");
            let stanza = format!("<iq type='{type_}' id='{id}' to='{to}'>{payload}</iq>");
            let answer = stranger.ask(&id, &stanza);
            answer.to_string().replace(&id, "ID").replace(to, "TO")
        };
        assert_eq!(ask(&nobody), ask(&somebody), "{payload}");
        let resource = format!("{somebody}/nowhere");
        assert_eq!(
            ask(&format!("{nobody}/nowhere")),
            ask(&resource),
            "{payload}"
        );
    }
}

#[test]
fn a_stream_says_who_it_is() {
    // RFC 6120 §4.7: from, id, version and language of the answer.
    let server = Server::shared();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(server.c2s);
        let header = client.open("montague.lit");
        assert_eq!(header.get("from"), Some("montague.lit"));
        assert_eq!(header.get("version"), Some("1.0"));
        assert!(header.get("xml:lang").is_some(), "{header}");
        ids.push(header.get("id").expect("an id").to_owned());
        client.send("</stream:stream>");
        assert_eq!(client.read_to_end(), None);
        assert!(client.transcript().ends_with("</stream:stream>"));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[test]
fn after_login_a_stream_offers_a_resource_and_more() {
    let server = Server::shared();
    let jid = server.new_account("romeo");
    let mut client = open(server);
    let login = client.authenticate("SCRAM-SHA-256", user(&jid), PASSWORD, &Binding::None);
    login.expect("the password is right");
    client.open("montague.lit");
    let has = |name: &str, ns: &str| {
        let found = client.features.children.iter().find(|it| it.is(name, ns));
        assert!(found.is_some(), "no {name} in {}", client.features);
        found.cloned()
    };
    has("bind", "urn:ietf:params:xml:ns:xmpp-bind");
    has("ver", "urn:xmpp:features:rosterver");
    has("sub", "urn:xmpp:features:pre-approval");
    let limits = has("limits", "urn:xmpp:stream-limits:0").expect("XEP-0478");
    assert_eq!(
        limits.child("max-bytes").map(|it| it.text.as_str()),
        Some("262144")
    );
    assert!(client.mechanisms().is_empty());
    // XEP-0115 §6.3: the server's own capabilities.
    let caps = has("c", "http://jabber.org/protocol/caps").expect("XEP-0115");
    assert_eq!(caps.get("hash"), Some("sha-1"));
}
