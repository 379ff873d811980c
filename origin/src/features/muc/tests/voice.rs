//! XEP-0045 §7.13, §8.6: voice.

use super::super::affiliation::Role;
use super::*;
use crate::shard::rig::jid;

fn form(fields: &[(&str, &str)]) -> String {
    let field =
        |(var, value): &(&str, &str)| format!("<field var='{var}'><value>{value}</value></field>");
    let fields: String = fields.iter().map(field).collect();
    let form_type = "http://jabber.org/protocol/muc#request";
    format!(
        "<message to='{DEN}'><x xmlns='jabber:x:data' type='submit'>\
         <field var='FORM_TYPE'><value>{form_type}</value></field>{fields}</x></message>"
    )
}

fn answer(allow: &str) -> String {
    form(&[
        ("muc#role", "participant"),
        ("muc#jid", "b@x/r"),
        ("muc#roomnick", "B"),
        ("muc#request_allow", allow),
    ])
}

fn moderated() -> (Rig, Vec<Client>) {
    let (mut rig, clients) = den(&["a", "b", "c"]);
    settings(&mut rig).is_moderated = true;
    let b = room(&mut rig).occupants.get_mut(&jid("b@x/r"));
    b.expect("in the room").role = Role::Visitor;
    (rig, clients)
}

#[test]
fn a_visitor_asks_and_a_moderator_approves() {
    let (mut rig, mut clients) = moderated();
    rig.send(&mut clients[1], &form(&[("muc#role", "participant")]));
    let asked = rig.received(&clients[0]);
    assert_eq!(asked.len(), 1, "{asked:?}");
    has(
        &asked[0],
        &["from='den@rooms.x'", "type='form'", "<value>b@x/r</value>"],
    );
    has(
        &asked[0],
        &["<value>B</value>", "var='muc#request_allow' type='boolean'"],
    );
    assert_eq!(rig.received(&clients[2]), Vec::<String>::new());
    rig.send(&mut clients[0], &answer("false"));
    assert_eq!(rig.received(&clients[1]), Vec::<String>::new());
    rig.send(&mut clients[0], &answer("true"));
    has(
        &rig.received(&clients[1])[0],
        &["role='participant'", "code='110'"],
    );
    has(
        &rig.received(&clients[2])[0],
        &["from='den@rooms.x/B'", "role='participant'"],
    );
}

#[test]
fn who_may_not_ask_or_approve_is_told() {
    let (mut rig, mut clients) = moderated();
    has(&rig.ask(&mut clients[2], &answer("true")), &["<forbidden "]);
    has(&rig.ask(&mut clients[1], &answer("true")), &["<forbidden "]);
    has(
        &rig.ask(&mut clients[2], &form(&[("muc#role", "participant")])),
        &["<bad-request "],
    );
    has(
        &rig.ask(&mut clients[1], &form(&[("muc#role", "moderator")])),
        &["<bad-request "],
    );
    let mut other = rig.online("b@x/other");
    has(
        &rig.ask(&mut other, &form(&[("muc#role", "participant")])),
        &["<not-acceptable "],
    );
    rig.received(&clients[1]);
    settings(&mut rig).may_request_voice = false;
    has(
        &rig.ask(&mut clients[1], &form(&[("muc#role", "participant")])),
        &["<forbidden "],
    );
}

/// Moderators are not to be flooded with forms.
#[test]
fn a_visitor_asks_now_and_then() {
    let (mut rig, mut clients) = moderated();
    let ask = form(&[("muc#role", "participant")]);
    rig.send(&mut clients[1], &ask);
    has(&rig.ask(&mut clients[1], &ask), &["<policy-violation "]);
    assert_eq!(rig.received(&clients[0]).len(), 1);
    rig.tick(10_000);
    rig.send(&mut clients[1], &ask);
    assert_eq!(rig.received(&clients[0]).len(), 1);
}
