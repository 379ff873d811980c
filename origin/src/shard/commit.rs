//! Group commit: nothing durable is delivered or acknowledged before it.
//!
//! One commit is in flight at a time; what is written meanwhile becomes the next one. So a slow
//! store makes larger groups instead of a longer queue.

use std::collections::VecDeque;

use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::ToEdge;
use couplet_proto::slot::Slot;
use couplet_proto::trace::Span;
use couplet_proto::xmpp::error::Condition;

use super::debts::{Creditor, DebtId};
use super::event::Work;
use super::output::Output;
use super::residents::{Place, Resident};
use super::state::Shard;
use super::work::Cause;
use crate::metrics;
use crate::session::{At, record};
use crate::store::{self, Batch, Write};

/// What one handler sent, waiting for a commit.
#[derive(Debug)]
pub(super) struct Held {
    /// The commit it waits for.
    pub(super) ticket: u64,
    pub(super) outputs: Vec<Output>,
    /// Who hears of it instead when that commit fails. `None`: it wrote nothing itself and only
    /// keeps its place behind something that did.
    pub(super) cause: Option<Cause>,
    /// What is given up then.
    debt: Option<DebtId>,
    /// What is to be told when the commit has ended; hardly ever anything.
    pub(super) followed: Vec<Span>,
}

/// The commit in flight and the one that gathers.
#[derive(Debug, Default)]
pub(super) struct Commits {
    in_flight: Option<Group>,
    next: Group,
    /// Debts of failed groups that wait until edges have what is not written again, by slot, and
    /// the next name for some.
    guarded: Vec<(u64, Slot, Vec<DebtId>)>,
    last_guarded: u64,
}

#[derive(Debug, Default)]
struct Group {
    ticket: u64,
    batches: Vec<Batch>,
    /// Of which slots they are, once it is in flight.
    slots: Vec<Slot>,
    places: Vec<Place>,
    /// Paid when all of it is stored; part of the next group when not: what they wait for is
    /// written again.
    debts: Vec<DebtId>,
}

// === impl Held ===

impl Held {
    pub(super) fn new(ticket: u64, cause: Option<Cause>, debt: Option<DebtId>) -> Self {
        Self {
            ticket,
            outputs: Vec::new(),
            cause,
            debt,
            followed: Vec::new(),
        }
    }
}

// === impl Commits ===

impl Commits {
    /// Adds a write to the group that gathers. Its ticket.
    pub(super) fn add(
        &mut self,
        slot: Slot,
        epoch: Epoch,
        place: Place,
        owner: Jid,
        write: Write,
    ) -> u64 {
        let known = self
            .next
            .batches
            .iter()
            .position(|batch| batch.slot == slot && batch.epoch == epoch);
        let batch = match known {
            Some(known) => &mut self.next.batches[known],
            None => self.next.batches.push_mut(Batch {
                slot,
                epoch,
                writes: Vec::new(),
            }),
        };
        batch.writes.push((owner, write));
        if self.next.places.last() != Some(&place) {
            self.next.places.push(place);
        }
        self.next.ticket
    }

    /// Something is paid when the group that gathers is stored.
    pub(super) fn owe(&mut self, debt: Option<DebtId>) {
        self.next.debts.extend(debt);
    }

    /// Whether something is written and not yet durable.
    fn is_pending(&self) -> bool {
        self.in_flight.is_some() || !self.next.batches.is_empty()
    }

    /// Whether something of a slot is.
    pub(super) fn concerns(&self, slot: Slot) -> bool {
        let in_flight = self.in_flight.as_ref();
        let mut gathering = self.next.batches.iter();
        in_flight.is_some_and(|group| group.slots.contains(&slot))
            || gathering.any(|batch| batch.slot == slot)
    }

