//! Tenure: the time in which this node owns a slot.
//!
//! ```text
//! Absent ─ Take ─▶ Gathering ─ every edge has brought its sessions, or 2 s ─▶ Active
//!    ▲                 │                                                         │
//!    │                 └─ what is for accounts waits, in order                   │
//!    ├──────────────── Lose: another has it ─────────────────────────────────────┤
//!    └─ what was written, and the sessions, are stored ─ Leaving ◀─ Leave ───────────────────────┘
//! ```
//!
//! While a slot is gathering nobody is taken for absent who is only on his way. While it is left
//! nothing more is taken: edges and origins keep what they sent and bring it to the next owner.

use std::collections::VecDeque;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::{EdgeId, SessionId};
use couplet_proto::slot::{SLOTS, Slot};
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use tokio::sync::oneshot;

use super::event::Event;

/// How long edges are waited for, in milliseconds.
const PATIENCE_MS: u64 = 2000;

/// And so many seconds that this process has lived through: one in which the whole machine stood
/// still gave nobody the time to come.
const PATIENCE_TICKS: u32 = 2;

/// How long after that a session that is not known may still be brought, in milliseconds: edges
/// whose links were lost dial again within this.
const DOUBT_MS: u64 = 5000;

/// What this node is to a slot.
#[derive(Debug, Default)]
pub(super) enum Tenure {
    /// Nothing.
    #[default]
    Absent,
    /// Its new owner, who waits for its sessions.
    Gathering(Box<Gathering>),
    /// Its owner, who has served it since this time, in monotonic milliseconds; 0 where nobody
    /// served it before.
    Active(Epoch, u64),
    /// Its owner, who finishes; then somebody is told.
    Leaving(Epoch, Leaving),
}

/// How far a slot that is left has come, and who is told when it is.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) done: oneshot::Sender<()>,
    /// Whether its sessions have been stored: an edge may die before it has brought them to the
    /// new owner.
    pub(super) has_stored: bool,
}

/// What a new owner waits for, and what waits for it.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) epoch: Epoch,
    /// When it waits no longer, in monotonic milliseconds.
    until: u64,
    /// Seconds it has waited already.
    ticks: u32,
    /// Lanes that have not said which sessions they hold.
    edges: Vec<EdgeId>,
    /// Sessions that some edge holds and has not brought.
    sessions: HashSet<SessionId, FixedState>,
    /// What came meanwhile. Bounded by what edges and origins may have under way.
    waiting: VecDeque<Event>,
}

/// The tenures of the slots a shard runs.
#[derive(Debug)]
pub(super) struct Tenures {
    shards: u16,
    tenures: Vec<Tenure>,
    /// Slots that are gathering.
    gathering: Vec<Slot>,
    /// Slots that are being left.
    leaving: Vec<Slot>,
}

// === impl Tenure ===

impl Tenure {
    /// At which epoch this node owns the slot.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Absent => None,
            Self::Gathering(gathering) => Some(gathering.epoch),
            Self::Active(epoch, _) | Self::Leaving(epoch, _) => Some(*epoch),
        }
    }

    /// Whether its sessions have been stored for the next owner: what they are told after that he
    /// does not know.
    pub(super) fn is_handed_on(&self) -> bool {
        matches!(self, Self::Leaving(_, leaving) if leaving.has_stored)
    }

    /// Whether an edge may still come with a session that this owner does not know: one that had no
    /// way to it while it gathered.
    pub(super) fn is_in_doubt(&self, now: u64) -> bool {
        matches!(self, Self::Active(_, since) if *since > 0 && now < since + DOUBT_MS)
    }

    /// At which epoch it takes stanzas, now or soon.
    pub(super) fn open_epoch(&self) -> Option<Epoch> {
        match self {
            Self::Absent | Self::Leaving(..) => None,
            Self::Gathering(_) | Self::Active(..) => self.epoch(),
        }
    }
}

// === impl Gathering ===

impl Gathering {
    /// A new owner waits for these lanes.
    pub(super) fn new(epoch: Epoch, edges: Vec<EdgeId>, now: u64) -> Self {
        Self {
            epoch,
            until: now + PATIENCE_MS,
            ticks: 0,
            edges,
            sessions: HashSet::default(),
            waiting: VecDeque::new(),
        }
    }

    /// A lane has said which sessions it holds.
    pub(super) fn expect(&mut self, edge: EdgeId, sessions: Vec<SessionId>) {
        self.edges.retain(|known| *known != edge);
        self.sessions.extend(sessions);
    }

    /// A session has been brought.
    pub(super) fn arrived(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// A lane is gone: it brings nothing any more.
    pub(super) fn edge_gone(&mut self, edge: EdgeId) {
        self.edges.retain(|known| *known != edge);
    }

    /// A second has passed.
    pub(super) fn tick(&mut self) {
        self.ticks = self.ticks.saturating_add(1);
    }

    /// Waits until everyone is there.
    pub(super) fn push(&mut self, event: Event) {
        self.waiting.push_back(event);
    }

    fn is_over(&self, now: u64) -> bool {
        let is_patience_over = now >= self.until && self.ticks >= PATIENCE_TICKS;
        is_patience_over || (self.edges.is_empty() && self.sessions.is_empty())
    }
}

// === impl Tenures ===

impl Tenures {
    /// Nothing is owned.
    pub(super) fn new(shards: u16) -> Self {
        let count = usize::from(SLOTS.div_ceil(shards));
        Self {
            shards,
            tenures: std::iter::repeat_with(Tenure::default)
                .take(count)
                .collect(),
            gathering: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// What this node is to a slot that the shard runs.
    pub(super) fn of(&self, slot: Slot) -> &Tenure {
        &self.tenures[self.place(slot)]
    }

    /// As [`Tenures::of`], to change what it waits for.
    pub(super) fn of_mut(&mut self, slot: Slot) -> &mut Tenure {
        let place = self.place(slot);
        &mut self.tenures[place]
    }

    /// Begins or ends a tenure. What there was before.
    pub(super) fn set(&mut self, slot: Slot, tenure: Tenure) -> Tenure {
        self.gathering.retain(|known| *known != slot);
        self.leaving.retain(|known| *known != slot);
        match tenure {
            Tenure::Gathering(_) => self.gathering.push(slot),
            Tenure::Leaving(..) => self.leaving.push(slot),
            Tenure::Absent | Tenure::Active(..) => {}
        }
        std::mem::replace(self.of_mut(slot), tenure)
    }

    /// The slots that are gathering.
    pub(super) fn gathering(&self) -> &[Slot] {
        &self.gathering
    }

    /// The slots that are being left.
    pub(super) fn leaving(&self) -> &[Slot] {
        &self.leaving
    }

    /// Makes a slot active if nobody is waited for any more. What waited for that, in order.
    pub(super) fn activate(&mut self, slot: Slot, now: u64) -> Option<VecDeque<Event>> {
        let Tenure::Gathering(gathering) = self.of_mut(slot) else {
            return None;
        };
        if !gathering.is_over(now) {
            return None;
        }
        if !gathering.edges.is_empty() || !gathering.sessions.is_empty() {
            let (edges, sessions) = (&gathering.edges, &gathering.sessions);
            tracing::warn!(%slot, ?edges, ?sessions, "not everyone has come: going on without");
        }
        let (epoch, waiting) = (gathering.epoch, std::mem::take(&mut gathering.waiting));
        self.set(slot, Tenure::Active(epoch, now));
        Some(waiting)
    }

    fn place(&self, slot: Slot) -> usize {
        slot.index() / usize::from(self.shards)
    }
}
