//! The measured processes: processor time, memory, and the limits they and we run under.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::time::sleep;

use crate::args::Args;

/// Processes that are watched through `/proc`, as one.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pids: Vec<u32>,
    ticks_per_second: f64,
}

/// Processor time used so far, or between two readings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// User and system time together.
    pub(crate) cpu_micros: f64,
}

// === impl Watched ===

impl Watched {
    pub(crate) fn new(pids: &[u32]) -> Self {
        let ticks = Command::new("getconf")
            .arg("CLK_TCK")
            .output()
            .ok()
            .and_then(|output| String::from_utf8(output.stdout).ok())
            .and_then(|text| text.trim().parse().ok());
        Self {
            pids: pids.to_vec(),
            ticks_per_second: ticks.unwrap_or(100.0),
        }
    }

    /// Processor time the processes have used since they started (`proc_pid_stat(5)`).
    pub(crate) fn usage(&self) -> Result<Usage> {
        let mut total = 0.0;
        for pid in &self.pids {
            total += ticks(*pid)?;
        }
        Ok(Usage {
            cpu_micros: total * 1e6 / self.ticks_per_second,
        })
    }

    /// Resident memory now.
    pub(crate) fn memory_kib(&self) -> Result<u64> {
        self.pids.iter().map(|pid| memory_kib(*pid)).sum()
    }

    /// Resident memory once three readings in a row agree within half a percent.
    pub(crate) async fn settled_memory_kib(&self, within: Duration) -> Result<u64> {
        let deadline = Instant::now() + within;
        let mut last = self.memory_kib()?;
        let mut agreed = 0;
        while agreed < 3 && Instant::now() < deadline {
            sleep(Duration::from_millis(500)).await;
            let now = self.memory_kib()?;
            agreed = if now.abs_diff(last) * 200 <= now {
                agreed + 1
            } else {
                0
            };
            last = now;
        }
        Ok(last)
    }
}

// === impl Usage ===

impl Usage {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu_micros: self.cpu_micros - before.cpu_micros,
        }
    }
}

/// Ticks of user and system time one process has used.
fn ticks(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name of the program is in parentheses and may contain anything.
    let (_, after_name) = text.rsplit_once(')').context("stat without a name")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let field = |index: usize| -> Result<f64> {
        let field = fields.get(index).context("stat is too short")?;
        Ok(field.parse()?)
    };
    // utime and stime are fields 14 and 15; the first after the name is field 3.
    Ok(field(11)? + field(12)?)
}

/// Resident memory of one process.
fn memory_kib(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"));
    let field = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(field.context("status without VmRSS")?.parse()?)
}

/// Starts this program again with as many open files as it may have, and off the server's cores.
/// Returns only if that fails.
pub(crate) fn rerun(args: &Args) -> Result<()> {
    let program = std::env::current_exe()?;
    let mut command = shell(&other_cores(&args.server_cores));
    command.arg(program).args(std::env::args_os().skip(1));
    command.arg("--is-child-run");
    bail!("could not start again: {}", command.exec());
}

/// A command that raises its open-file limit, takes these cores and becomes what is appended.
pub(crate) fn shell(cores: &str) -> Command {
    let pin = if cores == "all" {
        String::new()
    } else {
        format!("taskset -c {cores} ")
    };
    let mut command = Command::new("sh");
    command.arg("-c");
    command.arg(format!("ulimit -n \"$(ulimit -Hn)\" && exec {pin}\"$@\""));
    command.arg("sh");
    command
}

/// Checks that this process may open the sockets it will need.
pub(crate) fn check_open_files(needed: usize) -> Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    let soft: usize = soft
        .context("no limit of open files")?
        .parse()
        .unwrap_or(usize::MAX);
    if soft < needed {
        bail!("{needed} sockets are needed and {soft} open files are allowed (ulimit -n)");
    }
    Ok(())
}

/// The cores that `server_cores` leaves over; `all` if it leaves none.
pub(crate) fn other_cores(server_cores: &str) -> String {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let taken: Vec<usize> = server_cores
        .split(',')
        .filter_map(|part| match part.split_once('-') {
            Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
            None => part.parse().ok().map(|core: usize| (core, core)),
        })
        .flat_map(|(first, last)| first..=last)
        .collect();
    let free: Vec<String> = (0..count)
        .filter(|core| !taken.contains(core))
        .map(|core| core.to_string())
        .collect();
    if taken.is_empty() || free.is_empty() {
        "all".to_owned()
    } else {
        free.join(",")
    }
}
