//! Every metric of the origin: the table that says what each means, and how it is counted.
//!
//! Rare events go through the macro with static labels; what happens for every stanza has a
//! cached handle. Whatever the table names stands at zero from the start.

mod table;

use couplet_proto::xmpp::error::Condition;
use metrics::{Gauge, Histogram, counter, gauge, histogram};

pub use table::{CLUSTER, EMBEDDED, REDIS, STORE, TABLE};

/// Handles of what a shard counts for every round.
#[derive(Clone)]
pub(crate) struct Hot {
    /// Sessions of the shard.
    pub(crate) sessions: Gauge,
    /// Those of them without a connection.
    pub(crate) hibernated: Gauge,
    /// Accounts the shard has in memory.
    pub(crate) accounts: Gauge,
    /// Rooms the shard has in memory.
    pub(crate) rooms: Gauge,
    /// Sessions in them.
    pub(crate) occupants: Gauge,
    /// Events waiting in the shard's mailbox.
    pub(crate) mailbox: Gauge,
    /// Stanzas waiting for another shard's mailbox.
    pub(crate) backlog: Gauge,
    /// Stanzas of the shard on their way to other accounts.
    pub(crate) routes: Gauge,
    /// Events handled in one round.
    pub(crate) round: Histogram,
    /// From the start of a commit to its end.
    pub(crate) commit: Histogram,
    /// Changes in one commit.
    pub(crate) writes: Histogram,
}

// === impl Hot ===

impl Hot {
    pub(crate) fn of_shard(shard: u16) -> Self {
        let shard = shard.to_string();
        Self {
            sessions: gauge!("couplet_origin_sessions", "shard" => shard.clone()),
            hibernated: gauge!("couplet_origin_sessions_hibernated", "shard" => shard.clone()),
            accounts: gauge!("couplet_origin_accounts_resident", "shard" => shard.clone()),
            rooms: gauge!("couplet_origin_rooms_resident", "shard" => shard.clone()),
            occupants: gauge!("couplet_origin_occupants", "shard" => shard.clone()),
            mailbox: gauge!("couplet_origin_mailbox_events", "shard" => shard.clone()),
            backlog: gauge!("couplet_origin_backlog_stanzas", "shard" => shard.clone()),
            routes: gauge!("couplet_origin_routes", "shard" => shard),
            round: histogram!("couplet_origin_round_events"),
            commit: histogram!("couplet_origin_commit_seconds"),
            writes: histogram!("couplet_origin_commit_writes"),
        }
    }
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

/// A client asked for a former session: `resumed`, `refused`, or `deferred` while an edge may still
/// bring it.
pub(crate) fn resumption(outcome: &'static str) {
    counter!("couplet_origin_resumptions_total", "outcome" => outcome).increment(1);
}

/// Somebody wanted to enter a room: `entered`, `created` or `refused`.
pub(crate) fn room_join(outcome: &'static str) {
    counter!("couplet_origin_room_joins_total", "outcome" => outcome).increment(1);
}

/// A message for everybody in a room: `sent` or `refused`.
pub(crate) fn room_message(outcome: &'static str) {
    counter!("couplet_origin_room_messages_total", "outcome" => outcome).increment(1);
}

/// A room, or whoever else sends to many, has sent to so many sessions at once.
pub(crate) fn fanned(receivers: usize) {
    histogram!("couplet_origin_fan_receivers").record(receivers as f64);
}

/// A stanza came once more and was not applied again.
pub(crate) fn duplicate() {
    counter!("couplet_origin_duplicates_total").increment(1);
}

/// Stanzas were routed again because the owner of their receiver has changed.
pub(crate) fn rerouted(stanzas: u64) {
    counter!("couplet_origin_rerouted_total").increment(stanzas);
}

/// An in-band registration ended: `created` or `refused`.
pub(crate) fn registration(outcome: &'static str) {
    counter!("couplet_origin_registrations_total", "outcome" => outcome).increment(1);
}

/// A message for an absent account: `stored`, `refused` or `delivered`.
pub(crate) fn offline(outcome: &'static str) {
    counter!("couplet_origin_offline_messages_total", "outcome" => outcome).increment(1);
}

/// How many slots this node runs, and how many nobody does.
pub(crate) fn slots(owned: usize, unowned: usize) {
    gauge!("couplet_slots_owned").set(owned as f64);
    gauge!("couplet_slots_unowned").set(unowned as f64);
}

/// A slot is this node's now, after nobody has run it for a while.
pub(crate) fn gained_slot(cause: &'static str, paused_secs: f64) {
    counter!("couplet_slot_moves_total", "cause" => cause).increment(1);
    match cause {
        "planned" => histogram!("couplet_slot_pause_seconds").record(paused_secs),
        _ => histogram!("couplet_slot_unowned_seconds").record(paused_secs),
    }
}

/// A slot was taken by another node without being asked for.
pub(crate) fn lost_slot() {
    counter!("couplet_slots_lost_total").increment(1);
}

/// The store has refused a commit: the slot is another's.
pub(crate) fn fenced() {
    counter!("couplet_slot_fenced_total").increment(1);
}

/// How old the lease is.
pub(crate) fn lease_age(secs: f64) {
    gauge!("couplet_lease_age_seconds").set(secs);
}

/// An operator has ended a session: it was `kicked`, its account `banned`, or its domain is `gone`.
pub(crate) fn expelled(cause: &'static str) {
    counter!("couplet_origin_sessions_expelled_total", "cause" => cause).increment(1);
}

/// How many bans of networks and of accounts there are, how many domains were added, and the
/// version of all that.
pub(crate) fn directives(networks: usize, accounts: usize, domains: usize, version: u64) {
    gauge!("couplet_origin_bans", "kind" => "network").set(networks as f64);
    gauge!("couplet_origin_bans", "kind" => "account").set(accounts as f64);
    gauge!("couplet_origin_domains_added").set(domains as f64);
    gauge!("couplet_origin_rules_version").set(version as f64);
}

/// The lease could not be renewed.
pub(crate) fn failed_beat() {
    counter!("couplet_beats_failed_total").increment(1);
}
