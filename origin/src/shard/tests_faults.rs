//! The engine when something fails, is late, or is too much.

use couplet_proto::link::frame::ToEdge;
use couplet_proto::xmpp::error::StreamCondition;

use super::rig::{Rig, jid};

const VCARD: &str = "<vCard xmlns='vcard-temp'/>";

const REMOVE: &str =
    "<iq type='set' id='g'><query xmlns='jabber:iq:register'><remove/></query></iq>";

const POISON: &str = "<message to='romeo@x'><poison xmlns='urn:test:poison'/></message>";

fn roster_set(item: &str) -> String {
    format!("<iq type='set' id='r'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
}

fn roster_get() -> &'static str {
    "<iq type='get' id='q'><query xmlns='jabber:iq:roster'/></iq>"
}

#[test]
fn a_question_costs_credit_until_it_is_answered() {
    for shards in [1, 2] {
        let mut rig = Rig::new(shards, &["romeo@x", "juliet@x"]);
        let mut romeo = rig.online("romeo@x/r");
        rig.faults.holds_answers = true;
        for to in ["romeo@x", "juliet@x"] {
            rig.send(
                &mut romeo,
                &format!("<iq type='get' id='v' to='{to}'>{VCARD}</iq>"),
            );
        }
        assert_eq!(rig.taken(&romeo), 1);
        assert_eq!(rig.answer(), 2);
        assert_eq!(rig.received(&romeo).len(), 2);
        assert_eq!(rig.taken(&romeo), 3);
    }
}

#[test]
fn one_password_is_prepared_at_a_time() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    let mut romeo = rig.online("romeo@x/r");
    rig.faults.holds_answers = true;
    let change = "<iq type='set' id='c' to='x'><query xmlns='jabber:iq:register'>\
                  <username>romeo</username><password>secret</password></query></iq>";
    rig.send(&mut romeo, change);
    let refused = rig.ask(&mut romeo, change);
    assert!(refused.contains("<resource-constraint"), "{refused}");
    assert_eq!(rig.answer(), 1);
    assert!(rig.received(&romeo)[0].contains("'result'"));
    assert!(rig.ask(&mut romeo, change).contains("'result'"));
}

#[test]
fn a_panic_forgets_nothing_that_is_being_stored() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let mut juliet = rig.online("juliet@x/j");
    rig.holds_commits = true;
    rig.send(&mut romeo, &roster_set("<item jid='mercutio@x'/>"));
    rig.send(&mut juliet, POISON);
    rig.commit(true);
    let roster = rig.received(&romeo).join("");
    assert!(roster.contains("type='result' id='r'"), "{roster}");
    let roster = rig.ask(&mut romeo, roster_get());
    assert!(roster.contains("mercutio"), "{roster}");
    // The same when the commit fails: the account is read once, after it.
    rig.send(&mut romeo, &roster_set("<item jid='paris@x'/>"));
    rig.send(&mut juliet, POISON);
    rig.commit(false);
    rig.received(&romeo);
    let roster = rig.ask(&mut romeo, roster_get());
    assert!(
        roster.contains("mercutio") && !roster.contains("paris"),
        "{roster}"
    );
}

#[test]
fn a_panic_leaves_no_session_behind() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    let mut poisoned = rig.login("romeo@x/poison");
    rig.send(&mut poisoned, "<presence/>");
    rig.detach(&poisoned);
    let romeo = rig.account("romeo@x").expect("in memory");
    assert!(romeo.sessions.is_empty(), "{:?}", romeo.sessions);
    // The same when its end is part of the beginning of another.
    let first = rig.login("romeo@x/poison");
    assert!(rig.try_login("romeo@x/poison").is_err());
    let romeo = rig.account("romeo@x").expect("in memory");
    assert!(romeo.sessions.len() <= 1, "{:?}", romeo.sessions);
    rig.detach(&first);
    let romeo = rig.account("romeo@x").expect("in memory");
    assert!(romeo.sessions.is_empty(), "{:?}", romeo.sessions);
}

#[test]
fn a_removal_that_cannot_be_stored_is_told_to_nobody() {
    let mut rig = Rig::new(7, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let other = rig.online("romeo@x/s");
    let mut juliet = rig.online("juliet@x/j");
    rig.send(&mut juliet, "<presence type='subscribe' to='romeo@x'/>");
    rig.send(&mut romeo, "<presence type='subscribed' to='juliet@x'/>");
    rig.received(&juliet);
    rig.holds_commits = true;
    rig.send(&mut romeo, REMOVE);
    rig.commit(false);
    rig.holds_commits = false;
    while rig.is_committing() {
        rig.commit(true);
    }
    let heard = rig.received(&juliet).join("");
    assert!(!heard.contains("unsubscribe"), "{heard}");
    // Its sessions have ended, so nobody goes on talking to nobody.
    assert_eq!(heard.matches("unavailable").count(), 2, "{heard}");
    assert_eq!(rig.closed(&romeo), Some(StreamCondition::NotAuthorized));
    assert_eq!(rig.closed(&other), Some(StreamCondition::NotAuthorized));
    assert!(rig.try_login("romeo@x/r").is_ok());
}

#[test]
fn what_was_proven_of_an_account_goes_with_it() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let account = jid("romeo@x");
    let proof = rig.prove(&account);
    rig.send(&mut romeo, REMOVE);
    rig.create(&account);
    let refused = rig.bind(&account, proof);
    assert!(matches!(refused, ToEdge::BindRefused { .. }), "{refused:?}");
    let proof = rig.prove(&account);
    let bound = rig.bind(&account, proof);
    assert!(matches!(bound, ToEdge::Bound { .. }), "{bound:?}");
}

