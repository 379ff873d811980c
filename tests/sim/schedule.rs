//! Schedule: what may happen next, and which of it does.

use crate::client::Stage;
use crate::world::World;

/// One thing that may happen.
#[derive(Debug, Clone, Copy)]
enum Action {
    Up(usize),
    Down(usize),
    Accepted(usize),
    EdgeNotices(usize),
    OriginNotices(usize),
    Forward(usize),
    Back(usize),
    PeerNotices(usize, bool),
    Shard(usize, usize),
    Commit(usize, usize),
    Job(usize, usize),
    Planner(usize),
    Connection(usize, u64),
    Follow(usize),
    Read(usize),
    Write(usize),
    Act(usize),
    Pass,
    Fault,
}

// === impl World ===

impl World {
    /// Does one thing.
    pub(crate) fn advance(&mut self, actions: bool) {
        self.step += 1;
        let mut choices: Vec<(u64, Action)> = Vec::with_capacity(32);
        self.of_links(&mut choices);
        self.of_origins(&mut choices);
        self.of_edges(&mut choices);
        if actions {
            self.of_clients(&mut choices);
            if self.has_faults {
                choices.push((self.fault_weight, Action::Fault));
            }
        }
        choices.push((3, Action::Pass));
        let total = choices.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.random.below(total);
        for (weight, action) in choices {
            if drawn < weight {
                return self.act(action);
            }
            drawn -= weight;
        }
    }

    fn of_links(&self, choices: &mut Vec<(u64, Action)>) {
        for (index, lane) in self.lanes.iter().enumerate() {
            let origin = &self.origins[lane.origin.0];
            let is_there = origin.node == lane.origin && origin.is_alive;
            let listens = is_there && !origin.is_paused;
            if lane.is_cut {
                if !lane.edge_knows {
                    choices.push((3, Action::EdgeNotices(index)));
                }
                if !lane.origin_knows && (listens || !is_there) {
                    choices.push((3, Action::OriginNotices(index)));
                }
                continue;
            }
            // What is on the wire arrives also where nobody looks at it for a while.
            if self.edges[lane.edge].ways.waiting(lane.id) > 0 {
                choices.push((8, Action::Up(index)));
            }
            if !lane.down.is_empty() {
                choices.push((8, Action::Down(index)));
            }
            if !lane.accepted.is_empty() || !lane.refused.is_empty() {
                choices.push((4, Action::Accepted(index)));
            }
        }
        for (index, link) in self.peers.iter().enumerate() {
            let listens = |node: (usize, u32)| {
                let origin = &self.origins[node.0];
                !(origin.node == node && origin.is_paused)
            };
            if link.is_cut {
                if !link.from_knows && listens(link.from) {
                    choices.push((3, Action::PeerNotices(index, true)));
                }
                if !link.to_knows && listens(link.to) {
                    choices.push((3, Action::PeerNotices(index, false)));
                }
                continue;
            }
            if !link.forward.is_empty() {
                choices.push((8, Action::Forward(index)));
            }
            if !link.back.is_empty() {
                choices.push((6, Action::Back(index)));
            }
        }
    }

    fn of_origins(&self, choices: &mut Vec<(u64, Action)>) {
        for (index, origin) in self.origins.iter().enumerate() {
            if !origin.is_running() {
                continue;
            }
            for (shard, task) in origin.shards.iter().enumerate() {
                if task.has_events() && !origin.is_uncertain {
                    choices.push((10, Action::Shard(index, shard)));
                }
                if task.commit.is_some() {
                    let weight = if self.store.is_out { 1 } else { 5 };
                    choices.push((weight, Action::Commit(index, shard)));
                }
            }
            if !origin.jobs.is_empty() {
                let job = self.step % origin.jobs.len();
                choices.push((8, Action::Job(index, job)));
            }
            choices.push((1, Action::Planner(index)));
        }
    }

    fn of_edges(&self, choices: &mut Vec<(u64, Action)>) {
        for (index, edge) in self.edges.iter().enumerate() {
            if !edge.is_alive {
                continue;
            }
            for connection in edge.woken() {
                choices.push((8, Action::Connection(index, connection)));
            }
            if edge.must_follow || self.now >= edge.next_sweep {
                choices.push((4, Action::Follow(index)));
            }
        }
    }

