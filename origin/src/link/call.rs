//! Call: this origin's lanes to the others.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use couplet_link::queue::{Queue, Refused};
use couplet_link::{CONNECT_TIMEOUT, Call, Ended, MESSAGE_BYTES_MAX};
use couplet_proto::link::Waiting;
use couplet_proto::link::id::{NodeId, PeerId};
use couplet_proto::link::peer::{Forwards, Leave, ToPeer};
use couplet_proto::link::wire::hello::{Hello, Role};
use couplet_proto::link::wire::v1::link_client::LinkClient;
use couplet_proto::link::wire::{self, owned, peer, v1};
use couplet_proto::slot::Slot;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tracing::info;

use super::node::Node;
use crate::cluster::peers::{Asking, Leaving, PeerLink};
use crate::shard::Event;

/// Stanzas that may wait for one lane of another origin; then shards keep theirs.
const STANZAS_MAX: usize = 4096;

/// Bytes that may wait for one lane of another origin.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long an answer for an operator may take: it may have to be stored.
const ASK_TIMEOUT: Duration = Duration::from_secs(15);

/// Calls the other origins.
pub(super) struct Caller {
    node: Arc<Node>,
    /// The lanes that stand, by the process at the other end.
    reached: Mutex<HashSet<(u64, u16)>>,
}

/// The way to one lane of another origin.
struct Lane {
    node: NodeId,
    channel: Channel,
    queue: Queue<ToPeer>,
    asked: Mutex<Asked>,
    next: AtomicU64,
    /// Whether the other end takes stanzas for many at once.
    knows_fans: bool,
}

/// Requests to leave slots.
#[derive(Default)]
struct Asked {
    unsent: Vec<Leave>,
    waiting: HashMap<u64, oneshot::Sender<Vec<Slot>>>,
    is_closed: bool,
}

// === impl Caller ===

impl Caller {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            reached: Mutex::default(),
        }
    }

    /// Greets and is greeted. The other end must be known before the lane is entered, and the
    /// lane is what speaks: so the greeting goes first, and the lane follows when it is there.
    async fn greet(
        &self,
        channel: Channel,
        number: u16,
    ) -> Result<(Hello, Streaming<v1::PeerReply>, oneshot::Sender<Arc<Lane>>), String> {
        let mut client = LinkClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let hello = self.node.hello.clone().on_lane(number, self.node.lanes);
        let (standing, lane) = oneshot::channel();
        let outgoing = messages(hello.encode(), lane, Arc::clone(&self.node));
        let greeting = async {
            let answer = client.peer(outgoing).await;
            let mut incoming = answer.map_err(|status| explain(&status))?.into_inner();
            let first = incoming.message().await;
            let first = first.map_err(|status| explain(&status))?;
            let hello = Hello::decode(first.and_then(|first| first.hello), Role::Origin);
            Ok((hello.map_err(|mismatch| mismatch.to_string())?, incoming))
        };
        let greeted = timeout(CONNECT_TIMEOUT, greeting).await;
        let greeted = greeted.unwrap_or_else(|_| Err("no greeting in time".to_owned()));
        let (hello, incoming) = greeted?;
        Ok((hello, incoming, standing))
    }

    async fn take(&self, id: PeerId, number: u16, lane: &Lane, message: v1::PeerReply) {
        let announced = message.owned.iter().flat_map(owned::decode);
        let here = |slot: Slot| slot.number() % self.node.lanes == number;
        let announced: Vec<_> = announced.filter(|owned| here(owned.slot)).collect();
        if !announced.is_empty() {
            self.node.cluster.heard(id, announced).await;
        }
        for settled in message.settled {
            match peer::decode_settled(settled) {
                Ok(settled) => {
                    let event = Event::Settled(settled.routes);
                    self.node.tell(settled.shard, event).await;
                }
                Err(_) => self.node.to_origins.unreadable.increment(1),
            }
        }
        for left in &message.left {
            lane.left(peer::decode_left(left));
        }
    }

    fn reached(&self) -> MutexGuard<'_, HashSet<(u64, u16)>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call for Caller {
    async fn call(&self, channel: Channel, number: u16) -> Ended {
        let greeted = self.greet(channel.clone(), number).await;
        let (hello, mut incoming, standing) = match greeted {
            Ok(greeted) => greeted,
            Err(reason) => return Ended::Failed(reason),
        };
        if hello.seed != self.node.hello.seed {
            return Ended::Failed(format!("{} belongs to another cluster", hello.node));
        }
        let reached = (hello.incarnation, number);
        if hello.incarnation == self.node.hello.incarnation || !self.reached().insert(reached) {
            return Ended::Duplicate;
        }
        let knows_fans = hello.knows_fans();
        let lane = Arc::new(Lane::new(hello.node.clone(), channel, knows_fans));
        let id = self.node.peers.next_id();
        self.node.peers.link(id, Arc::clone(&lane) as Arc<_>);
        // The stream has ended only when the connection has, which is found below.
        let _ = standing.send(Arc::clone(&lane));
        self.node.to_origins.lanes.increment(1);
        info!(origin = %hello.node, lane = number, version = hello.spoken(), "linked");
        let mut stop = self.node.stop.subscribe();
        let reason = loop {
            let message = tokio::select! {
                message = incoming.message() => message,
                _ = stop.wait_for(|stop| *stop) => break "this node is stopping".to_owned(),
            };
            match message {
                Ok(Some(message)) => self.take(id, number, &lane, message).await,
                Ok(None) => break "it has ended the lane".to_owned(),
                Err(status) => break explain(&status),
            }
        };
        self.node.to_origins.lanes.decrement(1);
        self.node.peers.remove(id);
        lane.close();
        self.reached().remove(&reached);
        self.node.cluster.link_lost(id).await;
        Ended::Lost(reason)
    }
}

