//! What the store keeps for itself in Redis: owners, members, pins.

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::NodeId;
use couplet_proto::slot::Slot;
use prost::Message;

use crate::store::codec;
use crate::store::{Error, Member, Owner, Pin};

/// The version of each of these values.
const VERSION: u8 = 1;

#[derive(Clone, PartialEq, Eq, Message)]
struct Description {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint32, tag = "3")]
    weight: u32,
    #[prost(string, tag = "4")]
    group: String,
    #[prost(bool, tag = "5")]
    is_draining: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct StoredPin {
    #[prost(uint32, tag = "1")]
    first: u32,
    #[prost(uint32, tag = "2")]
    last: u32,
    #[prost(string, tag = "3")]
    group: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Pins {
    #[prost(message, repeated, tag = "1")]
    pins: Vec<StoredPin>,
}

/// The owner of a slot as its key says it: `epoch node`.
pub(super) fn owner(owner: &Owner) -> String {
    format!("{} {}", owner.epoch, owner.node)
}

/// The owner in a slot's key; nobody if it is empty.
pub(super) fn read_owner(text: &[u8]) -> Result<Option<Owner>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let read = || {
        let (epoch, node) = str::from_utf8(text).ok()?.split_once(' ')?;
        Some(Owner {
            node: NodeId(node.into()),
            epoch: Epoch(epoch.parse().ok()?),
        })
    };
    let damaged = || Error::Corrupt(format!("an owner is `{}`", text.escape_ascii()));
    read().map(Some).ok_or_else(damaged)
}

/// What a member says of itself.
pub(super) fn description(member: &Member) -> Vec<u8> {
    let message = Description {
        name: member.name.as_ref().into(),
        address: member.address.as_ref().into(),
        weight: member.weight,
        group: member.group.as_ref().into(),
        is_draining: member.is_draining,
    };
    codec::encode(VERSION, &message).into()
}

/// A member from its id and what it said of itself.
pub(super) fn read_member(node: NodeId, description: Vec<u8>) -> Result<Member, Error> {
    let message: Description = codec::decode(VERSION, &description.into())?;
    Ok(Member {
        node,
        name: message.name.into(),
        address: message.address.into(),
        weight: message.weight,
        group: message.group.into(),
        is_draining: message.is_draining,
    })
}

/// All pins in one value.
pub(super) fn pins(pins: &[Pin]) -> Vec<u8> {
    let stored = |pin: &Pin| StoredPin {
        first: pin.first.number().into(),
        last: pin.last.number().into(),
        group: pin.group.as_ref().into(),
    };
    let message = Pins {
        pins: pins.iter().map(stored).collect(),
    };
    codec::encode(VERSION, &message).into()
}

/// The pins in a value.
pub(super) fn read_pins(value: Vec<u8>) -> Result<Vec<Pin>, Error> {
    let message: Pins = codec::decode(VERSION, &value.into())?;
    let slot = |number: u32| {
        let slot = u16::try_from(number).ok().and_then(Slot::new);
        slot.ok_or_else(|| Error::Corrupt(format!("a pin names the slot {number}")))
    };
    let pins = message.pins.into_iter().map(|pin| {
        Ok(Pin {
            first: slot(pin.first)?,
            last: slot(pin.last)?,
            group: pin.group.into(),
        })
    });
    pins.collect()
}
