//! Stanza smuggling: two parsers must never disagree about where a stanza ends.

use crate::harness::attack::{MEMBER, after_login, under_attack};
use crate::harness::client::{Client, STREAM, header};
use crate::harness::sasl::Binding;
use crate::harness::sasl::{self, Scram};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::tls::Wish;
use crate::harness::tree::Tree;

/// Two sessions of two accounts.
fn pair(server: &Server) -> (Client, Client) {
    (server.new_client("romeo"), server.new_client("juliet"))
}

/// Sends a message with this inside, and returns what arrives.
fn delivered(romeo: &mut Client, juliet: &mut Client, inside: &str) -> Tree {
    let to = juliet.jid.clone();
    romeo.send(&format!(
        "<message to='{to}' type='chat'>{inside}</message>"
    ));
    juliet.next()
}

#[test]
fn c01_markup_in_text_stays_text() {
    under_attack(2, MEMBER, |server| {
        let (mut romeo, mut juliet) = pair(server);
        let smuggled = "</body></message><message from='admin@montague.lit'><body>x";
        let escaped = smuggled.replace('<', "&lt;");
        for inside in [
            format!("<body>{escaped}</body>"),
            format!("<body><![CDATA[{smuggled}]]></body>"),
            format!(
                "<body><![CDATA[{}]]></body>",
                smuggled.replace("/>", "/]]>]]&gt;<![CDATA[>")
            ),
            format!("<body>{}</body>", smuggled.replace('<', "&#60;")),
            format!("<body>{}</body>", smuggled.replace('<', "&#x3c;")),
        ] {
            let message = delivered(&mut romeo, &mut juliet, &inside);
            assert_eq!(message.get("from"), Some(romeo.jid.as_str()));
            let body = message.child("body").expect("a body");
            assert_eq!(
                (body.text.as_str(), body.children.len()),
                (smuggled, 0),
                "{message}"
            );
        }
        let message = delivered(&mut romeo, &mut juliet, "<body>]]&gt;</body>");
        assert_eq!(
            message.child("body").map(|it| it.text.as_str()),
            Some("]]>")
        );
        assert!(
            !juliet.transcript().contains("]]>"),
            "{}",
            juliet.transcript()
        );
        juliet.is_alive();
        assert_eq!(juliet.take_aside(), []);
    });
}

#[test]
fn c02_a_namespace_is_compared_as_a_whole() {
    under_attack(6, MEMBER, |server| {
        // None of these is `jabber:client`, whatever follows it.
        for ns in [
            "jabber:client&#10;message",
            "jabber:client|message",
            "jabber:client ",
            " jabber:client",
            "JABBER:CLIENT",
            "jabber:client&#9;",
        ] {
            let stanza =
                format!("<message xmlns='{ns}' to='a@montague.lit'><body>x</body></message>");
            let conditions = ["invalid-namespace", "unsupported-stanza-type"];
            after_login(server, stanza.as_bytes(), &conditions);
        }
        after_login(
            server,
            b"<message xmlns='jabber:client\x0c'/>",
            &["not-well-formed"],
        );
        // A payload of such a namespace could end the stream of a client whose parser joins
        // namespace and name; it is refused and goes no further.
        let (mut romeo, mut juliet) = pair(server);
        let to = juliet.jid.clone();
        for ns in [
            "jabber:client&#10;message",
            "jabber:client|message",
            "u:a}b",
            "a&lt;b",
        ] {
            romeo.send(&format!(
                "<message to='{to}' id='m'><message xmlns='{ns}'/></message>"
            ));
            let error = romeo.next();
            assert_eq!(error.condition(), Some("bad-request"), "{ns}: {error}");
        }
        juliet.is_alive();
        assert_eq!(juliet.take_aside(), []);
        // What is a URI and only looks odd arrives as it is.
        let inside = "<message xmlns='jabber:client#a&amp;b&apos;c%0A'/>";
        let message = delivered(&mut romeo, &mut juliet, inside);
        let meant = "jabber:client#a&b'c%0A";
        assert!(message.children[0].is("message", meant), "{message}");
    });
}

