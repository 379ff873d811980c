//! Rooms: where they are, and what their occupants record of what happens in them.
//!
//! A room is named by a number, drawn so that the origin which is to own it does. Its messages
//! carry room, sender and number in their id and in their text; every occupant, the sender too,
//! gets each of them, and all get them in one order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use couplet_proto::Jid;
use couplet_proto::slot::{Seed, Slot};

use crate::cluster::Cluster;
use crate::harness::tree::Tree;
use crate::history::{Fate, Kind, Records, Seen, Sent, User};
use crate::ownership::{self, Owner};
use crate::redis::Redis;
use crate::session::nick;
use crate::stream::DOMAIN;

/// XEP-0045.
const MUC: &str = "http://jabber.org/protocol/muc";

/// The status codes of one who is removed, or told that it is not there any more.
const REMOVED: &[&str] = &["301", "307", "321", "322", "332", "333"];

/// A room by number: 3 is `den3@conference.localhost`.
pub(crate) type Room = usize;

/// What happened in a room.
#[derive(Debug, Default, Clone)]
pub(crate) struct Record {
    pub(crate) occupants: BTreeSet<User>,
    /// By sender; the index is the number.
    pub(crate) sent: BTreeMap<User, Vec<Sent>>,
    /// By occupant, in the order they came.
    pub(crate) heard: BTreeMap<User, Vec<Heard>>,
    /// What presence an occupant (first) has seen of another.
    pub(crate) seen: BTreeMap<(User, User), Seen>,
    /// Who was told that it is not there any more, and how.
    pub(crate) removals: Vec<(User, String)>,
}

/// A message that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) sender: User,
    pub(crate) number: usize,
    pub(crate) at: Instant,
}

/// The address of a room.
pub(crate) fn address(room: Room) -> String {
    format!("den{room}@conference.{DOMAIN}")
}

/// The presence by which a user enters.
pub(crate) fn join(room: Room, user: User) -> String {
    enter(room, &nick(user))
}

/// What makes a room and opens it for others; the answer has the id `open`.
pub(crate) fn create(room: Room, nick: &str) -> String {
    let (to, enter) = (address(room), enter(room, nick));
    let form = "<x xmlns='jabber:x:data' type='submit'/>";
    let query = format!("<query xmlns='{MUC}#owner'>{form}</query>");
    format!("{enter}<iq type='set' id='open' to='{to}'>{query}</iq>")
}

fn enter(room: Room, nick: &str) -> String {
    let to = address(room);
    format!("<presence to='{to}/{nick}'><x xmlns='{MUC}'/></presence>")
}

/// A message to everybody.
pub(crate) fn message(room: Room, sender: User, number: usize) -> String {
    let (to, mark) = (address(room), mark(room, sender, number));
    format!("<message to='{to}' type='groupchat' id='{mark}'><body>{mark}</body></message>")
}

/// What a message carries as its id and as its text.
fn mark(room: Room, sender: User, number: usize) -> String {
    format!("r-{room}-{sender}-{number}")
}

/// Room, sender and number.
fn read_mark(mark: &str) -> Option<(Room, User, usize)> {
    let mut parts = mark.strip_prefix("r-")?.split('-');
    let mut next = || parts.next()?.parse().ok();
    Some((next()?, next()?, next()?))
}

/// Numbers of rooms, one for each of these origins, which own them.
pub(crate) fn choose(cluster: &Cluster, origins: &[usize]) -> Vec<Room> {
    let mut chosen: Vec<Room> = Vec::new();
    for &origin in origins {
        let name = &cluster.origins[origin].name;
        let is_right = |room: &Room| {
            let owner = owner(&cluster.redis, *room);
            !chosen.contains(room) && owner.is_some_and(|owner| owner.is(name))
        };
        let found = (0..1000).find(is_right);
        chosen.push(found.expect("every origin owns a good part of all slots"));
    }
    chosen
}

/// Who owns the slot of a room now.
pub(crate) fn owner(redis: &Redis, room: Room) -> Option<Owner> {
    owner_of(redis, &address(room))
}

