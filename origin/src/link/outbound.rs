//! Outbound: what waits for one lane of an edge, and what is owed when the edge has it.
//!
//! **Invariant:** a shard hears of every debt exactly once: when the edge has accepted the frames
//! up to it, or when the lane has ended.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use couplet_link::metrics::Metrics;
use couplet_link::queue::Queue;
use couplet_proto::link::frame::{Delivery, Frame, ToEdge};
use couplet_proto::link::peer::Owned;
use couplet_proto::link::wire::hello::Hello;
use couplet_proto::link::wire::lists::Lists;
use couplet_proto::link::wire::{self, down, owned, rules, v1};
use couplet_proto::slot::Slot;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;

use super::node::Node;
use super::{Lane, Owed};
use crate::clock::Clock;
use crate::cluster::announce::Subscription;
use crate::cluster::map::{OwnerMap, Way};
use crate::directives::board::Board;
use crate::shard::actor::Surroundings;

/// Bytes that may wait for one lane; then it is cut, and the edge attaches its sessions again.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a frame besides its stanza, about.
const FRAME_BYTES: usize = 48;

/// The debts of each shard.
pub(super) type Debts = HashMap<u16, Vec<u64>>;

/// The way to one lane of an edge.
pub(super) struct EdgeLane {
    number: u16,
    lanes: u16,
    queue: Queue<Frame<ToEdge>>,
    owing: Mutex<Owing>,
    owners: Arc<OwnerMap>,
    board: Arc<Board>,
    clock: Clock,
    /// Whether the edge has to be told which rules are up.
    must_tell_rules: AtomicBool,
    /// Whether the edge takes stanzas for many at once.
    knows_fans: bool,
    /// True when too much waits.
    cut: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Owing {
    /// How many frames have been queued since the lane began.
    queued: u64,
    /// Debts that are paid when so many frames are accepted: the oldest first.
    debts: VecDeque<(u64, u16, Vec<u64>)>,
    /// Slots the edge is wrong about.
    corrections: BTreeSet<Slot>,
    is_closed: bool,
}

// === impl EdgeLane ===

impl EdgeLane {
    /// The lane that an edge has asked for.
    pub(super) fn new(hello: &Hello, node: &Node) -> Self {
        let metrics = Arc::clone(&node.to_edges);
        Self {
            knows_fans: hello.knows_fans(),
            ..Self::of(hello.lane, hello.lanes, &node.surroundings, metrics)
        }
    }

    /// Lane `number` of `lanes`.
    pub(super) fn of(
        number: u16,
        lanes: u16,
        surroundings: &Surroundings,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            number,
            lanes,
            queue: Queue::new(usize::MAX, BYTES_MAX),
            owing: Mutex::default(),
            owners: Arc::clone(&surroundings.owners),
            board: Arc::clone(&surroundings.board),
            clock: surroundings.clock,
            must_tell_rules: AtomicBool::new(true),
            knows_fans: true,
            cut: watch::Sender::new(false),
            metrics,
        }
    }

    /// The edge has so many frames. The debts that are paid with that.
    pub(super) fn accepted(&self, count: u64) -> Debts {
        let mut paid = Debts::new();
        let mut owing = self.owing();
        while let Some((at, ..)) = owing.debts.front()
            && *at <= count
            && let Some((_, shard, mut debts)) = owing.debts.pop_front()
        {
            paid.entry(shard).or_default().append(&mut debts);
        }
        paid
    }

    /// Waits until too much waits.
    pub(super) async fn cut(&self) {
        let mut cut = self.cut.subscribe();
        // Its sender is here.
        let _ = cut.wait_for(|cut| *cut).await;
    }

    /// Ends the lane. The debts that the edge has not accepted.
    pub(super) fn close(&self) -> Debts {
        self.queue.close();
        let mut owing = self.owing();
        owing.is_closed = true;
        let mut unpaid = Debts::new();
        for (_, shard, mut debts) in owing.debts.drain(..) {
            unpaid.entry(shard).or_default().append(&mut debts);
        }
        unpaid
    }

