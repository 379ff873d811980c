//! An origin with real links over a store in memory, and the other end of a lane.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use couplet_link::Credentials;
use couplet_link::config::LinkConfig;
use couplet_link::dial::Dialer;
use couplet_link::listen::Listeners;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::NodeId;
use couplet_proto::link::peer::{Owned, Settled};
use couplet_proto::link::wire::hello::{Hello, Role};
use couplet_proto::link::wire::v1::link_client::LinkClient;
use couplet_proto::link::wire::{owned, peer as peers, v1};
use couplet_proto::slot::{Seed, Slot};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::cluster::map::Way;
use crate::cluster::tests::model::Model;
use crate::store::{Member, Store};
use crate::{Config, LinkSettings, Links, Origin, config};

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const SEED: Seed = Seed([7; 16]);

/// Lanes of origins.
const LANES: u16 = 2;

/// An authority, and a certificate of each role.
pub(super) struct Certificates {
    folder: TempDir,
}

/// An origin that can be called.
pub(super) struct Running {
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    origin: Origin,
    links: Links,
}

/// The far end of a lane.
pub(super) struct Called<Up, Down> {
    pub(super) hello: Hello,
    pub(super) owned: HashMap<Slot, Owned>,
    frames: VecDeque<v1::OriginFrame>,
    settled: VecDeque<v1::Settled>,
    outgoing: mpsc::Sender<Up>,
    incoming: Streaming<Down>,
}

// === impl Certificates ===

impl Certificates {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("written");
        };
        let key = || KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, key()).expect("signed");
        write("ca.pem", authority.pem());
        for role in [Role::Edge, Role::Origin] {
            let key = key();
            let params = CertificateParams::new([role.server_name().to_owned()]);
            let signed = params.expect("a name").signed_by(&key, &authority);
            write(&format!("{role}.pem"), signed.expect("signed").pem());
            write(&format!("{role}.key"), key.serialize_pem());
        }
        Self { folder }
    }

    fn credentials(&self, role: Role) -> Arc<Credentials> {
        let path = |name: String| Some(self.folder.path().join(name));
        let config = LinkConfig {
            ca: path("ca.pem".to_owned()),
            certificate: path(format!("{role}.pem")),
            key: path(format!("{role}.key")),
            ..LinkConfig::default()
        };
        let credentials = Credentials::load(&config, role).expect("good");
        Arc::new(credentials.expect("given"))
    }
}

// === impl Running ===

impl Running {
    /// One that has every slot.
    pub(super) async fn alone(certificates: Option<&Certificates>) -> Self {
        let model = Model::new(NodeId("nobody".into()));
        let running = Self::start("a", &model, certificates).await;
        until("it has everything", || running.held() == 4096).await;
        running
    }

    pub(super) async fn start(
        name: &str,
        model: &Model,
        certificates: Option<&Certificates>,
    ) -> Self {
        let credentials = certificates.map(|all| all.credentials(Role::Origin));
        let any = "127.0.0.1:0".parse().expect("an address");
        let listeners = Listeners::bind(&[any], credentials.clone()).await;
        let listeners = listeners.expect("free");
        let address = listeners.addresses()[0];
        let node = NodeId(format!("{name}/1").into());
        let member = Member {
            node: node.clone(),
            name: name.into(),
            address: address.to_string().into(),
            weight: 100,
            group: "".into(),
            is_draining: false,
        };
        let config = Config {
            node: node.0.to_string(),
            shards: 2,
            ..Config::default()
        };
        let settings = config::Cluster {
            beat_ms: 100,
            lease_ms: 1000,
            moves_max: 256,
            join_wait_ms: 0,
        };
        let store = Arc::new(model.of(node.clone()));
        assert_eq!(store.seed(), SEED);
        let origin = Origin::start_clustered(config, settings, store.clone(), store, member);
        let origin = origin.expect("started");
        let links = origin.link(LinkSettings {
            listeners,
            credentials,
            lanes: LANES,
        });
        Self {
            node,
            address,
            links: links.expect("clustered"),
            origin,
        }
    }

    /// How many slots it owns.
    pub(super) fn held(&self) -> usize {
        let owners = &self.origin.surroundings.owners;
        let here = |slot: &Slot| matches!(owners.way(*slot), Way::Here(_));
        Slot::all().filter(here).count()
    }

    /// How many slots of others it can reach.
    pub(super) fn reaches(&self) -> usize {
        let owners = &self.origin.surroundings.owners;
        let there = |slot: &Slot| matches!(owners.way(*slot), Way::Peer(..));
        Slot::all().filter(there).count()
    }

    /// Leaves the cluster.
    pub(super) async fn stop(self) {
        self.origin.drain(PATIENCE).await;
        self.origin.stop().await;
        within(self.links.stop()).await;
    }
}

