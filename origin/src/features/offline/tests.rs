//! What is kept for whom, and who is given it.

use crate::shard::rig::Rig;

#[test]
fn what_is_kept_depends_on_type_content_and_hints() {
    let mut rig = Rig::with(1, &["romeo@x", "juliet@x"], |config| {
        config.limits.offline_messages = 5;
    });
    let mut romeo = rig.online("romeo@x/r");
    let body = "<body>hi</body>";
    let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    let receipt = "<received xmlns='urn:xmpp:receipts' id='x'/>";
    let hint = |name| format!("<{name} xmlns='urn:xmpp:hints'/>");
    let cases = [
        ("chat", body.to_owned(), "kept"),
        ("normal", body.to_owned(), "kept"),
        ("chat", receipt.to_owned(), "kept"),
        ("chat", format!("{state}{}", hint("store")), "kept"),
        ("chat", state.to_owned(), "dropped"),
        ("chat", format!("<thread>t</thread>{state}"), "dropped"),
        ("chat", format!("{body}{}", hint("no-store")), "refused"),
        ("chat", format!("{receipt}{}", hint("no-store")), "dropped"),
        ("headline", body.to_owned(), "dropped"),
        ("groupchat", body.to_owned(), "refused"),
        (
            "chat",
            format!("{body}{}", hint("no-permanent-store")),
            "kept",
        ),
        // The sixth.
        ("chat", body.to_owned(), "refused"),
    ];
    let mut kept = 0;
    for (type_, content, outcome) in cases {
        let message = format!("<message to='juliet@x' type='{type_}'>{content}</message>");
        rig.send(&mut romeo, &message);
        let refused = rig.received(&romeo).join("");
        let waiting = rig
            .account("juliet@x")
            .map(|juliet| juliet.slots.offline.stored);
        let waiting = waiting.expect("in memory");
        let is_refused = refused.contains("<service-unavailable");
        match outcome {
            "kept" => assert!(waiting == kept + 1 && refused.is_empty(), "{message}"),
            "dropped" => assert!(waiting == kept && refused.is_empty(), "{message}"),
            _ => assert!(waiting == kept && is_refused, "{message}"),
        }
        kept = waiting;
    }
}

#[test]
fn a_session_of_negative_priority_gets_nothing() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let mut juliet = rig.login("juliet@x/j");
    rig.send(&mut juliet, "<presence><priority>-1</priority></presence>");
    rig.received(&juliet);
    let message = "<message id='m' to='juliet@x'><body>hi</body></message>";
    rig.send(&mut romeo, message);
    assert!(rig.received(&juliet).is_empty());
    rig.send(&mut juliet, "<presence/>");
    let received = rig.received(&juliet);
    assert!(
        received.iter().any(|stanza| stanza.contains("id='m'")),
        "{received:?}"
    );
}

#[test]
fn who_is_not_given_the_log_has_live_messages_at_once_and_only_once() {
    let accounts = ["romeo@x", "juliet@x"];
    for rig in [Rig::new(1, &accounts), Rig::alone(&accounts)] {
        play(rig);
    }
}

fn play(mut rig: Rig) {
    let mut romeo = rig.online("romeo@x/r");
    let message = |id: &str, to: &str| {
        format!("<message id='{id}' to='{to}' type='chat'><body>hi</body></message>")
    };
    rig.send(&mut romeo, &message("m1", "juliet@x"));
    let mut phone = rig.login("juliet@x/phone");
    rig.enable(&phone);
    rig.holds_acks = true;
    rig.send(&mut phone, "<presence/>");
    assert_eq!(ids(&rig.received(&phone)), ["m1"]);
    let desk = rig.online("juliet@x/desk");
    rig.received(&desk);
    // The phone has not said that it has the first: the second waits behind it.
    rig.send(&mut romeo, &message("m2", "juliet@x"));
    assert!(ids(&rig.received(&phone)).is_empty());
    assert_eq!(ids(&rig.received(&desk)), ["m2"]);
    rig.send(&mut romeo, &message("m3", "juliet@x/desk"));
    assert_eq!(ids(&rig.received(&desk)), ["m3"]);
    // The phone ends without: the desk is given the log, but for what it has had.
    rig.detach(&phone);
    assert_eq!(ids(&rig.received(&desk)), ["m1", "repeated"]);
}

/// The ids of messages, and of what stands for them.
fn ids(stanzas: &[String]) -> Vec<&str> {
    let stanzas = stanzas
        .iter()
        .filter(|stanza| !stanza.starts_with("<presence"));
    stanzas
        .filter_map(|stanza| stanza.split("id='").nth(1)?.split('\'').next())
        .collect()
}
