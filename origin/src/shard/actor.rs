//! The task that feeds a shard and carries its outputs out.
//!
//! A round: take what waits in the mailbox, step through it, flush, carry out (`carry`). Reads,
//! commits and password work run in tasks of their own (`jobs`) and come back as events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use couplet_proto::journal::Journal;
use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::id::{EdgeId, PeerId};
use couplet_proto::link::peer::{Settled, ToPeer};
use couplet_proto::slot::Slot;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::event::{Change, Event};
use super::mailbox::{Inbox, Mailboxes};
use super::output::Output;
use super::overload::Overload;
use super::state::Shard;
use crate::clock::Clock;
use crate::cluster::lease::Lease;
use crate::cluster::map::{Heard, OwnerMap};
use crate::cluster::peers::Peers;
use crate::directives::board::Board;
use crate::link::{Edges, Owed};
use crate::metrics::Hot;
use crate::store::Store;

/// Events of one round from each queue: bounds the time until what they caused goes out.
const ROUND_MAX: usize = 256;

/// Seconds from one count of the rooms to the next.
const ROOMS_EVERY: u32 = 10;

/// How long a stopping shard waits for what is under way.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How often a stopping shard that has nothing to do looks whether the others have.
const STOP_PAUSE: Duration = Duration::from_millis(20);

/// What the actors of a process share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) mailboxes: Mailboxes,
    pub(crate) edges: Arc<Edges>,
    pub(crate) peers: Arc<Peers>,
    /// Where each slot's owner is.
    pub(crate) owners: Arc<OwnerMap>,
    /// Slots that the store says are another's.
    pub(crate) fenced: mpsc::Sender<Slot>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    /// Password work at once: one for each core, so that logins cannot take all of them away
    /// from the sessions that are there.
    pub(crate) password_work: Arc<Semaphore>,
    /// Whether the last commit was stored.
    pub(crate) is_storing: Arc<AtomicBool>,
    /// Events on their way to an inner queue: from shards, the store and workers.
    pub(crate) under_way: Arc<AtomicUsize>,
    /// Shards whose outer queue may still bring something.
    pub(crate) taking: Arc<AtomicUsize>,
    /// Whether all was quiet after that: shards have ended on it.
    pub(crate) was_quiet: Arc<AtomicBool>,
    pub(crate) overload: Arc<Overload>,
    pub(crate) iterations: u32,
    pub(crate) commit_timeout: Duration,
    /// Whether what is owned may be acted on; `None` where nobody else can take it.
    pub(crate) lease: Option<Arc<Lease>>,
    /// Who is told of slots that come and go.
    pub(crate) journal: Journal,
    /// Which domains are served, and who is kept out.
    pub(crate) board: Arc<Board>,
}

/// A shard at work.
pub(crate) struct Actor {
    pub(super) shard: Shard,
    inbox: Inbox,
    pub(super) surroundings: Surroundings,
    pub(super) hot: Hot,
    /// Events for other shards whose inner queue is full, by shard.
    pub(super) backlog: Vec<VecDeque<Event>>,
    /// Stanzas for other origins whose links are full.
    pub(super) peer_backlog: Vec<(PeerId, VecDeque<ToPeer>)>,
    events: Vec<Event>,
    pub(super) outputs: Vec<Output>,
    pub(super) frames: Vec<(EdgeId, Vec<Frame<ToEdge>>, Owed)>,
    /// What has taken effect, by the shard of this process that waits for it.
    pub(super) settled: Vec<Vec<u64>>,
    /// Likewise by the origin and the shard there.
    pub(super) peer_settled: Vec<(PeerId, Settled)>,
    /// The owners of slots this shard has heard of.
    pub(super) heard: Heard,
    /// What came to light while outputs were carried out.
    pub(super) late: Vec<Event>,
    /// How many gaps of the lease it has looked at.
    gaps: u64,
    /// Seconds that have passed.
    ticks: u32,
}