#[test]
fn a_session_that_replaces_another_waits_for_no_commit() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    let older = rig.online("romeo@x/r");
    rig.holds_commits = true;
    rig.login("romeo@x/r");
    assert_eq!(rig.closed(&older), Some(StreamCondition::Conflict));
    assert!(!rig.is_committing());
}

#[test]
fn a_late_presence_is_sent_although_the_account_could_not_be_read() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let other = rig.online("romeo@x/s");
    let mut juliet = rig.online("juliet@x/j");
    for number in 0..30 {
        let presence = format!("<presence><status>{number}</status></presence>");
        rig.send(&mut romeo, &presence);
    }
    rig.received(&other);
    rig.faults.fails_loads = true;
    rig.send(&mut juliet, POISON);
    rig.tick(1_000);
    rig.tick(1_000);
    rig.faults.fails_loads = false;
    rig.tick(1_000);
    rig.tick(1_000);
    let heard = rig.received(&other).join("");
    assert!(heard.contains("<status>29</status>"), "{heard}");
}

#[test]
fn what_waits_is_not_overtaken_by_a_refusal() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let mut juliet = rig.online("juliet@x/j");
    rig.holds_loads = true;
    rig.send(&mut juliet, POISON);
    rig.send(&mut romeo, "<presence/>");
    for _ in 0..1100 {
        rig.send(
            &mut juliet,
            "<message to='romeo@x'><body>hi</body></message>",
        );
    }
    rig.send(&mut romeo, "<presence/>");
    assert_eq!(rig.taken(&romeo), 1);
    rig.load();
    assert_eq!(rig.taken(&romeo), 3);
    assert_eq!(rig.taken(&juliet), 1102);
}

#[test]
fn strangers_and_approvals_do_not_fill_a_roster() {
    let accounts = ["romeo@x", "a@x", "b@x", "c@x"];
    let mut rig = Rig::with(2, &accounts, |config| config.limits.roster_items = 2);
    let mut romeo = rig.online("romeo@x/r");
    for stranger in &accounts[1..] {
        let mut stranger = rig.online(&format!("{stranger}/1"));
        rig.send(&mut stranger, "<presence type='subscribe' to='romeo@x'/>");
    }
    rig.received(&romeo);
    let mut answers = Vec::new();
    for number in 0..3 {
        let set = roster_set(&format!("<item jid='friend{number}@x'/>"));
        answers.push(rig.ask(&mut romeo, &set).contains("'result'"));
    }
    assert_eq!(answers, [true, true, false]);
    let approve = "<presence type='subscribed' to='stranger@x'/>";
    assert!(
        rig.ask(&mut romeo, approve)
            .contains("<resource-constraint")
    );
    let roster = rig.ask(&mut romeo, roster_get());
    assert_eq!(roster.matches("<item").count(), 2, "{roster}");
}

#[test]
fn a_roster_and_a_request_are_no_place_for_files() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let juliet = rig.online("juliet@x/j");
    let long = format!("<status>{}</status>", "x".repeat(5_000));
    let subscribe = format!("<presence type='subscribe' to='juliet@x'>{long}</presence>");
    assert!(
        rig.ask(&mut romeo, &subscribe)
            .contains("<policy-violation")
    );
    assert!(rig.received(&juliet).is_empty());
    let groups: String = (0..64)
        .map(|number| format!("<group>{number:01000}</group>"))
        .collect();
    let full = (0..100).find(|number| {
        let set = roster_set(&format!("<item jid='{number}@x'>{groups}</item>"));
        rig.ask(&mut romeo, &set).contains("<resource-constraint")
    });
    assert_eq!(full, Some(31));
    // What is there can be made smaller.
    let smaller = roster_set("<item jid='0@x'/>");
    assert!(rig.ask(&mut romeo, &smaller).contains("'result'"));
}

#[test]
fn a_probe_does_not_tell_which_accounts_there_are() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    for name in ["juliet", "nobody"] {
        rig.send(
            &mut romeo,
            &format!("<presence type='subscribe' to='{name}@x'/>"),
        );
        rig.send(
            &mut romeo,
            &format!("<presence type='probe' to='{name}@x'/>"),
        );
        rig.received(&romeo);
        let roster = rig.ask(&mut romeo, roster_get());
        assert!(!roster.contains("ask="), "{roster}");
    }
}

#[test]
fn what_waits_is_given_once_although_a_commit_holds_it_up() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let message = |id| format!("<message id='m{id}' to='juliet@x'><body>{id}</body></message>");
    rig.send(&mut romeo, &message(1));
    rig.faults.holds_answers = true;
    let mut juliet = rig.login("juliet@x/j");
    rig.send(&mut juliet, "<presence/>");
    rig.holds_commits = true;
    rig.send(&mut romeo, &message(2));
    // The first page has its place behind the second message.
    assert_eq!(rig.answer(), 1);
    rig.send(&mut romeo, &message(3));
    while rig.is_committing() {
        rig.commit(true);
    }
    let received = rig.received(&juliet).join("");
    // What is read a second time comes as this in a cluster, and as it is elsewhere.
    assert!(!received.contains("id='repeated'"), "{received}");
    for id in 1..=3 {
        assert_eq!(
            received.matches(&format!("id='m{id}'")).count(),
            1,
            "{received}"
        );
    }
}
