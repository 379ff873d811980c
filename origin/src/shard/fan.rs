//! Fan: the same stanzas for many sessions, from the shard of the room that sends them to the
//! edges.
//!
//! ```text
//! room's shard ─ one for each shard and origin ─▶ receivers' shards ─ one for each edge ─▶
//! ```
//!
//! What could be said of each receiver is said of all at once as long as nothing is special about
//! it: its account is in memory, its session has a connection and nothing of it waits for a commit.
//! For the others the way is that of any stanza, in an order that holds.

use std::sync::Arc;

use couplet_proto::link::frame::{self, Frame, Receiver, ToEdge};
use couplet_proto::link::id::{ConnectionId, EdgeId, Source};
use couplet_proto::link::peer::Addressee;
use couplet_proto::slot::Slot;
use couplet_proto::xmpp::error::Condition;
use couplet_proto::{Jid, Kind, Stanza, Type};

use super::debts::DebtId;
use super::event::{Event, Fanned, FannedStanzas, Receipt, Routed, Work};
use super::followed::FOLLOWED_MAX;
use super::output::Output;
use super::residents::Place;
use super::routes::PendingFan;
use super::state::{Local, Shard};
use super::tenure::Tenure;
use crate::hooks::context::Fan;
use crate::metrics;
use crate::onlook::Way;
use crate::route::bounce;
use crate::session::At;
use crate::session::outbox::Entry;

/// Receivers that may wait to be brought by an edge; of more, one that is not there is gone.
const DOUBTFUL_MAX: usize = 4096;

/// Where a receiver is.
enum Found {
    /// At an edge, and nothing is in the way.
    At(EdgeId, ConnectionId),
    /// In memory, but not to be reached at once.
    Resident(Place),
    /// The account may have sessions that have not been read.
    Unread,
    /// Nowhere.
    Gone,
    /// Wherever it is: stanzas for it wait for an edge that may bring it, and these stand behind.
    Behind,
}

/// What goes to one lane of an edge.
struct Group {
    edge: EdgeId,
    receivers: Vec<Receiver>,
    /// The routes of these receivers.
    routes: Vec<(Slot, u64)>,
}

impl Shard {
    /// Sends stanzas to sessions of other accounts.
    pub(super) fn fan(&mut self, from: Slot, fan: Fan, debt: Option<DebtId>) {
        let slots: Vec<Slot> = fan.to.iter().map(|to| self.slot_of(to)).collect();
        let stanzas = FannedStanzas {
            stanzas: fan.stanzas,
            source: fan.source.unwrap_or(Source {
                session: self.name,
                number: 0,
                part: Source::OF_SHARD,
            }),
            list: fan.list,
            entered: fan.entered,
        };
        let pending = PendingFan::new(from, stanzas, fan.to, slots, debt);
        let fanned = self.routes.add_fan(pending, self.id);
        metrics::fanned(fanned.to.len());
        self.spread(fanned);
    }

    /// Brings stanzas to the owners of their receivers' slots, those of this shard's own slots
    /// first.
    pub(super) fn spread(&mut self, mut fanned: Fanned) {
        let own = fanned
            .to
            .extract_if(.., |to| to.slot.number() % self.shards == self.id);
        let own: Vec<Addressee> = own.collect();
        if !own.is_empty() {
            let own = fanned.for_these(own);
            self.local.push_back(Local::Many(own));
        }
        if !fanned.to.is_empty() {
            self.outputs.push(Output::Fan(fanned));
        }
    }

    /// Those of another shard or origin that know the present owner.
    pub(super) fn take_fanned(&mut self, mut fanned: Fanned) {
        let tenures = &self.tenures;
        let (id, shards) = (self.id, self.shards);
        fanned.to.retain(|to| {
            let runs = to.slot.number() % shards == id;
            let is_current = runs && tenures.of(to.slot).open_epoch() == Some(to.epoch);
            if !is_current {
                // Its sender has it, and sends it again when he has heard of the owner.
                metrics::stale_frame();
            }
            is_current
        });
        if !fanned.to.is_empty() {
            self.local.push_back(Local::Many(fanned));
        }
    }

