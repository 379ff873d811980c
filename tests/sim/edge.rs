//! Edge: the product's own, on pipes; here is the way up from it, and who is to be polled.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use couplet_edge::simulation::{Running, SimulatedEdge};
use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Frame, ToOrigin};
use couplet_proto::link::peer::Owned;
use couplet_proto::link::{Refused, Route, Uplink, Waiting};
use couplet_proto::slot::Slot;
use tokio::io::DuplexStream;

use crate::mutations::Mutation;
use crate::origin::SEED;

/// So many frames wait in a lane before it is full.
const LANE_FRAMES: usize = 24;

/// An edge process.
pub(crate) struct Edge {
    pub(crate) edge: SimulatedEdge,
    pub(crate) ways: Arc<Ways>,
    pub(crate) connections: BTreeMap<u64, Task>,
    pub(crate) next_connection: u64,
    pub(crate) next_sweep: u64,
    pub(crate) must_follow: bool,
    pub(crate) is_alive: bool,
    pub(crate) since: u64,
    /// The highest epoch of a frame it took, by slot.
    pub(crate) seen: BTreeMap<Slot, Epoch>,
}

/// A connection's task.
pub(crate) struct Task {
    running: Running,
    flag: Arc<Flag>,
}

struct Flag(AtomicBool);

/// The way up: the lanes of an edge and what it knows of the owners.
#[derive(Default)]
pub(crate) struct Ways {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    mutation: Option<Mutation>,
    known: BTreeMap<Slot, (Epoch, Option<u64>)>,
    lanes: BTreeMap<u64, VecDeque<Frame<ToOrigin>>>,
    /// The highest number sent of each session.
    sent: BTreeMap<u64, u64>,
    wakers: Vec<Waker>,
}

// === impl Edge ===

impl Edge {
    pub(crate) fn new(
        config: &couplet_edge::Config,
        seed: u64,
        mutation: Option<Mutation>,
    ) -> Self {
        let ways = Arc::new(Ways::default());
        ways.lock().mutation = mutation;
        let edge = SimulatedEdge::new(config, ways.clone(), seed);
        Self {
            edge: edge.expect("a usable configuration"),
            ways,
            connections: BTreeMap::new(),
            next_connection: 0,
            next_sweep: 0,
            must_follow: false,
            is_alive: true,
            since: 0,
            seen: BTreeMap::new(),
        }
    }

    /// A client comes.
    pub(crate) fn accept(&mut self, buffer: usize) -> Option<DuplexStream> {
        let (running, pipe) = self.edge.accept(buffer)?;
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        self.next_connection += 1;
        let task = Task { running, flag };
        self.connections.insert(self.next_connection, task);
        Some(pipe)
    }

    /// Connections that have been woken.
    pub(crate) fn woken(&self) -> impl Iterator<Item = u64> {
        let woken = |task: &Task| task.flag.0.load(Ordering::Relaxed);
        let all = self.connections.iter();
        all.filter(move |(_, task)| woken(task)).map(|(id, _)| *id)
    }

    /// Lets a connection run until it waits.
    pub(crate) fn poll(&mut self, id: u64) {
        let Some(task) = self.connections.get_mut(&id) else {
            return;
        };
        task.flag.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(task.flag.clone());
        let mut context = Context::from_waker(&waker);
        if let Poll::Ready(()) = task.running.as_mut().poll(&mut context) {
            self.connections.remove(&id);
        }
    }

    /// It dies: its sockets close, nobody is told.
    pub(crate) fn kill(&mut self, now: u64) {
        self.is_alive = false;
        self.since = now;
        self.connections.clear();
        self.ways.lock().lanes.clear();
    }
}

// === impl Flag ===

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// === impl Ways ===

