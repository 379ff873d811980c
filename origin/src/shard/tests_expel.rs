//! Sessions that operators end, and accounts that may have none.

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Resume, ResumeError, ToEdge, ToOrigin};
use couplet_proto::xmpp::error::{SaslCondition, StreamCondition};

use super::rig::{Client, Rig, jid};

/// Romeo online, Juliet online twice, once with stream management; what she resumes by.
fn lovers() -> (Rig, Client, Client, Client, String) {
    let mut rig = Rig::new(2, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let mut juliet = rig.online("juliet@x/j");
    let ask = "<presence to='juliet@x' type='subscribe'/>";
    rig.send(&mut romeo, ask);
    rig.send(&mut juliet, "<presence to='romeo@x' type='subscribed'/>");
    rig.received(&juliet);
    let id = rig.enable(&juliet);
    let other = rig.online("juliet@x/k");
    for client in [&romeo, &juliet, &other] {
        rig.received(client);
    }
    (rig, romeo, juliet, other, id)
}

fn sessions(rig: &mut Rig, account: &str) -> usize {
    rig.account(account).map_or(0, |known| known.sessions.len())
}

#[test]
fn one_session_is_kicked_and_cannot_be_resumed() {
    let (mut rig, romeo, mut juliet, other, id) = lovers();
    assert_eq!(rig.kick("juliet@x/j"), Some(Ok(1)));
    assert_eq!(rig.closed(&juliet), Some(StreamCondition::PolicyViolation));
    assert_eq!(rig.closed(&other), None);
    let seen = rig.received(&romeo);
    assert!(
        seen.iter()
            .any(|it| it.contains("from='juliet@x/j'") && it.contains("type='unavailable'")),
        "{seen:?}"
    );
    let refused = rig.resume(&mut juliet, &id, 0);
    assert!(
        matches!(
            refused,
            ToEdge::ResumeRefused {
                why: ResumeError::NotFound,
                ..
            }
        ),
        "{refused:?}"
    );
    assert_eq!(sessions(&mut rig, "juliet@x"), 1);
    assert_eq!(rig.kick("juliet@x/j"), Some(Ok(0)));
    assert_eq!(rig.kick("nobody@x"), Some(Ok(0)));
    assert!(rig.try_login("juliet@x/j").is_ok());
}

#[test]
fn all_sessions_of_an_account_are_kicked_also_one_that_sleeps() {
    let (mut rig, mut romeo, mut juliet, other, id) = lovers();
    rig.holds_acks = true;
    rig.lose(&juliet);
    let message = "<message id='m1' to='juliet@x/j' type='chat'><body>hi</body></message>";
    rig.send(&mut romeo, message);
    assert!(!rig.store.sleepers().is_empty());
    assert_eq!(rig.kick("juliet@x"), Some(Ok(2)));
    assert_eq!(rig.closed(&other), Some(StreamCondition::PolicyViolation));
    assert!(rig.store.sleepers().is_empty());
    let refused = rig.resume(&mut juliet, &id, 0);
    assert!(
        matches!(refused, ToEdge::ResumeRefused { .. }),
        "{refused:?}"
    );
    // What waited for her is there when she comes again: it was acknowledged to its sender.
    let mut again = rig.login("juliet@x/new");
    rig.send(&mut again, "<presence/>");
    let received = rig.received(&again);
    assert!(
        received.iter().any(|it| it.contains("id='m1'")),
        "{received:?}"
    );
}

#[test]
fn what_was_delivered_and_not_acknowledged_waits_for_the_next_session() {
    let (mut rig, mut romeo, juliet, other, _) = lovers();
    rig.detach(&other);
    rig.holds_acks = true;
    let message = "<message id='m1' to='juliet@x/j' type='chat'><body>hi</body></message>";
    rig.send(&mut romeo, message);
    assert!(
        rig.received(&juliet)
            .iter()
            .any(|it| it.contains("id='m1'"))
    );
    rig.holds_commits = true;
    let mut said = rig.ask_to_kick("juliet@x");
    assert!(said.try_recv().is_err(), "said before it is stored");
    while rig.is_committing() {
        rig.commit(true);
    }
    rig.holds_commits = false;
    assert_eq!(said.try_recv(), Ok(Ok(1)));
    let mut again = rig.login("juliet@x/new");
    rig.send(&mut again, "<presence/>");
    let received = rig.received(&again);
    let count = received.iter().filter(|it| it.contains("id='m1'")).count();
    assert_eq!(count, 1, "{received:?}");
}

#[test]
fn a_domain_is_kicked_some_at_a_time() {
    let (mut rig, romeo, juliet, other, _) = lovers();
    let none = rig.kick_some("y", 10);
    assert_eq!((none.ended, none.are_left), (0, false));
    let mut ended = 0;
    loop {
        let some = rig.kick_some("x", 1);
        assert!(some.ended <= 2, "one in each shard: {some:?}");
        ended += some.ended;
        if !some.are_left {
            break;
        }
    }
    assert_eq!(ended, 3);
    for client in [&romeo, &juliet, &other] {
        assert_eq!(rig.closed(client), Some(StreamCondition::PolicyViolation));
    }
}

#[test]
fn a_banned_account_loses_its_sessions_and_gets_no_others() {
    let (mut rig, romeo, juliet, other, id) = lovers();
    let proof = rig.prove(&jid("juliet@x"));
    let (comes, token) = rig.prove(&jid("juliet@x"));
    rig.lose(&juliet);
    rig.direct(&["juliet@x"], &[]);
    assert_eq!(rig.closed(&other), Some(StreamCondition::PolicyViolation));
    assert_eq!(sessions(&mut rig, "juliet@x"), 0);
    assert_eq!(rig.closed(&romeo), None);
    let refused = rig.try_login("juliet@x/j").expect_err("banned");
    assert!(
        matches!(
            refused,
            ToEdge::Refused {
                condition: SaslCondition::AccountDisabled,
                ..
            }
        ),
        "{refused:?}"
    );
    // A stranger hears what he would hear of anybody.
    let connection = rig.connection();
    let wrong = super::rig::authenticate(&jid("juliet@x"), "PLAIN", b"\0juliet\0wrong".to_vec());
    rig.up(&jid("juliet@x"), ToOrigin::Authenticate(connection, wrong));
    let refused = rig.next_frame(connection);
    assert!(
        matches!(
            refused,
            ToEdge::Refused {
                condition: SaslCondition::NotAuthorized,
                ..
            }
        ),
        "{refused:?}"
    );
    // Who has proved who it is before.
    let bound = rig.bind(&jid("juliet@x"), proof);
    assert!(matches!(bound, ToEdge::BindRefused { .. }), "{bound:?}");
    let resume = Resume {
        account: jid("juliet@x"),
        token,
        previous: id.into(),
        h: 0,
        peer: None,
    };
    let resume = ToOrigin::Resume(comes, Box::new(resume));
    rig.up(&jid("juliet@x"), resume);
    let resumed = rig.next_frame(comes);
    assert!(
        matches!(
            resumed,
            ToEdge::ResumeRefused {
                why: ResumeError::NotAuthorized,
                ..
            }
        ),
        "{resumed:?}"
    );
    rig.direct(&[], &[]);
    assert!(rig.try_login("juliet@x/j").is_ok());
}

#[test]
fn a_ban_of_an_account_ends_in_time() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    rig.direct(&["romeo@x"], &[]);
    assert!(rig.try_login("romeo@x/r").is_err());
    rig.tick(60_000);
    assert!(rig.try_login("romeo@x/r").is_ok());
}