    fn of_clients(&self, choices: &mut Vec<(u64, Action)>) {
        for (index, client) in self.clients.iter().enumerate() {
            if client.is_connected() {
                choices.push((if client.is_slow { 0 } else { 4 }, Action::Read(index)));
            }
            if client.has_output() {
                choices.push((4, Action::Write(index)));
            }
            let is_on_its_way = !matches!(client.stage, Stage::Off | Stage::Online);
            choices.push((if is_on_its_way { 0 } else { 2 }, Action::Act(index)));
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Up(lane) => self.deliver_up(lane),
            Action::Down(lane) => self.deliver_down(lane),
            Action::Accepted(lane) => self.deliver_accepted(lane),
            Action::EdgeNotices(lane) => {
                self.edge_notices(lane);
                self.sweep_links();
            }
            Action::OriginNotices(lane) => {
                self.origin_notices(lane);
                self.sweep_links();
            }
            Action::Forward(link) => self.deliver_forward(link),
            Action::Back(link) => self.deliver_back(link),
            Action::PeerNotices(link, is_from) => {
                self.peer_notices(link, is_from);
                self.sweep_links();
            }
            Action::Shard(origin, shard) => {
                let count = 1 + self.random.index(4);
                self.run_shard(origin, shard, count);
            }
            Action::Commit(origin, shard) => self.run_commit(origin, shard),
            Action::Job(origin, job) => self.run_job(origin, job),
            Action::Planner(origin) => self.run_planner(origin),
            Action::Connection(edge, connection) => self.edges[edge].poll(connection),
            Action::Follow(edge) => self.follow(edge),
            Action::Read(client) => self.read(client),
            Action::Write(client) => self.clients[client].flush(),
            Action::Act(client) => self.client_acts(client),
            Action::Pass => self.time_passes(),
            Action::Fault => self.fault(),
        }
    }

    pub(crate) fn follow(&mut self, edge: usize) {
        let edge = &mut self.edges[edge];
        edge.must_follow = false;
        if self.now >= edge.next_sweep {
            edge.next_sweep = self.now + 100;
            edge.edge.sweep();
        } else {
            edge.edge.follow_routes();
        }
    }

    fn time_passes(&mut self) {
        let millis = match self.random.below(20) {
            0 => 1 + self.random.below(2000),
            _ => 1 + self.random.below(60),
        };
        self.pass(millis);
        self.ticks();
        self.dial();
    }

    /// Every shard that runs hears that a second has passed.
    pub(crate) fn ticks(&mut self) {
        let now = self.now;
        for origin in &mut self.origins {
            if !origin.is_running() {
                continue;
            }
            for task in &mut origin.shards {
                if now >= task.next_tick {
                    task.next_tick = now + 1000;
                    task.outer.push_back(couplet_origin::shard::Event::Tick);
                }
            }
        }
    }

    /// Forgets links that both ends know to be gone.
    pub(crate) fn sweep_links(&mut self) {
        self.lanes
            .retain(|lane| !(lane.edge_knows && lane.origin_knows));
        self.peers
            .retain(|link| !(link.from_knows && link.to_knows));
    }

    /// Does all there is to do, in order; true if there was something.
    pub(crate) fn settle_once(&mut self) -> bool {
        let mut choices = Vec::new();
        self.of_links(&mut choices);
        self.of_origins(&mut choices);
        self.of_edges(&mut choices);
        let mut did = false;
        for (_, action) in choices {
            let is_work = match action {
                Action::Planner(_) => false,
                Action::Follow(edge) => self.edges[edge].must_follow,
                Action::Shard(origin, shard) => !self.origins[origin].shards[shard].only_ticks(),
                _ => true,
            };
            // Links are forgotten at the end, so that places stay what they are.
            match action {
                Action::EdgeNotices(lane) => self.edge_notices(lane),
                Action::OriginNotices(lane) => self.origin_notices(lane),
                Action::PeerNotices(link, is_from) => self.peer_notices(link, is_from),
                other => self.act(other),
            }
            did |= is_work;
        }
        self.sweep_links();
        for client in 0..self.clients.len() {
            self.read(client);
        }
        did
    }
}
