//! Telemetry: what operators see: the log, the metrics and the spans, installed once.

mod line;
mod metrics;
pub(crate) mod page;
mod process;
mod spans;
mod table;

use std::io;

use anyhow::{Result, bail};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Format, Log};

pub(crate) use line::{Escape, escaped};
pub(crate) use metrics::Metrics;
pub(crate) use process::open_files_max;
pub(crate) use spans::{IS_BUILT_IN as HAS_SPANS, Spans};

/// Libraries that report every step of theirs. Named in `log.level` they speak all the same.
const QUIET: &str = "fjall=warn,lsm_tree=warn";

/// What may stand alone.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// The installed log. Lines still in its queue are written when it is dropped.
#[derive(Debug)]
pub(crate) struct Logging {
    filter: reload::Handle<EnvFilter, tracing_subscriber::Registry>,
    /// Held for its drop.
    _writer: line::Guard,
}

/// Starts logging to standard error.
///
/// # Errors
/// When the level cannot be read or a log is installed already.
pub(crate) fn install(log: &Log) -> Result<Logging> {
    let (layer, handle) = reload::Layer::new(filter(&log.level)?);
    let escape = match log.format {
        Format::Text => Escape::Text,
        Format::Json => Escape::Json,
    };
    let (writer, guard) = line::writer(escape, io::stderr())?;
    let registry = tracing_subscriber::registry().with(layer);
    let format = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(writer);
    match log.format {
        Format::Text => registry.with(format).try_init()?,
        Format::Json => registry
            .with(format.json().flatten_event(true).with_span_list(false))
            .try_init()?,
    }
    log_panics();
    Ok(Logging {
        filter: handle,
        _writer: guard,
    })
}

/// Reads a level, or a list of levels by module.
///
/// # Errors
/// What cannot be read.
pub(crate) fn filter(level: &str) -> Result<EnvFilter> {
    for part in level.split(',').map(str::trim) {
        // A bare word that is no level would be the name of a module, and all others be silent.
        if !part.contains('=') && !LEVELS.contains(&part.to_ascii_lowercase().as_str()) {
            bail!(
                "{part:?} is none of {}, nor MODULE=LEVEL",
                LEVELS.join(", ")
            );
        }
    }
    // What a level says of a module later in the list replaces what was said of it before.
    let level = format!("{QUIET},{level}");
    Ok(EnvFilter::builder().parse(level)?)
}

// === impl Logging ===

impl Logging {
    /// Another level from now on.
    ///
    /// # Errors
    /// When the level cannot be read.
    pub(crate) fn set_level(&self, level: &str) -> Result<()> {
        self.filter.reload(filter(level)?)?;
        Ok(())
    }
}

/// A panic is a line of the log like any other: in its format, and nothing else on the terminal.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        let place = panic.location().map(ToString::to_string);
        let thread = std::thread::current();
        tracing::error!(
            panic = text.as_deref().unwrap_or("no message"),
            place = place.as_deref().unwrap_or("unknown"),
            thread = thread.name().unwrap_or("unnamed"),
            backtrace = %std::backtrace::Backtrace::capture(),
            "panicked",
        );
    }));
}