#[test]
fn nobody_registers_a_banned_account() {
    let mut rig = Rig::with(1, &[], |config| config.registration.open = true);
    rig.direct(&["romeo@x"], &[]);
    let answer = rig.register(&jid("romeo@x"));
    assert!(answer.contains("<conflict "), "{answer}");
    let answer = rig.register(&jid("romeo@y"));
    assert!(answer.contains("<conflict "), "{answer}");
    // Banned while the keys of the password were made.
    rig.faults.holds_answers = true;
    let connection = rig.connection();
    rig.ask_to_register(connection, &jid("juliet@x"));
    rig.direct(&["romeo@x", "juliet@x"], &[]);
    assert_eq!(rig.answer(), 1);
    let answer = rig.registered(connection);
    assert!(answer.contains("<conflict "), "{answer}");
    assert!(!rig.store.has(&jid("juliet@x")));
    rig.direct(&[], &[]);
    let answer = rig.register(&jid("romeo@x"));
    assert!(answer.contains("type='result'"), "{answer}");
}

#[test]
fn sessions_of_a_banned_account_end_that_are_only_found_later() {
    let (mut rig, _, juliet, other, _) = lovers();
    rig.detach(&other);
    rig.lose(&juliet);
    // The next owner has read nothing yet when he hears of the ban.
    rig.holds_loads = true;
    rig.move_slot("juliet@x", Epoch(4));
    rig.direct(&["juliet@x"], &[]);
    rig.load();
    rig.tick(1000);
    rig.tick(1000);
    assert_eq!(sessions(&mut rig, "juliet@x"), 0);
    assert!(rig.store.sleepers().is_empty());
}