#[test]
fn c03_stanzas_of_other_namespaces_are_refused() {
    under_attack(4, MEMBER, |server| {
        for stanza in [
            "<message xmlns='jabber:server'><body>x</body></message>",
            "<iq xmlns='urn:example' type='get' id='1'/>",
            "<presence xmlns=''/>",
            "<x:presence xmlns:x='jabber:server'/>",
        ] {
            after_login(server, stanza.as_bytes(), &["invalid-namespace"]);
        }
        // A child of another namespace is only a child.
        let (mut romeo, mut juliet) = pair(server);
        let inside = "<body xmlns='jabber:server'>1</body><message xmlns='jabber:client'/>";
        let message = delivered(&mut romeo, &mut juliet, inside);
        assert!(message.children[0].is("body", "jabber:server"), "{message}");
        assert!(
            message.children[1].is("message", "jabber:client"),
            "{message}"
        );
    });
}

#[test]
fn c04_prefixes_are_written_out() {
    under_attack(2, MEMBER, |server| {
        let (mut romeo, mut juliet) = pair(server);
        let to = juliet.jid.clone();
        romeo.send(&format!(
            "<x:message xmlns:x='jabber:client' xmlns:y='urn:y' xmlns='urn:z' to='{to}' \
             type='chat' y:kept='1'><x:body>1</x:body><y:a y:b='2' c='3'><d/></y:a></x:message>"
        ));
        let message = juliet.next();
        assert!(message.is("message", "jabber:client"), "{message}");
        assert!(message.children[0].is("body", "jabber:client"), "{message}");
        assert!(message.children[1].is("a", "urn:y"), "{message}");
        assert!(
            message.children[1].children[0].is("d", "urn:z"),
            "{message}"
        );
        // A prefix of the stream header means the same in every stanza.
        let (mut client, domain) = (Client::connect(server.c2s), "montague.lit");
        client.send(&header(domain).replace("to=", "xmlns:p='urn:p' to="));
        client.expect_header();
        client.next();
        client.cut();
        assert!(
            juliet.transcript().contains("<message "),
            "{}",
            juliet.transcript()
        );
    });
}

/// A whole session as one text: what a client sends from first to last.
fn script(romeo: &str, juliet: &str) -> Vec<String> {
    let user = romeo.split('@').next().expect("an account");
    let auth = format!("n,,n={user},r=cutateverybyte");
    let bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind>";
    let body = "<body>\u{10d}\u{17e} &amp; &#x1F600; <![CDATA[<x/>]]>\u{1f600}</body>";
    vec![
        header("montague.lit"),
        format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>{}</auth>",
            sasl::encode(auth.as_bytes())
        ),
        header("montague.lit"),
        format!("<iq type='set' id='b'>{bind}</iq>"),
        format!("<message id='m' type='chat' to='{juliet}'>{body}</message>"),
    ]
}

/// Plays a session in pieces that `cut` makes of each text.
fn play(client: &mut Client, romeo: &str, juliet: &str, cut: impl Fn(&mut Client, &str)) {
    let texts = script(romeo, juliet);
    let user = romeo.split('@').next().expect("an account");
    cut(client, &texts[0]);
    client.expect_header();
    client.next();
    cut(client, &texts[1]);
    let challenge = client.next();
    let mut scram = Scram::new(
        "SCRAM-SHA-1",
        user,
        PASSWORD,
        &Binding::None,
        "cutateverybyte",
    );
    let last = scram.last(&sasl::decode(&challenge.text));
    let last = sasl::encode(last.as_bytes());
    let ns = "urn:ietf:params:xml:ns:xmpp-sasl";
    cut(client, &format!("<response xmlns='{ns}'>{last}</response>"));
    assert_eq!(client.next().name, "success");
    cut(client, &texts[2]);
    client.expect_header();
    client.next();
    cut(client, &texts[3]);
    assert_eq!(client.next().get("type"), Some("result"));
    cut(client, &texts[4]);
}

#[test]
fn c06_where_bytes_are_cut_does_not_matter() {
    under_attack(4, MEMBER, |server| {
        let mut juliet = server.new_client("juliet");
        let mut check = |mut client: Client, cut: &dyn Fn(&mut Client, &str)| {
            let romeo = server.new_account("romeo");
            play(&mut client, &romeo, &juliet.jid.clone(), cut);
            let message = juliet.next();
            assert_eq!(message.get("from"), Some(format!("{romeo}/r").as_str()));
            let body = message.child("body").map(|it| it.text.as_str());
            assert_eq!(
                body,
                Some("\u{10d}\u{17e} & \u{1f600} <x/>\u{1f600}"),
                "{message}"
            );
        };
        let by_byte = |client: &mut Client, text: &str| {
            for byte in text.as_bytes() {
                client.send_bytes(&[*byte]).expect("the server reads");
            }
        };
        let by_three = |client: &mut Client, text: &str| {
            for piece in text.as_bytes().chunks(3) {
                client.send_bytes(piece).expect("the server reads");
            }
        };
        check(Client::connect(server.c2s), &by_byte);
        check(Client::connect(server.c2s), &by_three);
        let wish = Wish::new("montague.lit");
        let encrypted = || Client::connect_tls(server.tls, &wish).expect("a TLS handshake");
        // Each byte in a record of its own.
        check(encrypted(), &by_byte);
        check(encrypted(), &by_three);
    });
}

