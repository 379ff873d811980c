//! World: origins, edges, clients and a store in one thread; what happens next is drawn.

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::io::Write;
use std::sync::Arc;

use couplet_edge::simulation::set_now_ms;
use couplet_origin::auth::{Throttle, Tokens};
use couplet_origin::clock::Now;
use couplet_origin::config::Config;
use couplet_origin::features::FEATURES;
use couplet_origin::hooks::context::Shared;
use couplet_origin::hooks::pipeline::Pipeline;
use couplet_proto::Jid;
use couplet_proto::link::id::{EdgeId, PeerId};
use couplet_proto::slot::Slot;

use crate::checks::Ledger;
use crate::client::{Client, Manner};
use crate::edge::Edge;
use crate::mutations::Mutation;
use crate::network::{Down, Lane, PeerLink, owned};
use crate::origin::{Origin, SEED};
use crate::random::Random;
use crate::store::{Content, Node, Store};

/// How many accounts there are.
pub(crate) const USERS: usize = 4;

/// The longest time in which a client may come back to its session, in seconds.
pub(crate) const RESUME_SECS: u32 = 40;

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) steps: usize,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) traces: bool,
    /// Which faults there may be, by their place in the list.
    pub(crate) kinds: u64,
}

/// The whole cluster.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) now: u64,
    pub(crate) step: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Store,
    pub(crate) origins: Vec<Origin>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) peers: Vec<PeerLink>,
    pub(crate) clients: Vec<Client>,
    /// What each client is told of: its session, and when it lost its connection.
    pub(crate) lives: Vec<Option<usize>>,
    pub(crate) lost_at: Vec<u64>,
    /// Requests of sessions that have not been answered.
    pub(crate) asked: Vec<(usize, u64, String)>,
    pub(crate) ledger: Ledger,
    pub(crate) slots: Vec<Slot>,
    /// Which origin should own each slot.
    pub(crate) targets: Vec<usize>,
    pub(crate) next_lane: u64,
    pub(crate) next_id: u64,
    pub(crate) violation: Option<String>,
    /// Whether anything may break.
    pub(crate) has_faults: bool,
    pub(crate) last_edge_fault: u64,
    pub(crate) last_origin_fault: u64,
    pub(crate) taken: BTreeMap<(usize, u64), (u64, u64)>,
    pub(crate) faults: u64,
    /// Which faults there are in this run, and how many.
    pub(crate) fault_kinds: u64,
    pub(crate) fault_weight: u64,
}

// === impl World ===

impl World {
    /// Origins and edges without links, clients that are off.
    pub(crate) fn new(plan: Plan, content: &Content) -> Self {
        let mut random = Random::new(plan.seed);
        let shared = shared();
        let origins = 2 + random.index(2);
        let shards = 1 + u16::from(random.percent(60));
        let origins: Vec<Origin> = (0..origins)
            .map(|index| Origin::new((index, 0), shards, &shared, &mut random))
            .collect();
        let edges = 1 + random.index(2);
        let config = edge_config();
        let edges = (0..edges).map(|_| Edge::new(&config, random.next(), plan.mutation));
        let edges: Vec<Edge> = edges.collect();
        let account = |user: usize| Jid::parse(&format!("u{user}@x")).expect("an address");
        let slots: Vec<Slot> = (0..USERS)
            .map(|user| Slot::of(SEED, &account(user)))
            .collect();
        let targets = slots.iter().map(|_| random.index(origins.len())).collect();
        let clients = clients(&mut random, plan.mutation);
        let fault_kinds = (random.next() | random.next()) & plan.kinds;
        let fault_weight = [0, 1, 1, 2, 4][random.index(5)];
        let mut store = Store::new(content.clone());
        store.has_no_fence = plan.mutation == Some(Mutation::NoFence);
        Self {
            plan,
            random,
            now: 10_000,
            step: 0,
            shared,
            store,
            origins,
            edges,
            lanes: Vec::new(),
            peers: Vec::new(),
            lives: vec![None; clients.len()],
            lost_at: vec![0; clients.len()],
            asked: Vec::new(),
            clients,
            ledger: Ledger::default(),
            slots,
            targets,
            next_lane: 1,
            next_id: 1,
            violation: None,
            has_faults: false,
            last_edge_fault: 0,
            last_origin_fault: 0,
            taken: BTreeMap::new(),
            faults: 0,
            fault_kinds,
            fault_weight,
        }
    }

    pub(crate) fn clock(&self) -> Now {
        Now {
            mono: self.now,
            unix: 1_700_000_000_000 + self.now,
        }
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.now += millis;
        set_now_ms(self.now);
    }

    pub(crate) fn trace(&self, what: Arguments<'_>) {
        if self.plan.traces {
            let (step, now) = (self.step, self.now);
            let _ = writeln!(std::io::stderr(), "{step:5} {now:7} {what}");
        }
    }

    /// A promise was not kept.
    pub(crate) fn fail(&mut self, what: String) {
        self.trace(format_args!("VIOLATION {what}"));
        let step = self.step;
        self.violation
            .get_or_insert_with(|| format!("{what} (step {step})"));
    }

