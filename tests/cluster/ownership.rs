//! Who owns which slot, as Redis says it; and claims that nobody made.
//!
//! The keys are the store's (`origin/src/store/redis/key.rs`) and never change.

use std::collections::BTreeMap;

use crate::redis::Redis;

/// The view of all owners: slot → `epoch node`.
const OWNERS: &str = "couplet:{cluster}:owners";

/// Grows with the view.
const VERSION: &str = "couplet:{cluster}:version";

/// When each node's lease ends.
const LEASES: &str = "couplet:{cluster}:leases";

/// Who owns a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) epoch: u64,
    /// The id of one start of a node.
    pub(crate) node: String,
}

/// The owner of every slot that has one.
pub(crate) fn owners(redis: &Redis) -> BTreeMap<u16, Owner> {
    let texts = redis.texts(&["HGETALL", OWNERS]);
    let pairs = texts.chunks_exact(2);
    let read = |pair: &[String]| Some((pair[0].parse().ok()?, Owner::read(&pair[1])?));
    pairs.filter_map(read).collect()
}

/// How many slots the node of this name owns.
pub(crate) fn count(redis: &Redis, name: &str) -> usize {
    let owners = owners(redis);
    owners.values().filter(|owner| owner.is(name)).count()
}

/// The slots that hold accounts.
pub(crate) fn inhabited(redis: &Redis) -> Vec<u16> {
    let keys = redis.texts(&["KEYS", "couplet:{s*}:accounts"]);
    let slot = |key: &String| key.split(['s', '}']).nth(1)?.parse().ok();
    keys.iter().filter_map(slot).collect()
}

/// Writes an owner where only the owner itself may, and tells everybody.
pub(crate) fn forge(redis: &Redis, slot: u16, owner: &Owner) {
    let text = format!("{} {}", owner.epoch, owner.node);
    redis.texts(&["SET", &format!("couplet:{{s{slot:04}}}:own"), &text]);
    redis.texts(&["HSET", OWNERS, &slot.to_string(), &text]);
    redis.texts(&["INCR", VERSION]);
}

/// Takes a node's lease away, as if it had not been heard of for long.
pub(crate) fn end_lease(redis: &Redis, node: &str) {
    redis.texts(&["ZREM", LEASES, node]);
}

// === impl Owner ===

impl Owner {
    fn read(text: &str) -> Option<Self> {
        let (epoch, node) = text.split_once(' ')?;
        Some(Self {
            epoch: epoch.parse().ok()?,
            node: node.to_owned(),
        })
    }

    /// Whether it is a start of the node of this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        let rest = self.node.strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    }
}
