//! Every metric of an origin. A new one is a new entry here; a test finds what is missing.

use couplet_proto::metric::{Label, Metric, Values};
use couplet_proto::xmpp::error::Condition;

const SHARD: Label = Label::given("shard", "the number of a shard, from 0: one for each core");
const STANZA_CONDITION: Label = Label {
    name: "condition",
    values: Values::Named("a stanza error condition of RFC 6120 §8.3.3", stanza_errors),
};

fn stanza_errors() -> Vec<&'static str> {
    Condition::ALL.iter().map(|it| it.name()).collect()
}

/// What shards do with stanzas, sessions and rooms.
pub const TABLE: &[Metric] = &[
    Metric::gauge("couplet_origin_sessions", "sessions").by(&[SHARD]).says(
        "Sessions, with a connection or without.",
        "How many users there are. Very uneven between origins: see `couplet ctl slots`.",
    ),
    Metric::gauge("couplet_origin_sessions_hibernated", "sessions").by(&[SHARD]).says(
        "Sessions without a connection that wait to be resumed; counted every 10 s.",
        "Rises when an edge is lost, and falls as its clients come back or their time runs out.",
    ),
    Metric::counter("couplet_origin_sessions_expelled_total", "sessions")
        .by(&[Label::of("cause", &["kicked", "banned", "gone"])])
        .says(
            "Sessions ended by order of an operator: named by him, of a banned account, or of a \
             domain that was removed.",
            "Any that nobody knows of: see the audit log.",
        ),
    Metric::gauge("couplet_origin_bans", "bans")
        .by(&[Label::of("kind", &["network", "account"])])
        .says(
            "Bans that this origin knows.",
            "Near `limits.bans`: lift old ones, or give new ones an end.",
        ),
    Metric::gauge("couplet_origin_domains_added", "domains").says(
        "Domains served besides those of the configuration.",
        "For sizing.",
    ),
    Metric::gauge("couplet_origin_rules_version", "version").says(
        "The version of the bans and added domains that this origin knows.",
        "The same on every node, seconds after a change. Behind for long: it cannot read the \
         store.",
    ),
    Metric::gauge("couplet_origin_accounts_resident", "accounts").by(&[SHARD]).says(
        "Accounts in memory.",
        "Falls again when accounts are idle; it is most of the memory of an origin.",
    ),
    Metric::gauge("couplet_origin_rooms_resident", "rooms").by(&[SHARD]).says(
        "Rooms in memory; idle ones leave it and stay in the store. Counted every 10 s.",
        "For sizing.",
    ),
    Metric::gauge("couplet_origin_occupants", "sessions").by(&[SHARD]).says(
        "Sessions in the rooms in memory. Counted every 10 s.",
        "Divided by couplet_origin_rooms_resident it is the mean room.",
    ),
    Metric::gauge("couplet_origin_mailbox_events", "events").by(&[SHARD]).says(
        "Events waiting in a shard's mailbox.",
        "At 4096 edges wait for room, and their clients are not read. One shard alone: a hot \
         account or room.",
    ),
    Metric::gauge("couplet_origin_backlog_stanzas", "stanzas").by(&[SHARD]).says(
        "Stanzas waiting for room in another shard's mailbox, or on the link to another origin.",
        "Above 0 for long: that shard or origin is the one to look at.",
    ),
    Metric::gauge("couplet_origin_routes", "stanzas").by(&[SHARD]).says(
        "Stanzas on their way to other accounts that have not taken effect.",
        "Growing without end: an origin that does not answer.",
    ),
    Metric::histogram("couplet_origin_round_events", "events").says(
        "Events a shard handled in one round.",
        "At 512 all the time: the shard is busy without a pause.",
    ),
    Metric::histogram("couplet_origin_commit_seconds", "seconds").says(
        "From the start of a shard's group commit until it is durable; for all of that time its \
         senders wait.",
        "p99 above 0.25 s: the store or the way there is slow: see couplet_store_commit_seconds.",
    ),
    Metric::histogram("couplet_origin_commit_writes", "writes").says(
        "Batch size: changes in one group commit of a shard.",
        "Grows when the store is slow, which is what keeps the origin up with it.",
    ),
    Metric::gauge("couplet_origin_overload_level", "ratio")
        .by(&[Label::of("resource", &["mailbox", "commit"])])
        .says(
            "Overload of the origin, from 0 (idle) to 1 (at the bound). `mailbox`: how full the \
             fullest shard's mailbox is; at 1 edges wait. `commit`: for how long the oldest group \
             commit has been under way, as a part of the time after which it is given up and its \
             senders get an error. Measured every second; the origin's level is the higher of the \
             two.",
            "`mailbox` above 0.5: more origins, or more processors. `commit` above 0.5: the store.",
        ),
    Metric::counter("couplet_origin_stanza_errors_total", "stanzas").by(&[STANZA_CONDITION]).says(
        "Stanza errors sent.",
        "`internal-server-error`: a bug, see the log. `resource-constraint`: a store that does \
         not take writes, or full mailboxes. The others are mostly clients.",
    ),
    Metric::counter("couplet_origin_handler_panics_total", "panics").says(
        "Handlers that panicked; each cost one stanza, and its sender got an error.",
        "Any is a bug: report it with the log's `panicked` line.",
    ),
    Metric::counter("couplet_origin_commit_failures_total", "commits").says(
        "Commits of slots given up: their senders got `resource-constraint`.",
        "Any: the store was away for longer than a commit waits, or a slot went to another origin.",
    ),
    Metric::counter("couplet_origin_stale_frames_total", "frames").says(
        "Epoch refusals: frames refused because their epoch is not the slot's.",
        "Comes with moves. Without moves and steadily: an edge does not hear who owns what.",
    ),
    Metric::counter("couplet_origin_resumptions_total", "requests")
        .by(&[Label::of("outcome", &["resumed", "refused", "deferred"])])
        .says(
            "Clients that asked for a former session; `deferred` while an edge may still bring it.",
            "Many `refused`: clients that come back too late, see `limits.resume_secs`.",
        ),
    Metric::counter("couplet_origin_duplicates_total", "stanzas").says(
        "Deduplicated: stanzas sent again after a failure that had been applied before.",
        "Comes with moves and lost links; that they are counted here is what keeps them from \
         acting twice.",
    ),
    Metric::counter("couplet_origin_rerouted_total", "stanzas").says(
        "Stanzas routed again because the owner of their receiver had changed.",
        "Comes with moves.",
    ),
    Metric::counter("couplet_origin_registrations_total", "requests")
        .by(&[Label::of("outcome", &["created", "refused"])])
        .says(
            "In-band registrations.",
            "A burst of `created`: somebody makes accounts by machine: close registration.",
        ),
    Metric::counter("couplet_origin_offline_messages_total", "messages")
        .by(&[Label::of("outcome", &["stored", "refused", "delivered"])])
        .says(
            "Messages for absent accounts.",
            "`refused`: mailboxes at `limits.offline_messages`.",
        ),
    Metric::counter("couplet_origin_room_joins_total", "requests")
        .by(&[Label::of("outcome", &["entered", "created", "refused"])])
        .says(
            "Requests to enter a room.",
            "A burst of `created` or `refused`: somebody tries rooms by machine.",
        ),
    Metric::counter("couplet_origin_room_messages_total", "messages")
        .by(&[Label::of("outcome", &["sent", "refused"])])
        .says(
            "Messages for everybody in a room.",
            "Many `refused`: clients that write where they have no voice.",
        ),
    Metric::histogram("couplet_origin_fan_receivers", "sessions").says(
        "Fan-out: to how many sessions something was sent at once, as rooms do.",
        "The sum is what rooms cost; its rate far above that of client stanzas is normal.",
    ),
];

