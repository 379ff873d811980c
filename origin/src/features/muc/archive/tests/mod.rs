//! Tests of the archive of a room: what is kept, who may read it, and page by page.

mod pages;

use std::sync::Arc;

use couplet_proto::xmpp::payload::Payload;
use couplet_proto::xmpp::{ns, time};
use couplet_proto::{Element, Kind, Stanza, Type};

use super::super::affiliation::{Affiliation, Role};
use super::super::occupant::Occupant;
use super::super::record;
use super::super::room::{Member, Past};
use super::super::tests::stage::Stage;
use super::{Kept, id_text, keep, read_id, replace, reserve, resume};
use crate::shard::rig::{Rig, jid};
use crate::store::LogId;

const ROMEO: &str = "romeo@x/r";

/// The fields of a form: names and values.
type Fields<'a> = &'a [(&'a str, &'a str)];

fn room() -> Stage {
    let mut stage = Stage::new("coven@rooms.x");
    stage.create();
    stage
}

/// Somebody says something; the id of its message.
fn say(stage: &mut Stage, nick: &str, payload: &str) -> String {
    stage.now.unix += 1000;
    let at = stage.now.unix;
    stage.with_room(|ctx, room| {
        let id = reserve(ctx);
        let own = Element::new("stanza-id", ns::STANZA_ID)
            .attr("by", room.jid.as_str())
            .attr("id", id_text(id));
        let mut stanza = Stanza::new(Kind::Message, Type::Groupchat).id("m1");
        stanza.from = room.occupant_jid(nick);
        stanza.payload = Payload::read(payload).expect("well-formed").with(&own);
        room.last += 1;
        let past = Past {
            number: room.last,
            id,
            source: None,
            arrived: 0,
            stanza: Arc::new(stanza),
            at,
            by: jid(&format!("{nick}@x")),
            is_shown: true,
        };
        keep(ctx, room, id, &past);
        room.history.push_back(past);
        id_text(id)
    })
}

/// Seven messages of two, and their ids.
fn spoken() -> (Stage, Vec<String>) {
    let mut stage = room();
    let ids = (1..=7).map(|number| {
        let nick = ["hecate", "witch"][number % 2];
        say(&mut stage, nick, &format!("<body>{number}</body>"))
    });
    let ids = ids.collect();
    (stage, ids)
}

fn query(inner: &str) -> String {
    format!(
        "<iq type='set' id='q'><query xmlns='{}' queryid='f'>{inner}</query></iq>",
        ns::MAM
    )
}

fn form(fields: Fields<'_>) -> String {
    let fields: String = fields
        .iter()
        .map(|(var, value)| format!("<field var='{var}'><value>{value}</value></field>"))
        .collect();
    format!(
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{}</value></field>\
         {fields}</x>",
        ns::MAM
    )
}

fn set(inner: &str) -> String {
    format!("<set xmlns='{}'>{inner}</set>", ns::RSM)
}

/// The bodies an answer brings, in order, and its end.
fn page(stage: &mut Stage, inner: &str) -> (Vec<String>, String) {
    let mut answered = stage.send(ROMEO, &query(inner));
    let fin = answered.pop().expect("an end");
    let bodies = answered.iter().map(|result| {
        let (_, body) = result.split_once("<body>").expect("a body");
        body.split('<').next().unwrap_or_default().to_owned()
    });
    (bodies.collect(), fin)
}

#[track_caller]
fn check(stage: &mut Stage, inner: &str, expected: &[&str], is_complete: bool) {
    let (bodies, fin) = page(stage, inner);
    assert_eq!(bodies, expected, "{inner}: {fin}");
    assert_eq!(
        fin.contains("complete='true'"),
        is_complete,
        "{inner}: {fin}"
    );
}

#[track_caller]
fn refuse(stage: &mut Stage, from: &str, inner: &str, condition: &str) {
    let refused = stage.send(from, &query(inner));
    assert_eq!(refused.len(), 1, "{inner}: {refused:?}");
    assert!(refused[0].contains(condition), "{inner}: {refused:?}");
}

/// §6.1.2.
#[test]
fn what_was_said_is_kept_and_nothing_else() {
    let mut stage = room();
    let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    let marker = "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>";
    let hint = |hint| format!("<{hint} xmlns='urn:xmpp:hints'/>");
    let reaction = "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>";
    let secret = format!("<body>s</body>{}", hint("no-store"));
    let passing = format!("<body>p</body>{}", hint("no-permanent-store"));
    for nothing in [state, marker, "<thread>t</thread>", "", &secret, &passing] {
        say(&mut stage, "witch", nothing);
        assert_eq!(stage.written.len(), 0, "{nothing}");
    }
    let wanted = format!("{state}{}", hint("store"));
    let kept = [
        "<body>b</body>",
        "<subject>s</subject>",
        reaction,
        &wanted,
        "<encrypted xmlns='eu.siacs.conversations.axolotl'/>",
    ];
    for (number, something) in kept.into_iter().enumerate() {
        say(&mut stage, "witch", something);
        assert_eq!(stage.written.len(), number + 1, "{something}");
    }
}

