//! Tests of what a query brings: filters and pages.

use couplet_proto::xmpp::{ns, time};

use super::{Fields, ROMEO, check, form, page, query, refuse, room, say, set, spoken};
use crate::features::muc::archive::id_text;
use crate::store::LogId;

/// §4.3, XEP-0059.
#[test]
fn the_archive_is_read_in_pages_in_both_directions() {
    let (mut stage, ids) = spoken();
    check(&mut stage, "", &["1", "2", "3", "4", "5", "6", "7"], true);
    let cases: &[(&str, &[&str], bool)] = &[
        ("<max>3</max>", &["1", "2", "3"], false),
        (
            &format!("<max>3</max><after>{}</after>", ids[2]),
            &["4", "5", "6"],
            false,
        ),
        (
            &format!("<max>3</max><after>{}</after>", ids[5]),
            &["7"],
            true,
        ),
        (&format!("<max>3</max><after>{}</after>", ids[6]), &[], true),
        ("<max>3</max><before/>", &["5", "6", "7"], false),
        (
            &format!("<max>3</max><before>{}</before>", ids[4]),
            &["2", "3", "4"],
            false,
        ),
        (
            &format!("<max>3</max><before>{}</before>", ids[3]),
            &["1", "2", "3"],
            true,
        ),
        (
            &format!("<max>3</max><before>{}</before>", ids[0]),
            &[],
            true,
        ),
        ("<max>7</max>", &["1", "2", "3", "4", "5", "6", "7"], true),
        ("<max>0</max>", &[], false),
    ];
    for (place, expected, is_complete) in cases {
        check(&mut stage, &set(place), expected, *is_complete);
    }
    let (_, fin) = page(&mut stage, &set("<max>2</max><before/>"));
    let ends = format!("<first>{}</first><last>{}</last>", ids[5], ids[6]);
    assert!(fin.contains(&ends), "{fin}");
}

/// §4.3.4.
#[test]
fn a_flipped_page_is_the_same_page_backwards() {
    let (mut stage, ids) = spoken();
    let inner = format!("{}<flip-page/>", set("<max>3</max>"));
    check(&mut stage, &inner, &["3", "2", "1"], false);
    let (_, fin) = page(&mut stage, &inner);
    let ends = format!("<first>{}</first><last>{}</last>", ids[0], ids[2]);
    assert!(fin.contains(&ends), "{fin}");
    let inner = format!("{}<flip-page/>", set("<max>2</max><before/>"));
    check(&mut stage, &inner, &["7", "6"], false);
}

