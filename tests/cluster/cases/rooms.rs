//! Rooms whose owner, whose occupants' owners or whose occupants' edges die or leave. Everybody
//! stays in the room, hears everything once, and all hear it in the same order.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::edges::{self, all_resumed, in_order};
use super::origins::PLANNED;
use crate::cluster::Layout;
use crate::crowd::Size;
use crate::ownership;
use crate::rooms;
use crate::session::address;
use crate::stage::Stage;
use crate::verdict::{Expected, Verdict};

/// Eight in each of three rooms, every one of which another origin owns.
const USUAL: Size = Size {
    managed: 20,
    plain: 4,
    offline: 0,
    interval: Duration::from_millis(300),
    rooms: &[0, 1, 2],
    plain_come_back: true,
};

/// At the edge that ends: every other one of those with stream management.
const AT_EDGE: usize = 10;

pub(super) async fn origin_killed(folder: PathBuf) -> Verdict {
    let mut stage = Stage::set(&folder, Layout::default(), USUAL).await;
    let owner = owner_of_first(&stage);
    stage.cluster.origins[owner].kill();
    stage.crowd.everyone_is_heard().await;
    stage.cluster.origins[owner].run().await;
    stage.crowd.everyone_is_heard().await;
    stage.finish(allowed(&[])).await
}

pub(super) async fn occupants_origin_killed(folder: PathBuf) -> Verdict {
    let size = Size {
        rooms: &[1, 2, 1],
        ..USUAL
    };
    let mut stage = Stage::set(&folder, Layout::default(), size).await;
    let owners: BTreeSet<usize> = stage
        .crowd
        .rooms
        .iter()
        .map(|room| owner_of(&stage, *room))
        .collect();
    let other = (0..stage.cluster.origins.len()).find(|it| !owners.contains(it));
    let other = other.expect("rooms are at two of three");
    stage.cluster.origins[other].kill();
    stage.crowd.everyone_is_heard().await;
    stage.finish(allowed(&[])).await
}

pub(super) async fn origin_drained(folder: PathBuf) -> Verdict {
    let mut stage = Stage::set(&folder, Layout::default(), USUAL).await;
    let owner = owner_of_first(&stage);
    let status = stage.cluster.origins[owner].drain().await;
    stage.crowd.everyone_is_heard().await;
    let expected = Expected {
        pause_max: PLANNED,
        ..allowed(&[])
    };
    in_order(stage.finish(expected).await, &[status])
}

pub(super) async fn edge_killed(folder: PathBuf) -> Verdict {
    let mut stage = Stage::set(&folder, Layout::default(), USUAL).await;
    stage.cluster.edges[0].kill();
    stage.crowd.everyone_is_heard().await;
    let verdict = stage.finish(allowed(&[0])).await;
    all_resumed(verdict, AT_EDGE)
}

pub(super) async fn edge_and_origin_killed(folder: PathBuf) -> Verdict {
    let mut stage = Stage::set(&folder, Layout::default(), USUAL).await;
    let owner = owner_of_first(&stage);
    let may_lose = at_both(&stage, owner);
    stage.cluster.edges[0].kill();
    stage.cluster.origins[owner].kill();
    stage.crowd.everyone_is_heard().await;
    let least = AT_EDGE - may_lose.len().min(AT_EDGE);
    let expected = Expected {
        may_lose,
        ..allowed(&[0])
    };
    all_resumed(stage.finish(expected).await, least)
}

pub(super) async fn plain_leave(folder: PathBuf) -> Verdict {
    let size = Size {
        managed: 18,
        plain: 6,
        plain_come_back: false,
        ..USUAL
    };
    let mut stage = Stage::set(&folder, Layout::default(), size).await;
    stage.cluster.edges[0].kill();
    stage.crowd.everyone_is_heard().await;
    stage.finish(allowed(&[0])).await
}

/// These edges end once each.
fn allowed(edges: &[usize]) -> Expected {
    Expected {
        // Each is heard eight times.
        messages_min: 100,
        ..edges::ends(edges)
    }
}

/// The origin that owns a room, by its place in the cluster.
fn owner_of(stage: &Stage, room: rooms::Room) -> usize {
    let owner = rooms::owner(&stage.cluster.redis, room).expect("its slot has an owner");
    place_of(stage, &owner)
}

fn owner_of_first(stage: &Stage) -> usize {
    owner_of(stage, stage.crowd.rooms[0])
}

fn place_of(stage: &Stage, owner: &ownership::Owner) -> usize {
    let mut origins = stage.cluster.origins.iter();
    let place = origins.position(|origin| owner.is(&origin.name));
    place.expect("an origin of the case")
}

/// Users at the first edge whose sessions this origin owns.
fn at_both(stage: &Stage, origin: usize) -> BTreeSet<usize> {
    let redis = &stage.cluster.redis;
    let at_edge = (0..USUAL.managed + USUAL.plain).step_by(stage.cluster.edges.len());
    let owned = at_edge.filter(|user| {
        let owner = rooms::owner_of(redis, &address(*user));
        owner.is_some_and(|owner| place_of(stage, &owner) == origin)
    });
    owned.collect()
}
