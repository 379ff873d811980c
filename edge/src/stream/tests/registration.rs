//! XEP-0077 before authentication.

use super::*;

/// The features where accounts may be made.
const OPEN_HOUSE: &str = "<register xmlns='http://jabber.org/features/iq-register'/>";

fn check(script: &str) {
    let features = ON_TLS.replace(
        "</stream:features>",
        &format!("{OPEN_HOUSE}</stream:features>"),
    );
    let secure = SECURE.replace("ON_TLS", &features);
    let registration_open = true;
    play(
        Setup {
            registration_open,
            ..setup()
        },
        &[&secure, script, LOGIN],
    );
}

fn refused(query: &str, error: &str) {
    check(&format!(
        "> <iq type='set' id='r'><query xmlns='jabber:iq:register'>{query}</query></iq>
         < <iq type='error' id='r'>{error}</iq>"
    ));
}

#[test]
fn the_form_is_handed_out_by_the_edge() {
    check(
        "> <iq type='get' id='r' to='localhost'><query xmlns='jabber:iq:register'/></iq>
         < <iq type='result' id='r' from='localhost'><query xmlns='jabber:iq:register'>\
<instructions>Choose a username and password for use with this service.</instructions>\
<username/><password/><x xmlns='jabber:x:data' type='form'><title>Registration</title>\
<instructions>Choose a username and password for use with this service.</instructions>\
<field var='FORM_TYPE' type='hidden'><value>jabber:iq:register</value></field>\
<field var='username' type='text-single' label='Username'><required/></field>\
<field var='password' type='text-private' label='Password'><required/></field></x></query></iq>",
    );
}

#[test]
fn an_account_is_asked_of_its_slot() {
    check(
        "> <iq type='set' id='r'><query xmlns='jabber:iq:register'><username>Bill</username>\
        <password>C a</password></query></iq>
         ! up register bill@localhost C a
         . waiting
         v registered r
         < <iq type='result' id='r'/>
         . ready",
    );
    check(
        "> <iq type='set' id='r'><query xmlns='jabber:iq:register'>\
        <x xmlns='jabber:x:data' type='submit'><field var='username'><value>bill</value></field>\
        <field var='password'><value>pw</value></field></x></query></iq>
         ! up register bill@localhost pw
         v registered r
         < <iq type='result' id='r'/>",
    );
}

#[test]
fn what_cannot_be_an_account_is_refused() {
    let incomplete = "<error type='modify'><not-acceptable xmlns='STANZAS'/>\
    <text xmlns='STANZAS' xml:lang='en'>both username and password are needed</text></error>";
    refused("", incomplete);
    refused("<username>bill</username>", incomplete);
    refused("<username>bill</username><password/>", incomplete);
    refused(
        "<username>b@ill</username><password>x</password>",
        "<error type='modify'><not-acceptable xmlns='STANZAS'/>\
        <text xmlns='STANZAS' xml:lang='en'>this cannot be a username</text></error>",
    );
    refused(
        "<remove/>",
        "<error type='wait'><unexpected-request xmlns='STANZAS'/></error>",
    );
}

#[test]
fn a_closed_house_says_so() {
    play(
        setup(),
        &[
            SECURE,
            "> <iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>
             < <iq type='error' id='r'><error type='cancel'>\
             <service-unavailable xmlns='STANZAS'/></error></iq>",
            LOGIN,
        ],
    );
}

#[test]
fn a_registration_with_somebody_else_needs_a_session() {
    let end = format!("< {}", error("not-authorized", ""));
    for iq in [
        "<iq type='get' id='r' to='gate.example'><query xmlns='jabber:iq:register'/></iq>",
        "<iq type='result' id='r'><query xmlns='jabber:iq:register'/></iq>",
        "<iq type='get'><query xmlns='jabber:iq:register'/></iq>",
    ] {
        play(setup(), &[SECURE, &format!("> {iq}"), &end]);
    }
    let registered = "> <iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>";
    play(setup(), &[SECURE, LOGIN, registered, &end]);
}
