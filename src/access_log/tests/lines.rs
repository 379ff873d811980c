//! Lines, read again.

use std::collections::BTreeSet;

use couplet_proto::Jid;
use couplet_proto::journal::{Entry, Event, Traffic};
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::slot::Slot;
use proptest::prelude::*;

use super::*;
use crate::access_log::escape;

/// One entry with everything in it.
fn full<'a>(jid: &'a Jid, slots: &'a [Slot]) -> Entry<'a> {
    Entry {
        connection: Some(ConnectionId(7)),
        client: Some("[2001:db8::1]:4711".parse().expect("an address")),
        server: Some("[::ffff:192.0.2.1]:5222".parse().expect("an address")),
        transport: Some("starttls"),
        tls: Some(("TLSv1_3", "TLS13_AES_256_GCM_SHA384")),
        jid: Some(jid),
        session: Some(SessionId(0xabc)),
        mechanism: Some("PLAIN"),
        outcome: Some("success"),
        reason: Some("closed"),
        traffic: Some(Traffic {
            bytes_in: 1,
            bytes_out: 2,
            stanzas_in: 3,
            stanzas_out: 4,
            ack_rtt_ms: Some(5),
            queue_max: 6,
        }),
        taken_ms: Some(61_007),
        count: Some(4),
        slots,
        from: Some("a"),
        to: Some("b"),
        ..Entry::new(Event::Disconnect)
    }
}

#[test]
fn every_field_is_in_both_formats() {
    let jid = Jid::parse("juliet@capulet.lit/bal cony").expect("valid");
    let slots: Vec<_> = [0, 1, 2, 9]
        .map(|at| Slot::all().nth(at).expect("a slot"))
        .into();
    let entry = full(&jid, &slots);
    let w3c = Shape {
        fields: Field::all(),
        ..shape(LineFormat::W3c, &[])
    };
    let expected = "2026-11-28 12:00:00.042 node disconnect 2001:db8::1 4711 192.0.2.1 5222 \
        starttls TLSv1.3/TLS_AES_256_GCM_SHA384 7 juliet@capulet.lit/bal%20cony bal%20cony \
        0000000000000abc PLAIN success closed 1 2 3 4 61.007 5 6 4 0-2,9 a b\n";
    assert_eq!(w3c.line(NOON + 42, &entry), expected);
    let json = Shape {
        format: LineFormat::Json,
        ..w3c.clone()
    };
    let read: serde_json::Map<_, _> =
        serde_json::from_str(&json.line(NOON + 42, &entry)).expect("JSON");
    assert_eq!(read.len(), Field::all().len());
    assert_eq!(read["x-jid"], "juliet@capulet.lit/bal cony");
    assert_eq!(read["time-taken"], 61.007);
    assert_eq!(read["cs-bytes"], 1);
    assert_eq!(json.header(NOON), "");

    let bare = Entry::new(Event::Reject);
    assert_eq!(json.line(NOON, &bare).matches(':').count(), 4 + 2);
    let line = w3c.line(NOON, &bare);
    assert_eq!(
        line.split(' ').filter(|value| value.trim() == "-").count(),
        24
    );
}

#[test]
fn a_head_says_what_the_draft_wants() {
    let shape = shape(LineFormat::W3c, &["x-event", "date"]);
    let head = shape.header(NOON);
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "#Version: 1.0\n#Software: couplet/{version}\n#Start-Date: 2026-11-28 12:00:00.000\n\
         #Fields: x-event date\n"
    );
    assert_eq!(head, expected);
    let line = shape.line(NOON, &entry(Event::Connect));
    assert_eq!(line, "connect 2026-11-28\n");
}

#[test]
fn names_of_fields_and_events_are_told_apart_and_need_no_escape() {
    let names: BTreeSet<_> = Field::all().into_iter().map(Field::name).collect();
    assert_eq!(names.len(), Field::all().len());
    for field in Field::all() {
        assert_eq!(Field::from_name(field.name()), Some(field));
    }
    let events: BTreeSet<_> = Event::ALL.into_iter().map(Event::name).collect();
    assert_eq!(events.len(), Event::ALL.len());
    for name in names.into_iter().chain(events) {
        let mut line = String::new();
        escape::w3c(name, &mut line);
        assert_eq!(line, name);
    }
}

#[test]
fn the_samples_name_every_field() {
    let words = |text: &'static str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix("#   "));
        let words = lines.flat_map(str::split_whitespace);
        words.skip_while(|word| *word != "date").collect::<Vec<_>>()
    };
    let expected: Vec<_> = Field::all().into_iter().map(Field::name).collect();
    for sample in [
        include_str!("../../../deploy/config/serve.toml"),
        include_str!("../../../deploy/config/edge.toml"),
        include_str!("../../../deploy/config/origin.toml"),
    ] {
        assert_eq!(words(sample)[..expected.len()], expected);
    }
}