#[test]
fn a_room_or_an_operator_may_do_without() {
    let mut stage = room();
    say(&mut stage, "witch", "<body>1</body>");
    stage.with_room(|_, room| room.settings.is_archived = false);
    say(&mut stage, "witch", "<body>2</body>");
    assert_eq!(stage.written.len(), 1);
    refuse(&mut stage, ROMEO, "", "<service-unavailable");
    let mut stage = Stage::with("coven@rooms.x", |muc| muc.archive = false);
    stage.create();
    say(&mut stage, "witch", "<body>1</body>");
    assert_eq!(stage.written.len(), 0);
    refuse(&mut stage, ROMEO, "", "<service-unavailable");
}

/// §4.2, §6.1.2.
#[test]
fn a_result_is_the_message_as_the_room_sent_it() {
    let mut stage = room();
    let spoof = "<x xmlns='http://jabber.org/protocol/muc#user'><item jid='king@x'/></x>";
    let id = say(&mut stage, "witch", &format!("<body>hail</body>{spoof}"));
    let at = time::format(stage.now.unix);
    let results = stage.send(ROMEO, &query(""));
    let expected = format!(
        "<result xmlns='urn:xmpp:mam:2' queryid='f' id='{id}'>\
         <forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='{at}'/>\
         <message xmlns='jabber:client' from='coven@rooms.x/witch' id='m1' type='groupchat'>\
         <body>hail</body><stanza-id xmlns='urn:xmpp:sid:0' by='coven@rooms.x' id='{id}'/>\
         </message></forwarded></result>"
    );
    assert!(results[0].contains(&expected), "{results:?}");
    assert!(
        results[0].contains("from='coven@rooms.x' to='romeo@x/r'"),
        "{results:?}"
    );
    let fin = format!(
        "<fin xmlns='urn:xmpp:mam:2' complete='true'><set xmlns='{}'><first>{id}</first>\
         <last>{id}</last></set></fin>",
        ns::RSM
    );
    assert!(results[1].contains(&fin), "{results:?}");
}

/// §6.1.2: the real address is for those who may know it.
#[test]
fn real_addresses_are_for_those_who_may_see_them() {
    let mut stage = room();
    say(&mut stage, "witch", "<body>hail</body>");
    let item = "<x xmlns='http://jabber.org/protocol/muc#user'>\
                <item affiliation='none' jid='witch@x'/></x>";
    let shows = |stage: &mut Stage| stage.send(ROMEO, &query(""))[0].contains(item);
    let filter = form(&[("with", "witch@x")]);
    assert!(!shows(&mut stage));
    check(&mut stage, &filter, &[], true);
    stage.with_room(|_, room| room.settings.is_non_anonymous = true);
    // Whoever spoke where nobody saw it is not shown to everybody now.
    assert!(!shows(&mut stage));
    check(&mut stage, &filter, &[], true);
    say(&mut stage, "witch", "<body>open</body>");
    assert!(stage.send(ROMEO, &query(""))[1].contains(item));
    check(&mut stage, &filter, &["open"], true);
    stage.with_room(|_, room| {
        room.settings.is_non_anonymous = false;
        room.occupants.insert(occupant(Role::Participant));
    });
    assert!(!shows(&mut stage));
    stage.with_room(|_, room| room.occupants.insert(occupant(Role::Moderator)));
    assert!(shows(&mut stage));
    stage.with_room(|_, room| {
        room.occupants.remove(&jid(ROMEO));
        room.members
            .insert(jid("romeo@x"), member(Affiliation::Admin));
    });
    assert!(shows(&mut stage));
}

fn occupant(role: Role) -> Occupant {
    Occupant {
        jid: jid(ROMEO),
        nick: "romeo".into(),
        role,
        presence: Payload::default(),
        since: 0,
    }
}

fn member(affiliation: Affiliation) -> Member {
    Member {
        affiliation,
        nick: None,
        reason: None,
    }
}

/// §6.1.2, §8.1.
#[test]
fn who_may_enter_may_read() {
    let (mut stage, _) = spoken();
    check(&mut stage, &set("<max>1</max>"), &["1"], false);
    let set_affiliation = |stage: &mut Stage, affiliation| {
        stage.with_room(|_, room| {
            room.members.insert(jid("romeo@x"), member(affiliation));
        });
    };
    set_affiliation(&mut stage, Affiliation::Outcast);
    refuse(&mut stage, ROMEO, "", "<forbidden");
    stage.with_room(|_, room| {
        room.members.remove(&jid("romeo@x"));
        room.settings.is_members_only = true;
    });
    refuse(&mut stage, ROMEO, "", "<forbidden");
    set_affiliation(&mut stage, Affiliation::Member);
    check(&mut stage, &set("<max>1</max>"), &["1"], false);
    // A password is asked for at the door only: whoever is in has given it.
    stage.with_room(|_, room| room.settings.password = Some("abracadabra".to_owned()));
    refuse(&mut stage, ROMEO, "", "<forbidden");
    stage.with_room(|_, room| room.occupants.insert(occupant(Role::Participant)));
    check(&mut stage, &set("<max>1</max>"), &["1"], false);
    stage.with_room(|_, room| room.is_locked = true);
    refuse(&mut stage, ROMEO, "", "<item-not-found");
    set_affiliation(&mut stage, Affiliation::Owner);
    check(&mut stage, &set("<max>1</max>"), &["1"], false);
}