    /// These debts of a slot wait, under a name, for something that comes before the commit which
    /// pays them.
    pub(super) fn guard(&mut self, slot: Slot, debts: Vec<DebtId>) -> u64 {
        self.last_guarded += 1;
        self.guarded.push((self.last_guarded, slot, debts));
        self.last_guarded
    }

    /// Edges have what these debts wait for, as far as it is not written again.
    pub(super) fn unguard(&mut self, name: u64) {
        let known = self.guarded.iter().position(|(known, ..)| *known == name);
        if let Some(place) = known {
            let (.., debts) = self.guarded.swap_remove(place);
            self.next.debts.extend(debts);
        }
    }

    /// A slot is another's: what gathers for it is not written.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.guarded.retain(|(_, known, _)| *known != slot);
        self.next.batches.retain(|batch| batch.slot != slot);
    }

    /// Starts the next commit unless one is in flight.
    fn start(&mut self) -> Option<Vec<Batch>> {
        if self.in_flight.is_some() || self.next.batches.is_empty() {
            return None;
        }
        let ticket = self.next.ticket + 1;
        let next = Group {
            ticket,
            ..Group::default()
        };
        let mut group = std::mem::replace(&mut self.next, next);
        let batches = std::mem::take(&mut group.batches);
        group.slots = batches.iter().map(|batch| batch.slot).collect();
        self.in_flight = Some(group);
        Some(batches)
    }

    /// Debts that wait for nothing: no commit is under way or gathers.
    fn idle_debts(&mut self) -> Vec<DebtId> {
        match self.is_pending() {
            true => Vec::new(),
            false => std::mem::take(&mut self.next.debts),
        }
    }
}

impl Shard {
    /// The commit in flight has ended: releases what waited for it.
    pub(super) fn committed(&mut self, failed: &[(Slot, store::Error)]) {
        let Some(group) = self.commits.in_flight.take() else {
            return;
        };
        for (slot, error) in failed {
            metrics::failed_commit();
            tracing::error!(%slot, %error, "commit failed");
            if matches!(error, store::Error::Fenced { .. }) {
                self.outputs.push(Output::Fenced(*slot));
                self.lose(*slot);
            }
            self.leave_later(*slot);
        }
        let is_lost = |slot: Slot| failed.iter().any(|(known, _)| *known == slot);
        for place in group.places {
            let Some(mut resident) = self.residents.take(place) else {
                continue;
            };
            match is_lost(resident.slot) {
                false => {
                    self.release(place, &mut resident, group.ticket);
                    self.leave_if_idle(place, &mut resident);
                }
                true => self.revoke(place, &mut resident),
            }
            self.read_if_due(&mut resident);
            self.residents.put(place, resident);
        }
        match failed.is_empty() {
            true => group
                .debts
                .into_iter()
                .for_each(|debt| self.emit(Output::Pay(debt))),
            false => {
                self.commits.next.debts.extend(group.debts);
                failed.iter().for_each(|(slot, _)| self.guard(*slot));
            }
        }
        self.leave_if_done();
    }

    /// What waits for a sleeping session is written again. One that has woken meanwhile is given it
    /// by its edge: who waits for that waits until the edge has it.
    fn guard(&mut self, slot: Slot) {
        let debts = &mut self.debts;
        let of_slot = |debt: &mut DebtId| debts.slot_of(*debt) == Some(slot);
        let guarded: Vec<DebtId> = self.commits.next.debts.extract_if(.., of_slot).collect();
        if guarded.is_empty() {
            return;
        }
        let mut keeps = Vec::new();
        for place in self.residents.of_slot(slot) {
            let sessions = self.residents.get_mut(place).into_iter();
            for session in sessions.flat_map(|resident| &resident.account.sessions) {
                if let At::Edge(edge, connection) = session.at
                    && session.outbox.unacked().next().is_some()
                {
                    let state = record::encode(session, &self.shared.pipeline.keepers, 0);
                    keeps.push((edge, ToEdge::Keep { connection, state }));
                }
            }
        }
        let name = self.commits.guard(slot, guarded);
        let debt = self.debts.open(slot, Creditor::Guarded(name), None);
        for (edge, body) in keeps {
            // Behind all that it was given so far.
            if let Some(frame) = self.frame(slot, body) {
                self.owe(Some(debt));
                self.outputs.push(Output::ToEdge(edge, frame, Some(debt)));
            }
        }
        self.emit(Output::Pay(debt));
    }

