//! Queue: what waits for one connection's task, from whichever thread.
//!
//! ```text
//! fan-out ─push→ ┌ items: stanzas and frames, in order ┐ ─take→ the connection's task
//! fan-out ─taken→│ taken: the highest number           │
//! timers ─signal→└ signals                             ┘
//! ```
//!
//! **Invariant:** it is bounded. What is beyond the bound is dropped, the queue closes and the
//! connection's task ends the connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use couplet_proto::Stanza;
use couplet_proto::link::frame::ToEdge;
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
    /// A stanza for the client, and when it entered the origin.
    Stanza(Arc<Stanza>, u64),
    /// Anything else, and the slot that says it.
    Frame(Slot, Box<ToEdge>),
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
}

/// What a push came to.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// It waits; the task must be woken if there is a waker.
    Queued(Option<Waker>),
    /// The queue is closed.
    Closed,
}

#[derive(Debug)]
struct Inner {
    items: VecDeque<Item>,
    bytes: usize,
    /// The highest number taken.
    taken: u64,
    /// Whether the task waits for credit: otherwise `taken` is no reason to wake it.
    wants_credit: bool,
    pace: Pace,
    signals: Signals,
    is_open: bool,
    waker: Option<Waker>,
}

// === impl Item ===

impl Item {
    /// About how much memory it holds, so that many small stanzas are no way round the bound.
    fn bytes(&self) -> usize {
        const ENVELOPE: usize = 256;
        match self {
            Self::Stanza(stanza, _) => ENVELOPE + stanza.wire_bytes(),
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
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                bytes: 0,
                taken: 0,
                wants_credit: false,
                pace: Pace::Flowing,
                signals: Signals::default(),
                is_open: true,
                waker: None,
            }),
        }
    }

    /// Adds something at the end.
    pub(crate) fn push(&self, item: Item) -> Pushed {
        let mut inner = self.lock();
        if !inner.is_open {
            return Pushed::Closed;
        }
        inner.bytes += item.bytes();
        inner.items.push_back(item);
        if inner.is_over(self.bounds) {
            inner.overflow();
        }
        Pushed::Queued(inner.waker.take())
    }

    /// Notes that the session's stanzas up to `number` have taken effect.
    pub(crate) fn taken(&self, number: u64) -> Option<Waker> {
        let mut inner = self.lock();
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

    /// Takes nothing more. Returns what was left.
    pub(crate) fn close(&self) -> VecDeque<Item> {
        let mut inner = self.lock();
        inner.is_open = false;
        inner.bytes = 0;
        std::mem::take(&mut inner.items)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    fn is_over(&self, bounds: Bounds) -> bool {
        let (bytes, stanzas) = match self.pace {
            Pace::Flowing => (bounds.bytes * BURST, bounds.stanzas * BURST),
            Pace::Slow => (bounds.bytes, bounds.stanzas * BURST),
            Pace::Stuck => (bounds.bytes, bounds.stanzas),
        };
        self.bytes > bytes || self.items.len() > stanzas
    }

    /// Keeps only what the origin must hear back about: a `Bound` nobody would ever detach.
    fn overflow(&mut self) {
        self.signals.overflow = true;
        self.is_open = false;
        self.items.retain(|item| matches!(item, Item::Frame(..)));
        self.items.shrink_to_fit();
        self.bytes = self.items.iter().map(Item::bytes).sum();
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

    fn stanza() -> Item {
        Item::Stanza(Arc::new(Stanza::new(Kind::Message, Type::Chat)), 0)
    }

    fn signals(queue: &Queue) -> Signals {
        queue.take(Waker::noop(), 0, &mut Vec::new()).0
    }

    #[test]
    fn a_burst_is_allowed_until_the_client_is_stuck() {
        let queue = Queue::new(BOUNDS);
        for _ in 0..BOUNDS.stanzas * 2 {
            assert!(matches!(queue.push(stanza()), Pushed::Queued(_)));
        }
        assert!(!signals(&queue).overflow);
        queue.set_pace(Pace::Slow);
        assert!(!signals(&queue).overflow);
        queue.set_pace(Pace::Stuck);
        assert!(signals(&queue).overflow);
        assert!(matches!(queue.push(stanza()), Pushed::Closed));
    }

    #[test]
    fn the_bound_in_bytes_holds_as_soon_as_the_socket_is_full() {
        let queue = Queue::new(BOUNDS);
        let item = Stanza::new(Kind::Message, Type::Chat).id("x".repeat(6000));
        let item = Arc::new(item);
        queue.set_pace(Pace::Slow);
        let _ = queue.push(Item::Stanza(Arc::clone(&item), 0));
        assert!(!signals(&queue).overflow);
        let _ = queue.push(Item::Stanza(item, 0));
        assert!(signals(&queue).overflow);
    }

    #[test]
    fn items_come_out_in_order_and_in_portions() {
        let queue = Queue::new(BOUNDS);
        for number in 0..5u64 {
            let stanza = Arc::new(Stanza::new(Kind::Message, Type::Chat));
            let _ = queue.push(Item::Stanza(stanza, number));
        }
        let mut batch = Vec::new();
        let (_, _, more) = queue.take(Waker::noop(), 1, &mut batch);
        assert!(more);
        let (_, _, more) = queue.take(Waker::noop(), usize::MAX, &mut batch);
        assert!(!more);
        let order: Vec<_> = batch
            .iter()
            .map(|item| match item {
                Item::Stanza(_, entered) => *entered,
                Item::Frame(..) => panic!("only stanzas"),
            })
            .collect();
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn credit_wakes_only_who_waits_for_it() {
        let queue = Queue::new(BOUNDS);
        let _ = queue.take(Waker::noop(), 0, &mut Vec::new());
        assert!(queue.taken(3).is_none());
        assert_eq!(queue.set_wants_credit(true), 3);
        assert!(queue.taken(4).is_some());
    }
}
