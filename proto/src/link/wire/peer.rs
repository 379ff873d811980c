//! Peer: frames between origins.

use super::field::{self, required};
use super::owned::{ranges, slots};
use super::stanza;
use super::{Undecodable, v1};
use crate::link::age;
use crate::link::epoch::Epoch;
use crate::link::peer::{Addressee, Forward, Forwards, Leave, Settled, ToPeer};

/// Stanzas for another origin, as messages hold them.
pub fn encode(frame: &ToPeer) -> v1::PeerFrame {
    let (slot, epoch, body) = match frame {
        ToPeer::Forward(forward) => {
            let message = v1::Forward {
                shard: forward.shard.into(),
                route: forward.route,
                stanza: Some(stanza::encode(&forward.stanza)),
                source: forward.source.map(field::source_message),
            };
            let body = v1::peer_frame::Body::Forward(message);
            (forward.slot.number(), forward.epoch, body)
        }
        ToPeer::Forwards(forwards) => {
            let first = forwards.receivers.first();
            let slot = first.map_or(0, |first| first.slot.number());
            let epoch = first.map_or(Epoch(0), |first| first.epoch);
            let body = v1::peer_frame::Body::Forwards(forwards_message(forwards));
            (slot, epoch, body)
        }
    };
    v1::PeerFrame {
        slot: slot.into(),
        epoch: epoch.0,
        body: Some(body),
        ..v1::PeerFrame::default()
    }
}

/// Stanzas that leave now, with how long they have been under way.
pub fn encode_at(mut frame: ToPeer, now_ms: u64) -> v1::PeerFrame {
    v1::PeerFrame {
        age_ms: age::since(*frame.entered_mut(), now_ms),
        ..encode(&frame)
    }
}

/// Reads a frame that comes now.
///
/// # Errors
/// See [`decode`].
pub fn decode_at(frame: v1::PeerFrame, now_ms: u64) -> Result<ToPeer, Undecodable> {
    let entered = age::entered(frame.age_ms, now_ms);
    let mut frame = decode(frame)?;
    *frame.entered_mut() = entered;
    Ok(frame)
}

/// Reads a frame.
///
/// # Errors
/// [`Undecodable`]: nothing of it can be used.
pub fn decode(frame: v1::PeerFrame) -> Result<ToPeer, Undecodable> {
    Ok(match frame.body.ok_or(Undecodable::Unknown)? {
        v1::peer_frame::Body::Forward(forward) => ToPeer::Forward(Forward {
            slot: field::slot(frame.slot)?,
            epoch: Epoch(frame.epoch),
            shard: shard(forward.shard)?,
            route: forward.route,
            stanza: stanza::decode(forward.stanza)?,
            source: forward.source.map(field::source),
            entered: 0,
        }),
        v1::peer_frame::Body::Forwards(message) => {
            ToPeer::Forwards(Box::new(read_forwards(message)?))
        }
    })
}

fn forwards_message(forwards: &Forwards) -> v1::Forwards {
    let stanzas = forwards.stanzas.iter().map(|stanza| stanza::encode(stanza));
    let receivers = forwards.receivers.iter();
    let numbers = receivers.clone().flat_map(|receiver| {
        let slot = u64::from(receiver.slot.number());
        [receiver.route, slot, receiver.epoch.0]
    });
    v1::Forwards {
        shard: forwards.shard.into(),
        stanzas: stanzas.collect(),
        source: Some(field::source_message(forwards.source)),
        receivers: numbers.collect(),
        addresses: receivers
            .map(|receiver| field::jid_bytes(&receiver.jid))
            .collect(),
        list: forwards.list,
    }
}

fn read_forwards(message: v1::Forwards) -> Result<Forwards, Undecodable> {
    let numbers = message.receivers.chunks_exact(3);
    if numbers.len() != message.addresses.len() {
        return Err(Undecodable::Invalid("receivers"));
    }
    let receivers = numbers.zip(&message.addresses).map(|(numbers, address)| {
        let slot = u32::try_from(numbers[1]).map_err(|_| Undecodable::Invalid("slot"))?;
        Ok(Addressee {
            route: numbers[0],
            slot: field::slot(slot)?,
            epoch: Epoch(numbers[2]),
            jid: field::jid(address)?,
        })
    });
    Ok(Forwards {
        shard: shard(message.shard)?,
        receivers: receivers.collect::<Result<_, _>>()?,
        stanzas: stanza::decode_all(message.stanzas)?,
        source: field::source(required(message.source, "source")?),
        list: message.list,
        entered: 0,
    })
}

/// An answer as messages hold it.
pub fn encode_settled(settled: Settled) -> v1::Settled {
    v1::Settled {
        shard: settled.shard.into(),
        routes: settled.routes,
    }
}

/// Reads an answer.
///
/// # Errors
/// [`Undecodable`]: there is no such shard.
pub fn decode_settled(message: v1::Settled) -> Result<Settled, Undecodable> {
    Ok(Settled {
        shard: shard(message.shard)?,
        routes: message.routes,
    })
}

/// A request to leave slots, as messages hold it.
pub fn encode_leave(leave: &Leave) -> v1::Leave {
    v1::Leave {
        request: leave.request,
        ranges: ranges(leave.slots.iter().copied()),
    }
}

/// Reads a request to leave slots.
pub fn decode_leave(message: &v1::Leave) -> Leave {
    Leave {
        request: message.request,
        slots: slots(&message.ranges).collect(),
    }
}

/// The answer to a request to leave slots, as messages hold it.
pub fn encode_left(left: &Leave) -> v1::Left {
    v1::Left {
        request: left.request,
        ranges: ranges(left.slots.iter().copied()),
    }
}

/// Reads the answer to a request to leave slots.
pub fn decode_left(message: &v1::Left) -> Leave {
    Leave {
        request: message.request,
        slots: slots(&message.ranges).collect(),
    }
}

fn shard(number: u32) -> Result<u16, Undecodable> {
    u16::try_from(number).map_err(|_| Undecodable::Invalid("shard"))
}
