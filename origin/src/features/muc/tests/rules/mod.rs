//! What a room answers for itself: the tables, the lists, the configuration.

mod absent;
mod admin;
mod affiliation;
mod approval;
mod avatar;
mod config;
mod hats;
mod info;
mod moderation;
mod owner;
mod registration;

use std::collections::BTreeMap;

use couplet_proto::Jid;
use couplet_proto::link::id::{SessionId, Source};
use couplet_proto::xmpp::payload::Payload;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::features::muc::affiliation::{Affiliation, Role};
use crate::features::muc::occupant::Occupant;
use crate::features::muc::record;
use crate::features::muc::room::{Member, Room};
use crate::features::muc::settings::Settings;
use crate::hooks::Ctx;
use crate::session::Account;
use crate::shard::rig::{Client, Rig, jid};

/// The room of the tests.
const ROOM: &str = "coven@rooms.x";

/// Who is who in it: XEP-0045 §4.3, and a stranger who is not in the room.
const USERS: [&str; 6] = [
    "crone1@x", "wicca@x", "hag66@x", "hecate@x", "bard@x", "puck@x",
];

/// A room with its people, all online: an owner `first`, an admin `second`, a member `third`,
/// somebody unaffiliated `fourth`, a moderator by grant `fifth`; and a stranger outside.
struct World {
    rig: Rig,
    owner: Client,
    admin: Client,
    member: Client,
    plain: Client,
    moderator: Client,
    stranger: Client,
}

// === impl World ===

impl World {
    fn new(settings: Settings) -> Self {
        Self::with(settings, |_| {})
    }

    /// With something changed before the room is stored.
    fn with(settings: Settings, change: impl FnOnce(&mut Room)) -> Self {
        let mut rig = Rig::with(2, &USERS, |config| config.muc.affiliations_max = 6);
        let [owner, admin, member, plain, moderator, stranger] =
            USERS.map(|user| rig.online(&format!("{user}/pda")));
        let mut room = room(settings);
        change(&mut room);
        store(&mut rig, &room);
        let mut world = Self {
            rig,
            owner,
            admin,
            member,
            plain,
            moderator,
            stranger,
        };
        world.quiet();
        world
    }

    /// What everybody has received since the last call, by bare address.
    fn heard(&mut self) -> BTreeMap<&'static str, Vec<String>> {
        let clients = [
            &self.owner,
            &self.admin,
            &self.member,
            &self.plain,
            &self.moderator,
            &self.stranger,
        ];
        let heard = USERS.into_iter().zip(clients);
        heard
            .map(|(user, client)| (user, self.rig.received(client)))
            .collect()
    }

    fn quiet(&mut self) {
        self.heard();
    }
}

/// A request to the room.
fn request(type_: &str, child: &str) -> String {
    format!("<iq type='{type_}' id='q' to='{ROOM}'>{child}</iq>")
}

fn admin_set(items: &str) -> String {
    let query = format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{items}</query>");
    request("set", &query)
}

fn admin_get(item: &str) -> String {
    let query = format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>");
    request("get", &query)
}

fn room(settings: Settings) -> Room {
    let mut room = Room::new(jid(ROOM), SessionId(7), [3; 32], settings);
    debug_assert_eq!(room.source(1).part, Source::OF_ROOM);
    let people = [
        ("crone1@x", "first", Affiliation::Owner, Role::Moderator),
        ("wicca@x", "second", Affiliation::Admin, Role::Moderator),
        ("hag66@x", "third", Affiliation::Member, Role::Participant),
        ("hecate@x", "fourth", Affiliation::None, Role::Participant),
        ("bard@x", "fifth", Affiliation::None, Role::Moderator),
    ];
    for (user, nick, affiliation, role) in people {
        enter(&mut room, &format!("{user}/pda"), nick, role);
        if affiliation != Affiliation::None {
            affiliate(&mut room, user, affiliation);
        }
    }
    room
}

fn enter(room: &mut Room, full: &str, nick: &str, role: Role) {
    room.occupants.insert(Occupant {
        jid: jid(full),
        nick: nick.into(),
        role,
        presence: Payload::default(),
        since: 0,
    });
}

fn affiliate(room: &mut Room, bare: &str, affiliation: Affiliation) {
    let member = Member {
        affiliation,
        nick: None,
        reason: None,
    };
    room.members.insert(jid(bare), member);
}

/// Puts a room into the store, as if its owner had died.
fn store(rig: &mut Rig, room: &Room) {
    let shared = rig.shared();
    let mut account = Account::new(room.jid.clone());
    let mut effects = Vec::new();
    let mut rng = StdRng::seed_from_u64(1);
    let now = rig.now;
    let mut ctx = Ctx::new(now, &shared, &mut account, None, &mut effects, &mut rng);
    record::save(&mut ctx, room);
    for (jid, member) in room.members.iter() {
        record::save_member(&mut ctx, jid, Some(member));
    }
    for occupant in room.occupants.iter() {
        record::save_occupant(&mut ctx, occupant, true);
    }
    for past in &room.history {
        record::save_past(&mut ctx, past);
    }
    let owner: Jid = room.jid.clone();
    rig.store.write(&owner, effects);
}
