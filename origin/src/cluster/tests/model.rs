//! A registry and a store in memory, which many nodes share and any can be cut off from.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::NodeId;
use couplet_proto::slot::{SLOTS, Seed, Slot};
use tokio::sync::watch;

use crate::directives::Directives;
use crate::store::{
    Answer, Batch, Error, Log, LogId, Member, Owner, Pin, Registry, Snapshot, Span, Store, Table,
    View,
};

/// How long a lease lasts, in milliseconds, however long it was asked for: it ends when its node is
/// cut off, not because a machine with much to do has let a beat come late.
const LEASE_MS: u64 = 3_600_000;

/// What all nodes share. Its time is given to it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) owners: Vec<Option<Owner>>,
    pub(crate) leases: Vec<(Member, u64)>,
    pub(crate) pins: Vec<Pin>,
    pub(crate) version: u64,
    pub(crate) directives: Directives,
    pub(crate) accounts: Vec<Jid>,
    pub(crate) is_away: bool,
}

/// One node's way to the world, in real time.
#[derive(Clone)]
pub(crate) struct Model {
    world: Arc<Mutex<World>>,
    started: std::time::Instant,
    node: NodeId,
    is_cut: Arc<AtomicBool>,
    /// Whether it is told when directives are stored.
    pub(crate) answers: Arc<watch::Sender<bool>>,
}

// === impl World ===

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            owners: vec![None; usize::from(SLOTS)],
            leases: Vec::new(),
            pins: Vec::new(),
            version: 1,
            directives: Directives::default(),
            accounts: Vec::new(),
            is_away: false,
        }
    }

    pub(crate) fn beat(&mut self, me: &Member, lease_ms: u64) -> View {
        self.leases.retain(|(member, _)| member.node != me.node);
        self.leases.push((me.clone(), self.now + lease_ms));
        self.leases.sort_by(|(a, _), (b, _)| a.node.cmp(&b.node));
        let left = |ends: u64| ends as i64 - self.now as i64;
        let leases = self.leases.iter();
        View {
            members: leases
                .map(|(member, ends)| (member.clone(), left(*ends)))
                .collect(),
            version: self.version,
            directives: self.directives.version,
        }
    }

    pub(crate) fn take(
        &mut self,
        node: &NodeId,
        slots: Vec<(Slot, Option<Owner>)>,
    ) -> Vec<(Slot, Owner)> {
        let mut taken = Vec::new();
        for (slot, expected) in slots {
            let stored = &mut self.owners[slot.index()];
            if *stored == expected {
                let epoch = stored.as_ref().map_or(Epoch(0), |owner| owner.epoch).next();
                let node = node.clone();
                *stored = Some(Owner { node, epoch });
                self.version += 1;
            }
            taken.extend(stored.clone().map(|owner| (slot, owner)));
        }
        taken
    }

    pub(crate) fn leave(&mut self, node: &NodeId) {
        self.leases.retain(|(member, _)| member.node != *node);
    }

    /// How many slots a node owns.
    pub(crate) fn count(&self, node: &NodeId) -> usize {
        let owners = self.owners.iter().flatten();
        owners.filter(|owner| owner.node == *node).count()
    }
}

// === impl Model ===

impl Model {
    pub(crate) fn new(node: NodeId) -> Self {
        Self {
            world: Arc::new(Mutex::new(World::new())),
            started: std::time::Instant::now(),
            node,
            is_cut: Arc::default(),
            answers: Arc::new(watch::Sender::new(true)),
        }
    }

    /// The way of another node to the same world.
    pub(crate) fn of(&self, node: NodeId) -> Self {
        Self {
            node,
            is_cut: Arc::default(),
            ..self.clone()
        }
    }

    /// Cuts the node off; its lease ends.
    pub(crate) fn cut(&self) {
        let mut world = self.world();
        self.is_cut.store(true, Ordering::Relaxed);
        let now = world.now;
        let mut leases = world.leases.iter_mut();
        if let Some((_, ends)) = leases.find(|(member, _)| member.node == self.node) {
            *ends = now;
        }
    }

    pub(crate) fn join(&self) {
        self.is_cut.store(false, Ordering::Relaxed);
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().expect("not poisoned");
        world.now = u64::try_from(self.started.elapsed().as_millis()).expect("short");
        world
    }