#[test]
fn c06_a_stanza_cut_in_two_anywhere_is_one() {
    under_attack(2, MEMBER, |server| {
        let (mut romeo, mut juliet) = pair(server);
        let to = juliet.jid.clone();
        let stanza = format!(
            "<message to='{to}' type='chat' a='&lt;>'><body>\u{20ac}&#x20AC;<![CDATA[]]]]>\
             </body><x xmlns='u:1' y=\"'\"/></message>"
        );
        for cut in 1..stanza.len() {
            romeo
                .send_bytes(&stanza.as_bytes()[..cut])
                .expect("the server reads");
            romeo
                .send_bytes(&stanza.as_bytes()[cut..])
                .expect("the server reads");
            let message = juliet.next();
            let body = message.child("body").map(|it| it.text.as_str());
            assert_eq!(body, Some("\u{20ac}\u{20ac}]]"), "cut at {cut}: {message}");
        }
    });
}

#[test]
fn c07_what_is_echoed_is_escaped() {
    under_attack(2, MEMBER, |server| {
        let mut romeo = server.new_client("romeo");
        let id = "\"'<>&\t\r\n</iq><message/>";
        let written = "&quot;&apos;&lt;&gt;&amp;&#9;&#13;&#10;&lt;/iq>&lt;message/>";
        for stanza in [
            format!("<iq type='get' id=\"{written}\"><a xmlns='urn:example'/></iq>"),
            format!("<iq type='get' id=\"{written}\"/>"),
            format!("<message id=\"{written}\" to='nobody@montague.lit'><body>x</body></message>"),
            format!("<presence id=\"{written}\" type='x'/>"),
        ] {
            romeo.send(&stanza);
            let answer = romeo.next();
            assert_eq!(answer.get("id"), Some(id), "{stanza}: {answer}");
            assert_eq!(answer.get("type"), Some("error"), "{answer}");
        }
        assert!(
            !romeo.transcript().contains("<message/>"),
            "{}",
            romeo.transcript()
        );
        // In a stream error and in our header too.
        let mut client = Client::connect(server.c2s);
        client.send(&format!(
            "<stream:stream xmlns='jabber:client' xmlns:stream='{STREAM}' \
             from=\"&quot;&apos;&gt;&lt;x/>@a\" to=\"&quot;&apos;&gt;&lt;x/>\" version='1.0'>"
        ));
        client.ends_with("host-unknown");
        assert!(
            !client.transcript().contains("<x/>"),
            "{}",
            client.transcript()
        );
    });
}

#[test]
fn c07_errors_repeat_little() {
    under_attack(2, MEMBER, |server| {
        let mut romeo = server.new_client("romeo");
        let text = "x".repeat(100 * 1024);
        let before = romeo.transcript().len();
        for (id, stanza) in [
            (
                "1",
                format!("<iq type='get' id='1'><a xmlns='urn:example'>{text}</a></iq>"),
            ),
            (
                "2",
                format!(
                    "<iq type='get' id='2' to='nobody@montague.lit/{}'>\
                     <a xmlns='u'>{text}</a></iq>",
                    "r".repeat(900)
                ),
            ),
            (
                "3",
                format!("<message id='3' to='nobody@montague.lit'><body>{text}</body></message>"),
            ),
            (
                "4",
                format!("<iq type='get' id='4' to='{text}'><a xmlns='urn:example'/></iq>"),
            ),
        ] {
            romeo.send(&stanza);
            let answer = romeo.next();
            assert_eq!(answer.get("id"), Some(id), "{answer}");
        }
        let echoed = romeo.transcript().len() - before;
        assert!(echoed < 4 * 2048, "{echoed} bytes for four errors");
    });
}
