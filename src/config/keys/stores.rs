//! Keys of the stores: the folder of `couplet serve`, and Redis.

use std::time::Duration;

use super::{Key, key};

/// Bounds of memory for one purpose.
const MEMORY: std::ops::RangeInclusive<i64> = (1 << 20)..=(1 << 40);

/// In `couplet serve`.
pub(super) const EMBEDDED: &[Key] = &[
    key("store.cache_bytes", |s, g| {
        g.number(MEMORY).map(|value| s.embedded.cache_bytes = value)
    }),
    key("store.memtable_bytes", |s, g| {
        g.number(MEMORY)
            .map(|value| s.embedded.memtable_bytes = value)
    }),
];

/// In an origin.
pub(super) const REDIS: &[Key] = &[
    key("store.url", |s, g| {
        g.text().map(|value| s.redis.url = Some(value))
    }),
    key("store.ca", |s, g| {
        g.path().map(|value| s.redis.ca = Some(value))
    }),
    key("store.key_prefix", |s, g| {
        g.text().map(|value| s.redis.key_prefix = value)
    }),
    key("store.in_flight", |s, g| {
        g.number(1..=100_000).map(|value| s.redis.in_flight = value)
    }),
    key("store.response_timeout_millis", |s, g| {
        g.number(50..=60_000)
            .map(|value| s.redis.response_timeout = Duration::from_millis(value))
    }),
    key("store.connect_timeout_millis", |s, g| {
        g.number(50..=60_000)
            .map(|value| s.redis.connect_timeout = Duration::from_millis(value))
    }),
];
