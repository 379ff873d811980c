//! A test's world: shards in one thread, a store in memory, edges that are lists.
//!
//! Nothing happens by itself: [`Rig::run`] carries events until there are none. Commits may be
//! held back and made to fail.

mod faults;

mod looking;

mod model;

mod outputs;

mod resuming;

mod words;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Bind, Detached, Frame, ToEdge, ToOrigin};
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId};
use couplet_proto::slot::{SLOTS, Seed, Slot};
use couplet_proto::trace::Trace;
use couplet_proto::xmpp::error::StreamCondition;
use couplet_proto::{Jid, Stanza};

use self::faults::Faults;
pub(crate) use self::model::Model;
use self::words::credentials;
pub(crate) use self::words::stanza;
pub(crate) use self::words::{authenticate, jid};
use super::event::Event;
use super::state::Shard;
use crate::auth::{Throttle, Tokens};
use crate::clock::Now;
use crate::config::Config;
use crate::features::FEATURES;
use crate::hooks::context::Shared;
use crate::hooks::pipeline::Pipeline;
use crate::hooks::{Feature, Flow, Message, Stage, Target, get};
use crate::session::Account;
use crate::store::Batch;

/// The one edge of a rig.
pub(crate) const EDGE: EdgeId = EdgeId(0);

/// The password of every account of a rig.
pub(crate) const PASSWORD: &str = "secret";

const SEED: Seed = Seed([7; 16]);
pub(crate) const EPOCH: Epoch = Epoch(3);

/// Panics on what it is asked to: the poison of the tests.
static POISON: Feature = Feature {
    name: "poison",
    iq: &[(get(Target::Host, "urn:test:poison", "poison"), |_, _| {
        panic!("poisoned request")
    })],
    received: &[(Stage::Screen, |_, message: &mut Message| {
        let poison = message.stanza.payload.find("poison", "urn:test:poison");
        assert!(poison.is_none(), "poisoned message");
        Ok(Flow::Continue)
    })],
    closed: Some(|ctx| {
        let resource = ctx
            .session()
            .and_then(|known| known.jid.resource().map(str::to_owned));
        assert!(resource.as_deref() != Some("poison"), "poisoned end");
    }),
    ..Feature::EMPTY
};

/// A world of shards.
pub(crate) struct Rig {
    shards: Vec<Shard>,
    shared: Arc<Shared>,
    events: VecDeque<(usize, Event)>,
    /// What has been stored, by bare address.
    pub(crate) store: Model,
    pub(crate) now: Now,
    inboxes: HashMap<ConnectionId, Inbox>,
    connections: u64,
    /// Whether commits and loads wait for the test.
    pub(crate) holds_commits: bool,
    pub(crate) holds_loads: bool,
    /// Whether clients acknowledge nothing.
    pub(crate) holds_acks: bool,
    commits: VecDeque<(usize, Vec<Batch>)>,
    loads: VecDeque<(usize, Slot, Jid)>,
    pub(crate) faults: Faults,
    /// At which epochs slots are owned that have moved.
    epochs: HashMap<Slot, Epoch>,
    /// Frames for many that the edge has heard.
    pub(crate) fans: usize,
}

/// What an edge has heard for one connection.
#[derive(Debug, Default)]
struct Inbox {
    frames: VecDeque<ToEdge>,
    taken: u64,
    closed: Option<StreamCondition>,
    /// The session it carries.
    session: Option<(SessionId, Jid)>,
    /// Stanzas it was given, and those its client has acknowledged.
    delivered: u64,
    acked: u64,
    /// What its edge keeps.
    kept: Bytes,
}

/// A bound client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) connection: ConnectionId,
    pub(crate) session: SessionId,
    pub(crate) jid: Jid,
    sent: u64,
}

// === impl Rig ===

impl Rig {
    /// So many shards, and accounts `a@x` for these names.
    pub(crate) fn new(shards: u16, accounts: &[&str]) -> Self {
        Self::with(shards, accounts, |_| {})
    }

    /// As [`Rig::new`], with an operator's choices.
    pub(crate) fn with(
        shards: u16,
        accounts: &[&str],
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        Self::build(shards, accounts, configure, true)
    }

    /// One shard in the one process there is.
    pub(crate) fn alone(accounts: &[&str]) -> Self {
        Self::build(1, accounts, |_| {}, false)
    }

