//! The engine, in a world of a test's own.

use std::sync::Arc;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{ToEdge, ToOrigin};
use couplet_proto::xmpp::error::{Condition, StreamCondition};
use couplet_proto::{Kind, Stanza, Type};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::rig::{PASSWORD, Rig, authenticate, jid};
use crate::features::FEATURES;
use crate::hooks::pipeline::Pipeline;

fn ids(stanzas: &[String]) -> Vec<&str> {
    let id = |stanza: &'_ String| -> Option<(usize, usize)> {
        let from = stanza.find(" id='")? + 5;
        Some((from, from + stanza[from..].find('\'')?))
    };
    stanzas
        .iter()
        .filter_map(|stanza| id(stanza).map(|(from, to)| &stanza[from..to]))
        .collect()
}

fn chat(id: &str, to: &str) -> String {
    format!("<message id='{id}' to='{to}' type='chat'><body>hi</body></message>")
}

/// A change of order in the message path is a change of this text.
#[test]
fn the_message_path_is_as_it_was() {
    let pipeline = Pipeline::new(FEATURES).expect("no clash");
    assert_eq!(
        pipeline.describe(),
        "sent Screen recipients\n\
         sent Stamp stanza_id\n\
         received Stamp stanza_id\n\
         received Deliver offline\n\
         received Absent offline\n"
    );
}

#[test]
fn two_accounts_chat() {
    for shards in [1, 2, 7] {
        let mut rig = Rig::new(shards, &["romeo@x", "juliet@x"]);
        let mut romeo = rig.online("romeo@x/r");
        let juliet = rig.online("juliet@x/j");
        rig.send(&mut romeo, &chat("m1", "juliet@x"));
        let message = "<message type='chat' id='m1' from='romeo@x/r' to='juliet@x'>";
        let expected = format!("{message}<body>hi</body></message>");
        assert_eq!(rig.received(&juliet), [expected]);
        assert_eq!(rig.taken(&romeo), 2);
    }
}

