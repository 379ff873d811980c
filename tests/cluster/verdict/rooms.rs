//! What happened in rooms, judged.
//!
//! Only who was there all the time can tell: who came back later may have missed something.

use std::collections::BTreeSet;

use super::{Expected, Verdict};
use crate::history::{Fate, Records, User};
use crate::rooms::{Heard, Record, Room};

/// Judges what was recorded of all rooms.
pub(super) fn judge(verdict: &mut Verdict, records: &Records, expected: &Expected) {
    for (&room, record) in &records.rooms {
        let faithful = record.occupants.iter().copied();
        let faithful = faithful.filter(|user| records.was_always_there(*user));
        let faithful: Vec<User> = faithful.collect();
        if faithful.len() < 2 {
            verdict.complain("room", &format!("den{room}: nobody can tell"));
        }
        judge_messages(verdict, room, record, &faithful, expected);
        for user in &faithful {
            judge_sequence(verdict, room, record, *user);
            verdict.longest_pause = verdict.longest_pause.max(record.longest_pause(*user));
        }
        if let [first, others @ ..] = &faithful[..] {
            for other in others {
                judge_agreement(verdict, room, record, *first, *other);
            }
        }
        judge_presence(verdict, room, records, record, expected);
        // Who has come back in a new session is told that its former one is gone.
        for (user, text) in &record.removals {
            if faithful.contains(user) {
                verdict.complain("removed", &format!("user{user} from den{room}: {text}"));
            }
        }
    }
}

/// Everybody has what was acknowledged, nobody what was refused.
fn judge_messages(
    verdict: &mut Verdict,
    room: Room,
    record: &Record,
    faithful: &[User],
    expected: &Expected,
) {
    let has = |user: User| -> BTreeSet<(User, usize)> {
        let heard = record.heard_by(user).iter();
        heard.map(|it| (it.sender, it.number)).collect()
    };
    let heard: Vec<_> = faithful.iter().map(|user| (*user, has(*user))).collect();
    for (&sender, all) in &record.sent {
        for (number, sent) in all.iter().enumerate() {
            let which = format!("user{sender} in den{room}: number {number}");
            let has_it = |it: &&(User, BTreeSet<_>)| it.1.contains(&(sender, number));
            let has_come = heard.iter().any(|it| has_it(&it));
            verdict.judge_fate(&which, sent, has_come, expected);
            if sent.fate != Fate::Acknowledged {
                continue;
            }
            for (user, _) in heard.iter().filter(|it| !has_it(it)) {
                verdict.lost += 1;
                verdict.complain("lost", &format!("{which} for user{user}"));
            }
        }
    }
}

/// Each message came once, and those of one sender in order.
fn judge_sequence(verdict: &mut Verdict, room: Room, record: &Record, user: User) {
    let mut came: BTreeSet<(User, usize)> = BTreeSet::new();
    for heard in record.heard_by(user) {
        let (sender, number) = (heard.sender, heard.number);
        let which = format!("user{sender} in den{room} to user{user}: number {number}");
        let Some(sent) = record.sent.get(&sender).and_then(|all| all.get(number)) else {
            verdict.complain("strange", &format!("{which} was never sent"));
            continue;
        };
        let mut later = came.range((sender, number + 1)..=(sender, usize::MAX));
        let is_late = later.next().is_some();
        let is_new = came.insert((sender, number));
        if sent.may_repeat {
            continue;
        }
        if !is_new {
            verdict.duplicated += 1;
            verdict.complain("duplicated", &which);
        } else if is_late {
            verdict.reordered += 1;
            verdict.complain("reordered", &which);
        }
    }
}

/// Two occupants heard the same in the same order.
fn judge_agreement(verdict: &mut Verdict, room: Room, record: &Record, one: User, other: User) {
    let heard = |user| {
        let heard = record.heard_by(user).iter();
        heard.map(|it: &Heard| (it.sender, it.number))
    };
    let differs = |(_, (left, right)): &(usize, _)| left != right;
    let (left, right) = (heard(one), heard(other));
    let ends = std::iter::repeat(None);
    let longest = left.len().max(right.len());
    let left = left.map(Some).chain(ends.clone());
    let right = right.map(Some).chain(ends);
    let mut pairs = left.zip(right).take(longest).enumerate();
    if let Some((place, (left, right))) = pairs.find(differs) {
        verdict.reordered += 1;
        let what = format!("den{room}: at {place} user{one} has {left:?}, user{other} {right:?}");
        verdict.complain("order", &what);
    }
}

/// Who went was seen to go, once; who stayed was not.
fn judge_presence(
    verdict: &mut Verdict,
    room: Room,
    records: &Records,
    record: &Record,
    expected: &Expected,
) {
    for (&(watcher, other), seen) in &record.seen {
        let endings = records.lives.get(&other).map_or(0, |life| life.endings);
        let count = seen.unavailable;
        let is_right = match expected.may_lose.contains(&other) {
            // It may have been back before anybody knew that it had gone.
            true => count <= endings,
            false => count == endings,
        };
        if records.was_always_there(watcher) && !is_right {
            verdict.false_presences += 1;
            let who = format!("den{room}: user{watcher} saw user{other}");
            verdict.complain(
                "presence",
                &format!("{who} leave {count} times, not {endings}"),
            );
        }
    }
}
