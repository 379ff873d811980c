//! The cluster, seen from outside: real edges, origins and a real Redis, which are killed, paused,
//! drained and cut off while people talk; afterwards nothing that was acknowledged is lost, and
//! nothing came twice or out of order.
//!
//!     cargo test --test cluster                        # all cases, about ten minutes
//!     cargo test --test cluster -- origin_killed edge  # those whose names contain a word
//!     cargo test --test cluster -- --list
//!
//! Needs `redis-server` on the path. `COUPLET` names another build of the program, `COUPLET_LOG`
//! another level of the logs; the files of a case that failed stay where its report says.
//!
//! - [`cases`]: what is broken, and what is allowed then.
//! - [`stage`]: a cluster with a crowd on it, and the end of a case.
//! - [`crowd`]: many users at once.
//! - [`session`]: one of them: the checking client.
//! - [`inbound`]: what it makes of a stanza.
//! - [`rooms`]: what they do and get in rooms.
//! - [`stream`]: one connection of it.
//! - [`verdict`]: the judge.
//! - [`history`]: what it judges by.
//! - [`cluster`]: the processes.
//! - [`ownership`]: who owns which slot.
//! - [`redis`]: the store.
//! - [`proxy`]: a path that can be cut.
//! - [`balancer`]: HAProxy in front of the edges.
//! - [`tally`]: what clients did over each connection, held against the access logs.
//! - [`admin`]: the operator's port.
//! - [`deadline`]: waiting with an end.
//! - [`table`]: the results.

#![expect(clippy::print_stdout, reason = "the results are printed")]

mod admin;
mod balancer;
mod cases;
mod cluster;
mod crowd;
mod deadline;
mod history;
mod inbound;
mod ownership;
mod proxy;
mod redis;
mod rooms;
mod session;
mod stage;
mod stream;
mod table;
mod tally;
mod verdict;

#[path = "../suite/harness/mod.rs"]
#[expect(
    dead_code,
    reason = "made for the end-to-end suite; the cluster needs a part of it"
)]
mod harness;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use cases::Case;
use table::Row;

/// However badly it goes, a case ends.
const CASE_MAX: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = words.iter().filter(|it| !it.starts_with('-')).collect();
    let is_chosen = |name: &str| filters.is_empty() || filters.iter().any(|it| name.contains(*it));
    let chosen: Vec<Case> = cases::ALL
        .iter()
        .filter(|(name, _)| is_chosen(name))
        .copied()
        .collect();
    if words.iter().any(|it| it == "--list") {
        for (name, _) in chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    for (name, check) in [verdict::tests::ALL, proxy::CHECKS, redis::CHECKS].concat() {
        // A panic ends it here: a judge that sees wrongly need not sit.
        check();
        println!("check: {name} ... ok");
    }
    if chosen.is_empty() {
        println!("no case of that name");
        return ExitCode::FAILURE;
    }
    if !has_redis() {
        println!("redis-server is not installed, and the cluster keeps its state in it");
        return ExitCode::FAILURE;
    }
    if run(&chosen) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn has_redis() -> bool {
    let mut command = Command::new("redis-server");
    let asked = command.arg("--version").stdout(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Runs the cases one after the other; whether all went well.
fn run(chosen: &[Case]) -> bool {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster");
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for &(name, case) in chosen {
        let folder = home.join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the target folder is ours");
        let started = Instant::now();
        let complaints = match run_one(case, folder.clone()) {
            Ok(verdict) => {
                let complaints = verdict.complaints.clone();
                rows.push(Row::new(name, Some(verdict), started.elapsed()));
                complaints
            }
            Err(complaint) => {
                rows.push(Row::new(name, None, started.elapsed()));
                vec![complaint]
            }
        };
        if complaints.is_empty() {
            println!("case: {name} ... ok");
            let _ = fs::remove_dir_all(&folder);
        } else {
            println!("case: {name} ... FAILED");
            for complaint in complaints {
                println!("    {complaint}");
            }
            println!("    files: {}", folder.display());
            failed.push(name);
        }
    }
    println!("\n{}", table::markdown(&rows));
    if !failed.is_empty() {
        println!("failed: {}", failed.join(" "));
    }
    failed.is_empty()
}

/// Runs one case on a runtime of its own, so that nothing of it is left.
fn run_one(case: fn(PathBuf) -> cases::Run, folder: PathBuf) -> Result<verdict::Verdict, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    let run = || runtime.block_on(async { tokio::time::timeout(CASE_MAX, case(folder)).await });
    match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(verdict)) => Ok(verdict),
        Ok(Err(_)) => Err(format!("not over after {CASE_MAX:?}")),
        Err(payload) => match payload.downcast::<String>() {
            Ok(text) => Err(format!("given up: {text}")),
            Err(_) => Err("given up: see above".to_owned()),
        },
    }
}