impl Ways {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self, lane: u64) {
        self.lock().lanes.insert(lane, VecDeque::new());
    }

    /// A lane is gone: slots that were behind it have no owner that can be reached.
    pub(crate) fn close(&self, lane: u64) -> Vec<Slot> {
        let mut inner = self.lock();
        inner.lanes.remove(&lane);
        let mut lost = Vec::new();
        for (slot, (_, way)) in &mut inner.known {
            if *way == Some(lane) {
                *way = None;
                lost.push(*slot);
            }
        }
        inner.wake();
        lost
    }

    /// What is in a lane is lost.
    pub(crate) fn cut(&self, lane: u64) {
        if let Some(frames) = self.lock().lanes.get_mut(&lane) {
            frames.clear();
        }
    }

    /// Whether somebody says that he owns what has another owner by now.
    pub(crate) fn is_stale(&self, owned: Owned) -> bool {
        let inner = self.lock();
        let known = inner.known.get(&owned.slot);
        owned.is_owner && known.is_some_and(|(epoch, _)| owned.epoch < *epoch)
    }

    /// Somebody says what he owns; true when that changes a way.
    pub(crate) fn learn(&self, lane: u64, owned: Owned) -> bool {
        let mut inner = self.lock();
        let way = owned.is_owner.then_some(lane);
        let known = inner.known.entry(owned.slot).or_default();
        let is_new = owned.epoch >= known.0 && (owned.epoch, way) != *known;
        // Another than the owner says that he is not: that is no news.
        let is_idle = way.is_none() && owned.epoch == known.0 && known.1 != Some(lane);
        if !is_new || is_idle {
            return false;
        }
        *known = (owned.epoch, way);
        inner.wake();
        true
    }

    /// How many frames wait in a lane.
    pub(crate) fn waiting(&self, lane: u64) -> usize {
        self.lock().lanes.get(&lane).map_or(0, VecDeque::len)
    }

    pub(crate) fn pop(&self, lane: u64) -> Option<Frame<ToOrigin>> {
        let mut inner = self.lock();
        let frame = inner.lanes.get_mut(&lane)?.pop_front();
        inner.wake();
        frame
    }
}

impl Uplink for Ways {
    fn slot_of(&self, account: &Jid) -> Slot {
        Slot::of(SEED, account)
    }

    fn route(&self, slot: Slot) -> Option<Route> {
        self.lock().route(slot)
    }

    fn try_send(&self, slot: Slot, route: Route, body: ToOrigin) -> Result<(), Refused> {
        let mut inner = self.lock();
        if inner.route(slot) != Some(route) {
            return Err(Refused::Moved(body));
        }
        let Some(body) = inner.mutate(body) else {
            return Ok(());
        };
        let epoch = route.epoch;
        match inner.lanes.get_mut(&route.link) {
            Some(frames) if frames.len() < LANE_FRAMES => {
                frames.push_back(Frame { slot, epoch, body });
                Ok(())
            }
            _ => Err(Refused::Full(body)),
        }
    }

    fn room(&self, slot: Slot) -> Waiting<'_> {
        let mut first = None;
        Box::pin(std::future::poll_fn(move |context| {
            let mut inner = self.lock();
            let route = inner.route(slot);
            let frames = route.and_then(|route| inner.lanes.get(&route.link));
            let has_room = frames.is_none_or(|frames| frames.len() < LANE_FRAMES);
            let before = *first.get_or_insert(route);
            if has_room || before != route {
                return Poll::Ready(());
            }
            inner.wakers.push(context.waker().clone());
            Poll::Pending
        }))
    }

    fn may_lose_owners(&self) -> bool {
        true
    }
}

// === impl Inner ===

impl Inner {
    fn route(&self, slot: Slot) -> Option<Route> {
        let (epoch, lane) = self.known.get(&slot).copied()?;
        let link = lane.filter(|lane| self.lanes.contains_key(lane))?;
        Some(Route { epoch, link })
    }

    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// What a mutation makes of a frame.
    fn mutate(&mut self, mut body: ToOrigin) -> Option<ToOrigin> {
        let Some(mutation) = self.mutation else {
            return Some(body);
        };
        match (&mut body, mutation) {
            (
                ToOrigin::Stanza {
                    session, number, ..
                },
                Mutation::NoReplay,
            ) => {
                let sent = self.sent.entry(session.0).or_default();
                if *number <= *sent {
                    return None;
                }
                *sent = *number;
            }
            (ToOrigin::Attach(attach), Mutation::NoUnacked) => {
                attach.acked += attach.unacked.len() as u64;
                attach.unacked.clear();
            }
            _ => {}
        }
        Some(body)
    }
}
