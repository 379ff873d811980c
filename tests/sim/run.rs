//! Run: a world from its beginning to its end, and what must be true then.

use couplet_origin::auth::Credentials;
use couplet_origin::store::{CREDENTIALS, Write};
use couplet_proto::Jid;

use crate::client::Stage;
use crate::store::{Content, Store};
use crate::world::{Plan, RESUME_SECS, USERS, World};

/// How many rounds a whole world may take to come to rest.
const ROUNDS_MAX: usize = 4000;

/// What a run came to.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) steps: usize,
    pub(crate) messages: usize,
    pub(crate) handled: usize,
    pub(crate) faults: u64,
    pub(crate) lives: usize,
}

/// Runs a plan; what was not kept, if anything.
pub(crate) fn run(plan: Plan, content: &Content) -> Result<Tally, String> {
    let mut world = World::new(plan, content);
    if world.random.percent(10) {
        let lag = 1 + world.random.index(6);
        world.store.replicate(lag);
    }
    world.pass(0);
    world.dial();
    world.begin();
    world.has_faults = true;
    while world.step < plan.steps && world.violation.is_none() {
        world.advance(true);
    }
    world.heal();
    world.judge();
    let tally = Tally {
        steps: world.step,
        messages: world.ledger.messages.len(),
        handled: world
            .ledger
            .messages
            .iter()
            .filter(|known| known.is_handled)
            .count(),
        faults: world.faults,
        lives: world.ledger.lives.len(),
    };
    match world.violation {
        Some(what) => Err(what),
        None => Ok(tally),
    }
}

/// What is stored before a run: accounts whose users see each other.
pub(crate) fn template() -> Content {
    let mut store = Store::default();
    let credentials = Credentials::derive("secret", 4096, [3; 16], [4; 16]).expect("fit");
    for user in 0..USERS {
        let put = Write::Put {
            table: CREDENTIALS,
            key: "".into(),
            value: credentials.encode(),
        };
        let account = Jid::parse(&format!("u{user}@x")).expect("an address");
        store.put(account, put);
    }
    let plan = Plan {
        seed: u64::MAX,
        steps: 0,
        mutation: None,
        kinds: 0,
        traces: std::env::var_os("TRACE_TEMPLATE").is_some(),
    };
    let mut world = World::new(plan, &store.content);
    world.pass(0);
    world.dial();
    world.begin();
    for type_ in ["subscribe", "subscribed"] {
        for client in 0..world.clients.len() {
            let user = world.clients[client].user;
            if world.clients[client].resource != "r0" {
                continue;
            }
            for other in (0..USERS).filter(|other| *other != user) {
                let xml = format!("<presence type='{type_}' to='u{other}@x'/>");
                world.clients[client].send(xml, None);
            }
        }
        world.rest();
    }
    for client in 0..world.clients.len() {
        world.clients[client].close();
    }
    world.rest();
    assert!(world.violation.is_none(), "{:?}", world.violation);
    world.store.content.without_owners()
}

// === impl World ===

impl World {
    /// Slots get owners, clients log in.
    fn begin(&mut self) {
        self.rest();
        for client in 0..self.clients.len() {
            self.log_in(client);
        }
        self.rest();
        for client in 0..self.clients.len() {
            if self.clients[client].stage != Stage::Online {
                let stage = self.clients[client].stage;
                return self.fail(format!("client {client} does not get in: {stage:?}"));
            }
            self.clients[client].is_available = true;
            self.clients[client].send("<presence/>".to_owned(), None);
        }
        self.rest();
    }

