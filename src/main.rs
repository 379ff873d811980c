//! Couplet: a clustered edge/origin messaging router that speaks XMPP.
//!
//! Arguments → config → role → wait for the end:
//!
//! - [`cli`]: what the command line says.
//! - [`config`]: one file, the environment and `--set`, checked as a whole.
//! - [`role`]: what runs in this process; in which order it starts and stops.
//! - [`ctl`]: a client of a running server's admin port.
//! - [`login`]: a client that logs in, to see whether one can.
//! - [`admin`]: that port.
//! - [`certificate`]: reads certificates, makes one if there is none, tells when one ends.
//! - [`folder`]: what the server writes for itself.
//! - [`token`]: the secret in a file that opens the admin port.
//! - [`specifications`]: which are supported, in which version.
//! - [`telemetry`]: the log and the metrics.
//! - [`access_log`]: who came, as whom, how much and why they went.
//! - [`shutdown`]: signals → drain → deadline → exit code.

mod access_log;
mod admin;
mod certificate;
mod cli;
mod config;
mod ctl;
mod folder;
mod login;
mod role;
mod shutdown;
mod specifications;
mod telemetry;
mod token;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use access_log::AccessLog;
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
        Command::CheckLogin(asked) => block_on(async { Ok(login::run(asked).await) }),
        Command::MakeLinkCertificates {
            directory,
            if_missing,
            for_edges,
            for_origins,
        } => make_link_certificates(&directory, if_missing, [for_edges, for_origins]),
        Command::ListFeatures { markdown } => Ok(print(&match markdown {
            true => specifications::markdown(),
            false => specifications::text(),
        })),
        Command::ListMetrics { markdown } => Ok(print(&match markdown {
            true => page::markdown(),
            false => page::text(),
        })),
        Command::Completion { shell } => {
            // In memory first: the generator panics when nobody reads on.
            let mut script = Vec::new();
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "couplet", &mut script);
            Ok(print(&String::from_utf8_lossy(&script)))
        }
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
    let (mut settings, shown) = match config::load_shown(&sources, role) {
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
    let access_log = AccessLog::start(&settings.access_log, &settings.node)?;
    settings.edge.journal = access_log.journal();
    settings.origin.journal = access_log.journal();
    let is_json = settings.log.format == Format::Json;
    let given = role::Given {
        settings,
        shown,
        sources: &sources,
    };
    match block_on(role::run(role, given, (&logging, &access_log), metrics)) {
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

fn make_link_certificates(
    to: &Path,
    if_missing: bool,
    [for_edges, for_origins]: [Option<PathBuf>; 2],
) -> anyhow::Result<ExitCode> {
    let are_there = if_missing && certificate::are_link_certificates_made(to);
    if !are_there {
        certificate::make_link_certificates(to)?;
    }
    for (folder, role) in [(for_edges, "edge"), (for_origins, "origin")] {
        if let Some(folder) = folder {
            certificate::give_link_certificate(to, role, &folder)?;
        }
    }
    if are_there {
        return Ok(ExitCode::SUCCESS);
    }
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
