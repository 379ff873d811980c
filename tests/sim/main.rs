//! Simulation: a cluster in one thread, from one seed: real shards and real edges, modelled
//! clients, network and store. Whatever breaks, what clients were promised must hold.
//!
//! ```text
//! cargo test --test sim                               so many seeds as SEEDS says, and mutations
//! cargo test --test sim -- --seeds 100..200           these
//! cargo test --test sim -- --seed 42 --trace          this one, step by step
//! cargo test --test sim -- --mutations                each mechanism is missed when it is missing
//! cargo test --test sim -- --mutation no-fence --seed 7
//! ```

mod carry;

mod checks;

mod client;

mod edge;

mod faults;

mod moves;

mod mutations;

mod network;

mod origin;

mod random;

mod run;

mod schedule;

mod store;

mod workload;

mod world;

use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use mutations::Mutation;
use run::Tally;
use store::Content;
use world::Plan;

/// Steps of one run in which things break.
const STEPS: usize = 1500;

/// Seeds that are tried when nothing else is said.
const SEEDS: u64 = 300;

/// A mutation must be noticed within so many seeds.
const MUTATION_SEEDS: u64 = 4000;

/// What the command line says.
struct Arguments {
    seeds: Range<u64>,
    steps: usize,
    mutation: Option<Mutation>,
    traces: bool,
    mutations: bool,
    goes_on: bool,
    kinds: u64,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        say("usage: [--seeds A..B | --seed N] [--steps N] [--trace] \
             [--mutation NAME] [--mutations]");
        return ExitCode::FAILURE;
    };
    quiet_panics();
    let content = run::template();
    if arguments.mutations {
        return mutations(&content, &arguments);
    }
    let began = Instant::now();
    let (failures, tally) = search(&content, &arguments, arguments.mutation, arguments.goes_on);
    let count = arguments.seeds.end - arguments.seeds.start;
    say(&format!(
        "{count} seeds in {:.1} s: {tally:?}",
        began.elapsed().as_secs_f64()
    ));
    for (seed, what) in &failures {
        say(&format!("seed {seed}: {what}"));
    }
    match failures.is_empty() == arguments.mutation.is_none() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Each mutation must be noticed.
fn mutations(content: &Content, arguments: &Arguments) -> ExitCode {
    let mut is_well = true;
    for (name, mutation) in mutations::ALL {
        let (failures, _) = search(content, arguments, Some(*mutation), false);
        match failures.first() {
            Some((seed, what)) => say(&format!("{name}: seed {seed}: {what}")),
            None => {
                is_well = false;
                say(&format!("{name}: NOT NOTICED"));
            }
        }
    }
    match is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs seeds on all cores until one fails, or all.
fn search(
    content: &Content,
    arguments: &Arguments,
    mutation: Option<Mutation>,
    goes_on: bool,
) -> (Vec<(u64, String)>, Tally) {
    let next = AtomicU64::new(arguments.seeds.start);
    let stops = AtomicBool::new(false);
    let failures = Mutex::new(Vec::new());
    let total = Mutex::new(Tally::default());
    let work = || {
        while !stops.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= arguments.seeds.end {
                return;
            }
            let plan = Plan {
                seed,
                steps: arguments.steps,
                mutation,
                traces: arguments.traces,
                kinds: arguments.kinds,
            };
            let outcome = std::panic::catch_unwind(|| run::run(plan, content));
            let outcome = outcome.unwrap_or_else(|panic| Err(format!("panic: {}", text(&*panic))));
            match outcome {
                Ok(tally) => {
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.steps += tally.steps;
                    total.messages += tally.messages;
                    total.handled += tally.handled;
                    total.faults += tally.faults;
                    total.lives += tally.lives;
                }
                Err(what) => {
                    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.push((seed, what));
                    if !goes_on {
                        stops.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    failures.sort_unstable();
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    (failures, total)
}

fn arguments() -> Option<Arguments> {
    let seeds = std::env::var("SEEDS").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let mut parsed = Arguments {
        seeds: 0..seeds,
        steps: STEPS,
        mutation: None,
        traces: false,
        mutations: false,
        goes_on: false,
        kinds: u64::MAX,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match &*word {
            "--seed" => {
                let seed = words.next()?.parse().ok()?;
                parsed.seeds = seed..seed + 1;
            }
            "--seeds" => {
                let range = words.next()?;
                let (from, to) = range.split_once("..")?;
                parsed.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--steps" => parsed.steps = words.next()?.parse().ok()?,
            "--trace" => parsed.traces = true,
            "--mutations" => {
                parsed.mutations = true;
                parsed.seeds = 0..MUTATION_SEEDS;
            }
            "--without" => {
                for kind in words.next()?.split(',') {
                    let place = faults::KINDS.iter().position(|known| *known == kind)?;
                    parsed.kinds &= !(1 << place);
                }
            }
            "--all" => parsed.goes_on = true,
            "--mutation" => {
                let name = words.next()?;
                let known = mutations::ALL.iter().find(|(known, _)| *known == name);
                parsed.mutation = Some(known?.1);
            }
            // What cargo passes to every test.
            "--quiet" | "-q" | "--nocapture" => {}
            _ => return None,
        }
    }
    Some(parsed)
}

/// Panics are caught and told with their seed.
fn quiet_panics() {
    if std::env::var("RUST_BACKTRACE").is_err() {
        std::panic::set_hook(Box::new(|_| {}));
    }
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_default()
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