    /// Gives stanzas to their receivers.
    pub(super) fn fanned(&mut self, mut fanned: Fanned) {
        let mut groups: Vec<Group> = Vec::new();
        for (count, to) in std::mem::take(&mut fanned.to).into_iter().enumerate() {
            if to.jid.is_bare() {
                self.fanned_to_account(&fanned, &to, count < FOLLOWED_MAX);
                continue;
            }
            let epoch = match self.tenures.of_mut(to.slot) {
                Tenure::Active(epoch, _) => *epoch,
                Tenure::Gathering(gathering) => {
                    gathering.push(Event::Fanned(fanned.for_these(vec![to])));
                    continue;
                }
                // Sent again when there is an owner.
                Tenure::Leaving(..) => continue,
                Tenure::Absent => {
                    self.outputs.push(Output::Fan(fanned.for_these(vec![to])));
                    continue;
                }
            };
            match self.find(&to, &fanned.stanzas) {
                Found::At(edge, connection) => {
                    let receiver = Receiver {
                        connection,
                        slot: to.slot,
                        epoch,
                    };
                    group_of(&mut groups, edge).add(receiver, to.route);
                }
                Found::Resident(place) => {
                    let work = work(&fanned, &to);
                    self.run_at(place, work, self.now);
                }
                Found::Unread => self.run(&to.jid, work(&fanned, &to), self.now),
                Found::Gone if self.is_doubtful(&to) => {
                    self.doubtful.push_back(fanned.for_these(vec![to]));
                }
                // Its session may be there by now: a room is not told that it is gone.
                Found::Behind if self.doubtful.len() < DOUBTFUL_MAX => {
                    self.doubtful.push_back(fanned.for_these(vec![to]));
                }
                Found::Gone | Found::Behind => self.fanned_to_nobody(&fanned, &to),
            }
        }
        for group in groups {
            self.send_group(&fanned, group);
        }
    }

    /// An account does with a stanza what it does with any that comes to it alone.
    fn fanned_to_account(&mut self, fanned: &Fanned, to: &Addressee, is_followed: bool) {
        for mut routed in fanned.singly(to) {
            if !is_followed && routed.stanza.trace.is_some() {
                Arc::make_mut(&mut routed.stanza).trace = None;
            }
            self.routed(to.slot, routed);
        }
    }

    /// A second has passed: those that may have been brought meanwhile.
    pub(super) fn try_doubtful(&mut self) {
        for fanned in std::mem::take(&mut self.doubtful) {
            self.fanned(fanned);
        }
    }

    /// Where a receiver is. If it can be reached at once, its session has the stanzas.
    fn find(&mut self, to: &Addressee, fanned: &Arc<FannedStanzas>) -> Found {
        if !self.doubtful.is_empty() && self.doubtful.iter().any(|it| it.to[0].jid == to.jid) {
            return Found::Behind;
        }
        let Some(place) = self.residents.find(to.jid.bare()) else {
            return match self.listing.contains(&to.slot) {
                true => Found::Unread,
                false => Found::Gone,
            };
        };
        let Some(resident) = self.residents.get_mut(place) else {
            return Found::Resident(place);
        };
        let is_busy =
            resident.is_loading || !resident.held.is_empty() || !resident.waiting.is_empty();
        if is_busy {
            return Found::Resident(place);
        }
        let account = &mut resident.account;
        let Some(session) = account.session_of(&to.jid) else {
            return Found::Gone;
        };
        let Some(session) = account.session_mut(session) else {
            return Found::Gone;
        };
        let At::Edge(edge, connection) = session.at else {
            return Found::Resident(place);
        };
        if fanned
            .each()
            .any(|(_, source)| session.outbox.has(Some(source)))
        {
            return Found::Resident(place);
        }
        let is_clustered = self.shared.is_clustered;
        let is_watched = !self.watches.is_empty();
        for (stanza, source) in fanned.each() {
            if is_watched {
                self.watches.note(Way::Delivered, &to.jid, stanza, self.now);
            }
            session.outbox.push(Entry {
                source: is_clustered.then_some(source),
                ..Entry::plain(Arc::clone(stanza))
            });
        }
        session.outbox.give(None);
        Found::At(edge, connection)
    }

