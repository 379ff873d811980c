//! Every metric of the link. A new one is a new entry here; a test finds what is missing.

use couplet_proto::metric::{Label, Metric};

const PEER: Label = Label::of("peer", &["edge", "origin"]);
const DIRECTION: Label = Label::of("direction", &["in", "out"]);

/// All of them.
pub const TABLE: &[Metric] = &[
    Metric::gauge(super::LANES, "lanes").by(&[PEER]).says(
        "Lanes of links that stand, by what is at the other end.",
        "On an edge: `link.lanes` for each origin. Fewer: an origin cannot be reached.",
    ),
    Metric::counter(super::FRAMES, "frames")
        .by(&[PEER, DIRECTION])
        .says(
            "Frames between nodes.",
            "Divided by couplet_link_messages_total it is the mean batch: larger under load.",
        ),
    Metric::counter(super::MESSAGES, "messages")
        .by(&[PEER, DIRECTION])
        .says(
            "Messages that carry frames between nodes.",
            "See couplet_link_frames_total.",
        ),
    Metric::counter(super::BYTES, "bytes")
        .by(&[PEER, Label::of("direction", &["out"])])
        .says(
            "Bytes of messages sent to nodes, before HTTP/2 and TLS.",
            "For sizing the network between the nodes.",
        ),
    Metric::histogram(super::BATCH, "frames").by(&[PEER]).says(
        "Frames in a message sent to a node.",
        "At its upper end all the time: the link is busy.",
    ),
    Metric::counter(super::UNREADABLE, "frames")
        .by(&[PEER])
        .says(
            "Frames that this version cannot read, and left out.",
            "Any: nodes of versions that do not fit. Finish the upgrade, or go back.",
        ),
    Metric::counter(super::FULL, "frames").by(&[PEER]).says(
        "Queue overflows: frames that found the queue of their lane full, and waited.",
        "Steadily: the node at the other end is slower than this one sends.",
    ),
];