// === impl Called ===

impl<Up, Down> Called<Up, Down> {
    pub(super) async fn say(&self, message: Up) {
        self.outgoing.send(message).await.expect("linked");
    }

    fn learn(&mut self, announced: &[v1::Owned]) {
        let announced = announced.iter().flat_map(owned::decode);
        self.owned
            .extend(announced.map(|owned| (owned.slot, owned)));
    }
}

impl Called<v1::EdgeBatch, v1::OriginBatch> {
    /// Takes one more message.
    pub(super) async fn message(&mut self) {
        let message = within(self.incoming.message()).await;
        let message = message.expect("linked").expect("not ended");
        self.learn(&message.owned);
        self.frames.extend(message.frames);
    }

    /// The epoch at which the slot is owned, when that is announced next.
    pub(super) async fn epoch_of(&mut self, slot: Slot) -> Epoch {
        loop {
            if let Some(owned) = self.owned.remove(&slot) {
                assert!(owned.is_owner);
                return owned.epoch;
            }
            self.message().await;
        }
    }

    pub(super) async fn frame(&mut self) -> v1::OriginFrame {
        while self.frames.is_empty() {
            self.message().await;
        }
        self.frames.pop_front().expect("not empty")
    }
}

impl Called<v1::PeerBatch, v1::PeerReply> {
    async fn message(&mut self) {
        let message = within(self.incoming.message()).await;
        let message = message.expect("linked").expect("not ended");
        self.learn(&message.owned);
        self.settled.extend(message.settled);
    }

    pub(super) async fn epoch_of(&mut self, slot: Slot) -> Epoch {
        while !self.owned.contains_key(&slot) {
            self.message().await;
        }
        self.owned[&slot].epoch
    }

    /// What is settled next.
    pub(super) async fn settled(&mut self) -> Vec<Settled> {
        while self.settled.is_empty() {
            self.message().await;
        }
        let settled = self.settled.drain(..).map(peers::decode_settled);
        settled.map(|settled| settled.expect("known")).collect()
    }
}

// === free functions ===

/// The greeting of somebody in one lane.
pub(super) fn hello(role: Role) -> Hello {
    Hello::new(role, NodeId("caller".into()), 77)
}

async fn dial(
    origin: &Running,
    certificates: Option<(&Certificates, Role)>,
) -> Result<LinkClient<tonic::transport::Channel>, Status> {
    let credentials = certificates.map(|(all, role)| all.credentials(role));
    let channel = Dialer::new(credentials)
        .connect(&origin.address.to_string())
        .await;
    let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(LinkClient::new(channel))
}

/// Calls an origin as an edge does.
pub(super) async fn edge(
    origin: &Running,
    certificates: Option<(&Certificates, Role)>,
    hello: &Hello,
) -> Result<Called<v1::EdgeBatch, v1::OriginBatch>, Status> {
    let mut client = dial(origin, certificates).await?;
    let (outgoing, messages) = mpsc::channel(16);
    let greeting = v1::EdgeBatch {
        hello: Some(hello.encode()),
        ..v1::EdgeBatch::default()
    };
    outgoing.send(greeting).await.expect("room");
    let answer = within(client.edge(ReceiverStream::new(messages))).await?;
    let mut incoming = answer.into_inner();
    let first = within(incoming.message()).await?.expect("a greeting");
    let hello = Hello::decode(first.hello, Role::Origin).expect("an origin");
    Ok(called(hello, outgoing, incoming))
}

/// Calls an origin as another origin does.
pub(super) async fn peer(
    origin: &Running,
    certificates: Option<(&Certificates, Role)>,
    hello: &Hello,
) -> Result<Called<v1::PeerBatch, v1::PeerReply>, Status> {
    let mut client = dial(origin, certificates).await?;
    let (outgoing, messages) = mpsc::channel(16);
    let greeting = v1::PeerBatch {
        hello: Some(hello.encode()),
        ..v1::PeerBatch::default()
    };
    outgoing.send(greeting).await.expect("room");
    let answer = within(client.peer(ReceiverStream::new(messages))).await?;
    let mut incoming = answer.into_inner();
    let first = within(incoming.message()).await?.expect("a greeting");
    let hello = Hello::decode(first.hello, Role::Origin).expect("an origin");
    Ok(called(hello, outgoing, incoming))
}

fn called<Up, Down>(
    hello: Hello,
    outgoing: mpsc::Sender<Up>,
    incoming: Streaming<Down>,
) -> Called<Up, Down> {
    Called {
        hello,
        owned: HashMap::new(),
        frames: VecDeque::new(),
        settled: VecDeque::new(),
        outgoing,
        incoming,
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, future).await;
    ended.expect("in time")
}

/// Waits until this is true.
pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
