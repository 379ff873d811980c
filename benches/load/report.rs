//! The results: a table for people, JSON for programs.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::chat::Outcome;
use crate::per_second;

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    server: String,
    tls: bool,
    sessions: usize,
    /// Logins in a second: as fast as this load generator can do its share of SCRAM.
    pub(crate) logins_per_second: f64,
    /// Processor time of the server for one login.
    pub(crate) login_cpu_micros: f64,
    /// Growth of resident memory by login, per session.
    pub(crate) idle_kib_per_session: f64,
    /// Resident memory with everybody logged in.
    pub(crate) memory_kib: u64,
    /// Absent when nobody chatted.
    chat: Option<Chat>,
}

#[derive(Debug, Serialize)]
struct Chat {
    messages_per_second: f64,
    cpu_micros_per_message: f64,
    cores_used: f64,
    latency_p50_micros: u32,
    latency_p99_micros: u32,
}

// === impl Row ===

impl Row {
    pub(crate) fn new(server: &str, tls: bool, sessions: usize) -> Self {
        Self {
            server: server.to_owned(),
            tls,
            sessions,
            logins_per_second: 0.0,
            login_cpu_micros: 0.0,
            idle_kib_per_session: 0.0,
            memory_kib: 0,
            chat: None,
        }
    }

    /// Adds what the chat gave.
    pub(crate) fn set_chat(&mut self, outcome: &Outcome) {
        let cpu_micros = outcome.cost.usage.cpu_micros;
        let elapsed = outcome.cost.elapsed;
        self.chat = Some(Chat {
            messages_per_second: per_second(outcome.messages, elapsed),
            cpu_micros_per_message: cpu_micros / outcome.messages.max(1) as f64,
            cores_used: cpu_micros / 1e6 / elapsed.as_secs_f64(),
            latency_p50_micros: percentile(&outcome.latencies, 50),
            latency_p99_micros: percentile(&outcome.latencies, 99),
        });
    }
}

/// The value that this many of a hundred do not exceed.
pub(crate) fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0)
}

/// Prints what a message costs in one row against another, where both had a chat.
pub(crate) fn print_ratio(row: &Row, other: &Row) {
    let (Some(one), Some(base)) = (&row.chat, &other.chat) else {
        return;
    };
    println!(
        "{} / {}: {:.2} of the processor time per message",
        row.server,
        other.server,
        one.cpu_micros_per_message / base.cpu_micros_per_message
    );
}

/// Prints the table.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "{:<16} {:>5} {:>8} {:>9} {:>11} {:>11} {:>10} {:>10} {:>6} {:>9} {:>9}",
        "server",
        "tls",
        "sessions",
        "logins/s",
        "µs cpu/login",
        "KiB/session",
        "messages/s",
        "µs cpu/msg",
        "cores",
        "p50 µs",
        "p99 µs"
    );
    for row in rows {
        print!(
            "{:<16} {:>5} {:>8} {:>9.0} {:>11.0} {:>11.1}",
            row.server,
            if row.tls { "yes" } else { "no" },
            row.sessions,
            row.logins_per_second,
            row.login_cpu_micros,
            row.idle_kib_per_session
        );
        match &row.chat {
            Some(chat) => println!(
                " {:>10.0} {:>10.1} {:>6.2} {:>9} {:>9}",
                chat.messages_per_second,
                chat.cpu_micros_per_message,
                chat.cores_used,
                chat.latency_p50_micros,
                chat.latency_p99_micros
            ),
            None => println!(),
        }
    }
}

/// Writes the same as JSON.
pub(crate) fn write(rows: &[Row], path: &Path) -> Result<()> {
    std::fs::write(path, serde_json::to_string_pretty(rows)?)?;
    Ok(())
}
