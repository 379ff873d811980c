//! Members: what is kept of bare addresses, and which nicks are theirs.

use std::collections::BTreeMap;
use std::ops::Deref;

use couplet_proto::Jid;
use smallvec::SmallVec;

use super::likeness;
use super::room::Member;

/// Bare addresses with an affiliation other than none. Read as the map it is.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_jid: BTreeMap<Jid, Member>,
    /// Whose reserved nicks are like this: a list may be long, and is asked whenever somebody
    /// enters.
    by_likeness: BTreeMap<Box<str>, SmallVec<[Jid; 1]>>,
}

// === impl Members ===

impl Members {
    pub(super) fn insert(&mut self, jid: Jid, member: Member) {
        self.remove(&jid);
        for key in member
            .nick
            .as_deref()
            .iter()
            .flat_map(|it| likeness::keys(it))
        {
            self.by_likeness.entry(key).or_default().push(jid.clone());
        }
        self.by_jid.insert(jid, member);
    }

    pub(super) fn remove(&mut self, jid: &Jid) {
        let Some(nick) = self.by_jid.remove(jid).and_then(|former| former.nick) else {
            return;
        };
        for key in likeness::keys(&nick) {
            if let Some(jids) = self.by_likeness.get_mut(&key) {
                jids.retain(|known| known != jid);
                if jids.is_empty() {
                    self.by_likeness.remove(&key);
                }
            }
        }
    }

    /// Whether somebody else has reserved a nick that is this one, or could be taken for it.
    pub(super) fn is_reserved(&self, nick: &str, by: &Jid) -> bool {
        let keys = likeness::keys(nick).into_iter();
        let mut owners = keys.filter_map(|key| self.by_likeness.get(&key)).flatten();
        owners.any(|owner| !owner.is_same_bare(by))
    }
}

impl Deref for Members {
    type Target = BTreeMap<Jid, Member>;

    fn deref(&self) -> &Self::Target {
        &self.by_jid
    }
}

impl FromIterator<(Jid, Member)> for Members {
    fn from_iter<T: IntoIterator<Item = (Jid, Member)>>(all: T) -> Self {
        let mut members = Self::default();
        for (jid, member) in all {
            members.insert(jid, member);
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use super::super::affiliation::Affiliation;
    use super::*;

    fn with_nick(nick: Option<&str>) -> Member {
        Member {
            affiliation: Affiliation::Member,
            nick: nick.map(Into::into),
            reason: None,
        }
    }

    #[test]
    fn a_nick_is_reserved_until_its_member_has_another() {
        let [a, b] = ["a@x", "b@x"].map(|jid| Jid::parse(jid).expect("an address"));
        let mut members = Members::from_iter([(a.clone(), with_nick(Some("Alice")))]);
        assert!(members.is_reserved("alice", &b));
        assert!(members.is_reserved("\u{391}lice", &b));
        assert!(!members.is_reserved("Alice", &a) && !members.is_reserved("Bob", &b));
        members.insert(a.clone(), with_nick(Some("Bob")));
        assert!(!members.is_reserved("Alice", &b) && members.is_reserved("bob", &b));
        members.insert(a.clone(), with_nick(None));
        assert!(!members.is_reserved("bob", &b));
        members.remove(&a);
        assert!(members.is_empty() && members.by_likeness.is_empty());
    }
}
