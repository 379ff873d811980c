//! An origin that says what a test wants, and what an edge hears of it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use couplet_link::Credentials;
use couplet_link::config::{Entry, LinkConfig};
use couplet_link::listen::{Listeners, server};
use couplet_proto::link::Downlink;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Frame, ToEdge, ToOrigin};
use couplet_proto::link::id::{NodeId, SessionId};
use couplet_proto::link::peer::Owned;
use couplet_proto::link::rules::Rules;
use couplet_proto::link::wire::hello::{Hello, Role};
use couplet_proto::link::wire::lists::Lists;
use couplet_proto::link::wire::v1::link_server::{Link, LinkServer};
use couplet_proto::link::wire::{down, owned, up, v1};
use couplet_proto::slot::{Seed, Slot};
use futures_util::{Stream, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::super::{Remote, Settings};
use crate::clock::Clock;

/// A test that waits longer has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const SEED: Seed = Seed(*b"0123456789abcdef");

/// An origin.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    calls: mpsc::Receiver<Called>,
    task: JoinHandle<()>,
}

/// A lane that an edge has opened.
pub(super) struct Called {
    pub(super) hello: Hello,
    incoming: Streaming<v1::EdgeBatch>,
    outgoing: mpsc::Sender<Result<v1::OriginBatch, Status>>,
    /// Frames that have come and not been asked for.
    frames: std::collections::VecDeque<Frame<ToOrigin>>,
    pub(super) accepted: u64,
}

/// What an origin is like.
pub(super) struct Service {
    pub(super) hello: Hello,
    called: mpsc::Sender<Called>,
}

/// What an edge has heard.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) frames: Mutex<Vec<Frame<ToEdge>>>,
    pub(super) rerouted: Mutex<Vec<Slot>>,
    pub(super) rules: Mutex<Vec<Arc<Rules>>>,
}

// === impl Origin ===

impl Origin {
    pub(super) async fn start(hello: Hello) -> Self {
        let here = "127.0.0.1:0".parse().expect("an address");
        Self::at(hello, here).await
    }

    pub(super) async fn at(hello: Hello, address: SocketAddr) -> Self {
        Self::with(hello, address, None).await
    }

    pub(super) async fn with(
        hello: Hello,
        address: SocketAddr,
        credentials: Option<Arc<Credentials>>,
    ) -> Self {
        let listeners = Listeners::bind(&[address], credentials).await;
        let listeners = listeners.expect("free");
        let address = listeners.addresses()[0];
        let (called, calls) = mpsc::channel(16);
        let service = LinkServer::new(Service { hello, called });
        let task = tokio::spawn(async move {
            let served = server().serve_with_incoming(service, listeners.accept());
            served.await.expect("served");
        });
        Self {
            address,
            calls,
            task,
        }
    }

    pub(super) async fn called(&mut self) -> Called {
        within(self.calls.recv()).await.expect("running")
    }

    /// The next call, if one comes within a moment that is long for this machine.
    pub(super) async fn called_soon(&mut self) -> Option<Called> {
        let soon = Duration::from_millis(500);
        tokio::time::timeout(soon, self.calls.recv()).await.ok()?
    }

