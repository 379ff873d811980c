//! Answers: what another origin that calls is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use couplet_link::metrics::Metrics;
use couplet_proto::link::peer::{Leave, Settled};
use couplet_proto::link::wire::{self, owned, peer, v1};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::Notify;

use crate::cluster::announce::Subscription;
use crate::cluster::peers::PeerCaller;

/// What waits for one lane of another origin.
pub(super) struct Answers {
    waiting: Mutex<Waiting>,
    filled: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Waiting {
    /// Bounded by what the caller has under way.
    settled: BTreeMap<u16, Vec<u64>>,
    /// Bounded by the requests of the caller that are answered at once.
    left: Vec<Leave>,
    is_closed: bool,
}

// === impl Answers ===

impl Answers {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            waiting: Mutex::default(),
            filled: Notify::new(),
            metrics,
        }
    }

    /// These slots of a request are nobody's now.
    pub(super) fn left(&self, left: Leave) {
        self.change(|waiting| waiting.left.push(left));
    }

    /// The caller is gone.
    pub(super) fn close(&self) {
        self.change(|waiting| {
            *waiting = Waiting {
                is_closed: true,
                ..Waiting::default()
            };
        });
    }

    /// What goes to the caller: the greeting, what this node owns, then every answer.
    pub(super) fn messages(
        self: Arc<Self>,
        hello: v1::Hello,
        announced: Subscription,
    ) -> impl Stream<Item = v1::PeerReply> + Send + 'static {
        let greeting = v1::PeerReply {
            hello: Some(hello),
            ..v1::PeerReply::default()
        };
        let state = (self, announced, Some(greeting));
        unfold(state, |(answers, mut announced, greeting)| async move {
            let message = match greeting {
                Some(greeting) => greeting,
                None => answers.next(&mut announced).await?,
            };
            Some((message, (answers, announced, None)))
        })
    }

    async fn next(&self, announced: &mut Subscription) -> Option<v1::PeerReply> {
        loop {
            tokio::select! {
                biased;
                owned = announced.next() => {
                    return Some(v1::PeerReply {
                        owned: owned::encode(&owned?),
                        ..v1::PeerReply::default()
                    });
                }
                () = self.filled.notified() => {}
            }
            let mut waiting = self.waiting();
            if waiting.is_closed {
                return None;
            }
            let Waiting { settled, left, .. } = std::mem::take(&mut *waiting);
            drop(waiting);
            if settled.is_empty() && left.is_empty() {
                continue;
            }
            let frames = settled.values().map(Vec::len).sum();
            let settled = settled.into_iter();
            let settled =
                settled.map(|(shard, routes)| peer::encode_settled(Settled { shard, routes }));
            let message = v1::PeerReply {
                settled: settled.collect(),
                left: left.iter().map(peer::encode_left).collect(),
                ..v1::PeerReply::default()
            };
            self.metrics.sent(frames, wire::bytes(&message));
            return Some(message);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting());
        self.filled.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PeerCaller for Answers {
    fn settled(&self, settled: Settled) {
        let Settled { shard, mut routes } = settled;
        self.change(|waiting| {
            if !waiting.is_closed {
                waiting
                    .settled
                    .entry(shard)
                    .or_default()
                    .append(&mut routes);
            }
        });
    }
}
