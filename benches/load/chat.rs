//! The closed loop: in each pair one message is under way at a time, from one to the other and
//! back, as fast as the server delivers them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Cost;
use crate::args::Args;
use crate::process::Watched;
use crate::wire::Connection;

/// What a chat gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Messages delivered while it was measured.
    pub(crate) messages: u64,
    /// What they cost the server.
    pub(crate) cost: Cost,
    /// Time from sending to arrival in microseconds, sorted.
    pub(crate) latencies: Vec<u32>,
}

/// What the pairs share with the one who measures.
#[derive(Debug, Default)]
struct Shared {
    delivered: AtomicU64,
    is_measured: AtomicBool,
    is_over: AtomicBool,
}

/// Lets every two sessions chat and measures for the time asked.
pub(crate) async fn run(
    sessions: Vec<Connection>,
    args: &Args,
    watched: &Watched,
) -> Result<Outcome> {
    let shared = Arc::new(Shared::default());
    let body: Arc<str> = "x".repeat(args.body).into();
    let mut tasks = JoinSet::new();
    let mut sessions = sessions.into_iter();
    while let (Some(one), Some(other)) = (sessions.next(), sessions.next()) {
        let is_full = args.full;
        let (body, shared) = (body.clone(), shared.clone());
        tasks.spawn(async move {
            let one = Side::new(one, &other.full, is_full, &body);
            let other = Side::new(other, &one.connection.full, is_full, &body);
            converse(one, other, &shared).await
        });
    }
    sleep(Duration::from_secs(args.warm_up_seconds)).await;
    let usage_before = watched.usage()?;
    let delivered_before = shared.delivered.load(Ordering::Relaxed);
    let started = Instant::now();
    shared.is_measured.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(args.seconds)).await;
    shared.is_measured.store(false, Ordering::Relaxed);
    let messages = shared.delivered.load(Ordering::Relaxed) - delivered_before;
    let cost = Cost {
        usage: watched.usage()?.since(usage_before),
        elapsed: started.elapsed(),
    };
    shared.is_over.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done?.context("a pair stopped early")?);
    }
    latencies.sort_unstable();
    Ok(Outcome {
        messages,
        cost,
        latencies,
    })
}

/// One user of a pair, with the message it sends ready but for the number.
pub(crate) struct Side {
    pub(crate) connection: Connection,
    before_id: String,
    after_id: String,
    stanza: Vec<u8>,
}

// === impl Side ===

impl Side {
    pub(crate) fn new(connection: Connection, partner: &str, is_full: bool, body: &str) -> Self {
        let bare = partner.split('/').next().unwrap_or(partner);
        let to = if is_full { partner } else { bare };
        Self {
            connection,
            before_id: format!("<message to='{to}' type='chat' id='"),
            after_id: format!("'><body>{body}</body></message>"),
            stanza: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, id: &str) -> Result<()> {
        self.stanza.clear();
        self.stanza.extend_from_slice(self.before_id.as_bytes());
        self.stanza.extend_from_slice(id.as_bytes());
        self.stanza.extend_from_slice(self.after_id.as_bytes());
        self.connection.send(&self.stanza).await
    }
}

/// Sends to and fro until it is over; returns the latencies of the measured part.
async fn converse(mut one: Side, mut other: Side, shared: &Shared) -> Result<Vec<u32>> {
    let mut latencies = Vec::new();
    let mut number = 0_u64;
    while !shared.is_over.load(Ordering::Relaxed) {
        number += 1;
        let id = format!("m{number}");
        let sent = Instant::now();
        one.send(&id).await?;
        other.connection.await_message(id.as_bytes()).await?;
        shared.delivered.fetch_add(1, Ordering::Relaxed);
        if shared.is_measured.load(Ordering::Relaxed) {
            let micros = sent.elapsed().as_micros();
            latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
        std::mem::swap(&mut one, &mut other);
    }
    Ok(latencies)
}
