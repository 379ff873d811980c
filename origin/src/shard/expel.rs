//! Expel: sessions that an operator ends, or whose account may have none any more.
//!
//! Bans and domains concern many sessions at once: they end at a pace, so that what each of them
//! causes (its contacts hear of it, what waits for it is stored) does not hold up the others.

use couplet_proto::Jid;
use couplet_proto::link::id::SessionId;
use couplet_proto::xmpp::error::StreamCondition;
use tokio::sync::oneshot;

use super::event::Work;
use super::residents::{Place, Resident};
use super::state::Shard;
use crate::admin::Kicked;
use crate::directives::board::Bar;
use crate::hooks::Ctx;
use crate::metrics;
use crate::route::lifecycle;

/// Sessions that end in one second because of their accounts.
const BARRED_MAX: usize = 250;

/// Why an operator ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It was named, or its domain.
    Kicked,
    /// Its account may have none; no longer, if that has changed meanwhile.
    Barred,
}

impl Shard {
    /// Other directives are up: sessions whose accounts may have none end.
    pub(super) fn look_through(&mut self) {
        let now = self.now.unix;
        let served = self.shared.board.served();
        let mut barred: Vec<SessionId> = Vec::new();
        // One that has been brought, and waits for its account to be read, is there as well.
        for (session, place) in self.sessions.iter().chain(&self.arriving) {
            let resident = self.residents.get_mut(*place);
            if resident.is_some_and(|it| served.bar(&it.account.jid, now).is_some()) {
                barred.push(*session);
            }
        }
        drop(served);
        // Not in the order of the table: the same events give the same outputs.
        barred.sort_unstable();
        self.barred = barred.into();
        self.end_barred();
    }

    /// Ends some of the sessions that are to end.
    pub(super) fn end_barred(&mut self) {
        for _ in 0..BARRED_MAX {
            let Some(session) = self.barred.pop_front() else {
                return;
            };
            self.run_for(session, Work::Expel(session, Why::Barred));
        }
    }

    /// An account has been read: its sessions may be such as must end.
    pub(super) fn note_barred(&mut self, resident: &Resident) {
        let account = &resident.account;
        if !account.sessions.is_empty() && self.shared.bar(&account.jid, self.now).is_some() {
            self.barred
                .extend(account.sessions.iter().map(|known| known.id));
        }
    }

    /// Ends at most so many of the sessions of a domain.
    pub(super) fn kick_some(&mut self, domain: &Jid, max: usize, reply: oneshot::Sender<Kicked>) {
        let mut meant: Vec<(SessionId, Place)> = Vec::new();
        for (session, place) in &self.sessions {
            let resident = self.residents.get_mut(*place);
            if resident.is_some_and(|it| it.account.jid.domain() == domain.as_str()) {
                meant.push((*session, *place));
            }
        }
        meant.sort_unstable();
        let some = &meant[..meant.len().min(max)];
        for (session, place) in some {
            self.run_at(*place, Work::Expel(*session, Why::Kicked), self.now);
        }
        let kicked = Kicked {
            ended: some.len(),
            are_left: meant.len() > max,
        };
        // The operator may have hung up.
        let _ = reply.send(kicked);
    }
}

/// A session is to end.
pub(super) fn expel(ctx: &mut Ctx<'_>, session: SessionId, why: Why) {
    let bar = ctx.shared.bar(&ctx.account.jid, ctx.now);
    match (why, bar) {
        (Why::Barred, None) => {}
        (Why::Barred, Some(bar)) => end(ctx, session, Some(bar)),
        (Why::Kicked, _) => end(ctx, session, None),
    }
}

/// Ends the sessions of the account, or the one of this full address; how many those were.
pub(super) fn kick(ctx: &mut Ctx<'_>, only: Option<&Jid>) -> usize {
    let sessions = ctx.account.sessions.iter();
    let meant = sessions.filter(|session| only.is_none_or(|only| session.jid == *only));
    let meant: Vec<SessionId> = meant.map(|session| session.id).collect();
    for session in &meant {
        end(ctx, *session, None);
    }
    meant.len()
}

/// RFC 6120 §4.9.3.14: it is a matter of policy that the session ends, unless its host is gone.
fn end(ctx: &mut Ctx<'_>, session: SessionId, bar: Option<Bar>) {
    let Some(known) = ctx.account.session(session) else {
        return;
    };
    let jid = known.jid.clone();
    let (cause, (condition, text)) = match bar {
        None => {
            let text = "the session was ended by an operator";
            ("kicked", (StreamCondition::PolicyViolation, text))
        }
        Some(bar @ Bar::Banned) => ("banned", bar.words()),
        Some(bar @ Bar::Gone) => ("gone", bar.words()),
    };
    tracing::info!(%jid, %session, cause, "session ended by order");
    metrics::expelled(cause);
    lifecycle::expel(ctx, session, condition, text);
}