    /// Whether an edge may still come with the session of a receiver.
    fn is_doubtful(&self, to: &Addressee) -> bool {
        self.tenures.of(to.slot).is_in_doubt(self.now.mono) && self.doubtful.len() < DOUBTFUL_MAX
    }

    /// One frame for a lane of an edge; when the edge has it, its routes have taken effect.
    fn send_group(&mut self, fanned: &Fanned, group: Group) {
        let Some(first) = group.receivers.first() else {
            return;
        };
        let (slot, epoch) = (first.slot, first.epoch);
        let FannedStanzas {
            stanzas,
            source,
            list,
            entered,
        } = &*fanned.stanzas;
        let body = ToEdge::Fan(Box::new(frame::Fan {
            stanzas: Arc::clone(stanzas),
            source: *source,
            receivers: group.receivers,
            list: *list,
            entered: *entered,
        }));
        let debt = self
            .debts
            .open_group(fanned.peer, fanned.shard, group.routes);
        let frame = Frame { slot, epoch, body };
        self.outputs
            .push(Output::ToEdge(group.edge, frame, Some(debt)));
    }

    /// A receiver is not there: a room that sent it a message hears of it.
    pub(super) fn fanned_to_nobody(&mut self, fanned: &Fanned, to: &Addressee) {
        let refused = refusal(&fanned.stanzas.stanzas, &to.jid);
        let refused = refused.map(|refused| Output::Send(Arc::new(refused), 0, None, None));
        let creditor = super::debts::Creditor::Route(fanned.receipt(to));
        self.tell_instead(to.slot, refused.into_iter().collect(), Some(creditor));
    }
}

// === impl Group ===

impl Group {
    fn add(&mut self, receiver: Receiver, route: u64) {
        self.routes.push((receiver.slot, route));
        self.receivers.push(receiver);
    }
}

/// What a room hears of a session that is not there, if there is a message among the stanzas.
pub(super) fn refusal(stanzas: &[Arc<Stanza>], to: &Jid) -> Option<Stanza> {
    let mut messages = stanzas
        .iter()
        .filter(|stanza| stanza.kind == Kind::Message && stanza.type_ != Type::Error);
    let message = (**messages.next()?).clone().to(to.clone());
    bounce::reply(&message, &Condition::RecipientUnavailable.into())
}

fn group_of(groups: &mut Vec<Group>, edge: EdgeId) -> &mut Group {
    let known = groups.iter().position(|group| group.edge == edge);
    let place = known.unwrap_or_else(|| {
        groups.push(Group {
            edge,
            receivers: Vec::new(),
            routes: Vec::new(),
        });
        groups.len() - 1
    });
    &mut groups[place]
}

fn work(fanned: &Fanned, to: &Addressee) -> Work {
    Work::Fanned(
        to.jid.clone(),
        Arc::clone(&fanned.stanzas),
        fanned.receipt(to),
    )
}

// === impl Fanned ===

impl Fanned {
    /// What a receiver gets, as stanzas for it alone. They come in order, and have taken effect
    /// with the last.
    pub fn singly(&self, to: &Addressee) -> impl Iterator<Item = Routed> {
        let last = self.stanzas.stanzas.len().saturating_sub(1);
        let (receipt, jid) = (self.receipt(to), to.jid.clone());
        let each = self.stanzas.each().enumerate();
        each.map(move |(place, (stanza, source))| Routed {
            stanza: Arc::new((**stanza).clone().to(jid.clone())),
            entered: self.stanzas.entered,
            source: Some(source),
            receipt: Receipt {
                route: if place == last { receipt.route } else { 0 },
                ..receipt
            },
        })
    }

    /// The same for these receivers.
    pub fn for_these(&self, to: Vec<Addressee>) -> Self {
        Self {
            to,
            stanzas: Arc::clone(&self.stanzas),
            ..*self
        }
    }

    /// Who waits to hear that it has taken effect for a receiver.
    pub(crate) fn receipt(&self, to: &Addressee) -> Receipt {
        Receipt {
            peer: self.peer,
            shard: self.shard,
            route: to.route,
        }
    }
}

// === impl FannedStanzas ===

impl FannedStanzas {
    /// Each stanza and what it comes from.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&Arc<Stanza>, Source)> {
        frame::sourced(&self.stanzas, self.source)
    }
}
