//! XEP-0045 §7.8.2, §9.5: mediated invitations.

use super::super::affiliation::Affiliation;
use super::super::room::Member;
use super::*;
use crate::shard::rig::jid;

fn invite(to: &str) -> String {
    format!(
        "<message id='i' to='{DEN}'><x xmlns='http://jabber.org/protocol/muc#user'>\
         <invite to='{to}'><reason>Hey</reason><continue thread='t'/></invite></x></message>"
    )
}

fn decline(to: &str) -> String {
    format!(
        "<message to='{DEN}'><x xmlns='http://jabber.org/protocol/muc#user'>\
         <decline to='{to}'><reason>busy</reason></decline></x></message>"
    )
}

#[test]
fn somebody_is_invited_and_declines() {
    let mut rig = world(&["a", "h"]);
    let (mut a, mut h) = (rig.online("a@x/r"), rig.online("h@x/r"));
    open(&mut rig, &mut a, "A");
    settings(&mut rig).password = Some("burn".to_owned());
    rig.send(&mut a, &invite("h@x"));
    let invited = rig.received(&h).remove(0);
    has(
        &invited,
        &[
            "<message id='",
            "' from='den@rooms.x' to='h@x'",
            "<invite from='a@x'>",
        ],
    );
    has(
        &invited,
        &["<reason>Hey</reason>", "<continue thread='t'/>"],
    );
    has(
        &invited,
        &[
            "<password>burn</password>",
            "<x xmlns='jabber:x:conference' jid='den@rooms.x'",
        ],
    );
    rig.send(&mut h, &decline("a@x"));
    let declined = rig.received(&a).remove(0);
    has(
        &declined,
        &[
            "from='den@rooms.x' to='a@x/r'",
            "<decline from='h@x'>",
            "busy",
        ],
    );
    // A room carries nothing to those who cannot have invited.
    has(&rig.ask(&mut h, &decline("h@x")), &["<item-not-found "]);
}

#[test]
fn who_may_not_invite_is_told() {
    let (mut rig, mut clients) = den(&["a", "b", "h"]);
    rig.send(
        &mut clients[2],
        "<presence type='unavailable' to='den@rooms.x/H'/>",
    );
    for client in &clients {
        rig.received(client);
    }
    has(
        &rig.ask(&mut clients[2], &invite("b@x")),
        &["<not-acceptable "],
    );
    has(
        &rig.ask(&mut clients[1], &invite("@@")),
        &["<jid-malformed "],
    );
    has(
        &rig.ask(&mut clients[1], &invite("x")),
        &["<jid-malformed "],
    );
    settings(&mut rig).may_invite = false;
    has(&rig.ask(&mut clients[1], &invite("h@x")), &["<forbidden "]);
    assert_eq!(rig.received(&clients[2]), Vec::<String>::new());
    rig.send(&mut clients[0], &invite("h@x"));
    assert_eq!(rig.received(&clients[2]).len(), 1);
    let banned = Member {
        affiliation: Affiliation::Outcast,
        nick: None,
        reason: None,
    };
    room(&mut rig).members.insert(jid("h@x"), banned);
    has(&rig.ask(&mut clients[0], &invite("h@x")), &["<forbidden "]);
}

/// §9.5: to a members-only room one is invited as a member.
#[test]
fn who_is_invited_to_a_members_only_room_may_enter() {
    let mut rig = world(&["a", "h"]);
    let (mut a, mut h) = (rig.online("a@x/r"), rig.online("h@x/r"));
    open(&mut rig, &mut a, "A");
    rig.send(&mut a, &invite("h@x"));
    settings(&mut rig).is_members_only = true;
    rig.received(&h);
    has(
        &join(&mut rig, &mut h, "H")[0],
        &["<registration-required "],
    );
    rig.send(&mut a, &invite("h@x"));
    rig.received(&h);
    has(
        &join(&mut rig, &mut h, "H")[1],
        &["affiliation='member'", "code='110'"],
    );
}

/// §7.8.2, "non-existent JID": the inviter is told, by its own id, whom nobody knows.
#[test]
fn who_invites_nobody_is_told() {
    let (mut rig, mut clients) = den(&["a", "b"]);
    rig.send(&mut clients[1], &invite("nobody@x"));
    let told = rig.received(&clients[1]);
    assert_eq!(told.len(), 1, "{told:?}");
    has(
        &told[0],
        &[
            "<message type='error' id='i' from='den@rooms.x' to='b@x/r'",
            "<item-not-found ",
            "nobody@x cannot be invited.",
        ],
    );
    assert_eq!(rig.received(&clients[0]), Vec::<String>::new());
}

/// An error that answers no invitation is nobody's; nor is one by somebody else.
#[test]
fn an_error_for_the_room_needs_an_invitation() {
    let mut rig = world(&["a", "h", "m"]);
    let [mut a, mut h, mut m] = ["a@x/r", "h@x/r", "m@x/r"].map(|jid| rig.online(jid));
    open(&mut rig, &mut a, "A");
    rig.send(&mut a, &invite("h@x"));
    let invited = rig.received(&h).remove(0);
    let id = invited.split('\'').nth(1).expect("an id");
    rig.received(&a);
    let error = |id: &str| {
        let condition = "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:h@y</gone>";
        let error = format!("<error type='cancel'>{condition}</error>");
        format!("<message type='error' id='{id}' to='{DEN}'>{error}</message>")
    };
    rig.send(&mut m, &error(id));
    rig.send(&mut h, &error("i"));
    rig.send(&mut h, &error(""));
    assert_eq!(rig.received(&a), Vec::<String>::new());
    rig.send(&mut h, &error(id));
    let told = rig.received(&a).remove(0);
    has(
        &told,
        &["id='i'", "<item-not-found ", "h@x cannot be invited."],
    );
    lacks(&told, &["h@y"]);
}
