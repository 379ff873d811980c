//! Tests of the service's own address, and of what rooms tell it.

use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::Payload;

use super::super::affiliation::Role;
use super::super::occupant::Occupant;
use super::super::tests::stage::Stage;
use super::{note, note_gone};
use crate::shard::rig::{Rig, jid};

const ROMEO: &str = "romeo@x/r";

/// The fields of a form: names and values.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// What a room says, without name and description when they are empty.
fn listing(title: &str, description: &str, occupants: u32, more: &str) -> String {
    format!(
        "<message><room xmlns='{}'><name>{title}</name><description>{description}</description>\
         <lang>en</lang><occupants>{occupants}</occupants>{more}</room></message>",
        ns::ROOM_LISTING
    )
}

/// A service with some rooms.
fn service() -> Stage {
    let mut stage = Stage::new("rooms.x");
    let rooms = [
        ("heath", "A Lonely Heath", "", 2, "<open/>"),
        ("coven", "A Dark Cave", "For all good Witches", 3, ""),
        ("forres", "The Palace", "", 0, "<open/><non-anonymous/>"),
        ("inverness", "", "", 3, "<open/>"),
    ];
    for (name, title, description, occupants, more) in rooms {
        let said = listing(title, description, occupants, more);
        let answered = stage.send(&format!("{name}@rooms.x"), &said);
        assert!(answered.is_empty(), "{answered:?}");
    }
    stage
}

fn ask(stage: &mut Stage, payload: &str) -> String {
    let iq = format!("<iq type='get' id='i'>{payload}</iq>");
    let mut answered = stage.send(ROMEO, &iq);
    assert_eq!(answered.len(), 1, "{answered:?}");
    answered.remove(0)
}

fn items(stage: &mut Stage, set: &str) -> String {
    ask(
        stage,
        &format!("<query xmlns='{}'>{set}</query>", ns::DISCO_ITEMS),
    )
}

fn set(inner: &str) -> String {
    format!("<set xmlns='{}'>{inner}</set>", ns::RSM)
}

/// A search with these fields, and what stands beside the form.
fn search(stage: &mut Stage, fields: Fields<'_>, more: &str) -> String {
    let fields: String = fields
        .iter()
        .map(|(var, value)| format!("<field var='{var}'><value>{value}</value></field>"))
        .collect();
    let form = format!(
        "<search xmlns='{}'>{more}<x xmlns='jabber:x:data' type='submit'>\
         <field var='FORM_TYPE'><value>{}</value></field>{fields}</x></search>",
        ns::CHANNEL_SEARCH,
        ns::CHANNEL_SEARCH_PARAMS
    );
    ask(stage, &form)
}

/// The addresses of an answer's items, in order.
fn addresses(answer: &str, attribute: &str) -> Vec<String> {
    let begin = format!("<item {attribute}='");
    let items = answer.split(&begin).skip(1);
    let addresses = items.filter_map(|item| item.split(['@', '\'']).next());
    addresses.map(str::to_owned).collect()
}

/// XEP-0045 §6.2.
#[test]
fn the_service_says_what_it_is() {
    let mut stage = Stage::new("rooms.x");
    let info = ask(&mut stage, &format!("<query xmlns='{}'/>", ns::DISCO_INFO));
    assert!(info.contains("<identity category='conference' type='text' name='Chatrooms'/>"));
    for feature in [ns::MUC, ns::RSM, ns::CHANNEL_SEARCH, ns::DISCO_ITEMS] {
        assert!(
            info.contains(&format!("<feature var='{feature}'/>")),
            "{info}"
        );
    }
    assert!(ask(&mut stage, &format!("<ping xmlns='{}'/>", ns::PING)).contains("type='result'"));
    for refused in [
        format!("<query xmlns='{}' node='n'/>", ns::DISCO_INFO),
        format!("<query xmlns='{}' node='n'/>", ns::DISCO_ITEMS),
    ] {
        let refused = ask(&mut stage, &refused);
        assert!(refused.contains("<item-not-found"), "{refused}");
    }
    let unknown = ask(&mut stage, "<query xmlns='urn:unknown'/>");
    assert!(unknown.contains("<service-unavailable"), "{unknown}");
    let to_resource = "<iq type='get' id='i' to='rooms.x/r'><ping xmlns='urn:xmpp:ping'/></iq>";
    let refused = stage.send(ROMEO, to_resource);
    assert!(refused[0].contains("<service-unavailable"), "{refused:?}");
}

