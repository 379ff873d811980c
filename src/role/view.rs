//! View: what an origin knows, as operators read it.

use couplet_origin::admin::{self, Listing, SessionState};
use couplet_origin::cluster::Report;
use couplet_origin::cluster::plan;
use couplet_origin::store;
use couplet_proto::Jid;
use couplet_proto::link::id::{EdgeId, NodeId};
use couplet_proto::slot::{SLOTS, Slot};

use crate::admin::{
    AskSessions, Health, Kicked, Node, NodeState, PAGE_MAX, Pin, Refusal, Session, SlotState, Slots,
};
use crate::config::Role;

/// What is true of every node.
pub(super) fn health(role: Role, node: &str, is_ready: bool) -> Health {
    Health {
        node: node.to_owned(),
        role: role.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        is_ready,
        is_draining: false,
        slots: None,
        sessions: None,
        connections: None,
        origins: None,
    }
}

/// How many slots a process owns, whatever should be.
pub(super) fn owned(report: &Report, me: &NodeId) -> u32 {
    let owners = report.slots.iter().filter_map(|slot| slot.owner.as_ref());
    let owned = owners.filter(|owner| owner.node == *me).count();
    u32::try_from(owned).unwrap_or(u32::MAX)
}

/// Whether a process gives its slots away.
pub(super) fn is_draining(report: &Report, me: &NodeId) -> bool {
    let mut nodes = report.nodes.iter();
    nodes.any(|node| node.member.node == *me && node.member.is_draining)
}

/// The only node there is.
pub(super) fn alone(name: &str, sessions: usize) -> Node {
    Node {
        name: name.to_owned(),
        state: NodeState::Alive,
        address: String::new(),
        group: String::new(),
        weight: 100,
        slots: u32::from(SLOTS),
        sessions: Some(sessions as u64),
        lease_age_millis: None,
    }
}

/// Every slot, of the only node there is.
pub(super) fn all_slots(name: &str) -> Slots {
    Slots {
        first: 0,
        last: SLOTS - 1,
        owner: Some(name.to_owned()),
        epoch: 0,
        state: SlotState::Owned,
        target: None,
    }
}

/// A member of the cluster, whose lease lasts so long after it was renewed.
pub(super) fn node(node: &plan::Node, lease_ms: u64, sessions: Option<u64>) -> Node {
    let member = &node.member;
    let lease = i64::try_from(lease_ms).unwrap_or(i64::MAX);
    Node {
        name: member.name.to_string(),
        state: if node.is_dead || node.lease_left_ms <= 0 {
            NodeState::Silent
        } else if member.is_draining {
            NodeState::Draining
        } else {
            NodeState::Alive
        },
        address: member.address.to_string(),
        group: member.group.to_string(),
        weight: member.weight,
        slots: u32::try_from(node.slots).unwrap_or(u32::MAX),
        sessions,
        lease_age_millis: Some(lease.saturating_sub(node.lease_left_ms)),
    }
}

/// Who owns what, neighbours of which the same is true in one range.
pub(super) fn slots(report: &Report) -> Vec<Slots> {
    let name = |id: &NodeId| {
        let mut nodes = report.nodes.iter();
        let known = nodes.find(|node| node.member.node == *id);
        // Of one that has left for good nothing but its id is known.
        known.map_or_else(|| id.to_string(), |node| node.member.name.to_string())
    };
    let mut ranges: Vec<Slots> = Vec::new();
    for whereabouts in &report.slots {
        let slot = whereabouts.slot.number();
        let owner = whereabouts.owner.as_ref();
        let target = whereabouts.target.as_ref();
        let next = Slots {
            first: slot,
            last: slot,
            owner: owner.map(|owner| name(&owner.node)),
            epoch: owner.map_or(0, |owner| owner.epoch.0),
            state: match whereabouts.state {
                plan::SlotState::Owned => SlotState::Owned,
                plan::SlotState::Moving => SlotState::Moving,
                plan::SlotState::Unowned => SlotState::Unowned,
            },
            target: target
                .filter(|target| owner.is_none_or(|owner| owner.node != **target))
                .map(name),
        };
        match ranges.last_mut() {
            Some(last) if is_alike(last, &next) => last.last = slot,
            _ => ranges.push(next),
        }
    }
    ranges
}

fn is_alike(one: &Slots, other: &Slots) -> bool {
    one.owner == other.owner
        && one.epoch == other.epoch
        && one.state == other.state
        && one.target == other.target
}

/// Which sessions are meant.
pub(super) fn listing(ask: &AskSessions) -> Result<Listing, Refusal> {
    let account = ask.jid.as_deref().map(|jid| {
        Jid::parse(jid).map_err(|_| Refusal::Malformed(format!("{jid:?} is not an address")))
    });
    Ok(Listing {
        account: account.transpose()?,
        domain: ask.domain.as_deref().map(Into::into),
        after: ask.after.as_deref().map(Into::into),
        max: ask.max.unwrap_or(PAGE_MAX),
    })
}

/// A session of the origin of this name.
pub(super) fn session(
    session: &SessionState,
    node: &str,
    edge: impl Fn(EdgeId) -> Option<String>,
) -> Session {
    Session {
        jid: session.jid.as_str().to_owned(),
        node: node.to_owned(),
        // Of an edge whose link has just ended the name is not known any more.
        edge: session
            .edge
            .map(|id| edge(id).unwrap_or_else(|| "?".to_owned())),
        since: session.bound / 1000,
        is_resumable: session.is_resumable,
    }
}

/// A pin as the store keeps it.
pub(super) fn stored(pin: &Pin) -> Result<store::Pin, Refusal> {
    let slot = |number| {
        let wrong = || Refusal::Malformed(format!("there is no slot {number}"));
        Slot::new(number).ok_or_else(wrong)
    };
    Ok(store::Pin {
        first: slot(pin.first)?,
        last: slot(pin.last)?,
        group: pin.group.as_str().into(),
    })
}

/// A pin as operators read it.
pub(super) fn pin(pin: &store::Pin) -> Pin {
    Pin {
        first: pin.first.number(),
        last: pin.last.number(),
        group: pin.group.to_string(),
    }
}

/// What came of ending sessions, as operators read it.
pub(super) fn kicked(kicked: admin::Kicked) -> Kicked {
    Kicked {
        ended: kicked.ended as u64,
        are_left: kicked.are_left,
    }
}
