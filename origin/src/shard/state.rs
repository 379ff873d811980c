//! What a shard holds.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId};
use couplet_proto::slot::{Seed, Slot};
use foldhash::fast::{FixedState, RandomState};
use hashbrown::{HashMap, HashSet};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::bulk::Bulk;
use super::commit::Commits;
use super::debts::Debts;
use super::event::{Fanned, Routed, Work};
use super::login::Login;
use super::output::Output;
use super::quarantine::Quarantine;
use super::residents::{Place, Resident, Residents};
use super::routes::Routes;
use super::tenure::{Tenure, Tenures};
use crate::clock::Now;
use crate::hooks::context::{Effect, Shared};
use crate::onlook::Watches;

/// The one owner of a group of slots. See the module.
#[derive(Debug)]
pub struct Shard {
    /// Which of `shards` this is: slot `s` belongs to shard `s mod shards`.
    pub(super) id: u16,
    pub(super) shards: u16,
    pub(super) seed: Seed,
    /// Tells what it makes itself from what others do: drawn when it starts.
    pub(super) name: SessionId,
    /// What this node is to each slot.
    pub(super) tenures: Tenures,
    pub(super) shared: Arc<Shared>,
    pub(super) residents: Residents,
    /// Which account a session belongs to.
    pub(super) sessions: HashMap<SessionId, Place, RandomState>,
    /// Sessions that edges have brought for accounts that are still being read.
    pub(super) arriving: HashMap<SessionId, Place, RandomState>,
    pub(super) login: Login,
    pub(super) commits: Commits,
    /// Slots whose sleeping sessions have not been listed: of their accounts nobody knows who has
    /// some.
    pub(super) listing: HashSet<Slot, FixedState>,
    /// Slots whose sleeping sessions could not be listed: tried again each second.
    pub(super) unlisted: Vec<Slot>,
    /// Accounts that had nothing to do, and when, oldest first: they may leave memory.
    pub(super) idle: VecDeque<(u64, Place)>,
    /// Accounts that could not be read while they have sessions: tried again each second.
    pub(super) unread: Vec<Place>,
    /// Sessions without a connection, and when they are over, in monotonic milliseconds.
    pub(super) asleep: BTreeSet<(u64, SessionId)>,
    /// Addresses of services that asked to be called, and when, in monotonic milliseconds.
    pub(super) alarms: BTreeSet<(u64, Place)>,
    /// Sessions that change their presence too fast: the latest is sent each second.
    pub(super) paced: Vec<SessionId>,
    /// Stanzas for slots of this very shard: handled before anything new is taken.
    pub(super) local: VecDeque<Local>,
    /// What rooms send to many.
    pub(super) bulk: Bulk,
    /// What is for sessions that an edge may still bring, one receiver each.
    pub(super) doubtful: VecDeque<Fanned>,
    /// What has to happen before somebody is told.
    pub(super) debts: Debts,
    /// Stanzas on their way to other accounts.
    pub(super) routes: Routes,
    /// Routes of this shard that have taken effect: seen to when the handler has ended.
    pub(super) settled: Vec<u64>,
    /// Stanzas of own sessions that have taken effect, likewise.
    pub(super) finished: Vec<(SessionId, u64)>,
    /// Stanzas for sessions that had ended when they were released, by account, likewise.
    pub(super) strays: VecDeque<(Place, Work)>,
    /// Sessions whose progress changed since the last flush.
    pub(super) progressed: Vec<SessionId>,
    /// Sessions of which their edges have to keep something new.
    pub(super) changed: Vec<SessionId>,
    /// Sessions that their edges keep: the store need not.
    pub(super) kept: Vec<(SessionId, (EdgeId, ConnectionId))>,
    /// What the handler that runs has pushed; empty between handlers.
    pub(super) effects: Vec<Effect>,
    /// What has been released and not yet been carried out.
    pub(super) outputs: Vec<Output>,
    pub(super) quarantine: Quarantine,
    /// Accounts that operators look on at.
    pub(super) watches: Watches,
    /// When the event under way happens.
    pub(super) now: Now,
    pub(super) rng: StdRng,
}

/// What is for slots of the shard that made it.
#[derive(Debug)]
pub(super) enum Local {
    /// A stanza for an account of this slot.
    One(Slot, Routed),
    /// Stanzas for sessions of many.
    Many(Fanned),
}

// === impl Shard ===

impl Shard {
    /// Shard `id` of `shards`, which owns nothing yet; `rng_seed` drives every id and nonce it
    /// draws.
    pub fn new(id: u16, shards: u16, seed: Seed, shared: Arc<Shared>, rng_seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(rng_seed);
        Self {
            id,
            shards,
            seed,
            name: SessionId(rng.next_u64()),
            tenures: Tenures::new(shards),
            login: Login::new(seed, &shared),
            watches: Watches::new(shared.watched.clone()),
            shared,
            residents: Residents::default(),
            sessions: HashMap::default(),
            arriving: HashMap::default(),
            commits: Commits::default(),
            listing: HashSet::default(),
            unlisted: Vec::new(),
            idle: VecDeque::new(),
            unread: Vec::new(),
            asleep: BTreeSet::new(),
            alarms: BTreeSet::new(),
            paced: Vec::new(),
            local: VecDeque::new(),
            bulk: Bulk::default(),
            doubtful: VecDeque::new(),
            debts: Debts::default(),
            routes: Routes::default(),
            settled: Vec::new(),
            finished: Vec::new(),
            strays: VecDeque::new(),
            progressed: Vec::new(),
            changed: Vec::new(),
            kept: Vec::new(),
            effects: Vec::new(),
            outputs: Vec::new(),
            quarantine: Quarantine::default(),
            now: Now::default(),
            rng,
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

    /// How many rooms are in memory, and how many sessions are in them.
    pub fn room_count(&self) -> (usize, usize) {
        self.residents.rooms()
    }

    /// How many sessions wait for their clients to come back.
    pub fn hibernated_count(&self) -> usize {
        self.residents.hibernated()
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many stanzas are on their way to other accounts.
    pub fn route_count(&self) -> usize {
        self.routes.len()
    }

    /// Begins as the owner of every slot it runs, with nobody to wait for: the only node there is.
    pub fn own(&mut self, epochs: &[Option<Epoch>]) {
        for slot in Slot::all().filter(|slot| slot.number() % self.shards == self.id) {
            if let Some(epoch) = epochs.get(slot.index()).copied().flatten() {
                self.tenures.set(slot, Tenure::Active(epoch, 0));
            }
        }
    }

    /// The slots this node owns of those it runs, and at which epoch.
    pub(super) fn owned(&self) -> Vec<(Slot, Epoch)> {
        let all = Slot::all().filter(|slot| self.runs(*slot));
        all.filter_map(|slot| Some((slot, self.tenures.of(slot).epoch()?)))
            .collect()
    }

    /// Sees to the sessions that slept when the slots were last owned: they end in their time.
    pub fn wake_sleepers(&mut self) {
        for (slot, _) in self.owned() {
            self.list_sleepers(slot);
        }
    }

    /// Asks which accounts of a slot have sessions that wait.
    pub(super) fn list_sleepers(&mut self, slot: Slot) {
        self.listing.insert(slot);
        self.outputs.push(Output::Sleepers(slot));
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
        match self.runs(slot) {
            true => self.tenures.of(slot).epoch(),
            false => None,
        }
    }

    /// The resident of a session.
    pub(super) fn resident_of(&mut self, session: SessionId) -> Option<&mut Resident> {
        let place = self.sessions.get(&session).copied()?;
        self.residents.get_mut(place)
    }
}
