//! Event → the account it is for → the handler.

use std::panic::{AssertUnwindSafe, catch_unwind};

use couplet_proto::Jid;
use couplet_proto::link::frame::{Detached, Frame, ToOrigin};
use couplet_proto::link::id::{EdgeId, SessionId};
use couplet_proto::xmpp::error::Condition;
use couplet_proto::{Kind, Stanza, Type};

use super::event::{Event, Work};
use super::output::Output;
use super::residents::{Place, Resident};
use super::state::{Settled, Shard};
use super::work::{self, Cause};
use crate::auth::Credentials;
use crate::clock::Now;
use crate::hooks::Ctx;
use crate::metrics;
use crate::session::{Account, AccountSlots};
use crate::store::{self, CREDENTIALS, Snapshot};

/// How many events may wait for one account to be read; more are refused with
/// `resource-constraint`. Those of its own sessions, which their credit bounds, are not: one
/// refused would be told before those that wait.
const WAITING_MAX: usize = 1024;

impl Shard {
    /// Handles one event and everything it causes within this shard.
    pub fn step(&mut self, event: Event, now: Now) {
        match event {
            Event::FromEdge(edge, frame) => self.take_frame(edge, frame, now),
            Event::EdgeGone(edge) => self.edge_gone(edge, now),
            Event::Routed(routed) => self.local.push_back(routed),
            Event::Settled(settled) => {
                self.settled.extend(settled.into_iter().map(Settled::one));
            }
            Event::Loaded(jid, result) => self.loaded(&jid, result, now),
            Event::Answered(jid, answered) => self.run(&jid, Work::Answered(answered), now),
            Event::Verified(jid, verified) => self.run(&jid, Work::Verified(verified), now),
            Event::Committed(result) => self.committed(&result),
            Event::Admin(jid, request) => self.run(&jid, Work::Admin(request), now),
            Event::Tick => self.tick(now),
        }
        self.settle();
        while let Some(routed) = self.local.pop_front() {
            self.routed(routed, now);
            self.settle();
        }
    }

    fn take_frame(&mut self, edge: EdgeId, frame: Frame<ToOrigin>, now: Now) {
        // The fence: an edge that knows another owner's epoch speaks to that owner.
        if !self.runs(frame.slot) || self.epoch_of(frame.slot) != Some(frame.epoch) {
            metrics::stale_frame();
            tracing::warn!(slot = %frame.slot, epoch = %frame.epoch, "frame of a stale epoch");
            return;
        }
        match frame.body {
            ToOrigin::Stanza {
                session,
                number,
                stanza,
            } => {
                // A session that has just ended may still have stanzas on their way.
                if let Some(place) = self.sessions.get(&session).copied() {
                    let work = Work::Stanza {
                        session,
                        number,
                        stanza,
                    };
                    self.run_at(place, work, now);
                }
            }
            ToOrigin::Detach { session, reason } => {
                if let Some(place) = self.sessions.get(&session).copied() {
                    self.run_at(place, Work::Detach(session, reason), now);
                }
            }
            ToOrigin::Authenticate(connection, request) => {
                let jid = request.account.clone();
                self.run(&jid, Work::Authenticate(edge, connection, request), now);
            }
            ToOrigin::Respond {
                connection,
                account,
                data,
            } => self.run(&account, Work::Respond(edge, connection, data), now),
            ToOrigin::Abort {
                connection,
                account,
            } => self.run(&account, Work::Abort(edge, connection), now),
            ToOrigin::Register(connection, request) => {
                let jid = request.account.clone();
                self.run(&jid, Work::Register(edge, connection, request), now);
            }
            ToOrigin::Bind(connection, request) => {
                let jid = request.account.clone();
                self.run(&jid, Work::Bind(edge, connection, request), now);
            }
        }
    }

    /// Every session of an edge that is gone has lost its connection.
    fn edge_gone(&mut self, edge: EdgeId, now: Now) {
        self.login.edge_gone(edge);
        let mut lost: Vec<(SessionId, Place)> = Vec::new();
        for (session, place) in &self.sessions {
            let account = self
                .residents
                .get_mut(*place)
                .map(|resident| &resident.account);
            let known = account.and_then(|account| account.session(*session));
            if known.is_some_and(|known| known.edge == edge) {
                lost.push((*session, *place));
            }
        }
        // In the order of ids, not of the table: the same events give the same outputs.
        lost.sort_unstable();
        for (session, place) in lost {
            self.run_at(place, Work::Detach(session, Detached::Lost), now);
        }
    }

