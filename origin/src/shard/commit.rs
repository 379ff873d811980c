//! Group commit: nothing durable is delivered or acknowledged before it.
//!
//! One commit is in flight at a time; what is written meanwhile becomes the next one. So a slow
//! store makes larger groups instead of a longer queue.

use std::collections::VecDeque;
use std::sync::Arc;

use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::id::SessionId;
use couplet_proto::slot::Slot;
use couplet_proto::xmpp::error::Condition;
use couplet_proto::{Jid, Stanza};

use super::event::{Receipt, Routed};
use super::output::Output;
use super::residents::{Place, Resident};
use super::state::{Settled, Shard};
use super::work::Cause;
use crate::hooks::context::Effect;
use crate::metrics;
use crate::route::bounce;
use crate::store::{self, Batch, Write};

/// What one handler sent, waiting for a commit.
#[derive(Debug)]
pub(super) struct Held {
    /// The commit it waits for.
    ticket: u64,
    outputs: Vec<Output>,
    /// Who hears of it instead when that commit fails. `None`: it wrote nothing itself and only
    /// keeps its place behind something that did.
    cause: Option<Cause>,
}

/// The commit in flight and the one that gathers.
#[derive(Debug, Default)]
pub(super) struct Commits {
    in_flight: Option<Group>,
    next: Group,
}

#[derive(Debug, Default)]
struct Group {
    ticket: u64,
    batches: Vec<Batch>,
    places: Vec<Place>,
}

// === impl Commits ===

impl Commits {
    fn add(&mut self, slot: Slot, epoch: Epoch, place: Place, owner: Jid, write: Write) {
        let batch = match self
            .next
            .batches
            .iter()
            .position(|batch| batch.slot == slot)
        {
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
    }

    /// Whether something is written and not yet durable.
    fn is_pending(&self) -> bool {
        self.in_flight.is_some() || !self.next.batches.is_empty()
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
        self.in_flight = Some(group);
        Some(batches)
    }
}

impl Shard {
    /// Turns what a handler pushed into outputs, held where they must wait.
    pub(super) fn conclude(&mut self, place: Place, resident: &mut Resident, cause: &Cause) {
        let mut effects = std::mem::take(&mut self.effects);
        let (receipt, mut owed) = match cause {
            Cause::Client(session, number, _) => (Some(self.receipt(*session, *number)), None),
            Cause::Routed(_, receipt) | Cause::Request(_, receipt) => (None, *receipt),
            _ => (None, None),
        };
        let mut routes = 0;
        let mut has_written = false;
        for effect in effects.drain(..) {
            let output = match effect {
                Effect::Write(write) => {
                    self.wrote(place, resident, cause, write, has_written);
                    has_written = true;
                    continue;
                }
                Effect::Route(stanza, entered) => match self.destination(stanza) {
                    Some(stanza) => {
                        routes += u32::from(receipt.is_some());
                        self.route_output(stanza, entered, receipt)
                    }
                    None => continue,
                },
                Effect::ToEdge(edge, body) => match self.frame(resident.slot, body) {
                    Some(frame) => Output::ToEdge(edge, frame),
                    None => continue,
                },
                Effect::Ask(ask, asked, then) => {
                    // A request has taken effect when it is answered: until then it costs its
                    // sender credit, or questions would pile up.
                    let waits = match asked.request.is_some() {
                        true => receipt.or_else(|| owed.take()),
                        false => None,
                    };
                    routes += u32::from(waits.is_some() && waits == receipt);
                    let jid = resident.account.jid.clone();
                    Output::Ask(resident.slot, jid, ask, asked, then, waits)
                }
                Effect::Verify(edge, connection, check) => {
                    Output::Verify(resident.account.jid.clone(), edge, connection, check)
                }
                Effect::Opened(session) => {
                    self.sessions.insert(session, place);
                    continue;
                }
                Effect::Ended(session) => {
                    self.sessions.remove(&session);
                    continue;
                }
                Effect::Paced(session) => {
                    self.paced.push(session);
                    continue;
                }
                Effect::Reply(answering) => Output::Reply(answering),
            };
            self.hold_or_emit(resident, output, has_written);
        }
        self.effects = effects;
        if let Some(receipt) = owed {
            self.hold_or_emit(resident, Output::Settle(receipt), has_written);
        }
        if let Some(receipt) = receipt {
            self.account_for(resident, receipt, routes, has_written);
        }
    }

