//! Queue: what waits for one connection's task, from whichever thread.
//!
//! ```text
//! fan-out ─push→ ┌ items: stanzas and frames, in order ┐ ─take→ the connection's task
//! fan-out ─taken→│ taken: the highest number           │
//! timers ─signal→└ signals                             ┘
//! ```
//!
//! **Invariant:** it is bounded. Beyond the bound the connection's task ends the connection; what
//! comes until then is kept, since a new owner may have to be told of it.
//! **Invariant:** once a session has attached at an epoch, nothing of an earlier epoch enters: what
//! its new owner was told to have been delivered stays true.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use couplet_proto::Stanza;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{ToEdge, Unacked};
use couplet_proto::link::id::{LogId, Source};
use couplet_proto::slot::Slot;

/// Stanzas a queue may hold beyond [`Bounds`] while its task has not found the client slow: the
/// task may just not have had its turn yet. A login that brings the presence of a large roster
/// or a thousand offline messages in one batch must not end the connection.
const BURST: usize = 16;

/// Up to this many slots are kept when the queue is empty; an idle connection holds no more.
const KEPT_SLOTS: usize = 4;

/// What waits for one connection.
#[derive(Debug)]
pub(crate) struct Queue {
    bounds: Bounds,
    /// Where the client is, once that is known.
    peer: OnceLock<IpAddr>,
    inner: Mutex<Inner>,
}

/// How much may wait for a client that does not read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes: usize,
    pub(crate) stanzas: usize,
}

/// One thing that waits.
#[derive(Debug)]
pub(crate) enum Item {
    /// A stanza for the client.
    Stanza(Delivered),
    /// Anything else, and the slot that says it, at its owner's epoch.
    Frame(Slot, Epoch, Box<ToEdge>),
}

/// A stanza for one client; see [`couplet_proto::link::frame::Delivery`].
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    pub(crate) stanza: Arc<Stanza>,
    pub(crate) source: Option<Source>,
    pub(crate) log: Option<LogId>,
    /// When it entered the origin.
    pub(crate) entered: u64,
}

/// What a session that attaches must say, as far as the queue knows it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The epoch of the last frame from an owner.
    pub(crate) heard: Epoch,
    /// The stanzas that wait.
    pub(crate) waiting: Vec<Unacked>,
}

/// Whether the client reads, as its task knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Its socket takes what is written.
    Flowing,
    /// Its socket is full.
    Slow,
    /// Its socket is full and took nothing for a while.
    Stuck,
}

/// What a task is woken for besides items; all can be set at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Signals {
    /// A time has come: look at the deadlines.
    pub(crate) timer: bool,
    /// The edge drains.
    pub(crate) shutdown: bool,
    /// The edge has no more time: end at once.
    pub(crate) abort: bool,
    /// Too much waited.
    pub(crate) overflow: bool,
    /// The way to the owner may be another one.
    pub(crate) rerouted: bool,
    /// The origin ends the stream: what waits is written even to a client that does not read.
    pub(crate) ending: bool,
    /// No client is let in any more from where this one is.
    pub(crate) banned: bool,
}

/// What a push came to.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// It waits; the task must be woken if there is a waker.
    Queued(Option<Waker>),
    /// The queue is closed; the item comes back.
    Closed(Item),
    /// The epoch is not that of the session's owner any more.
    Stale,
}

#[derive(Debug)]
struct Inner {
    items: VecDeque<Item>,
    bytes: usize,
    /// The most items that ever waited.
    depth_max: usize,
    /// The highest number taken.
    taken: u64,
    /// Nothing of an earlier epoch enters.
    floor: Epoch,
    /// The epoch of the last frame from an owner of the session.
    heard: Epoch,
    /// Whether the task waits for credit: otherwise `taken` is no reason to wake it.
    wants_credit: bool,
    pace: Pace,
    signals: Signals,
    has_overflowed: bool,
    is_open: bool,
    waker: Option<Waker>,
}

// === impl Item ===

impl Item {
    /// About how much memory it holds, so that many small stanzas are no way round the bound.
    fn bytes(&self) -> usize {
        const ENVELOPE: usize = 256;
        match self {
            Self::Stanza(delivered) => ENVELOPE + delivered.stanza.wire_bytes(),
            Self::Frame(..) => ENVELOPE,
        }
    }
}

// === impl Queue ===

