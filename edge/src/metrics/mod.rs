//! Every metric of the edge: names, the table that says what they mean, and the handles kept.
//!
//! Handles are made once, when the edge is made, so the recorder must be installed before. No
//! label ever holds anything a client chose.

mod table;

use couplet_proto::Kind;
use couplet_proto::xmpp::error::{Condition, StreamCondition};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

pub use table::TABLE;

/// Client connections that exist, by `transport` and `state`.
pub const CONNECTIONS: &str = "couplet_connections";
/// Client sockets accepted.
pub const ACCEPTED: &str = "couplet_connections_accepted_total";
/// Client sockets closed at once, by `reason`.
pub const REFUSED: &str = "couplet_connections_refused_total";
/// Client sockets that waited for their turn.
pub const PACED: &str = "couplet_connections_paced_total";
/// TLS handshakes, by `outcome`.
pub const HANDSHAKES: &str = "couplet_tls_handshakes_total";
/// How long TLS handshakes took.
pub const HANDSHAKE_SECONDS: &str = "couplet_tls_handshake_seconds";
/// What balancers said first on their connections (PROXY protocol), by `version` and `outcome`.
pub const PROXY_HEADERS: &str = "couplet_edge_proxy_headers_total";
/// Bytes on client sockets, by `direction`.
pub const BYTES: &str = "couplet_client_bytes_total";
/// Stanzas on client sockets, by `kind` and `direction`.
pub const STANZAS: &str = "couplet_client_stanzas_total";
/// Stanzas the edge itself answered with an error, by `condition`.
pub const STANZA_ERRORS: &str = "couplet_edge_stanza_errors_total";
/// Streams the edge ended with an error, by `condition`.
pub const STREAM_ERRORS: &str = "couplet_stream_errors_total";
/// Authentications, by `mechanism` and `outcome`.
pub const LOGINS: &str = "couplet_logins_total";
/// Requests to bind a resource, by `outcome`.
pub const BINDS: &str = "couplet_binds_total";
/// From the sender's socket to the receiver's.
pub const DELIVERY_SECONDS: &str = "couplet_delivery_seconds";
/// Stanzas found waiting for a client when its task wrote them.
pub const OUTBOUND_DEPTH: &str = "couplet_outbound_depth_stanzas";
/// Connections ended because the client did not read, by `reason`.
pub const OVERFLOWS: &str = "couplet_outbound_overflows_total";
/// Frames the edge did not take, by `reason`.
pub const FRAMES_DROPPED: &str = "couplet_frames_dropped_total";
/// How often a client's socket was left unread because its stanzas had not yet taken effect.
pub const CREDIT_STALLS: &str = "couplet_credit_stalls_total";
/// Requests to resume a session (XEP-0198), by `outcome`.
pub const RESUMPTIONS: &str = "couplet_resumptions_total";
/// Stanzas written to clients that count them and have not said that they have them.
pub const UNACKED: &str = "couplet_unacked_stanzas";
/// Sessions that went to a new owner, or to the old one by a new way.
pub const REATTACHED: &str = "couplet_sessions_reattached_total";
/// Stanzas of clients that waited for somebody to own their slot.
pub const PARKED: &str = "couplet_stanzas_parked_total";
/// Stanzas of clients sent to an owner once more.
pub const REPLAYED: &str = "couplet_stanzas_replayed_total";
/// Stanzas an owner sent once more that the client had had.
pub const DUPLICATES: &str = "couplet_duplicates_dropped_total";
/// Clients that waited for their turn on their way in, by `step`.
pub const ADMISSION_WAITS: &str = "couplet_admission_waits_total";
/// Connections ended because no client is let in any more from where they were.
pub const ENDED_BANNED: &str = "couplet_connections_ended_banned_total";
/// The version of the rules that the edge follows.
pub const RULES_VERSION: &str = "couplet_edge_rules_version";

/// How near its bounds the edge is, by `resource`.
pub const OVERLOAD: &str = "couplet_edge_overload_level";

/// Why sockets are closed at once.
pub(crate) const REFUSALS: &[&str] = &["full", "pace", "draining", "banned"];

/// The mechanisms told apart in [`LOGINS`]; anything else is `other`.
const MECHANISMS: [&str; 6] = [
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "PLAIN",
    "other",
];

