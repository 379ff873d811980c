//! The rules for stanzas (RFC 6120 §8) and the end of a session.

use super::*;

fn check(script: &str) {
    play(setup(), &[SECURE, LOGIN, BIND, script]);
}

#[test]
fn stanzas_go_up_numbered_and_without_a_sender() {
    check(
        "> <presence/>
         ! up 1 <presence/>
         > <message to='romeo@localhost' from='juliet@localhost/balcony' type='chat'><body>hi\
         </body></message>
         ! up 2 <message type='chat' to='romeo@localhost'><body>hi</body></message>
         > <presence from='juliet@localhost' type='subscribe' to='romeo@localhost'/>
         ! up 3 <presence type='subscribe' to='romeo@localhost'/>
         > <iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>
         ! up 4 <iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>
         > <iq type='result' id='p'/>
         ! up 5 <iq type='result' id='p'/>",
    );
}

#[test]
fn who_claims_to_be_somebody_else_is_put_out() {
    for from in [
        "romeo@localhost",
        "juliet@localhost/garden",
        "juliet@localhost/Balcony",
        "localhost",
        "@@",
        "",
    ] {
        for stanza in [
            format!("<message from='{from}' to='romeo@localhost'><body>x</body></message>"),
            format!("<presence from='{from}'/>"),
            format!("<iq from='{from}' type='get'/>"),
        ] {
            let end = error("invalid-from", "");
            let end = end.replace("! close", "! up detach Closed\n! close");
            check(&format!("> {stanza}\n< {end}"));
        }
    }
}

#[test]
fn a_request_that_breaks_the_rules_is_answered_and_counted() {
    let error = |attributes: &str, condition: &str| {
        format!(
            "<iq type='error'{attributes} to='juliet@localhost/balcony'>\
             <error type='modify'><{condition} xmlns='STANZAS'/></error></iq>"
        )
    };
    for (iq, answer) in [
        (
            "<iq type='get'><query xmlns='u'/></iq>",
            error("", "bad-request"),
        ),
        ("<iq type='get' id='1'/>", error(" id='1'", "bad-request")),
        (
            "<iq type='set' id='1' to='x.example'><a xmlns='u'/><b xmlns='u'/></iq>",
            error(" id='1' from='x.example'", "bad-request"),
        ),
        (
            "<iq type='bogus' id='1'><a xmlns='u'/></iq>",
            error(" id='1'", "bad-request"),
        ),
        (
            "<iq id='1'><a xmlns='u'/></iq>",
            error(" id='1'", "bad-request"),
        ),
        (
            "<iq type='get' id='1' to='a@@b'><a xmlns='u'/></iq>",
            error(" id='1'", "jid-malformed"),
        ),
    ] {
        check(&format!(
            "> {iq}\n! up answer 1 {answer}\n> <presence/>\n! up 2 <presence/>"
        ));
    }
    check(
        "> <presence type='bogus' id='1'/>
         ! up answer 1 <presence type='error' id='1' to='juliet@localhost/balcony'>\
         <error type='modify'>\
         <bad-request xmlns='STANZAS'/></error></presence>
         > <message to='a@@b' id='&lt;'><body>x</body></message>
         ! up answer 2 <message type='error' id='&lt;' to='juliet@localhost/balcony'>\
         <error type='modify'>\
         <jid-malformed xmlns='STANZAS'/></error></message>",
    );
}

#[test]
fn answers_are_never_answered() {
    for stanza in [
        "<iq type='result'/>",
        "<iq type='error'/>",
        "<iq type='result' id='1'><a xmlns='u'/><b xmlns='u'/></iq>",
        "<iq type='result' id='1' to='a@@b'/>",
        "<iq type='error' id='1' to='a@@b'/>",
        "<message type='error' to='a@@b'/>",
        "<presence type='error' to='a@@b'/>",
    ] {
        check(&format!("> {stanza}\n> <presence/>\n! up 2 <presence/>"));
    }
}

