//! Resource binding (RFC 6120 §7).

use super::*;

fn ask(resource: &str) -> String {
    format!(
        "> <iq type='set' id='b'><bind xmlns='BINDING'><resource>{resource}</resource></bind></iq>"
    )
}

#[test]
fn a_resource_is_bound() {
    play(setup(), &[SECURE, LOGIN, BIND, ". bound"]);
    let wish = "! up bind juliet@localhost balcony
        . waiting
        v bound juliet@localhost/balcony
        < <iq type='result' id='b'><bind xmlns='BINDING'><jid>juliet@localhost/balcony</jid>\
        </bind></iq>
        ! bound juliet@localhost/balcony
        . ready
        . bound";
    play(setup(), &[SECURE, LOGIN, &ask("balcony"), wish]);
}

#[test]
fn what_cannot_be_a_resource_is_refused() {
    let refused = "< <iq type='error' id='b'><error type='modify'>\
         <bad-request xmlns='STANZAS'/></error></iq>";
    for resource in ["", &"r".repeat(1024), "\u{200e}\u{5d0}a", "\u{e000}"] {
        play(setup(), &[SECURE, LOGIN, &ask(resource), refused, BIND]);
    }
    let get = "> <iq type='get' id='b'><bind xmlns='BINDING'/></iq>";
    play(setup(), &[SECURE, LOGIN, get, refused, BIND]);
}

#[test]
fn a_refusal_may_be_followed_by_another_wish_but_not_for_ever() {
    let refused = "! up bind juliet@localhost x
        v bind-refused resource-constraint
        < <iq type='error' id='b'><error type='wait'><resource-constraint xmlns='STANZAS'/>\
        </error></iq>";
    play(setup(), &[SECURE, LOGIN, &ask("x"), refused, BIND]);
    let end = error("policy-violation", "too many failed attempts");
    let last = format!("{refused}{end}");
    let ask = ask("x");
    play(
        setup(),
        &[SECURE, LOGIN, &ask, refused, &ask, refused, &ask, &last],
    );
}

#[test]
fn nothing_but_a_bind_comes_before_a_session() {
    for stanza in [
        "<presence/>",
        "<message to='a@localhost'/>",
        "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
        "<iq type='set' id='1'><session xmlns='SESSION'/></iq>",
        "<iq type='result' id='1'><bind xmlns='BINDING'/></iq>",
        "<iq type='set'><bind xmlns='BINDING'/></iq>",
    ] {
        let end = format!("< {}", error("not-authorized", ""));
        play(setup(), &[SECURE, LOGIN, &format!("> {stanza}"), &end]);
    }
}

#[test]
fn stanzas_sent_along_with_the_bind_wait_for_it() {
    play(
        setup(),
        &[
            SECURE,
            LOGIN,
            "> <iq type='set' id='b'><bind xmlns='BINDING'/></iq><iq type='set' id='s'>\
            <session xmlns='SESSION'/></iq><presence/>
             ! up bind juliet@localhost
             . waiting
             v bound juliet@localhost/balcony
             < <iq type='result' id='b'><bind xmlns='BINDING'><jid>juliet@localhost/balcony\
             </jid></bind></iq>
             ! bound juliet@localhost/balcony
             ! up answer 1 <iq type='result' id='s' to='juliet@localhost/balcony'/>
             ! up 2 <presence/>",
        ],
    );
}

#[test]
fn a_resource_bound_too_late_is_given_back() {
    play(
        setup(),
        &[
            SECURE,
            LOGIN,
            "> <iq type='set' id='b'><bind xmlns='BINDING'/></iq>
             ! up bind juliet@localhost
             * lost
             . closed
             v bound juliet@localhost/balcony
             ! up detach Closed",
        ],
    );
}