/// What carries a connection's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nobody yet.
    Negotiating,
    /// An account.
    Authenticated,
    /// A session.
    Bound,
}

/// A mechanism of [`MECHANISMS`], by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mechanism(u8);

/// What came first on connections from balancers; arrays by version.
pub(crate) struct ProxyHeaders {
    /// The client's address.
    pub(crate) accepted: [Counter; 2],
    /// None: the balancer comes on its own behalf, or does not know.
    pub(crate) local: [Counter; 2],
    pub(crate) malformed: [Counter; 2],
    /// Something else than a header.
    pub(crate) missing: Counter,
    /// Nothing, until the connection ended.
    pub(crate) closed: Counter,
    /// Nothing, for too long.
    pub(crate) late: Counter,
    /// Too many others were waited for.
    pub(crate) crowded: Counter,
}

/// The edge's handles.
pub(crate) struct Metrics {
    connections: [[Gauge; 3]; 2],
    pub(crate) accepted: Counter,
    pub(crate) refused_full: Counter,
    pub(crate) refused_pace: Counter,
    pub(crate) refused_draining: Counter,
    pub(crate) refused_banned: Counter,
    pub(crate) paced: Counter,
    pub(crate) proxy_headers: ProxyHeaders,
    pub(crate) handshakes: Counter,
    pub(crate) handshake_failures: Counter,
    pub(crate) handshake_seconds: Histogram,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    stanzas_in: [Counter; 3],
    stanzas_out: [Counter; 3],
    stanza_errors: Vec<Counter>,
    stream_errors: Vec<Counter>,
    logins: [[Counter; 2]; MECHANISMS.len()],
    pub(crate) delivery_seconds: Histogram,
    pub(crate) outbound_depth: Histogram,
    pub(crate) overflows: Counter,
    pub(crate) stalls: Counter,
    pub(crate) ping_timeouts: Counter,
    pub(crate) frames_stale: Counter,
    pub(crate) frames_unknown: Counter,
    pub(crate) frames_orphaned: Counter,
    pub(crate) credit_stalls: Counter,
    pub(crate) bound: Counter,
    pub(crate) binds_failed: Counter,
    pub(crate) resumed: Counter,
    pub(crate) resumptions_failed: Counter,
    pub(crate) unacked: Gauge,
    pub(crate) reattached: Counter,
    pub(crate) parked: Counter,
    pub(crate) replayed: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) handshakes_waited: Counter,
    pub(crate) logins_waited: Counter,
    pub(crate) ended_banned: Counter,
    pub(crate) rules_version: Gauge,
    pub(crate) overload_handshakes: Gauge,
    pub(crate) overload_logins: Gauge,
}

// === impl Mechanism ===

impl Mechanism {
    /// The label of this name.
    pub(crate) fn of(name: &str) -> Self {
        let other = MECHANISMS.len() - 1;
        let index = MECHANISMS.iter().position(|known| *known == name);
        Self(u8::try_from(index.unwrap_or(other)).expect("a short table"))
    }

    /// Its label.
    pub(crate) fn name(self) -> &'static str {
        MECHANISMS[usize::from(self.0)]
    }
}

// === impl ProxyHeaders ===