/// What a line must not hold in any format, whatever a client sends.
fn harms(c: char) -> bool {
    let turns = [
        '\u{61c}', '\u{200e}', '\u{200f}', '\u{feff}', '\u{ad}', '\u{3164}',
    ];
    c.is_control()
        || turns.contains(&c)
        || ('\u{200b}'..='\u{206f}').contains(&c)
        || ('\u{fff0}'..='\u{fffb}').contains(&c)
        || ('\u{e0000}'..='\u{e007f}').contains(&c)
        || (c.is_whitespace() && c != ' ')
}

fn check_text(text: &str) {
    let mut line = String::new();
    escape::w3c(text, &mut line);
    assert!(
        !line.chars().any(|c| harms(c) || matches!(c, ' ' | '#')),
        "{line:?}"
    );
    assert!(line == "\"\"" || !line.contains('"'), "{line:?}");
    assert!(!line.is_empty() && line != "-", "{text:?}");
    let read = if line == "\"\"" {
        String::new()
    } else {
        unpercent(&line)
    };
    assert_eq!(read, text);

    let mut line = String::new();
    escape::json(text, &mut line);
    assert!(!line.chars().any(harms), "{line:?}");
    let read: String = serde_json::from_str(&line).expect("JSON");
    assert_eq!(read, text);
}

#[test]
fn what_forges_is_escaped() {
    for text in [
        "",
        "-",
        "--",
        "#Fields: date",
        "a b\tc\u{a0}d\u{3000}e",
        "a\r\n2026-11-28 12:00:00 connect",
        "\u{1b}[2J\u{9b}31m\u{7f}\0",
        "\"\" \"x\" \\\" %2D %",
        "\u{202e}\u{2066}\u{200f}\u{feff}\u{2028}\u{2029}\u{85}",
        "\u{e0041}\u{1f600}\u{3164}\u{ffa0}",
        "ромео жульетта 龍 \u{5d0}",
    ] {
        check_text(text);
    }
    let mut line = String::new();
    escape::w3c("ромео-龍", &mut line);
    assert_eq!(line, "ромео-龍", "letters stay readable");
}

/// Texts that are mostly what a format could stumble over.
fn hostile() -> impl Strategy<Value = String> {
    let special =
        "[-#%\"'\\\\ \t\r\n\u{0}\u{1b}\u{7f}-\u{a0}\u{ad}\u{200b}-\u{206f}\u{2028}\u{feff}a]";
    prop_oneof![
        any::<String>(),
        special.prop_map(|text| text),
        proptest::collection::vec(
            prop_oneof![
                any::<char>(),
                special.prop_map(|it| { it.chars().next().unwrap_or('-') })
            ],
            0..12
        )
        .prop_map(|chars| chars.into_iter().collect()),
    ]
}

proptest! {
    #[test]
    fn any_text_is_read_as_it_was_written(text in hostile()) {
        check_text(&text);
    }

    #[test]
    fn any_line_is_read_as_it_was_written(
        resource in hostile(), mechanism in proptest::option::of(hostile()),
        reason in proptest::option::of(hostile()), to in proptest::option::of(hostile()),
    ) {
        let jid = Jid::from_parts(Some("romeo"), "montague.lit", Some(&resource)).ok();
        let names = ["x-to", "x-event", "x-mechanism", "x-jid", "x-resource", "x-reason"];
        let entry = Entry {
            jid: jid.as_ref(),
            mechanism: mechanism.as_deref(),
            reason: reason.as_deref(),
            to: to.as_deref(),
            ..Entry::new(Event::Bind)
        };
        let mut expected = Fields::from([("x-event".to_owned(), "bind".to_owned())]);
        let mut add = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                expected.insert(name.to_owned(), value.to_owned());
            }
        };
        add("x-to", entry.to);
        add("x-mechanism", entry.mechanism);
        add("x-reason", entry.reason);
        add("x-jid", jid.as_ref().map(Jid::as_str));
        add("x-resource", jid.as_ref().and_then(Jid::resource));

        let w3c = shape(LineFormat::W3c, &names);
        let text = w3c.header(NOON) + &w3c.line(NOON, &entry);
        let (directives, lines) = read_w3c(&text);
        prop_assert_eq!(directives.len(), 4);
        prop_assert_eq!(&lines, &[expected.clone()]);

        let line = shape(LineFormat::Json, &names).line(NOON, &entry);
        prop_assert_eq!(line.lines().count(), 1);
        let read: Fields = serde_json::from_str(&line).expect("JSON");
        prop_assert_eq!(read, expected);
    }
}
