//! Read: accounts come into memory, and leave it.

use couplet_proto::Jid;
use couplet_proto::link::id::SessionId;
use couplet_proto::xmpp::error::Condition;

use super::event::Work;
use super::output::Output;
use super::residents::{Place, Resident};
use super::state::Shard;
use super::tenure::Tenure;
use crate::auth::Credentials;
use crate::session::marks::{MARKS, Marks};
use crate::session::{AccountSlots, At, Session, sleeping};
use crate::store::{self, CREDENTIALS, SLEEPING, Snapshot};

impl Shard {
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

    pub(super) fn loaded(&mut self, jid: &Jid, result: Result<Snapshot, store::Error>) {
        let now = self.now;
        let Some(place) = self.residents.find(jid.bare()) else {
            return;
        };
        let Some(mut resident) = self.residents.take(place) else {
            return;
        };
        let read = result.map_err(|error| error.to_string());
        let read = read.and_then(|snapshot| self.fill(place, &mut resident, &snapshot));
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
                self.refuse_waiting(place, &mut resident);
                if resident.account.sessions.is_empty() && resident.waiting.is_empty() {
                    self.residents.put(place, resident);
                    return self.leave_memory(place);
                }
                self.unread.push(place);
            }
        }
        self.residents.put(place, resident);
        self.leave_if_done();
    }

    /// An account cannot be read for now: what cannot wait for that is refused.
    pub(super) fn refuse_waiting(&mut self, place: Place, resident: &mut Resident) {
        // What a session sent after something that waits: refused, it would be told before that.
        let mut behind: Vec<SessionId> = Vec::new();
        for work in std::mem::take(&mut resident.waiting) {
            let sender = work.sender();
            let is_brought =
                sender.is_some_and(|sender| resident.account.session(sender).is_none());
            if !is_brought && self.is_repeated(place, resident, &work) {
                // It has been handled before the account became unreadable.
                continue;
            }
            let is_behind = sender.is_some_and(|sender| behind.contains(&sender));
            if work.is_patient() && !is_behind {
                behind.extend(sender);
            }
            match is_behind || work.is_patient() {
                true => resident.waiting.push_back(work),
                false => self.fail(resident, work, Condition::ResourceConstraint),
            }
        }
    }

    /// An account or room leaves memory.
    pub(super) fn leave_memory(&mut self, place: Place) {
        let resident = self.residents.get_mut(place);
        if let Some(room) = resident.and_then(|resident| resident.account.slots.muc.name()) {
            self.routes.forget_room(room);
        }
        self.residents.remove(place);
    }

    fn fill(
        &mut self,
        place: Place,
        resident: &mut Resident,
        snapshot: &Snapshot,
    ) -> Result<(), String> {
        let rows = || snapshot.rows.iter();
        let value = |id| rows().find(|(table, ..)| *table == id);
        let credentials = value(CREDENTIALS.id)
            .map(|(.., value)| Credentials::decode(value))
            .transpose();
        let credentials = credentials.map_err(|error| format!("credentials: {error}"))?;
        let marks = value(MARKS.id).map(|(.., value)| Marks::decode(value));
        let mut slots = AccountSlots::default();
        for load in &self.shared.pipeline.load {
            load(&resident.account.jid, snapshot, &mut slots)?;
        }
        let sleeping =
            rows().filter(|(table, key, _)| *table == SLEEPING.id && **key != *sleeping::ROOM_KEY);
        let sleeping = sleeping.map(|(_, key, value)| (&**key, value));
        let asleep = sleeping::read(sleeping, &self.shared.pipeline.keepers, self.now)?;
        let account = &mut resident.account;
        self.paced
            .extend(account.sessions.iter().map(|known| known.id));
        account.credentials = credentials.map(Box::new);
        account.slots = slots;
        account.marks.renew(marks.transpose()?.unwrap_or_default());
        // A room keeps what its messages came from with them.
        for (source, at) in account.slots.muc.sources() {
            account.marks.note(source, at, true);
        }
        if self.epoch_of(resident.slot).is_none() {
            // Read for a login that goes on here: the sessions are another owner's.
            return Ok(());
        }
        account.asleep = asleep.rows;
        // What is kept elsewhere by now is deleted, should that have failed.
        let stored = account.asleep.iter().map(|(session, _)| *session);
        self.changed
            .extend(stored.filter(|session| self.sessions.contains_key(session)));
        // Newest first: an older session of the same address, whose end could not be stored, ends.
        let before = account.sessions.len();
        for mut session in asleep.sessions.into_iter().rev() {
            let id = session.id;
            if account.session(id).is_some() {
                // What is in memory is newer.
                continue;
            }
            if account.session_of(&session.jid).is_some() {
                session.at = At::Nowhere(0);
            }
            if let At::Nowhere(until) = session.at {
                self.asleep.insert((until, id));
            }
            account.sessions.push(Box::new(session));
            self.sessions.insert(id, place);
        }
        let is_over = |session: &Session| session.at == At::Nowhere(0);
        account.sessions[before..].sort_by_key(|known| (is_over(known), known.bound, known.id));
        Ok(())
    }

    /// A second has passed.
    pub(super) fn tick(&mut self) {
        let now = self.now;
        for slot in self.tenures.gathering().to_vec() {
            if let Tenure::Gathering(gathering) = self.tenures.of_mut(slot) {
                gathering.tick();
            }
            self.activate(slot);
        }
        self.try_doubtful();
        self.login.tick(now);
        self.watches.tick(now);
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
            if resident.account.is_somebody() && now.mono.saturating_sub(since) < idle_ms {
                resident.is_queued = true;
                self.idle.push_back((since, place));
                continue;
            }
            self.leave_memory(place);
        }
        for slot in std::mem::take(&mut self.unlisted) {
            self.outputs.push(Output::Sleepers(slot));
        }
        for session in std::mem::take(&mut self.paced) {
            if let Some(place) = self.sessions.get(&session).copied() {
                self.run_at(place, Work::CatchUp(session), now);
            }
        }
        while let Some((until, session)) = self.asleep.first().copied() {
            if until > now.mono {
                break;
            }
            self.asleep.pop_first();
            if let Some(place) = self.sessions.get(&session).copied() {
                self.run_at(place, Work::Expire(session), now);
            }
        }
        while let Some((at, place)) = self.alarms.first().copied() {
            if at > now.mono {
                break;
            }
            self.alarms.pop_first();
            self.run_at(place, Work::Alarm, now);
        }
        for place in std::mem::take(&mut self.unread) {
            if let Some(resident) = self.residents.get_mut(place) {
                let load = Output::Load(resident.slot, resident.account.jid.clone());
                self.outputs.push(load);
            }
        }
    }
}