    /// Is gone at once, with every connection.
    pub(super) async fn kill(self) -> SocketAddr {
        self.task.abort();
        let _ = self.task.await;
        self.address
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<v1::OriginBatch, Status>> + Send>>;

#[tonic::async_trait]
impl Link for Service {
    type EdgeStream = Answers;
    type PeerStream = Pin<Box<dyn Stream<Item = Result<v1::PeerReply, Status>> + Send>>;

    async fn edge(
        &self,
        request: Request<Streaming<v1::EdgeBatch>>,
    ) -> Result<Response<Answers>, Status> {
        let mut incoming = request.into_inner();
        let first = incoming.message().await?.expect("a greeting");
        let hello = Hello::decode(first.hello, Role::Edge).expect("an edge");
        let (outgoing, answers) = mpsc::channel(16);
        let greeting = v1::OriginBatch {
            hello: Some(self.hello.encode()),
            ..v1::OriginBatch::default()
        };
        outgoing.send(Ok(greeting)).await.expect("room");
        let called = Called {
            hello,
            incoming,
            outgoing,
            frames: std::collections::VecDeque::new(),
            accepted: 0,
        };
        self.called.send(called).await.expect("a test");
        Ok(Response::new(ReceiverStream::new(answers).boxed()))
    }

    async fn peer(
        &self,
        _: Request<Streaming<v1::PeerBatch>>,
    ) -> Result<Response<Self::PeerStream>, Status> {
        Err(Status::unimplemented("an edge's origin"))
    }

    async fn operate(&self, _: Request<v1::Question>) -> Result<Response<v1::Reply>, Status> {
        Err(Status::unimplemented("an edge's origin"))
    }
}

// === impl Called ===

impl Called {
    pub(super) async fn say(&self, message: v1::OriginBatch) {
        self.outgoing.send(Ok(message)).await.expect("linked");
    }

    pub(super) async fn own(&self, announced: &[(u16, u64, bool)]) {
        self.try_own(announced).await.expect("linked");
    }

    /// Announces to somebody who may not want to hear it.
    pub(super) async fn try_own(&self, announced: &[(u16, u64, bool)]) -> Result<(), ()> {
        let announced: Vec<Owned> = announced
            .iter()
            .map(|(number, epoch, is_owner)| Owned {
                slot: slot(*number),
                epoch: Epoch(*epoch),
                is_owner: *is_owner,
            })
            .collect();
        let message = v1::OriginBatch {
            owned: owned::encode(&announced),
            ..v1::OriginBatch::default()
        };
        self.outgoing.send(Ok(message)).await.map_err(|_| ())
    }

    pub(super) async fn send(&self, frames: Vec<Frame<ToEdge>>) {
        let message = v1::OriginBatch {
            frames: {
                let mut lists = Lists::default();
                let frames = frames.into_iter();
                frames
                    .map(|frame| down::encode(frame, &mut lists))
                    .collect()
            },
            ..v1::OriginBatch::default()
        };
        self.say(message).await;
    }

    /// The next frame; notes what was accepted on the way.
    pub(super) async fn frame(&mut self) -> Frame<ToOrigin> {
        while self.frames.is_empty() {
            self.message().await;
        }
        self.frames.pop_front().expect("not empty")
    }

    /// Takes one more message.
    pub(super) async fn message(&mut self) {
        let message = within(self.incoming.message()).await;
        let message = message.expect("linked").expect("not ended");
        self.accepted = message.accepted;
        let frames = message.frames.into_iter();
        self.frames
            .extend(frames.map(|frame| up::decode(frame).expect("known")));
    }
}

// === impl Heard ===

impl Downlink for Heard {
    fn send(&self, frames: &mut Vec<Frame<ToEdge>>) -> Vec<(Slot, Epoch)> {
        self.frames.lock().expect("whole").append(frames);
        Vec::new()
    }

    fn rerouted(&self, slots: &[Slot]) {
        self.rerouted.lock().expect("whole").extend(slots);
    }

    fn ruled(&self, rules: &Arc<Rules>) {
        self.rules.lock().expect("whole").push(Arc::clone(rules));
    }
}

// === free functions ===

pub(super) fn slot(number: u16) -> Slot {
    Slot::new(number).expect("below SLOTS")
}

pub(super) fn hello(node: &str, incarnation: u64) -> Hello {
    Hello::new(Role::Origin, NodeId(node.into()), incarnation).with_seed(SEED)
}

pub(super) fn settings(origins: &[SocketAddr], lanes: u16) -> Settings {
    Settings {
        clock: Clock::since(std::time::Instant::now()),
        node: NodeId("e1".into()),
        incarnation: 1,
        origins: origins
            .iter()
            .map(|address| Entry::Node(address.to_string()))
            .collect(),
        lanes,
        credentials: None,
    }
}

pub(super) async fn start(settings: Settings) -> (Remote, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let downlink = Arc::clone(&heard) as Arc<dyn Downlink>;
    (within(Remote::start(settings, downlink)).await, heard)
}

pub(super) fn acked(count: u64) -> ToOrigin {
    ToOrigin::Acked {
        session: SessionId(1),
        count,
    }
}

/// What an edge and an origin of one authority show.
pub(super) fn credentials() -> [Arc<Credentials>; 2] {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = |name: String| folder.path().join(name);
    let key = || KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, key()).expect("signed");
    let ca = path("ca.pem".to_owned());
    std::fs::write(&ca, authority.pem()).expect("written");
    [Role::Edge, Role::Origin].map(|role| {
        let own = key();
        let params = CertificateParams::new([role.server_name().to_owned()]).expect("a name");
        let signed = params.signed_by(&own, &authority).expect("signed");
        let (certificate, key) = (path(format!("{role}.pem")), path(format!("{role}.key")));
        std::fs::write(&certificate, signed.pem()).expect("written");
        std::fs::write(&key, own.serialize_pem()).expect("written");
        let config = LinkConfig {
            ca: Some(ca.clone()),
            certificate: Some(certificate),
            key: Some(key),
            ..LinkConfig::default()
        };
        let loaded = Credentials::load(&config, role).expect("good");
        Arc::new(loaded.expect("given"))
    })
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("in time")
}

/// Waits until this is true.
pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
