//! Gone: a lane of an edge has ended, with the sessions it carried and what it was owed; or the
//! connection of a session that has ended already.

use couplet_proto::link::id::{ConnectionId, EdgeId, SessionId};
use couplet_proto::slot::Slot;

use super::debts::{Creditor, DebtId};
use super::event::Work;
use super::output::Output;
use super::residents::Place;
use super::state::Shard;
use super::tenure::Tenure;
use crate::session::{At, Session};

impl Shard {
    /// Every session of a lane that is gone has lost its connection.
    pub(super) fn edge_gone(&mut self, edge: EdgeId, unaccepted: Vec<DebtId>) {
        let all = unaccepted.into_iter();
        let unaccepted: Vec<DebtId> = all.flat_map(|debt| self.debts.split(debt)).collect();
        self.login.edge_gone(edge);
        for slot in self.tenures.gathering().to_vec() {
            if let Tenure::Gathering(gathering) = self.tenures.of_mut(slot) {
                gathering.edge_gone(edge);
            }
            self.activate(slot);
        }
        let mut unread: Vec<Place> = Vec::new();
        for (session, place) in self.held_by(edge) {
            self.run_at(place, Work::EdgeLost(session, edge), self.now);
            let resident = self.residents.get_mut(place);
            if resident.is_some_and(|resident| resident.is_loading) {
                unread.push(place);
            }
        }
        // What the edge may not have is stored with its sessions, or goes elsewhere.
        match unread.is_empty() {
            true => unaccepted
                .into_iter()
                .for_each(|debt| self.commits.owe(Some(debt))),
            false => self.owe_later(&unread, unaccepted),
        }
    }

    /// A connection is gone whose session has ended: its edge keeps the session until that is
    /// certain.
    pub(super) fn farewell(&mut self, slot: Slot, (edge, connection): (EdgeId, ConnectionId)) {
        if self.shared.is_clustered {
            let creditor = Creditor::Departure(slot, edge, connection);
            let debt = self.debts.open(slot, creditor, None);
            self.commits.owe(Some(debt));
        }
    }

    /// The sessions of some accounts are stored once those have been read: whoever is owed
    /// something in their slots waits until then.
    fn owe_later(&mut self, unread: &[Place], mut debts: Vec<DebtId>) {
        let mut slots = Vec::new();
        for place in unread {
            let resident = self.residents.get_mut(*place);
            slots.extend(resident.map(|resident| (resident.slot, *place)));
        }
        while let Some((slot, _)) = slots.first().copied() {
            let places = slots.extract_if(.., |(known, _)| *known == slot);
            let places: Vec<Place> = places.map(|(_, place)| place).collect();
            let all = &mut self.debts;
            let of_slot = |debt: &mut DebtId| all.slot_of(*debt) == Some(slot);
            let own: Vec<DebtId> = debts.extract_if(.., of_slot).collect();
            let name = self.commits.guard(slot, own);
            let debt = self.debts.open(slot, Creditor::Guarded(name), None);
            for place in places {
                self.debts.add(debt);
                self.run_at(place, Work::Pay(debt), self.now);
            }
            self.emit(Output::Pay(debt));
        }
        debts
            .into_iter()
            .for_each(|debt| self.commits.owe(Some(debt)));
    }

    /// The sessions that have their connection on a lane, in the order of their ids, not of the
    /// table: the same events give the same outputs.
    fn held_by(&mut self, edge: EdgeId) -> Vec<(SessionId, Place)> {
        let mut held: Vec<(SessionId, Place)> = Vec::new();
        for (session, place) in &self.sessions {
            let resident = self.residents.get_mut(*place);
            let known = resident.and_then(|resident| resident.account.session(*session));
            if known.is_some_and(|known| is_held_by(known, edge)) {
                held.push((*session, *place));
            }
        }
        held.sort_unstable();
        held
    }
}

/// Whether a session has its connection on this lane, or is about to.
fn is_held_by(session: &Session, edge: EdgeId) -> bool {
    matches!(session.whereabouts(), At::Edge(at, _) if at == edge)
}
