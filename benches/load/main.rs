//! Load: the whole server under many sessions, from outside.
//!
//! Starts the release binary as a child, adds accounts, logs everybody in, measures what an idle
//! session holds, then lets pairs of users chat in a closed loop and measures what a message
//! costs. Other servers are measured by the same code (`--target`), and so is a process that only
//! copies bytes (`--relay`), which is the floor. A cluster on this machine is measured the same way
//! (`--cluster`), and how long its users wait when an origin goes (`--moves`). What rooms cost is
//! measured by itself (`--rooms`).
//!
//! - [`args`]: what can be asked for.
//! - [`process`]: processor time and memory of the measured process.
//! - [`server`]: the child that is measured, and its accounts.
//! - [`wire`]: one client connection, with just enough XMPP to log in.
//! - [`cluster`]: edges, origins and Redis, and their accounts.
//! - [`relay`]: the byte relay.
//! - [`chat`]: the closed loop.
//! - [`moves`]: the wait while slots move.
//! - [`rooms`]: many who enter a room and hear each other.
//! - [`report`]: the table and the JSON.

#![expect(clippy::print_stdout, reason = "the results are printed")]

mod args;
mod chat;
mod cluster;
mod moves;
mod process;
mod relay;
mod report;
mod rooms;
mod server;
mod wire;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use args::Args;
use cluster::Cluster;
use process::{Usage, Watched};
use report::Row;
use server::Server;
use wire::{Connection, Target};

/// How many clients log in at once.
const LOGINS_AT_ONCE: usize = 32;
/// How many sessions come and go before the memory baseline is taken, so that what a process
/// allocates once (threads, arenas, tables) is not counted as a session's.
const WARM_UP_SESSIONS: usize = 50;
/// How long memory may take to settle before it is read anyway.
const SETTLE: Duration = Duration::from_secs(15);

fn main() -> Result<()> {
    let args = Args::parse();
    if args.is_relay_child {
        return relay::serve();
    }
    if !args.bench && !args.is_child_run {
        // `cargo test --all-targets` starts every bench once; compiling it was the test.
        println!("load: run it with `cargo bench --bench load`");
        return Ok(());
    }
    if !args.is_child_run {
        return process::rerun(&args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if args.moves {
        return runtime.block_on(moves::run(&args));
    }
    if let Some(shape) = args.rooms {
        return runtime.block_on(rooms::run(&args, shape));
    }
    let rows = runtime.block_on(run(&args))?;
    report::print(&rows);
    if let [.., single, cluster] = rows.as_slice()
        && args.cluster
    {
        report::print_ratio(cluster, single);
    }
    if let Some(path) = &args.json {
        report::write(&rows, path)?;
    }
    Ok(())
}

/// The runs that were asked for, one after the other.
async fn run(args: &Args) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if args.relay {
        rows.push(run_relay(args).await?);
    }
    let transports: &[bool] = match (args.tls, args.both) {
        (_, true) => &[false, true],
        (true, false) => &[true],
        (false, false) => &[false],
    };
    for &is_tls in transports {
        rows.push(run_server(args, is_tls).await?);
    }
    if args.cluster {
        rows.push(run_cluster(args).await?);
    }
    Ok(rows)
}

/// One run against a server that speaks XMPP.
async fn run_server(args: &Args, is_tls: bool) -> Result<Row> {
    let mut server = Server::start(args, is_tls).await?;
    server.add_accounts(args, accounts(args)).await?;
    let target = Arc::new(server.target.clone());
    let row = Row::new(&args.label(), is_tls, args.sessions());
    let row = measure(args, row, target, &server.watched()).await?;
    server.stop().await?;
    Ok(row)
}

/// The same against edges and origins.
async fn run_cluster(args: &Args) -> Result<Row> {
    let mut cluster = Cluster::start(args, 2, 2).await?;
    cluster.add_accounts(accounts(args)).await?;
    cluster.restart().await?;
    let target = Arc::new(cluster.target.clone());
    let row = Row::new("couplet cluster", false, args.sessions());
    let row = measure(args, row, target, &cluster.watched()).await?;
    let batch = cluster.mean_batch().await?;
    println!("a message between nodes carried {batch:.1} frames on average");
    cluster.stop().await?;
    Ok(row)
}

/// How many accounts a run needs.
fn accounts(args: &Args) -> usize {
    args.sessions() + WARM_UP_SESSIONS
}

/// Logs everybody in, lets them chat and fills the row.
async fn measure(args: &Args, mut row: Row, target: Arc<Target>, watched: &Watched) -> Result<Row> {
    let count = args.sessions();
    drop(log_in(&target, count..accounts(args)).await?);
    let idle_before = watched.settled_memory_kib(SETTLE).await?;

    let before = watched.usage()?;
    let started = Instant::now();
    let sessions = log_in(&target, 0..count).await?;
    let elapsed = started.elapsed();
    let logins = watched.usage()?.since(before);
    let idle_after = watched.settled_memory_kib(SETTLE).await?;

    row.logins_per_second = per_second(count as u64, elapsed);
    row.login_cpu_micros = logins.cpu_micros / count as f64;
    row.idle_kib_per_session = (idle_after as f64 - idle_before as f64) / count as f64;
    row.memory_kib = idle_after;
    if args.idle.is_none() {
        let outcome = chat::run(sessions, args, watched).await?;
        row.set_chat(&outcome);
    }
    Ok(row)
}

/// The same traffic through a process that only copies bytes.
async fn run_relay(args: &Args) -> Result<Row> {
    let count = args.sessions();
    let child = relay::Child::start(args)?;
    let watched = Watched::new(&[child.pid()]);
    let idle_before = watched.settled_memory_kib(SETTLE).await?;
    let mut sessions = Vec::with_capacity(count);
    for index in 0..count {
        sessions.push(relay::connect(child.address, index).await?);
    }
    let idle_after = watched.settled_memory_kib(SETTLE).await?;
    let mut row = Row::new("relay", false, count);
    row.idle_kib_per_session = (idle_after as f64 - idle_before as f64) / count as f64;
    row.memory_kib = idle_after;
    let outcome = chat::run(sessions, args, &watched).await?;
    row.set_chat(&outcome);
    Ok(row)
}

/// Logs these users in, a few at a time, and returns their connections in order.
async fn log_in(target: &Arc<Target>, users: Range<usize>) -> Result<Vec<Connection>> {
    let count = users.len();
    let room = Arc::new(Semaphore::new(LOGINS_AT_ONCE));
    let mut tasks = JoinSet::new();
    for index in users {
        let permit = room.clone().acquire_owned().await?;
        let target = target.clone();
        tasks.spawn(async move {
            let connection = Connection::log_in(&target, index)
                .await
                .with_context(|| format!("user {index} could not log in"));
            drop(permit);
            connection.map(|connection| (index, connection))
        });
    }
    let mut sessions = Vec::with_capacity(count);
    while let Some(done) = tasks.join_next().await {
        sessions.push(done??);
    }
    sessions.sort_by_key(|(index, _)| *index);
    ensure!(sessions.len() == count, "some users did not log in");
    Ok(sessions.into_iter().map(|(_, session)| session).collect())
}

/// How often something happened in a second.
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(f64::EPSILON)
}

/// What a stretch of work cost the measured process.
#[derive(Debug, Clone, Copy)]
struct Cost {
    usage: Usage,
    elapsed: Duration,
}
