//! Record: what the journal is told of a connection, kept from its beginning to its end.
//!
//! **Invariant:** what it counts is what the metrics count, at the same places: the sums over all
//! that is said at the end of connections are what the metrics have grown by.
//! **Invariant:** where no journal is kept nothing is allocated, and nothing is counted twice.

use std::net::SocketAddr;

use couplet_proto::Jid;
use couplet_proto::journal::{Entry, Event, Traffic};
use couplet_proto::link::id::{ConnectionId, SessionId};
use couplet_proto::xmpp::error::{Condition, SaslCondition};

use super::Connection;

/// How a client came, until TLS protects the connection.
const PLAIN: &str = "tcp";

/// With TLS from the first byte on.
const DIRECT: &str = "tls";

/// With TLS that it asked for.
const UPGRADED: &str = "starttls";

/// Of a new measurement one part in so many counts, as for the round-trip time of TCP (RFC 6298).
const SMOOTHING: u64 = 8;

/// What came of something.
const SUCCESS: &str = "success";
const FAILURE: &str = "failure";

/// The record of one connection; empty where nobody keeps a journal.
#[derive(Debug, Default)]
pub(super) struct Record(Option<Box<Kept>>);

#[derive(Debug)]
struct Kept {
    /// When the client came.
    since: u64,
    server: Option<SocketAddr>,
    transport: &'static str,
    tls: Option<(&'static str, &'static str)>,
    /// Who the client says it is, then who it is.
    jid: Option<Jid>,
    session: Option<SessionId>,
    mechanism: Option<&'static str>,
    traffic: Traffic,
    /// The round-trip time of acknowledgements, in parts of a millisecond.
    ack_rtt: Option<u64>,
    /// Why it ends; what came first counts.
    reason: Option<&'static str>,
}

// === impl Record ===

impl Record {
    /// A record that begins now.
    pub(super) fn begin(now: u64) -> Self {
        Self(Some(Box::new(Kept {
            since: now,
            server: None,
            transport: PLAIN,
            tls: None,
            jid: None,
            session: None,
            mechanism: None,
            traffic: Traffic::default(),
            ack_rtt: None,
            reason: None,
        })))
    }

    /// So many more bytes went each way.
    pub(super) fn moved(&mut self, bytes_in: u64, bytes_out: u64) {
        if let Some(kept) = &mut self.0 {
            kept.traffic.bytes_in += bytes_in;
            kept.traffic.bytes_out += bytes_out;
        }
    }

    /// A stanza came from the client.
    pub(super) fn stanza_in(&mut self) {
        if let Some(kept) = &mut self.0 {
            kept.traffic.stanzas_in += 1;
        }
    }

    /// A stanza is written to the client.
    pub(super) fn stanza_out(&mut self) {
        if let Some(kept) = &mut self.0 {
            kept.traffic.stanzas_out += 1;
        }
    }

    /// The client says who it is.
    pub(super) fn claims(&mut self, account: &Jid, mechanism: &'static str) {
        if let Some(kept) = &mut self.0 {
            kept.jid = Some(account.clone());
            kept.mechanism = Some(mechanism);
        }
    }

    /// The client has answered after so many milliseconds what it has.
    pub(super) fn acked_after(&mut self, millis: u64) {
        if let Some(kept) = &mut self.0 {
            let new = millis * SMOOTHING;
            let smoothed = |old: u64| (old * (SMOOTHING - 1) + new) / SMOOTHING;
            kept.ack_rtt = Some(kept.ack_rtt.map_or(new, smoothed));
        }
    }

    /// The connection is about to end, for this reason unless there was another one before.
    pub(super) fn ends(&mut self, reason: &'static str) {
        if let Some(kept) = &mut self.0 {
            kept.reason.get_or_insert(reason);
        }
    }
}

// === impl Kept ===

