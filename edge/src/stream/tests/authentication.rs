//! SASL in every order (RFC 6120 §6.4, §6.5).

use super::*;

/// SCRAM until the client's last message has gone up.
const SCRAM: &str = "> <auth xmlns='SASL' mechanism='SCRAM-SHA-256'>biwsbj1qdWxpZXQscj14</auth>
    ! up authenticate juliet@localhost SCRAM-SHA-256 biwsbj1qdWxpZXQscj14
    . waiting
    v challenge r=xy
    < <challenge xmlns='SASL'>cj14eQ==</challenge>
    . ready
    > <response xmlns='SASL'>Yz1iaXdz</response>
    ! up respond juliet@localhost Yz1iaXdz
    . waiting";

/// One failed attempt.
const FAILED: &str = "> <auth xmlns='SASL' mechanism='PLAIN'>AGp1bGlldABz</auth>
    ! up authenticate juliet@localhost PLAIN AGp1bGlldABz
    v refused not-authorized
    < <failure xmlns='SASL'><not-authorized/></failure>";

#[test]
fn scram_runs_on_the_origin() {
    let success = "v authenticated juliet@localhost v=sig
        < <success xmlns='SASL'>dj1zaWc=</success>
        ! authenticated
        . ready
        > OPEN
        < HEADER AUTHENTICATED";
    play(setup(), &[SECURE, SCRAM, success]);
    let failure = "v refused not-authorized
        < <failure xmlns='SASL'><not-authorized/></failure>
        . ready";
    play(setup(), &[SECURE, SCRAM, failure, SCRAM, success]);
}

#[test]
fn a_missing_initial_response_is_asked_for() {
    play(
        setup(),
        &[
            SECURE,
            "> <auth xmlns='SASL' mechanism='PLAIN'/>
             < <challenge xmlns='SASL'/>
             > <response xmlns='SASL'>AGp1bGlldABz</response>
             ! up authenticate juliet@localhost PLAIN AGp1bGlldABz
             v challenge
             < <challenge xmlns='SASL'>=</challenge>
             > <response xmlns='SASL'>=</response>
             ! up respond juliet@localhost
             v challenge x
             < <challenge xmlns='SASL'>eA==</challenge>
             > <response xmlns='SASL'/>
             ! up respond juliet@localhost",
        ],
    );
}

#[test]
fn attempts_that_are_wrong_in_form_fail_by_condition() {
    let cases = [
        (
            "<auth xmlns='SASL' mechanism='CRAM-MD5'/>",
            "invalid-mechanism",
        ),
        (
            "<auth xmlns='SASL' mechanism='plain'>AGEAYg==</auth>",
            "invalid-mechanism",
        ),
        ("<auth xmlns='SASL' mechanism=''/>", "invalid-mechanism"),
        ("<auth xmlns='SASL'/>", "invalid-mechanism"),
        (
            "<auth xmlns='SASL' mechanism='PLAIN'>AGEAYg=</auth>",
            "incorrect-encoding",
        ),
        (
            "<auth xmlns='SASL' mechanism='PLAIN'>A GEAYg==</auth>",
            "incorrect-encoding",
        ),
        (
            "<auth xmlns='SASL' mechanism='PLAIN'>!</auth>",
            "incorrect-encoding",
        ),
        (
            "<auth xmlns='SASL' mechanism='PLAIN'><x xmlns='u'/></auth>",
            "malformed-request",
        ),
        (
            "<auth xmlns='SASL' mechanism='PLAIN'>=</auth>",
            "malformed-request",
        ),
        (
            "<auth xmlns='SASL' mechanism='PLAIN'>YQ==</auth>",
            "malformed-request",
        ),
        (
            "<auth xmlns='SASL' mechanism='SCRAM-SHA-1'>AGEAYg==</auth>",
            "malformed-request",
        ),
        // `juliet` acts for `romeo@localhost`, for `juliet@capulet.lit`, for `x y`.
        (
            "<auth xmlns='SASL' mechanism='PLAIN'>cm9tZW9AbG9jYWxob3N0AGp1bGlldABz</auth>",
            "invalid-authzid",
        ),
        (
            "<auth xmlns='SASL' mechanism='PLAIN'>anVsaWV0QGNhcHVsZXQubGl0AGp1bGlldABz</auth>",
            "invalid-authzid",
        ),
        (
            "<auth xmlns='SASL' mechanism='PLAIN'>eCB5AGp1bGlldABz</auth>",
            "invalid-authzid",
        ),
        (
            "<response xmlns='SASL'>AGEAYg==</response>",
            "malformed-request",
        ),
        ("<abort xmlns='SASL'/>", "aborted"),
    ];
    for (said, condition) in cases {
        let answer = format!("< <failure xmlns='SASL'><{condition}/></failure>");
        play(setup(), &[SECURE, &format!("> {said}"), &answer, LOGIN]);
    }
}

