//! Occupants: who is in a room, by session and by nick.
//!
//! One user may be in a room with several sessions under one nick (§7.2.8): they are one occupant
//! to the others, and each gets everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use couplet_proto::Jid;
use couplet_proto::xmpp::payload::Payload;
use smallvec::SmallVec;

use super::affiliation::Role;
use super::likeness::Likes;

/// One session in a room.
#[derive(Debug, Clone)]
pub(super) struct Occupant {
    /// The full address of the session.
    pub(super) jid: Jid,
    /// The nick, prepared as a resource.
    pub(super) nick: Box<str>,
    pub(super) role: Role,
    /// What its presence says, without what only rooms may say.
    pub(super) presence: Payload,
    /// The number of the last message the room had sent when it entered: it gets those after it.
    pub(super) since: u64,
}

/// Everybody in a room.
#[derive(Debug, Default)]
pub(super) struct Occupants {
    by_jid: BTreeMap<Jid, Occupant>,
    by_nick: BTreeMap<Box<str>, SmallVec<[Jid; 1]>>,
    likes: Likes,
    /// The addresses of all, until somebody enters or leaves.
    all: Option<Arc<[Jid]>>,
}

// === impl Occupants ===

impl Occupants {
    pub(super) fn len(&self) -> usize {
        self.by_jid.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_jid.is_empty()
    }

    /// The one with this session.
    pub(super) fn get(&self, jid: &Jid) -> Option<&Occupant> {
        self.by_jid.get(jid)
    }

    /// The one with this session, to change anything but session and nick.
    pub(super) fn get_mut(&mut self, jid: &Jid) -> Option<&mut Occupant> {
        self.by_jid.get_mut(jid)
    }

    /// The sessions under a nick; the one that entered last comes last.
    pub(super) fn of_nick(&self, nick: &str) -> &[Jid] {
        self.by_nick.get(nick).map_or(&[], |sessions| sessions)
    }

    /// The session that stands for a nick.
    pub(super) fn first_of_nick(&self, nick: &str) -> Option<&Occupant> {
        self.get(self.of_nick(nick).last()?)
    }

    /// The sessions of a user, in the order of their addresses.
    pub(super) fn of_user<'a>(&'a self, bare: &'a Jid) -> impl Iterator<Item = &'a Occupant> {
        // A bare address comes before all its full ones.
        let from = self.by_jid.range(bare.clone()..);
        let own = from.take_while(move |(jid, _)| jid.as_str().starts_with(bare.as_str()));
        own.map(|(_, occupant)| occupant)
            .filter(move |occupant| occupant.jid.is_same_bare(bare))
    }

    /// Everybody, in the order of their addresses.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Occupant> {
        self.by_jid.values()
    }

    /// Each nick with the session that stands for it, in the order of nicks.
    pub(super) fn nicks(&self) -> impl Iterator<Item = &Occupant> {
        let last = self.by_nick.values().filter_map(|sessions| sessions.last());
        last.filter_map(|jid| self.get(jid))
    }

    /// How many nicks there are.
    pub(super) fn nick_count(&self) -> usize {
        self.by_nick.len()
    }

    /// Those whose nicks could be taken for this one, or are this one.
    pub(super) fn like<'a>(&'a self, nick: &str) -> impl Iterator<Item = &'a Occupant> {
        let nicks = self.likes.of(nick);
        nicks.filter_map(|nick| self.first_of_nick(nick))
    }

    /// Somebody enters, or changes what it is.
    pub(super) fn insert(&mut self, occupant: Occupant) {
        self.remove(&occupant.jid);
        let sessions = self.by_nick.entry(occupant.nick.clone()).or_default();
        if sessions.is_empty() {
            self.likes.add(&occupant.nick);
        }
        sessions.push(occupant.jid.clone());
        self.by_jid.insert(occupant.jid.clone(), occupant);
        self.all = None;
    }

    /// Somebody leaves.
    pub(super) fn remove(&mut self, jid: &Jid) -> Option<Occupant> {
        let gone = self.by_jid.remove(jid)?;
        if let Some(sessions) = self.by_nick.get_mut(&gone.nick) {
            sessions.retain(|known| known != jid);
            if sessions.is_empty() {
                self.by_nick.remove(&gone.nick);
                self.likes.remove(&gone.nick);
            }
        }
        self.all = None;
        Some(gone)
    }

    /// The addresses of everybody.
    pub(super) fn everybody(&mut self) -> Arc<[Jid]> {
        let all = &self.by_jid;
        let all = || all.keys().cloned().collect();
        self.all.get_or_insert_with(all).clone()
    }
}