/// What an origin does as a member of its cluster.
pub const CLUSTER: &[Metric] = &[
    Metric::gauge("couplet_slots_owned", "slots").says(
        "Slots this node runs, of 4096.",
        "0 while others own slots: it drains, or cannot reach the store.",
    ),
    Metric::gauge("couplet_slots_unowned", "slots").says(
        "Slots of the whole cluster that nobody runs, as this node sees it.",
        "Above 0 for more than 10 s: their users can neither log in nor write.",
    ),
    Metric::counter("couplet_slot_moves_total", "slots")
        .by(&[Label::of("cause", &["unowned", "crash", "planned"])])
        .says(
            "Slots this node has taken.",
            "`crash`: an origin died. `planned` without end: origins that come and go.",
        ),
    Metric::histogram("couplet_slot_pause_seconds", "seconds").says(
        "From when a living owner was asked to leave a slot until this node owned it.",
        "Above 1 s: the former owner's commits are slow.",
    ),
    Metric::histogram("couplet_slot_unowned_seconds", "seconds").says(
        "From when the owner of a slot was first seen to be silent until this node owned it.",
        "About the time of a lease. Longer: the store was slow to say so.",
    ),
    Metric::counter("couplet_slots_lost_total", "slots").says(
        "Slots another node had taken before this one left them.",
        "Any: this node was silent for longer than a lease: paused, swapping, or cut off.",
    ),
    Metric::counter("couplet_slot_fenced_total", "commits").says(
        "Group commits the store refused because the slot is another's.",
        "As couplet_slots_lost_total. The fence has worked: nothing was written twice.",
    ),
    Metric::gauge("couplet_lease_age_seconds", "seconds").says(
        "Since the lease of this node was last renewed.",
        "Above half of the time of a lease, 4 s: the store is slow; at the whole of it others take \
         the slots.",
    ),
    Metric::counter("couplet_beats_failed_total", "renewals").says(
        "Renewals of the lease that the store did not answer.",
        "Any, repeatedly: the store or the way there.",
    ),
];

/// What both stores say.
pub const STORE: &[Metric] = &[
    Metric::histogram("couplet_store_commit_seconds", "seconds").says(
        "How long a commit of one slot took, with its wait in the queue.",
        "p99 above 0.1 s: disk or Redis are slow, or the network between.",
    ),
    Metric::histogram("couplet_store_read_seconds", "seconds").says(
        "How long a read took, with the wait for its turn.",
        "As for commits; logins become slow first.",
    ),
    Metric::counter("couplet_store_errors_total", "requests")
        .by(&[Label::of("kind", &["fenced", "unavailable", "corrupt"])])
        .says(
            "Requests to the store that failed.",
            "`unavailable`: Redis is away, or the disk is full. `corrupt`: what is stored cannot \
             be read: see the log, and have a backup at hand. `fenced`: see \
             couplet_slot_fenced_total.",
        ),
];

/// What Redis adds.
pub const REDIS: &[Metric] = &[Metric::gauge("couplet_store_in_flight", "requests").says(
    "Requests to Redis that wait for their answer.",
    "Growing while the rate of commits does not: Redis is at its limit.",
)];

/// What the embedded store adds.
pub const EMBEDDED: &[Metric] = &[
    Metric::histogram("couplet_store_group_batches", "batches").says(
        "Batches made durable by one fsync.",
        "Grows when the disk is slow, which is what keeps the server up with it.",
    ),
    Metric::histogram("couplet_store_group_writes", "writes").says(
        "Changes made durable by one fsync.",
        "As couplet_store_group_batches.",
    ),
    Metric::gauge("couplet_store_queue_batches", "batches").says(
        "Batches waiting for the writer.",
        "Growing: the disk is slower than what is written.",
    ),
];
