//! Couplet: a clustered edge/origin messaging router that speaks XMPP.
//!
//! Arguments → config → role → wait for the end:
//!
//! - [`cli`]: what the command line says.
//! - [`config`]: one file, the environment and `--set`, checked as a whole.
//! - [`role`]: what runs in this process; in which order it starts and stops.
//! - [`ctl`]: a client of a running server's admin port.
//! - [`admin`]: that port.
//! - [`certificate`]: reads certificates, makes one if there is none, tells when one ends.
//! - [`folder`]: what the server writes for itself.
//! - [`token`]: the secret in a file that opens the admin port.
//! - [`specifications`]: which are supported, in which version.
//! - [`telemetry`]: the log and the metrics.
//! - [`shutdown`]: signals → drain → deadline → exit code.

mod admin;
mod certificate;
mod cli;
mod config;
mod ctl;
mod folder;
mod role;
mod shutdown;
mod specifications;
mod telemetry;
mod token;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use config::{Format, Role, Sources};
use telemetry::{Metrics, page};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything may ask for it: with two providers in the tree the first use would panic.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nothing has installed a provider before main");
    let done = match Cli::parse().command {
        Command::Serve(given) => run(Role::Serve, given),
        Command::Edge(given) => run(Role::Edge, given),
        Command::Origin(given) => run(Role::Origin, given),
        Command::Ctl(command) => block_on(async { Ok(ctl::run(command).await) }),
        Command::CheckConfig { file, role, set } => Ok(check(&Sources::new(Some(file), set), role)),
        Command::MakeLinkCertificates { directory } => make_link_certificates(&directory),
        Command::Completion { shell } => {
            // In memory first: the generator panics when nobody reads on.
            let mut script = Vec::new();
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "couplet", &mut script);
            let _ = io::stdout().write_all(&script);
            Ok(ExitCode::SUCCESS)
        }
        Command::ListFeatures { markdown } => Ok(print(&match markdown {
            true => specifications::markdown(),
            false => specifications::text(),
        })),
        Command::ListMetrics { markdown } => Ok(print(&match markdown {
            true => page::markdown(),
            false => page::text(),
        })),
    };
    done.unwrap_or_else(|error| {
        complain(&explain(&error));
        ExitCode::FAILURE
    })
}

fn print(text: &str) -> ExitCode {
    // The reader of a pipe may have seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Runs a role until it is told to stop.
fn run(role: Role, given: cli::Config) -> anyhow::Result<ExitCode> {
    let sources = Sources::new(given.config, given.set);
    let (settings, shown) = match config::load_shown(&sources, role) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            for mistake in mistakes {
                complain(&mistake.to_string());
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let logging = telemetry::install(&settings.log)?;
    let metrics = Metrics::install(role)?;
    let is_json = settings.log.format == Format::Json;
    let given = role::Given {
        settings,
        shown,
        sources: &sources,
    };
    match block_on(role::run(role, given, &logging, metrics)) {
        // Who reads the log with a machine should find the end in it.
        Err(error) if is_json => {
            tracing::error!(error = explain(&error), "not started");
            Ok(ExitCode::FAILURE)
        }
        done => done,
    }
}

/// Runs a future to its end on a runtime of its own.
fn block_on(future: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(future);
    // What is still running has been told to stop, and was given its time.
    runtime.shutdown_background();
    done
}

/// Reports every mistake, or that there is none.
fn check(sources: &Sources, role: Role) -> ExitCode {
    let (text, code) = match config::load(sources, role) {
        Ok(_) => ("ok\n".to_owned(), ExitCode::SUCCESS),
        Err(mistakes) => {
            let lines = mistakes.iter().map(|mistake| format!("{mistake}\n"));
            (lines.collect(), ExitCode::FAILURE)
        }
    };
    let _ = io::stdout().write_all(text.as_bytes());
    code
}

fn make_link_certificates(to: &Path) -> anyhow::Result<ExitCode> {
    certificate::make_link_certificates(to)?;
    let to = to.display();
    let text = format!(
        "made in {to}:\n\
         edges    link.ca = ca.pem, link.certificate = edge.pem, link.key = edge.key\n\
         origins  link.ca = ca.pem, link.certificate = origin.pem, link.key = origin.key\n\
         No node needs ca.key: keep it somewhere safe. Who has it can make itself an origin.\n"
    );
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// An error with its causes; one that an outer error has told already is not told again.
fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "couplet: {line}");
}