impl ProxyHeaders {
    fn new() -> Self {
        let header =
            |version, outcome| counter!(PROXY_HEADERS, "version" => version, "outcome" => outcome);
        let both = |outcome| ["1", "2"].map(|version| header(version, outcome));
        Self {
            accepted: both("accepted"),
            local: both("local"),
            malformed: both("malformed"),
            missing: header("none", "missing"),
            closed: header("none", "closed"),
            late: header("none", "late"),
            crowded: header("none", "crowded"),
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// The handles, from the recorder installed now.
    pub(crate) fn new() -> Self {
        let refused = |reason| counter!(REFUSED, "reason" => reason);
        let overflow = |reason| counter!(OVERFLOWS, "reason" => reason);
        let dropped = |reason| counter!(FRAMES_DROPPED, "reason" => reason);
        Self {
            connections: ["tcp", "tls"].map(|transport| {
                ["negotiating", "authenticated", "bound"]
                    .map(|state| gauge!(CONNECTIONS, "transport" => transport, "state" => state))
            }),
            accepted: counter!(ACCEPTED),
            refused_full: refused("full"),
            refused_pace: refused("pace"),
            refused_draining: refused("draining"),
            refused_banned: refused("banned"),
            paced: counter!(PACED),
            proxy_headers: ProxyHeaders::new(),
            handshakes: counter!(HANDSHAKES, "outcome" => "success"),
            handshake_failures: counter!(HANDSHAKES, "outcome" => "failure"),
            handshake_seconds: histogram!(HANDSHAKE_SECONDS),
            bytes_in: counter!(BYTES, "direction" => "in"),
            bytes_out: counter!(BYTES, "direction" => "out"),
            stanzas_in: stanzas("in"),
            stanzas_out: stanzas("out"),
            stanza_errors: Condition::ALL
                .iter()
                .map(|condition| counter!(STANZA_ERRORS, "condition" => condition.name()))
                .collect(),
            stream_errors: StreamCondition::ALL
                .iter()
                .map(|condition| counter!(STREAM_ERRORS, "condition" => condition.name()))
                .collect(),
            logins: MECHANISMS.map(|mechanism| {
                ["success", "failure"]
                    .map(|outcome| counter!(LOGINS, "mechanism" => mechanism, "outcome" => outcome))
            }),
            delivery_seconds: histogram!(DELIVERY_SECONDS),
            outbound_depth: histogram!(OUTBOUND_DEPTH),
            overflows: overflow("full"),
            stalls: overflow("stalled"),
            ping_timeouts: overflow("silent"),
            frames_stale: dropped("stale"),
            frames_unknown: dropped("unknown"),
            frames_orphaned: dropped("orphaned"),
            credit_stalls: counter!(CREDIT_STALLS),
            bound: counter!(BINDS, "outcome" => "success"),
            binds_failed: counter!(BINDS, "outcome" => "failure"),
            resumed: counter!(RESUMPTIONS, "outcome" => "success"),
            resumptions_failed: counter!(RESUMPTIONS, "outcome" => "failure"),
            unacked: gauge!(UNACKED),
            reattached: counter!(REATTACHED),
            parked: counter!(PARKED),
            replayed: counter!(REPLAYED),
            duplicates: counter!(DUPLICATES),
            handshakes_waited: counter!(ADMISSION_WAITS, "step" => "handshake"),
            logins_waited: counter!(ADMISSION_WAITS, "step" => "login"),
            ended_banned: counter!(ENDED_BANNED),
            rules_version: gauge!(RULES_VERSION),
            overload_handshakes: gauge!(OVERLOAD, "resource" => "handshakes"),
            overload_logins: gauge!(OVERLOAD, "resource" => "logins"),
        }
    }

    /// How many connections are at this stage.
    pub(crate) fn connections(&self, carrier: Carrier, stage: Stage) -> &Gauge {
        &self.connections[carrier as usize][stage as usize]
    }

    /// Stanzas of this kind from clients.
    pub(crate) fn stanzas_in(&self, kind: Kind) -> &Counter {
        &self.stanzas_in[kind as usize]
    }

    /// Stanzas of this kind to clients.
    pub(crate) fn stanzas_out(&self, kind: Kind) -> &Counter {
        &self.stanzas_out[kind as usize]
    }

    /// Stanzas answered with this condition.
    pub(crate) fn stanza_errors(&self, condition: Condition) -> &Counter {
        &self.stanza_errors[condition as usize]
    }

    /// Streams ended with this condition.
    pub(crate) fn stream_errors(&self, condition: StreamCondition) -> &Counter {
        &self.stream_errors[condition as usize]
    }

    /// Counts an authentication.
    pub(crate) fn login(&self, mechanism: Mechanism, succeeded: bool) {
        self.logins[usize::from(mechanism.0)][usize::from(!succeeded)].increment(1);
    }
}

/// One counter for each [`Kind`], in its order.
fn stanzas(direction: &'static str) -> [Counter; 3] {
    [Kind::Message, Kind::Presence, Kind::Iq]
        .map(|kind| counter!(STANZAS, "kind" => kind.name(), "direction" => direction))
}
