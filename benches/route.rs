//! One message through two slots: from an edge's uplink to the sender's slot, to the receiver's,
//! and down to the receiver's edge, without sockets and without parsing.
//!
//! Both users are online, so nothing is written; the store only says who they are.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use couplet_origin::store::embedded::{Embedded, Options};
use couplet_origin::{Config, Origin};
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Authenticate, Bind, Channel, Frame, ToEdge, ToOrigin};
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::link::{Downlink, Refused, Uplink};
use couplet_proto::slot::Slot;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

const PATIENCE: Duration = Duration::from_secs(10);
const PASSWORD: &str = "bench";

/// An edge that counts what is delivered and passes the rest on.
struct Edge {
    delivered: AtomicU64,
    changed: Notify,
    rest: SyncSender<ToEdge>,
}

/// An origin with two sessions on one edge.
struct Bench {
    runtime: Runtime,
    origin: Origin,
    uplink: Arc<dyn Uplink>,
    edge: Arc<Edge>,
    answers: Mutex<Receiver<ToEdge>>,
    number: AtomicU64,
    _folder: tempfile::TempDir,
}

/// A session and its account.
struct Session {
    id: SessionId,
    full: Jid,
}

// === impl Edge ===

impl Downlink for Edge {
    fn send(&self, frames: &mut Vec<Frame<ToEdge>>) -> Vec<(Slot, Epoch)> {
        for frame in frames.drain(..) {
            match frame.body {
                ToEdge::Deliver(delivery) => {
                    black_box(delivery.stanza);
                    self.delivered.fetch_add(1, Ordering::Release);
                }
                ToEdge::Taken { .. } => {}
                // Nobody waits for it once the sessions stand.
                other => drop(self.rest.try_send(other)),
            }
        }
        self.changed.notify_one();
        Vec::new()
    }

    fn rerouted(&self, _: &[Slot]) {}
}

// === impl Bench ===

impl Bench {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let store = Embedded::open(folder.path(), Options::default()).expect("opens");
        let config = Config {
            domains: vec!["montague.example".to_owned(), "capulet.example".to_owned()],
            scram_iterations: 4096,
            ..Config::default()
        };
        let started = runtime.block_on(Origin::start(config, Arc::new(store)));
        let origin = started.expect("starts");
        let (rest, answers) = sync_channel(1024);
        let edge = Arc::new(Edge {
            delivered: AtomicU64::new(0),
            changed: Notify::new(),
            rest,
        });
        let uplink = origin.attach(edge.clone());
        Self {
            runtime,
            origin,
            uplink,
            edge,
            answers: Mutex::new(answers),
            number: AtomicU64::new(0),
            _folder: folder,
        }
    }

    /// Adds an account, authenticates and binds.
    fn session(&self, connection: u64, jid: &str) -> Session {
        let account = Jid::parse(jid).expect("an address");
        let admin = self.origin.admin();
        let added = admin.account_add(account.clone(), PASSWORD.to_owned());
        self.runtime.block_on(added).expect("added");
        let connection = ConnectionId(connection);
        let user = jid.split('@').next().expect("a part before it");
        let authenticate = Authenticate {
            account: account.clone(),
            mechanism: "PLAIN".into(),
            initial: Bytes::from(format!("\0{user}\0{PASSWORD}")),
            channel: Channel {
                is_encrypted: true,
                offered: vec!["PLAIN"],
                ..Channel::default()
            },
        };
        self.up(
            &account,
            ToOrigin::Authenticate(connection, Box::new(authenticate)),
        );
        let ToEdge::Authenticated { token, .. } = self.answer() else {
            panic!("not authenticated");
        };
        let bind = Bind {
            account: account.clone(),
            resource: None,
            token,
            peer: None,
        };
        self.up(&account, ToOrigin::Bind(connection, Box::new(bind)));
        let ToEdge::Bound { session, jid, .. } = self.answer() else {
            panic!("not bound");
        };
        Session {
            id: session,
            full: jid,
        }
    }

    fn answer(&self) -> ToEdge {
        let answers = self.answers.lock().expect("not poisoned");
        answers.recv_timeout(PATIENCE).expect("an answer")
    }

    fn up(&self, account: &Jid, frame: ToOrigin) {
        let slot = self.uplink.slot_of(account);
        let mut frame = frame;
        let route = self.uplink.route(slot).expect("owned");
        while let Err(refused) = self.uplink.try_send(slot, route, frame) {
            let Refused::Full(back) = refused else {
                panic!("the origin has ended");
            };
            frame = back;
            self.runtime.block_on(self.uplink.room(slot));
        }
    }

    /// The time `count` messages take when `at_once` are under way.
    fn messages(&self, from: &Session, to: &Session, count: u64, at_once: u64) -> Duration {
        let message = Stanza::new(Kind::Message, Type::Chat)
            .to(to.full.clone())
            .id("b1")
            .child(&Element::new("body", "jabber:client").text("but soft, what light"));
        let message = Arc::new(message);
        let sender = from.full.to_bare();
        let first = self.edge.delivered.load(Ordering::Acquire);
        let started = Instant::now();
        let mut sent = 0;
        while sent < count {
            let now = at_once.min(count - sent);
            for _ in 0..now {
                let frame = ToOrigin::Stanza {
                    entered: 0,
                    session: from.id,
                    number: self.number.fetch_add(1, Ordering::Relaxed) + 1,
                    stanza: Arc::clone(&message),
                };
                self.up(&sender, frame);
            }
            sent += now;
            self.runtime.block_on(async {
                while self.edge.delivered.load(Ordering::Acquire) < first + sent {
                    self.edge.changed.notified().await;
                }
            });
        }
        started.elapsed()
    }
}

fn route(c: &mut Criterion) {
    let bench = Bench::new();
    let romeo = bench.session(1, "romeo@montague.example");
    let juliet = bench.session(2, "juliet@capulet.example");
    let slots = [&romeo, &juliet].map(|one| bench.uplink.slot_of(&one.full.to_bare()));
    assert_ne!(slots[0], slots[1], "two slots");
    let mut group = c.benchmark_group("route");
    for at_once in [1, 64] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("chat, {at_once} at once"), |b| {
            b.iter_custom(|count| bench.messages(&romeo, &juliet, count, at_once));
        });
    }
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
