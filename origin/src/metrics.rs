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
}

// === impl Hot ===

impl Hot {
    pub(crate) fn of_shard(shard: u16) -> Self {
        let shard = shard.to_string();
        Self {
            sessions: gauge!("couplet_origin_sessions", "shard" => shard.clone()),
            accounts: gauge!("couplet_origin_accounts_resident", "shard" => shard.clone()),
            rooms: gauge!("couplet_origin_rooms_resident", "shard" => shard.clone()),
            occupants: gauge!("couplet_origin_occupants", "shard" => shard.clone()),
            mailbox: gauge!("couplet_origin_mailbox_events", "shard" => shard.clone()),
            backlog: gauge!("couplet_origin_backlog_stanzas", "shard" => shard.clone()),
            routes: gauge!("couplet_origin_routes", "shard" => shard),
            round: histogram!("couplet_origin_round_events"),
            commit: histogram!("couplet_origin_commit_seconds"),
        }
    }
}

/// Tells the recorder what each metric means.
pub fn describe() {
    describe_rooms();
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
    describe_gauge!(
        "couplet_origin_routes",
        "Stanzas on their way to other accounts that have not taken effect, by shard."
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
        "couplet_origin_resumptions_total",
        "Clients that asked for a former session, by outcome."
    );
    describe_counter!(
        "couplet_origin_duplicates_total",
        "Stanzas sent again after a failure that had been applied before."
    );
    describe_counter!(
        "couplet_origin_rerouted_total",
        "Stanzas routed again because the owner of their receiver had changed."
    );
    describe_counter!(
        "couplet_origin_registrations_total",
        "In-band registrations, by outcome."
    );
    describe_counter!(
        "couplet_origin_offline_messages_total",
        "Messages for absent accounts, by outcome."
    );
    describe_cluster();
    describe_directives();
}

fn describe_rooms() {
    describe_gauge!(
        "couplet_origin_rooms_resident",
        "Rooms in memory, by shard; idle ones leave it and stay in the store."
    );
    describe_gauge!(
        "couplet_origin_occupants",
        "Sessions in the rooms in memory, by shard."
    );
    describe_counter!(
        "couplet_origin_room_joins_total",
        "Requests to enter a room, by outcome."
    );
    describe_counter!(
        "couplet_origin_room_messages_total",
        "Messages for everybody in a room, by outcome."
    );
    describe_counter!(
        "couplet_origin_fans_total",
        "Times that something was sent to many sessions at once, as rooms do."
    );
    describe_counter!(
        "couplet_origin_fanned_total",
        "Sessions that something was sent to at once with others."
    );
}

fn describe_directives() {
    describe_counter!(
        "couplet_origin_sessions_expelled_total",
        "Sessions ended by order of an operator, by cause: kicked, banned, gone (their domain)."
    );
    describe_gauge!(
        "couplet_origin_bans",
        "Bans of networks and of accounts that this origin knows, by kind."
    );
    describe_gauge!(
        "couplet_origin_domains_added",
        "Domains served besides those of the configuration."
    );
    describe_gauge!(
        "couplet_origin_rules_version",
        "The version of the bans and domains that this origin knows; the same on every node, \
         seconds after a change."
    );
}

fn describe_cluster() {
    describe_gauge!("couplet_slots_owned", "Slots this node runs.");
    describe_gauge!(
        "couplet_slots_unowned",
        "Slots of the whole cluster that nobody runs, as this node sees it."
    );
    describe_counter!(
        "couplet_slot_moves_total",
        "Slots this node has taken, by cause: unowned, crash or planned."
    );
    describe_histogram!(
        "couplet_slot_pause_seconds",
        Unit::Seconds,
        "From when a living owner was asked to leave a slot until this node owned it."
    );
    describe_histogram!(
        "couplet_slot_unowned_seconds",
        Unit::Seconds,
        "From when the owner of a slot was first seen to be silent until this node owned it."
    );
    describe_counter!(
        "couplet_slots_lost_total",
        "Slots another node had taken before this one left them."
    );
    describe_counter!(
        "couplet_slot_fenced_total",
        "Group commits the store refused because the slot is another's."
    );
    describe_gauge!(
        "couplet_lease_age_seconds",
        Unit::Seconds,
        "Since the lease of this node was last renewed."
    );
    describe_counter!(
        "couplet_beats_failed_total",
        "Renewals of the lease that the store did not answer."
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
    counter!("couplet_origin_fans_total").increment(1);
    counter!("couplet_origin_fanned_total").increment(receivers as u64);
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