    /// What clients see is promised as long as the store loses nothing.
    pub(crate) fn check(&mut self, outcome: Result<(), String>) {
        if let Err(what) = outcome
            && self.store.failovers == 0
        {
            self.fail(what);
        }
    }

    /// The origin that runs as this node, if it does.
    pub(crate) fn origin_of(&mut self, node: Node) -> Option<&mut Origin> {
        let origin = self.origins.get_mut(node.0)?;
        (origin.node == node && origin.is_alive).then_some(origin)
    }

    /// Links every edge and origin, and every two origins, that have no link and are there.
    pub(crate) fn dial(&mut self) {
        for edge in 0..self.edges.len() {
            for origin in 0..self.origins.len() {
                self.dial_lane(edge, origin);
            }
        }
        for from in 0..self.origins.len() {
            for to in 0..self.origins.len() {
                self.dial_peer(from, to);
            }
        }
    }

    fn dial_lane(&mut self, edge: usize, origin: usize) {
        let node = self.origins[origin].node;
        let is_there = self.edges[edge].is_alive && self.origins[origin].is_running();
        let mut known = self.lanes.iter();
        let is_linked =
            known.any(|lane| lane.edge == edge && lane.origin.0 == origin && !lane.edge_knows);
        if !is_there || is_linked {
            return;
        }
        let id = self.next_lane;
        self.next_lane += 1;
        let edge_id = EdgeId(self.origins[origin].next_edge);
        self.origins[origin].next_edge += 1;
        let mut lane = Lane {
            id,
            edge,
            origin: node,
            edge_id,
            down: Default::default(),
            accepted: Default::default(),
            refused: Vec::new(),
            owed: Default::default(),
            is_cut: false,
            edge_knows: false,
            origin_knows: false,
        };
        for slot in &self.slots {
            if let Some(epoch) = self.origins[origin].owns(*slot) {
                lane.down.push_back(Down::Owned(owned(*slot, epoch, true)));
            }
        }
        self.edges[edge].ways.open(id);
        self.lanes.push(lane);
        self.trace(format_args!("lane {id}: edge {edge} - origin {node:?}"));
    }

    fn dial_peer(&mut self, from: usize, to: usize) {
        let is_there = self.origins[from].is_running() && self.origins[to].is_running();
        let (dialler, called) = (self.origins[from].node, self.origins[to].node);
        let mut known = self.peers.iter();
        let is_linked =
            known.any(|link| link.from == dialler && link.to.0 == to && !link.from_knows);
        if from == to || !is_there || is_linked {
            return;
        }
        let mut draw = |origin: usize| {
            let next = &mut self.origins[origin].next_peer;
            *next += 1;
            PeerId(*next)
        };
        let (id_at_from, id_at_to) = (draw(from), draw(to));
        let mut link = PeerLink {
            from: dialler,
            to: called,
            id_at_from,
            id_at_to,
            forward: Default::default(),
            back: Default::default(),
            is_cut: false,
            from_knows: false,
            to_knows: false,
        };
        for slot in &self.slots {
            if let Some(epoch) = self.origins[to].owns(*slot) {
                link.back
                    .push_back(crate::network::Back::Owned(owned(*slot, epoch, true)));
            }
        }
        self.trace(format_args!("peers: {dialler:?} dials {called:?}"));
        self.peers.push(link);
    }
}

fn shared() -> Arc<Shared> {
    let mut config = Config {
        domains: vec!["x".to_owned()],
        scram_iterations: 4096,
        ..Config::default()
    };
    config.limits.resume_secs = RESUME_SECS;
    config.limits.account_idle_secs = 5;
    let domains = vec![Jid::parse("x").expect("a domain")];
    Arc::new(Shared {
        services: Vec::new(),
        domains,
        pipeline: Pipeline::new(FEATURES).expect("no clash"),
        throttle: Throttle::new(1_000_000, 1000),
        started_unix: 1_600_000_000_000,
        is_clustered: true,
        tokens: Tokens::new([9; 32]),
        tracer: Arc::default(),
        watched: Arc::default(),
        config,
    })
}

pub(crate) fn edge_config() -> couplet_edge::Config {
    let mut config = couplet_edge::Config {
        domains: vec!["x".to_owned()],
        require_tls: false,
        ..couplet_edge::Config::default()
    };
    config.limits.credit_stanzas = 8;
    config.limits.ping_after_secs = 0;
    config.limits.ping_timeout_secs = 3600;
    config.limits.before_auth_secs = 3600;
    config.limits.outbound_stall_secs = 3600;
    config
}

fn clients(random: &mut Random, mutation: Option<Mutation>) -> Vec<Client> {
    let mut clients = Vec::new();
    for user in 0..USERS {
        for device in 0..1 + usize::from(user < 2) {
            let manner = match random.below(10) {
                0..7 => Manner::Resuming,
                7 => Manner::Counting,
                _ => Manner::Plain,
            };
            let mut client = Client::new(user, &format!("r{device}"), manner);
            client.takes_more = mutation == Some(Mutation::HighResumed);
            clients.push(client);
        }
    }
    clients
}
