//! What version 2 of the link says to many receivers at once.

use super::golden::{SOURCE, juliet, stanza};
use super::slot;
use crate::link::epoch::Epoch;
use crate::link::frame::{Fan, Frame, Receiver, ToEdge};
use crate::link::id::ConnectionId;
use crate::link::peer::{Addressee, Forwards, ToPeer};

pub(super) fn forwarded_to_many() -> ToPeer {
    let receiver = |route, number, resource: &str| Addressee {
        route,
        slot: slot(number),
        epoch: Epoch(8),
        jid: juliet().with_resource(resource).expect("valid"),
    };
    ToPeer::Forwards(Box::new(Forwards {
        entered: 0,
        shard: 3,
        stanzas: [stanza(), stanza()].into(),
        source: SOURCE,
        receivers: vec![receiver(100, 2000, "a"), receiver(101, 2001, "b")],
        list: 5,
    }))
}

/// A list, the same once more, one that has changed, and one without a name.
pub(super) fn fans() -> Vec<Frame<ToEdge>> {
    let receiver = |connection, number| Receiver {
        connection: ConnectionId(connection),
        slot: slot(number),
        epoch: Epoch(8),
    };
    let lists = [
        (5, vec![receiver(1, 7), receiver(2, 8), receiver(3, 9)]),
        (5, vec![receiver(1, 7), receiver(2, 8), receiver(3, 9)]),
        (5, vec![receiver(1, 7), receiver(3, 9), receiver(4, 10)]),
        (0, vec![receiver(6, 7)]),
    ];
    let frame = |(list, receivers): (u64, Vec<Receiver>)| Frame {
        slot: slot(7),
        epoch: Epoch(8),
        body: ToEdge::Fan(Box::new(Fan {
            stanzas: [stanza()].into(),
            source: SOURCE,
            receivers,
            list,
            entered: 0,
        })),
    };
    lists.into_iter().map(frame).collect()
}