/// §4.1.5.
#[test]
fn the_form_has_every_field_there_is() {
    let mut stage = room();
    let get = format!("<iq type='get' id='q'><query xmlns='{}'/></iq>", ns::MAM);
    let form = stage.send(ROMEO, &get).remove(0);
    for field in ["with", "start", "end", "before-id", "after-id", "ids"] {
        assert!(
            form.contains(&format!("<field var='{field}' ")),
            "{field}: {form}"
        );
    }
    assert!(form.contains("<open/></validate></field>"), "{form}");
}

/// §5.
#[test]
fn the_metadata_say_where_the_archive_begins_and_ends() {
    let get = format!("<iq type='get' id='q'><metadata xmlns='{}'/></iq>", ns::MAM);
    let mut empty = room();
    let answer = empty.send(ROMEO, &get).remove(0);
    assert!(
        answer.contains("<metadata xmlns='urn:xmpp:mam:2'/>"),
        "{answer}"
    );
    let (mut stage, ids) = spoken();
    let answer = stage.send(ROMEO, &get).remove(0);
    let (first, last) = (stage.now.unix - 6000, stage.now.unix);
    let (first, last) = (time::format(first), time::format(last));
    let expected = format!(
        "<start id='{}' timestamp='{first}'/><end id='{}' timestamp='{last}'/>",
        ids[0], ids[6]
    );
    assert!(answer.contains(&expected), "{answer}");
}

/// XEP-0425 §5: the place stays, what was said does not.
#[test]
fn a_message_is_replaced_in_its_place() {
    let (mut stage, ids) = spoken();
    let id = read_id(&ids[1]).expect("an id");
    stage.run(|ctx| {
        let mut stanza = Stanza::new(Kind::Message, Type::Groupchat);
        stanza.from = Some(jid("coven@rooms.x/hecate"));
        stanza.payload = Payload::read("<body>gone</body>").expect("well-formed");
        let kept = Kept {
            stanza: Arc::new(stanza),
            by: jid("hecate@x"),
            is_open: false,
        };
        replace(ctx, id, &kept);
    });
    check(&mut stage, &set("<max>3</max>"), &["1", "gone", "3"], false);
}

#[test]
fn ids_are_read_as_they_are_written() {
    let id = LogId {
        millis: 1_700_000_000_000,
        count: 7,
    };
    assert_eq!(read_id(&id_text(id)), Some(id));
    for other in [
        "",
        "-",
        "5",
        "5-5",
        "+5-00000005",
        "05-00000005",
        "5-000000050",
    ] {
        assert_eq!(read_id(other), None, "{other}");
    }
}

/// The next owner's clock may be behind.
#[test]
fn places_go_on_behind_those_of_another_owner() {
    let (mut stage, ids) = spoken();
    stage.now.unix -= 1_000_000;
    stage.account.slots.muc.0.as_mut().expect("a room").is_fresh = true;
    let room = stage.account.slots.muc.0.take();
    stage.account = crate::session::Account::new(jid("coven@rooms.x"));
    stage.account.slots.muc.0 = room;
    stage.with_room(|ctx, room| resume(ctx, room));
    let next = stage.run(reserve);
    assert!(Some(next) > read_id(&ids[6]), "{next:?}");
}

/// From one user's session to the room's slot, the store and back; the end comes last.
#[test]
fn an_archive_is_read_by_a_client() {
    let mut stage = room();
    stage.with_room(|ctx, room| record::save(ctx, room));
    say(&mut stage, "witch", "<body>1</body>");
    say(&mut stage, "witch", "<body>2</body>");
    let mut rig = Rig::new(2, &["romeo@x"]);
    for write in stage.written {
        rig.store.apply(jid("coven@rooms.x"), write);
    }
    let mut romeo = rig.online(ROMEO);
    let wanted = query(&set("<max>5</max><before/>"));
    rig.send(
        &mut romeo,
        &wanted.replace("<iq ", "<iq to='coven@rooms.x' "),
    );
    let received = rig.received(&romeo);
    assert_eq!(received.len(), 3, "{received:?}");
    assert!(received[0].contains("<body>1</body>") && received[1].contains("<body>2</body>"));
    assert!(received[2].contains("<fin xmlns='urn:xmpp:mam:2' complete='true'>"));
}
