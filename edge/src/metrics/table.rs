//! Every metric of an edge. A new one is a new entry here; a test finds what is missing.

use couplet_proto::metric::{Label, Metric, Values};
use couplet_proto::xmpp::error::{Condition, StreamCondition};

const OUTCOME: Label = Label::of("outcome", &["success", "failure"]);
const DIRECTION: Label = Label::of("direction", &["in", "out"]);
const STANZA_CONDITION: Label = Label {
    name: "condition",
    values: Values::Named("a stanza error condition of RFC 6120 §8.3.3", stanza_errors),
};
const STREAM_CONDITION: Label = Label {
    name: "condition",
    values: Values::Named("a stream error condition of RFC 6120 §4.9.3", stream_errors),
};

fn stanza_errors() -> Vec<&'static str> {
    Condition::ALL.iter().map(|it| it.name()).collect()
}

fn stream_errors() -> Vec<&'static str> {
    StreamCondition::ALL.iter().map(|it| it.name()).collect()
}

/// All of them.
pub const TABLE: &[Metric] = &[
    Metric::gauge(super::CONNECTIONS, "connections")
        .by(&[
            Label::of("transport", &["tcp", "tls"]),
            Label::of("state", &["negotiating", "authenticated", "bound"]),
        ])
        .says(
            "Client connections that exist.",
            "A sudden fall is a network or a balancer; many `negotiating` are clients that do not \
             come through, or somebody who holds sockets open.",
        ),
    Metric::counter(super::ACCEPTED, "connections").says(
        "Client sockets accepted.",
        "Many more than logins: clients that give up, or health checks that open the c2s port.",
    ),
    Metric::counter(super::REFUSED, "connections")
        .by(&[Label::of("reason", super::REFUSALS)])
        .says(
            "Client sockets closed at once.",
            "`full`: the edge holds as many as `limits.connections` allows: add edges. `pace`: one \
             network opens too many: an attack, or many users behind one address. `draining`: the \
             balancer still sends clients to an edge that is leaving. `banned`: an operator has \
             banned where they come from, and they try on.",
        ),
    Metric::counter(super::ENDED_BANNED, "connections").says(
        "Client connections ended because an operator has banned where they came from.",
        "Some with each ban. With none, the address banned was not the one of the trouble.",
    ),
    Metric::gauge(super::RULES_VERSION, "version").says(
        "The version of the bans and added domains that this edge follows.",
        "The same on every node, seconds after a change. Behind for long: no origin that knows the \
         newest is linked; see couplet_link_lanes.",
    ),
    Metric::counter(super::PACED, "connections").says(
        "Client sockets that had to wait for their turn, by their network's pace.",
        "Normal when many come at once. All the time: find out who it is, or raise \
         `limits.new_connections_per_second`.",
    ),
    Metric::counter(super::PROXY_HEADERS, "connections")
        .by(&[
            Label::of("version", &["1", "2", "none"]),
            Label::of(
                "outcome",
                &[
                    "accepted", "local", "malformed", "missing", "closed", "late", "crowded",
                ],
            ),
        ])
        .says(
            "What balancers said first on their connections (PROXY protocol). With any outcome but \
             `accepted` and `local` the connection was closed.",
            "`missing`: the balancer does not send the header, or somebody else connects from \
             `c2s.proxy_protocol_from`. `malformed`: it sends something else. `late`, `crowded`: \
             it is broken.",
        ),
    Metric::counter(super::HANDSHAKES, "handshakes").by(&[OUTCOME]).says(
        "TLS handshakes.",
        "Failures above some percent: an expired certificate, one that is missing, or scanners.",
    ),
    Metric::histogram(super::HANDSHAKE_SECONDS, "seconds").says(
        "Duration of TLS handshakes that succeeded.",
        "Long: the processor is busy, or clients have slow networks.",
    ),
    Metric::counter(super::BYTES, "bytes").by(&[DIRECTION]).says(
        "Bytes on client sockets, TLS included.",
        "For sizing the network.",
    ),
    Metric::counter(super::STANZAS, "stanzas")
        .by(&[Label::of("kind", &["message", "presence", "iq"]), DIRECTION])
        .says(
            "Stanzas on client sockets.",
            "The traffic itself. No `in` while clients are connected: something behind is stuck.",
        ),
    Metric::counter(super::STANZA_ERRORS, "stanzas").by(&[STANZA_CONDITION]).says(
        "Stanzas the edge itself answered with an error, before they went to an origin.",
        "Much `not-acceptable` or `bad-request`: a broken client.",
    ),
    Metric::counter(super::STREAM_ERRORS, "streams").by(&[STREAM_CONDITION]).says(
        "Streams ended with an error.",
        "`policy-violation` and `not-well-formed` in numbers: an attack or a broken client. \
         `connection-timeout`: clients that vanish. `internal-server-error`: a bug, see the log.",
    ),
    Metric::counter(super::LOGINS, "authentications")
        .by(&[Label::of("mechanism", &super::MECHANISMS), OUTCOME])
        .says(
            "Authentications that an origin has decided; a mechanism nobody offers is `other`.",
            "A burst of failures: somebody guesses passwords, or a password was changed.",
        ),
    Metric::counter(super::BINDS, "requests").by(&[OUTCOME]).says(
        "Requests to bind a resource.",
        "Many more than resumptions after a short loss: clients that cannot resume.",
    ),
    Metric::counter(super::RESUMPTIONS, "requests").by(&[OUTCOME]).says(
        "Requests to resume a session (XEP-0198).",
        "Failures are clients that came back too late, or sessions that died with edge and origin.",
    ),
    Metric::histogram(super::DELIVERY_SECONDS, "seconds").says(
        "End to end: from when a message was read off its sender's socket until it was written \
         for its receiver's. Every node adds the time that passed on it, so clocks are never \
         compared; what a frame spends on the wire between two nodes is not counted.",
        "p99 above 1 s: see commit latency, mailboxes and overload on the origins first.",
    ),
    Metric::histogram(super::OUTBOUND_DEPTH, "stanzas").says(
        "Stanzas found waiting for a client when its connection got round to writing.",
        "Rising: the edge's processors are busy, or clients read slowly.",
    ),
    Metric::counter(super::OVERFLOWS, "connections")
        .by(&[Label::of("reason", &["full", "stalled", "silent"])])
        .says(
            "Connections ended because the client did not take what it was sent.",
            "`full`: too much waited. `stalled`: the socket took nothing for \
             `limits.outbound_stall_secs`. `silent`: no answer to a ping. In numbers: a network \
             that drops traffic between balancer and clients.",
        ),
    Metric::counter(super::FRAMES_DROPPED, "frames")
        .by(&[Label::of("reason", &["stale", "unknown", "orphaned"])])
        .says(
            "Frames of origins that the edge did not take. `stale`: refused, because their epoch \
             or connection is the past's. `unknown`: for a connection that is gone. `orphaned`: \
             of a session left behind.",
            "`stale` comes with moves. Steadily without moves: two origins believe in one slot.",
        ),
    Metric::counter(super::CREDIT_STALLS, "times").says(
        "Credit exhausted: a client was left unread because its stanzas had not yet taken effect.",
        "Steadily: origins or store are slower than clients send: see commit latency and overload.",
    ),
    Metric::gauge(super::UNACKED, "stanzas").says(
        "Stanzas written to clients with stream management that they have not acknowledged.",
        "It is memory: at most 1 MiB for each client.",
    ),
    Metric::counter(super::REATTACHED, "sessions").says(
        "Sessions that went to a new owner, or to the old one by a new way.",
        "Comes with moves and lost links. Steadily: an unstable link between edge and origin.",
    ),
    Metric::counter(super::PARKED, "stanzas").says(
        "Stanzas of clients that came while nobody owned their slot, and waited at the edge.",
        "Comes with moves. Growing: see couplet_slots_unowned.",
    ),
    Metric::counter(super::REPLAYED, "stanzas").says(
        "Stanzas of clients that were sent to an owner once more, and what was asked with them.",
        "As couplet_sessions_reattached_total.",
    ),
    Metric::counter(super::DUPLICATES, "stanzas").says(
        "Deduplicated: stanzas an owner sent once more that the client had had.",
        "Comes with moves; that they are counted here is what keeps clients from seeing them.",
    ),
    Metric::counter(super::ADMISSION_WAITS, "clients")
        .by(&[Label::of("step", &["handshake", "login"])])
        .says(
            "Clients that waited for their turn on their way in.",
            "Normal after an edge is lost. All the time: add edges, or processors.",
        ),
    Metric::gauge(super::OVERLOAD, "ratio")
        .by(&[Label::of("resource", &["handshakes", "logins"])])
        .says(
            "Overload of the edge, from 0 (idle) to 1 (at the bound: whoever comes next waits): \
             which part of its permits to be on the way in is taken, for TLS handshakes and for \
             logins. Measured ten times a second; the edge's level is the higher of the two.",
            "1 for more than a minute: clients come faster than the edge lets them in.",
        ),
];
