//! Any order at all: what must hold however little sense it makes.

use proptest::prelude::*;

use super::*;

/// Everything a client, an origin or an operator may do, sensible or not.
const MOVES: &[&str] = &[
    "> OPEN",
    "> </stream:stream>",
    "> <starttls xmlns='TLS'/>",
    "> <auth xmlns='SASL' mechanism='PLAIN'>AGp1bGlldABz</auth>",
    "> <auth xmlns='SASL' mechanism='SCRAM-SHA-1'/>",
    "> <auth xmlns='SASL' mechanism='X'>=</auth>",
    "> <response xmlns='SASL'>biwsbj1qdWxpZXQscj14</response>",
    "> <abort xmlns='SASL'/>",
    "> <iq type='set' id='b'><bind xmlns='BINDING'/></iq>",
    "> <iq type='set' id='s'><session xmlns='SESSION'/></iq>",
    "> <iq type='set' id='r'><query xmlns='jabber:iq:register'><username>a</username><password>b\
    </password></query></iq>",
    "> <iq type='get'/>",
    "> <presence/>",
    "> <foo/>",
    "* secured",
    "* secured tls-exporter",
    "* deadline",
    "* silent",
    "* shutdown",
    "* ping p",
    "v challenge x",
    "v authenticated juliet@localhost",
    "v authenticated romeo@localhost",
    "v refused not-authorized",
    "v registered r",
    "v bound juliet@localhost/balcony",
    "v bind-refused conflict",
    "> <enable xmlns='SM' resume='true'/>",
    "> <resume xmlns='SM' previd='p' h='0'/>",
    "> <r xmlns='SM'/>",
    "> <a xmlns='SM' h='1'/>",
    "* origin-gone",
    "* settled 1",
    "* delivered 3",
    "* ask",
    "v enabled x 60",
    "v resumed juliet@localhost/balcony 1 0 2 1",
    "v resume-refused not-found",
    "v close conflict",
];

/// A login, so that disorder also strikes late.
const ORDER: &[&str] = &[
    "* secured tls-exporter",
    "> OPEN",
    "> <auth xmlns='SASL' mechanism='PLAIN'>AGp1bGlldABz</auth>",
    "v authenticated juliet@localhost",
    "> OPEN",
    "> <iq type='set' id='b'><bind xmlns='BINDING'/></iq>",
    "v bound juliet@localhost/balcony",
    "> <presence/>",
];

/// Plays without a script; returns what was said and done.
fn run(moves: &[&str], require_tls: bool) -> (String, Vec<String>, bool) {
    let mut player = Player::new(Setup {
        require_tls,
        registration_open: true,
        ..setup()
    });
    for line in moves {
        let line = expand(line);
        let (mark, rest) = line.split_once(' ').expect("a mark and a text");
        match mark {
            ">" => player.feed(rest.as_bytes()),
            "*" => player.happen(rest),
            _ => player.step(Event::FromOrigin(frame(rest))),
        }
    }
    let was_bound = player.stream.session().is_some();
    player.happen("lost");
    let said = String::from_utf8(player.out.to_vec()).expect("UTF-8");
    (said, player.done, was_bound)
}

fn count(done: &[String], what: &str) -> usize {
    done.iter().filter(|done| done.starts_with(what)).count()
}

proptest! {
    #[test]
    fn disorder_breaks_no_promise(
        ordered in 0..=ORDER.len(),
        moves in prop::collection::vec(prop::sample::select(MOVES), 0..12),
        require_tls: bool,
    ) {
        let moves = [&ORDER[..ordered], &moves].concat();
        let (said, done, was_bound) = run(&moves, require_tls);
        // One identity, one session at most.
        prop_assert!(count(&done, "authenticated") <= 1);
        let held = count(&done, "bound") + count(&done, "resumed");
        prop_assert!(held <= 1);
        prop_assert!(held <= count(&done, "authenticated"));
        prop_assert!(count(&done, "starttls") <= 1);
        // The origin is told of every end exactly once; a bind that came too late included. Not of
        // the end of a session that it has given to another connection.
        let is_late = |line: &&&str| line.starts_with("v bound") || line.starts_with("v resumed");
        let late = moves.iter().filter(is_late).count();
        let replaced = usize::from(moves.contains(&"v close conflict"));
        let detached = count(&done, "up detach");
        prop_assert!(detached + replaced >= held && detached <= late);
        // A stream ends once, with everything said before it.
        let ends = said.matches("</stream:stream>").count();
        let closed = count(&done, "close");
        prop_assert!(ends == closed || (ends == 0 && said.ends_with("xmpp-tls'/>")));
        prop_assert!(closed <= 1 && !(was_bound && closed > 0));
        if ends == 1 {
            prop_assert!(said.ends_with("</stream:stream>"));
        }
        // What must be protected is.
        if require_tls && !moves.iter().any(|line| line.starts_with("* secured")) {
            prop_assert_eq!(count(&done, "up"), detached);
        }
    }
}