    fn routed(&mut self, routed: super::event::Routed, now: Now) {
        let Some(to) = routed.stanza.to.clone() else {
            return;
        };
        if self.residents.find(to.bare()).is_none() && concerns_sessions_only(&routed.stanza) {
            // Nobody is there, and nothing would be kept: no need to read the account.
            if let Some(receipt) = routed.receipt {
                self.emit(Output::Settle(receipt));
            }
            return;
        }
        self.run(&to, Work::Routed(routed), now);
    }

    /// Runs `work` on the account of `jid`, which is read first if it is not in memory.
    fn run(&mut self, jid: &Jid, work: Work, now: Now) {
        let place = match self.residents.find(jid.bare()) {
            Some(place) => place,
            None => {
                let bare = jid.to_bare();
                let slot = self.slot_of(&bare);
                self.outputs.push(Output::Load(slot, bare.clone()));
                self.residents.insert(Account::new(bare), slot)
            }
        };
        self.run_at(place, work, now);
    }

    fn run_at(&mut self, place: Place, work: Work, now: Now) {
        let Some(mut resident) = self.residents.take(place) else {
            return;
        };
        if resident.is_loading {
            match resident.waiting.len() < WAITING_MAX || work.is_of_session() {
                true => resident.waiting.push_back(work),
                false => self.fail(&mut resident, work, Condition::ResourceConstraint),
            }
        } else {
            self.handle(place, &mut resident, work, now);
        }
        self.residents.put(place, resident);
        self.settle();
    }

    /// Runs one handler, contained: a panic costs the stanza that caused it.
    fn handle(&mut self, place: Place, resident: &mut Resident, work: Work, now: Now) {
        if work
            .stanza()
            .is_some_and(|stanza| self.quarantine.holds(stanza))
        {
            return self.fail(resident, work, Condition::InternalServerError);
        }
        let cause = Cause::of(&work);
        let stanza = work.stanza().cloned();
        let ending = match &work {
            Work::Detach(session, _) => Some(*session),
            _ => None,
        };
        let existed = resident.account.exists();
        resident.account.touched = now.mono;
        let shared = self.shared.clone();
        let mut ctx = Ctx::new(
            now,
            &shared,
            &mut resident.account,
            None,
            &mut self.effects,
            &mut self.rng,
        );
        let login = &mut self.login;
        let ran = catch_unwind(AssertUnwindSafe(|| work::perform(&mut ctx, login, work)));
        if ran.is_ok() {
            self.conclude(place, resident, &cause);
            if existed && !resident.account.exists() {
                self.login.forget(&resident.account.jid);
            }
            self.leave_if_idle(place, resident);
            return;
        }
        metrics::handler_panic();
        self.effects.clear();
        if let Some(stanza) = &stanza {
            self.quarantine.record(stanza);
        }
        tracing::error!(
            account = %resident.account.jid,
            "a handler panicked; its stanza is refused and the account is read again"
        );
        for output in cause.failure(resident, self, Condition::InternalServerError) {
            self.emit(output);
        }
        // A session that was beginning has not begun, one that was ending has ended.
        if let Some(session) = ending {
            self.sessions.remove(&session);
        }
        let (sessions, account) = (&mut self.sessions, &mut resident.account);
        account
            .sessions
            .retain(|known| sessions.contains_key(&known.id));
        sessions.retain(|id, home| *home != place || account.session(*id).is_some());
        self.reload(resident);
    }

    /// What is in memory may be half changed: read the account again, keep its sessions.
    pub(super) fn reload(&mut self, resident: &mut Resident) {
        resident.is_loading = true;
        resident.is_read_due = true;
        self.read_if_due(resident);
    }

    /// Reads an account again once all that it has written is stored: read before, it would lack
    /// what is on its way.
    pub(super) fn read_if_due(&mut self, resident: &mut Resident) {
        if resident.is_read_due && resident.held.is_empty() {
            resident.is_read_due = false;
            let jid = resident.account.jid.clone();
            self.outputs.push(Output::Load(resident.slot, jid));
        }
    }

