//! Sessions that outlive their connections, their edges and their owners.

use std::sync::Arc;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{ResumeError, ToEdge, ToOrigin, Unacked};
use couplet_proto::link::id::Source;
use couplet_proto::xmpp::error::StreamCondition;

use super::rig::{Client, Rig, jid};

const NEXT: Epoch = Epoch(4);

/// Romeo online, Juliet online with stream management; what she resumes by.
fn lovers() -> (Rig, Client, Client, String) {
    let mut rig = Rig::new(2, &["romeo@x", "juliet@x"]);
    let romeo = rig.online("romeo@x/r");
    let juliet = rig.online("juliet@x/j");
    let id = rig.enable(&juliet);
    rig.holds_acks = true;
    (rig, romeo, juliet, id)
}

fn message(id: u32) -> String {
    format!("<message id='m{id}' to='juliet@x/j' type='chat'><body>{id}</body></message>")
}

fn ids(stanzas: &[String]) -> Vec<&str> {
    stanzas
        .iter()
        .filter_map(|stanza| stanza.split("id='").nth(1)?.split('\'').next())
        .collect()
}

#[test]
fn a_resumed_session_gets_what_it_has_not_had_once_and_in_order() {
    let (mut rig, mut romeo, mut juliet, id) = lovers();
    for number in 1..=3 {
        rig.send(&mut romeo, &message(number));
    }
    assert_eq!(ids(&rig.received(&juliet)), ["m1", "m2", "m3"]);
    rig.lose(&juliet);
    rig.send(&mut romeo, &message(4));
    assert_eq!(
        rig.taken(&romeo),
        5,
        "stored for her, so it has taken effect"
    );
    assert!(rig.received(&romeo).is_empty(), "she is not gone");
    let resumed = rig.resume(&mut juliet, &id, 2);
    assert!(
        matches!(&resumed, ToEdge::Resumed { session, acked_enabled, acked, .. }
            if *session == juliet.session && acked - acked_enabled == 2),
        "{resumed:?}"
    );
    assert_eq!(ids(&rig.received(&juliet)), ["m3", "m4"]);
    rig.send(&mut romeo, &message(5));
    assert_eq!(ids(&rig.received(&juliet)), ["m5"]);
    assert!(
        rig.store.sleepers().is_empty(),
        "nothing is left in the store"
    );
}

#[test]
fn a_resumption_is_refused_for_a_reason() {
    let (mut rig, mut romeo, mut juliet, id) = lovers();
    rig.send(&mut romeo, &message(1));
    rig.lose(&juliet);
    let why = |frame| match frame {
        ToEdge::ResumeRefused { why, .. } => why,
        other => panic!("{other:?}"),
    };
    let unknown = rig.resume(&mut juliet, "no such id", 0);
    assert_eq!(why(unknown), ResumeError::NotFound);
    let too_high = rig.resume(&mut juliet, &id, 2);
    assert_eq!(why(too_high), ResumeError::HandledTooHigh { sent: 1 });
    // Somebody else's id is as good as none.
    let mut nurse = romeo.clone();
    let stolen = rig.resume(&mut nurse, &id, 0);
    assert_eq!(why(stolen), ResumeError::NotFound);
    let resumed = rig.resume(&mut juliet, &id, 1);
    assert!(matches!(resumed, ToEdge::Resumed { .. }), "{resumed:?}");
}

#[test]
fn of_two_connections_that_resume_one_session_the_last_has_it() {
    let (mut rig, mut romeo, juliet, id) = lovers();
    let (mut first, mut second) = (juliet.clone(), juliet.clone());
    assert!(matches!(
        rig.resume(&mut first, &id, 0),
        ToEdge::Resumed { .. }
    ));
    assert_eq!(rig.closed(&juliet), Some(StreamCondition::Conflict));
    assert!(matches!(
        rig.resume(&mut second, &id, 0),
        ToEdge::Resumed { .. }
    ));
    assert_eq!(rig.closed(&first), Some(StreamCondition::Conflict));
    rig.send(&mut romeo, &message(1));
    assert_eq!(ids(&rig.received(&second)), ["m1"]);
}

#[test]
fn a_session_that_is_not_taken_up_ends_and_its_messages_wait() {
    let (mut rig, mut romeo, mut juliet, id) = lovers();
    rig.send(&mut romeo, &message(1));
    rig.lose(&juliet);
    rig.send(&mut romeo, &message(2));
    rig.tick(299_000);
    assert!(
        rig.account("juliet@x")
            .is_some_and(|juliet| juliet.sessions.len() == 1)
    );
    rig.tick(2_000);
    assert!(
        rig.account("juliet@x")
            .is_some_and(|juliet| juliet.sessions.is_empty())
    );
    assert!(rig.store.sleepers().is_empty());
    let late = rig.resume(&mut juliet, &id, 0);
    assert!(
        matches!(
            late,
            ToEdge::ResumeRefused {
                why: ResumeError::NotFound,
                h: Some(0),
                ..
            }
        ),
        "{late:?}"
    );
    rig.holds_acks = false;
    let mut again = rig.login("juliet@x/other");
    rig.send(&mut again, "<presence/>");
    let received = rig.received(&again);
    let messages: Vec<_> = received
        .iter()
        .filter(|one| one.contains("<body>"))
        .cloned()
        .collect();
    assert_eq!(ids(&messages), ["m1", "m2"], "{received:?}");
}

