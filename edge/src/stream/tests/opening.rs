//! Headers, STARTTLS, and all that can go wrong before anybody says who he is.

use super::*;

/// Plays one line of the client on a new stream, with and without TLS, and expects an error.
fn check(said: &str, condition: &str, text: &str) {
    let end = format!("< HEADER {}", error(condition, text));
    for first in ["", "* secured"] {
        play(setup(), &[first, &format!("> {said}"), &end]);
    }
}

fn header(attributes: &str) -> String {
    format!(
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
         {attributes}>"
    )
}

#[test]
fn a_header_is_answered_by_ours_and_the_features() {
    play(setup(), &["> OPEN", "< HEADER TLS_FIRST"]);
    play(setup(), &[SECURE]);
    // RFC 6120 §4.7.2: `from` comes back as `to`, bare; the id means nothing.
    let from = header("to='localhost' version='1.0' from='Juliet@localhost/x' id='mine'");
    let answer = HEADER.replace(
        " version='1.0' xml",
        " to='juliet@localhost' version='1.0' xml",
    );
    let ours = format!("< {answer} TLS_FIRST");
    play(setup(), &[&format!("> {from}"), &ours]);
    let nobody = header("to='localhost' version='1.0' from='@@'");
    play(setup(), &[&format!("> {nobody}"), "< HEADER TLS_FIRST"]);
    // Another prefix, bound to the right namespace, is as good (§4.8.5).
    let prefix = OPEN
        .replace("stream:stream", "s:stream")
        .replace("xmlns:stream", "xmlns:s");
    play(setup(), &[&format!("> {prefix}"), "< HEADER TLS_FIRST"]);
}

#[test]
fn the_host_asked_for_answers() {
    let ours = HEADER.replace("from='localhost'", "from='capulet.lit'");
    for to in ["capulet.lit", "Capulet.LIT", "capulet.lit."] {
        let theirs = header(&format!("to='{to}' version='1.0'"));
        play(
            setup(),
            &[&format!("> {theirs}"), &format!("< {ours} TLS_FIRST")],
        );
    }
    for attributes in [
        "version='1.0'",
        "to='' version='1.0'",
        "to='nope.example' version='1.0'",
        "to='a@localhost' version='1.0'",
        "to='localhost/x' version='1.0'",
        "to='@@' version='1.0'",
    ] {
        check(&header(attributes), "host-unknown", "");
    }
}

#[test]
fn every_version_from_one_on_gets_one() {
    for version in ["1.0", "1.1", "01.00", "9.0", "1.99"] {
        let theirs = header(&format!("to='localhost' version='{version}'"));
        play(setup(), &[&format!("> {theirs}"), "< HEADER TLS_FIRST"]);
    }
    for version in [
        "",
        "version='0.9'",
        "version='1'",
        "version='x.y'",
        "version='+1.0'",
        "version=''",
    ] {
        let theirs = header(&format!("to='localhost' {version}"));
        check(&theirs, "unsupported-version", "this is XMPP 1.0");
    }
}

#[test]
fn other_namespaces_are_refused() {
    let server = OPEN.replace("jabber:client", "jabber:server");
    check(&server, "invalid-namespace", "");
    let stream = OPEN.replace("etherx.jabber.org", "example.org");
    play(
        setup(),
        &[
            &format!("> {stream}"),
            &format!("< HEADER {}", error("invalid-namespace", "")),
        ],
    );
}

#[test]
fn what_breaks_the_framer_ends_the_stream_within_a_stream() {
    for bytes in [
        "GET / HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1}",
        "SSH-2.0-OpenSSH_9.9\r\n",
    ] {
        let mut player = Player::new(setup());
        player.feed(bytes.as_bytes());
        let said = player.said();
        assert!(said.starts_with(HEADER), "{bytes:?}: {said}");
        assert!(
            said.ends_with("</stream:error></stream:stream>"),
            "{bytes:?}: {said}"
        );
        assert!(said.len() < 1024 && player.stream.is_closed());
    }
}