    /// Notes what has still to happen before a client's stanza has taken effect: so many routes
    /// and answers, and what is held.
    fn account_for(
        &mut self,
        resident: &mut Resident,
        receipt: Receipt,
        routes: u32,
        has_written: bool,
    ) {
        let waits = u32::from(!resident.held.is_empty());
        if waits > 0 {
            self.hold_or_emit(resident, Output::Settle(receipt), has_written);
        }
        let session = resident.account.session_mut(receipt.session);
        let progress = session.map(|known| &mut known.progress);
        if progress.is_some_and(|progress| progress.handled(receipt.number, routes + waits)) {
            self.progressed.push(receipt.session);
        }
    }

    /// A handler writes: what it sends from here on waits for the commit that gathers now.
    fn wrote(
        &mut self,
        place: Place,
        resident: &mut Resident,
        cause: &Cause,
        write: Write,
        has_written: bool,
    ) {
        let Some(epoch) = self.epoch_of(resident.slot) else {
            return;
        };
        let ticket = self.commits.next.ticket;
        let owner = resident.account.jid.clone();
        self.commits.add(resident.slot, epoch, place, owner, write);
        if !has_written {
            resident.held.push_back(Held {
                ticket,
                outputs: Vec::new(),
                cause: Some(cause.clone()),
            });
        }
    }

    fn hold_or_emit(&mut self, resident: &mut Resident, output: Output, has_written: bool) {
        match resident.held.back_mut() {
            None => self.emit(output),
            Some(held) if has_written || held.cause.is_none() => held.outputs.push(output),
            // This handler wrote nothing: it keeps its place behind one that did, but not its
            // fate.
            Some(held) => {
                let follower = Held {
                    ticket: held.ticket,
                    outputs: vec![output],
                    cause: None,
                };
                resident.held.push_back(follower);
            }
        }
    }

    /// Releases an output: within the shard, or to whoever carries it out.
    pub(super) fn emit(&mut self, output: Output) {
        match output {
            Output::Route(slot, routed) if self.runs(slot) => self.local.push_back(routed),
            Output::Settle(receipt) if receipt.shard == self.id => {
                let settled = Settled::one((receipt.session, receipt.number));
                self.settled.push(settled);
            }
            Output::Finish(receipt) => self.settled.push(Settled {
                session: receipt.session,
                number: receipt.number,
                is_final: true,
            }),
            other => self.outputs.push(other),
        }
    }

    /// Tells sessions of this shard what has taken effect.
    pub(super) fn settle(&mut self) {
        while let Some(settled) = self.settled.pop() {
            let session = settled.session;
            let place = self.sessions.get(&session).copied();
            let Some(resident) = place.and_then(|place| self.residents.get_mut(place)) else {
                continue;
            };
            let Some(known) = resident.account.session_mut(session) else {
                continue;
            };
            let has_advanced = match settled.is_final {
                false => known.progress.settled(settled.number),
                true => known.progress.finished(settled.number),
            };
            if has_advanced {
                self.progressed.push(session);
            }
        }
    }

    /// The commit in flight has ended: releases what waited for it.
    pub(super) fn committed(&mut self, result: &Result<(), store::Error>) {
        let Some(group) = self.commits.in_flight.take() else {
            return;
        };
        if let Err(error) = result {
            metrics::failed_commit();
            tracing::error!(%error, accounts = group.places.len(), "commit failed");
            if let store::Error::Fenced { slot } = error {
                self.outputs.push(Output::Fenced(*slot));
            }
        }
        for place in group.places {
            let Some(mut resident) = self.residents.take(place) else {
                continue;
            };
            match result {
                Ok(()) => {
                    self.release(&mut resident, group.ticket);
                    self.leave_if_idle(place, &mut resident);
                }
                Err(_) => self.revoke(&mut resident),
            }
            self.read_if_due(&mut resident);
            self.residents.put(place, resident);
        }
    }