impl Kept {
    fn entry(&self, event: Event, id: ConnectionId, client: SocketAddr) -> Entry<'_> {
        Entry {
            connection: Some(id),
            client: Some(client),
            server: self.server,
            transport: Some(self.transport),
            tls: self.tls,
            jid: self.jid.as_ref(),
            session: self.session,
            ..Entry::new(event)
        }
    }
}

// === impl Connection ===

impl Connection {
    /// The client has come, by this address of ours.
    pub(crate) fn note_connect(&mut self, is_direct: bool) {
        let server = self.transport.local_address();
        if let Some(kept) = &mut self.record.0 {
            kept.transport = if is_direct { DIRECT } else { PLAIN };
            kept.server = server;
        }
        self.note(Event::Connect, |_| {});
    }

    /// TLS protects the connection, with this version and these algorithms.
    pub(super) fn note_secured(&mut self, tls: Option<(&'static str, &'static str)>) {
        if let Some(kept) = &mut self.record.0 {
            kept.tls = tls;
            if kept.transport == PLAIN {
                kept.transport = UPGRADED;
            }
        }
    }

    /// There will be no TLS, so the connection ends.
    pub(crate) fn note_rejected(&mut self, reason: &'static str) {
        self.record.ends(reason);
        self.note(Event::Reject, |entry| entry.reason = Some(reason));
    }

    /// The client has proved who it is.
    pub(super) fn note_authenticated(&mut self) {
        let mechanism = self
            .record
            .0
            .as_mut()
            .and_then(|kept| kept.mechanism.take());
        self.note(Event::Authenticate, |entry| {
            entry.outcome = Some(SUCCESS);
            entry.mechanism = mechanism;
        });
    }

    /// It has not.
    pub(super) fn note_login_failed(&mut self, condition: SaslCondition, mechanism: &str) {
        self.note(Event::Authenticate, |entry| {
            entry.outcome = Some(FAILURE);
            entry.reason = Some(condition.name());
            entry.mechanism = Some(mechanism).filter(|name| !name.is_empty());
        });
        if let Some(kept) = &mut self.record.0 {
            (kept.jid, kept.mechanism) = (None, None);
        }
    }

    /// The connection has a session: a new one, or a former one.
    pub(super) fn note_session(&mut self, event: Event, session: SessionId, jid: &Jid) {
        if let Some(kept) = &mut self.record.0 {
            kept.session = Some(session);
            kept.jid = Some(jid.clone());
        }
        self.note(event, |entry| entry.outcome = Some(SUCCESS));
    }

    /// It has not got the session it asked for.
    pub(super) fn note_no_session(&mut self, event: Event, condition: Condition) {
        self.note(event, |entry| {
            entry.outcome = Some(FAILURE);
            entry.reason = Some(condition.name());
        });
    }

    /// The client is sent elsewhere.
    pub(super) fn note_redirect(&self) {
        let host = self.edge.setup.other_host(self.place.id);
        self.note(Event::Redirect, |entry| entry.to = host.map(|host| &**host));
    }

    /// The connection is over.
    pub(super) fn note_disconnect(&self) {
        let Some(kept) = &self.record.0 else {
            return;
        };
        let traffic = Traffic {
            ack_rtt_ms: kept.ack_rtt.map(|parts| parts / SMOOTHING),
            queue_max: self.place.queue.depth_max(),
            ..kept.traffic
        };
        self.note(Event::Disconnect, |entry| {
            entry.reason = Some(kept.reason.unwrap_or("dropped"));
            entry.traffic = Some(traffic);
        });
    }

    fn note<'a>(&'a self, event: Event, fill: impl FnOnce(&mut Entry<'a>)) {
        if let Some(kept) = &self.record.0 {
            self.edge.journal.note(|| {
                let mut entry = kept.entry(event, self.place.id, self.peer);
                entry.taken_ms = Some(self.edge.clock.now_ms().saturating_sub(kept.since));
                fill(&mut entry);
                entry
            });
        }
    }
}