#[test]
fn tls_is_started_once_and_what_came_with_the_request_is_forgotten() {
    let upgrade = "> OPEN
        < HEADER TLS_FIRST
        > <starttls xmlns='TLS'/><auth xmlns='SASL' mechanism='PLAIN'>AGEAYg==</auth>
        < <proceed xmlns='TLS'/>
        ! starttls
        . waiting
        * secured tls-exporter tls-server-end-point
        . ready
        > OPEN
        < HEADER ON_TLS";
    let twice = "> <starttls xmlns='TLS'/>
        < <failure xmlns='TLS'/></stream:stream>
        ! close
        . closed";
    play(setup(), &[upgrade, LOGIN]);
    play(setup(), &[upgrade, twice]);
    play(setup(), &[upgrade, LOGIN, twice]);
    play(
        setup(),
        &[
            upgrade,
            LOGIN,
            BIND,
            &twice.replace("! close", "! up detach Closed\n! close"),
        ],
    );
    let offers_tls = false;
    play(
        Setup {
            offers_tls,
            require_tls: false,
            ..setup()
        },
        &["> OPEN", &format!("< HEADER {}", without_tls("")), twice],
    );
}

/// The features of a stream on which TLS is a choice.
fn without_tls(starttls: &str) -> String {
    format!(
        "<stream:features>{starttls}<mechanisms xmlns='SASL'>\
         <mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism></mechanisms>\
         </stream:features>"
    )
}

#[test]
fn tls_may_be_a_choice() {
    let features = without_tls("<starttls xmlns='TLS'/>");
    play(
        Setup {
            require_tls: false,
            ..setup()
        },
        &[
            "> OPEN",
            &format!("< HEADER {features}"),
            "> <auth xmlns='SASL' mechanism='PLAIN'>AGEAYg==</auth>
             < <failure xmlns='SASL'><encryption-required/></failure>
             > <auth xmlns='SASL' mechanism='SCRAM-SHA-1-PLUS'>biwsbj1hLHI9Yg==</auth>
             < <failure xmlns='SASL'><encryption-required/></failure>
             > <auth xmlns='SASL' mechanism='SCRAM-SHA-1'>biwsbj1hLHI9Yg==</auth>
             ! up authenticate a@localhost SCRAM-SHA-1 biwsbj1hLHI9Yg==
             v authenticated a@localhost v=x
             < <success xmlns='SASL'>dj14</success>
             ! authenticated",
        ],
    );
}

#[test]
fn nothing_comes_before_a_tls_that_is_required() {
    let open = "> OPEN
        < HEADER TLS_FIRST";
    for stanza in [
        "<message to='a@localhost'><body>x</body></message>",
        "<presence/>",
        "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>",
        "<iq type='get'/>",
    ] {
        let end = format!("< {}", error("policy-violation", "TLS comes first"));
        play(setup(), &[open, &format!("> {stanza}"), &end]);
    }
    let auth = "> <auth xmlns='SASL' mechanism='PLAIN'>AGEAYg==</auth>
        < <failure xmlns='SASL'><encryption-required/></failure>";
    play(setup(), &[open, auth]);
}

#[test]
fn nothing_but_a_choice_comes_before_authentication() {
    let cases = [
        (
            "<message to='a@localhost'><body>x</body></message>",
            "not-authorized",
            "",
        ),
        ("<presence/>", "not-authorized", ""),
        (
            "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
            "not-authorized",
            "",
        ),
        (
            "<iq type='get' id='1'><query xmlns='jabber:iq:auth'/></iq>",
            "not-authorized",
            "",
        ),
        (
            "<iq type='set' id='1'><bind xmlns='BINDING'/></iq>",
            "not-authorized",
            "",
        ),
        ("<iq type='bogus'/>", "not-authorized", ""),
        ("<foo/>", "unsupported-stanza-type", ""),
        ("<r xmlns='SM'/>", "policy-violation", "not at this time"),
        ("<message xmlns='jabber:server'/>", "invalid-namespace", ""),
        ("<iq xmlns='urn:x'/>", "invalid-namespace", ""),
        (
            "<success xmlns='SASL'/>",
            "policy-violation",
            "not at this time",
        ),
        ("<stream:features/>", "unsupported-stanza-type", ""),
    ];
    for (said, condition, text) in cases {
        let end = format!("< {}", error(condition, text));
        play(setup(), &[SECURE, &format!("> {said}"), &end]);
    }
}

