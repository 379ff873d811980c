//! Every metric of the link: names, the table that says what they mean, and the handles kept.

mod table;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

pub use table::TABLE;

/// Lanes that stand, by `peer`: what is at the other end.
pub const LANES: &str = "couplet_link_lanes";
/// Frames, by `peer` and `direction`.
pub const FRAMES: &str = "couplet_link_frames_total";
/// Messages, by `peer` and `direction`: frames divided by this is the mean batch.
pub const MESSAGES: &str = "couplet_link_messages_total";
/// Bytes of the messages sent, before HTTP/2 and TLS, by `peer` and `direction`.
pub const BYTES: &str = "couplet_link_bytes_total";
/// Frames in a message sent, by `peer`.
pub const BATCH: &str = "couplet_link_batch_frames";
/// Frames received that could not be read, by `peer`.
pub const UNREADABLE: &str = "couplet_link_frames_unreadable_total";
/// Times a frame found the queue of its lane full, by `peer`.
pub const FULL: &str = "couplet_link_queue_full_total";

/// The handles of the links to one kind of node.
pub struct Metrics {
    /// See [`LANES`].
    pub lanes: Gauge,
    /// See [`FRAMES`].
    pub frames_in: Counter,
    /// See [`FRAMES`].
    pub frames_out: Counter,
    /// See [`MESSAGES`].
    pub messages_in: Counter,
    /// See [`MESSAGES`].
    pub messages_out: Counter,
    /// See [`BYTES`].
    pub bytes_out: Counter,
    /// See [`BATCH`].
    pub batch: Histogram,
    /// See [`UNREADABLE`].
    pub unreadable: Counter,
    /// See [`FULL`].
    pub full: Counter,
}

// === impl Metrics ===

impl Metrics {
    /// The handles for links to `peer`: `edge` or `origin`.
    pub fn new(peer: &'static str) -> Self {
        let frames = |direction| counter!(FRAMES, "peer" => peer, "direction" => direction);
        let messages = |direction| counter!(MESSAGES, "peer" => peer, "direction" => direction);
        Self {
            lanes: gauge!(LANES, "peer" => peer),
            frames_in: frames("in"),
            frames_out: frames("out"),
            messages_in: messages("in"),
            messages_out: messages("out"),
            bytes_out: counter!(BYTES, "peer" => peer, "direction" => "out"),
            batch: histogram!(BATCH, "peer" => peer),
            unreadable: counter!(UNREADABLE, "peer" => peer),
            full: counter!(FULL, "peer" => peer),
        }
    }

    /// A message of so many frames has come.
    pub fn received(&self, frames: usize) {
        self.messages_in.increment(1);
        self.frames_in.increment(frames as u64);
    }

    /// A message of so many frames and bytes goes out.
    #[expect(clippy::cast_precision_loss, reason = "a batch is short")]
    pub fn sent(&self, frames: usize, bytes: usize) {
        self.messages_out.increment(1);
        self.bytes_out.increment(bytes as u64);
        self.frames_out.increment(frames as u64);
        if frames > 0 {
            self.batch.record(frames as f64);
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