    /// Everything that can happen, happens; time passes as far as it must.
    pub(crate) fn rest(&mut self) {
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            if self.violation.is_some() {
                return;
            }
            let did = self.settle_once();
            if did {
                quiet = 0;
                self.pass(5);
            } else {
                quiet += 1;
                self.pass(350);
                self.dial();
            }
            self.ticks();
            for edge in 0..self.edges.len() {
                if self.edges[edge].is_alive {
                    self.follow(edge);
                }
            }
            if quiet > 8 && self.is_quiet() {
                return;
            }
        }
        self.fail("the cluster does not come to rest".to_owned());
    }

    /// All that is broken is mended, and everyone comes back.
    fn heal(&mut self) {
        if self.violation.is_some() {
            return;
        }
        self.trace(format_args!("all is mended"));
        self.has_faults = false;
        self.store.is_out = false;
        while self.origins.iter().any(|origin| !origin.is_running()) {
            for _ in 0..20 {
                self.settle_once();
                self.pass(50);
                self.ticks();
            }
            self.wake_or_restart();
        }
        while self.edges.iter().filter(|edge| edge.is_alive).count() == 0 {
            self.start_edge();
        }
        for client in &mut self.clients {
            client.is_slow = false;
        }
        self.rest();
        for _ in 0..3 {
            for client in 0..self.clients.len() {
                if self.clients[client].stage == Stage::Off && self.violation.is_none() {
                    self.log_in(client);
                }
            }
            self.rest();
        }
        self.come_back();
        // Sessions that nobody will come back to end.
        for _ in 0..4 {
            self.pass(u64::from(RESUME_SECS) * 1000 / 2);
            self.ticks();
            self.rest();
        }
        for client in 0..self.clients.len() {
            self.clients[client].acknowledge();
            self.clients[client].ask();
        }
        self.rest();
        for client in 0..self.clients.len() {
            self.clients[client].ask();
        }
        self.rest();
    }

    /// Everyone says that he is available.
    fn come_back(&mut self) {
        for client in 0..self.clients.len() {
            let known = &mut self.clients[client];
            if known.stage == Stage::Online && !known.is_available {
                known.is_available = true;
                known.send("<presence/>".to_owned(), None);
            }
        }
        self.rest();
    }

    /// What must be true at the end.
    fn judge(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let is_lossy = self.store.failovers > 0;
        for client in 0..self.clients.len() {
            let known = &self.clients[client];
            if known.stage != Stage::Online {
                let stage = known.stage;
                return self.fail(format!("client {client} is not in: {stage:?}"));
            }
            if known.counts && !known.unhandled.is_empty() {
                let (handled, sent) = (known.handled, known.sent);
                return self.fail(format!("client {client}: {handled} of {sent} are handled"));
            }
        }
        if is_lossy {
            return;
        }
        if let Some(name) = self.ledger.lost(self.store.was_out).first().copied() {
            let message = &self.ledger.messages[name];
            return self.fail(format!("P1: message {name} is lost: {message:?}"));
        }
        if let Some(what) = self.ledger.disordered(self.store.was_out) {
            return self.fail(what.to_owned());
        }
        self.judge_requests();
        self.judge_presence();
        self.judge_origins();
    }

    fn judge_requests(&mut self) {
        for (client, number, id) in self.asked.clone() {
            let Some(life) = self.lives[client] else {
                continue;
            };
            let known = &self.clients[client];
            let is_handled = known.counts && number <= known.handled;
            if is_handled && !self.ledger.has_answer(life, &id) {
                return self.fail(format!("request {id} of client {client} is not answered"));
            }
        }
    }

    /// Everyone sees who is there.
    fn judge_presence(&mut self) {
        for client in 0..self.clients.len() {
            let Some(life) = self.lives[client] else {
                continue;
            };
            for other in 0..self.clients.len() {
                if self.clients[other].user == self.clients[client].user {
                    continue;
                }
                let address = self.clients[other].address();
                let sees = self.ledger.lives[life].sees.get(&address).copied();
                if sees != Some(true) {
                    return self.fail(format!(
                        "client {client} (life {life}) does not see {address}: {sees:?}"
                    ));
                }
            }
        }
    }

    fn judge_origins(&mut self) {
        let tasks = || self.origins.iter().flat_map(|origin| &origin.shards);
        let sessions: usize = tasks().map(|task| task.shard.session_count()).sum();
        let routes: usize = tasks().map(|task| task.shard.route_count()).sum();
        let clients = self.clients.len();
        if routes > 0 {
            return self.fail(format!("{routes} routes are not settled"));
        }
        if sessions != clients {
            return self.fail(format!("{sessions} sessions for {clients} clients"));
        }
        let (waiting, sleeping) = self.store.leftovers();
        if waiting > 0 || sleeping > 0 {
            let rows = self.store.rows();
            self.fail(format!(
                "{waiting} messages wait, {sleeping} rows are left: {rows:?}"
            ));
        }
    }
}
