//! XEP-0045 §17.4, XEP-0410: requests to rooms and occupants.

use super::*;

fn ping(to: &str) -> String {
    format!("<iq type='get' id='1' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>")
}

/// The value of an attribute.
fn attribute<'a>(stanza: &'a str, name: &str) -> &'a str {
    let (_, rest) = stanza.split_once(&format!(" {name}='")).expect("there");
    rest.split_once('\'').expect("it ends").0
}

/// XEP-0410 §3.3: the room answers for itself.
#[test]
fn a_client_asks_whether_it_is_in() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let answer = rig.ask(&mut clients[1], &ping("den@rooms.x/B"));
    has(&answer, &["type='result'", "from='den@rooms.x/B'"]);
    let mut other = rig.online("b@x/other");
    rig.received(&clients[1]);
    has(
        &rig.ask(&mut other, &ping("den@rooms.x/B")),
        &["type='error'", "<not-acceptable "],
    );
    has(
        &rig.ask(&mut other, &ping("no@rooms.x/B")),
        &["type='error'", "<not-acceptable "],
    );
    has(
        &rig.ask(&mut other, &ping("no@rooms.x")),
        &["<item-not-found "],
    );
}

/// §17.4: neither learns the other's address.
#[test]
fn a_request_and_its_answer_are_passed_on() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let request = "<iq type='get' id=\"i'd\" to='den@rooms.x/A'><q xmlns='urn:q'/></iq>";
    rig.send(
        &mut clients[1],
        &request.replace('"', "'").replace("i'd", "i.d"),
    );
    let asked = rig.received(&clients[0]).remove(0);
    has(
        &asked,
        &[
            "type='get'",
            "from='den@rooms.x/B'",
            "to='a@x/r'",
            "<q xmlns='urn:q'/>",
        ],
    );
    lacks(&asked, &["b@x"]);
    let id = attribute(&asked, "id").to_owned();
    let answer =
        format!("<iq type='result' id='{id}' to='den@rooms.x/B'><q xmlns='urn:q'>42</q></iq>");
    rig.send(&mut clients[0], &answer);
    let answered = rig.received(&clients[1]);
    assert_eq!(answered.len(), 1, "{answered:?}");
    has(
        &answered[0],
        &["type='result'", "id='i.d'", "from='den@rooms.x/A'", ">42<"],
    );
    lacks(&answered[0], &["a@x"]);
    // Nobody else can answer, nor to anything else.
    rig.send(&mut clients[1], &answer);
    rig.send(&mut clients[0], &answer.replace("i.d", "i.e"));
    rig.send(
        &mut clients[0],
        "<iq type='result' id='x' to='den@rooms.x/B'/>",
    );
    assert_eq!(rig.received(&clients[1]), Vec::<String>::new());
}

#[test]
fn an_error_is_passed_back_too() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    rig.send(&mut clients[1], &ping("den@rooms.x/A"));
    let asked = rig.received(&clients[0]).remove(0);
    let id = attribute(&asked, "id");
    let error = format!(
        "<iq type='error' id='{id}' to='den@rooms.x/B'><error type='cancel' by='a@x/r'>\
         <gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:a@x</gone>\
         <own xmlns='urn:example:own'/></error></iq>"
    );
    rig.send(&mut clients[0], &error);
    let back = rig.received(&clients[1]).remove(0);
    has(
        &back,
        &[
            "type='error'",
            "id='1'",
            "from='den@rooms.x/A'",
            "<error type='cancel'>",
            "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>",
            "<own ",
        ],
    );
    // §17.4: not who it really is.
    lacks(&back, &["a@x"]);
    // It is no sign that the occupant is gone.
    assert_eq!(room(&mut rig).occupants.len(), 2);
}

#[test]
fn requests_that_cannot_be_passed_on_are_refused() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    has(
        &rig.ask(&mut clients[1], &ping("den@rooms.x/Nobody")),
        &["<item-not-found "],
    );
    let mut other = rig.online("b@x/other");
    has(
        &rig.ask(&mut other, &ping("den@rooms.x/A")),
        &["<not-acceptable "],
    );
    // §6.6.
    let disco = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    let disco = format!("<iq type='get' id='d' to='den@rooms.x/A'>{disco}</iq>");
    has(&rig.ask(&mut other, &disco), &["<bad-request "]);
}

/// XEP-0054: the account has the card, not the session.
#[test]
fn a_card_is_asked_of_the_account() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let card = "<vCard xmlns='vcard-temp'><FN>Alice</FN></vCard>";
    rig.ask(
        &mut clients[0],
        &format!("<iq type='set' id='v'>{card}</iq>"),
    );
    let asked = "<iq type='get' id='c' to='den@rooms.x/A'><vCard xmlns='vcard-temp'/></iq>";
    rig.received(&clients[1]);
    let answer = rig.ask(&mut clients[1], asked);
    has(
        &answer,
        &[
            "type='result'",
            "id='c'",
            "from='den@rooms.x/A'",
            "<FN>Alice</FN>",
        ],
    );
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
}
