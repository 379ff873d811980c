//! Cluster: which origins there are, who owns which slots, and what is held where.

use axum::http::Method;
use couplet_proto::slot::SLOTS;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ask::Ask;
use super::operation::{Answer, Operation, done, told};
use super::{Cluster, Refusal};

/// An origin as the others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Node {
    /// Its name, which a restart keeps.
    pub(crate) name: String,
    /// How it is.
    pub(crate) state: NodeState,
    /// Where the other nodes reach it; empty when there are no others.
    pub(crate) address: String,
    /// The group of origins it belongs to; may be empty.
    pub(crate) group: String,
    /// Its share, relative to the others.
    pub(crate) weight: u32,
    /// How many slots it owns.
    pub(crate) slots: u32,
    /// How many sessions it holds; `None` when it does not say.
    pub(crate) sessions: Option<u64>,
    /// Milliseconds since it last renewed its lease; `None` when there are no leases.
    pub(crate) lease_age_millis: Option<i64>,
}

/// How an origin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodeState {
    /// It renews its lease.
    Alive,
    /// It does, and gives its slots away.
    Draining,
    /// It does not: others take its slots.
    Silent,
}

/// Every origin there is.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct Nodes {
    /// In order of their names.
    pub(crate) nodes: Vec<Node>,
}

/// A range of slots of which the same is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Slots {
    /// The first.
    pub(crate) first: u16,
    /// The last.
    pub(crate) last: u16,
    /// The name of the owner, if there is one.
    pub(crate) owner: Option<String>,
    /// At which epoch it owns them.
    pub(crate) epoch: u64,
    /// How they are.
    pub(crate) state: SlotState,
    /// Who should own them, if that is another.
    pub(crate) target: Option<String>,
}

/// How a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SlotState {
    /// Its owner lives and should own it.
    Owned,
    /// Its owner lives and another should own it.
    Moving,
    /// It has no owner that lives.
    Unowned,
}

/// Who owns what.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct SlotsTold {
    /// In order, without gaps.
    pub(crate) slots: Vec<Slots>,
}

/// A range of slots held to a group of origins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    /// The first slot.
    pub(crate) first: u16,
    /// The last.
    pub(crate) last: u16,
    /// The group (`cluster.group`).
    pub(crate) group: String,
}

/// The group that slots are held to.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinTo {
    /// The group (`cluster.group`).
    pub(crate) group: String,
}

/// Every pin there is.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct Pins {
    /// In order of their slots.
    pub(crate) pins: Vec<Pin>,
}

/// What a node that owns slots answers about them.
pub(super) fn operations<B: Cluster>() -> Vec<Operation<B>> {
    vec![
        Operation::get("node_list", "/nodes", nodes)
            .says("Every origin there is")
            .gives::<Nodes>(),
        Operation::get("slot_list", "/slots", slots)
            .says("Who owns which slots")
            .gives::<SlotsTold>(),
        Operation::get("pin_list", "/pins", pins)
            .says("Ranges of slots that are held to groups of origins")
            .gives::<Pins>(),
        Operation::new(Method::PUT, "pin_set", "/pins/{range}", pin)
            .says("Holds a range of slots, such as 0-99, to a group of origins")
            .takes::<PinTo>(),
        Operation::new(Method::DELETE, "pin_clear", "/pins/{range}", unpin)
            .says("Holds a range of slots, such as 0-99, to nobody any more"),
    ]
}

async fn nodes<B: Cluster>(ask: Ask<B>) -> Answer {
    let mut nodes = ask.server()?.nodes().await?;
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    told(&Nodes { nodes })
}

async fn slots<B: Cluster>(ask: Ask<B>) -> Answer {
    let slots = ask.server()?.slots().await?;
    told(&SlotsTold { slots })
}

async fn pins<B: Cluster>(ask: Ask<B>) -> Answer {
    let mut pins = ask.server()?.pins().await?;
    pins.sort_by_key(|pin| pin.first);
    told(&Pins { pins })
}

async fn pin<B: Cluster>(ask: Ask<B>) -> Answer {
    let (first, last) = range(ask.part("range")?)?;
    ask.name(format!("slots {first}-{last}"));
    let PinTo { group } = ask.body()?;
    if group.is_empty() {
        let text = "the group is empty: to hold slots to nobody, clear them".to_owned();
        return Err(Refusal::Malformed(text));
    }
    let backend = ask.server()?;
    let mut pins = without(backend.pins().await?, first, last);
    pins.push(Pin { first, last, group });
    backend.set_pins(pins).await?;
    done()
}

async fn unpin<B: Cluster>(ask: Ask<B>) -> Answer {
    let (first, last) = range(ask.part("range")?)?;
    ask.name(format!("slots {first}-{last}"));
    let backend = ask.server()?;
    let pins = without(backend.pins().await?, first, last);
    backend.set_pins(pins).await?;
    done()
}

/// Slots from one to another, as in `0-99`.
fn range(text: &str) -> Result<(u16, u16), Refusal> {
    let number = |text: &str| {
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| text.parse::<u16>().ok()).flatten()
    };
    let ends = text.split_once('-');
    let ends = ends.and_then(|(first, last)| Some((number(first)?, number(last)?)));
    match ends {
        Some((first, last)) if first <= last && last < SLOTS => Ok((first, last)),
        _ => {
            let max = SLOTS - 1;
            let text =
                format!("{text:?} is not a range of slots such as 0-99: they go from 0 to {max}");
            Err(Refusal::Malformed(text))
        }
    }
}

/// Pins with a hole where nothing is pinned.
fn without(pins: Vec<Pin>, first: u16, last: u16) -> Vec<Pin> {
    let mut left = Vec::new();
    for pin in pins {
        if pin.first < first {
            let last = pin.last.min(first - 1);
            left.push(Pin {
                last,
                ..pin.clone()
            });
        }
        if pin.last > last {
            let first = pin.first.max(last + 1);
            left.push(Pin { first, ..pin });
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_pin_cuts_the_ones_below_it() {
        let pin = |first, last, group: &str| Pin {
            first,
            last,
            group: group.to_owned(),
        };
        let pins = vec![pin(0, 9, "a"), pin(10, 19, "b"), pin(30, 39, "c")];
        let cut = without(pins.clone(), 5, 34);
        assert_eq!(cut, [pin(0, 4, "a"), pin(35, 39, "c")]);
        let cut = without(pins.clone(), 12, 13);
        let parts = [
            pin(0, 9, "a"),
            pin(10, 11, "b"),
            pin(14, 19, "b"),
            pin(30, 39, "c"),
        ];
        assert_eq!(cut, parts);
        assert_eq!(without(pins.clone(), 20, 29), pins);
        assert_eq!(without(pins, 0, SLOTS - 1), []);
    }
}
