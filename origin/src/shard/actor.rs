//! The task that feeds a shard and carries its outputs out.
//!
//! A round: take what waits in the mailbox, step through it, flush, carry out. Reads, commits and
//! password work run in tasks of their own and come back as events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::id::{EdgeId, SessionId};
use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::event::{Answered, Event, Verified};
use super::mailbox::{Inbox, Mailboxes};
use super::output::Output;
use super::state::Shard;
use crate::admin::fresh_salts;
use crate::auth::Credentials;
use crate::clock::Clock;
use crate::hooks::{Answer, Ask};
use crate::link::Edges;
use crate::metrics::Hot;
use crate::store::{self, Batch, Store};

/// Events of one round from each queue: bounds the time until what they caused goes out.
const ROUND_MAX: usize = 256;

/// First pause before a failed commit is tried again; it doubles up to a second.
const RETRY: Duration = Duration::from_millis(50);

/// How long a stopping shard waits for what is under way.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How often a stopping shard that has nothing to do looks whether the others have.
const STOP_PAUSE: Duration = Duration::from_millis(20);

/// What the actors of a process share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) mailboxes: Mailboxes,
    pub(crate) edges: Arc<Edges>,
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
    pub(crate) iterations: u32,
    pub(crate) commit_timeout: Duration,
}

/// A shard at work.
pub(crate) struct Actor {
    shard: Shard,
    inbox: Inbox,
    surroundings: Surroundings,
    hot: Hot,
    /// Events for other shards whose inner queue is full, by shard.
    backlog: Vec<VecDeque<Event>>,
    events: Vec<Event>,
    outputs: Vec<Output>,
    frames: Vec<(EdgeId, Vec<Frame<ToEdge>>)>,
    settled: Vec<Vec<(SessionId, u64)>>,
}

// === impl Surroundings ===

impl Surroundings {
    /// Whether no shard takes anything new and nothing is under way: what one of them did last
    /// has reached the others.
    fn is_quiet(&self) -> bool {
        self.taking.load(Ordering::SeqCst) == 0 && self.under_way.load(Ordering::SeqCst) == 0
    }
}

// === impl Actor ===

impl Actor {
    pub(crate) fn new(id: u16, shard: Shard, inbox: Inbox, surroundings: Surroundings) -> Self {
        let peers = surroundings.mailboxes.len();
        Self {
            shard,
            inbox,
            surroundings,
            hot: Hot::of_shard(id),
            backlog: (0..peers).map(|_| VecDeque::new()).collect(),
            events: Vec::new(),
            outputs: Vec::new(),
            frames: Vec::new(),
            settled: vec![Vec::new(); peers],
        }
    }

