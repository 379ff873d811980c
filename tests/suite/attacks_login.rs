//! Attacks on logging in: being somebody else, being two, and being nobody yet.

use crate::harness::attack::{STRANGER, before_login, first_bytes, under_attack, unharmed};
use crate::harness::client::{Client, header};
use crate::harness::sasl::{self, Binding, Scram};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::tls::{self, Version, Wish};
use crate::harness::tree::Tree;

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// An open stream over TLS.
fn encrypted(server: &Server) -> Client {
    let wish = Wish::new("montague.lit");
    let mut client = Client::connect_tls(server.tls, &wish).expect("a TLS handshake");
    client.open("montague.lit");
    client
}

fn user(jid: &str) -> &str {
    jid.split('@').next().expect("an account")
}

/// Sends an element that must not be understood as a step towards a session.
fn ends(mut client: Client, bytes: &str, conditions: &[&str]) {
    let _ = client.send_bytes(bytes.as_bytes());
    let error = client.read_to_end();
    let condition = error.as_ref().and_then(Tree::condition);
    assert!(
        condition.is_some_and(|it| conditions.contains(&it)),
        "{bytes}: {}",
        client.transcript()
    );
}

#[test]
fn b01_nobody_acts_for_somebody_else() {
    under_attack(4, STRANGER, |server| {
        let romeo = server.new_account("romeo");
        let juliet = server.new_account("juliet");
        let plain = |authzid: &str| format!("{authzid}\0{}\0{PASSWORD}", user(&romeo));
        for authzid in [juliet.as_str(), "montague.lit", "romeo@capulet.lit", "@"] {
            let mut client = encrypted(server);
            let failure = client.auth("PLAIN", plain(authzid).as_bytes());
            assert!(failure.is("failure", SASL), "{failure}");
            assert_eq!(failure.condition(), Some("invalid-authzid"));
        }
        // In SCRAM too.
        let mut client = encrypted(server);
        let first = format!("n,a={juliet},n={},r=abcdefgh", user(&romeo));
        let failure = client.auth("SCRAM-SHA-256", first.as_bytes());
        assert_eq!(failure.condition(), Some("invalid-authzid"), "{failure}");
        // For oneself it is allowed, and the session is one's own.
        let mut client = encrypted(server);
        let success = client.auth("PLAIN", plain(&romeo).as_bytes());
        assert!(success.is("success", SASL), "{success}");
        client.open("montague.lit");
        client.bind(Some("x")).expect("a resource");
        assert_eq!(client.bare(), romeo);
    });
}

#[test]
fn b02_one_exchange_at_a_time() {
    under_attack(6, STRANGER, |server| {
        let romeo = server.new_account("romeo");
        let juliet = server.new_account("juliet");
        let first = |jid: &str| sasl::encode(format!("n,,n={},r=abcdefgh", user(jid)).as_bytes());
        let auth = |jid: &str| {
            format!(
                "<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{}</auth>",
                first(jid)
            )
        };
        // A second exchange inside the first.
        let mut client = encrypted(server);
        client.send(&auth(&romeo));
        assert_eq!(client.next().name, "challenge");
        ends(client, &auth(&juliet), &["policy-violation"]);
        // Both at once.
        let mut client = encrypted(server);
        client.send(&format!("{}{}", auth(&romeo), auth(&juliet)));
        let error = client.read_to_end();
        assert_eq!(
            error.as_ref().and_then(Tree::condition),
            Some("policy-violation")
        );
        // Another protocol inside.
        let mut client = encrypted(server);
        client.send(&auth(&romeo));
        assert_eq!(client.next().name, "challenge");
        let other = "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>";
        ends(
            client,
            other,
            &["policy-violation", "unsupported-stanza-type"],
        );
    });
}