#[test]
fn what_is_about_the_stream_is_answered_by_the_stream() {
    check(
        "> <iq type='set' id='s' to='localhost'><session xmlns='SESSION'/></iq>
         ! up answer 1 <iq type='result' id='s' from='localhost' to='juliet@localhost/balcony'/>
         > <iq type='set' id='b'><bind xmlns='BINDING'><resource>x</resource></bind></iq>
         ! up answer 2 <iq type='error' id='b' to='juliet@localhost/balcony'><error type='cancel'>\
         <not-allowed xmlns='STANZAS'/></error></iq>
         > <iq type='set' id='b' to='other.example'><bind xmlns='BINDING'/></iq>
         ! up 3 <iq type='set' id='b' to='other.example'><bind xmlns='BINDING'/></iq>",
    );
}

#[test]
fn the_language_of_the_stream_is_the_default() {
    let (login, _) = LOGIN.split_once("> OPEN").expect("there");
    let open = OPEN.replace(" to=", " xml:lang='it' to=");
    let scripts = [
        SECURE,
        login,
        &format!("> {open}\n< HEADER AUTHENTICATED"),
        BIND,
        "> <presence/>
         ! up 1 <presence xml:lang='it'/>
         > <presence xml:lang='de'/>
         ! up 2 <presence xml:lang='de'/>",
    ];
    play(setup(), &scripts);
    let odd = open.replace("'it'", "'no tag'");
    let odd = format!("> {odd}\n< HEADER AUTHENTICATED");
    play(
        setup(),
        &[
            SECURE,
            login,
            &odd,
            BIND,
            "> <presence/>\n! up 1 <presence/>",
        ],
    );
}

#[test]
fn what_is_no_stanza_ends_the_session() {
    for (said, condition, text) in [
        ("<foo/>", "unsupported-stanza-type", ""),
        ("<foo xmlns='urn:x'/>", "unsupported-stanza-type", ""),
        ("<message xmlns='jabber:server'/>", "invalid-namespace", ""),
        (
            "<auth xmlns='SASL' mechanism='PLAIN'/>",
            "policy-violation",
            "not at this time",
        ),
    ] {
        let end = error(condition, text).replace("! close", "! up detach Closed\n! close");
        check(&format!("> {said}\n< {end}"));
    }
}

#[test]
fn a_session_ends_once() {
    let gone = "* gone
        v bound juliet@localhost/other
        ! up detach Closed";
    let end = |condition: &str, reason: &str| {
        let end = error(condition, "");
        format!(
            "< {}",
            end.replace("! close", &format!("! up detach {reason}\n! close"))
        )
    };
    check(&format!(
        "> </stream:stream>
         < </stream:stream>
         ! up detach Closed
         ! close
         {gone}"
    ));
    check("* gone\n! up detach Closed\n. closed");
    check("* lost\n! up detach Lost\n. closed\n* shutdown");
    check(&format!("* shutdown\n{}", end("system-shutdown", "Lost")));
    check(&format!("* silent\n{}", end("connection-timeout", "Lost")));
    check(&format!(
        "v close not-authorized\n{}",
        end("not-authorized", "Closed")
    ));
    // It is another connection's, or is about to be: this one has not ended it.
    check(&format!("v close conflict\n{}", end("conflict", "Lost")));
    check("* deadline\n. bound");
}

#[test]
fn the_client_is_pinged_by_its_host() {
    check(
        "* ping p1
         < <iq type='get' id='p1' from='localhost' to='juliet@localhost/balcony'>\
         <ping xmlns='urn:xmpp:ping'/></iq>
         > <iq type='result' id='p1' to='localhost' from='juliet@localhost/balcony'/>
         ! up 1 <iq type='result' id='p1' to='localhost'/>",
    );
}

#[test]
fn who_is_banned_is_told_and_does_not_come_back() {
    let end = error("policy-violation", "no client is let in from there");
    let end = end.replace("! close", "! up detach Closed\n! close");
    check(&format!("* banned\n< {end}"));
}