#[test]
fn a_wrong_password_and_an_unknown_account_are_refused_alike() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    let mut refusals = Vec::new();
    for account in ["romeo@x", "nobody@x"] {
        let account = jid(account);
        let connection = rig.connection();
        let initial = format!("\0{}\0wrong", account.local().expect("local"));
        let request = authenticate(&account, "PLAIN", initial.into_bytes());
        rig.up(&account, ToOrigin::Authenticate(connection, request));
        match rig.next_frame(connection) {
            ToEdge::Refused {
                condition, text, ..
            } => refusals.push((condition, text)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refusals[0], refusals[1]);
}

#[test]
fn offline_messages_come_once_in_order_with_their_time() {
    let mut rig = Rig::new(2, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let sent: Vec<String> = (0..250).map(|number| format!("m{number}")).collect();
    for id in &sent {
        rig.send(&mut romeo, &chat(id, "juliet@x"));
    }
    assert_eq!(rig.received(&romeo), Vec::<String>::new());
    let mut juliet = rig.login("juliet@x/j");
    assert_eq!(rig.received(&juliet), Vec::<String>::new());
    rig.send(&mut juliet, "<presence/>");
    let received = rig.received(&juliet);
    let messages: Vec<String> = received
        .into_iter()
        .filter(|stanza| stanza.starts_with("<message"))
        .collect();
    assert_eq!(ids(&messages), sent);
    assert!(messages.iter().all(|message| message.contains("<delay")));
    rig.detach(&juliet);
    let mut juliet = rig.login("juliet@x/j");
    rig.send(&mut juliet, "<presence/>");
    assert!(ids(&rig.received(&juliet)).is_empty());
}

#[test]
fn nothing_overtakes_what_waits() {
    let mut rig = Rig::new(2, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    for id in ["m1", "m2", "m3"] {
        rig.send(&mut romeo, &chat(id, "juliet@x"));
    }
    let mut juliet = rig.login("juliet@x/j");
    rig.holds_commits = true;
    // The page is removed by a commit that takes its time; meanwhile the next ones arrive.
    rig.send(&mut juliet, "<presence/>");
    rig.send(&mut romeo, &chat("m4", "juliet@x"));
    rig.send(&mut romeo, &chat("m5", "juliet@x/j"));
    while rig.is_committing() {
        rig.commit(true);
    }
    rig.send(&mut romeo, &chat("m6", "juliet@x"));
    assert_eq!(
        ids(&rig.received(&juliet)),
        ["m1", "m2", "m3", "m4", "m5", "m6"]
    );
    assert_eq!(rig.taken(&romeo), 7);
}

#[test]
fn a_flush_goes_on_after_a_panic_and_a_failed_commit() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let sent: Vec<String> = (0..250).map(|number| format!("m{number}")).collect();
    for id in &sent {
        rig.send(&mut romeo, &chat(id, "juliet@x"));
    }
    let mut juliet = rig.login("juliet@x/j");
    let poison = "<message to='juliet@x'><poison xmlns='urn:test:poison'/></message>";
    rig.push(&mut juliet, "<presence/>");
    rig.push(&mut romeo, poison);
    rig.push(&mut romeo, &chat("late", "juliet@x"));
    rig.run();
    let mut expected = sent.clone();
    expected.push("late".to_owned());
    assert_eq!(ids(&rig.received(&juliet)), expected);
    rig.detach(&juliet);
    for id in &sent {
        rig.send(&mut romeo, &chat(id, "juliet@x"));
    }
    let mut juliet = rig.login("juliet@x/j");
    rig.holds_commits = true;
    rig.push(&mut juliet, "<presence/>");
    rig.run();
    rig.commit(false);
    rig.holds_commits = false;
    while rig.is_committing() {
        rig.commit(true);
    }
    rig.send(&mut romeo, &chat("late", "juliet@x"));
    // What was not removed comes again; nothing is missing, nothing stays behind.
    let received = rig.received(&juliet);
    let received = ids(&received);
    assert!(expected.iter().all(|id| received.contains(&id.as_str())));
    assert_eq!(received.last(), Some(&"late"));
    rig.detach(&juliet);
    let mut juliet = rig.login("juliet@x/j");
    rig.send(&mut juliet, "<presence/>");
    assert!(ids(&rig.received(&juliet)).is_empty());
}

#[test]
fn what_a_session_was_not_given_is_for_the_next() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let sent: Vec<String> = (0..150).map(|number| format!("m{number}")).collect();
    for id in &sent {
        rig.send(&mut romeo, &chat(id, "juliet@x"));
    }
    // It leaves before the first page comes.
    let mut first = rig.login("juliet@x/1");
    rig.push(&mut first, "<presence/>");
    rig.detach(&first);
    assert!(ids(&rig.received(&first)).is_empty());
    let mut second = rig.login("juliet@x/2");
    rig.send(&mut second, "<presence/>");
    assert_eq!(ids(&rig.received(&second)), sent);
}

#[test]
fn nothing_is_released_before_its_commit() {
    let mut rig = Rig::new(2, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let mut juliet = rig.login("juliet@x/j");
    rig.holds_commits = true;
    let vcard = "<iq type='set' id='v'><vCard xmlns='vcard-temp'><FN>R</FN></vCard></iq>";
    rig.send(&mut romeo, vcard);
    // What comes behind it keeps its place, also what needs no commit.
    rig.send(&mut romeo, &chat("m1", "juliet@x/j"));
    assert!(rig.received(&romeo).is_empty());
    assert!(rig.received(&juliet).is_empty());
    assert_eq!(rig.taken(&romeo), 1);
    // Others do not wait.
    rig.send(
        &mut juliet,
        "<iq type='get' id='p' to='x'><ping xmlns='urn:xmpp:ping'/></iq>",
    );
    assert_eq!(ids(&rig.received(&juliet)), ["p"]);
    rig.commit(true);
    assert_eq!(ids(&rig.received(&romeo)), ["v"]);
    assert_eq!(ids(&rig.received(&juliet)), ["m1"]);
    assert_eq!(rig.taken(&romeo), 3);
}

#[test]
fn a_failed_commit_is_told_and_forgotten() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    rig.holds_commits = true;
    let add = "<iq type='set' id='r1'><query xmlns='jabber:iq:roster'>\
               <item jid='juliet@x' name='J'/></query></iq>";
    rig.send(&mut romeo, add);
    rig.send(&mut romeo, &chat("m1", "juliet@x"));
    rig.commit(false);
    rig.holds_commits = false;
    while rig.is_committing() {
        rig.commit(true);
    }
    let received = rig.received(&romeo);
    assert_eq!(ids(&received), ["r1"]);
    assert!(received[0].contains("<resource-constraint"), "{received:?}");
    assert!(received[0].contains("type='wait'"), "{received:?}");
    assert_eq!(rig.taken(&romeo), 3);
    // Memory does not hold what the store does not.
    let get = "<iq type='get' id='r2'><query xmlns='jabber:iq:roster'/></iq>";
    rig.send(&mut romeo, get);
    let received = rig.received(&romeo);
    assert!(!received[0].contains("juliet"), "{received:?}");
}

#[test]
fn a_panic_costs_one_stanza_and_its_repetition_is_refused_unread() {
    let mut rig = Rig::new(2, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let juliet = rig.online("juliet@x/j");
    let poison = "<message to='juliet@x' id='p'><poison xmlns='urn:test:poison'/></message>";
    for number in 2..6 {
        rig.send(&mut romeo, poison);
        let received = rig.received(&romeo);
        assert!(
            received[0].contains("<internal-server-error"),
            "{received:?}"
        );
        assert_eq!(rig.taken(&romeo), number);
    }
    let request = "<iq type='get' id='q' to='x'><poison xmlns='urn:test:poison'/></iq>";
    rig.send(&mut romeo, request);
    let received = rig.received(&romeo);
    assert!(
        received[0].contains("<internal-server-error"),
        "{received:?}"
    );
    rig.send(&mut romeo, &chat("m1", "juliet@x"));
    assert_eq!(ids(&rig.received(&juliet)), ["m1"]);
    assert_eq!(rig.taken(&romeo), 7);
}

#[test]
fn an_idle_account_leaves_memory_and_comes_back() {
    let mut rig = Rig::new(2, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    rig.send(&mut romeo, &chat("m1", "juliet@x"));
    assert_eq!(rig.residents(), 2);
    rig.tick(59_000);
    assert_eq!(rig.residents(), 2);
    rig.tick(2_000);
    assert_eq!(rig.residents(), 1);
    let mut juliet = rig.login("juliet@x/j");
    rig.send(&mut juliet, "<presence/>");
    assert_eq!(ids(&rig.received(&juliet)), ["m1"]);
}

#[test]
fn events_wait_in_order_while_an_account_is_read() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    rig.holds_loads = true;
    for id in ["m1", "m2", "m3"] {
        rig.send(&mut romeo, &chat(id, "juliet@x"));
    }
    assert_eq!(rig.taken(&romeo), 1);
    rig.load();
    assert_eq!(rig.taken(&romeo), 4);
    let mut juliet = rig.login("juliet@x/j");
    rig.send(&mut juliet, "<presence/>");
    assert_eq!(ids(&rig.received(&juliet)), ["m1", "m2", "m3"]);
}

#[test]
fn a_frame_of_another_epoch_is_refused() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    let romeo = rig.online("romeo@x/r");
    let ping = Stanza::new(Kind::Iq, Type::Get).to(jid("x"));
    for epoch in [2, 4] {
        let frame = ToOrigin::Stanza {
            entered: 0,
            session: romeo.session,
            number: 2,
            stanza: Arc::new(ping.clone()),
        };
        rig.up_at(&jid("romeo@x"), Epoch(epoch), frame);
        assert!(rig.received(&romeo).is_empty());
        assert_eq!(rig.taken(&romeo), 1);
    }
}

#[test]
fn the_newer_of_two_sessions_with_one_resource_stays() {
    let mut rig = Rig::new(1, &["romeo@x", "juliet@x"]);
    let older = rig.online("romeo@x/r");
    let mut newer = rig.login("romeo@x/r");
    assert_eq!(rig.closed(&older), Some(StreamCondition::Conflict));
    rig.send(&mut newer, "<presence/>");
    // The edge reports the older one gone: that changes nothing.
    rig.detach(&older);
    let mut juliet = rig.online("juliet@x/j");
    rig.send(&mut juliet, &chat("m1", "romeo@x/r"));
    assert!(ids(&rig.received(&newer)).contains(&"m1"));
}

#[test]
fn one_session_too_many_is_refused() {
    let mut rig = Rig::with(1, &["romeo@x"], |config| {
        config.limits.resources_per_account = 2;
    });
    rig.login("romeo@x/1");
    let second = rig.login("romeo@x/2");
    match rig.try_login("romeo@x/3") {
        Err(ToEdge::BindRefused { error, .. }) => {
            assert_eq!(error.condition, Condition::ResourceConstraint);
        }
        other => panic!("{other:?}"),
    }
    rig.detach(&second);
    rig.login("romeo@x/3");
}

#[test]
fn a_removed_account_is_gone_with_all_it_had() {
    let mut rig = Rig::new(2, &["romeo@x", "juliet@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let other = rig.online("romeo@x/s");
    let mut juliet = rig.online("juliet@x/j");
    rig.received(&romeo);
    rig.holds_commits = true;
    let remove = "<iq type='set' id='g'><query xmlns='jabber:iq:register'><remove/></query></iq>";
    rig.send(&mut romeo, remove);
    assert!(rig.received(&romeo).is_empty());
    assert_eq!(rig.closed(&romeo), None);
    rig.holds_commits = false;
    rig.commit(true);
    assert_eq!(ids(&rig.received(&romeo)), ["g"]);
    assert_eq!(rig.closed(&romeo), Some(StreamCondition::NotAuthorized));
    assert_eq!(rig.closed(&other), Some(StreamCondition::NotAuthorized));
    assert!(rig.try_login("romeo@x/r").is_err());
    assert!(!rig.store.has(&jid("romeo@x")));
    rig.send(&mut juliet, &chat("m1", "romeo@x"));
    let received = rig.received(&juliet);
    assert!(received[0].contains("<service-unavailable"), "{received:?}");
}

#[test]
fn a_flood_of_presence_is_thinned_out_to_the_latest() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let other = rig.online("romeo@x/s");
    for number in 0..500 {
        let presence = format!("<presence><status>{number}</status></presence>");
        rig.send(&mut romeo, &presence);
    }
    let first = rig.received(&other);
    assert!((18..=20).contains(&first.len()), "{}", first.len());
    assert_eq!(rig.taken(&romeo), 501);
    rig.tick(1_000);
    let latest = rig.received(&other);
    assert_eq!(latest.len(), 1, "{latest:?}");
    assert!(latest[0].contains("<status>499</status>"), "{latest:?}");
    // A session that leaves is not kept waiting.
    rig.send(&mut romeo, "<presence type='unavailable'/>");
    rig.detach(&romeo);
    assert!(rig.received(&other)[0].contains("unavailable"));
    rig.tick(1_000);
    assert!(rig.received(&other).is_empty());
}

fn hmac_sha_256(key: &[u8], data: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(data.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// RFC 5802 §3, the client's half.
#[test]
fn a_client_logs_in_with_scram() {
    let mut rig = Rig::new(1, &["romeo@x"]);
    let (account, connection) = (jid("romeo@x"), rig.connection());
    let bare = "n=romeo,r=nonce";
    let first = format!("n,,{bare}");
    let request = authenticate(&account, "SCRAM-SHA-256", first.into_bytes());
    rig.up(&account, ToOrigin::Authenticate(connection, request));
    let challenge = match rig.next_frame(connection) {
        ToEdge::Challenge { data, .. } => String::from_utf8(data.to_vec()).expect("text"),
        other => panic!("{other:?}"),
    };
    let fields: Vec<&str> = challenge.split(',').map(|field| &field[2..]).collect();
    let salt = STANDARD.decode(fields[1]).expect("base64");
    let rounds = fields[2].parse().expect("a number");
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(PASSWORD.as_bytes(), &salt, rounds, &mut salted);
    let client_key = hmac_sha_256(&salted, "Client Key");
    let without_proof = format!("c=biws,r={}", fields[0]);
    let signed = format!("{bare},{challenge},{without_proof}");
    let signature = hmac_sha_256(&Sha256::digest(&client_key), &signed);
    let proof = client_key
        .iter()
        .zip(signature)
        .map(|(key, byte)| key ^ byte);
    let proof = STANDARD.encode(proof.collect::<Vec<u8>>());
    let respond = ToOrigin::Respond {
        connection,
        account: account.clone(),
        data: format!("{without_proof},p={proof}").into(),
    };
    rig.up(&account, respond);
    let expected = STANDARD.encode(hmac_sha_256(&hmac_sha_256(&salted, "Server Key"), &signed));
    match rig.next_frame(connection) {
        ToEdge::Authenticated { data, .. } => {
            assert_eq!(data.expect("a signature"), format!("v={expected}"));
        }
        other => panic!("{other:?}"),
    }
}
