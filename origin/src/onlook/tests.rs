//! What an operator who looks on sees, and does not.

use super::*;

fn jid(text: &str) -> Jid {
    Jid::parse(text).expect("valid")
}

fn at(mono: u64) -> Now {
    Now { mono, unix: mono }
}

fn slot(number: u16) -> Slot {
    Slot::new(number).expect("below SLOTS")
}

fn watch(jid_: &str, ask: Ask) -> Watch {
    Watch {
        jid: jid(jid_),
        is_whole: false,
        ask,
    }
}

fn message(id: &str) -> Stanza {
    let body = couplet_proto::Element::new("body", couplet_proto::xmpp::ns::CLIENT);
    Stanza::new(Kind::Message, Type::Chat)
        .id(id.to_owned())
        .child(&body.text("secret"))
}

fn ids(watched: &Watched) -> Vec<&str> {
    let records = watched.records.iter();
    records.filter_map(|record| record.id.as_deref()).collect()
}

fn open(watches: &mut Watches, jid: &str) -> Cursor {
    let opened = watches.ask(&watch(jid, Ask::Open), slot(1), || 5, at(0));
    opened.expect("there is room").cursor
}

#[test]
fn what_passes_is_read_once_and_without_what_stands_in_it() {
    let mut watches = Watches::default();
    assert!(watches.is_empty());
    let cursor = open(&mut watches, "a@x");
    watches.note(Way::Sent, &jid("a@x/1"), &message("m1"), at(1));
    watches.note(Way::Sent, &jid("b@x/1"), &message("other"), at(1));
    watches.note(Way::Delivered, &jid("a@x/2"), &message("m2"), at(2));
    let read = watches.ask(&watch("a@x", Ask::Read(cursor)), slot(1), || 9, at(3));
    let read = read.expect("open");
    assert_eq!(ids(&read), ["m1", "m2"]);
    assert!(read.records.iter().all(|record| record.whole.is_none()));
    assert_eq!(&*read.records[0].children[0].0, "body");
    assert!(!format!("{read:?}").contains("secret"));
    let next = watch("a@x", Ask::Read(read.cursor));
    let read = watches.ask(&next, slot(1), || 9, at(4)).expect("open");
    assert_eq!(ids(&read), [""; 0]);
    // One client of the two.
    let one = watch("a@x/2", Ask::Read(cursor));
    let read = watches.ask(&one, slot(1), || 9, at(4)).expect("open");
    assert_eq!(ids(&read), ["m2"]);
}

#[test]
fn whole_stanzas_are_kept_only_while_somebody_may_see_them() {
    let mut watches = Watches::default();
    let cursor = open(&mut watches, "a@x");
    let whole = |ask| Watch {
        is_whole: true,
        ..watch("a@x", ask)
    };
    let read = |watches: &mut Watches, watch: &Watch, now| {
        let read = watches.ask(watch, slot(1), || 9, at(now)).ok()?;
        let records = read.records.into_iter();
        Some(records.map(|it| it.whole.is_some()).collect::<Vec<_>>())
    };
    let plain = watch("a@x", Ask::Read(cursor));
    watches.note(Way::Sent, &jid("a@x/1"), &message("m1"), at(1));
    let opened = watches.ask(&whole(Ask::Open), slot(1), || 7, at(1));
    let entitled = Cursor {
        next: 0,
        ..opened.expect("open").cursor
    };
    assert_ne!(entitled.watch, cursor.watch);
    watches.note(Way::Sent, &jid("a@x/1"), &message("m2"), at(2));
    let entitled = |is_whole| Watch {
        is_whole,
        ..watch("a@x", Ask::Read(entitled))
    };
    let (shown, hidden) = (Some(vec![false, true]), Some(vec![false, false]));
    assert_eq!(read(&mut watches, &entitled(true), 2), shown);
    assert_eq!(read(&mut watches, &entitled(false), 2), hidden);
    // Whoever has not said so when he began is shown none, whatever he says later.
    assert_eq!(read(&mut watches, &whole(Ask::Read(cursor)), 2), hidden);
    let later = CLOSED_AFTER_MS + 3;
    assert_eq!(read(&mut watches, &plain, later), hidden);
    watches.tick(at(later));
    assert_eq!(read(&mut watches, &plain, later), hidden);
    assert_eq!(read(&mut watches, &entitled(true), later), None);
}

