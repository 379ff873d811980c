//! Release: outputs leave, held where they must wait, and what has to happen before a sender is
//! told.

use std::sync::Arc;

use couplet_proto::Stanza;
use couplet_proto::link::frame::{Delivery, Frame, ToEdge, repeated};
use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId, Source};
use couplet_proto::slot::Slot;
use couplet_proto::xmpp::error::StreamCondition;

use super::commit::Held;
use super::debts::{Creditor, DebtId};
use super::event::{Receipt, Routed, Work};
use super::output::Output;
use super::residents::{Place, Resident};
use super::routes::Pending;
use super::state::{Local, Shard};
use crate::onlook::Way;
use crate::session::outbox::Entry;
use crate::session::sleeping::entry_key;
use crate::session::{At, record};
use crate::store::{SLEEPING, Write};

impl Shard {
    pub(super) fn hold_or_emit(
        &mut self,
        place: Place,
        resident: &mut Resident,
        output: Output,
        has_written: bool,
    ) {
        match resident.held.back_mut() {
            None => self.emit_for(place, resident, output),
            Some(held) if has_written || held.cause.is_none() => held.outputs.push(output),
            // This handler wrote nothing: it keeps its place behind one that did, but not its
            // fate.
            Some(held) => {
                let mut follower = Held::new(held.ticket, None, None);
                follower.outputs.push(output);
                resident.held.push_back(follower);
            }
        }
    }

    /// Releases an output of an account.
    pub(super) fn emit_for(&mut self, place: Place, resident: &mut Resident, output: Output) {
        match output {
            Output::Send(stanza, entered, source, debt) => {
                self.send(resident.slot, stanza, entered, source, debt);
            }
            Output::Fanning(fan, debt) => self.fan(resident.slot, fan, debt),
            Output::Deliver(session, entry, entered, debt) => {
                self.deliver(place, resident, session, *entry, entered, debt);
            }
            Output::Reached(session, edge, connection, after) => {
                self.reached(resident, session, (edge, connection), after);
            }
            // What it sent before is on its way.
            Output::Ended(_) => {}
            Output::ToEdge(edge, frame, debt) => {
                self.keep_first(resident, edge, &frame.body);
                self.outputs.push(Output::ToEdge(edge, frame, debt));
            }
            Output::Follow(session, debt) => self.follow(resident, session, debt),
            Output::Enabled(session) => {
                if let Some(known) = resident.account.session_mut(session) {
                    let delivered = known.outbox.delivered();
                    if let Some(managed) = &mut known.managed {
                        managed.delivered = delivered;
                    }
                    self.changed.push(session);
                }
            }
            other => self.emit(other),
        }
    }

    /// What an edge must keep of a session comes before the session: its owner may die in between.
    fn keep_first(&mut self, resident: &Resident, edge: EdgeId, body: &ToEdge) {
        let (known, connection) = match body {
            ToEdge::Bound {
                session,
                connection,
                ..
            }
            | ToEdge::Resumed {
                session,
                connection,
                ..
            } => (resident.account.session(*session), *connection),
            ToEdge::Enabled { connection, .. } => {
                let place = At::Edge(edge, *connection);
                let mut sessions = resident.account.sessions.iter();
                let known = sessions.find(|known| known.whereabouts() == place);
                (known.map(|known| &**known), *connection)
            }
            _ => return,
        };
        let Some(known) = known.filter(|_| self.shared.is_clustered) else {
            return;
        };
        let keep = ToEdge::Keep {
            connection,
            state: record::encode(known, &self.shared.pipeline.keepers, 0),
        };
        if let Some(frame) = self.frame(resident.slot, keep) {
            self.outputs.push(Output::ToEdge(edge, frame, None));
        }
    }

    /// Releases an output that no account is needed for.
    pub(super) fn emit(&mut self, output: Output) {
        match output {
            Output::Route(slot, routed) if self.runs(slot) => {
                self.local.push_back(Local::One(slot, routed));
            }
            Output::Settle(receipt) if receipt.peer.is_none() && receipt.shard == self.id => {
                self.settled.push(receipt.route);
            }
            Output::Pay(debt) => {
                if let Some(creditor) = self.debts.pay(debt) {
                    self.tell(creditor);
                }
            }
            other => self.outputs.push(other),
        }
    }