    /// Runs until told to stop, then until what was taken is durable and released.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut give_up: Option<Instant> = None;
        let mut has_drained = false;
        loop {
            let blocked = self.backlog.iter().position(|queue| !queue.is_empty());
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
                () = room(&self.surroundings.mailboxes, blocked), if blocked.is_some() => {}
                event = self.inbox.outer.recv(), if takes => self.events.extend(event),
                () = tokio::time::sleep(STOP_PAUSE), if give_up.is_some() => {}
            }
            self.round(blocked.is_some());
            if let Some(deadline) = give_up {
                if !has_drained && self.inbox.outer.is_empty() {
                    has_drained = true;
                    self.surroundings.taking.fetch_sub(1, Ordering::SeqCst);
                }
                if self.surroundings.is_quiet() || Instant::now() >= deadline {
                    return;
                }
            }
        }
    }

    fn ticked(&mut self) {
        self.hot.sessions.set(self.shard.session_count() as f64);
        self.hot.accounts.set(self.shard.resident_count() as f64);
        let waiting = self.inbox.outer.len() + self.inbox.inner.len();
        self.hot.mailbox.set(waiting as f64);
        let backlog: usize = self.backlog.iter().map(VecDeque::len).sum();
        self.hot.backlog.set(backlog as f64);
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
        // The loop itself may have taken one.
        taken = 1;
        while !is_blocked && taken < ROUND_MAX {
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
        for event in self.events.drain(..) {
            arrived += usize::from(event.is_inner());
            self.shard.step(event, now);
        }
        self.shard.flush();
        self.retry_backlog();
        self.carry_out();
        // After what they have caused is under way itself.
        if arrived > 0 {
            let under_way = &self.surroundings.under_way;
            under_way.fetch_sub(arrived, Ordering::SeqCst);
        }
    }

    fn carry_out(&mut self) {
        std::mem::swap(self.shard.outputs(), &mut self.outputs);
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::ToEdge(edge, frame) => self.gather(edge, frame),
                Output::Route(slot, routed) => {
                    let shard = self.surroundings.mailboxes.shard_of(slot);
                    self.send(shard, Event::Routed(routed));
                }
                Output::Settle(receipt) => {
                    let waiting = &mut self.settled[usize::from(receipt.shard)];
                    waiting.push((receipt.session, receipt.number));
                }
                Output::Reply(answering) => {
                    // The operator may have hung up.
                    let _ = answering.reply.send(answering.result);
                }
                Output::Commit(batches) => self.commit(batches),
                Output::Fenced(slot) => {
                    self.surroundings.is_storing.store(false, Ordering::Relaxed);
                    tracing::error!(%slot, "another node owns this slot now: restart this one");
                }
                other => self.start(other),
            }
        }
        self.outputs = outputs;
        for shard in 0..self.settled.len() {
            if !self.settled[shard].is_empty() {
                let settled = std::mem::take(&mut self.settled[shard]);
                self.send(shard, Event::Settled(settled));
            }
        }
        for (edge, frames) in &mut self.frames {
            if !frames.is_empty() {
                self.surroundings.edges.send(*edge, frames);
                frames.clear();
            }
        }
    }

    fn gather(&mut self, edge: EdgeId, frame: Frame<ToEdge>) {
        match self.frames.iter_mut().find(|(known, _)| *known == edge) {
            Some((_, frames)) => frames.push(frame),
            None => self.frames.push((edge, vec![frame])),
        }
    }

    /// To another shard, behind what already waits for it.
    fn send(&mut self, shard: usize, event: Event) {
        self.surroundings.under_way.fetch_add(1, Ordering::SeqCst);
        if !self.backlog[shard].is_empty() {
            return self.backlog[shard].push_back(event);
        }
        let sent = self.surroundings.mailboxes.of(shard).inner.try_send(event);
        match sent {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(event)) => self.backlog[shard].push_back(event),
        }
    }

    fn retry_backlog(&mut self) {
        for (shard, queue) in self.backlog.iter_mut().enumerate() {
            let inner = &self.surroundings.mailboxes.of(shard).inner;
            while let Some(event) = queue.pop_front() {
                if let Err(mpsc::error::TrySendError::Full(event)) = inner.try_send(event) {
                    queue.push_front(event);
                    break;
                }
            }
        }
    }

    fn commit(&self, batches: Vec<Batch>) {
        let surroundings = self.surroundings.clone();
        let back = self.back();
        let latency = self.hot.commit.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            let result = commit_all(&surroundings, batches).await;
            latency.record(started.elapsed().as_secs_f64());
            surroundings
                .is_storing
                .store(result.is_ok(), Ordering::Relaxed);
            let _ = back.send(Event::Committed(result)).await;
        });
    }

    /// Starts what takes time; its end comes back as an event. How many run at once is bounded by
    /// the accounts in memory: each has one question under way for each stanza that asked.
    fn start(&self, output: Output) {
        let back = self.back();
        let surroundings = self.surroundings.clone();
        match output {
            Output::Load(slot, jid) => {
                tokio::spawn(async move {
                    let loaded = surroundings.store.load(slot, jid.clone()).await;
                    let _ = back.send(Event::Loaded(jid, loaded)).await;
                });
            }
            Output::Ask(slot, jid, ask, asked, then, receipt) => {
                tokio::spawn(async move {
                    let store = &surroundings.store;
                    let answer = match ask {
                        Ask::Value(table, key) => {
                            let value = store.get(slot, jid.clone(), table, key).await;
                            value.map(Answer::Value)
                        }
                        Ask::Log(log, after, max) => {
                            let page = store.read_log(slot, jid.clone(), log, after, max).await;
                            page.map(Answer::Log)
                        }
                        Ask::Derive(password) => {
                            let derived = derive(&surroundings, password.0).await;
                            Ok(Answer::Derived(derived.map(Box::new)))
                        }
                    };
                    let answered = Box::new(Answered {
                        answer,
                        asked,
                        then,
                        receipt,
                    });
                    let _ = back.send(Event::Answered(jid, answered)).await;
                });
            }
            Output::Verify(jid, edge, connection, check) => {
                tokio::spawn(async move {
                    let Some(step) = work(&surroundings, move || check.run()).await else {
                        surroundings.under_way.fetch_sub(1, Ordering::SeqCst);
                        return;
                    };
                    let verified = Box::new(Verified {
                        edge,
                        connection,
                        step,
                    });
                    let _ = back.send(Event::Verified(jid, verified)).await;
                });
            }
            other => tracing::error!(?other, "carried out elsewhere"),
        }
    }

    /// The way back for what has been started: one event.
    fn back(&self) -> mpsc::Sender<Event> {
        self.surroundings.under_way.fetch_add(1, Ordering::SeqCst);
        let own = usize::from(self.shard.id());
        self.surroundings.mailboxes.of(own).inner.clone()
    }
}

