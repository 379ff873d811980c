//! The cases: each starts a cluster of its own with people talking, breaks something, and says
//! what is allowed.

mod edges;
mod network;
mod operators;
mod ordered;
mod origins;
mod ownership;
mod rooms;
mod sessions;
mod store;

use std::path::PathBuf;
use std::pin::Pin;

use crate::verdict::Verdict;

/// A case under way.
pub(crate) type Run = Pin<Box<dyn Future<Output = Verdict>>>;

/// A case: its name, and how it is run with its files in a folder.
pub(crate) type Case = (&'static str, fn(PathBuf) -> Run);

/// All there are, in the order they run.
pub(crate) const ALL: &[Case] = &[
    ("origin_killed", |it| Box::pin(origins::killed(it))),
    ("origin_paused_and_woken", |it| {
        Box::pin(origins::paused(it))
    }),
    ("origin_drained", |it| Box::pin(origins::drained(it))),
    ("origin_added", |it| Box::pin(origins::added(it))),
    ("origin_killed_while_slots_move", |it| {
        Box::pin(origins::killed_while_slots_move(it))
    }),
    ("new_origin_killed_while_slots_move", |it| {
        Box::pin(origins::newcomer_killed(it))
    }),
    ("edge_killed", |it| Box::pin(edges::killed(it))),
    ("edge_drained", |it| Box::pin(edges::drained(it))),
    ("edge_and_origin_killed", |it| {
        Box::pin(edges::killed_with_origin(it))
    }),
    ("all_restarted_in_turn", |it| Box::pin(edges::rolling(it))),
    ("operators_ask_any_origin", |it| {
        Box::pin(operators::work(it))
    }),
    ("all_restarted_behind_balancer", |it| {
        Box::pin(edges::rolling_behind_balancer(it))
    }),
    ("what_is_ordered_is_so_everywhere", |it| {
        Box::pin(ordered::everywhere(it))
    }),
    ("store_killed", |it| Box::pin(store::killed(it))),
    ("store_paused", |it| Box::pin(store::paused(it))),
    ("edge_cut_from_origin", |it| Box::pin(network::edge_cut(it))),
    ("origin_cut_from_origins", |it| {
        Box::pin(network::origin_cut(it))
    }),
    ("owner_forged", |it| Box::pin(ownership::owner_forged(it))),
    ("lease_forged", |it| Box::pin(ownership::lease_forged(it))),
    ("resumed_twice_at_once", |it| {
        Box::pin(sessions::resumed_twice(it))
    }),
    ("plain_sessions_end_with_their_edge", |it| {
        Box::pin(sessions::plain_end_with_edge(it))
    }),
    ("room_origin_killed", |it| {
        Box::pin(rooms::origin_killed(it))
    }),
    ("room_occupants_origin_killed", |it| {
        Box::pin(rooms::occupants_origin_killed(it))
    }),
    ("room_origin_drained", |it| {
        Box::pin(rooms::origin_drained(it))
    }),
    ("room_edge_killed", |it| Box::pin(rooms::edge_killed(it))),
    ("room_edge_and_origin_killed", |it| {
        Box::pin(rooms::edge_and_origin_killed(it))
    }),
    ("room_plain_occupants_leave", |it| {
        Box::pin(rooms::plain_leave(it))
    }),
];
