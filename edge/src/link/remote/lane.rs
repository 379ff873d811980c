//! Lane: what waits for one origin, and what it is told of what came from it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use couplet_link::metrics::Metrics;
use couplet_link::queue::{self, Queue};
use couplet_proto::link::Refused;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Frame, ToOrigin};
use couplet_proto::link::wire::{self, up, v1};
use couplet_proto::slot::Slot;
use futures_util::Stream;
use futures_util::stream::unfold;

use crate::clock::Clock;

/// Frames that may wait for one origin; then their connections wait.
const FRAMES_MAX: usize = 4096;

/// Bytes that may wait for one origin; then connections wait.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a frame besides its stanzas, about.
const FRAME_BYTES: usize = 48;

/// One connection to one origin.
#[derive(Debug)]
pub(super) struct Lane {
    /// No other lane of this process has it.
    pub(super) id: u64,
    queue: Queue<Frame<ToOrigin>>,
    /// How many frames of the origin this edge has taken.
    accepted: AtomicU64,
    /// Slots of which frames among them were refused, at which epoch; told once.
    refused: Mutex<BTreeMap<Slot, Epoch>>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

// === impl Lane ===

impl Lane {
    pub(super) fn new(id: u64, metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self {
            id,
            queue: Queue::new(FRAMES_MAX, BYTES_MAX),
            accepted: AtomicU64::new(0),
            refused: Mutex::default(),
            metrics,
            clock,
        }
    }

    /// Queues a frame.
    pub(super) fn push(&self, slot: Slot, epoch: Epoch, body: ToOrigin) -> Result<(), Refused> {
        let bytes = bytes(&body);
        match self.queue.push(Frame { slot, epoch, body }, bytes) {
            Ok(()) => Ok(()),
            Err(queue::Refused::Full(frame)) => {
                self.metrics.full.increment(1);
                Err(Refused::Full(frame.body))
            }
            Err(queue::Refused::Closed(frame)) => Err(Refused::Moved(frame.body)),
        }
    }

    /// Waits until there may be room, or it does not matter any more.
    pub(super) async fn room(&self) {
        self.queue.room().await;
    }

    /// A slot goes another way now: whoever waits here looks again.
    pub(super) fn wake_all(&self) {
        self.queue.wake_all();
    }

    /// So many frames more are this edge's; the origin is told.
    ///
    /// Of these slots some were refused. The origin hears of that first, or it would think that
    /// what it sent for them has arrived.
    pub(super) fn accept(&self, frames: u64, refused: Vec<(Slot, Epoch)>) {
        if !refused.is_empty() {
            let mut known = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            known.extend(refused);
        }
        self.accepted.fetch_add(frames, Ordering::AcqRel);
        self.queue.poke();
    }

    /// The lane has ended.
    pub(super) fn close(&self) {
        self.queue.close();
    }

    /// What goes up: the greeting, then everything queued.
    pub(super) fn messages(
        self: Arc<Self>,
        hello: v1::Hello,
    ) -> impl Stream<Item = v1::EdgeBatch> + Send + 'static {
        let greeting = v1::EdgeBatch {
            hello: Some(hello),
            ..v1::EdgeBatch::default()
        };
        unfold((self, Some(greeting)), |(lane, greeting)| async move {
            let message = match greeting {
                Some(greeting) => greeting,
                None => lane.next().await?,
            };
            Some((message, (lane, None)))
        })
    }

    async fn next(&self) -> Option<v1::EdgeBatch> {
        let mut batch = Vec::new();
        if !self.queue.batch(&mut batch).await {
            return None;
        }
        let accepted = self.accepted.load(Ordering::Acquire);
        let mut known = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = std::mem::take(&mut *known);
        drop(known);
        let now = self.clock.now_ms();
        let frames = batch.into_iter();
        let message = v1::EdgeBatch {
            hello: None,
            frames: frames.map(|frame| up::encode_at(frame, now)).collect(),
            // Read before what is refused: whatever is counted here is among it.
            accepted,
            refused: refused
                .into_iter()
                .map(|(slot, epoch)| v1::Stale {
                    slot: u32::from(slot.number()),
                    epoch: epoch.0,
                })
                .collect(),
        };
        self.metrics
            .sent(message.frames.len(), wire::bytes(&message));
        Some(message)
    }
}

/// How much of a message a frame takes, about.
fn bytes(frame: &ToOrigin) -> usize {
    let more = match frame {
        ToOrigin::Stanza { stanza, .. } | ToOrigin::Answer { answer: stanza, .. } => {
            stanza.wire_bytes()
        }
        ToOrigin::Attach(attach) => {
            let unacked = attach.unacked.iter();
            let unacked = unacked.map(|unacked| FRAME_BYTES + unacked.stanza.wire_bytes());
            attach.state.len() + unacked.sum::<usize>()
        }
        ToOrigin::Authenticate(_, request) => request.initial.len(),
        ToOrigin::Respond { data, .. } => data.len(),
        ToOrigin::Expect(sessions) => sessions.len() * size_of::<u64>(),
        _ => FRAME_BYTES,
    };
    FRAME_BYTES + more
}
