//! Cluster: which origins there are, who owns what, and what is held where.

use std::collections::BTreeMap;

use hyper::Method;

use super::server::{Query, Server};
use super::table::{ranges, table};
use super::{Failure, Output, or_dash};
use crate::admin::{Node, NodeState, Nodes, PinTo, Pins as PinsTold, SlotState, Slots, SlotsTold};
use crate::cli::{Pins, Range};

/// How many ranges of slots are shown in one line.
const RANGES_SHOWN: usize = 6;

/// Lists the origins.
pub(super) async fn nodes(server: &Server, out: Output) -> Result<(), Failure> {
    let nodes: Nodes = server.ask("nodes", &Query::new()).await?;
    out.write(&nodes, |nodes| {
        let rows: Vec<_> = nodes.nodes.iter().map(node_row).collect();
        let heads = [
            "NAME", "STATE", "SLOTS", "SESSIONS", "WEIGHT", "GROUP", "LEASE", "ADDRESS",
        ];
        table(heads, &rows)
    });
    Ok(())
}

fn node_row(node: &Node) -> [String; 8] {
    let state = match node.state {
        NodeState::Alive => "alive",
        NodeState::Draining => "draining",
        NodeState::Silent => "silent",
    };
    let sessions = node.sessions.map(|count| count.to_string());
    let lease = node.lease_age_millis.map(|age| {
        let tenths = age.max(0) / 100;
        format!("{}.{} s ago", tenths / 10, tenths % 10)
    });
    [
        node.name.clone(),
        state.to_owned(),
        node.slots.to_string(),
        or_dash(sessions),
        node.weight.to_string(),
        or_dash(Some(node.group.clone())),
        or_dash(lease),
        or_dash(Some(node.address.clone())),
    ]
}

/// Lists who owns which slots.
pub(super) async fn slots(
    server: &Server,
    range: Option<Range>,
    is_moving: bool,
    out: Output,
) -> Result<(), Failure> {
    let mut told: SlotsTold = server.ask("slots", &Query::new()).await?;
    if is_moving {
        told.slots.retain(|slots| slots.state != SlotState::Owned);
    }
    if let Some(range) = range {
        told.slots.retain_mut(|slots| {
            slots.first = slots.first.max(range.first);
            slots.last = slots.last.min(range.last);
            slots.first <= slots.last
        });
    }
    let is_detailed = is_moving || range.is_some();
    out.write(&told, |told| {
        if is_detailed {
            each_range(&told.slots)
        } else {
            each_owner(&told.slots)
        }
    });
    Ok(())
}

fn state_word(state: SlotState) -> &'static str {
    match state {
        SlotState::Owned => "owned",
        SlotState::Moving => "moving",
        SlotState::Unowned => "unowned",
    }
}

fn each_range(slots: &[Slots]) -> String {
    let rows = slots.iter().map(|slots| {
        [
            ranges(&[(slots.first, slots.last)], 1),
            or_dash(slots.owner.clone()),
            slots.epoch.to_string(),
            state_word(slots.state).to_owned(),
            or_dash(slots.target.clone()),
        ]
    });
    let rows: Vec<_> = rows.collect();
    table(["SLOTS", "OWNER", "EPOCH", "STATE", "TARGET"], &rows)
}

/// One line for all slots of an owner that are in the same state.
fn each_owner(slots: &[Slots]) -> String {
    struct Sum {
        count: u32,
        epochs: (u64, u64),
        ranges: Vec<(u16, u16)>,
    }
    let mut sums: BTreeMap<(Option<&str>, &str, Option<&str>), Sum> = BTreeMap::new();
    for slots in slots {
        let key = (
            slots.owner.as_deref(),
            state_word(slots.state),
            slots.target.as_deref(),
        );
        let sum = sums.entry(key).or_insert(Sum {
            count: 0,
            epochs: (slots.epoch, slots.epoch),
            ranges: Vec::new(),
        });
        sum.count += u32::from(slots.last - slots.first) + 1;
        sum.epochs = (sum.epochs.0.min(slots.epoch), sum.epochs.1.max(slots.epoch));
        sum.ranges.push((slots.first, slots.last));
    }
    let rows = sums.iter().map(|((owner, state, target), sum)| {
        let (low, high) = sum.epochs;
        let epochs = if low == high {
            low.to_string()
        } else {
            format!("{low}-{high}")
        };
        [
            or_dash(owner.map(str::to_owned)),
            (*state).to_owned(),
            or_dash(target.map(str::to_owned)),
            sum.count.to_string(),
            epochs,
            ranges(&sum.ranges, RANGES_SHOWN),
        ]
    });
    let rows: Vec<_> = rows.collect();
    table(
        ["OWNER", "STATE", "TARGET", "COUNT", "EPOCH", "SLOTS"],
        &rows,
    )
}

/// Carries out a command about pins.
pub(super) async fn pins(server: &Server, command: Pins, out: Output) -> Result<(), Failure> {
    match command {
        Pins::List => {
            let told: PinsTold = server.ask("pins", &Query::new()).await?;
            out.write(&told, |told| {
                let rows = told
                    .pins
                    .iter()
                    .map(|pin| [ranges(&[(pin.first, pin.last)], 1), pin.group.clone()]);
                let rows: Vec<_> = rows.collect();
                table(["SLOTS", "GROUP"], &rows)
            });
            Ok(())
        }
        Pins::Set { range, group } => {
            let done = format!("slots {range} are held to the group {group}");
            let path = format!("pins/{range}");
            let group = PinTo { group };
            server.tell(Method::PUT, &path, Some(&group)).await?;
            out.done(&done);
            Ok(())
        }
        Pins::Clear { range } => {
            let path = format!("pins/{range}");
            server.tell::<()>(Method::DELETE, &path, None).await?;
            out.done(&format!("slots {range} are not held to a group any more"));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(first: u16, last: u16, owner: &str, epoch: u64, target: Option<&str>) -> Slots {
        Slots {
            first,
            last,
            owner: Some(owner.to_owned()),
            epoch,
            state: match target {
                Some(_) => SlotState::Moving,
                None => SlotState::Owned,
            },
            target: target.map(str::to_owned),
        }
    }

    #[test]
    fn slots_are_summed_up_by_owner() {
        let all = [
            slots(0, 1, "o1", 3, None),
            slots(2, 2, "o2", 4, Some("o1")),
            slots(3, 9, "o1", 5, None),
        ];
        let expected = "OWNER  STATE   TARGET  COUNT  EPOCH  SLOTS\n\
                        o1     owned   -       9      3-5    0-1,3-9\n\
                        o2     moving  o1      1      4      2\n";
        assert_eq!(each_owner(&all), expected);
        let expected = "SLOTS  OWNER  EPOCH  STATE   TARGET\n\
                        0-1    o1     3      owned   -\n\
                        2      o2     4      moving  o1\n\
                        3-9    o1     5      owned   -\n";
        assert_eq!(each_range(&all), expected);
    }
}
