//! Peer: frames between origins.

use super::field;
use super::owned::{ranges, slots};
use super::stanza;
use super::{Undecodable, v1};
use crate::link::epoch::Epoch;
use crate::link::peer::{Leave, Settled, ToPeer};

/// A stanza for another origin, as messages hold it.
pub fn encode(frame: &ToPeer) -> v1::PeerFrame {
    v1::PeerFrame {
        slot: frame.slot.number().into(),
        epoch: frame.epoch.0,
        body: Some(v1::peer_frame::Body::Forward(v1::Forward {
            shard: frame.shard.into(),
            route: frame.route,
            stanza: Some(stanza::encode(&frame.stanza)),
            source: frame.source.map(field::source_message),
        })),
    }
}

/// Reads a frame.
///
/// # Errors
/// [`Undecodable`]: nothing of it can be used.
pub fn decode(frame: v1::PeerFrame) -> Result<ToPeer, Undecodable> {
    let v1::peer_frame::Body::Forward(forward) = frame.body.ok_or(Undecodable::Unknown)?;
    Ok(ToPeer {
        slot: field::slot(frame.slot)?,
        epoch: Epoch(frame.epoch),
        shard: shard(forward.shard)?,
        route: forward.route,
        stanza: stanza::decode(forward.stanza)?,
        source: forward.source.map(field::source),
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