#[test]
fn who_reads_too_slowly_is_told_how_much_is_missing() {
    let mut watches = Watches::default();
    let cursor = open(&mut watches, "a@x");
    for number in 0..RECORDS_MAX + 12 {
        let id = number.to_string();
        watches.note(Way::Sent, &jid("a@x/1"), &message(&id), at(1));
    }
    let mut next = Ask::Read(cursor);
    let (mut skipped, mut seen) = (0, Vec::new());
    loop {
        let read = watches.ask(&watch("a@x", next), slot(1), || 9, at(2));
        let read = read.expect("open");
        if read.records.is_empty() {
            break;
        }
        skipped += read.skipped;
        seen.extend(ids(&read).iter().map(|id| (*id).to_owned()));
        next = Ask::Read(read.cursor);
    }
    assert_eq!(skipped, 12);
    assert_eq!(seen.len(), RECORDS_MAX);
    assert_eq!(seen[0], "12");
}

#[test]
fn the_bytes_kept_are_bounded_too() {
    let mut watches = Watches::default();
    let cursor = open(&mut watches, "a@x");
    let whole = Watch {
        is_whole: true,
        ..watch("a@x", Ask::Open)
    };
    watches.ask(&whole, slot(1), || 9, at(1)).expect("open");
    let large = message(&"x".repeat(BYTES_MAX / 8));
    for _ in 0..100 {
        watches.note(Way::Sent, &jid("a@x/1"), &large, at(1));
    }
    let read = watches.ask(&watch("a@x", Ask::Read(cursor)), slot(1), || 9, at(2));
    let read = read.expect("open");
    assert!(read.records.len() < 8, "{}", read.records.len());
    assert_eq!(read.skipped + read.records.len() as u64, 100);
}

#[test]
fn a_ring_ends_when_nobody_reads_and_when_its_slot_moves() {
    let mut watches = Watches::default();
    let cursor = open(&mut watches, "a@x");
    let read = watch("a@x", Ask::Read(cursor));
    watches.tick(at(CLOSED_AFTER_MS));
    assert!(
        watches
            .ask(&read, slot(1), || 9, at(CLOSED_AFTER_MS))
            .is_ok()
    );
    watches.tick(at(2 * CLOSED_AFTER_MS + 1));
    assert!(watches.is_empty());
    let closed = watches.ask(&read, slot(1), || 9, at(0));
    assert_eq!(closed, Err(Refused::Closed));
    let again = watches.ask(&watch("a@x", Ask::Open), slot(1), || 6, at(0));
    assert_eq!(again.expect("open").cursor.watch, 6);
    // A cursor of the former one is none of this one.
    let closed = watches.ask(&read, slot(1), || 9, at(0));
    assert_eq!(closed, Err(Refused::Closed));
    watches.forget(slot(2));
    assert!(!watches.is_empty());
    watches.forget(slot(1));
    assert!(watches.is_empty());
}

#[test]
fn so_many_accounts_are_watched_in_all_shards_and_no_more() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut shards = [Arc::clone(&count), count].map(Watches::new);
    for number in 0..WATCHED_MAX {
        open(&mut shards[number % 2], &format!("u{number}@x"));
    }
    let more = watch("more@x", Ask::Open);
    let refused = shards[0].ask(&more, slot(1), || 9, at(0));
    assert_eq!(refused, Err(Refused::Enough));
    // One that is watched already is no other.
    open(&mut shards[0], "u0@x");
    shards[1].forget(slot(1));
    assert!(shards[0].ask(&more, slot(1), || 9, at(0)).is_ok());
}

#[test]
fn addresses_count_as_memory() {
    let mut watches = Watches::default();
    let cursor = open(&mut watches, "a@x");
    let long = jid(&format!("a@x/{}", "r".repeat(1000)));
    let mut stanza = message("m");
    (stanza.from, stanza.to) = (Some(long.clone()), Some(long.clone()));
    for _ in 0..RECORDS_MAX {
        watches.note(Way::Sent, &long, &stanza, at(1));
    }
    let read = watches.ask(&watch("a@x", Ask::Read(cursor)), slot(1), || 9, at(1));
    let kept = RECORDS_MAX - read.expect("open").skipped as usize;
    assert!(kept <= BYTES_MAX / 3000, "{kept} are kept");
}