impl Queue {
    /// An empty queue.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            peer: OnceLock::new(),
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                bytes: 0,
                depth_max: 0,
                taken: 0,
                floor: Epoch::default(),
                heard: Epoch::default(),
                wants_credit: false,
                pace: Pace::Flowing,
                signals: Signals::default(),
                has_overflowed: false,
                is_open: true,
                waker: None,
            }),
        }
    }

    /// Notes where the client is; never changes.
    pub(crate) fn set_peer(&self, peer: IpAddr) {
        let _ = self.peer.set(peer);
    }

    /// Where the client is, if that is known.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.peer.get().copied()
    }

    /// Adds something of this epoch at the end.
    pub(crate) fn push(&self, item: Item, epoch: Epoch) -> Pushed {
        let mut inner = self.lock();
        if !inner.is_open {
            return Pushed::Closed(item);
        }
        if !inner.hear(epoch) {
            return Pushed::Stale;
        }
        if let Item::Frame(_, _, frame) = &item {
            match **frame {
                // The session begins here; what was said before came from other slots.
                ToEdge::Bound { .. } | ToEdge::Resumed { .. } => inner.heard = epoch,
                ToEdge::Close { .. } => inner.signals.ending = true,
                _ => {}
            }
        }
        inner.bytes += item.bytes();
        inner.items.push_back(item);
        inner.depth_max = inner.depth_max.max(inner.items.len());
        if inner.is_over(self.bounds) {
            inner.overflow();
        }
        Pushed::Queued(inner.waker.take())
    }

    /// Notes that the session's stanzas up to `number` have taken effect.
    pub(crate) fn taken(&self, number: u64, epoch: Epoch) -> Option<Waker> {
        let mut inner = self.lock();
        if !inner.hear(epoch) {
            return None;
        }
        inner.taken = inner.taken.max(number);
        if inner.wants_credit {
            inner.waker.take()
        } else {
            None
        }
    }

    /// Sets signals and wakes the task.
    pub(crate) fn signal(&self, set: impl FnOnce(&mut Signals)) {
        let waker = {
            let mut inner = self.lock();
            set(&mut inner.signals);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the signals, and items of at most about `bytes_max` into `batch`; `waker` is woken
    /// when there is more. Returns the highest number taken and whether items are left.
    pub(crate) fn take(
        &self,
        waker: &Waker,
        bytes_max: usize,
        batch: &mut Vec<Item>,
    ) -> (Signals, u64, bool) {
        let mut inner = self.lock();
        match &mut inner.waker {
            Some(known) if known.will_wake(waker) => {}
            known => *known = Some(waker.clone()),
        }
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(item) = inner.items.pop_front() else {
                break;
            };
            bytes += item.bytes();
            batch.push(item);
        }
        inner.bytes = inner.bytes.saturating_sub(bytes);
        if inner.items.is_empty() && inner.items.capacity() > KEPT_SLOTS {
            inner.items = VecDeque::new();
        }
        let signals = std::mem::take(&mut inner.signals);
        (signals, inner.taken, !inner.items.is_empty())
    }

    /// Refuses everything of an epoch before this one from now on, and says what there is.
    pub(crate) fn attach(&self, epoch: Epoch) -> Snapshot {
        let mut inner = self.lock();
        inner.floor = epoch;
        let stanzas = inner.items.iter().filter_map(|item| match item {
            Item::Stanza(delivered) => Some(Unacked::from(delivered)),
            Item::Frame(..) => None,
        });
        Snapshot {
            waiting: stanzas.collect(),
            heard: inner.heard,
        }
    }

    /// Nothing was heard from an owner of the session after this epoch.
    pub(crate) fn set_heard(&self, epoch: Epoch) {
        self.lock().heard = epoch;
    }

    /// Whether something of this epoch would be refused for it.
    #[cfg(feature = "simulation")]
    pub(crate) fn would_refuse(&self, epoch: Epoch) -> bool {
        let inner = self.lock();
        inner.is_open && epoch < inner.floor
    }

    /// The epoch of the last frame from an owner of the session.
    pub(crate) fn heard(&self) -> Epoch {
        self.lock().heard
    }

    /// The most items that ever waited.
    pub(crate) fn depth_max(&self) -> u64 {
        self.lock().depth_max as u64
    }

    /// Whether the task waits for credit. Returns the highest number taken, so that none passes
    /// unnoticed.
    pub(crate) fn set_wants_credit(&self, wants: bool) -> u64 {
        let mut inner = self.lock();
        inner.wants_credit = wants;
        inner.taken
    }

    /// Says whether the client reads. What waits already may now be too much.
    pub(crate) fn set_pace(&self, pace: Pace) {
        let mut inner = self.lock();
        inner.pace = pace;
        if inner.is_open && inner.is_over(self.bounds) {
            inner.overflow();
        }
    }

    /// Takes everything that waits.
    pub(crate) fn drain(&self) -> VecDeque<Item> {
        let mut inner = self.lock();
        inner.bytes = 0;
        std::mem::take(&mut inner.items)
    }

    /// Takes nothing more. Returns what was left.
    pub(crate) fn close(&self) -> VecDeque<Item> {
        self.lock().is_open = false;
        self.drain()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    /// Notes that the owner at this epoch has spoken; false if it is the owner no longer.
    fn hear(&mut self, epoch: Epoch) -> bool {
        let is_current = epoch >= self.floor;
        if is_current {
            self.heard = self.heard.max(epoch);
        }
        is_current
    }

    fn is_over(&self, bounds: Bounds) -> bool {
        let (bytes, stanzas) = match self.pace {
            Pace::Flowing => (bounds.bytes * BURST, bounds.stanzas * BURST),
            Pace::Slow => (bounds.bytes, bounds.stanzas * BURST),
            Pace::Stuck => (bounds.bytes, bounds.stanzas),
        };
        self.bytes > bytes || self.items.len() > stanzas
    }

    /// Too much waits: said once.
    fn overflow(&mut self) {
        self.signals.overflow |= !self.has_overflowed;
        self.has_overflowed = true;
    }
}

impl From<&Delivered> for Unacked {
    fn from(delivered: &Delivered) -> Self {
        Self {
            stanza: Arc::clone(&delivered.stanza),
            source: delivered.source,
            log: delivered.log,
        }
    }
}

#[cfg(test)]
mod tests {
    use couplet_proto::xmpp::stanza::{Kind, Type};

    use super::*;

    const BOUNDS: Bounds = Bounds {
        bytes: 10_000,
        stanzas: 10,
    };

    const EPOCH: Epoch = Epoch(1);

    fn stanza() -> Item {
        item(Stanza::new(Kind::Message, Type::Chat), 0)
    }

    fn item(stanza: Stanza, entered: u64) -> Item {
        Item::Stanza(Delivered {
            stanza: Arc::new(stanza),
            source: None,
            log: None,
            entered,
        })
    }

    fn signals(queue: &Queue) -> Signals {
        queue.take(Waker::noop(), 0, &mut Vec::new()).0
    }

    #[test]
    fn a_burst_is_allowed_until_the_client_is_stuck() {
        let queue = Queue::new(BOUNDS);
        for _ in 0..BOUNDS.stanzas * 2 {
            assert!(matches!(queue.push(stanza(), EPOCH), Pushed::Queued(_)));
        }
        assert!(!signals(&queue).overflow);
        queue.set_pace(Pace::Slow);
        assert!(!signals(&queue).overflow);
        queue.set_pace(Pace::Stuck);
        assert!(signals(&queue).overflow);
        assert!(matches!(queue.push(stanza(), EPOCH), Pushed::Queued(_)));
        assert!(!signals(&queue).overflow);
        queue.close();
        assert!(matches!(queue.push(stanza(), EPOCH), Pushed::Closed(_)));
    }

    #[test]
    fn the_bound_in_bytes_holds_as_soon_as_the_socket_is_full() {
        let queue = Queue::new(BOUNDS);
        let large = Stanza::new(Kind::Message, Type::Chat).id("x".repeat(6000));
        queue.set_pace(Pace::Slow);
        let _ = queue.push(item(large.clone(), 0), EPOCH);
        assert!(!signals(&queue).overflow);
        let _ = queue.push(item(large, 0), EPOCH);
        assert!(signals(&queue).overflow);
    }

    #[test]
    fn items_come_out_in_order_and_in_portions() {
        let queue = Queue::new(BOUNDS);
        for number in 0..5u64 {
            let stanza = Stanza::new(Kind::Message, Type::Chat);
            let _ = queue.push(item(stanza, number), EPOCH);
        }
        let mut batch = Vec::new();
        let (_, _, more) = queue.take(Waker::noop(), 1, &mut batch);
        assert!(more);
        let (_, _, more) = queue.take(Waker::noop(), usize::MAX, &mut batch);
        assert!(!more);
        let order: Vec<_> = batch
            .iter()
            .map(|item| match item {
                Item::Stanza(delivered) => delivered.entered,
                Item::Frame(..) => panic!("only stanzas"),
            })
            .collect();
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn nothing_of_a_former_owner_enters_after_the_session_has_attached() {
        let queue = Queue::new(BOUNDS);
        let _ = queue.push(stanza(), EPOCH);
        let snapshot = queue.attach(Epoch(2));
        assert_eq!(snapshot.heard, EPOCH);
        assert_eq!(snapshot.waiting.len(), 1);
        assert!(matches!(queue.push(stanza(), EPOCH), Pushed::Stale));
        let _ = queue.taken(7, EPOCH);
        assert_eq!(queue.set_wants_credit(true), 0);
        assert!(matches!(queue.push(stanza(), Epoch(2)), Pushed::Queued(_)));
        assert_eq!(queue.heard(), Epoch(2));
    }

    #[test]
    fn credit_wakes_only_who_waits_for_it() {
        let queue = Queue::new(BOUNDS);
        let _ = queue.take(Waker::noop(), 0, &mut Vec::new());
        assert!(queue.taken(3, EPOCH).is_none());
        assert_eq!(queue.set_wants_credit(true), 3);
        assert!(queue.taken(4, EPOCH).is_some());
    }
}