    /// Everything a creditor waited for has happened.
    pub(super) fn tell(&mut self, creditor: Creditor) {
        match creditor {
            Creditor::Route(receipt) => self.emit(Output::Settle(receipt)),
            Creditor::Kept(session, by) => self.kept.push((session, by)),
            Creditor::Guarded(name) => self.commits.unguard(name),
            Creditor::Departure(slot, edge, connection) => {
                let number = ToEdge::ALL;
                let body = ToEdge::Taken { connection, number };
                if let Some(frame) = self.frame(slot, body) {
                    self.outputs.push(Output::ToEdge(edge, frame, None));
                }
            }
            Creditor::Former(slot, (edge, connection)) => {
                // XEP-0198 §5: "the server SHOULD send a 'conflict' stream error" there.
                let body = ToEdge::Close {
                    connection,
                    condition: StreamCondition::Conflict,
                    text: Some("resumed by another connection"),
                };
                if let Some(frame) = self.frame(slot, body) {
                    self.outputs.push(Output::ToEdge(edge, frame, None));
                }
            }
            Creditor::Group(group) => {
                for receipt in self.debts.close_group(group) {
                    self.emit(Output::Settle(receipt));
                }
            }
            // Its account may be in use: seen to when the handler has ended.
            Creditor::Session(session, number) => self.finished.push((session, number)),
        }
    }

    /// Sees to routes that have taken effect, to stanzas of own sessions that have, and to those of
    /// sessions that have ended. No account may be in use.
    pub(super) fn settle(&mut self) {
        loop {
            if let Some(route) = self.settled.pop() {
                if let Some(debt) = self.routes.settle(route) {
                    self.emit(Output::Pay(debt));
                }
            } else if let Some((session, number)) = self.finished.pop() {
                let known = self.resident_of(session);
                let known = known.and_then(|resident| resident.account.session_mut(session));
                if known.is_some_and(|known| known.progress.finished(number)) {
                    self.progressed.push(session);
                }
            } else if let Some(receipt) = self.debts.joined() {
                self.emit(Output::Settle(receipt));
            } else if let Some((place, work)) = self.strays.pop_front() {
                self.run_at(place, work, self.now);
            } else {
                return;
            }
        }
    }

    /// Sends a stanza on its way.
    pub(super) fn send(
        &mut self,
        from: Slot,
        stanza: Arc<Stanza>,
        entered: u64,
        source: Option<Source>,
        debt: Option<DebtId>,
    ) {
        let Some(to) = stanza.to.as_ref().map(|to| self.slot_of(to)) else {
            return;
        };
        let pending = Pending {
            from,
            to,
            stanza: stanza.clone(),
            source,
            entered,
            debt,
        };
        let (route, source) = self.routes.add(pending, self.name);
        let receipt = Receipt {
            peer: None,
            shard: self.id,
            route,
        };
        let routed = Routed {
            stanza,
            entered,
            source,
            receipt,
        };
        self.emit(Output::Route(to, routed));
    }