/// XEP-0045 §6.3.
#[test]
fn public_rooms_are_listed() {
    let mut stage = service();
    let all = items(&mut stage, "");
    let expected = ["coven", "forres", "heath", "inverness"];
    assert_eq!(addresses(&all, "jid"), expected);
    assert!(
        all.contains("<item jid='heath@rooms.x' name='A Lonely Heath'/>"),
        "{all}"
    );
    assert!(
        all.contains("<item jid='inverness@rooms.x' name='inverness'/>"),
        "{all}"
    );
    assert!(!all.contains("<set"), "{all}");
    // What is stored is what the next owner lists.
    stage.reload();
    assert_eq!(addresses(&items(&mut stage, ""), "jid"), expected);
}

/// XEP-0045 §6.3, XEP-0059 §2.
#[test]
fn a_long_list_is_given_in_pages() {
    let mut stage = service();
    let first = items(&mut stage, &set("<max>2</max>"));
    assert_eq!(addresses(&first, "jid"), ["coven", "forres"]);
    assert!(first.contains("<first index='0'>coven</first><last>forres</last><count>4</count>"));
    let second = items(&mut stage, &set("<max>3</max><after>forres</after>"));
    assert_eq!(addresses(&second, "jid"), ["heath", "inverness"]);
    let last = items(&mut stage, &set("<max>1</max><before/>"));
    assert_eq!(addresses(&last, "jid"), ["inverness"]);
    let count = items(&mut stage, &set("<max>0</max>"));
    assert_eq!(addresses(&count, "jid"), [""; 0]);
    assert!(count.contains("<count>4</count>"), "{count}");
    let wrong = items(&mut stage, &set("<max>all</max>"));
    assert!(wrong.contains("<bad-request"), "{wrong}");
}

/// Only a room has a bare address at a service.
#[test]
fn nobody_but_a_room_tells_what_is_listed() {
    let mut stage = Stage::new("rooms.x");
    let said = listing("Fake", "", 9, "");
    for from in [ROMEO, "romeo@x", "a@rooms.x/nick", "rooms.x", "a@rooms.y"] {
        let refused = stage.send(from, &said);
        assert!(refused[0].contains("<service-unavailable"), "{refused:?}");
    }
    // Nor does a room by what it passes on for others.
    let mixed = said.replace("<room ", "<x xmlns='jabber:x:conference'/><room ");
    stage.send("a@rooms.x", &mixed);
    assert_eq!(addresses(&items(&mut stage, ""), "jid"), [""; 0]);
    assert_eq!(stage.written.len(), 0);
}

#[test]
fn a_room_that_is_gone_is_not_listed() {
    let mut stage = service();
    let gone = format!("<message><gone xmlns='{}'/></message>", ns::ROOM_LISTING);
    stage.send("heath@rooms.x", &gone);
    stage.send("never@rooms.x", &gone);
    for _ in 0..2 {
        let left = ["coven", "forres", "inverness"];
        assert_eq!(addresses(&items(&mut stage, ""), "jid"), left);
        stage.reload();
    }
}

/// What changes with everybody who comes and goes is not written each time.
#[test]
fn numbers_of_occupants_are_stored_now_and_then() {
    let mut stage = service();
    let stored = stage.written.len();
    for occupants in [3, 4, 5] {
        let said = listing("A Dark Cave", "For all good Witches", occupants, "");
        stage.send("coven@rooms.x", &said);
    }
    assert_eq!(stage.written.len(), stored);
    let found = search(&mut stage, &[("q", "witches")], "");
    assert!(found.contains("<nusers>5</nusers>"), "{found}");
    for (occupants, writes) in [(6, 1), (0, 2), (0, 2), (1, 3)] {
        let said = listing("A Dark Cave", "For all good Witches", occupants, "");
        stage.send("coven@rooms.x", &said);
        assert_eq!(stage.written.len(), stored + writes, "{occupants}");
    }
}

