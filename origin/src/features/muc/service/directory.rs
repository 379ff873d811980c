//! Directory: the public rooms of a service, by the local part of their addresses, in memory and
//! in the store.

use std::collections::BTreeMap;

use bytes::Bytes;
use couplet_proto::Element;
use couplet_proto::xmpp::ns;

use super::super::room::Room;
use crate::hooks::Ctx;
use crate::store::{Snapshot, Table, codec};

/// By the local part of the room's address.
pub(in super::super) const DIRECTORY: Table = Table {
    id: 13,
    name: "room-directory",
    is_resident: true,
};

/// The first version of the stored records.
const RECORD: u8 = 1;

/// What is listed of a room.
#[derive(Clone, PartialEq, prost::Message)]
pub(in super::super) struct Listing {
    /// For people.
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) description: String,
    /// A language tag, or empty.
    #[prost(string, tag = "3")]
    pub(super) lang: String,
    /// How many nicks are in it, as of late.
    #[prost(uint32, tag = "4")]
    pub(super) occupants: u32,
    /// Anybody can enter.
    #[prost(bool, tag = "5")]
    pub(super) is_open: bool,
    /// Everybody sees real addresses.
    #[prost(bool, tag = "6")]
    pub(super) is_non_anonymous: bool,
}

/// A room in the directory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) listing: Listing,
    /// Name and description as they are searched.
    pub(super) folded: (String, String),
    /// The number of occupants in the store.
    stored: u32,
}

/// The public rooms of a service.
#[derive(Debug, Default)]
pub(in super::super) struct Directory {
    rooms: BTreeMap<Box<str>, Entry>,
}

// === impl Listing ===

impl Listing {
    /// What is to be listed of a room; `None` when it is hidden or not ready.
    pub(super) fn of(room: &Room) -> Option<Self> {
        let settings = &room.settings;
        if !settings.is_public || room.is_locked {
            return None;
        }
        let occupants = room.occupants.nicks().count();
        Some(Self {
            name: settings.name.clone(),
            description: settings.description.clone(),
            lang: settings.lang.clone(),
            occupants: u32::try_from(occupants).unwrap_or(u32::MAX),
            is_open: !settings.is_members_only && settings.password.is_none(),
            is_non_anonymous: settings.is_non_anonymous,
        })
    }

    /// What a room says; `None` when it says that it is not to be listed.
    pub(super) fn read(said: &Element) -> Option<Self> {
        if said.name() != "room" {
            return None;
        }
        let text = |name| {
            said.find_own(name)
                .map(Element::content)
                .unwrap_or_default()
        };
        Some(Self {
            name: text("name"),
            description: text("description"),
            lang: text("lang"),
            occupants: text("occupants").parse().unwrap_or(0),
            is_open: said.find_own("open").is_some(),
            is_non_anonymous: said.find_own("non-anonymous").is_some(),
        })
    }

    /// What [`Listing::read`] reads.
    pub(super) fn to_element(&self) -> Element {
        let flag = |is_set: bool, name| is_set.then(|| Element::new(name, ns::ROOM_LISTING));
        Element::new("room", ns::ROOM_LISTING)
            .text_child("name", self.name.as_str())
            .text_child("description", self.description.as_str())
            .text_child("lang", self.lang.as_str())
            .text_child("occupants", self.occupants.to_string())
            .children_from(flag(self.is_open, "open"))
            .children_from(flag(self.is_non_anonymous, "non-anonymous"))
    }

    /// Whether nothing but the number of occupants is different.
    pub(super) fn differs_in_count(&self, other: &Self) -> bool {
        let same = Self {
            occupants: other.occupants,
            ..self.clone()
        };
        same == *other
    }
}

// === impl Entry ===

impl Entry {
    fn new(listing: Listing) -> Self {
        Self {
            folded: (
                listing.name.to_lowercase(),
                listing.description.to_lowercase(),
            ),
            stored: listing.occupants,
            listing,
        }
    }

    /// Whether the stored number is no longer of any use: an empty room, or half as many.
    fn is_stale(&self, occupants: u32) -> bool {
        let (less, more) = (self.stored.min(occupants), self.stored.max(occupants));
        less != more && more >= less.saturating_mul(2)
    }
}

// === impl Directory ===

impl Directory {
    /// Every room, in the order of their addresses.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.rooms.iter().map(|(name, entry)| (&**name, entry))
    }
}

/// A room is listed like this from now on, or not at all. Numbers of occupants change all the
/// time: not each is stored.
pub(super) fn change(ctx: &mut Ctx<'_>, name: &str, listing: Option<Listing>) {
    let directory = ctx.account.slots.muc.1.get_or_insert_default();
    let Some(listing) = listing else {
        if directory.rooms.remove(name).is_some() {
            ctx.delete(DIRECTORY, name);
        }
        return;
    };
    if let Some(known) = directory.rooms.get_mut(name) {
        if known.listing == listing {
            return;
        }
        let is_count = known.listing.differs_in_count(&listing);
        if is_count && !known.is_stale(listing.occupants) {
            known.listing = listing;
            return;
        }
    }
    let record = codec::encode(RECORD, &listing);
    directory.rooms.insert(name.into(), Entry::new(listing));
    ctx.put(DIRECTORY, name, record);
}

/// Reads the directory of an address, if it has one.
pub(in super::super) fn load(stored: &Snapshot) -> Result<Option<Box<Directory>>, String> {
    let rows = stored.rows.iter();
    let rows = rows.filter(|(table, ..)| *table == DIRECTORY.id);
    let rooms = rows.map(|(_, name, value): &(u8, Box<str>, Bytes)| {
        let listing: Listing =
            codec::decode(RECORD, value).map_err(|it| format!("room directory: {it}"))?;
        Ok((name.clone(), Entry::new(listing)))
    });
    let rooms: BTreeMap<_, _> = rooms.collect::<Result<_, String>>()?;
    Ok((!rooms.is_empty()).then(|| Box::new(Directory { rooms })))
}