#[test]
fn a_session_that_an_edge_brings_ends_when_its_account_is_banned() {
    let (mut rig, _, juliet, other, _) = lovers();
    rig.detach(&other);
    let attach = rig.attachment(&juliet, Vec::new());
    rig.move_slot("juliet@x", Epoch(4));
    rig.direct(&["juliet@x"], &[]);
    let account = jid("juliet@x");
    let expect = ToOrigin::Expect(vec![juliet.session]);
    rig.up_at(&account, Epoch(4), expect);
    rig.up_at(&account, Epoch(4), ToOrigin::Attach(Box::new(attach)));
    rig.tick(1000);
    assert_eq!(rig.closed(&juliet), Some(StreamCondition::PolicyViolation));
    assert_eq!(sessions(&mut rig, "juliet@x"), 0);
}

#[test]
fn a_session_whose_account_is_being_read_is_not_missed() {
    for is_banned_before in [true, false] {
        let (mut rig, _, juliet, other, _) = lovers();
        rig.detach(&other);
        let attach = rig.attachment(&juliet, Vec::new());
        rig.holds_loads = true;
        rig.move_slot("juliet@x", Epoch(4));
        if is_banned_before {
            rig.direct(&["juliet@x"], &[]);
        }
        let account = jid("juliet@x");
        let expect = ToOrigin::Expect(vec![juliet.session]);
        rig.up_at(&account, Epoch(4), expect);
        rig.up_at(&account, Epoch(4), ToOrigin::Attach(Box::new(attach)));
        rig.direct(&["juliet@x", "nurse@x"], &[]);
        rig.load();
        rig.tick(1000);
        let closed = rig.closed(&juliet);
        assert_eq!(closed, Some(StreamCondition::PolicyViolation));
        assert_eq!(sessions(&mut rig, "juliet@x"), 0);
    }
}

#[test]
fn an_added_domain_is_served_until_it_is_removed() {
    let mut rig = Rig::new(1, &["romeo@x", "nurse@y"]);
    let mut romeo = rig.online("romeo@x/r");
    assert!(rig.try_login("nurse@y/n").is_err());
    let message = "<message id='m1' to='nurse@y' type='chat'><body>hi</body></message>";
    let bounced = rig.ask(&mut romeo, message);
    assert!(bounced.contains("<remote-server-not-found "), "{bounced}");
    rig.direct(&[], &["y"]);
    let nurse = rig.online("nurse@y/n");
    rig.send(&mut romeo, message);
    assert_eq!(rig.received(&nurse).len(), 1);
    let items = "<iq type='get' id='d' to='x'>\
                 <query xmlns='http://jabber.org/protocol/disco#items'/></iq>";
    let listed = rig.ask(&mut romeo, items);
    assert!(listed.contains("jid='conference.y'"), "{listed}");
    rig.direct(&[], &[]);
    assert_eq!(rig.closed(&nurse), Some(StreamCondition::HostGone));
    assert_eq!(sessions(&mut rig, "nurse@y"), 0);
    assert!(rig.try_login("nurse@y/n").is_err());
    let bounced = rig.ask(&mut romeo, message);
    assert!(bounced.contains("<remote-server-not-found "), "{bounced}");
    let listed = rig.ask(&mut romeo, items);
    assert!(!listed.contains("jid='conference.y'"), "{listed}");
    // The account is where it was.
    rig.direct(&[], &["y"]);
    assert!(rig.try_login("nurse@y/n").is_ok());
}