    fn release(&mut self, resident: &mut Resident, ticket: u64) {
        while resident
            .held
            .front()
            .is_some_and(|held| held.ticket <= ticket)
        {
            let held = resident.held.pop_front().map(|held| held.outputs);
            held.into_iter()
                .flatten()
                .for_each(|output| self.emit(output));
        }
    }

    /// A commit failed: everyone whose write is lost hears of it, what only waited goes out, and
    /// the account is read again, because memory is ahead of the store.
    fn revoke(&mut self, resident: &mut Resident) {
        let held: VecDeque<Held> = std::mem::take(&mut resident.held);
        for held in held {
            let Held { outputs, cause, .. } = held;
            let failed = cause.is_some();
            if let Some(cause) = cause {
                let told = cause.failure(resident, self, Condition::ResourceConstraint);
                told.into_iter().for_each(|output| self.emit(output));
            }
            // A session that has ended stays so: its client must not go on talking to nobody.
            let mut outputs = outputs;
            outputs.retain(|output| !failed || output.ends_stream());
            outputs.into_iter().for_each(|output| self.emit(output));
        }
        let owner = &resident.account.jid;
        for batch in &mut self.commits.next.batches {
            batch.writes.retain(|(known, _)| known != owner);
        }
        self.commits
            .next
            .batches
            .retain(|batch| !batch.writes.is_empty());
        if !resident.is_loading {
            self.reload(resident);
        }
    }

    /// Ends a round: starts a commit if there is something to write, and tells edges how far
    /// their sessions' stanzas have taken effect, once for each session.
    pub fn flush(&mut self) {
        if let Some(batches) = self.commits.start() {
            self.outputs.push(Output::Commit(batches));
        }
        let mut progressed = std::mem::take(&mut self.progressed);
        progressed.sort_unstable();
        progressed.dedup();
        for session in progressed.drain(..) {
            let place = self.sessions.get(&session).copied();
            let Some(resident) = place.and_then(|place| self.residents.get_mut(place)) else {
                continue;
            };
            let slot = resident.slot;
            let Some(known) = resident.account.session(session) else {
                continue;
            };
            let edge = known.edge;
            let taken = ToEdge::Taken {
                connection: known.connection,
                number: known.progress.taken(),
            };
            if let Some(frame) = self.frame(slot, taken) {
                self.outputs.push(Output::ToEdge(edge, frame));
            }
        }
        self.progressed = progressed;
    }

    /// Whether something is written and not yet durable.
    pub fn is_committing(&self) -> bool {
        self.commits.is_pending()
    }

    /// A frame under the fence of the slot it speaks for; `None` when the slot is not ours.
    pub(super) fn frame(&self, slot: Slot, body: ToEdge) -> Option<Frame<ToEdge>> {
        let epoch = self.epoch_of(slot)?;
        Some(Frame { slot, epoch, body })
    }

    pub(super) fn receipt(&self, session: SessionId, number: u64) -> Receipt {
        Receipt {
            shard: self.id,
            session,
            number,
        }
    }

    pub(super) fn route_output(
        &self,
        stanza: Arc<Stanza>,
        entered: u64,
        receipt: Option<Receipt>,
    ) -> Output {
        let slot = stanza.to.as_ref().map(|to| self.slot_of(to));
        let slot = slot.expect("a routed stanza has a receiver");
        let routed = Routed {
            stanza,
            entered,
            receipt,
        };
        Output::Route(slot, routed)
    }

    /// Where a stanza goes: on, or back to its sender when nobody serves its domain; `None` when
    /// it ends here.
    fn destination(&self, stanza: Arc<Stanza>) -> Option<Arc<Stanza>> {
        let to = stanza.to.as_ref()?;
        if !self.shared.is_local(to.domain()) {
            let bounced = bounce::no_such_host(&stanza)?;
            let back = bounced
                .to
                .as_ref()
                .is_some_and(|to| self.shared.is_local(to.domain()));
            return back.then(|| Arc::new(bounced));
        }
        // The server itself has no account: what is for it has been answered on the way.
        to.local().is_some().then_some(stanza)
    }
}
