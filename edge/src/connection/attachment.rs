//! Attachment: a session as its connection keeps it. What is written, what the client has of it,
//! and what a new owner would have to be told.
//!
//! ```text
//! bound ──────── acked ─────────── written ─────────── waiting in the queue ──▶
//!   the client has │ in the outbox    │ in the queue
//! ```
//!
//! **Invariant:** what is delivered to the session is counted once, by owner and edge alike: a
//! repeated stanza that the client is not to see has its number too.

use std::sync::Arc;

use bytes::Bytes;
use couplet_proto::link::frame::{Attach, Detached, ToOrigin, Unacked, repeated};
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::{Jid, Stanza};

use super::inbox::Inbox;
use super::marks::Marks;
use super::outbox::Outbox;
use super::wheel::TICK_MS;
use crate::link::queue::{Delivered, Snapshot};

/// So many stanzas that the client has are reported at once, fewer with the next tick: offline
/// messages flow by the hundred, and a lively session reports ten times a second.
const REPORT_STANZAS: u64 = 32;

/// A session and the connection's part of its state.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) session: SessionId,
    jid: Jid,
    /// What the owner last gave with `Keep`.
    pub(super) state: Bytes,
    /// How many stanzas delivered since the session was bound have left the queue.
    pub(super) written: u64,
    /// How many of them the client has.
    pub(super) acked: u64,
    /// What the client's socket takes counts up to here; what comes after, the client counts.
    managed_from: u64,
    /// What the owner was last told of `acked`, and when.
    reported: u64,
    reported_at: u64,
    /// The last that is in the log of messages that waited: what the client has of those is
    /// reported before anything else it says, so that whoever hears from it may rely on that.
    logged: u64,
    /// How many unacknowledged stanzas the metrics know of.
    counted: u64,
    /// Filled only where an owner may be lost.
    pub(super) outbox: Outbox,
    pub(super) marks: Option<Box<Marks>>,
    /// Stream management was asked for and has not been answered.
    pub(super) enabling: Option<(u64, Option<u32>)>,
    /// How it is to be detached, once it is.
    pub(super) leaving: Option<Detached>,
}

/// Whether and when the owner is to hear what the client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// There is nothing new.
    No,
    /// At this time.
    At(u64),
    /// Now, this many.
    Now(u64),
}

// === impl Attachment ===

impl Attachment {
    /// A session whose client has had so many stanzas before it came here.
    pub(super) fn new(session: SessionId, jid: Jid, acked: u64) -> Self {
        Self {
            session,
            jid,
            state: Bytes::new(),
            written: acked,
            acked,
            managed_from: u64::MAX,
            reported: acked,
            reported_at: 0,
            logged: 0,
            counted: 0,
            outbox: Outbox::default(),
            marks: None,
            enabling: None,
            leaving: None,
        }
    }

    /// Its full address.
    pub(super) fn jid(&self) -> &Jid {
        &self.jid
    }

    /// From here on the client counts itself what it has.
    pub(super) fn is_managed_now(&mut self) {
        self.managed_from = self.written;
    }

    /// Whether the client counts itself what it has.
    pub(super) fn is_managed(&self) -> bool {
        self.managed_from != u64::MAX
    }

    /// A stanza leaves the queue; it is kept where an owner may be lost.
    pub(super) fn deliver(&mut self, entry: Unacked, keeps: bool) {
        self.written += 1;
        if entry.log.is_some() {
            self.logged = self.written;
        }
        if keeps {
            self.outbox.push(entry);
        }
    }

    /// The client says how many it has.
    pub(super) fn ack(&mut self, count: u64) {
        let more = count.saturating_sub(self.acked);
        self.outbox.ack(more);
        self.acked += more;
    }

    /// The client's socket took everything written.
    pub(super) fn flushed(&mut self) {
        self.ack(self.written.min(self.managed_from));
    }

    /// How many stanzas the client does not have, as far as is known.
    pub(super) fn unacked(&self) -> u64 {
        self.written - self.acked
    }

