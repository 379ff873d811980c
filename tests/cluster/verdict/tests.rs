//! The judge sees what it looks for: each history with one fault gives that complaint, and the
//! one without gives none.

use std::time::{Duration, Instant};

use super::{Expected, Verdict};
use crate::history::{Disconnect, Fate, Kind, Life, Records, Seen, Target};

/// A history under construction: user 0 sends to user 1 over edges 0 and 1.
struct Tale {
    records: Records,
    expected: Expected,
    start: Instant,
}

// === impl Tale ===

impl Tale {
    /// Ten messages sent, acknowledged and received.
    fn new() -> Self {
        let mut tale = Self {
            records: Records::default(),
            expected: Expected {
                messages_min: 1,
                ..Expected::default()
            },
            start: Instant::now(),
        };
        for user in [0, 1] {
            tale.records.enroll(user, Kind::Managed);
            tale.records.life(user).binds = 1;
        }
        for number in 0..10 {
            tale.send(Fate::Acknowledged);
            tale.receive(number, 1);
        }
        let seen = Seen {
            available: 1,
            unavailable: 0,
        };
        tale.records.seen.insert((0, 1), seen);
        tale
    }

    fn send(&mut self, fate: Fate) -> usize {
        let number = self.records.send(0, Target::User(1), self.start);
        self.records.sent(0, Target::User(1), number).fate = fate;
        number
    }

    fn receive(&mut self, number: usize, after_ms: u64) {
        let at = self.start + Duration::from_millis(after_ms);
        self.records.receive(0, 1, number, at);
    }

    fn cut(&mut self, user: usize, edge: usize) {
        let cause = "reset".to_owned();
        let disconnect = Disconnect { edge, cause };
        self.records.life(user).disconnects.push(disconnect);
    }

    /// Both are in a room, where the first has said two things, and have heard these numbers.
    fn in_room(heard: [&[usize]; 2]) -> Self {
        let mut tale = Self::new();
        for (user, numbers) in heard.into_iter().enumerate() {
            tale.records.enroll_occupant(7, user);
            let room = tale.records.rooms.entry(7).or_default();
            for number in numbers {
                room.hear(user, 0, *number, tale.start);
            }
        }
        for number in 0..2 {
            tale.records.send(0, Target::Room(7), tale.start);
            tale.records.acknowledge(0, Target::Room(7), number);
        }
        tale
    }

    fn verdict(&self) -> Verdict {
        Verdict::of(&self.records, &self.expected)
    }

    /// The first words of all complaints.
    fn complaints(&self) -> Vec<String> {
        let complaints = self.verdict().complaints;
        let sort = |it: &String| it.split(':').next().unwrap_or_default().to_owned();
        complaints.iter().map(sort).collect()
    }
}

/// Every check of the judge.
pub(crate) const ALL: &[(&str, fn())] = &[
    ("a_clean_history_has_no_fault", a_clean_history_has_no_fault),
    ("loss_is_seen", loss_is_seen),
    ("repetition_is_seen", repetition_is_seen),
    ("disorder_is_seen", disorder_is_seen),
    ("what_nobody_answered_is_seen", what_nobody_answered_is_seen),
    (
        "refusal_is_seen_unless_allowed",
        refusal_is_seen_unless_allowed,
    ),
    ("every_cut_is_counted", every_cut_is_counted),
    ("false_presence_is_seen", false_presence_is_seen),
    ("a_pause_is_measured", a_pause_is_measured),
    ("no_traffic_is_no_success", no_traffic_is_no_success),
    (
        "plain_sessions_that_broke_are_excused",
        plain_sessions_that_broke_are_excused,
    ),
    ("faults_in_rooms_are_seen", faults_in_rooms_are_seen),
    ("one_who_came_back_is_excused", one_who_came_back_is_excused),
];

fn a_clean_history_has_no_fault() {
    let tale = Tale::new();
    let verdict = tale.verdict();
    assert_eq!(verdict.complaints, Vec::<String>::new());
    assert_eq!((verdict.messages, verdict.acknowledged), (10, 10));
    assert!(tale.records.is_settled());
}

fn loss_is_seen() {
    let mut tale = Tale::new();
    let number = tale.send(Fate::Acknowledged);
    assert_eq!(
        (tale.verdict().lost, tale.complaints()),
        (1, vec!["lost".into()])
    );
    assert!(!tale.records.is_settled());
    tale.receive(number, 1);
    assert_eq!(tale.verdict().lost, 0);
    // Nobody promised anything about these.
    tale.send(Fate::Unknown);
    assert_eq!(tale.verdict().lost, 0);
    // Never received by somebody who was offline.
    tale.records.enroll(1, Kind::Offline);
    tale.send(Fate::Acknowledged);
    assert_eq!(tale.verdict().lost, 1);
}

fn repetition_is_seen() {
    let mut tale = Tale::new();
    tale.receive(3, 2);
    let verdict = tale.verdict();
    assert_eq!((verdict.duplicated, verdict.reordered), (1, 0));
    assert_eq!(tale.complaints(), ["duplicated"]);
    tale.receive(9, 2);
    assert_eq!(tale.verdict().duplicated, 2);
    // Its sender could not know that it had arrived.
    tale.records.sent(0, Target::User(1), 3).may_repeat = true;
    assert_eq!(tale.verdict().duplicated, 1);
}