    fn loaded(&mut self, jid: &Jid, result: Result<Snapshot, store::Error>, now: Now) {
        let Some(place) = self.residents.find(jid.bare()) else {
            return;
        };
        let Some(mut resident) = self.residents.take(place) else {
            return;
        };
        let read = result.map_err(|error| error.to_string());
        let read = read.and_then(|snapshot| self.fill(&mut resident.account, &snapshot));
        match read {
            Ok(()) => {
                resident.is_loading = false;
                while let Some(work) = resident.waiting.pop_front() {
                    self.handle(place, &mut resident, work, now);
                    if resident.is_loading {
                        break;
                    }
                }
                self.leave_if_idle(place, &mut resident);
            }
            Err(error) => {
                tracing::error!(account = %jid, %error, "account cannot be read");
                let waiting = std::mem::take(&mut resident.waiting);
                for work in waiting {
                    match matches!(work, Work::Detach(..) | Work::CatchUp(_)) {
                        true => resident.waiting.push_back(work),
                        false => self.fail(&mut resident, work, Condition::ResourceConstraint),
                    }
                }
                if resident.account.sessions.is_empty() {
                    self.residents.put(place, resident);
                    return self.residents.remove(place);
                }
                self.unread.push(place);
            }
        }
        self.residents.put(place, resident);
    }

    fn fill(&self, account: &mut Account, snapshot: &Snapshot) -> Result<(), String> {
        let row = snapshot
            .rows
            .iter()
            .find(|(table, ..)| *table == CREDENTIALS.id);
        let credentials = row
            .map(|(.., value)| Credentials::decode(value))
            .transpose();
        let credentials = credentials.map_err(|error| format!("credentials: {error}"))?;
        let mut slots = AccountSlots::default();
        for load in &self.shared.pipeline.load {
            load(&account.jid, snapshot, &mut slots)?;
        }
        account.credentials = credentials.map(Box::new);
        account.slots = slots;
        Ok(())
    }

    /// Tells whoever waits for `work` that it cannot be done.
    fn fail(&mut self, resident: &mut Resident, work: Work, condition: Condition) {
        let cause = Cause::of(&work);
        for output in cause.failure(resident, self, condition) {
            self.emit(output);
        }
        if let Work::Admin(request) = work {
            let error = crate::admin::Error::Store("the account cannot be read".to_owned());
            let _ = request.reply.send(Err(error));
        }
    }

    /// Notes that an account may leave memory some time from now.
    pub(super) fn leave_if_idle(&mut self, place: Place, resident: &mut Resident) {
        if !resident.is_idle() || resident.is_queued {
            return;
        }
        resident.is_queued = true;
        match resident.account.exists() {
            true => self.idle.push_back((resident.account.touched, place)),
            // Somebody tries addresses: what is not there must not fill the memory.
            false => self.idle.push_front((0, place)),
        }
    }

    fn tick(&mut self, now: Now) {
        self.login.tick(now);
        let idle_ms = self.shared.config.limits.account_idle_secs * 1000;
        while let Some((since, place)) = self.idle.front().copied() {
            if since > 0 && now.mono.saturating_sub(since) < idle_ms {
                break;
            }
            self.idle.pop_front();
            let Some(resident) = self.residents.get_mut(place) else {
                continue;
            };
            resident.is_queued = false;
            if !resident.is_idle() {
                continue;
            }
            let since = resident.account.touched;
            if resident.account.exists() && now.mono.saturating_sub(since) < idle_ms {
                resident.is_queued = true;
                self.idle.push_back((since, place));
                continue;
            }
            self.residents.remove(place);
        }
        for session in std::mem::take(&mut self.paced) {
            if let Some(place) = self.sessions.get(&session).copied() {
                self.run_at(place, Work::CatchUp(session), now);
            }
        }
        for place in std::mem::take(&mut self.unread) {
            if let Some(resident) = self.residents.get_mut(place) {
                let load = Output::Load(resident.slot, resident.account.jid.clone());
                self.outputs.push(load);
            }
        }
    }
}

/// Whether a stanza matters only to sessions: an account without any need not be read for it.
fn concerns_sessions_only(stanza: &Stanza) -> bool {
    matches!(
        (stanza.kind, stanza.type_),
        (Kind::Presence, Type::Available | Type::Unavailable)
            | (Kind::Iq, Type::Result)
            | (_, Type::Error)
    )
}