    fn build(
        shards: u16,
        accounts: &[&str],
        configure: impl FnOnce(&mut Config),
        is_clustered: bool,
    ) -> Self {
        let mut config = Config {
            domains: vec!["x".to_owned()],
            muc: crate::config::Muc {
                services: vec!["rooms.x".to_owned()],
                ..crate::config::Muc::default()
            },
            scram_iterations: 4096,
            ..Config::default()
        };
        configure(&mut config);
        let mut features = FEATURES.to_vec();
        features.push(&POISON);
        let shared = Arc::new(Shared {
            domains: vec![jid("x")],
            services: config.muc.services.iter().map(|it| jid(it)).collect(),
            pipeline: Pipeline::new(&features).expect("no clash"),
            throttle: Throttle::new(1000, 1000),
            started_unix: 1_000_000,
            is_clustered,
            tokens: Tokens::new([9; 32]),
            tracer: Arc::default(),
            watched: Arc::default(),
            config,
        });
        let epochs = vec![Some(EPOCH); usize::from(SLOTS)];
        let shard = |id| {
            let mut shard = Shard::new(id, shards, SEED, shared.clone(), [id as u8; 32]);
            shard.own(&epochs);
            shard
        };
        let mut rig = Self {
            shards: (0..shards).map(shard).collect(),
            shared,
            events: VecDeque::new(),
            store: Model::default(),
            now: Now {
                mono: 1000,
                unix: 1_000_000_000,
            },
            inboxes: HashMap::new(),
            connections: 0,
            holds_commits: false,
            holds_loads: false,
            holds_acks: false,
            commits: VecDeque::new(),
            loads: VecDeque::new(),
            faults: Faults::default(),
            epochs: HashMap::new(),
            fans: 0,
        };
        for account in accounts {
            rig.store.add(jid(account), credentials());
        }
        rig
    }

    /// What the handlers of this world share.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Logs in with PLAIN and binds.
    pub(crate) fn login(&mut self, full: &str) -> Client {
        self.try_login(full)
            .expect("the account and resource are there")
    }

    /// As [`Rig::login`]; the refusal, if there is one.
    pub(crate) fn try_login(&mut self, full: &str) -> Result<Client, ToEdge> {
        let full = jid(full);
        let account = full.to_bare();
        let connection = self.connection();
        let initial = format!("\0{}\0{PASSWORD}", account.local().unwrap_or_default());
        let request = authenticate(&account, "PLAIN", initial.into_bytes());
        self.up(&account, ToOrigin::Authenticate(connection, request));
        let token = match self.next_frame(connection) {
            ToEdge::Authenticated { token, .. } => token,
            refused => return Err(refused),
        };
        let bind = Bind {
            account: account.clone(),
            resource: full.resource().map(Into::into),
            token,
            peer: None,
        };
        self.up(&account, ToOrigin::Bind(connection, Box::new(bind)));
        match self.next_frame(connection) {
            ToEdge::Bound { session, jid, .. } => Ok(Client {
                connection,
                session,
                jid,
                sent: 0,
            }),
            refused => Err(refused),
        }
    }

    /// Logs in and sends initial presence; what that brings is thrown away.
    pub(crate) fn online(&mut self, full: &str) -> Client {
        let mut client = self.login(full);
        self.send(&mut client, "<presence/>");
        self.received(&client);
        client
    }

    /// A client sends a stanza, and everything that follows happens.
    pub(crate) fn send(&mut self, client: &mut Client, xml: &str) {
        self.push(client, xml);
        self.run();
    }

    /// A client sends a stanza; nothing happens yet.
    pub(crate) fn push(&mut self, client: &mut Client, xml: &str) {
        self.push_stanza(client, stanza(xml));
    }

    /// As [`Rig::push`].
    pub(crate) fn push_stanza(&mut self, client: &mut Client, stanza: Stanza) {
        client.sent += 1;
        let frame = ToOrigin::Stanza {
            entered: 0,
            session: client.session,
            number: client.sent,
            stanza: Arc::new(stanza),
        };
        let account = client.jid.to_bare();
        let epoch = self.epoch_of(Slot::of(SEED, &account));
        self.push_frame(&account, epoch, frame);
    }

    /// A client sends a request; the one stanza that comes back.
    pub(crate) fn ask(&mut self, client: &mut Client, xml: &str) -> String {
        self.send(client, xml);
        let mut received = self.received(client);
        assert_eq!(received.len(), 1, "{xml} brought {received:?}");
        received.remove(0)
    }

    /// An account in memory.
    pub(crate) fn account(&mut self, bare: &str) -> Option<&Account> {
        self.account_mut(bare).map(|account| &*account)
    }

    /// An account in memory, to change.
    pub(crate) fn account_mut(&mut self, bare: &str) -> Option<&mut Account> {
        let shard = self.shard_of(Slot::of(SEED, &jid(bare)));
        let residents = &mut self.shards[shard].residents;
        let place = residents.find(bare)?;
        residents
            .get_mut(place)
            .map(|resident| &mut resident.account)
    }

    /// A client's connection is gone.
    pub(crate) fn detach(&mut self, client: &Client) {
        let frame = ToOrigin::Detach {
            session: client.session,
            connection: client.connection,
            reason: Detached::Closed,
        };
        self.up(&client.jid.to_bare(), frame);
    }

    /// A frame for an account's slot, and everything that follows.
    pub(crate) fn up(&mut self, account: &Jid, frame: ToOrigin) {
        let epoch = self.epoch_of(Slot::of(SEED, account));
        self.up_at(account, epoch, frame);
    }