    /// How many more stanzas wait for the client's word than the last time.
    pub(super) fn count(&mut self) -> f64 {
        let unacked = match self.is_managed() && self.leaving.is_none() {
            true => self.unacked(),
            false => 0,
        };
        let before = std::mem::replace(&mut self.counted, unacked);
        unacked as f64 - before as f64
    }

    /// Whether the owner is to be told what the client has.
    pub(super) fn report(&mut self, now: u64) -> Report {
        if self.acked == self.reported {
            return Report::No;
        }
        let at = self.reported_at + TICK_MS;
        let may_wait = self.logged <= self.reported && self.leaving.is_none();
        if self.acked - self.reported < REPORT_STANZAS && now < at && may_wait {
            return Report::At(at);
        }
        self.reported = self.acked;
        self.reported_at = now;
        Report::Now(self.acked)
    }

    /// What a new owner must be told.
    pub(super) fn attach(
        &self,
        connection: ConnectionId,
        peer: std::net::IpAddr,
        inbox: &Inbox,
        snapshot: Snapshot,
    ) -> Box<Attach> {
        let received = self.written + snapshot.waiting.len() as u64;
        let mut unacked: Vec<_> = self.outbox.entries().cloned().collect();
        unacked.extend(snapshot.waiting);
        Box::new(Attach {
            session: self.session,
            connection,
            jid: self.jid.clone(),
            epoch: snapshot.heard,
            state: self.state.clone(),
            taken: inbox.last_taken(),
            received,
            acked: self.acked,
            unacked,
            seen: self
                .marks
                .as_ref()
                .map_or_else(Vec::new, |marks| marks.sources()),
            peer: Some(peer),
        })
    }

    /// The owner knows now what the client has.
    pub(super) fn attached(&mut self) {
        self.reported = self.acked;
    }

    /// What follows everything in flight on a new way.
    pub(super) fn last_frames(&self, connection: ConnectionId) -> impl Iterator<Item = ToOrigin> {
        let session = self.session;
        let enable = self.enabling.map(|(number, resume_secs)| ToOrigin::Enable {
            session,
            number,
            resume_secs,
        });
        let detach = self.leaving.map(|reason| ToOrigin::Detach {
            session,
            connection,
            reason,
        });
        enable.into_iter().chain(detach)
    }

    /// What stands for a stanza the client has had before.
    pub(super) fn filler(&self) -> Arc<Stanza> {
        Arc::new(repeated(&self.jid))
    }

    /// Whether a stanza is the first of its kind; marks it.
    pub(super) fn is_new(&mut self, delivered: &Delivered) -> bool {
        delivered.source.is_none_or(|source| {
            let marks = self.marks.get_or_insert_default();
            marks.is_new(source)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use couplet_proto::link::id::LogId;
    use couplet_proto::{Kind, Stanza, Type};

    use super::*;

    #[test]
    fn what_waited_in_the_log_is_reported_at_once() {
        let jid = Jid::parse("a@x/r").expect("valid");
        let mut attachment = Attachment::new(SessionId(1), jid, 0);
        let entry = |log| Unacked {
            stanza: Arc::new(Stanza::new(Kind::Message, Type::Chat)),
            source: None,
            log,
        };
        attachment.deliver(entry(None), false);
        attachment.flushed();
        assert_eq!(attachment.report(TICK_MS), Report::Now(1));
        attachment.deliver(entry(None), false);
        attachment.flushed();
        assert_eq!(attachment.report(TICK_MS), Report::At(2 * TICK_MS));
        let log = LogId {
            millis: 1,
            count: 0,
        };
        attachment.deliver(entry(Some(log)), false);
        attachment.flushed();
        assert_eq!(attachment.report(TICK_MS), Report::Now(3));
        attachment.deliver(entry(None), false);
        attachment.flushed();
        assert_eq!(attachment.report(TICK_MS), Report::At(2 * TICK_MS));
    }
}
