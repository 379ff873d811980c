//! Event → the account it is for → the handler.

use std::panic::{AssertUnwindSafe, catch_unwind};

use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Attach, Frame, ToOrigin};
use couplet_proto::link::id::{EdgeId, SessionId};
use couplet_proto::slot::Slot;
use couplet_proto::xmpp::error::Condition;

use super::event::{Answered, Event, Work, is_for_whoever_is_there};
use super::output::Output;
use super::residents::{Place, Resident};
use super::state::{Local, Shard};
use super::tenure::Tenure;
use super::work::{self, Cause};
use crate::admin::Request;
use crate::clock::Now;
use crate::hooks::Ctx;
use crate::metrics;
use crate::route::attach::Comes;
use crate::session::Account;

/// How many events may wait for one account to be read; more are refused with
/// `resource-constraint`. Those of its own sessions, which their credit bounds, are not: one
/// refused would be told before those that wait.
const WAITING_MAX: usize = 1024;

impl Shard {
    /// Handles one event and everything it causes within this shard.
    pub fn step(&mut self, event: Event, now: Now) {
        self.now = now;
        self.take(event);
        self.settle();
        while let Some(local) = self.local.pop_front() {
            match local {
                Local::One(slot, routed) => self.routed(slot, routed),
                Local::Many(fanned) => self.fanned_in_turn(fanned),
            }
            self.settle();
        }
    }

