//! The wait while slots move: everybody is logged in, some pairs chat at a walking pace, and one
//! origin is drained, then another killed. Each message that was under way when its slot moved
//! has waited for that, so the longest wait of a pair is the pause of its slots.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::args::Args;
use crate::chat::Side;
use crate::cluster::Cluster;
use crate::log_in;
use crate::report::percentile;
use crate::wire::Connection;

/// How many pairs chat at most.
const PAIRS_MAX: usize = 400;

/// From an answer to the next message.
const PACE: Duration = Duration::from_millis(40);

/// How long a pair may be silent before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is measured, one after the other.
const WINDOWS: [&str; 4] = [
    "nothing happens",
    "origin drained",
    "between",
    "origin killed",
];

/// What the pairs share with the one who measures.
#[derive(Debug, Default)]
struct Shared {
    /// Which window a message sent now belongs to.
    window: AtomicUsize,
    /// How many pairs have had a message of each window arrive.
    heard: [AtomicUsize; WINDOWS.len()],
    is_over: AtomicBool,
}

/// The longest wait of a pair in each window, in microseconds.
type Waits = [u32; WINDOWS.len()];

/// Runs it and prints what it gave.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let count = args.sessions();
    let mut cluster = Cluster::start(args, 3, 2).await?;
    cluster.add_accounts(count).await?;
    cluster.restart().await?;
    let target = Arc::new(cluster.target.clone());
    let mut sessions = log_in(&target, 0..count).await?;
    // They stay logged in and idle.
    let idle = sessions.split_off(sessions.len().min(PAIRS_MAX * 2));
    let shared = Arc::new(Shared::default());
    let (mut pairs, pair_count) = start_pairs(sessions, args, &shared);
    let mut totals = [Duration::ZERO; WINDOWS.len()];
    let mut pauses = Vec::new();
    for (window, total) in totals.iter_mut().enumerate() {
        let started = Instant::now();
        shared.window.store(window, Ordering::Relaxed);
        match WINDOWS[window] {
            "origin drained" => cluster.drain_origin(0).await?,
            "origin killed" => cluster.kill_origin(1).await?,
            _ => sleep(Duration::from_secs(2)).await,
        }
        await_all(&shared.heard[window], pair_count, &mut pairs).await?;
        *total = started.elapsed();
        if WINDOWS[window] == "origin drained" {
            pauses = cluster.slot_pauses().await?;
        }
    }
    shared.is_over.store(true, Ordering::Relaxed);
    let mut waits = Vec::new();
    while let Some(done) = pairs.join_next().await {
        waits.push(done?.context("a pair stopped early")?);
    }
    print(count, pair_count, &totals, &waits);
    print_pauses(&pauses);
    drop(idle);
    cluster.stop().await
}

fn start_pairs(
    sessions: Vec<Connection>,
    args: &Args,
    shared: &Arc<Shared>,
) -> (JoinSet<Result<Waits>>, usize) {
    let body = "x".repeat(args.body);
    let mut pairs = JoinSet::new();
    let mut sessions = sessions.into_iter();
    while let (Some(one), Some(other)) = (sessions.next(), sessions.next()) {
        let (one_full, other_full) = (one.full.clone(), other.full.clone());
        let one = Side::new(one, &other_full, false, &body);
        let other = Side::new(other, &one_full, false, &body);
        pairs.spawn(converse(one, other, shared.clone()));
    }
    let count = pairs.len();
    (pairs, count)
}

/// Waits until every pair has had a message of this window arrive.
async fn await_all(
    heard: &AtomicUsize,
    count: usize,
    pairs: &mut JoinSet<Result<Waits>>,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = heard.load(Ordering::Relaxed);
        if now >= count {
            return Ok(());
        }
        if let Some(done) = pairs.try_join_next() {
            done?.context("a pair was cut off")?;
        }
        ensure!(
            Instant::now() < deadline,
            "only {now} of {count} pairs go on"
        );
        sleep(Duration::from_millis(1)).await;
    }
}

/// Sends to and fro at a walking pace; the longest wait in each window.
async fn converse(mut one: Side, mut other: Side, shared: Arc<Shared>) -> Result<Waits> {
    let mut waits = Waits::default();
    let mut last_heard = None;
    let mut number = 0_u64;
    while !shared.is_over.load(Ordering::Relaxed) {
        number += 1;
        let id = format!("m{number}");
        let window = shared.window.load(Ordering::Relaxed);
        let sent = Instant::now();
        one.send(&id).await?;
        other.connection.await_message(id.as_bytes()).await?;
        let micros = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX);
        // One that was sent just before belongs to what it waited for.
        let ended = shared.window.load(Ordering::Relaxed);
        for wait in &mut waits[window..=ended] {
            *wait = micros.max(*wait);
        }
        if last_heard != Some(window) {
            last_heard = Some(window);
            shared.heard[window].fetch_add(1, Ordering::Relaxed);
        }
        std::mem::swap(&mut one, &mut other);
        sleep(PACE).await;
    }
    Ok(waits)
}

fn print(sessions: usize, pairs: usize, totals: &[Duration], waits: &[Waits]) {
    println!("{sessions} sessions, {pairs} pairs chat; the longest wait of each pair");
    println!(
        "{:<16} {:>8} {:>8} {:>8} {:>8}",
        "", "total s", "p50 ms", "p99 ms", "max ms"
    );
    for (window, total) in totals.iter().enumerate() {
        let mut sorted: Vec<u32> = waits.iter().map(|waits| waits[window]).collect();
        sorted.sort_unstable();
        let ms = |percent| f64::from(percentile(&sorted, percent)) / 1000.0;
        println!(
            "{:<16} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
            WINDOWS[window],
            total.as_secs_f64(),
            ms(50),
            ms(99),
            ms(100)
        );
    }
}

/// How long the slots of the drained origin were nobody's, by the origins' own measure: from when
/// it was asked to leave them until the next owner began.
fn print_pauses(pauses: &[(f64, f64)]) {
    let all = pauses.last().map_or(0.0, |(_, count)| *count);
    print!("{all} slots moved");
    for (bound, count) in pauses
        .iter()
        .filter(|(bound, _)| (0.04..1.0).contains(bound))
    {
        print!(
            ", {:.1} % within {:.0} ms",
            100.0 * count / all,
            bound * 1000.0
        );
    }
    println!();
}
