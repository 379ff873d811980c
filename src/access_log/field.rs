//! Fields: what a line of the access log can say, by the names of the W3C draft where it has one.

/// One thing a line can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Date,
    Time,
    Node,
    Event,
    ClientIp,
    ClientPort,
    ServerIp,
    ServerPort,
    Transport,
    Tls,
    Connection,
    Jid,
    Resource,
    Session,
    Mechanism,
    Outcome,
    Reason,
    BytesIn,
    BytesOut,
    StanzasIn,
    StanzasOut,
    TimeTaken,
    AckRtt,
    QueueMax,
    Count,
    Slots,
    From,
    To,
}

/// Every field, in the order of a line that nobody has chosen.
const ALL: &[(&str, Field)] = &[
    ("date", Field::Date),
    ("time", Field::Time),
    ("x-node", Field::Node),
    ("x-event", Field::Event),
    ("c-ip", Field::ClientIp),
    ("c-port", Field::ClientPort),
    ("s-ip", Field::ServerIp),
    ("s-port", Field::ServerPort),
    ("x-transport", Field::Transport),
    ("x-tls", Field::Tls),
    ("x-connection", Field::Connection),
    ("x-jid", Field::Jid),
    ("x-resource", Field::Resource),
    ("x-session", Field::Session),
    ("x-mechanism", Field::Mechanism),
    ("x-outcome", Field::Outcome),
    ("x-reason", Field::Reason),
    ("cs-bytes", Field::BytesIn),
    ("sc-bytes", Field::BytesOut),
    ("x-stanzas-in", Field::StanzasIn),
    ("x-stanzas-out", Field::StanzasOut),
    ("time-taken", Field::TimeTaken),
    ("x-ack-rtt", Field::AckRtt),
    ("x-queue-max", Field::QueueMax),
    ("x-count", Field::Count),
    ("x-slots", Field::Slots),
    ("x-from", Field::From),
    ("x-to", Field::To),
];

// === impl Field ===

impl Field {
    /// Every field, in the order of a line that nobody has chosen.
    pub(crate) fn all() -> Vec<Self> {
        ALL.iter().map(|(_, field)| *field).collect()
    }

    /// The field of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let mut all = ALL.iter();
        all.find(|(known, _)| *known == name)
            .map(|(_, field)| *field)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        let mut all = ALL.iter();
        let known = all.find(|(_, field)| *field == self);
        known.map_or("", |(name, _)| name)
    }

    /// Every name, for whoever has used another.
    pub(crate) fn names() -> String {
        let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}