    fn release(&mut self, place: Place, resident: &mut Resident, ticket: u64) {
        while resident
            .held
            .front()
            .is_some_and(|held| held.ticket <= ticket)
        {
            let Some(held) = resident.held.pop_front() else {
                break;
            };
            self.followed_to_commit(held.followed, "stored");
            for output in held.outputs {
                self.emit_for(place, resident, output);
            }
        }
        if resident.held.is_empty() {
            resident.cuts.clear();
        }
    }

    /// A commit failed: everyone whose write is lost hears of it, what only waited goes out, and
    /// the account is read again, because memory is ahead of the store.
    fn revoke(&mut self, place: Place, resident: &mut Resident) {
        let held: VecDeque<Held> = std::mem::take(&mut resident.held);
        for held in held {
            let Held {
                mut outputs,
                cause,
                debt,
                followed,
                ..
            } = held;
            let failed = cause.is_some();
            self.followed_to_commit(followed, if failed { "failed" } else { "stored" });
            if failed {
                self.undo(place, resident, cause.as_ref(), &mut outputs);
            }
            if let Some(source) = cause.as_ref().and_then(Cause::routed_source) {
                // Before the marks are stored with a session.
                resident.account.marks.forget(source);
            }
            let told =
                cause.map(|cause| cause.failure(resident, self, Condition::ResourceConstraint));
            match debt.and_then(|debt| self.debts.close(debt)) {
                // The session is in memory: its edge keeps it too until it is stored.
                Some(creditor @ Creditor::Departure(..)) => {
                    let debt = self.debts.open(resident.slot, creditor, None);
                    self.commits.owe(Some(debt));
                }
                creditor => self.tell_instead(resident.slot, told.unwrap_or_default(), creditor),
            }
            // A session that has ended stays so: its client must not go on talking to nobody.
            outputs.retain(|output| !failed || output.outlives_failure());
            for output in outputs {
                match output {
                    // What it waited behind is not stored.
                    Output::Pay(debt) if self.debts.is_of_departure(debt) => {
                        self.commits.owe(Some(debt));
                    }
                    other => self.emit_for(place, resident, other),
                }
            }
        }
        let owner = &resident.account.jid;
        for batch in &mut self.commits.next.batches {
            batch.writes.retain(|(known, _)| known != owner);
        }
        let next = &mut self.commits.next;
        next.batches.retain(|batch| !batch.writes.is_empty());
        self.cut_again(place, resident);
        // What waits for them is in memory, and must be in the store, before anyone who waits for
        // that is told with the next group.
        let sessions = resident.account.sessions.iter();
        let away: Vec<_> = sessions
            .filter(|known| known.is_away())
            .map(|known| known.id)
            .collect();
        for session in away {
            self.handle(place, resident, Work::Sleep(session), self.now);
        }
        match resident.is_loading {
            true => self.refuse_waiting(place, resident),
            false => self.reload(resident),
        }
    }

    /// Logs are cut once more; the account is read after that.
    fn cut_again(&mut self, place: Place, resident: &mut Resident) {
        let Some(epoch) = self.epoch_of(resident.slot) else {
            return;
        };
        for (log, through) in &resident.cuts {
            let owner = resident.account.jid.clone();
            let (log, through) = (*log, *through);
            let write = Write::Truncate { log, through };
            let ticket = self.commits.add(resident.slot, epoch, place, owner, write);
            resident.held.push_back(Held::new(ticket, None, None));
        }
    }

