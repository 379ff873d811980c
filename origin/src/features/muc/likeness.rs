//! Likeness: which nicks could be taken for each other (XEP-0045 §7.2.8 leaves it to the service).
//!
//! Two nicks are alike if they differ in upper and lower case or in spaces only, or if they look
//! the same: their skeletons by UTS 39 §4 are equal. A nick that comes here is prepared, so
//! compatibility forms are gone already.

use std::collections::BTreeMap;

use couplet_proto::Jid;
use smallvec::SmallVec;

use super::room::Room;

/// What a nick is like: nicks that share one of these are alike.
pub(super) fn keys(nick: &str) -> SmallVec<[Box<str>; 2]> {
    // How many spaces there are, and those at the ends, nobody sees.
    let words: Vec<&str> = nick.split_whitespace().collect();
    let nick = words.join(" ");
    let folded = nick.to_lowercase();
    let skeleton: String = unicode_security::skeleton(&nick).collect();
    let skeleton = skeleton.to_lowercase();
    let mut keys = SmallVec::new();
    if skeleton != folded {
        keys.push(skeleton.into());
    }
    keys.push(folded.into());
    keys
}

/// The nicks in use, by what they are like.
#[derive(Debug, Default)]
pub(super) struct Likes(BTreeMap<Box<str>, SmallVec<[Box<str>; 1]>>);

// === impl Likes ===

impl Likes {
    pub(super) fn add(&mut self, nick: &str) {
        for key in keys(nick) {
            self.0.entry(key).or_default().push(nick.into());
        }
    }

    pub(super) fn remove(&mut self, nick: &str) {
        for key in keys(nick) {
            if let Some(nicks) = self.0.get_mut(&key) {
                nicks.retain(|known| **known != *nick);
                if nicks.is_empty() {
                    self.0.remove(&key);
                }
            }
        }
    }

    /// The nicks that are like this one.
    pub(super) fn of(&self, nick: &str) -> impl Iterator<Item = &str> {
        let found = keys(nick).into_iter();
        let found = found.filter_map(|key| self.0.get(&key)).flatten();
        found.map(|nick| &**nick)
    }
}

/// Whether somebody else has this nick, or has reserved it (§7.2.8, §7.10).
pub(super) fn is_taken(room: &Room, nick: &str, by: &Jid) -> bool {
    let mut others = room.occupants.like(nick);
    if others.any(|other| !other.jid.is_same_bare(by)) {
        return true;
    }
    room.members.is_reserved(nick, by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nicks_are_alike_by_case_and_by_looks() {
        let are_alike = |a: &str, b: &str| {
            let a = keys(a);
            keys(b).iter().any(|key| a.contains(key))
        };
        for (a, b, wanted) in [
            ("thirdwitch", "thirdwitch", true),
            ("Alice", "ALICE", true),
            ("Alice", "AIice", true),
            ("alice", "\u{430}lice", true),
            ("firstwitch", "f\u{456}rstwitch", true),
            ("Romeo", "Romeo ", true),
            ("Friar Lawrence", "Friar  Lawrence", true),
            ("alice", "alicia", false),
            ("Romeo", "Juliet", false),
        ] {
            assert_eq!(are_alike(a, b), wanted, "{a} and {b}");
        }
    }
}