#[test]
fn a_stream_within_the_stream_is_refused() {
    for prefix in [&[SECURE][..], &[SECURE, LOGIN], &[SECURE, LOGIN, BIND]] {
        let mut player = Player::new(setup());
        for line in prefix.iter().flat_map(|script| script.lines()) {
            player.line(&expand(line.trim()));
        }
        player.feed(OPEN.replace("<?xml version='1.0'?>", "").as_bytes());
        assert!(player.said().contains("<bad-format "));
        assert!(player.stream.is_closed());
    }
}

#[test]
fn a_stream_ends_in_good_order() {
    let close = "> </stream:stream>
        < </stream:stream>
        ! close
        . closed
        * gone";
    play(setup(), &["> OPEN", "< HEADER TLS_FIRST", close]);
    play(setup(), &[SECURE, close]);
    play(setup(), &[SECURE, LOGIN, close]);
    // The client found a mistake: nothing is left to say.
    let error = "> <stream:error><reset xmlns='STREAMS'/></stream:error>
        < </stream:stream>
        ! close";
    play(setup(), &[SECURE, error]);
}

#[test]
fn time_and_the_operator_end_a_stream() {
    for (event, condition) in [
        ("deadline", "connection-timeout"),
        ("shutdown", "system-shutdown"),
    ] {
        let event = format!("* {event}");
        let before = format!("< HEADER {}", error(condition, ""));
        let after = format!("< {}", error(condition, ""));
        play(setup(), &[&event, &before]);
        play(setup(), &[SECURE, &event, &after]);
        play(setup(), &["* secured", &event, &before]);
        play(setup(), &[SECURE, LOGIN, &event, &after]);
    }
    play(
        setup(),
        &[
            SECURE,
            "* ping 1",
            "* gone",
            ". closed",
            "* deadline",
            "* shutdown",
        ],
    );
}

#[test]
fn no_xml_is_written_into_a_handshake() {
    let handshake = "> OPEN
        < HEADER TLS_FIRST
        > <starttls xmlns='TLS'/>
        < <proceed xmlns='TLS'/>
        ! starttls";
    let timeout = "* deadline\n! close connection-timeout\n. closed";
    play(setup(), &[handshake, timeout]);
    let shutdown = "* shutdown\n! close system-shutdown\n. closed";
    play(setup(), &[handshake, shutdown]);
}

#[test]
fn whitespace_keeps_alive_and_means_nothing() {
    let mut player = Player::new(setup());
    player.line(&expand("> OPEN"));
    player.line(&expand("< HEADER TLS_FIRST"));
    player.feed(b" \n \t ");
    player.expect_nothing("the end");
}

#[test]
fn domains_are_served_from_when_they_are_added_until_they_are_removed() {
    let setup = setup();
    let domains = Arc::clone(&setup.domains);
    let other = Jid::parse("other.example").expect("valid");
    let open = "> <?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                xmlns:stream='http://etherx.jabber.org/streams' to='other.example' version='1.0'>";
    let begin = || {
        let mut player = Player::new(setup.clone());
        player.line("* secured tls-exporter tls-server-end-point");
        player.line(open);
        player.said()
    };
    assert!(begin().contains("<host-unknown "));
    domains.serve_also(std::slice::from_ref(&other));
    let said = begin();
    assert!(said.contains("from='other.example'"), "{said}");
    assert!(said.contains("<stream:features>"), "{said}");
    domains.serve_also(&[]);
    assert!(begin().contains("<host-unknown "));
}
