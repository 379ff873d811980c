//! XEP-0045 §7.2.13, §7.2.14: what was said before.

use super::*;

/// The bodies that somebody is shown who asks for history so.
fn shown(rig: &mut Rig, client: &mut Client, attributes: &str) -> Vec<String> {
    let history = format!("<x xmlns='http://jabber.org/protocol/muc'><history {attributes}/></x>");
    let received = enter(rig, client, "B", &history);
    let body = |stanza: &String| {
        let (_, rest) = stanza.split_once("<body>")?;
        Some(rest.split_once("</body>")?.0.to_owned())
    };
    received.iter().filter_map(body).collect()
}

#[test]
fn a_client_gets_as_much_as_it_asks_for() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    settings(&mut rig).history_max = 4;
    for number in 0..6 {
        let body = format!("<body>{number}</body>");
        let message = format!("<message type='groupchat' to='{DEN}'>{body}</message>");
        rig.send(&mut clients[0], &message);
        let state = "<active xmlns='http://jabber.org/protocol/chatstates'/>";
        let state = format!("<message type='groupchat' to='{DEN}'>{state}</message>");
        rig.send(&mut clients[0], &state);
        rig.tick(10_000);
    }
    let b = &mut clients[1];
    rig.received(b);
    let whole = enter(&mut rig, b, "B", JOIN);
    let last = whole.iter().rev().find(|stanza| stanza.contains("<body>"));
    let chars = last.expect("a message").chars().count();
    // What was said at 50 s: the clock of the tests starts at 1000000 s.
    let since = "since='1970-01-12T13:47:20Z'";
    for (attributes, wanted) in [
        ("", &["2", "3", "4", "5"][..]),
        ("maxstanzas='2'", &["4", "5"]),
        ("maxstanzas='100'", &["2", "3", "4", "5"]),
        ("maxstanzas='0'", &[]),
        ("maxchars='0'", &[]),
        (&format!("maxchars='{chars}'"), &["5"]),
        (&format!("maxchars='{}'", 2 * chars), &["4", "5"]),
        (&format!("maxchars='{}'", 2 * chars - 1), &["5"]),
        ("seconds='15'", &["5"]),
        ("seconds='25' maxstanzas='1'", &["5"]),
        ("seconds='99999999999999999999'", &["2", "3", "4", "5"]),
        (since, &["4", "5"]),
        ("since='1970-01-01T00:00:00Z'", &["2", "3", "4", "5"]),
        ("since='never'", &["2", "3", "4", "5"]),
    ] {
        assert_eq!(shown(&mut rig, b, attributes), wanted, "{attributes}");
        // It asks too often.
        room(&mut rig).pace = Default::default();
    }
}

/// §7.2.13: from the author's nick, with the time it was said; the id of XEP-0359 stays.
#[test]
fn history_is_delayed() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    let message = format!("<message type='groupchat' id='m' to='{DEN}'><body>x</body></message>");
    rig.send(&mut clients[0], &message);
    rig.received(&clients[1]);
    let received = join(&mut rig, &mut clients[1], "B");
    has(
        &received[2],
        &[
            "from='den@rooms.x/A'",
            "id='m'",
            "<stanza-id ",
            "<occupant-id ",
        ],
    );
    has(
        &received[2],
        &["<delay xmlns='urn:xmpp:delay' from='den@rooms.x' stamp='1970-01-12T"],
    );
}
