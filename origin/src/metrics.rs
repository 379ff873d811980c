//! Every metric of the origin's engine: name, unit, labels, help.
//!
//! Rare events go through the macro with static labels; what happens for every stanza has a
//! cached handle.

use couplet_proto::xmpp::error::Condition;
use metrics::{
    Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

/// Handles of what a shard counts for every round.
#[derive(Clone)]
pub(crate) struct Hot {
    /// Sessions of the shard.
    pub(crate) sessions: Gauge,
    /// Accounts the shard has in memory.
    pub(crate) accounts: Gauge,
    /// Events waiting in the shard's mailbox.
    pub(crate) mailbox: Gauge,
    /// Stanzas waiting for another shard's mailbox.
    pub(crate) backlog: Gauge,
    /// Events handled in one round.
    pub(crate) round: Histogram,
    /// From the start of a commit to its end.
    pub(crate) commit: Histogram,
}

// === impl Hot ===

impl Hot {
    pub(crate) fn of_shard(shard: u16) -> Self {
        let shard = shard.to_string();
        Self {
            sessions: gauge!("couplet_origin_sessions", "shard" => shard.clone()),
            accounts: gauge!("couplet_origin_accounts_resident", "shard" => shard.clone()),
            mailbox: gauge!("couplet_origin_mailbox_events", "shard" => shard.clone()),
            backlog: gauge!("couplet_origin_backlog_stanzas", "shard" => shard),
            round: histogram!("couplet_origin_round_events"),
            commit: histogram!("couplet_origin_commit_seconds"),
        }
    }
}

/// Tells the recorder what each metric means.
pub fn describe() {
    describe_gauge!("couplet_origin_sessions", "Bound sessions, by shard.");
    describe_gauge!(
        "couplet_origin_accounts_resident",
        "Accounts in memory, by shard."
    );
    describe_gauge!(
        "couplet_origin_mailbox_events",
        "Events waiting in a shard's mailbox."
    );
    describe_gauge!(
        "couplet_origin_backlog_stanzas",
        "Stanzas waiting for room in another shard's mailbox."
    );
    describe_histogram!(
        "couplet_origin_round_events",
        "Events a shard handled in one round."
    );
    describe_histogram!(
        "couplet_origin_commit_seconds",
        Unit::Seconds,
        "From the start of a shard's group commit until it is durable."
    );
    describe_counter!(
        "couplet_origin_stanza_errors_total",
        "Stanza errors sent, by condition."
    );
    describe_counter!(
        "couplet_origin_handler_panics_total",
        "Handlers that panicked; each cost one stanza."
    );
    describe_counter!(
        "couplet_origin_commit_failures_total",
        "Group commits given up: their senders got resource-constraint."
    );
    describe_counter!(
        "couplet_origin_stale_frames_total",
        "Frames refused because their epoch is not the slot's."
    );
    describe_counter!(
        "couplet_origin_registrations_total",
        "In-band registrations, by outcome."
    );
    describe_counter!(
        "couplet_origin_offline_messages_total",
        "Messages for absent accounts, by outcome."
    );
}

/// An error stanza is sent.
pub(crate) fn stanza_error(condition: Condition) {
    counter!("couplet_origin_stanza_errors_total", "condition" => condition.name()).increment(1);
}

/// A handler panicked.
pub(crate) fn handler_panic() {
    counter!("couplet_origin_handler_panics_total").increment(1);
}

/// A commit has been given up.
pub(crate) fn failed_commit() {
    counter!("couplet_origin_commit_failures_total").increment(1);
}

/// A frame's epoch is not the slot's.
pub(crate) fn stale_frame() {
    counter!("couplet_origin_stale_frames_total").increment(1);
}

/// An in-band registration ended: `created` or `refused`.
pub(crate) fn registration(outcome: &'static str) {
    counter!("couplet_origin_registrations_total", "outcome" => outcome).increment(1);
}

/// A message for an absent account: `stored`, `refused` or `delivered`.
pub(crate) fn offline(outcome: &'static str) {
    counter!("couplet_origin_offline_messages_total", "outcome" => outcome).increment(1);
}
