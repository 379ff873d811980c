//! XEP-0317: Hats: what owners call users, shown with their presence.

use std::collections::BTreeMap;

use bytes::Bytes;
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid};
use sha1::{Digest, Sha1};

use crate::store::codec;

/// Hats of one room.
pub(super) const HATS_MAX: usize = 50;
/// Hats one user wears.
pub(super) const WORN_MAX: usize = 10;
/// Users of one room who wear hats.
pub(super) const WEARERS_MAX: usize = 500;

/// One hat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hat {
    pub(super) title: String,
    /// Of its colour, in degrees, as the owner wrote it.
    pub(super) hue: Option<String>,
}

/// The hats of a room by their URIs, and who wears which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hats {
    pub(super) all: BTreeMap<String, Hat>,
    /// URIs by bare address, in the order they were given.
    pub(super) worn: BTreeMap<Jid, Vec<String>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(message, repeated, tag = "1")]
    hats: Vec<HatRecord>,
    #[prost(message, repeated, tag = "2")]
    wearers: Vec<WearerRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HatRecord {
    #[prost(string, tag = "1")]
    uri: String,
    #[prost(string, tag = "2")]
    title: String,
    #[prost(string, optional, tag = "3")]
    hue: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WearerRecord {
    #[prost(string, tag = "1")]
    jid: String,
    #[prost(string, repeated, tag = "2")]
    uris: Vec<String>,
}

/// The first version of the stored record.
const RECORD: u8 = 1;

// === impl Hats ===

impl Hats {
    /// §3.1: what is shown of a user; `None` for one who wears none.
    pub(super) fn of(&self, jid: &Jid) -> Option<Element> {
        if self.worn.is_empty() {
            return None;
        }
        let worn = self.worn.get(&jid.to_bare())?;
        let hats = worn.iter().filter_map(|uri| {
            let hat = self.all.get(uri)?;
            Some(
                Element::new("hat", ns::HATS)
                    .attr("title", hat.title.as_str())
                    .attr("uri", uri.as_str())
                    .attr_opt("hue", hat.hue.as_deref()),
            )
        });
        Some(Element::new("hats", ns::HATS).children_from(hats))
    }

    /// §2: tells lists of hats apart; `None` for the empty one.
    pub(super) fn hash(&self) -> Option<String> {
        if self.all.is_empty() {
            return None;
        }
        let mut digest = Sha1::new();
        for uri in self.all.keys() {
            digest.update(uri.as_bytes());
            digest.update(b"<");
        }
        let digest = digest.finalize();
        Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Takes a hat from a user. False when it does not wear it.
    pub(super) fn take(&mut self, jid: &Jid, uri: &str) -> bool {
        let Some(worn) = self.worn.get_mut(jid) else {
            return false;
        };
        let before = worn.len();
        worn.retain(|known| known != uri);
        let is_taken = worn.len() < before;
        if worn.is_empty() {
            self.worn.remove(jid);
        }
        is_taken
    }

    /// Who wears a hat.
    pub(super) fn wearers(&self, uri: &str) -> Vec<Jid> {
        let wearers = self.worn.iter();
        let wearers = wearers.filter(|(_, worn)| worn.iter().any(|known| known == uri));
        wearers.map(|(jid, _)| jid.clone()).collect()
    }

    /// The stored form.
    pub(super) fn encode(&self) -> Bytes {
        let hats = self.all.iter().map(|(uri, hat)| HatRecord {
            uri: uri.clone(),
            title: hat.title.clone(),
            hue: hat.hue.clone(),
        });
        let wearers = self.worn.iter().map(|(jid, uris)| WearerRecord {
            jid: jid.as_str().to_owned(),
            uris: uris.clone(),
        });
        let record = Record {
            hats: hats.collect(),
            wearers: wearers.collect(),
        };
        codec::encode(RECORD, &record)
    }

    /// Reads what [`Hats::encode`] gave.
    ///
    /// # Errors
    /// In words, when it is damaged.
    pub(super) fn decode(value: &Bytes) -> Result<Self, String> {
        let record: Record =
            codec::decode(RECORD, value).map_err(|it| format!("hats of a room: {it}"))?;
        let hats = record.hats.into_iter().map(|hat| {
            let (title, hue) = (hat.title, hat.hue);
            (hat.uri, Hat { title, hue })
        });
        let mut worn = BTreeMap::new();
        for wearer in record.wearers {
            let jid = Jid::parse(&wearer.jid);
            let jid = jid.map_err(|_| format!("hats of a room: {} is no address", wearer.jid))?;
            worn.insert(jid, wearer.uris);
        }
        Ok(Self {
            all: hats.collect(),
            worn,
        })
    }
}