    /// Handles an event, now or, where its slot is still gathering, later.
    pub(super) fn take(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::FromEdge(edge, frame) => self.take_frame(edge, frame),
            Event::EdgeGone(edge, unaccepted) => self.edge_gone(edge, unaccepted),
            Event::Accepted(debts) => {
                for debt in debts {
                    self.emit(Output::Pay(debt));
                }
            }
            Event::Routed(slot, epoch, routed) => {
                // Its sender has it, and sends it again when he has heard of the owner.
                match self.tenures.of(slot).open_epoch() == Some(epoch) {
                    true => self.local.push_back(Local::One(slot, routed)),
                    false => metrics::stale_frame(),
                }
            }
            Event::Fanned(fanned) => self.take_fanned(fanned),
            Event::FromPeer(peer, stanza) => self.take_from_peer(peer, stanza),
            Event::Settled(routes) => self.settled.extend(routes),
            Event::Rerouted(slots) => self.rerouted(&slots),
            Event::Tenure(slot, change) => self.change(slot, change),
            Event::Sleepers(slot, owners) => self.sleepers(slot, owners),
            Event::Loaded(jid, result) => self.loaded(&jid, result),
            Event::Answered(jid, answered) => self.answered(&jid, answered),
            Event::Verified(jid, verified) => self.run(&jid, Work::Verified(verified), now),
            Event::Committed(failed) => self.committed(&failed),
            Event::Admin(jid, request) => self.admin(&jid, request),
            // The operator may have hung up.
            Event::List(listing, reply) => drop(reply.send(self.list(&listing))),
            Event::Watch(request) => self.watch(*request),
            Event::Kick(domain, max, reply) => self.kick_some(&domain, max, reply),
            Event::Directed => self.look_through(),
            Event::Tick => self.tick(),
        }
    }

    fn take_frame(&mut self, edge: EdgeId, frame: Frame<ToOrigin>) {
        let now = self.now;
        let (slot, epoch) = (frame.slot, frame.epoch);
        match frame.body {
            // An exchange stays where it began, whoever owns the slot now.
            ToOrigin::Respond {
                connection,
                account,
                data,
            } => return self.run(&account, Work::Respond(edge, connection, data), now),
            ToOrigin::Abort {
                connection,
                account,
            } => return self.run(&account, Work::Abort(edge, connection), now),
            _ => {}
        }
        // The fence: an edge that knows another owner's epoch speaks to that owner.
        let is_current = self.runs(slot) && self.tenures.of(slot).open_epoch() == Some(frame.epoch);
        if !is_current {
            metrics::stale_frame();
            return self.outputs.push(Output::Moved(edge, slot));
        }
        if let Tenure::Gathering(gathering) = self.tenures.of_mut(slot) {
            match frame.body {
                ToOrigin::Expect(sessions) => {
                    gathering.expect(edge, sessions);
                    return self.activate(slot);
                }
                ToOrigin::Attach(attach) => {
                    gathering.arrived(attach.session);
                    self.attach(edge, attach, epoch, false);
                    return self.activate(slot);
                }
                _ => return gathering.push(Event::FromEdge(edge, frame)),
            }
        }
        self.frame_for_account(edge, frame.body, (slot, epoch));
    }

    fn frame_for_account(&mut self, edge: EdgeId, body: ToOrigin, (slot, epoch): (Slot, Epoch)) {
        match body {
            ToOrigin::Stanza {
                session,
                number,
                stanza,
                entered,
            } => self.run_for(
                session,
                Work::Stanza {
                    session,
                    number,
                    stanza,
                    entered,
                },
            ),
            ToOrigin::Answer {
                session,
                number,
                answer,
            } => self.run_for(
                session,
                Work::Answer {
                    session,
                    number,
                    answer,
                },
            ),
            ToOrigin::Acked { session, count } => {
                self.run_for(session, Work::Acked(session, count));
            }
            ToOrigin::Enable {
                session,
                number,
                resume_secs,
            } => self.run_for(
                session,
                Work::Enable {
                    session,
                    number,
                    resume_secs,
                },
            ),
            ToOrigin::Detach {
                session,
                connection,
                reason,
            } => {
                let from = (edge, connection);
                let detach = Work::Detach(session, from, reason);
                match self.knows(session) {
                    true => self.run_for(session, detach),
                    false => self.farewell(slot, from),
                }
            }
            ToOrigin::Attach(attach) => self.attach(edge, attach, epoch, true),
            ToOrigin::Expect(sessions) => self.expect(slot, epoch, &sessions),
            other => self.request(edge, other),
        }
    }

    /// All of these sessions will come, and nothing waits for that but their clients.
    fn expect(&mut self, slot: Slot, epoch: Epoch, sessions: &[SessionId]) {
        if sessions.iter().any(|session| !self.knows(*session)) {
            self.tenures.set(slot, Tenure::Active(epoch, self.now.mono));
        }
    }

    /// A connection without a session wants something.
    fn request(&mut self, edge: EdgeId, body: ToOrigin) {
        let now = self.now;
        match body {
            ToOrigin::Authenticate(connection, request) => {
                let jid = request.account.clone();
                self.run(&jid, Work::Authenticate(edge, connection, request), now);
            }
            ToOrigin::Register(connection, request) => {
                let jid = request.account.clone();
                self.run(&jid, Work::Register(edge, connection, request), now);
            }
            ToOrigin::Bind(connection, request) => {
                let jid = request.account.clone();
                self.run(&jid, Work::Bind(edge, connection, request), now);
            }
            ToOrigin::Resume(connection, request) => {
                let jid = request.account.clone();
                let slot = self.slot_of(&jid);
                let may_come = self.tenures.of(slot).is_in_doubt(now.mono);
                let resume = Work::Resume(edge, connection, request, may_come);
                self.run(&jid, resume, now);
            }
            // Those of sessions, and of exchanges, are seen to before.
            _ => {}
        }
    }

    fn attach(&mut self, edge: EdgeId, attach: Box<Attach>, epoch: Epoch, is_late: bool) {
        let comes = Comes {
            is_same_owner: attach.epoch == epoch,
            is_late,
            is_ending: false,
        };
        let jid = attach.jid.clone();
        if self.shared.bar(&jid, self.now).is_some() {
            self.barred.push_back(attach.session);
        }
        self.run(&jid, Work::Attach(edge, attach, comes), self.now);
    }

    /// Runs `work` on the account of a session. One that has just ended may still have some on
    /// its way.
    pub(super) fn run_for(&mut self, session: SessionId, work: Work) {
        match self.sessions.get(&session).copied() {
            Some(place) => self.run_at(place, work, self.now),
            // Brought just now, by an attachment that waits for the account to be read.
            None => self.run_for_waiting(session, work),
        }
    }

    /// Whether a session is there, or has been brought and waits for its account to be read.
    fn knows(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session) || self.arriving.contains_key(&session)
    }

    fn run_for_waiting(&mut self, session: SessionId, work: Work) {
        if let Some(place) = self.arriving.get(&session).copied() {
            self.run_at(place, work, self.now);
        }
    }

    fn answered(&mut self, jid: &Jid, answered: Box<Answered>) {
        // Asked by an owner of the slot that this node is not any more.
        if self.residents.find(jid.bare()).is_some() {
            self.run(jid, Work::Answered(answered), self.now);
        }
    }

    fn admin(&mut self, jid: &Jid, request: Box<Request>) {
        let slot = self.slot_of(jid);
        if matches!(self.tenures.of(slot), Tenure::Active(..)) {
            return self.run(jid, Work::Admin(request), self.now);
        }
        // Whoever asked may have given up.
        let _ = request.reply.send(Err(crate::admin::Error::Moving));
    }

    /// Runs `work` on the account of `jid`, which is read first if it is not in memory.
    pub(super) fn run(&mut self, jid: &Jid, work: Work, now: Now) {
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

    pub(super) fn run_at(&mut self, place: Place, work: Work, now: Now) {
        let Some(mut resident) = self.residents.take(place) else {
            return;
        };
        if resident.is_loading {
            if let Work::Attach(_, attach, _) = &work {
                self.arriving.insert(attach.session, place);
            }
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

    /// Runs one handler, contained: a panic costs the stanza that caused it. What came of it.
    pub(super) fn run_handler(
        &mut self,
        place: Place,
        resident: &mut Resident,
        mut work: Work,
        now: Now,
    ) -> &'static str {
        if let Work::Attach(_, attach, comes) = &mut work {
            comes.is_ending = resident.is_ending(attach.session);
            self.arriving.remove(&attach.session);
        }
        if self.is_repeated(place, resident, &work) {
            return "repeated";
        }
        if work
            .stanza()
            .is_some_and(|stanza| self.quarantine.holds(stanza))
        {
            self.fail(resident, work, Condition::InternalServerError);
            return "refused";
        }
        self.watch_work(resident, &work);
        let cause = Cause::of(&work);
        let stanza = work.stanza().cloned();
        let ending = match &work {
            Work::Detach(session, ..) | Work::Expire(session) | Work::Expel(session, _) => {
                Some(*session)
            }
            _ => None,
        };
        let existed = resident.account.exists();
        let room = resident.account.slots.muc.name();
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
        ctx.arrived = room.and_then(|room| self.routes.arrived(room));
        let login = &mut self.login;
        let ran = catch_unwind(AssertUnwindSafe(|| work::perform(&mut ctx, login, work)));
        if ran.is_ok() {
            self.conclude(place, resident, &cause);
            if existed && !resident.account.exists() {
                self.login.forget(&resident.account.jid);
            }
            self.leave_if_idle(place, resident);
            return "done";
        }
        if let Some(stanza) = &stanza {
            self.quarantine.record(stanza);
        }
        self.mend(place, resident, &cause, ending);
        "panicked"
    }

    /// A handler has panicked half-way: what it began is undone.
    fn mend(
        &mut self,
        place: Place,
        resident: &mut Resident,
        cause: &Cause,
        ending: Option<SessionId>,
    ) {
        metrics::handler_panic();
        self.effects.clear();
        tracing::error!(
            account = %resident.account.jid,
            "a handler panicked; its stanza is refused and the account is read again"
        );
        self.refuse(resident, cause, Condition::InternalServerError);
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

    /// Whether a stanza has been here before: it was sent again because its sender could not know.
    pub(super) fn is_repeated(
        &mut self,
        place: Place,
        resident: &mut Resident,
        work: &Work,
    ) -> bool {
        match work {
            Work::Stanza {
                session, number, ..
            }
            | Work::Answer {
                session, number, ..
            } => {
                let known = resident.account.session(*session);
                let is_repeated = known.is_none_or(|known| known.progress.has(*number));
                if is_repeated {
                    self.progressed.push(*session);
                }
                is_repeated
            }
            Work::Routed(routed) => {
                let is_known = !is_for_whoever_is_there(&routed.stanza);
                let source = routed
                    .source
                    .filter(|source| is_known && !source.is_of_room());
                let waits = |source| self.debts.join(source, routed.receipt);
                if source.is_some_and(waits) {
                    metrics::duplicate();
                    return true;
                }
                let marks = &resident.account.marks;
                if !source.is_some_and(|source| marks.has(source)) {
                    return false;
                }
                metrics::duplicate();
                // It is settled when what it did the first time is stored.
                self.hold_or_emit(place, resident, Output::Settle(routed.receipt), false);
                true
            }
            _ => false,
        }
    }

    /// Notes that an account may leave memory some time from now.
    pub(super) fn leave_if_idle(&mut self, place: Place, resident: &mut Resident) {
        if !resident.is_idle() || resident.is_queued {
            return;
        }
        resident.is_queued = true;
        match resident.account.is_somebody() {
            true => self.idle.push_back((resident.account.touched, place)),
            // Somebody tries addresses: what is not there must not fill the memory.
            false => self.idle.push_front((0, place)),
        }
    }
}
