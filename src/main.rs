//! Couplet: a clustered edge/origin messaging router that speaks XMPP.
//!
//! Arguments → config → role → wait for the end:
//!
//! - [`cli`]: what the command line says.
//! - [`config`]: one file, the environment and `--set`, checked as a whole.
//! - [`ctl`]: a client of a running server's admin port.
//! - [`admin`]: that port.
//! - [`certificate`]: reads certificates, makes one if there is none.
//! - [`telemetry`]: the log and the metrics.
//! - [`shutdown`]: signals → drain → deadline → exit code.

mod admin;
mod certificate;
mod cli;
mod config;
mod ctl;
mod shutdown;
mod telemetry;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};
use config::{Mistake, Sources};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything may ask for it: with two providers in the tree the first use would panic.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nothing has installed a provider before main");
    match Cli::parse().command {
        Command::CheckConfig { file, set } => check(&Sources::new(Some(file), set)),
        Command::Ctl(ctl) => run(ctl::run(ctl)),
        _ => ExitCode::FAILURE,
    }
}

/// Runs a future to its end on a runtime of its own.
fn run(future: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn check(sources: &Sources) -> ExitCode {
    match config::load(sources) {
        Ok(_) => {
            let _ = writeln!(io::stdout(), "ok");
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            for mistake in &mistakes {
                let _ = writeln!(io::stdout(), "{mistake}");
            }
            ExitCode::FAILURE
        }
    }
}

fn list(mistakes: &[Mistake]) {
    for mistake in mistakes {
        complain(&mistake.to_string());
    }
}

fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