/// Where a shard has more to send than there is room.
#[derive(Debug, Clone, Copy)]
enum Blocked {
    Shard(usize),
    Peer(PeerId),
}

/// An event that is counted as under way until it is known that it does not arrive: also where
/// whoever brings it gives up.
struct Counted<'a>(&'a AtomicUsize);

// === impl Surroundings ===

impl Surroundings {
    /// Whether no shard takes anything new and nothing is under way: what one of them did last
    /// has reached the others. Once it was so it stays so: other origins go on sending, and what
    /// comes of that for a shard that has ended would be waited for in vain.
    pub(super) fn is_quiet(&self) -> bool {
        let is_quiet =
            self.taking.load(Ordering::SeqCst) == 0 && self.under_way.load(Ordering::SeqCst) == 0;
        self.was_quiet.fetch_or(is_quiet, Ordering::SeqCst) || is_quiet
    }

    /// Brings an event to a shard's inner queue, from outside of the shards; waits for room.
    pub(crate) async fn bring(&self, shard: usize, event: Event) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(&self.under_way);
        if self.mailboxes.of(shard).inner.send(event).await.is_ok() {
            // The shard counts it down when it has taken it.
            std::mem::forget(counted);
        }
    }
}

// === impl Counted ===

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// === impl Actor ===

impl Actor {
    pub(crate) fn new(id: u16, shard: Shard, inbox: Inbox, surroundings: Surroundings) -> Self {
        let peers = surroundings.mailboxes.len();
        let heard = Heard::new(&surroundings.owners);
        Self {
            shard,
            inbox,
            surroundings,
            hot: Hot::of_shard(id),
            backlog: (0..peers).map(|_| VecDeque::new()).collect(),
            peer_backlog: Vec::new(),
            events: Vec::new(),
            outputs: Vec::new(),
            frames: Vec::new(),
            settled: vec![Vec::new(); peers],
            peer_settled: Vec::new(),
            heard,
            late: Vec::new(),
            gaps: 0,
            ticks: 0,
        }
    }