#[test]
fn b02_nobody_logs_in_twice() {
    under_attack(4, STRANGER, |server| {
        let romeo = server.new_account("romeo");
        let juliet = server.new_account("juliet");
        let again = format!(
            "<auth xmlns='{SASL}' mechanism='PLAIN'>{}</auth>",
            sasl::encode(format!("\0{}\0{PASSWORD}", user(&juliet)).as_bytes())
        );
        let logged_in = || {
            let mut client = encrypted(server);
            let plain = client.authenticate("PLAIN", user(&romeo), PASSWORD, &Binding::None);
            plain.expect("the password is right");
            client
        };
        let refusals = [
            "policy-violation",
            "not-authorized",
            "unsupported-stanza-type",
        ];
        // On the old stream, before the new one begins.
        ends(
            logged_in(),
            &again,
            &["policy-violation", "bad-format", "not-well-formed"],
        );
        // On the new stream.
        let mut client = logged_in();
        client.open("montague.lit");
        ends(client, &again, &refusals);
        // On the session.
        let mut client = logged_in();
        client.open("montague.lit");
        client.bind(None).expect("a resource");
        assert_eq!(client.bare(), romeo);
        ends(client, &again, &refusals);
    });
}

#[test]
fn b03_nothing_sent_before_tls_counts_after_it() {
    under_attack(2, STRANGER, |server| {
        let romeo = server.new_account("romeo");
        let auth = format!(
            "<auth xmlns='{SASL}' mechanism='PLAIN'>{}</auth>",
            sasl::encode(format!("\0{}\0{PASSWORD}", user(&romeo)).as_bytes())
        );
        let ping = "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>";
        for injected in [auth.as_str(), ping, &header("montague.lit")] {
            let mut client = Client::connect(server.c2s);
            client.open("montague.lit");
            let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
            client.send(&format!("{starttls}{injected}"));
            assert_eq!(client.next().name, "proceed");
            // Either the connection ends, or the words are forgotten.
            let Ok(mut client) = client.secured(&Wish::new("montague.lit")) else {
                continue;
            };
            let header = client.open("montague.lit");
            assert_eq!(header.name, "stream");
            assert!(!client.mechanisms().is_empty(), "{}", client.features);
            let plain = client.authenticate("PLAIN", user(&romeo), PASSWORD, &Binding::None);
            plain.expect("nothing is under way");
        }
    });
}

#[test]
fn b04_tls_comes_first_where_it_must() {
    let server = Server::start(&["c2s.require_tls=true"]);
    unharmed_over_tls(&server, || {
        let policy = ["policy-violation"];
        before_login(&server, b"<message to='a@montague.lit'/>", &policy);
        before_login(
            &server,
            b"<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
            &policy,
        );
        let mut client = Client::connect(server.c2s);
        client.open("montague.lit");
        assert_eq!(client.mechanisms(), Vec::<String>::new());
        assert!(
            client
                .features
                .child("starttls")
                .is_some_and(|it| it.child("required").is_some())
        );
        let failure = client.auth("PLAIN", b"\0a\0b");
        assert_eq!(
            failure.condition(),
            Some("encryption-required"),
            "{failure}"
        );
    });
}

