//! Faults: what breaks. An edge and an origin never break at once: no promise is made for that.

use crate::edge::Edge;
use crate::origin::Origin;
use crate::world::World;

/// How long the consequences of a fault may take, in milliseconds.
const AFTERMATH_MS: u64 = 6_000;

/// What may be left out of a run.
pub(crate) const KINDS: &[&str] = &[
    "origin", "pause", "edge", "lane", "peer", "store", "failover", "move", "steal",
];

// === impl World ===

impl World {
    /// Something breaks, or is mended.
    pub(crate) fn fault(&mut self) {
        self.faults += 1;
        let drawn = self.random.below(100);
        let kind = match drawn {
            0..12 => "origin",
            12..24 => "pause",
            36..44 => "edge",
            52..64 => "lane",
            64..74 => "peer",
            74..80 => "store",
            80..84 => "failover",
            84..96 => "move",
            96.. => "steal",
            _ => "mend",
        };
        // Some runs know only some faults: what is found there is easier to understand.
        let place = KINDS.iter().position(|known| *known == kind);
        if place.is_some_and(|place| self.fault_kinds >> place & 1 == 0) {
            return;
        }
        match drawn {
            0..12 => self.kill_origin(),
            12..24 => self.pause_origin(),
            24..36 => self.wake_or_restart(),
            36..44 => self.kill_edge(),
            44..52 => self.start_edge(),
            52..64 => self.cut_lane(),
            64..74 => self.cut_peers(),
            74..80 => self.store_breaks(),
            80..84 => {
                if self.store.lag > 0 {
                    self.trace(format_args!("the store fails over"));
                    self.store.fail_over();
                }
            }
            84..96 => self.move_slot(),
            _ => self.steal_slot(),
        }
    }

    /// Whether an origin may break: all that an edge knew before it broke is stored.
    fn may_break_origin(&mut self) -> bool {
        if self.last_edge_fault == 0 {
            return true;
        }
        self.now > self.last_edge_fault + AFTERMATH_MS && self.calm_down()
    }

    fn may_break_edge(&mut self) -> bool {
        if self.last_origin_fault == 0 {
            return true;
        }
        self.now > self.last_origin_fault + AFTERMATH_MS && self.calm_down()
    }

    /// Lets what is under way come to its end; false if it does not.
    fn calm_down(&mut self) -> bool {
        let is_whole = !self.store.is_out && self.origins.iter().all(Origin::is_running);
        is_whole && {
            for _ in 0..40 {
                if self.is_quiet() {
                    return true;
                }
                self.settle_once();
                if self.violation.is_some() {
                    return false;
                }
            }
            false
        }
    }

    /// Whether nothing is under way and every slot has an owner.
    pub(crate) fn is_quiet(&self) -> bool {
        let owned = |slot: &couplet_proto::slot::Slot| {
            let owner = self.store.owner(*slot);
            owner.is_some_and(|(epoch, node)| {
                let origin = &self.origins[node.0];
                origin.node == node && origin.owns(*slot) == Some(epoch)
            })
        };
        self.slots.iter().all(owned)
            && self
                .origins
                .iter()
                .all(|origin| !origin.is_running() || (origin.is_idle() && !origin.is_uncertain))
            && self.lanes.iter().all(|lane| {
                !lane.is_cut
                    && lane.down.is_empty()
                    && lane.accepted.is_empty()
                    && lane.refused.is_empty()
                    && self.edges[lane.edge].ways.waiting(lane.id) == 0
            })
            && self
                .peers
                .iter()
                .all(|link| !link.is_cut && link.forward.is_empty() && link.back.is_empty())
            && self
                .edges
                .iter()
                .all(|edge| !edge.is_alive || (edge.woken().next().is_none() && !edge.must_follow))
    }

    fn draw_origin(&mut self) -> Option<usize> {
        let running = (0..self.origins.len()).filter(|index| self.origins[*index].is_running());
        let running: Vec<usize> = running.collect();
        // One is left to go on.
        (running.len() > 1).then(|| running[self.random.index(running.len())])
    }

    fn cut_off(&mut self, origin: usize) {
        let node = self.origins[origin].node;
        for lane in &mut self.lanes {
            if lane.origin == node {
                lane.cut();
                self.edges[lane.edge].ways.cut(lane.id);
                lane.origin_knows = true;
            }
        }
        for link in &mut self.peers {
            if link.from == node || link.to == node {
                link.cut();
                link.from_knows |= link.from == node;
                link.to_knows |= link.to == node;
            }
        }
        self.sweep_links();
    }

    fn kill_origin(&mut self) {
        let Some(origin) = self.draw_origin().filter(|_| self.may_break_origin()) else {
            return;
        };
        self.trace(format_args!("origin {:?} dies", self.origins[origin].node));
        self.last_origin_fault = self.now;
        self.origins[origin].kill(self.now);
        self.cut_off(origin);
        self.retarget(origin);
    }