#[test]
fn a_session_without_stream_management_waits_a_little_for_its_edge() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let juliet = rig.online("juliet@x/j");
    rig.lose_edge();
    rig.tick(5_000);
    assert!(
        rig.account("juliet@x")
            .is_some_and(|juliet| juliet.sessions.len() == 1)
    );
    rig.tick(6_000);
    assert!(
        rig.account("juliet@x")
            .is_some_and(|juliet| juliet.sessions.is_empty())
    );
    let _ = (&mut romeo, juliet);
}

#[test]
fn a_new_owner_goes_on_with_what_the_edge_brings() {
    let (mut rig, mut romeo, juliet, _) = lovers();
    rig.send(&mut romeo, &message(1));
    let delivered = rig.received(&juliet);
    assert_eq!(ids(&delivered), ["m1"]);
    let kept = Unacked {
        stanza: Arc::new(super::rig::stanza(&message(1))),
        source: Some(Source {
            session: romeo.session,
            number: 2,
            part: 0,
        }),
        log: None,
    };
    let attach = rig.attachment(&juliet, vec![kept]);
    rig.move_slot("juliet@x", NEXT);
    assert!(
        rig.account("juliet@x").is_none(),
        "the new owner knows nothing"
    );
    let account = jid("juliet@x");
    rig.up_at(&account, NEXT, ToOrigin::Expect(vec![juliet.session]));
    // Somebody writes before she is there: it waits for her.
    rig.send(&mut romeo, &message(2));
    assert!(rig.received(&juliet).is_empty());
    rig.up_at(&account, NEXT, ToOrigin::Attach(Box::new(attach)));
    assert_eq!(ids(&rig.received(&juliet)), ["m2"]);
    let own = rig.account("juliet@x").expect("in memory");
    assert!(own.sessions[0].is_available() && own.sessions[0].managed.is_some());
    assert_eq!(own.sessions[0].outbox.unacked().count(), 2);
}

#[test]
fn what_is_sent_again_applies_once() {
    let (mut rig, mut romeo, juliet, _) = lovers();
    rig.detach(&juliet);
    rig.send(&mut romeo, &message(1));
    let taken = rig.taken(&romeo);
    rig.repeat(&romeo, super::rig::EPOCH, &message(1));
    assert_eq!(rig.taken(&romeo), taken);
    // His slot moves before he hears: his edge brings the message to the new owner.
    let mut attach = rig.attachment(&romeo, Vec::new());
    attach.taken -= 1;
    rig.move_slot("romeo@x", NEXT);
    let account = jid("romeo@x");
    rig.up_at(&account, NEXT, ToOrigin::Expect(vec![romeo.session]));
    rig.up_at(&account, NEXT, ToOrigin::Attach(Box::new(attach)));
    rig.repeat(&romeo, NEXT, &message(1));
    assert_eq!(rig.taken(&romeo), taken, "it has taken effect, once");
    // So does hers, who is away.
    rig.move_slot("juliet@x", NEXT);
    rig.up_at(&jid("juliet@x"), NEXT, ToOrigin::Expect(Vec::new()));
    rig.repeat(&romeo, NEXT, &message(1));
    let waiting = rig
        .account("juliet@x")
        .map(|juliet| juliet.slots.offline.waiting());
    assert_eq!(waiting.unwrap_or(1), 1);
}

#[test]
fn what_follows_from_an_answer_is_sent_by_the_next_owner() {
    let (mut rig, mut romeo, mut juliet, _) = lovers();
    let presence = |type_: &str, to: &str| format!("<presence type='{type_}' to='{to}'/>");
    rig.send(&mut juliet, &presence("subscribe", "romeo@x"));
    let answer = presence("subscribed", "juliet@x");
    // Her slot gathers, and is lost with all that waits; his owner is lost before it hears of that.
    rig.move_slot("juliet@x", NEXT);
    rig.send(&mut romeo, &answer);
    let attach = rig.attachment(&romeo, Vec::new());
    rig.move_slot("romeo@x", NEXT);
    rig.move_slot("juliet@x", NEXT.next());
    rig.up_at(&jid("juliet@x"), NEXT.next(), ToOrigin::Expect(Vec::new()));
    let sees_him = |rig: &mut Rig| {
        let account = rig.account("juliet@x").expect("in memory");
        let item = crate::features::roster::item(account, &jid("romeo@x"));
        item.is_some_and(|item| item.state.sees())
    };
    let account = jid("romeo@x");
    rig.up_at(&account, NEXT, ToOrigin::Expect(vec![romeo.session]));
    rig.up_at(&account, NEXT, ToOrigin::Attach(Box::new(attach)));
    rig.repeat(&romeo, NEXT, &answer);
    assert!(sees_him(&mut rig));
}