    /// Runs until told to stop, then until what was taken is durable and released.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let surroundings = self.surroundings.clone();
        let mut give_up: Option<Instant> = None;
        let mut has_drained = false;
        loop {
            let blocked = self.blocked();
            let takes = blocked.is_none() && !(give_up.is_some() && self.inbox.outer.is_empty());
            tokio::select! {
                biased;
                // First, and cheap: under load there is always an event, and time must pass.
                _ = tick.tick() => self.ticked(),
                _ = stop.wait_for(|stop| *stop), if give_up.is_none() => {
                    self.inbox.outer.close();
                    give_up = Some(Instant::now() + STOP_PATIENCE);
                }
                event = self.inbox.inner.recv() => self.events.extend(event),
                () = room(&surroundings, blocked), if blocked.is_some() => {}
                event = self.inbox.outer.recv(), if takes => self.events.extend(event),
                () = yield_now(), if blocked.is_none() && self.shard.has_bulk() => {}
                () = tokio::time::sleep(STOP_PAUSE), if give_up.is_some() => {}
            }
            self.make_sure().await;
            self.round(blocked.is_some());
            if let Some(deadline) = give_up {
                if !has_drained && self.inbox.outer.is_empty() {
                    has_drained = true;
                    self.surroundings.taking.fetch_sub(1, Ordering::SeqCst);
                }
                let is_quiet = self.surroundings.is_quiet() && !self.shard.has_bulk();
                if is_quiet || Instant::now() >= deadline {
                    return;
                }
            }
        }
    }

    /// Nothing is handled while this node may have lost what it owns without knowing: see
    /// [`crate::cluster::lease`].
    async fn make_sure(&mut self) {
        let Some(lease) = &self.surroundings.lease else {
            return;
        };
        if !lease.is_certain() {
            lease.certain().await;
        }
        let gaps = lease.gaps();
        if gaps == self.gaps {
            return;
        }
        self.gaps = gaps;
        let now = self.surroundings.clock.now();
        for (slot, epoch) in self.shard.owned() {
            let way = self.surroundings.owners.way(slot);
            if way.epoch() > epoch {
                self.shard.step(Event::Tenure(slot, Change::Lose), now);
            }
        }
    }

    fn blocked(&self) -> Option<Blocked> {
        let shard = self.backlog.iter().position(|queue| !queue.is_empty());
        let peer = || {
            self.peer_backlog
                .first()
                .map(|(peer, _)| Blocked::Peer(*peer))
        };
        shard.map(Blocked::Shard).or_else(peer)
    }

    fn ticked(&mut self) {
        self.hot.sessions.set(self.shard.session_count() as f64);
        self.hot.accounts.set(self.shard.resident_count() as f64);
        // A walk over all accounts, and no figure that must be fresh.
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(ROOMS_EVERY) {
            self.hot
                .hibernated
                .set(self.shard.hibernated_count() as f64);
            let (rooms, occupants) = self.shard.room_count();
            self.hot.rooms.set(rooms as f64);
            self.hot.occupants.set(occupants as f64);
        }
        let waiting = self.inbox.outer.len() + self.inbox.inner.len();
        self.hot.mailbox.set(waiting as f64);
        let backlog: usize = self.backlog.iter().map(VecDeque::len).sum();
        let peers = self.peer_backlog.iter().map(|(_, queue)| queue.len());
        self.hot
            .backlog
            .set((backlog + peers.sum::<usize>()) as f64);
        self.hot.routes.set(self.shard.route_count() as f64);
        let Surroundings {
            overload,
            mailboxes,
            clock,
            ..
        } = &self.surroundings;
        overload.measure(mailboxes, clock.now().mono);
        self.events.push(Event::Tick);
    }

    /// Steps through what has arrived, then carries out what came of it.
    fn round(&mut self, is_blocked: bool) {
        let mut taken = 0;
        while taken < ROUND_MAX {
            let Ok(event) = self.inbox.inner.try_recv() else {
                break;
            };
            self.events.push(event);
            taken += 1;
        }
        // What comes from outside may rest on what stands in the inner queue, such as that this
        // node owns a slot now: it waits until that is empty.
        let is_inner_left = taken == ROUND_MAX;
        // The loop itself may have taken one.
        taken = 1;
        while !is_blocked && !is_inner_left && taken < ROUND_MAX {
            let Ok(event) = self.inbox.outer.try_recv() else {
                break;
            };
            self.events.push(event);
            taken += 1;
        }
        self.inbox.took(taken);
        let now = self.surroundings.clock.now();
        self.hot.round.record(self.events.len() as f64);
        let mut arrived = 0;
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            arrived += usize::from(event.is_inner());
            if let Event::Rerouted(slots) = &event {
                // What was sent so far goes the old way; what follows, and what is sent again
                // because of this, goes the new one, in the order it was first sent.
                self.carry_out();
                self.heard.hear(slots, &self.surroundings.owners);
            }
            self.shard.step(event, now);
        }
        self.events = events;
        self.shard.flush();
        self.retry_backlog();
        self.carry_out();
        // After what they have caused is under way itself.
        if arrived > 0 {
            let under_way = &self.surroundings.under_way;
            under_way.fetch_sub(arrived, Ordering::SeqCst);
        }
    }
}

/// Waits until a shard's inner queue, or a link to another origin, has room.
async fn room(surroundings: &Surroundings, blocked: Option<Blocked>) {
    match blocked {
        Some(Blocked::Shard(shard)) => {
            // The permit is given back at once: the next round uses the room.
            let _ = surroundings.mailboxes.of(shard).inner.reserve().await;
        }
        Some(Blocked::Peer(peer)) => {
            if let Some(link) = surroundings.peers.to(peer) {
                link.room().await;
            }
        }
        None => {}
    }
}