    fn reach<T>(&self, act: impl FnOnce(&mut World) -> T) -> Result<T, Error> {
        // Held all the while: nothing is done any more once it is cut off.
        let mut world = self.world();
        match self.is_cut.load(Ordering::Relaxed) {
            true => Err(Error::Unavailable("cut off".to_owned())),
            false => Ok(act(&mut world)),
        }
    }
}

impl Registry for Model {
    fn beat<'a>(&'a self, me: &'a Member, _: u64) -> Answer<'a, View> {
        Box::pin(async move { self.reach(|world| world.beat(me, LEASE_MS)) })
    }

    fn leave<'a>(&'a self, node: &'a NodeId) -> Answer<'a, ()> {
        Box::pin(async move { self.reach(|world| world.leave(node)) })
    }

    fn owners(&self) -> Answer<'_, Vec<Option<Owner>>> {
        Box::pin(async move { self.reach(|world| world.owners.clone()) })
    }

    fn take<'a>(
        &'a self,
        node: &'a NodeId,
        slots: Vec<(Slot, Option<Owner>)>,
    ) -> Answer<'a, Vec<(Slot, Owner)>> {
        Box::pin(async move { self.reach(|world| world.take(node, slots)) })
    }

    fn pins(&self) -> Answer<'_, Vec<Pin>> {
        Box::pin(async move { self.reach(|world| world.pins.clone()) })
    }

    fn set_pins(&self, pins: Vec<Pin>) -> Answer<'_, ()> {
        Box::pin(async move {
            self.reach(|world| {
                world.pins = pins;
                world.version += 1;
            })
        })
    }
}

impl Store for Model {
    fn seed(&self) -> Seed {
        Seed([7; 16])
    }

    fn secret(&self) -> [u8; 32] {
        [7; 32]
    }

    fn claim<'a>(&'a self, _: &'a str, _: Vec<Slot>) -> Answer<'a, Vec<(Slot, Epoch)>> {
        Box::pin(async { Err(Error::Unavailable("a cluster takes slots".to_owned())) })
    }

    fn sleepers(&self, _: Slot) -> Answer<'_, Vec<Jid>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn load(&self, _: Slot, _: Jid) -> Answer<'_, Snapshot> {
        Box::pin(async { Ok(Snapshot::default()) })
    }

    fn get(&self, _: Slot, _: Jid, _: Table, _: Box<str>) -> Answer<'_, Option<Bytes>> {
        Box::pin(async { Ok(None) })
    }

    fn read_log(
        &self,
        _: Slot,
        _: Jid,
        _: Log,
        _: Span,
        _: usize,
    ) -> Answer<'_, Vec<(LogId, Bytes)>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn commit(&self, batch: Batch) -> Answer<'_, ()> {
        Box::pin(async move {
            let writer = Owner {
                node: self.node.clone(),
                epoch: batch.epoch,
            };
            let stored = self.reach(|world| world.owners[batch.slot.index()].clone())?;
            match stored == Some(writer) {
                true => Ok(()),
                false => Err(Error::Fenced { slot: batch.slot }),
            }
        })
    }

    fn accounts(&self, domain: Box<str>, _: Option<Box<str>>, _: usize) -> Answer<'_, Vec<Jid>> {
        Box::pin(async move {
            self.reach(|world| {
                let accounts = world.accounts.iter();
                accounts
                    .filter(|jid| jid.domain() == &*domain)
                    .cloned()
                    .collect()
            })
        })
    }

    fn directives(&self) -> Answer<'_, Directives> {
        Box::pin(async move { self.reach(|world| world.directives.clone()) })
    }

    fn set_directives<'a>(&'a self, expected: u64, next: &'a Directives) -> Answer<'a, bool> {
        Box::pin(async move {
            let is_set = self.reach(|world| {
                let is_expected = world.directives.version == expected;
                if is_expected {
                    world.directives = next.clone();
                }
                is_expected
            });
            let _ = self.answers.subscribe().wait_for(|answers| *answers).await;
            self.reach(|_| ()).and(is_set)
        })
    }

    fn backup<'a>(&'a self, _: &'a Path) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}