    /// What a handler has done to sessions is not stored: one that began has not, and one that
    /// ended is there until it can end.
    fn undo(
        &mut self,
        place: Place,
        resident: &mut Resident,
        cause: Option<&Cause>,
        outputs: &mut Vec<Output>,
    ) {
        if let Some(Cause::Binding(edge, connection)) = cause {
            let begun = At::Edge(*edge, *connection);
            let sessions = &mut self.sessions;
            resident.account.sessions.retain(|known| {
                let is_kept = known.at != begun;
                if !is_kept {
                    sessions.remove(&known.id);
                }
                is_kept
            });
        }
        let ended = outputs.extract_if(.., |output| matches!(output, Output::Ended(_)));
        for output in ended.collect::<Vec<_>>() {
            let Output::Ended(mut session) = output else {
                continue;
            };
            session.at = At::Nowhere(0);
            self.sessions.insert(session.id, place);
            self.asleep.insert((0, session.id));
            resident.account.sessions.push(session);
        }
    }

    /// Ends a round: starts a commit if there is something to write, and tells edges how far
    /// their sessions' stanzas have taken effect and what to keep, once for each session.
    pub fn flush(&mut self) {
        self.work_off();
        for (session, by) in std::mem::take(&mut self.kept) {
            let slot = self.resident_of(session).map(|resident| resident.slot);
            if slot.is_none_or(|slot| self.tenures.of(slot).is_handed_on()) {
                // What is stored now is for the next owner.
                continue;
            }
            if let Some(place) = self.sessions.get(&session).copied() {
                self.run_at(place, Work::Kept(session, by), self.now);
            }
        }
        for debt in self.commits.idle_debts() {
            self.emit(Output::Pay(debt));
        }
        self.settle();
        if let Some(batches) = self.commits.start() {
            self.outputs.push(Output::Commit(batches));
        }
        let mut progressed = std::mem::take(&mut self.progressed);
        progressed.sort_unstable();
        progressed.dedup();
        for session in progressed.drain(..) {
            self.flush_session(session, false, |session, _| ToEdge::Taken {
                connection: session.1,
                number: session.0.progress.taken(),
            });
        }
        self.progressed = progressed;
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        for session in changed.drain(..) {
            self.flush_session(session, true, |session, keepers| ToEdge::Keep {
                connection: session.1,
                state: record::encode(session.0, keepers, 0),
            });
        }
        self.changed = changed;
    }

    /// Tells a session's edge something, if it has one. When it then keeps the session, the store
    /// need not.
    fn flush_session(
        &mut self,
        id: couplet_proto::link::id::SessionId,
        is_kept: bool,
        say: impl FnOnce(
            (
                &crate::session::Session,
                couplet_proto::link::id::ConnectionId,
            ),
            &crate::session::Keepers,
        ) -> ToEdge,
    ) {
        let shared = self.shared.clone();
        let Some(slot) = self.resident_of(id).map(|resident| resident.slot) else {
            return;
        };
        if self.tenures.of(slot).is_handed_on() {
            // Its edge may die before it has brought the session to the next owner.
            return;
        }
        let Some(resident) = self.resident_of(id) else {
            return;
        };
        let Some(session) = resident.account.session(id) else {
            return;
        };
        let At::Edge(edge, connection) = session.at else {
            return;
        };
        let body = say((session, connection), &shared.pipeline.keepers);
        let mut rows = resident.account.asleep.iter();
        let is_stored = is_kept && rows.any(|(known, _)| *known == id);
        if let Some(frame) = self.frame(slot, body) {
            let creditor = Creditor::Kept(id, (edge, connection));
            let debt = is_stored.then(|| self.debts.open(slot, creditor, None));
            self.outputs.push(Output::ToEdge(edge, frame, debt));
        }
    }

    /// Whether something is written and not yet durable.
    pub fn is_committing(&self) -> bool {
        self.commits.is_pending()
    }
}