    /// As [`Rig::up`], at another epoch.
    pub(crate) fn up_at(&mut self, account: &Jid, epoch: Epoch, frame: ToOrigin) {
        self.push_frame(account, epoch, frame);
        self.run();
    }

    fn epoch_of(&self, slot: Slot) -> Epoch {
        self.epochs.get(&slot).copied().unwrap_or(EPOCH)
    }

    /// A connection nobody has used.
    pub(crate) fn connection(&mut self) -> ConnectionId {
        self.connections += 1;
        ConnectionId(self.connections)
    }

    /// The stanzas a client has received since the last call.
    pub(crate) fn received(&mut self, client: &Client) -> Vec<String> {
        let inbox = self.inboxes.entry(client.connection).or_default();
        let frames = inbox.frames.drain(..);
        let stanzas = frames.filter_map(|frame| match frame {
            ToEdge::Deliver(delivery) => Some(delivery.stanza.to_string()),
            _ => None,
        });
        stanzas.collect()
    }

    /// What the next stanza for a client carries, if there is one.
    pub(crate) fn next_trace(&mut self, client: &Client) -> Option<Option<Trace>> {
        let inbox = self.inboxes.entry(client.connection).or_default();
        let mut frames = std::iter::from_fn(|| inbox.frames.pop_front());
        frames.find_map(|frame| match frame {
            ToEdge::Deliver(delivery) => Some(delivery.stanza.trace.as_deref().copied()),
            _ => None,
        })
    }

    /// The next frame for a connection.
    pub(crate) fn next_frame(&mut self, connection: ConnectionId) -> ToEdge {
        let inbox = self.inboxes.entry(connection).or_default();
        inbox.frames.pop_front().expect("an answer")
    }

    /// Up to which of its stanzas a client knows that all has taken effect.
    pub(crate) fn taken(&self, client: &Client) -> u64 {
        self.inboxes
            .get(&client.connection)
            .map_or(0, |inbox| inbox.taken)
    }

    /// How the server has ended a client's stream.
    pub(crate) fn closed(&self, client: &Client) -> Option<StreamCondition> {
        self.inboxes.get(&client.connection)?.closed
    }

    /// Time passes, and every shard's tick with it.
    pub(crate) fn tick(&mut self, millis: u64) {
        self.now.mono += millis;
        self.now.unix += millis;
        for shard in 0..self.shards.len() {
            self.events.push_back((shard, Event::Tick));
        }
        self.run();
    }

    /// How many accounts are in memory.
    pub(crate) fn residents(&self) -> usize {
        self.shards.iter().map(Shard::resident_count).sum()
    }

    /// Ends the oldest commit that is held back.
    pub(crate) fn commit(&mut self, succeeds: bool) {
        let (shard, batches) = self.commits.pop_front().expect("a commit is held back");
        self.end_commit(shard, batches, succeeds);
        self.run();
    }

    /// Whether a commit is held back.
    pub(crate) fn is_committing(&self) -> bool {
        !self.commits.is_empty()
    }

    /// Ends every load that is held back.
    pub(crate) fn load(&mut self) {
        self.holds_loads = false;
        for (shard, _, owner) in std::mem::take(&mut self.loads) {
            self.end_load(shard, owner);
        }
        self.run();
    }

    /// Everything that can happen, happens.
    pub(crate) fn run(&mut self) {
        loop {
            while let Some((shard, event)) = self.events.pop_front() {
                self.shards[shard].step(event, self.now);
                self.shards[shard].flush();
                let outputs = std::mem::take(self.shards[shard].outputs());
                for output in outputs {
                    self.carry_out(shard, output);
                }
            }
            // What a step released within a shard may have to be flushed once more.
            for shard in 0..self.shards.len() {
                self.shards[shard].flush();
                let outputs = std::mem::take(self.shards[shard].outputs());
                for output in outputs {
                    self.carry_out(shard, output);
                }
            }
            self.acknowledge();
            if self.events.is_empty() && !self.shards.iter().any(Shard::has_bulk) {
                return;
            }
        }
    }

    /// Every client says that it has what it was given.
    fn acknowledge(&mut self) {
        if self.holds_acks {
            return;
        }
        let mut frames = Vec::new();
        for inbox in self.inboxes.values_mut() {
            let Some((session, jid)) = &inbox.session else {
                continue;
            };
            if inbox.closed.is_none() && inbox.acked < inbox.delivered {
                inbox.acked = inbox.delivered;
                let (session, count) = (*session, inbox.acked);
                frames.push((jid.to_bare(), ToOrigin::Acked { session, count }));
            }
        }
        frames.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (account, frame) in frames {
            self.push_frame(&account, EPOCH, frame);
        }
    }

    fn push_frame(&mut self, account: &Jid, epoch: Epoch, body: ToOrigin) {
        let slot = Slot::of(SEED, account);
        let frame = Frame { slot, epoch, body };
        let shard = self.shard_of(slot);
        self.events.push_back((shard, Event::FromEdge(EDGE, frame)));
    }

    fn shard_of(&self, slot: Slot) -> usize {
        slot.index() % self.shards.len()
    }
}