/// As `unharmed`, for a server that wants TLS.
fn unharmed_over_tls(server: &Server, attack: impl FnOnce()) {
    let jid = server.new_account("bystander");
    let mut bystander = encrypted(server);
    bystander.enter(&jid, PASSWORD);
    attack();
    bystander.is_alive();
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn b04_tls_inside_tls_is_refused() {
    under_attack(2, STRANGER, |server| {
        let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        let mut client = encrypted(server);
        assert!(client.features.child("starttls").is_none());
        client.send(starttls);
        client.read_to_end();
        assert!(
            !client.transcript().contains("<proceed"),
            "{}",
            client.transcript()
        );
        // Twice at once.
        let mut client = Client::connect(server.c2s);
        client.open("montague.lit");
        client.send(&format!("{starttls}{starttls}"));
        assert_eq!(client.next().name, "proceed");
        // What follows is no TLS: the server hangs up or has forgotten it.
        if let Ok(mut client) = client.secured(&Wish::new("montague.lit")) {
            client.open("montague.lit");
        }
    });
}

#[test]
fn b05_credentials_are_for_one_host() {
    under_attack(3, STRANGER, |server| {
        let romeo = server.new_account("romeo");
        for host in ["capulet.lit", "nope.example"] {
            let mut client = encrypted(server);
            let plain = client.authenticate("PLAIN", user(&romeo), PASSWORD, &Binding::None);
            plain.expect("the password is right");
            ends(client, &header(host), &["host-unknown", "not-authorized"]);
        }
        // The header may name the account, but no other.
        let mut client = encrypted(server);
        let plain = client.authenticate("PLAIN", user(&romeo), PASSWORD, &Binding::None);
        plain.expect("the password is right");
        let forged = header("montague.lit").replace(" to=", " from='juliet@montague.lit' to=");
        ends(client, &forged, &["invalid-from", "not-authorized"]);
    });
}

#[test]
fn b06_no_stanza_before_its_time() {
    under_attack(8, STRANGER, |server| {
        let romeo = server.new_account("romeo");
        let stanzas = [
            "<message to='a@montague.lit'><body>x</body></message>",
            "<presence/>",
            "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
            "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
        ];
        for stanza in stanzas {
            before_login(server, stanza.as_bytes(), &["not-authorized"]);
        }
        for stanza in &stanzas[..3] {
            let mut client = encrypted(server);
            let plain = client.authenticate("PLAIN", user(&romeo), PASSWORD, &Binding::None);
            plain.expect("the password is right");
            client.open("montague.lit");
            ends(client, stanza, &["not-authorized"]);
        }
        // Before any stream.
        let conditions = [
            "bad-format",
            "invalid-namespace",
            "not-well-formed",
            "bad-namespace-prefix",
        ];
        first_bytes(server, stanzas[0].as_bytes(), &conditions);
    });
}

/// Runs SCRAM up to the server's challenge and returns the client's last message.
fn challenged(client: &mut Client, mechanism: &str, user: &str, binding: &Binding) -> String {
    let mut scram = Scram::new(
        mechanism,
        user,
        PASSWORD,
        binding,
        "fyko+d2lbbFgONRv9qkxdawL",
    );
    let challenge = client.auth(mechanism, scram.first().as_bytes());
    assert_eq!(challenge.name, "challenge", "{challenge}");
    scram.last(&sasl::decode(&challenge.text))
}

fn respond(client: &mut Client, text: &str) -> Tree {
    let text = sasl::encode(text.as_bytes());
    client.send(&format!("<response xmlns='{SASL}'>{text}</response>"));
    client.next()
}

#[test]
fn b07_a_scram_message_counts_once_and_unchanged() {
    under_attack(8, STRANGER, |server| {
        // One account for each: failures of one account are slowed down.
        let account = || server.new_account("romeo");
        let start = |jid: &str| {
            let mut client = encrypted(server);
            let last = challenged(&mut client, "SCRAM-SHA-256", user(jid), &Binding::None);
            (client, last)
        };
        // What was overheard once is worth nothing later.
        let jid = account();
        let (mut first, overheard) = start(&jid);
        assert_eq!(respond(&mut first, &overheard).name, "success");
        let (mut second, _) = start(&jid);
        assert_eq!(respond(&mut second, &overheard).name, "failure");
        // Another nonce, another binding, another proof, nothing at all.
        type Change = fn(&str) -> String;
        let changes: [Change; 6] = [
            |last| last.replace("r=fyko", "r=fykp"),
            |last| last.replace("c=biws", "c=eSws"),
            |last| last.replace("c=biws", "c=bixh"),
            |last| last.replace(",p=", ",p=AAAA"),
            |last| last[..last.find(",p=").expect("a proof")].to_owned(),
            |_| String::new(),
        ];
        for change in changes {
            let (mut client, last) = start(&account());
            let failure = respond(&mut client, &change(&last));
            assert!(failure.is("failure", SASL), "{last}: {failure}");
        }
    });
}

#[test]
fn b07_channel_binding_cannot_be_stripped_or_forged() {
    under_attack(4, STRANGER, |server| {
        let fails = |mechanism: &str, binding: &Binding| {
            let jid = server.new_account("romeo");
            let mut client = encrypted(server);
            let result = client.authenticate(mechanism, user(&jid), PASSWORD, binding);
            let failure = result.expect_err("channel binding protects");
            assert!(failure.is("failure", SASL), "{failure}");
        };
        // The client saw no -PLUS where the server offers it: somebody took it away.
        fails("SCRAM-SHA-256", &Binding::NotOffered);
        // Another connection's secret.
        fails(
            "SCRAM-SHA-256-PLUS",
            &Binding::Bound("tls-exporter", vec![7; 32]),
        );
        fails(
            "SCRAM-SHA-256-PLUS",
            &Binding::Bound("tls-server-end-point", vec![7; 32]),
        );
        let other = tls::exporter(encrypted(server).tls());
        fails("SCRAM-SHA-256-PLUS", &other);
        // -PLUS without binding, a binding nobody knows, a binding without -PLUS.
        for (mechanism, first) in [
            ("SCRAM-SHA-256-PLUS", "n,,n=x,r=abcdefgh"),
            ("SCRAM-SHA-256-PLUS", "p=tls-unique,,n=x,r=abcdefgh"),
            ("SCRAM-SHA-256", "p=tls-exporter,,n=x,r=abcdefgh"),
        ] {
            let failure = encrypted(server).auth(mechanism, first.as_bytes());
            assert!(failure.is("failure", SASL), "{first}: {failure}");
        }
        // RFC 9266 §2: no exporter without the extended master secret; the end point's still is.
        let wish = Wish {
            version: Version::Tls12,
            ..Wish::new("montague.lit")
        };
        let client = Client::connect_tls(server.tls, &wish).expect("a TLS handshake");
        client.cut();
    });
}

#[test]
fn b07_guessing_ends_the_stream() {
    under_attack(1, STRANGER, |server| {
        let jid = server.new_account("romeo");
        let mut client = encrypted(server);
        for _ in 0..4 {
            let failure = client.auth("PLAIN", format!("\0{}\0wrong", user(&jid)).as_bytes());
            assert!(failure.is("failure", SASL), "{failure}");
        }
        let last = sasl::encode(format!("\0{}\0wrong", user(&jid)).as_bytes());
        client.send(&format!(
            "<auth xmlns='{SASL}' mechanism='PLAIN'>{last}</auth>"
        ));
        client.ends_with("policy-violation");
    });
}

#[test]
fn b07_guessing_is_slowed_down_for_the_guesser_alone() {
    let server = Server::start(&[
        "limits.auth_failures_per_minute=5",
        "limits.auth_failures=100",
    ]);
    unharmed(&server, 2, STRANGER, || {
        let jid = server.new_account("romeo");
        let guess = |client: &mut Client, password: &str| {
            let initial = format!("\0{}\0{password}", user(&jid));
            client.auth("PLAIN", initial.as_bytes())
        };
        let mut guesser = encrypted(&server);
        for _ in 0..5 {
            let failure = guess(&mut guesser, "wrong");
            assert_eq!(failure.condition(), Some("not-authorized"), "{failure}");
        }
        // From here on even the right password is not tried for this address.
        let failure = guess(&mut guesser, PASSWORD);
        assert!(failure.is("failure", SASL), "{failure}");
        // The owner, from another address, is not locked out.
        let mut owner = Client::connect_from([127, 0, 0, 2].into(), server.c2s);
        owner.open("montague.lit");
        let login = owner.authenticate("SCRAM-SHA-256", user(&jid), PASSWORD, &Binding::None);
        login.expect("the owner logs in");
    });
}