/// §4.1.
#[test]
fn results_are_chosen_by_time_id_and_sender() {
    let (mut stage, ids) = spoken();
    let end = stage.now.unix;
    let at = |number: u64| time::format(end - (7 - number) * 1000);
    let cases: &[(Fields<'_>, &[&str])] = &[
        (&[("start", &at(5))], &["5", "6", "7"]),
        (&[("end", &at(2))], &["1", "2"]),
        (&[("start", &at(3)), ("end", &at(4))], &["3", "4"]),
        (&[("start", &at(4)), ("end", &at(3))], &[]),
        (&[("after-id", &ids[4])], &["6", "7"]),
        (&[("before-id", &ids[2])], &["1", "2"]),
        (
            &[("after-id", &ids[1]), ("before-id", &ids[4])],
            &["3", "4"],
        ),
        (&[("after-id", &ids[1]), ("end", &at(3))], &["3"]),
        (&[("ids", &ids[3])], &["4"]),
        (&[("with", "coven@rooms.x/hecate")], &["2", "4", "6"]),
        (
            &[("with", "coven@rooms.x")],
            &["1", "2", "3", "4", "5", "6", "7"],
        ),
        (&[("with", "coven@rooms.x/nobody")], &[]),
    ];
    for (fields, expected) in cases {
        check(&mut stage, &form(fields), expected, true);
    }
    // Several at once, in the order of the archive.
    let two = form(&[("ids", &ids[5])]).replace(
        "</value></field></x>",
        &format!("</value><value>{}</value></field></x>", ids[0]),
    );
    check(&mut stage, &two, &["1", "6"], true);
    // A filter and a page.
    let filter = form(&[("with", "coven@rooms.x/hecate")]);
    let both = |place: &str| format!("{filter}{}", set(place));
    check(&mut stage, &both("<max>2</max>"), &["2", "4"], false);
    check(
        &mut stage,
        &both("<max>2</max><before/>"),
        &["4", "6"],
        false,
    );
    let after = format!("<max>2</max><after>{}</after>", ids[3]);
    check(&mut stage, &both(&after), &["6"], true);
}

/// §4.1.3, §4.3.2: what is not there is said to be missing.
#[test]
fn unknown_ids_and_fields_are_refused() {
    let (mut stage, ids) = spoken();
    let nothing = id_text(LogId {
        millis: 5,
        count: 5,
    });
    for unknown in [nothing.as_str(), "28482-98726-73623", "x"] {
        for inner in [
            set(&format!("<after>{unknown}</after>")),
            set(&format!("<before>{unknown}</before>")),
            form(&[("before-id", unknown)]),
            form(&[("after-id", unknown)]),
            form(&[("ids", unknown)]),
        ] {
            refuse(&mut stage, ROMEO, &inner, "<item-not-found");
        }
    }
    let both = set(&format!("<after>{0}</after><before>{0}</before>", ids[0]));
    for (inner, condition) in [
        (
            form(&[("include-groupchat", "true")]),
            "<feature-not-implemented",
        ),
        (form(&[("start", "yesterday")]), "<bad-request"),
        (form(&[("end", "tomorrow")]), "<bad-request"),
        (form(&[("with", "@")]), "<jid-malformed"),
        (form(&[]).replace(ns::MAM, "urn:other"), "<bad-request"),
        (form(&[]).replace("submit", "form"), "<bad-request"),
        (set("<index>3</index>"), "<feature-not-implemented"),
        (set("<max>x</max>"), "<bad-request"),
        (both, "<bad-request"),
    ] {
        refuse(&mut stage, ROMEO, &inner, condition);
    }
}

/// A sender that is far: the archive is looked through in pieces.
#[test]
fn a_sender_is_found_however_far_it_is() {
    let mut stage = room();
    let first = say(&mut stage, "hecate", "<body>first</body>");
    for _ in 0..1200 {
        say(&mut stage, "witch", "<body>w</body>");
    }
    say(&mut stage, "hecate", "<body>last</body>");
    let filter = form(&[("with", "coven@rooms.x/hecate")]);
    let inner = |place: &str| format!("{filter}{}", set(place));
    check(
        &mut stage,
        &inner(&format!("<after>{first}</after>")),
        &["last"],
        true,
    );
    let (found, _) = page(&mut stage, &inner("<before/>"));
    assert_eq!(found, ["last"]);
    check(
        &mut stage,
        &form(&[("with", "coven@rooms.x/nobody")]),
        &[],
        true,
    );
    // Not for ever.
    let long = query(&filter).replace("queryid", "scan='41' queryid");
    let refused = stage.send(ROMEO, &long);
    assert!(refused[0].contains("<resource-constraint"), "{refused:?}");
}

/// What one client can take at once is bounded in bytes too.
#[test]
fn a_page_of_long_messages_is_short() {
    let mut stage = room();
    let long = format!("<body>{}</body>", "x".repeat(100_000));
    for _ in 0..4 {
        say(&mut stage, "witch", &long);
    }
    let (found, fin) = page(&mut stage, "");
    assert_eq!(found.len(), 2);
    assert!(!fin.contains("complete"), "{fin}");
    let (found, _) = page(&mut stage, &set("<before/>"));
    assert_eq!(found.len(), 2);
}