    /// What goes to the edge: the greeting, what this node owns, then everything queued.
    pub(super) fn messages(
        self: Arc<Self>,
        hello: v1::Hello,
        announced: Subscription,
    ) -> impl Stream<Item = v1::OriginBatch> + Send + 'static {
        let greeting = v1::OriginBatch {
            hello: Some(hello),
            ..v1::OriginBatch::default()
        };
        let state = (self, announced, Lists::default(), Some(greeting));
        unfold(
            state,
            |(lane, mut announced, mut lists, greeting)| async move {
                let message = match greeting {
                    Some(greeting) => greeting,
                    None => lane.next(&mut announced, &mut lists).await?,
                };
                Some((message, (lane, announced, lists, None)))
            },
        )
    }

    async fn next(
        &self,
        announced: &mut Subscription,
        lists: &mut Lists,
    ) -> Option<v1::OriginBatch> {
        let mut batch = Vec::new();
        let owned = tokio::select! {
            // First, so that nothing is sent for a slot before the edge knows whose it is.
            biased;
            owned = announced.next() => owned?,
            is_open = self.queue.batch(&mut batch) => match is_open {
                true => self.corrections(),
                false => return None,
            },
        };
        let frames = batch.into_iter();
        let now = self.clock.now().mono;
        let message = v1::OriginBatch {
            hello: None,
            owned: owned::encode(&owned),
            frames: frames
                .map(|frame| down::encode_at(frame, lists, now))
                .collect(),
            rules: self.rules(),
        };
        self.metrics
            .sent(message.frames.len(), wire::bytes(&message));
        Some(message)
    }

    /// The rules, if the edge has not been told those that are up.
    fn rules(&self) -> Option<v1::Rules> {
        let must_tell = self.board.is_known() && self.must_tell_rules.swap(false, Ordering::AcqRel);
        must_tell.then(|| rules::encode(&self.board.directives().rules(self.clock.now().unix)))
    }

    /// What is to be said again of slots.
    fn corrections(&self) -> Vec<Owned> {
        let slots = std::mem::take(&mut self.owing().corrections);
        let owned = slots.into_iter().map(|slot| {
            let way = self.owners.way(slot);
            Owned {
                slot,
                epoch: way.epoch(),
                is_owner: matches!(way, Way::Here(_)),
            }
        });
        owned.collect()
    }

    fn owing(&self) -> MutexGuard<'_, Owing> {
        self.owing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane for EdgeLane {
    fn carries(&self, slot: Slot) -> bool {
        slot.number() % self.lanes == self.number
    }

    fn send(&self, frames: &mut Vec<Frame<ToEdge>>, owed: &mut Owed) -> bool {
        // Held all the while: what is owed stands behind these frames and before the next ones.
        let mut owing = self.owing();
        if owing.is_closed {
            frames.clear();
            return false;
        }
        if !self.knows_fans {
            take_apart(frames);
        }
        owing.queued += frames.len() as u64;
        for frame in frames.drain(..) {
            let bytes = bytes(&frame.body);
            if self.queue.push(frame, bytes).is_err() {
                // What follows is never sent, and so never accepted.
                self.cut
                    .send_if_modified(|cut| !std::mem::replace(cut, true));
            }
        }
        if !owed.debts.is_empty() {
            let debts = std::mem::take(&mut owed.debts);
            let at = owing.queued;
            owing.debts.push_back((at, owed.shard, debts));
        }
        false
    }

    fn moved(&self, slot: Slot) {
        self.owing().corrections.insert(slot);
        self.queue.poke();
    }

    fn tell_rules(&self) {
        self.must_tell_rules.store(true, Ordering::Release);
        self.queue.poke();
    }
}

/// Writes stanzas for many as one frame for each and receiver, for an edge that knows no other.
fn take_apart(frames: &mut Vec<Frame<ToEdge>>) {
    if !frames
        .iter()
        .any(|frame| matches!(frame.body, ToEdge::Fan(_)))
    {
        return;
    }
    for frame in std::mem::take(frames) {
        let ToEdge::Fan(fan) = &frame.body else {
            frames.push(frame);
            continue;
        };
        for receiver in &fan.receivers {
            let deliveries = fan.each().map(|(stanza, source)| Frame {
                slot: receiver.slot,
                epoch: receiver.epoch,
                body: ToEdge::Deliver(Delivery {
                    connections: smallvec::smallvec![receiver.connection],
                    stanza: Arc::clone(stanza),
                    source: Some(source),
                    log: None,
                    entered: fan.entered,
                }),
            });
            frames.extend(deliveries);
        }
    }
}

/// How much of a message a frame takes, about.
fn bytes(frame: &ToEdge) -> usize {
    let more = match frame {
        ToEdge::Deliver(delivery) => {
            delivery.stanza.wire_bytes() + delivery.connections.len() * size_of::<u64>()
        }
        ToEdge::Fan(fan) => {
            let stanzas = fan.stanzas.iter().map(|stanza| stanza.wire_bytes());
            stanzas.sum::<usize>() + fan.receivers.len() * size_of::<u64>()
        }
        ToEdge::Registered { answer, .. } => answer.wire_bytes(),
        ToEdge::Keep { state, .. } => state.len(),
        ToEdge::Challenge { data, .. } => data.len(),
        _ => FRAME_BYTES,
    };
    FRAME_BYTES + more
}