#[test]
fn the_next_stream_may_be_sent_along() {
    let (auth, _) = LOGIN.split_once('\n').expect("lines");
    let answer = "! up authenticate juliet@localhost PLAIN AGp1bGlldABz
        v authenticated juliet@localhost
        < <success xmlns='SASL'/>HEADER AUTHENTICATED
        ! authenticated";
    play(setup(), &[SECURE, &format!("{auth}OPEN"), answer, BIND]);
    // Anything else is not the header that is due.
    let again = format!("{auth}<auth xmlns='SASL' mechanism='PLAIN'>AGEAYg==</auth>");
    let end = error("bad-format", "the first element is not a stream header");
    let end = end.replace("! close", "! authenticated\n! close");
    let (answer, _) = answer.split_once("HEADER").expect("there");
    play(setup(), &[SECURE, &again, &format!("{answer}HEADER{end}")]);
}

#[test]
fn an_account_may_name_itself_twice() {
    play(
        setup(),
        &[
            SECURE,
            "> <auth xmlns='SASL' mechanism='PLAIN'>SnVsaWV0QGxvY2FsaG9zdABqdWxpZXQAcw==</auth>
             ! up authenticate juliet@localhost PLAIN SnVsaWV0QGxvY2FsaG9zdABqdWxpZXQAcw==",
        ],
    );
}

#[test]
fn a_binding_mechanism_needs_a_binding() {
    let features = ON_TLS
        .replace("<mechanism>SCRAM-SHA-256-PLUS</mechanism>", "")
        .replace("<mechanism>SCRAM-SHA-1-PLUS</mechanism>", "");
    let (features, _) = features.split_once("<sasl-channel-binding").expect("there");
    play(
        setup(),
        &[
            "* secured",
            "> OPEN",
            &format!("< HEADER {features}</stream:features>"),
            "> <auth xmlns='SASL' mechanism='SCRAM-SHA-1-PLUS'>cD10bHMsLG49YSxyPWI=</auth>
             < <failure xmlns='SASL'><invalid-mechanism/></failure>",
        ],
    );
}

#[test]
fn a_name_nobody_can_have_goes_the_way_of_an_unknown_one() {
    // `\0a b\0s` and `n,,n=a b,r=x`: the same stand-in, which no other name shares.
    let hash = "c8687a08aa5d6ed2044328fa6a697ab8e96dc34291e8c2034ae8c38e6fcc6d65";
    for (mechanism, initial) in [("PLAIN", "AGEgYgBz"), ("SCRAM-SHA-256", "biwsbj1hIGIscj14")] {
        play(
            setup(),
            &[
                SECURE,
                &format!("> <auth xmlns='SASL' mechanism='{mechanism}'>{initial}</auth>"),
                &format!("! up authenticate {hash}@localhost {mechanism} {initial}"),
                "v refused not-authorized
                 < <failure xmlns='SASL'><not-authorized/></failure>",
            ],
        );
    }
}

#[test]
fn too_many_failures_end_the_stream() {
    let text = "too many failed attempts";
    let last = FAILED.replace(
        "</failure>",
        &format!("</failure>{}", error("policy-violation", text)),
    );
    play(setup(), &[SECURE, FAILED, FAILED, &last]);
    // A client that gives up each time is no better.
    let abort = "> <auth xmlns='SASL' mechanism='PLAIN'/>
        < <challenge xmlns='SASL'/>
        > <abort xmlns='SASL'/>
        < <failure xmlns='SASL'><aborted/></failure>";
    play(setup(), &[SECURE, abort, FAILED, &last]);
}

#[test]
fn an_exchange_given_up_is_forgotten_by_the_origin() {
    let challenged = "> <auth xmlns='SASL' mechanism='PLAIN'>AGp1bGlldABz</auth>
        ! up authenticate juliet@localhost PLAIN AGp1bGlldABz
        v challenge x
        < <challenge xmlns='SASL'>eA==</challenge>";
    let abort = "! up abort juliet@localhost";
    let aborted = "> <abort xmlns='SASL'/>
        < <failure xmlns='SASL'><aborted/></failure>";
    play(setup(), &[SECURE, challenged, aborted, abort, LOGIN]);
    play(setup(), &[SECURE, challenged, "* gone", abort]);
    play(setup(), &[SECURE, SCRAM, "* lost", abort]);
    let bad = "> <response xmlns='SASL'>?</response>
        < <failure xmlns='SASL'><incorrect-encoding/></failure>";
    play(setup(), &[SECURE, challenged, bad, abort, LOGIN]);
    let end = error("policy-violation", "not at this time");
    let end = end.replace("! close", "! up abort juliet@localhost\n! close");
    // A second exchange within the first, or another protocol's (B02).
    for said in [
        "<auth xmlns='SASL' mechanism='PLAIN'>AGEAYg==</auth>",
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>",
    ] {
        play(
            setup(),
            &[
                SECURE,
                challenged,
                &format!("> {said}"),
                &format!("< {end}"),
            ],
        );
    }
    let stanza = error("not-authorized", "");
    let stanza = stanza.replace("! close", "! up abort juliet@localhost\n! close");
    play(
        setup(),
        &[SECURE, challenged, "> <presence/>", &format!("< {stanza}")],
    );
}

