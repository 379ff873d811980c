//! Conclude: effect → output, in the order a handler pushed them, and to whom what it did is owed.

use std::hash::BuildHasher;
use std::sync::Arc;

use couplet_proto::journal::{Entry, Event};
use couplet_proto::link::id::{SessionId, Source};
use couplet_proto::slot::Slot;
use couplet_proto::{Jid, Stanza};
use foldhash::fast::FixedState;

use super::commit::Held;
use super::debts::{Creditor, DebtId};
use super::event::is_for_whoever_is_there;
use super::followed::Carried;
use super::output::Output;
use super::residents::{Place, Resident};
use super::state::Shard;
use super::work::Cause;
use crate::hooks::context::Effect;
use crate::route::bounce;
use crate::session::marks::MARKS;
use crate::store::Write;

/// What the stanzas that one handler sends come from, one after the other.
#[derive(Debug, Default)]
struct Sources {
    part: u32,
    /// While a session ends: every owner that ends it says the same.
    ending: Option<Source>,
    /// Set apart what comes of the same stanza at the address of a service.
    room: Option<u64>,
}

// === impl Sources ===

impl Sources {
    /// What follows comes of the end of this session, or no longer.
    fn end(&mut self, session: Option<SessionId>) {
        self.ending = session.map(|session| Source {
            session,
            number: Source::END,
            part: 0,
        });
    }

    fn next(&mut self, cause: &Cause) -> Option<Source> {
        let of_room = || {
            let source = cause.routed_source().filter(|it| it.is_of_client())?;
            Some(Source {
                session: SessionId(source.session.0 ^ self.room?),
                number: source.number,
                part: self.part,
            })
        };
        let source = self.ending.or_else(|| cause.source(self.part));
        let source = source.or_else(of_room);
        match &mut self.ending {
            Some(ending) => ending.part += 1,
            None => self.part += 1,
        }
        source
    }
}

// === impl Shard ===

impl Shard {
    /// Turns what a handler pushed into outputs, held where they must wait.
    pub(super) fn conclude(&mut self, place: Place, resident: &mut Resident, cause: &Cause) {
        let mut effects = std::mem::take(&mut self.effects);
        let debt = self.debt_of(resident.slot, cause);
        let mut has_written = false;
        let mut sources = Sources {
            room: self.room_of(resident),
            ..Sources::default()
        };
        let mut carried = Carried::of(cause);
        let is_delivered = |effect: &Effect| matches!(effect, Effect::Deliver(..));
        if !self.watches.is_empty()
            && let Cause::Routed(stanza, ..) = cause
            && !effects.iter().any(is_delivered)
        {
            self.watch_handled(resident, stanza);
        }
        for mut effect in effects.drain(..) {
            carried.put_on(&mut effect);
            let output = match effect {
                Effect::Write(write) => {
                    self.wrote(place, resident, cause, debt, write, has_written);
                    has_written = true;
                    None
                }
                Effect::Route(stanza, entered) => self.destination(stanza).map(|stanza| {
                    self.owe(debt);
                    Output::Send(stanza, entered, sources.next(cause), debt)
                }),
                Effect::Fan(mut fan) => {
                    if fan.to.first().is_some_and(Jid::is_bare) {
                        // Each account gets one of them.
                        fan.source = sources.next(cause);
                    }
                    self.owe(debt);
                    Some(Output::Fanning(fan, debt))
                }
                Effect::Ending(session) => {
                    sources.end(session);
                    None
                }
                other => self.output(place, resident, debt, other),
            };
            if let Some(output) = output {
                self.hold_or_emit(place, resident, output, has_written);
            }
        }
        self.effects = effects;
        if let Cause::Routed(stanza, Some(source), _) = cause
            && !is_for_whoever_is_there(stanza)
            && !source.is_of_room()
        {
            self.mark(place, resident, *source, has_written);
        }
        self.note_changes(resident);
        if let Cause::Client(session, number, _) = cause {
            self.account_for(resident, *session, *number);
        }
        if let Some(debt) = debt {
            self.hold_or_emit(place, resident, Output::Pay(debt), has_written);
        }
        self.follow_commit(resident, cause);
    }

    /// What leaves the account for an effect; `None` for one that concerns only the shard's own
    /// lists.
    fn output(
        &mut self,
        place: Place,
        resident: &Resident,
        debt: Option<DebtId>,
        effect: Effect,
    ) -> Option<Output> {
        Some(match effect {
            Effect::Deliver(session, entry, entered) => {
                self.owe(debt);
                Output::Deliver(session, Box::new(entry), entered, debt)
            }
            Effect::Reached(session, edge, connection, after) => {
                Output::Reached(session, edge, connection, after)
            }
            Effect::Enabled(session) => Output::Enabled(session),
            Effect::Pay(done) => Output::Pay(done),
            Effect::Follow(session) => {
                self.owe(debt);
                Output::Follow(session, debt)
            }
            Effect::Resumed(edge, body, former) => {
                // Until then it is the former connection that a new owner would hear of.
                let frame = self.frame(resident.slot, body)?;
                let creditor = former.map(|former| Creditor::Former(resident.slot, former));
                let debt = creditor.map(|creditor| self.debts.open(resident.slot, creditor, None));
                Output::ToEdge(edge, frame, debt)
            }
            Effect::ToEdge(edge, body) => {
                self.watch_last(&body);
                Output::ToEdge(edge, self.frame(resident.slot, body)?, None)
            }
            Effect::Ask(ask, asked, then) => {
                // A request has taken effect when it is answered: until then it costs its
                // sender credit, or questions would pile up.
                let waits = debt.filter(|_| asked.request.is_some());
                self.owe(waits);
                let jid = resident.account.jid.clone();
                Output::Ask(resident.slot, jid, ask, asked, then, waits)
            }
            Effect::Verify(edge, connection, check) => {
                Output::Verify(resident.account.jid.clone(), edge, connection, check)
            }
            Effect::Reply(answering) => Output::Reply(answering),
            Effect::Ended(session) => {
                self.sessions.remove(&session.id);
                Output::Ended(session)
            }
            Effect::Opened(session) => {
                self.sessions.insert(session, place);
                return None;
            }
            Effect::Paced(session) => {
                self.paced.push(session);
                return None;
            }
            Effect::Sleeps(session, until) => {
                self.note_sleep(resident, session);
                self.asleep.insert((until, session));
                return None;
            }
            Effect::WakeAt(at) => {
                self.alarms.insert((at, place));
                return None;
            }
            // These depend on what the handler did before.
            Effect::Write(_) | Effect::Route(..) | Effect::Ending(_) | Effect::Fan(_) => {
                return None;
            }
        })
    }