fn disorder_is_seen() {
    let mut tale = Tale::new();
    let (early, late) = (tale.send(Fate::Acknowledged), tale.send(Fate::Acknowledged));
    tale.receive(late, 1);
    tale.receive(early, 2);
    let verdict = tale.verdict();
    assert_eq!(
        (verdict.duplicated, verdict.reordered, verdict.lost),
        (0, 1, 0)
    );
    assert_eq!(tale.complaints(), ["reordered"]);
}

fn what_nobody_answered_is_seen() {
    let mut tale = Tale::new();
    let number = tale.send(Fate::Waiting);
    tale.receive(number, 1);
    assert_eq!(tale.complaints(), ["unsettled"]);
    assert!(!tale.records.is_settled());
    tale.receive(99, 1);
    assert!(tale.complaints().contains(&"strange".to_owned()));
}

fn refusal_is_seen_unless_allowed() {
    let mut tale = Tale::new();
    let number = tale.send(Fate::Refused("resource-constraint".to_owned()));
    assert_eq!(tale.complaints(), ["refused"]);
    tale.expected.refusals = &["resource-constraint"];
    assert_eq!(tale.complaints(), Vec::<String>::new());
    tale.receive(number, 1);
    assert_eq!(tale.complaints(), ["refused"]);
}

fn every_cut_is_counted() {
    let mut tale = Tale::new();
    tale.cut(0, 1);
    assert_eq!(tale.complaints(), ["disconnected"]);
    tale.expected.edge_ends.insert(1, 1);
    assert_eq!(tale.complaints(), Vec::<String>::new());
    tale.cut(0, 1);
    assert_eq!(
        (tale.complaints(), tale.verdict().disconnected),
        (vec!["disconnected".into()], 2)
    );
    let mut tale = Tale::new();
    tale.records.life(0).failed_resumes = 1;
    assert_eq!(tale.complaints(), ["resumption"]);
}

fn false_presence_is_seen() {
    let mut tale = Tale::new();
    tale.records.see(0, 1, false);
    assert_eq!(
        (tale.complaints(), tale.verdict().false_presences),
        (vec!["presence".into()], 1)
    );
    tale.records.life(1).endings = 1;
    assert_eq!(tale.complaints(), Vec::<String>::new());
    tale.records.see(0, 1, false);
    assert_eq!(tale.complaints(), ["presence"]);
    let mut tale = Tale::new();
    tale.records.life(1).endings = 1;
    assert_eq!(tale.complaints(), ["presence"]);
}

fn a_pause_is_measured() {
    let mut tale = Tale::new();
    let number = tale.send(Fate::Acknowledged);
    tale.receive(number, 2500);
    assert_eq!(tale.verdict().longest_pause, Duration::from_millis(2500));
    tale.expected.pause_max = Duration::from_millis(2000);
    assert_eq!(tale.complaints(), ["pause"]);
}

fn no_traffic_is_no_success() {
    let mut tale = Tale::new();
    tale.expected.messages_min = 11;
    assert_eq!(tale.complaints(), ["traffic"]);
}

fn plain_sessions_that_broke_are_excused() {
    let mut tale = Tale::new();
    tale.records.lives.insert(1, Life::new(Kind::Plain));
    tale.send(Fate::Acknowledged);
    assert_eq!(tale.verdict().lost, 1);
    tale.expected.edge_ends.insert(0, 1);
    tale.cut(1, 0);
    assert_eq!(tale.verdict().lost, 0);
}

fn faults_in_rooms_are_seen() {
    for (heard, complaints) in [
        ([&[0, 1][..], &[0, 1]], &[][..]),
        ([&[0, 1], &[0]], &["lost", "order"]),
        ([&[0, 1], &[0, 1, 1]], &["duplicated", "order"]),
        ([&[0, 1], &[1, 0]], &["reordered", "order"]),
        ([&[1, 0], &[1, 0]], &["reordered", "reordered"]),
        ([&[0, 1, 2], &[0, 1, 2]], &["strange", "strange"]),
    ] {
        let tale = Tale::in_room(heard);
        assert_eq!(tale.complaints(), complaints, "{heard:?}");
        let is_complete = heard.iter().all(|it| it.len() > 1);
        assert_eq!(tale.records.are_rooms_settled(), is_complete, "{heard:?}");
    }
    let mut tale = Tale::in_room([&[0, 1], &[0, 1]]);
    let room = tale.records.rooms.entry(7).or_default();
    room.removals.push((1, "status 333".to_owned()));
    let seen = Seen {
        available: 1,
        unavailable: 1,
    };
    room.seen.insert((0, 1), seen);
    assert_eq!(tale.complaints(), ["presence", "removed"]);
    tale.records.life(1).endings = 1;
    assert_eq!(tale.complaints(), ["room", "presence"]);
}

fn one_who_came_back_is_excused() {
    let mut tale = Tale::in_room([&[0, 1], &[0, 1]]);
    tale.records.enroll(2, Kind::Plain);
    tale.records.life(2).binds = 2;
    tale.records.enroll_occupant(7, 2);
    let room = tale.records.rooms.entry(7).or_default();
    room.hear(2, 0, 1, tale.start);
    room.removals.push((2, "its former session".to_owned()));
    assert_eq!(tale.complaints(), Vec::<String>::new());
    assert!(tale.records.are_rooms_settled());
}