    fn pause_origin(&mut self) {
        let Some(origin) = self.draw_origin().filter(|_| self.may_break_origin()) else {
            return;
        };
        self.trace(format_args!(
            "origin {:?} sleeps",
            self.origins[origin].node
        ));
        self.last_origin_fault = self.now;
        self.origins[origin].is_paused = true;
        self.origins[origin].since = self.now;
        self.retarget(origin);
    }

    pub(crate) fn wake_or_restart(&mut self) {
        for index in 0..self.origins.len() {
            if self.origins[index].is_paused {
                self.last_origin_fault = self.now;
                self.origins[index].is_paused = false;
                self.origins[index].is_uncertain = true;
                self.trace(format_args!("origin {:?} wakes", self.origins[index].node));
                return;
            }
            if !self.origins[index].is_alive && self.now > self.origins[index].since + 500 {
                let (name, start) = self.origins[index].node;
                let shards = 1 + u16::from(self.random.percent(60));
                let shared = self.shared.clone();
                let node = (name, start + 1);
                self.origins[index] = Origin::new(node, shards, &shared, &mut self.random);
                self.trace(format_args!("origin {node:?} starts"));
                return;
            }
        }
    }

    /// The slots of an origin that is gone are for others.
    fn retarget(&mut self, gone: usize) {
        for index in 0..self.targets.len() {
            if self.targets[index] == gone {
                let mut next = self.random.index(self.origins.len());
                if !self.origins[next].is_running() {
                    let mut others = 0..self.origins.len();
                    next = others
                        .find(|origin| self.origins[*origin].is_running())
                        .unwrap_or(gone);
                }
                self.targets[index] = next;
            }
        }
    }

    fn kill_edge(&mut self) {
        let alive: Vec<usize> = (0..self.edges.len())
            .filter(|edge| self.edges[*edge].is_alive)
            .collect();
        if alive.is_empty() || !self.may_break_edge() {
            return;
        }
        let edge = alive[self.random.index(alive.len())];
        self.trace(format_args!("edge {edge} dies"));
        self.last_edge_fault = self.now;
        let now = self.now;
        self.edges[edge].kill(now);
        for lane in &mut self.lanes {
            if lane.edge == edge {
                lane.cut();
                lane.edge_knows = true;
            }
        }
        self.sweep_links();
    }

    pub(crate) fn start_edge(&mut self) {
        let dead = (0..self.edges.len()).find(|edge| !self.edges[*edge].is_alive);
        if let Some(edge) = dead {
            let config = crate::world::edge_config();
            let seed = self.random.next();
            // Another process: everyone dials anew.
            self.edges
                .push(Edge::new(&config, seed, self.plan.mutation));
            self.edges[edge].since = u64::MAX;
            let index = self.edges.len() - 1;
            self.edges.swap(edge, index);
            self.retire(edge, index);
        }
    }

    /// A dead edge makes place: what still names it is renamed.
    fn retire(&mut self, edge: usize, index: usize) {
        for lane in &mut self.lanes {
            if lane.edge == edge {
                lane.edge = index;
            }
        }
        for (client, known) in self.clients.iter_mut().enumerate() {
            if known.edge == edge {
                known.edge = index;
                let _ = client;
            }
        }
        self.taken.retain(|(of, _), _| *of != edge);
        self.trace(format_args!("edge {edge} starts"));
    }

    fn cut_lane(&mut self) {
        if self.lanes.is_empty() {
            return;
        }
        let index = self.random.index(self.lanes.len());
        let lane = &mut self.lanes[index];
        if lane.is_cut {
            return;
        }
        lane.cut();
        let (id, edge) = (lane.id, lane.edge);
        self.edges[edge].ways.cut(id);
        self.trace(format_args!("lane {id} is cut"));
    }

    fn cut_peers(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        let index = self.random.index(self.peers.len());
        self.peers[index].cut();
        let (from, to) = (self.peers[index].from, self.peers[index].to);
        self.trace(format_args!("peers {from:?} - {to:?} are cut"));
    }

    fn store_breaks(&mut self) {
        self.store.is_out = !self.store.is_out;
        self.trace(format_args!("the store is out: {}", self.store.is_out));
    }

    /// Another origin is to own a slot.
    fn move_slot(&mut self) {
        let slot = self.random.index(self.slots.len());
        let to = self.random.index(self.origins.len());
        if self.origins[to].is_running() {
            self.trace(format_args!("{} is to go to origin {to}", self.slots[slot]));
            self.targets[slot] = to;
        }
    }

    /// An origin that everyone takes for dead, but itself, loses a slot.
    fn steal_slot(&mut self) {
        let slot = self.random.index(self.slots.len());
        let Some(to) = self.draw_origin().filter(|_| self.may_break_origin()) else {
            return;
        };
        if self.store.is_out || self.origins[to].owns(self.slots[slot]).is_some() {
            return;
        }
        self.last_origin_fault = self.now;
        self.targets[slot] = to;
        let expected = self.store.owner(self.slots[slot]);
        if !self.origins[to].claiming.contains(&self.slots[slot]) {
            self.claim(to, self.slots[slot], expected);
        }
    }
}
