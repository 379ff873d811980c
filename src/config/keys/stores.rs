//! Keys of the stores: the folder of `couplet serve`, and Redis.

use std::time::Duration;

use serde_json::json;

use super::{Key, key};
use crate::config::shown::without_password;

/// Bounds of memory for one purpose.
const MEMORY: std::ops::RangeInclusive<i64> = (1 << 20)..=(1 << 40);

/// In `couplet serve`.
pub(super) const EMBEDDED: &[Key] = &[
    key("store.cache_bytes", |s, g| {
        g.number(MEMORY).map(|value| s.embedded.cache_bytes = value)
    })
    .shown(|s| json!(s.embedded.cache_bytes)),
    key("store.memtable_bytes", |s, g| {
        g.number(MEMORY)
            .map(|value| s.embedded.memtable_bytes = value)
    })
    .shown(|s| json!(s.embedded.memtable_bytes)),
];

/// In an origin.
pub(super) const REDIS: &[Key] = &[
    key("store.url", |s, g| {
        g.text().map(|value| s.redis.url = Some(value))
    })
    .shown(|s| json!(s.redis.url.as_deref().map(without_password))),
    key("store.ca", |s, g| {
        g.path().map(|value| s.redis.ca = Some(value))
    })
    .shown(|s| json!(s.redis.ca)),
    key("store.key_prefix", |s, g| {
        g.text().map(|value| s.redis.key_prefix = value)
    })
    .shown(|s| json!(s.redis.key_prefix)),
    key("store.in_flight", |s, g| {
        g.number(1..=100_000).map(|value| s.redis.in_flight = value)
    })
    .shown(|s| json!(s.redis.in_flight)),
    key("store.response_timeout_millis", |s, g| {
        g.number(50..=60_000)
            .map(|value| s.redis.response_timeout = Duration::from_millis(value))
    })
    .shown(|s| json!(s.redis.response_timeout.as_millis())),
    key("store.connect_timeout_millis", |s, g| {
        g.number(50..=60_000)
            .map(|value| s.redis.connect_timeout = Duration::from_millis(value))
    })
    .shown(|s| json!(s.redis.connect_timeout.as_millis())),
];