/// Who owns the slot of an address now.
pub(crate) fn owner_of(redis: &Redis, address: &str) -> Option<Owner> {
    // Its bytes are no text.
    const SCRIPT: &str = "return {string.byte(redis.call('GET', KEYS[1]), 1, 16)}";
    let bytes = redis.texts(&["EVAL", SCRIPT, "1", "couplet:{cluster}:seed"]);
    let bytes: Option<Vec<u8>> = bytes.iter().map(|it| it.parse().ok()).collect();
    let seed = Seed(bytes?.try_into().ok()?);
    let slot = Slot::of(seed, &Jid::parse(address).ok()?);
    ownership::owners(redis).remove(&slot.number())
}

/// Whether a stanza is from a room or an occupant.
pub(crate) fn is_from_room(stanza: &Tree) -> bool {
    source(stanza).is_some()
}

/// Records a stanza from a room that `user` got.
pub(crate) fn take(records: &mut Records, user: User, stanza: &Tree) {
    let Some((room, from)) = source(stanza) else {
        return;
    };
    let sort = stanza.get("type").unwrap_or_default();
    let known = match (stanza.name.as_str(), sort) {
        ("message", "error") => refused(records, user, stanza),
        ("message", "groupchat") => said(records, user, room, from, stanza),
        ("presence", "" | "unavailable") => {
            let record = records.rooms.entry(room).or_default();
            record.shown(user, from, stanza, sort.is_empty());
            true
        }
        // A new owner asks who is there.
        ("presence", "probe") => true,
        _ => false,
    };
    if !known {
        records.strange.push(format!("user{user} got {stanza}"));
    }
}

/// A message came back; whether it was one.
fn refused(records: &mut Records, user: User, stanza: &Tree) -> bool {
    let mark = stanza.get("id").and_then(read_mark);
    let Some((room, _, number)) = mark.filter(|(_, sender, _)| *sender == user) else {
        return false;
    };
    let condition = stanza.condition().unwrap_or("no condition").to_owned();
    let record = records.rooms.entry(room).or_default();
    record.sent_mut(user, number).fate = Fate::Refused(condition);
    true
}

/// A message came; whether it makes sense.
fn said(records: &mut Records, user: User, room: Room, from: Option<&str>, stanza: &Tree) -> bool {
    let body = stanza.child("body").map(|body| body.text.as_str());
    let id = stanza.get("id").unwrap_or_default();
    if stanza.child("delay").is_some() || (body.is_none() && stanza.child("subject").is_some()) {
        // What was said before it entered, and the subject.
        return true;
    }
    match read_mark(id) {
        Some((it, sender, number))
            if it == room && body == Some(id) && from == Some(&nick(sender)) =>
        {
            let record = records.rooms.entry(room).or_default();
            record.hear(user, sender, number, Instant::now());
            true
        }
        _ => false,
    }
}

/// The room a stanza is from, and the nick if it is from an occupant.
fn source(stanza: &Tree) -> Option<(Room, Option<&str>)> {
    let from = stanza.get("from")?;
    let (bare, nick) = match from.split_once('/') {
        Some((bare, nick)) => (bare, Some(nick)),
        None => (from, None),
    };
    let number = bare.split('@').next()?.strip_prefix("den")?;
    let room = number.parse().ok()?;
    (address(room) == bare).then_some((room, nick))
}

// === impl Record ===

impl Record {
    /// Takes the next number of a sender.
    pub(crate) fn send(&mut self, sender: User, sent: Sent) -> usize {
        let all = self.sent.entry(sender).or_default();
        all.push(sent);
        all.len() - 1
    }

    /// One message, seen from its sender.
    pub(crate) fn sent_mut(&mut self, sender: User, number: usize) -> &mut Sent {
        let sent = self.sent.get_mut(&sender);
        &mut sent.expect("the sender has begun it")[number]
    }

    /// A message has come.
    pub(crate) fn hear(&mut self, user: User, sender: User, number: usize, at: Instant) {
        let heard = self.heard.entry(user).or_default();
        heard.push(Heard { sender, number, at });
    }

    /// What an occupant has heard.
    pub(crate) fn heard_by(&self, user: User) -> &[Heard] {
        self.heard.get(&user).map_or(&[], Vec::as_slice)
    }

    /// Whether an occupant has heard this message of a sender, or a later one.
    fn has_heard(&self, user: User, sender: User, number: usize) -> bool {
        // The last to come is nearly always the newest.
        let mut heard = self.heard_by(user).iter().rev();
        heard.any(|it| it.sender == sender && it.number >= number)
    }