// === impl Lane ===

impl Lane {
    fn new(node: NodeId, channel: Channel, knows_fans: bool) -> Self {
        Self {
            node,
            channel,
            queue: Queue::new(STANZAS_MAX, BYTES_MAX),
            asked: Mutex::default(),
            next: AtomicU64::new(1),
            knows_fans,
        }
    }

    /// One frame for each stanza and receiver. Sent again from the first when there is no room for
    /// all: the receivers know what they have had.
    fn send_singly(&self, forwards: &Forwards) -> Result<(), ()> {
        for forward in forwards.single() {
            let stanza = ToPeer::Forward(forward);
            let bytes = stanza.wire_bytes();
            if let Err(Refused::Full(_)) = self.queue.push(stanza, bytes) {
                return Err(());
            }
        }
        Ok(())
    }

    fn left(&self, left: Leave) {
        let asker = self.asked().waiting.remove(&left.request);
        if let Some(asker) = asker {
            // Who asked may have given up.
            let _ = asker.send(left.slots);
        }
    }

    fn close(&self) {
        self.queue.close();
        // Those who wait find that there is no answer.
        *self.asked() = Asked {
            is_closed: true,
            ..Asked::default()
        };
    }

    async fn next(&self, node: &Node) -> Option<v1::PeerBatch> {
        let mut batch = Vec::new();
        if !self.queue.batch(&mut batch).await {
            return None;
        }
        let leaves = std::mem::take(&mut self.asked().unsent);
        let count = batch.len();
        let now = node.surroundings.clock.now().mono;
        let frames = batch.into_iter();
        let message = v1::PeerBatch {
            hello: None,
            frames: frames.map(|frame| peer::encode_at(frame, now)).collect(),
            leaves: leaves.iter().map(peer::encode_leave).collect(),
        };
        node.to_origins.sent(count, wire::bytes(&message));
        Some(message)
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PeerLink for Lane {
    fn try_send(&self, stanza: ToPeer) -> Result<(), ToPeer> {
        if let ToPeer::Forwards(forwards) = &stanza
            && !self.knows_fans
        {
            return self.send_singly(forwards).map_err(|()| stanza);
        }
        let bytes = stanza.wire_bytes();
        match self.queue.push(stanza, bytes) {
            Err(Refused::Full(stanza)) => Err(stanza),
            Ok(()) | Err(Refused::Closed(_)) => Ok(()),
        }
    }

    fn room(&self) -> Waiting<'_> {
        Box::pin(self.queue.room())
    }

    fn node(&self) -> &NodeId {
        &self.node
    }

    fn leave(&self, slots: Vec<Slot>) -> Leaving<'_> {
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = oneshot::channel();
        let mut asked = self.asked();
        if !asked.is_closed {
            // Who has given up does not come for an answer.
            asked.waiting.retain(|_, asker| !asker.is_closed());
            asked.waiting.insert(request, asker);
            asked.unsent.push(Leave { request, slots });
        }
        drop(asked);
        self.queue.poke();
        Box::pin(async { answer.await.unwrap_or_default() })
    }

    fn ask(&self, question: Bytes) -> Asking<'_> {
        let mut client = LinkClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Box::pin(async move {
            let answer = client.operate(v1::Question { question });
            match timeout(ASK_TIMEOUT, answer).await {
                Ok(Ok(answer)) => Some(answer.into_inner().answer),
                Ok(Err(status)) => {
                    info!(origin = %self.node, reason = explain(&status), "no answer");
                    None
                }
                Err(_) => None,
            }
        })
    }
}

/// What goes to another origin: the greeting; then, once the lane stands, everything queued.
fn messages(
    hello: v1::Hello,
    lane: oneshot::Receiver<Arc<Lane>>,
    node: Arc<Node>,
) -> impl Stream<Item = v1::PeerBatch> + Send + 'static {
    /// How far it is.
    enum State {
        Greeting(v1::Hello, oneshot::Receiver<Arc<Lane>>),
        Waiting(oneshot::Receiver<Arc<Lane>>),
        Standing(Arc<Lane>),
    }
    let state = (State::Greeting(hello, lane), node);
    unfold(state, |(state, node)| async move {
        let lane = match state {
            State::Greeting(hello, lane) => {
                let greeting = v1::PeerBatch {
                    hello: Some(hello),
                    ..v1::PeerBatch::default()
                };
                return Some((greeting, (State::Waiting(lane), node)));
            }
            State::Waiting(lane) => lane.await.ok()?,
            State::Standing(lane) => lane,
        };
        let message = lane.next(&node).await?;
        Some((message, (State::Standing(lane), node)))
    })
}

/// What a status says, without what it was carried in.
fn explain(status: &tonic::Status) -> String {
    format!("{}: {}", status.code(), status.message())
}
