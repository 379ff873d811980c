//! What a shard holds.

use std::collections::VecDeque;
use std::sync::Arc;

use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::SessionId;
use couplet_proto::slot::{SLOTS, Seed, Slot};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::commit::Commits;
use super::event::Routed;
use super::login::Login;
use super::output::Output;
use super::quarantine::Quarantine;
use super::residents::{Place, Residents};
use crate::hooks::context::{Effect, Shared};

/// The one owner of a group of slots. See the module.
#[derive(Debug)]
pub struct Shard {
    /// Which of `shards` this is: slot `s` belongs to shard `s mod shards`.
    pub(super) id: u16,
    pub(super) shards: u16,
    pub(super) seed: Seed,
    /// The epoch at which each slot is owned; `None` where it is not.
    pub(super) epochs: Arc<[Option<Epoch>]>,
    pub(super) shared: Arc<Shared>,
    pub(super) residents: Residents,
    /// Which account a session belongs to.
    pub(super) sessions: HashMap<SessionId, Place, RandomState>,
    pub(super) login: Login,
    pub(super) commits: Commits,
    /// Accounts that had nothing to do, and when, oldest first: they may leave memory.
    pub(super) idle: VecDeque<(u64, Place)>,
    /// Accounts that could not be read while they have sessions: tried again each second.
    pub(super) unread: Vec<Place>,
    /// Sessions that change their presence too fast: the latest is sent each second.
    pub(super) paced: Vec<SessionId>,
    /// Stanzas for slots of this very shard: handled before anything new is taken.
    pub(super) local: VecDeque<Routed>,
    /// Stanzas of own sessions whose effects are done: told when the handler has ended.
    pub(super) settled: Vec<Settled>,
    /// Sessions whose progress changed since the last flush.
    pub(super) progressed: Vec<SessionId>,
    /// What the handler that runs has pushed; empty between handlers.
    pub(super) effects: Vec<Effect>,
    /// What has been released and not yet been carried out.
    pub(super) outputs: Vec<Output>,
    pub(super) quarantine: Quarantine,
    pub(super) rng: StdRng,
}

/// An effect of a session's stanza is done, or, when it failed, all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    pub(super) session: SessionId,
    pub(super) number: u64,
    pub(super) is_final: bool,
}

// === impl Settled ===

impl Settled {
    pub(super) fn one((session, number): (SessionId, u64)) -> Self {
        Self {
            session,
            number,
            is_final: false,
        }
    }
}

// === impl Shard ===

impl Shard {
    /// Shard `id` of `shards`, owner of its slots at these epochs; `rng_seed` drives every id and
    /// nonce it draws.
    pub fn new(
        id: u16,
        shards: u16,
        seed: Seed,
        epochs: Arc<[Option<Epoch>]>,
        shared: Arc<Shared>,
        rng_seed: [u8; 32],
    ) -> Self {
        debug_assert_eq!(epochs.len(), usize::from(SLOTS));
        Self {
            id,
            shards,
            seed,
            epochs,
            login: Login::new(seed, &shared),
            shared,
            residents: Residents::default(),
            sessions: HashMap::default(),
            commits: Commits::default(),
            idle: VecDeque::new(),
            unread: Vec::new(),
            paced: Vec::new(),
            local: VecDeque::new(),
            settled: Vec::new(),
            progressed: Vec::new(),
            effects: Vec::new(),
            outputs: Vec::new(),
            quarantine: Quarantine::default(),
            rng: StdRng::from_seed(rng_seed),
        }
    }

    /// What has been released since the last call, in order.
    pub fn outputs(&mut self) -> &mut Vec<Output> {
        &mut self.outputs
    }

    /// Which shard this is.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// How many accounts are in memory.
    pub fn resident_count(&self) -> usize {
        self.residents.len()
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The slot of an account or service.
    pub(super) fn slot_of(&self, jid: &Jid) -> Slot {
        Slot::of(self.seed, jid)
    }

    /// Whether this shard runs a slot.
    pub(super) fn runs(&self, slot: Slot) -> bool {
        slot.number() % self.shards == self.id
    }

    /// At which epoch this node owns a slot.
    pub(super) fn epoch_of(&self, slot: Slot) -> Option<Epoch> {
        self.epochs.get(slot.index()).copied().flatten()
    }
}