    /// A session that its client may ask for again waits from now on.
    fn note_sleep(&self, resident: &Resident, id: SessionId) {
        let journal = &self.shared.config.journal;
        let session = resident.account.session(id).filter(|session| {
            let managed = session.managed.as_ref();
            managed.is_some_and(|managed| managed.resume_secs > 0)
        });
        if let Some(session) = session {
            journal.note(|| Entry {
                jid: Some(&session.jid),
                session: Some(id),
                ..Entry::new(Event::Hibernate)
            });
        }
    }

    /// Who waits for what this handler does.
    fn debt_of(&mut self, slot: Slot, cause: &Cause) -> Option<DebtId> {
        let creditor = match cause {
            Cause::Client(session, number, _) => Creditor::Session(*session, *number),
            Cause::Routed(_, _, receipt) | Cause::Fanned(receipt) => Creditor::Route(*receipt),
            Cause::Request(_, debt) => return *debt,
            Cause::Departure(edge, connection) => Creditor::Departure(slot, *edge, *connection),
            _ => return None,
        };
        Some(self.debts.open(slot, creditor, cause.routed_source()))
    }

    pub(super) fn owe(&mut self, debt: Option<DebtId>) {
        if let Some(debt) = debt {
            self.debts.add(debt);
        }
    }

    /// A stanza of a client has been handled; its debt is still open.
    pub(super) fn account_for(&mut self, resident: &mut Resident, session: SessionId, number: u64) {
        if let Some(known) = resident.account.session_mut(session) {
            known.progress.handled(number, false);
        }
    }

    /// What a room makes of a stanza comes of that again when it is sent again: told apart from
    /// what others make of it.
    fn room_of(&self, resident: &Resident) -> Option<u64> {
        let jid = &resident.account.jid;
        let is_room = self.shared.is_service(jid.domain());
        is_room.then(|| FixedState::with_seed(0).hash_one(jid.as_str()))
    }

    /// What has been here does not count again, should it be sent again.
    fn mark(&mut self, place: Place, resident: &mut Resident, source: Source, has_written: bool) {
        if !self.shared.is_clustered {
            return;
        }
        let now = self.now.unix;
        resident.account.marks.note(source, now, has_written);
        if self.shared.is_service(resident.account.jid.domain()) {
            // A room keeps what a message came from with the message.
            return;
        }
        let epoch = self.epoch_of(resident.slot);
        if let Some(epoch) = epoch.filter(|_| has_written) {
            let write = Write::Put {
                table: MARKS,
                key: "".into(),
                value: resident.account.marks.encode(now),
            };
            let owner = resident.account.jid.clone();
            self.commits.add(resident.slot, epoch, place, owner, write);
        }
    }

    /// Notes the sessions of which an edge must keep something new.
    fn note_changes(&mut self, resident: &mut Resident) {
        for session in &mut resident.account.sessions {
            if std::mem::take(&mut session.is_changed) && self.shared.is_clustered {
                self.changed.push(session.id);
            }
        }
    }

    /// A handler writes: what it sends from here on waits for the commit that gathers now.
    fn wrote(
        &mut self,
        place: Place,
        resident: &mut Resident,
        cause: &Cause,
        debt: Option<DebtId>,
        write: Write,
        has_written: bool,
    ) {
        let Some(epoch) = self.epoch_of(resident.slot) else {
            return;
        };
        if let Write::Truncate { log, through } = &write {
            resident.cut(*log, *through);
        }
        let owner = resident.account.jid.clone();
        let ticket = self.commits.add(resident.slot, epoch, place, owner, write);
        if !has_written {
            let held = Held::new(ticket, Some(cause.of_write()), debt);
            resident.held.push_back(held);
        }
    }

    /// Where a stanza goes: on, or back to its sender when nobody serves its domain; `None` when
    /// it ends here.
    fn destination(&self, stanza: Arc<Stanza>) -> Option<Arc<Stanza>> {
        let to = stanza.to.as_ref()?;
        if self.shared.is_service(to.domain()) {
            return Some(stanza);
        }
        if !self.shared.is_local(to.domain()) {
            let bounced = bounce::no_such_host(&stanza)?;
            let back = bounced
                .to
                .as_ref()
                .is_some_and(|to| self.shared.serves(to.domain()));
            return back.then(|| Arc::new(bounced));
        }
        // The server itself has no account: what is for it has been answered on the way.
        to.local().is_some().then_some(stanza)
    }
}