#[test]
fn an_abort_waits_for_the_answer_it_crosses() {
    let abort = "> <abort xmlns='SASL'/>";
    let challenge = "v challenge x
        < <challenge xmlns='SASL'>eA==</challenge><failure xmlns='SASL'><aborted/></failure>
        ! up abort juliet@localhost
        . ready";
    play(setup(), &[SECURE, SCRAM, abort, challenge, LOGIN]);
}

#[test]
fn an_item_that_does_not_wait_ends_the_stream() {
    let mut player = Player::new(setup());
    for line in [SECURE, SCRAM].iter().flat_map(|script| script.lines()) {
        player.line(&expand(line.trim()));
    }
    let presence = Stanza::new(
        couplet_proto::Kind::Presence,
        couplet_proto::Type::Available,
    );
    player.step(Event::Item(crate::framing::Item::Stanza(presence)));
    assert!(player.said().contains("<policy-violation "));
    assert_eq!(
        player.done,
        ["up abort juliet@localhost", "close policy-violation"]
    );
}

#[test]
fn nobody_authenticates_twice() {
    let end = format!("< {}", error("policy-violation", "not at this time"));
    for said in [
        "<auth xmlns='SASL' mechanism='PLAIN'>AGEAYg==</auth>",
        "<response xmlns='SASL'/>",
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>",
    ] {
        let said = format!("> {said}");
        play(setup(), &[SECURE, LOGIN, &said, &end]);
        let detached = end.replace("! close", "! up detach Closed\n! close");
        play(setup(), &[SECURE, LOGIN, BIND, &said, &detached]);
    }
}

#[test]
fn an_answer_about_somebody_else_authenticates_nobody() {
    let answer = "v authenticated romeo@localhost
        < <failure xmlns='SASL'><temporary-auth-failure/></failure>";
    play(setup(), &[SECURE, SCRAM, answer, LOGIN]);
    // Nor does an answer to no question.
    play(
        setup(),
        &[
            SECURE,
            "v authenticated romeo@localhost",
            "v challenge x",
            LOGIN,
        ],
    );
}

#[test]
fn the_stream_after_authentication_is_for_the_same_host_and_account() {
    let (login, _) = LOGIN.split_once("> OPEN").expect("there");
    let other = OPEN.replace("to='localhost'", "to='capulet.lit'");
    let ours = HEADER.replace("from='localhost'", "from='capulet.lit'");
    let end = error("not-authorized", "authenticated for another host");
    play(
        setup(),
        &[
            SECURE,
            login,
            &format!("> {other}"),
            &format!("< {ours} {end}"),
        ],
    );
    let unknown = OPEN.replace("to='localhost'", "to='nope.example'");
    let end = format!("< HEADER {}", error("host-unknown", ""));
    play(setup(), &[SECURE, login, &format!("> {unknown}"), &end]);
    for from in ["romeo@localhost", "juliet@capulet.lit", "localhost", "@@"] {
        let theirs = OPEN.replace(" version='1.0'>", &format!(" from='{from}' version='1.0'>"));
        let end = format!("< HEADER {}", error("invalid-from", ""));
        play(setup(), &[SECURE, login, &format!("> {theirs}"), &end]);
    }
    let theirs = OPEN.replace(" version='1.0'>", " from='juliet@localhost' version='1.0'>");
    let ours = HEADER.replace(
        " version='1.0' xml",
        " to='juliet@localhost' version='1.0' xml",
    );
    let features = format!("< {ours} AUTHENTICATED");
    play(setup(), &[SECURE, login, &format!("> {theirs}"), &features]);
}

#[test]
fn the_origin_learns_what_the_connection_can_prove() {
    let mut player = Player::new(setup());
    for line in SECURE.lines() {
        player.line(&expand(line.trim()));
    }
    let auth = expand("<auth xmlns='SASL' mechanism='PLAIN'>AGp1bGlldABz</auth>");
    let mut input = auth.as_bytes();
    let item = player
        .framer
        .next(&mut input)
        .expect("well-formed")
        .expect("whole");
    let mut actions = Actions::new();
    let slot_of = |jid: &Jid| Slot::of(Seed([0; 16]), jid);
    let event = Event::Item(item);
    player
        .stream
        .step(event, &slot_of, &mut player.out, &mut actions);
    let Some(Action::Up(slot, ToOrigin::Authenticate(connection, request))) = actions.pop() else {
        panic!("nothing sent");
    };
    assert_eq!(
        slot,
        slot_of(&Jid::parse("juliet@localhost").expect("valid"))
    );
    assert_eq!(connection, ConnectionId(7));
    let channel = request.channel;
    assert!(channel.is_encrypted && channel.peer.is_some_and(|peer| peer.is_loopback()));
    assert_eq!(channel.bindings.len(), 2);
    assert_eq!(channel.offered.len(), 5);
}
