//! Nodes: who is there, who owns what, who is where, and who has to leave.

use std::collections::BTreeMap;

use super::server::Server;
use super::table::{ranges, table};
use super::{Failure, Output};
use crate::admin::{
    AskSessions, Drain, Empty, Node, NodeState, Nodes, PAGE_MAX, Pin, Pins as PinsTold, Session,
    Sessions, SlotState, Slots, SlotsTold, Told, Unpin,
};
use crate::cli::{Pins, Range};

/// How many ranges of slots are shown in one line.
const RANGES_SHOWN: usize = 6;

/// Lists the origins.
pub(super) async fn list(server: &Server, out: Output) -> Result<(), Failure> {
    let nodes: Nodes = server.ask("nodes", &Empty {}).await?;
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
    let mut told: SlotsTold = server.ask("slots", &Empty {}).await?;
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

/// Lists sessions, page by page.
pub(super) async fn sessions(
    server: &Server,
    jid: Option<String>,
    node: Option<String>,
    out: Output,
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let ask = AskSessions {
            jid: jid.clone(),
            node: node.clone(),
            after: after.take(),
            max: Some(PAGE_MAX),
        };
        let page: Sessions = server.ask("sessions", &ask).await?;
        let is_first = ask.after.is_none();
        let is_read_on = out.write(&page, |page| {
            let rows: Vec<_> = page.sessions.iter().map(session_row).collect();
            let text = table(["JID", "ORIGIN", "EDGE", "SINCE", "RESUMABLE"], &rows);
            match text.split_once('\n') {
                Some((_, rows)) if !is_first => rows.to_owned(),
                _ => text,
            }
        });
        let last = page
            .sessions
            .last()
            .filter(|_| page.sessions.len() >= PAGE_MAX);
        match last {
            Some(last) if is_read_on => after = Some(last.jid.clone()),
            _ => return Ok(()),
        }
    }
}

fn session_row(session: &Session) -> [String; 5] {
    [
        session.jid.clone(),
        session.node.clone(),
        session.edge.clone().unwrap_or_else(|| "asleep".to_owned()),
        time_of(session.since),
        if session.is_resumable { "yes" } else { "no" }.to_owned(),
    ]
}

/// Seconds since 1970 as people write them.
fn time_of(seconds: u64) -> String {
    let text = couplet_proto::xmpp::time::format(seconds.saturating_mul(1000));
    // To the second: what follows says nothing.
    text.split_once('.')
        .map_or_else(|| text.clone(), |(text, _)| format!("{text}Z"))
}

/// Tells the node to leave, or to stay after all.
pub(super) async fn drain(server: &Server, undo: bool) -> Result<(), Failure> {
    let told: Told = server.ask("drain", &Drain { undo }).await?;
    let out = Output { is_json: false };
    out.write(&told, |told| format!("{}\n", told.text));
    Ok(())
}

/// Carries out a command about pins.
pub(super) async fn pins(server: &Server, command: Pins, out: Output) -> Result<(), Failure> {
    match command {
        Pins::List => {
            let told: PinsTold = server.ask("pins/list", &Empty {}).await?;
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
            let Range { first, last } = range;
            let done = format!("slots {range} are held to the group {group}");
            let pin = Pin { first, last, group };
            server.tell("pins/set", &pin, &done).await
        }
        Pins::Clear { range } => {
            let Range { first, last } = range;
            let done = format!("slots {range} are not held to a group any more");
            server
                .tell("pins/clear", &Unpin { first, last }, &done)
                .await
        }
    }
}

fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "-".to_owned())
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
