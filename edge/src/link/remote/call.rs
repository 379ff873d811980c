//! Call: one lane as it lives, from greeting to loss.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use couplet_link::metrics::Metrics;
use couplet_link::{CONNECT_TIMEOUT, Call, Ended, MESSAGE_BYTES_MAX};
use couplet_proto::link::Downlink;
use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::wire::hello::{Hello, Role};
use couplet_proto::link::wire::lists::Lists;
use couplet_proto::link::wire::v1::link_client::LinkClient;
use couplet_proto::link::wire::{down, owned, rules, v1};
use couplet_proto::slot::{Seed, Slot};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tracing::{info, warn};

use super::Settings;
use super::lane::Lane;
use super::owners::Owners;
use super::told::Told;
use crate::clock::Clock;

/// Calls origins.
pub(super) struct Caller {
    hello: Hello,
    lanes: u16,
    owners: Arc<Owners>,
    downlink: Arc<dyn Downlink>,
    seed: watch::Sender<Option<Seed>>,
    next_lane: AtomicU64,
    /// The lanes that stand: an origin may be found at several addresses.
    reached: Arc<Mutex<HashSet<Reached>>>,
    told: Told,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// A lane to one start of one origin.
pub(super) type Reached = (u64, u16);

/// A lane that stands; when it is dropped its slots have no way.
struct Standing<'a> {
    caller: &'a Caller,
    lane: Arc<Lane>,
    reached: Reached,
}

// === impl Caller ===

impl Caller {
    pub(super) fn new(
        settings: &Settings,
        owners: Arc<Owners>,
        downlink: Arc<dyn Downlink>,
    ) -> Self {
        Self {
            hello: Hello::new(Role::Edge, settings.node.clone(), settings.incarnation),
            lanes: settings.lanes,
            owners,
            downlink,
            seed: watch::Sender::new(None),
            next_lane: AtomicU64::new(1),
            reached: Arc::default(),
            told: Told::new(),
            metrics: Arc::new(Metrics::new("origin")),
            clock: settings.clock,
        }
    }

    /// The version of the rules that are followed, once an origin has told some.
    pub(super) fn ruled(&self) -> watch::Receiver<Option<u64>> {
        self.told.version()
    }

    /// The cluster's seed, once an origin has told it.
    pub(super) fn seed(&self) -> watch::Receiver<Option<Seed>> {
        self.seed.subscribe()
    }

    /// Both greetings; then what the origin says, and who it is.
    async fn greet(
        &self,
        channel: Channel,
        number: u16,
        lane: &Arc<Lane>,
    ) -> Result<(Streaming<v1::OriginBatch>, Hello), String> {
        let mut client = LinkClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let hello = self.hello.clone().on_lane(number, self.lanes).encode();
        let greeting = async {
            let answer = client.edge(Arc::clone(lane).messages(hello)).await;
            let mut messages = answer.map_err(|status| explain(&status))?.into_inner();
            let first = messages.message().await;
            let first = first.map_err(|status| explain(&status))?;
            let hello = Hello::decode(first.and_then(|first| first.hello), Role::Origin);
            Ok((messages, hello.map_err(|mismatch| mismatch.to_string())?))
        };
        let greeted = timeout(CONNECT_TIMEOUT, greeting).await;
        greeted.unwrap_or_else(|_| Err("no greeting in time".to_owned()))
    }

    /// Notes the cluster's seed; false when it is another's.
    fn is_of_cluster(&self, seed: Seed) -> bool {
        self.seed.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert(seed);
            is_first
        });
        *self.seed.borrow() == Some(seed)
    }

    /// The lanes that stand.
    pub(super) fn reached(&self) -> Arc<Mutex<HashSet<Reached>>> {
        Arc::clone(&self.reached)
    }

    /// Enters the lane, unless the same origin is reached by such a lane already.
    fn stand(&self, lane: &Arc<Lane>, reached: Reached) -> Option<Standing<'_>> {
        let mut all = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.insert(reached) {
            return None;
        }
        drop(all);
        self.owners.enter(lane);
        self.metrics.lanes.increment(1);
        Some(Standing {
            caller: self,
            lane: Arc::clone(lane),
            reached,
        })
    }

    /// Hands on what a message brings.
    fn take(&self, lane: &Arc<Lane>, number: u16, message: v1::OriginBatch, lists: &mut Lists) {
        let announced = message.owned.iter().flat_map(owned::decode);
        let (changed, stale) = self.owners.learn(lane, number, announced);
        self.tell(&changed);
        if !stale.is_empty() {
            lane.accept(0, stale);
        }
        if let Some(told) = message.rules {
            self.follow(lane, &told);
        }
        let count = message.frames.len();
        if count == 0 {
            return;
        }
        self.metrics.received(count);
        let mut frames: Vec<Frame<ToEdge>> = Vec::with_capacity(count);
        let now = self.clock.now_ms();
        for frame in message.frames {
            match down::decode_at(frame, lists, now) {
                Ok(frame) => frames.push(frame),
                Err(error) => {
                    self.metrics.unreadable.increment(1);
                    warn!(%error, "a frame of an origin is left out");
                }
            }
        }
        let refused = self.downlink.send(&mut frames);
        // Those left out as well: the origin counts what it has sent.
        lane.accept(count as u64, refused);
    }

    fn follow(&self, lane: &Lane, told: &v1::Rules) {
        let (rules, unreadable) = rules::decode(told);
        if unreadable > 0 {
            self.metrics.unreadable.increment(unreadable as u64);
            warn!(unreadable, "rules of an origin are left out");
        }
        let downlink = &self.downlink;
        self.told
            .tell(lane.id, rules, |rules| downlink.ruled(rules));
    }

    fn tell(&self, changed: &[Slot]) {
        if !changed.is_empty() {
            self.downlink.rerouted(changed);
        }
    }
}

impl Call for Caller {
    async fn call(&self, channel: Channel, number: u16) -> Ended {
        let id = self.next_lane.fetch_add(1, Ordering::Relaxed);
        let lane = Arc::new(Lane::new(id, Arc::clone(&self.metrics), self.clock));
        let (mut messages, hello) = match self.greet(channel, number, &lane).await {
            Ok(greeted) => greeted,
            Err(reason) => return Ended::Failed(reason),
        };
        if !hello.seed.is_some_and(|seed| self.is_of_cluster(seed)) {
            return Ended::Failed(format!("{} belongs to another cluster", hello.node));
        }
        let Some(_standing) = self.stand(&lane, (hello.incarnation, number)) else {
            return Ended::Duplicate;
        };
        info!(origin = %hello.node, lane = number, version = hello.spoken(), "linked");
        let mut lists = Lists::default();
        loop {
            match messages.message().await {
                Ok(Some(message)) => self.take(&lane, number, message, &mut lists),
                Ok(None) => return Ended::Lost("it has ended the lane".to_owned()),
                Err(status) => return Ended::Lost(explain(&status)),
            }
        }
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

// === impl Standing ===

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let caller = self.caller;
        self.lane.close();
        let lost = caller.owners.forget(&self.lane);
        let downlink = &caller.downlink;
        caller
            .told
            .forget(self.lane.id, |rules| downlink.ruled(rules));
        let mut reached = caller
            .reached
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        reached.remove(&self.reached);
        drop(reached);
        caller.metrics.lanes.decrement(1);
        caller.tell(&lost);
    }
}

/// What a status says, without what it was carried in.
fn explain(status: &tonic::Status) -> String {
    format!("{}: {}", status.code(), status.message())
}