    /// Gives a stanza to a session: to its edge, to the store while it has none, elsewhere when it
    /// has ended meanwhile.
    fn deliver(
        &mut self,
        place: Place,
        resident: &mut Resident,
        id: SessionId,
        mut entry: Entry,
        entered: u64,
        debt: Option<DebtId>,
    ) {
        let slot = resident.slot;
        let Some(session) = resident.account.session_mut(id) else {
            // It has ended before this was released: seen to when the account is free.
            return self
                .strays
                .push_back((place, Work::Astray(Box::new(entry), debt)));
        };
        if !self.shared.is_clustered {
            // Nothing is ever sent again.
            entry.source = None;
        }
        if session.outbox.has(entry.source) {
            if entry.log.is_none() {
                // It stands behind what the edge, or the store, has already.
                match session.at {
                    At::Edge(..) => self.pay(debt),
                    At::Nowhere(_) => self.commits.owe(debt),
                }
                return;
            }
            // It is to be acknowledged, or it would stay in the log for ever.
            entry.stanza = Arc::new(repeated(&session.jid));
            entry.source = None;
        }
        if !self.watches.is_empty() {
            let watches = &mut self.watches;
            watches.note(Way::Delivered, &session.jid, &entry.stanza, self.now);
        }
        match session.at {
            At::Edge(edge, connection) => {
                let delivery = delivery(connection, &entry, entered);
                session.outbox.push(entry);
                session.outbox.give(None);
                match self.frame(slot, ToEdge::Deliver(delivery)) {
                    Some(frame) => self.outputs.push(Output::ToEdge(edge, frame, debt)),
                    None => self.pay(debt),
                }
            }
            At::Nowhere(until) => {
                let value = record::encode_entry(&entry);
                let number = session.outbox.push(entry);
                let limits = &self.shared.config.limits;
                let is_over = session
                    .outbox
                    .is_over(limits.asleep_stanzas, limits.asleep_bytes);
                if is_over && until > 0 {
                    session.at = At::Nowhere(0);
                    self.asleep.remove(&(until, id));
                    self.asleep.insert((0, id));
                }
                resident.account.asleep.push((id, Some(number)));
                let write = Write::Put {
                    table: SLEEPING,
                    key: entry_key(id, number).into(),
                    value,
                };
                let owner = resident.account.jid.clone();
                if let Some(epoch) = self.epoch_of(slot) {
                    self.commits.add(slot, epoch, place, owner, write);
                    self.commits.owe(debt);
                }
            }
        }
    }

    /// A session has its connection here now: it gets what it has not had.
    fn reached(
        &mut self,
        resident: &mut Resident,
        id: SessionId,
        (edge, connection): (EdgeId, ConnectionId),
        after: u64,
    ) {
        let slot = resident.slot;
        let Some(session) = resident.account.session_mut(id) else {
            return;
        };
        if session.due != Some((edge, connection)) {
            // Lost again, or taken up by another, before it got here.
            return;
        }
        session.due = None;
        if let At::Nowhere(until) = session.at {
            self.asleep.remove(&(until, id));
        }
        session.at = At::Edge(edge, connection);
        session.outbox.give(None);
        let lacking = session
            .outbox
            .unacked()
            .filter(|(number, _)| *number > after);
        let again: Vec<Delivery> = lacking
            .map(|(_, entry)| delivery(connection, entry, 0))
            .collect();
        for delivery in again {
            if let Some(frame) = self.frame(slot, ToEdge::Deliver(delivery)) {
                self.outputs.push(Output::ToEdge(edge, frame, None));
            }
        }
        self.changed.push(id);
        self.progressed.push(id);
    }

    /// Pays when the edge of a session has all that it was sent so far.
    fn follow(&mut self, resident: &Resident, id: SessionId, debt: Option<DebtId>) {
        let Some(session) = resident.account.session(id) else {
            return self.pay(debt);
        };
        let At::Edge(edge, connection) = session.at else {
            return self.commits.owe(debt);
        };
        // It says nothing new, and stands behind the rest.
        let body = ToEdge::Taken {
            connection,
            number: 0,
        };
        match self.frame(resident.slot, body) {
            Some(frame) => self.outputs.push(Output::ToEdge(edge, frame, debt)),
            None => self.pay(debt),
        }
    }

    fn pay(&mut self, debt: Option<DebtId>) {
        if let Some(debt) = debt {
            self.emit(Output::Pay(debt));
        }
    }

    /// A frame under the fence of the slot it speaks for; `None` when the slot is not ours. An
    /// exchange that began while it was may end after.
    pub(super) fn frame(&self, slot: Slot, body: ToEdge) -> Option<Frame<ToEdge>> {
        let is_of_exchange = matches!(
            body,
            ToEdge::Challenge { .. } | ToEdge::Authenticated { .. } | ToEdge::Refused { .. }
        );
        let epoch = match self.epoch_of(slot) {
            None if is_of_exchange => couplet_proto::link::epoch::Epoch(0),
            known => known?,
        };
        Some(Frame { slot, epoch, body })
    }
}

fn delivery(connection: ConnectionId, entry: &Entry, entered: u64) -> Delivery {
    Delivery {
        connections: smallvec::smallvec![connection],
        stanza: entry.stanza.clone(),
        source: entry.source,
        log: entry.log,
        entered,
    }
}