/// Waits until a shard's inner queue has room.
async fn room(mailboxes: &Mailboxes, shard: Option<usize>) {
    if let Some(shard) = shard {
        // The permit is given back at once: the next round uses the room.
        let _ = mailboxes.of(shard).inner.reserve().await;
    }
}

/// Commits the batches of a group, each until it is stored or the time is up.
async fn commit_all(surroundings: &Surroundings, batches: Vec<Batch>) -> Result<(), store::Error> {
    let deadline = Instant::now() + surroundings.commit_timeout;
    let commits = batches
        .into_iter()
        .map(|batch| commit_one(surroundings, batch, deadline));
    let results = join_all(commits).await;
    results.into_iter().collect()
}

async fn commit_one(
    surroundings: &Surroundings,
    batch: Batch,
    deadline: Instant,
) -> Result<(), store::Error> {
    let mut pause = RETRY;
    loop {
        let committed = tokio::time::timeout_at(deadline, surroundings.store.commit(batch.clone()));
        let error = match committed.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error @ store::Error::Fenced { .. })) => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => store::Error::Unavailable("it does not answer".to_owned()),
        };
        surroundings.is_storing.store(false, Ordering::Relaxed);
        if Instant::now() + pause >= deadline {
            return Err(error);
        }
        tracing::warn!(slot = %batch.slot, %error, "commit failed, trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

async fn derive(surroundings: &Surroundings, password: Box<str>) -> Option<Credentials> {
    let iterations = surroundings.iterations;
    let derived = work(surroundings, move || {
        let (salt_sha_1, salt_sha_256) = fresh_salts();
        Credentials::derive(&password, iterations, salt_sha_1, salt_sha_256)
    });
    derived.await?.ok()
}

/// Runs password work on a thread of its own, as many at once as there are permits.
async fn work<T: Send + 'static>(
    surroundings: &Surroundings,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let permit = surroundings
        .password_work
        .clone()
        .acquire_owned()
        .await
        .ok()?;
    let done = tokio::task::spawn_blocking(move || {
        let result = job();
        drop(permit);
        result
    });
    done.await.ok()
}
