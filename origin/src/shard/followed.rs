//! Followed: what is told of the few stanzas that are followed; see [`couplet_proto::trace`].
//!
//! What a handler sends carries the trace of what it was run for, and nothing else does: a presence
//! that is kept and sent again much later is no part of the trace it once came with.

use std::sync::Arc;

use couplet_proto::Stanza;
use couplet_proto::link::frame::ToEdge;
use couplet_proto::trace::{Act, Span, SpanId, Trace};
use rand::Rng;

use super::event::Work;
use super::residents::{Place, Resident};
use super::state::Shard;
use super::work::Cause;
use crate::clock::Now;
use crate::hooks::context::Effect;

/// So many of the stanzas that come of one are followed: a presence goes to a thousand contacts,
/// and what is told of each says the same.
pub(super) const FOLLOWED_MAX: usize = 8;

/// What the stanzas that one handler sends carry.
pub(super) enum Carried {
    /// What they have: a room has seen to it.
    AsTheyAre,
    /// This, so many of them.
    Trace(Trace, usize),
    /// Nothing.
    Nothing,
}

// === impl Shard ===

impl Shard {
    /// Runs one handler, and tells of it if the stanza is followed.
    pub(super) fn handle(
        &mut self,
        place: Place,
        resident: &mut Resident,
        mut work: Work,
        now: Now,
    ) {
        let followed = self.follow_work(resident, &mut work);
        let outcome = self.run_handler(place, resident, work, now);
        if let Some(span) = followed
            && let Some(tracer) = self.shared.tracer.get()
        {
            tracer.done(Span {
                end: tracer.now(),
                outcome,
                ..*span
            });
        }
    }

    /// What is to be told of `work`, which from here on carries the name of that.
    fn follow_work(&mut self, resident: &Resident, work: &mut Work) -> Option<Box<Span>> {
        let trace = **work.stanza()?.trace.as_ref()?;
        let tracer = self.shared.tracer.get()?;
        let start = tracer.now();
        let (act, sender) = match work {
            Work::Stanza { session, .. } => (Act::HandleSent, Some(*session)),
            Work::Answered(_) => (Act::HandleAnswered, None),
            _ => (Act::HandleReceived, None),
        };
        let stanza = work.stanza_mut()?;
        let mut span = Span::begin(act, &trace, span_id(&mut self.rng), stanza, start);
        span.slot = Some(resident.slot);
        if let Some(sender) = sender {
            let session = resident.account.session(sender);
            span.from = session.map(|session| session.jid.clone());
        }
        Arc::make_mut(stanza).trace = Some(Box::new(span.child()));
        Some(Box::new(span))
    }

    /// What a handler sent waits for a commit from here on, if it does.
    pub(super) fn follow_commit(&mut self, resident: &mut Resident, cause: &Cause) {
        let Some(held) = resident.held.back_mut() else {
            return;
        };
        let stanza = cause.stanza();
        if let Some(stanza) = stanza
            && let Some(trace) = &stanza.trace
            && let Some(tracer) = self.shared.tracer.get()
        {
            let id = span_id(&mut self.rng);
            let mut span = Span::begin(Act::Commit, trace, id, stanza, tracer.now());
            span.slot = Some(resident.slot);
            held.followed.push(span);
        }
    }

    /// A commit has ended.
    pub(super) fn followed_to_commit(&self, followed: Vec<Span>, outcome: &'static str) {
        if followed.is_empty() {
            return;
        }
        let Some(tracer) = self.shared.tracer.get() else {
            return;
        };
        let end = tracer.now();
        for span in followed {
            tracer.done(Span {
                end,
                outcome,
                ..span
            });
        }
    }
}

fn span_id(rng: &mut impl Rng) -> SpanId {
    SpanId(rng.next_u64().max(1))
}

// === impl Carried ===

impl Carried {
    /// By what a handler was run for.
    pub(super) fn of(cause: &Cause) -> Self {
        if matches!(cause, Cause::Fanned(_)) {
            return Self::AsTheyAre;
        }
        let trace = cause.stanza().and_then(|stanza| stanza.trace.as_deref());
        trace.map_or(Self::Nothing, |trace| Self::Trace(*trace, FOLLOWED_MAX))
    }

    /// Puts it on what an effect sends.
    pub(super) fn put_on(&mut self, effect: &mut Effect) {
        match effect {
            Effect::Route(stanza, _) => self.put(stanza),
            Effect::Deliver(_, entry, _) => self.put(&mut entry.stanza),
            Effect::ToEdge(_, ToEdge::Deliver(delivery)) => self.put(&mut delivery.stanza),
            Effect::Fan(fan) => {
                let is_followed = |stanza: &Arc<Stanza>| stanza.trace.is_some();
                if matches!(self, Self::Trace(..)) || fan.stanzas.iter().any(is_followed) {
                    let mut stanzas = fan.stanzas.to_vec();
                    stanzas.iter_mut().for_each(|stanza| self.put(stanza));
                    fan.stanzas = stanzas.into();
                }
            }
            _ => {}
        }
    }

    fn put(&mut self, stanza: &mut Arc<Stanza>) {
        let carried = match self {
            Self::AsTheyAre => return,
            Self::Trace(trace, left) if *left > 0 => {
                *left -= 1;
                Some(*trace)
            }
            _ => None,
        };
        if stanza.trace.as_deref() != carried.as_ref() {
            Arc::make_mut(stanza).trace = carried.map(Box::new);
        }
    }
}