    /// The longest time between the wish to send and the arrival of a message.
    pub(crate) fn longest_pause(&self, user: User) -> Duration {
        let pauses = self.heard_by(user).iter().filter_map(|heard| {
            let sent = self.sent.get(&heard.sender)?.get(heard.number)?;
            Some(heard.at.saturating_duration_since(sent.at))
        });
        pauses.max().unwrap_or_default()
    }

    fn shown(&mut self, user: User, from: Option<&str>, stanza: &Tree, is_available: bool) {
        let is_own = from == Some(&*nick(user));
        let codes = stanza.child("x").into_iter().flat_map(|x| &x.children);
        let codes = codes.filter(|child| child.name == "status");
        let is_removal = codes
            .filter_map(|status| status.get("code"))
            .any(|code| REMOVED.contains(&code));
        if is_own && (is_removal || !is_available) {
            self.removals.push((user, stanza.to_string()));
        }
        let other = from.and_then(|nick| nick.strip_prefix("user")?.parse().ok());
        let Some(other) = other.filter(|other| *other != user) else {
            return;
        };
        let seen = self.seen.entry((user, other)).or_default();
        if is_available {
            seen.available += 1;
        } else if seen.available > 0 {
            seen.unavailable += 1;
        }
    }
}

// === impl Records ===

impl Records {
    /// A user will be in a room.
    pub(crate) fn enroll_occupant(&mut self, room: Room, user: User) {
        self.rooms.entry(room).or_default().occupants.insert(user);
    }

    /// Who has not seen whom in a room.
    pub(crate) fn unseen_occupants(&self) -> Vec<(Room, User, User)> {
        let mut unseen = Vec::new();
        for (&room, record) in &self.rooms {
            for &user in &record.occupants {
                let others = record.occupants.iter().filter(|other| **other != user);
                let missing = others.filter(|other| !record.seen.contains_key(&(user, **other)));
                unseen.extend(missing.map(|other| (room, user, *other)));
            }
        }
        unseen
    }

    /// For each sender in a room and each occupant: how many messages there are so far.
    pub(crate) fn room_marks(&self) -> Vec<(Room, User, User, usize)> {
        let mut marks = Vec::new();
        for (&room, record) in &self.rooms {
            for (&sender, sent) in &record.sent {
                let occupants = record.occupants.iter();
                marks.extend(occupants.map(|user| (room, sender, *user, sent.len())));
            }
        }
        marks
    }

    /// Whether an occupant has heard from a sender a message from this number on, or nobody waits
    /// for it any more.
    pub(crate) fn has_heard_in(&self, mark: (Room, User, User, usize)) -> bool {
        let (room, sender, user, number) = mark;
        let is_live = self.is_online(sender) && self.is_online(user);
        let record = self.rooms.get(&room);
        !is_live || record.is_some_and(|record| record.has_heard(user, sender, number))
    }

    /// Whether every message has a known fate, and all that are in have those they were to have.
    pub(crate) fn are_rooms_settled(&self) -> bool {
        self.rooms.values().all(|record| {
            let mut heard = BTreeSet::new();
            for user in record
                .occupants
                .iter()
                .filter(|it| self.was_always_there(**it))
            {
                let own = record.heard_by(*user).iter();
                heard.extend(own.map(|it| (*user, it.sender, it.number)));
            }
            let is_there = |sender: User, number: usize| {
                let mut faithful = record.occupants.iter().copied();
                faithful.all(|user| {
                    !self.was_always_there(user) || heard.contains(&(user, sender, number))
                })
            };
            record.sent.iter().all(|(&sender, sent)| {
                let is_managed = self.kind(sender) == Some(Kind::Managed);
                sent.iter()
                    .enumerate()
                    .all(|(number, sent)| match sent.fate {
                        Fate::Waiting => !is_managed && is_there(sender, number),
                        Fate::Acknowledged => is_there(sender, number),
                        Fate::Refused(_) | Fate::Unknown => true,
                    })
            })
        })
    }

    /// Whether everybody in a room has seen those go whose sessions have ended for good.
    pub(crate) fn are_leavings_seen(&self) -> bool {
        self.rooms.values().all(|record| {
            record.seen.iter().all(|(&(watcher, other), seen)| {
                let life = self.lives.get(&other);
                let ended = life.filter(|life| life.kind == Kind::Plain);
                let ended = ended.map_or(0, |life| life.endings);
                !self.was_always_there(watcher) || seen.unavailable >= ended
            })
        })
    }
}