/// XEP-0433 §4.2.1.
#[test]
fn the_form_of_a_search_has_every_field_with_its_default() {
    let mut stage = Stage::new("rooms.x");
    let form = ask(
        &mut stage,
        &format!("<search xmlns='{}'/>", ns::CHANNEL_SEARCH),
    );
    for var in [
        "q",
        "all",
        "sinname",
        "sindescription",
        "sinaddr",
        "min_users",
        "types",
        "key",
    ] {
        assert!(
            form.contains(&format!("<field var='{var}' ")),
            "{var}: {form}"
        );
    }
    assert!(form.contains(ns::CHANNEL_SEARCH_PARAMS), "{form}");
}

/// XEP-0433 §4.2.2, §6.1, §6.2.
#[test]
fn rooms_are_found_by_words_places_numbers_and_kinds() {
    let mut stage = service();
    let address = "{urn:xmpp:channel-search:0:order}address";
    let cases: &[(Fields<'_>, &[&str])] = &[
        (
            &[("all", "true")],
            &["coven", "inverness", "heath", "forres"],
        ),
        (
            &[("all", "1"), ("key", address)],
            &["coven", "forres", "heath", "inverness"],
        ),
        (&[("all", "1"), ("min_users", "3")], &["coven", "inverness"]),
        (&[("all", "1"), ("types", "xep-0369")], &[]),
        (
            &[("all", "1"), ("types", "xep-0045")],
            &["coven", "inverness", "heath", "forres"],
        ),
        (&[("q", "WITCHES")], &["coven"]),
        (&[("q", "good dark")], &["coven"]),
        (&[("q", "good palace")], &[]),
        (&[("q", "inver")], &["inverness"]),
        (&[("q", "inver"), ("sinaddr", "false")], &[]),
        (&[("q", "witches"), ("sindescription", "0")], &[]),
        (&[("q", "palace"), ("sinname", "0")], &[]),
        // What is not known is not asked for.
        (&[("q", "heath"), ("{urn:other}field", "x")], &["heath"]),
    ];
    for (fields, expected) in cases {
        let found = search(&mut stage, fields, "");
        assert_eq!(
            addresses(&found, "address"),
            *expected,
            "{fields:?}: {found}"
        );
    }
    let coven = search(&mut stage, &[("q", "witches")], "");
    let item = "<item address='coven@rooms.x'><name>A Dark Cave</name>\
                <description>For all good Witches</description><language>en</language>\
                <nusers>3</nusers><service-type>xep-0045</service-type>\
                <anonymity-mode>muc_semianonymous</anonymity-mode></item>";
    assert!(coven.contains(item), "{coven}");
    let heath = search(&mut stage, &[("q", "heath")], "");
    assert!(heath.contains("<is-open>true</is-open>"), "{heath}");
}

/// XEP-0433 §4.2.2, XEP-0059.
#[test]
fn results_come_in_pages_in_either_order() {
    let mut stage = service();
    let mut found = Vec::new();
    let mut place = String::new();
    loop {
        let page = set(&format!("<max>1</max>{place}"));
        let answer = search(&mut stage, &[("all", "true")], &page);
        found.extend(addresses(&answer, "address"));
        let Some((_, rest)) = answer.split_once("<last>") else {
            break;
        };
        let last = rest.split('<').next().unwrap_or_default();
        place = format!("<after>{last}</after>");
    }
    assert_eq!(found, ["coven", "inverness", "heath", "forres"]);
}

/// XEP-0433 §4.2.2.2 to §4.2.2.7.
#[test]
fn searches_that_make_no_sense_are_refused() {
    let mut stage = service();
    let cases: &[(Fields<'_>, &str, &str)] = &[
        (
            &[("q", "a"), ("key", "size")],
            "<feature-not-implemented",
            "<invalid-sort-key",
        ),
        (&[("q", " -- ")], "<bad-request", "<invalid-search-terms"),
        (
            &[("q", "a"), ("all", "true")],
            "<bad-request",
            "<conflicting-fields",
        ),
        (
            &[("q", "a"), ("all", "true")],
            "type='modify'",
            "<var>all</var><var>q</var>",
        ),
        (
            &[("sinname", "true")],
            "<bad-request",
            "<no-search-conditions",
        ),
        (&[("q", "")], "type='cancel'", "<no-search-conditions"),
        (&[("all", "maybe")], "<bad-request", ""),
        (&[("all", "1"), ("min_users", "many")], "<bad-request", ""),
    ];
    for (fields, condition, application) in cases {
        let refused = search(&mut stage, fields, "");
        assert!(refused.contains("type='error'"), "{fields:?}: {refused}");
        assert!(refused.contains(condition), "{fields:?}: {refused}");
        assert!(refused.contains(application), "{fields:?}: {refused}");
    }
    let long = "word ".repeat(17);
    let refused = search(&mut stage, &[("q", &long)], "");
    assert!(refused.contains("<invalid-search-terms"), "{refused}");
}

fn enter(stage: &mut Stage, nick: &str) {
    stage.with_room(|ctx, room| {
        room.occupants.insert(Occupant {
            jid: jid(&format!("{nick}@x/r")),
            nick: nick.into(),
            role: Role::Participant,
            presence: Payload::default(),
            since: 0,
        });
        note(ctx, room);
    });
}

#[test]
fn a_room_tells_what_changes_and_numbers_not_too_often() {
    let mut stage = Stage::new("coven@rooms.x");
    stage.create();
    stage.with_room(note);
    let told = stage.routed();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("from='coven@rooms.x'") && told[0].contains("to='rooms.x'"));
    assert!(
        told[0].contains("<occupants>0</occupants><open/>"),
        "{told:?}"
    );
    stage.with_room(note);
    assert_eq!(stage.routed(), [""; 0]);
    // Who comes and goes is told once in a while.
    enter(&mut stage, "romeo");
    enter(&mut stage, "juliet");
    assert_eq!(stage.routed(), [""; 0]);
    assert_eq!(stage.wakes, [11_000, 11_000]);
    stage.now.mono = 11_000;
    stage.with_room(note);
    assert!(stage.routed()[0].contains("<occupants>2</occupants>"));
    // What else there is to say is said at once.
    stage.with_room(|ctx, room| {
        room.settings.name = "A Dark Cave".to_owned();
        room.settings.is_members_only = true;
        note(ctx, room);
    });
    let told = stage.routed();
    assert!(told[0].contains("<name>A Dark Cave</name>"), "{told:?}");
    assert!(!told[0].contains("<open/>"), "{told:?}");
}

#[test]
fn a_hidden_locked_or_destroyed_room_takes_itself_out() {
    let mut stage = Stage::new("coven@rooms.x");
    stage.create();
    stage.with_room(note);
    stage.routed();
    stage.with_room(|ctx, room| {
        room.settings.is_public = false;
        note(ctx, room);
        note(ctx, room);
    });
    let told = stage.routed();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("<gone xmlns="), "{told:?}");
    stage.with_room(|ctx, room| {
        room.settings.is_public = true;
        note(ctx, room);
        room.is_locked = true;
        note(ctx, room);
        note_gone(ctx, room);
    });
    let told = stage.routed();
    assert!(told[0].contains("<room xmlns="), "{told:?}");
    assert!(told[1].contains("<gone xmlns=") && told[2].contains("<gone xmlns="));
}

#[test]
fn clients_reach_the_service_through_their_own_stream() {
    let mut rig = Rig::new(2, &["romeo@x"]);
    let mut romeo = rig.online(ROMEO);
    let info = format!("<query xmlns='{}'/>", ns::DISCO_INFO);
    let info = rig.ask(
        &mut romeo,
        &format!("<iq type='get' id='i' to='rooms.x'>{info}</iq>"),
    );
    assert!(info.contains("category='conference'"), "{info}");
    // A room's word for its service is not a client's to say.
    let said = listing("Fake", "", 9, "").replace("<message>", "<message to='rooms.x'>");
    let refused = rig.ask(&mut romeo, &said);
    assert!(refused.contains("<service-unavailable"), "{refused}");
}
